"""Each family of docs/supported.md trains for one step, and its taps give what the table says.

Oracles: the table; plain forward hooks on the stock model, built without this package, for the
same batch; and that a teacher with the student's weights has nothing to teach.
"""

import importlib.util
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmcv import Config
from mmcv.runner import HOOKS, Hook

from freekd.checks import FeatureError
from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.engine.train import train
from freekd.fileio import load_checkpoint_file
from freekd.zoo.stock import stock_path

HERE = Path(__file__).resolve().parent


def sibling(name):
    """A file beside this one: pytest's importlib mode does not put the folder on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


family_list, family_data = sibling("family_list"), sibling("family_data")
write_supported = sibling("write_supported")
FAMILIES, REFUSED = family_list.FAMILIES, family_list.REFUSED


def params(entries):
    marks = {True: [], False: [pytest.mark.slow]}
    return [pytest.param(entry, marks=marks[entry.fast], id=entry.name) for entry in entries]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    family_data.write(root)
    return root


@pytest.fixture
def folder(tmp_path):
    """A place for a run; its checkpoints, of some 100 MB each, are removed at the end."""
    yield tmp_path
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --------------------------------------------------------------------------- the config of a pair
def stock_config(family):
    return Config.fromfile(stock_path(family.config))


def all_changes(family):
    classes = len(
        family_data.REGIONS if family_list.is_segmentor(family.config) else family_data.THINGS
    )
    usual = family_list.usual_changes(stock_config(family).model, classes)
    return family_list.merged(usual, family.changes)


def a_model(family):
    return dict(config=family.config, **all_changes(family))


def write_file(folder, **keys):
    """A config file as a user writes it."""
    path = folder / "config.py"
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in keys.items()))
    return str(path)


def load_pair(folder, family, root, **pair):
    """A pair of two models of the family, trained for one step."""
    one_epoch = dict(type="EpochBasedRunner", max_epochs=1)
    one_step = dict(type="IterBasedRunner", max_iters=1)
    path = write_file(
        folder,
        pair=dict(student=a_model(family), teacher=a_model(family), **pair),
        data=family_data.config(root, family.needs, family.size),
        optimizer=dict(type="SGD", lr=1e-3),
        optimizer_config=dict(grad_clip=dict(max_norm=1.0)),
        runner=one_step if family_list.is_segmentor(family.config) else one_epoch,
        checkpoint_config=dict(interval=1),
        log_level="ERROR",
        custom_hooks=[dict(type="SeenMaps")],
    )
    cfg = load.load_config(path)
    cfg.work_dir, cfg.device, cfg.seed = str(folder / "run"), "cpu", 0
    return cfg


def expected_maps(tap):
    """Channels of each map and number of maps in one call."""
    assert tap.gives != "calls" or len(set(tap.channels)) == 1
    return (list(tap.channels), len(tap.channels)) if tap.gives == "maps" else (tap.channels[0], 1)


def other_terms(family):
    """The further taps: FreeKD on maps, box imitation on the layers of heads."""
    losses, terms = {}, {family.taps[0].module: "loss_freekd"}
    for number, tap in enumerate(family.taps[1:], start=1):
        label, where = f"tap_{number}", dict(module=tap.module, loss_weight=1.0)
        if tap.gives == "maps":
            channels, num_levels = expected_maps(tap)
            maps = dict(channels=channels, student_channels=channels, num_levels=num_levels)
            losses[label] = dict(type="freekd", **where, **maps)
        elif family_list.is_segmentor(family.config):
            losses[label] = dict(type="mmdet.SmoothL1Loss", **where)
        else:
            losses[label] = dict(type="regression", **where)
        terms[tap.module] = f"loss_{label}"
    return losses, terms


def assert_told(channels, num_levels, tap):
    """One number may stand for all levels."""
    expected, count = expected_maps(tap)
    assert num_levels == count, tap.module
    one = isinstance(channels, int) and isinstance(expected, list)
    assert ([channels] * count if one else channels) == expected, (tap.module, channels)


# --------------------------------------------------------------------------- what is looked at
@HOOKS.register_module(force=True)
class SeenMaps(Hook):
    """Notes what each loss gets, and the batch."""

    def before_run(self, runner):
        self.calls = {}
        for name, loss in runner.model.module.distiller.losses.items():
            loss.register_forward_pre_hook(self.note(name))

    def note(self, name):
        def hook(_, args):
            self.calls.setdefault(name, []).append([as_maps(side) for side in args[:2]])

        return hook

    def after_train_iter(self, runner):
        self.batch = runner.data_batch


def as_maps(output, sizes=None):
    """Plain: a tensor, a tuple of them, or a sequence of tokens with the sizes of its levels."""
    if sizes is None:
        return [x.detach() for x in ([output] if torch.is_tensor(output) else output)]
    parts = output.detach().split([int(h * w) for h, w in sizes])
    return [
        x.permute(1, 2, 0).reshape(*x.permute(1, 2, 0).shape[:2], int(h), int(w))
        for x, (h, w) in zip(parts, sizes)
    ]


def expected_shapes(tap, size, images=2):
    """What the table says, a list per call; rows of vectors are as many as the proposals."""
    if tap.gives == "vectors":
        return [[(None, tap.channels[0])]]
    shapes = [
        (images, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        for channels, stride in zip(tap.channels, tap.strides)
    ]
    return [shapes] if tap.gives == "maps" else [[shape] for shape in shapes]


def shapes_of(tap, calls):
    first = 1 if tap.gives == "vectors" else 0
    return [[(*(None,) * first, *x.shape[first:]) for x in call] for call in calls]


def as_a_teacher(model):
    """Evaluation mode, while heads know by their flag that they compute losses."""
    model.eval()
    for module in model.modules():
        if type(module).__name__.endswith(("Head", "Extractor")):
            module.training = True


def stock_calls(family, student, batch):
    """What plain hooks see in the stock model, built by the host alone, with these weights."""
    from mmcv.cnn.utils import revert_sync_batchnorm
    from mmcv.parallel import scatter_kwargs

    cfg = stock_config(family)
    cfg.merge_from_dict(dict(model=all_changes(family)))
    if family_list.is_segmentor(family.config):
        from mmseg.models import build_segmentor as build
    else:
        from mmdet.models import build_detector as build
    model = revert_sync_batchnorm(build(cfg.model))
    assert not model.load_state_dict(student.state_dict(), strict=False).missing_keys
    as_a_teacher(model)
    modules, seen = dict(model.named_modules()), {}

    def look(name):
        def hook(_, args, kwargs, output):
            seen.setdefault(name, []).append(as_maps(output, kwargs.get("spatial_shapes")))

        return hook

    for tap in family.taps:
        modules[tap.module].register_forward_hook(look(tap.module), with_kwargs=True)
    batch = scatter_kwargs((batch,), {}, [-1])[0][0][0]
    with torch.no_grad():
        model(return_loss=True, **batch)
    for name, calls in seen.items():
        if name.startswith("decode_head"):  # cascades run a head again for the next one
            del calls[1:]
    return seen


# --------------------------------------------------------------------------- the tests
@pytest.mark.parametrize("family", params(FAMILIES))
def test_one_step(family, data_root, folder):
    others, names = other_terms(family)
    losses = dict(freekd=dict(loss_weight=1.0), **others)
    cfg = load_pair(folder, family, data_root, module=family.taps[0].module, losses=losses)
    loss = cfg.algorithm.distiller.components[0].losses[0]
    for channels in (loss.student_channels, loss.teacher_channels):
        assert_told(channels, loss.num_levels, family.taps[0])
    runner = train(cfg, validate=False)
    algorithm, log = runner.model.module, runner.outputs["log_vars"]
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    seen = next(hook for hook in runner.hooks if isinstance(hook, SeenMaps))

    assert set(family.hooks) <= {type(hook).__name__ for hook in runner.hooks}  # they came along
    expected = {tap.module: expected_shapes(tap, family.size) for tap in family.taps}
    for tap in family.taps:
        for calls in zip(*seen.calls[names[tap.module]]):  # the student's, the teacher's
            assert shapes_of(tap, calls) == expected[tap.module], tap.module
    terms = {
        f"distiller.{names[module]}.{call}"
        for module, calls in expected.items()
        for call in range(len(calls))
    }
    assert {name for name in log if name.startswith("distiller.")} == terms
    assert all(math.isfinite(log[name]) and log[name] > 0 for name in terms), log
    assert math.isfinite(log["loss"])

    learning = {name: p for name, p in student.named_parameters() if p.requires_grad}
    idle = {name for name, p in learning.items() if p.grad is None}
    assert {name for name in idle if not name.startswith(family.idle or "-")} == set()
    assert all(p.grad.isfinite().all() for name, p in learning.items() if name not in idle)
    assert any(p.grad.any() for name, p in learning.items() if name not in idle)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())

    state = load_checkpoint_file(folder / "run" / "latest.pth")["state_dict"]
    assert not [name for name in state if "teacher" in name]
    assert {f"architecture.model.{name}" for name in student.state_dict()} <= set(state)

    # a teacher that is the student has nothing to teach, and gives what the stock model gives
    teacher.load_state_dict(student.state_dict())
    as_a_teacher(student)
    seen.calls.clear()
    with torch.no_grad():
        again = runner.model.train_step(seen.batch, None)["log_vars"]
    for name in terms:
        assert again[name] <= 1e-5 * max(log[name], 1), (name, again[name], log[name])
    stock = stock_calls(family, student, seen.batch)
    for tap in family.taps:
        assert shapes_of(tap, stock[tap.module]) == expected[tap.module], tap.module
        if tap.gives != "vectors":  # of proposals drawn by chance
            ours = [student_maps for student_maps, _ in seen.calls[names[tap.module]]]
            torch.testing.assert_close(ours, stock[tap.module], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", params([f for f in FAMILIES if len(f.taps) > 1]))
def test_channels_of_the_further_taps_are_told(family, tmp_path):
    """In stage 1's short form. Oracle: the table, which the step compares with the stock model."""
    for tap in family.taps[1:]:
        if tap.gives != "vectors":
            prompt = dict(teacher=a_model(family), module=tap.module, gate=None)
            told = load.load_config(write_file(tmp_path, prompt=prompt)).algorithm.architecture
            assert_told(told.channels, told.num_levels, tap)


@pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES])
def test_hooks_of_the_stock_config(family):
    kinds = [hook["type"] for hook in stock_config(family).get("custom_hooks") or ()]
    assert tuple(kind for kind in kinds if kind != "NumClassCheckHook") == family.hooks


@pytest.mark.parametrize("refused", params(REFUSED))
def test_refused(refused, data_root, folder):
    with pytest.raises((ConfigError, FeatureError)) as error:
        pair = {"losses": dict(freekd=dict(loss_weight=1.0)), **refused.pair}
        train(load_pair(folder, refused, data_root, **pair), validate=False)
    at = 0
    for words in refused.words:
        at = str(error.value).find(words, at)
        assert at >= 0, (words, str(error.value))


def test_the_host_has_no_bifpn():
    from mmdet.models import NECKS

    assert "BiFPN" not in NECKS.module_dict  # else it belongs into the table


def test_names_differ():
    names = [entry.name for entry in (*FAMILIES, *REFUSED)]
    assert len(names) == len(set(names))


def test_the_page_is_what_the_table_says():
    assert write_supported.PAGE.read_text() == write_supported.page()
