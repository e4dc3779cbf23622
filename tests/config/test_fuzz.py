"""Whatever stands in the short keys ends in a run or in an error that helps, never in a traceback.

Values of all kinds, missing, further and nested ones, starting from a sound pair and a sound
prompt. Oracle: the classes of errors that ``freekd.engine.launch`` prints in one line.
"""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny as tiny_models
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freekd import compat

compat.apply()

from freekd.config import checks, load
from freekd.engine import build, friendly
from freekd.engine.train import train


class Raw(str):
    """Python as it stands in a config, which is no literal."""

    __repr__ = str.__str__


def model():
    cfg = tiny_models.detector()
    cfg["bbox_head"]["num_classes"] = 2  # of the data set of conftest.py
    return cfg


def sound_pair():
    return dict(
        teacher=dict(config="{folder}/teacher.py", bbox_head=dict(num_classes=2)),
        student=model(),
        teacher_checkpoint=None,
        module="neck",
        losses=dict(
            freekd=dict(
                prompts=None,
                loss_weight=1.0,
                transform=dict(type="haar", levels=1),
                align="conv1x1",
            ),
            mimic=dict(loss_weight=0.5),
            regression=dict(module="bbox_head.retina_reg", beta=0.1, loss_weight=1.0),
            x=dict(type="mmdet.L1Loss", module="bbox_head.retina_reg", loss_weight=1.0),
        ),
        inherit=["neck"],
        channels=8,
        student_channels=[8, 8, 8],
        num_levels=3,
        resize=False,
        min_share=0.9,
        teacher_autocast=None,
    )


def sound_prompt():
    return dict(
        teacher=model(), teacher_checkpoint=None, module="neck", num_prompts=2,
        transform=dict(type="haar", levels=1), granularity="band", gate="position",
        dissimilarity="jaccard", dissimilarity_weight=1.0, channels=8, num_levels=3, min_share=0.9,
        form="signed", dissimilarity_reduction="sum", sparsity=0.0, fill="zero",
    )  # fmt: skip


# --------------------------------------------------------------------------- what may be typed
WORDS = (
    "neck backbone bbox_head.retina_cls bbox_head backbone.layer1 nek auto conv1x1 haar db2 zero "
    "level dice none sum mean position bfloat16 type name config loss_x loss_freekd L1Loss "
    "FreeKDLoss FeatureMSELoss ChannelWiseDivergence mmdet.L1Loss mmdet.SmoothL1Loss mmdet.FPN "
    "mmseg.EncoderDecoder mmdet:: mmdet::retinanet/nothing.py {folder}/teacher.py {folder} 0 1 a.b "
    "loss.x _delete_ class None it's back\\slash 1.5 items"
).split()
OBJECTS = [Raw(x) for x in ("int", "len", "{1, 2}", "b'x'", "1j", "...", "lambda: 0", "[[]]")]
NUMBERS = [-1, 0, 1, 2, 3, 8, -0.5, 0.0, 0.5, 1e-9, 3.7, True, False]
EXTREME = [10**6, 2**63, 10**400, 1e308, Raw("float('nan')"), Raw("float('inf')"), Raw("10**5000")]
scalars = st.one_of(
    st.none(), st.sampled_from(NUMBERS), st.sampled_from(["", " ", *WORDS]), st.text(max_size=4)
)
KNOWN = (
    "type name bands gate distance normalize transform levels mode losses freekd mimic num_prompts "
    "granularity reduction module "
    "student teacher loss_weight prompts align align_module beta tau config init_cfg num_classes "
    "train_cfg test_cfg pretrained out_channels num_outs start stop warmup"
).split()
KEYS = st.one_of(st.sampled_from(WORDS), st.sampled_from([0, 1, 2, 7, -1, None, 1.5, (1, 2)]))
values = st.recursive(
    st.one_of(scalars, st.sampled_from(OBJECTS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        inner.map(lambda value: (value,)),
    ),
    max_leaves=4,
)


def places(node, inside=()):
    """Every place in a nested config: (holder, key, whether it lies in a model)."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield inside, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key], (*inside, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def alike(value):
    """Values of the same kind."""
    if isinstance(value, (int, float)):
        return st.sampled_from(NUMBERS)
    if isinstance(value, str):
        return st.sampled_from(WORDS)
    return st.sampled_from([None, type(value)(), value]) if value else scalars


@st.composite
def mutated(draw, sound):
    """A sound config with one to three places changed; mostly outside the models."""
    cfg = copy.deepcopy(sound())
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        found = list(places(cfg))
        outside = [place for place in found if not {"teacher", "student"} & set(place[0][:1])]
        path, key = draw(st.sampled_from(outside if draw(st.integers(0, 3)) else found))
        holder, in_model = at(cfg, path), path[:1] in (("teacher",), ("student",))
        actions = 5 * ["alike"] + 3 * ["know"] + 2 * ["replace", "remove"] + ["add", "wrap"]
        action = draw(st.sampled_from(actions))
        if action == "replace":
            more = values if in_model else st.one_of(values, st.sampled_from(EXTREME))
            holder[key] = draw(more)
        elif action == "alike":
            holder[key] = draw(alike(holder[key]))
        elif action == "know" and isinstance(holder, dict):
            holder[draw(st.sampled_from(KNOWN))] = draw(scalars)
        elif action == "remove":
            del holder[key]
        elif action == "wrap":
            holder[key] = draw(st.sampled_from([[holder[key]], {"config": holder[key]}]))
        elif isinstance(holder, dict):
            holder[draw(KEYS)] = draw(values)
        else:
            holder.append(draw(values))
        if not cfg:
            break
    return cfg


options = st.dictionaries(
    st.sampled_from(
        "KEY.module KEY.module.student KEY.losses.freekd.type KEY.teacher "
        "KEY.losses.freekd.loss_weight "
        "KEY.teacher.bbox_head.num_classes KEY.teacher.neck KEY.teacher.neck.0.x KEY.student.0 "
        "KEY.losses.mimic.start KEY.losses.mimic.stop KEY.losses.x.warmup "
        "KEY.losses.regression.beta KEY.losses.x KEY.teacher.backbone.out_indices.0 KEY.losses "
        "KEY.inherit KEY.losses.mimic KEY KEY.num_levels KEY.teacher.config "
        "KEY.gate KEY.transform KEY.transform.type algorithm.min_iters "
        "algorithm.distiller.components.0.resize "
        "algorithm.architecture.model model".split()
    ),
    values.filter(lambda value: "lambda" not in repr(value) and "Raw" not in repr(value)),
    max_size=3,
)


# --------------------------------------------------------------------------- the property
@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """A folder with a teacher's config, and ``place.write(key, value, extra)``."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "teacher.py").write_text(f"model = {tiny_models.detector()!r}\n")
    torch.save(dict(state_dict=tiny_models.build(model()).state_dict()), str(folder / "own.pth"))
    torch.save({}, str(folder / "empty.pth"))
    torch.save([1], str(folder / "list.pth"))
    data = Path(tiny.config("fuzz", "iterations", norm="GN")).read_text(encoding="utf-8")

    def write(key, value):
        body = f"{key} = {value!r}\n".replace("{folder}", str(folder))
        text = f"{data}\nmodel = None\nrunner = dict(type='IterBasedRunner', max_iters=1)\n"
        path = folder / f"{key}.py"
        path.write_bytes((text + body).encode("utf-8", "surrogatepass"))
        return str(path)

    return SimpleNamespace(write=write, folder=folder)


def holds(path, chosen=None, work_dir=None):
    """Whether it ran; False where an error said what to change."""
    try:
        cfg = load.load_config(path, chosen)
        if work_dir is None:
            build.build_model(cfg, checks.check_config(cfg))
            return True
        cfg.update(work_dir=str(work_dir), device="cpu", seed=0)
        train(cfg, validate=False)
        return True
    except friendly.HELPFUL + (FloatingPointError,) as error:
        assert len(str(error)) > 20, repr(error)
        return False


def check(examples):
    return settings(
        derandomize=True,
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


SOUND = dict(pair=sound_pair, prompt=sound_prompt)
KINDS = pytest.mark.parametrize("key", sorted(SOUND))
some = st.data()


@KINDS
def test_the_sound_ones_train(place, tmp_path, key):
    assert holds(place.write(key, SOUND[key]()), work_dir=tmp_path)


@KINDS
@check(150)
@given(data=some)
def test_a_changed_config_is_built_or_refused(place, key, data):
    holds(place.write(key, data.draw(mutated(SOUND[key]))))


@KINDS
@check(60)
@given(data=some)
def test_changed_options_are_taken_or_refused(place, key, data):
    chosen = data.draw(options)
    holds(
        place.write(key, SOUND[key]()),
        {name.replace("KEY", key): value for name, value in chosen.items()},
    )


@KINDS
@check(10)
@given(data=some)
def test_a_changed_config_trains_or_is_refused(place, tmp_path_factory, key, data):
    path = place.write(key, data.draw(mutated(SOUND[key])))
    holds(path, work_dir=tmp_path_factory.mktemp("run"))


@pytest.mark.slow
@KINDS
@check(1500)
@given(data=some)
def test_many_changed_configs(place, key, data):
    holds(place.write(key, data.draw(mutated(SOUND[key]))))


@pytest.mark.slow
@KINDS
@check(150)
@given(data=some)
def test_many_changed_configs_train(place, tmp_path_factory, key, data):
    path = place.write(key, data.draw(mutated(SOUND[key])))
    holds(path, work_dir=tmp_path_factory.mktemp("run"))


# --------------------------------------------------------------------------- edges
# values of the right kind, which are taken when the config is read: what becomes of them later?
EDGES = {
    "pair.module": [
        "backbone", "backbone.layer2", "bbox_head", "bbox_head.retina_cls", "neck.fpn_convs.0",
        dict(student="neck", teacher="backbone"), "bbox_head.cls_convs.0.conv",
        "neck.lateral_convs",
    ],
    "pair.channels": [None, 4, [8, 8], 32768],
    "pair.student_channels": [None, 7, [4, 8, 16], [8, 8, 8, 8]],
    "pair.num_levels": [None, 1, 64],
    "pair.losses.freekd": [
        None, {}, dict(loss_weight=0), dict(loss_weight=1e200), dict(transform="haar"),
        dict(transform=dict(type="haar", levels=16)), dict(transform="db38"), dict(bands="low"),
        dict(transform=dict(type="bior1.3", levels=2, mode="symmetric")),
        dict(normalize="channel"), dict(distance="l2"), dict(gate=None), dict(granularity="level"),
        dict(num_prompts=1024), dict(align=None), dict(type="ChannelWiseDivergence"),
        dict(type="KLDivergence", tau=1e-9), dict(type="KLDivergence", reduction="x"),
        dict(type="mmdet.SmoothL1Loss", beta=1e-9), dict(type="mmdet.CrossEntropyLoss"),
        dict(student_channels=4), dict(type="mmdet.MSELoss"), dict(type="DistanceWiseRKD"),
        dict(module="backbone"), dict(module="backbone", channels=[8, 16]), dict(resize=True),
        dict(module=dict(student="neck", teacher="backbone")), dict(module=dict(a="neck")),
        dict(type="mimic"), dict(type="kd"), dict(num_levels=2), dict(align_module={}),
        dict(start=1), dict(stop=1), dict(stop="1 epoch"), dict(warmup="1 iter"), dict(warmup=9),
    ],
    "pair.losses.mimic": [None, {}, dict(align=None), dict(align="auto"), dict(type="cwd")],
    "pair.losses.regression": [
        None, {}, dict(module="bbox_head.retina_reg", reduction="none"),
        dict(module=dict(student="bbox_head.retina_reg", teacher="bbox_head.retina_cls")),
        dict(module="neck"), dict(module="backbone.maxpool"),
    ],
    "pair.losses.x": [
        None, {}, dict(type="mmdet.L1Loss", module="bbox_head.loss_cls"),
        dict(type="FreeKDLoss", student_channels=8, teacher_channels=8, num_levels=2),
        dict(type="mmdet.L1Loss", module="neck", align_module=3),
        dict(type="mmdet.L1Loss", module="neck", align_module=dict(type="x")),
        dict(type="mmdet.L1Loss", module="neck", resize=True),
        dict(type="mmdet.L1Loss", module="neck",
             align_module=dict(type="conv2d", student_channels=8, teacher_channels=8)),
    ],
    "pair.losses": [None, {}, dict(nothing={}), dict(freekd=3), {"a b": {}}],
    "pair.inherit": [
        None, [], ["nothing"], {"neck": "backbone"}, ["bbox_head"], ["neck", "neck"],
        ["bbox_head.loss_cls"], ["backbone.layer1.0"],
    ],
    "pair.min_share": [0, 1],
    "pair.resize": [True],
    "pair.teacher_autocast": ["bfloat16", "float16", "float64"],
    "pair.class_map": ["by_name", "by_number"],
    "pair.teacher_checkpoint": [
        "nothing.pth", "{folder}", "{folder}/teacher.py", "{folder}/own.pth", "{folder}/empty.pth",
        "nowhere://x", "http://", "{folder}/list.pth",
    ],
    "pair.losses.freekd.prompts": [
        "nothing.pth", "{folder}", "{folder}/teacher.py", "{folder}/own.pth", "{folder}/list.pth",
    ],
    "pair.teacher": ["{folder}/teacher.py", dict(config="{folder}/teacher.py")],
    "pair.teacher.backbone": [dict(depth=50), dict(frozen_stages=9), dict(init_cfg=3), None],
    "pair.teacher.bbox_head": [dict(num_classes=3), dict(in_channels=9), dict(type="FCOSHead")],
    "pair.teacher.neck": [dict(num_outs=5), dict(out_channels=4), dict(out_channels=9), None],
    "pair.student.backbone.init_cfg": [
        dict(type="Pretrained", checkpoint="nothing.pth"), dict(type="Pretrained"), {}, 3, [],
        dict(type="Constant", layer="Conv2d"), dict(type="Nothing"),
    ],
    "pair.student.pretrained": ["nothing.pth", 3, ""],
    "pair.student.train_cfg": [dict(assigner=None)],
    "pair.student.test_cfg": [None, {}, 3],
    "pair.student.bbox_head.loss_cls": [dict(type="CrossEntropyLoss", use_sigmoid=True), None],
    "pair.student.bbox_head.anchor_generator.strides": [[4, 8, 16]],
    "pair.student.bbox_head.num_classes": [3, 1],
    "prompt.module": ["backbone", "backbone.layer2", "bbox_head"],
    "prompt.num_prompts": [1, 1024],
    "prompt.transform": [
        "db38", "bior1.3", "Haar", "x", "haar", {}, dict(type="haar", levels=16),
        dict(type="haar", levels=3, mode="symmetric"), dict(type="db2", mode="periodization"),
        dict(type="haar", mode="x"), dict(levels=2),
    ],
    "prompt.wavelet": ["haar"],
    "prompt.granularity": ["level", "x"],
    "prompt.gate": [None, "x", dict(type="position"), dict(type="position", x=1)],
    "prompt.dissimilarity": ["dice", "x"],
    "prompt.dissimilarity_weight": [0, 1e200],
    "prompt.dissimilarity_reduction": ["mean", "x"],
    "prompt.form": ["energy", "energy_bias", "x"],
    "prompt.sparsity": [0.2, 1e200, -1],
    "prompt.fill": ["mean", "noise", "x"],
    "prompt.channels": [None, 4, [8, 8], [8, 8, 4]],
    "prompt.num_levels": [None, 1, 5],
    "prompt.class_map": ["by_name", "x"],
    "prompt.without_losses": [["bbox_head"], ["nothing"]],
    "prompt.teacher_checkpoint": ["nothing.pth", "{folder}", "{folder}/own.pth"],
    "prompt.teacher.bbox_head.num_classes": [3],
    "prompt.teacher.bbox_head.loss_bbox": [dict(type="GIoULoss")],
}  # fmt: skip
# ... and those that only a loss or a head itself says no to, in the first training step
LATE = {
    "pair.losses.y": [
        dict(type="mmdet.FocalLoss"), dict(type="mmdet.GIoULoss"), dict(type="mmdet.GHMC"),
        dict(type="mmdet.L1Loss", reduction="none"), dict(type="mmdet.ResNet", depth=18),
        dict(type="mmseg.DiceLoss"), dict(type="WSLD", tau=2),
    ],
    "pair.losses.z": [
        dict(module="bbox_head.retina_reg", type="mmdet.GIoULoss"),
        dict(module="bbox_head.retina_reg", type="mmdet.BalancedL1Loss", alpha=0),
    ],
    "pair.losses.x": [
        dict(module="backbone.layer1", type="mmdet.IoULoss"),
        dict(module="neck", type="mmdet.SeesawLoss"),
    ],
    "pair.student.train_cfg": [None, {}],
    "pair.student.bbox_head.anchor_generator.strides": [[8, 16]],
    "prompt.module": ["bbox_head.retina_cls"],
    "prompt.teacher.train_cfg": [None, {}],
    "prompt.teacher.bbox_head.loss_bbox": [dict(type="SmoothL1Loss", beta=0)],
}  # fmt: skip
EVERY = [(key, value) for key, values in EDGES.items() for value in values]
SHOWN = [f"{key}={str(value)[:40]}" for key, value in EVERY]


def write_edge(place, key, value):
    short, *inside, last = key.split(".")
    cfg = SOUND[short]()
    holder = at(cfg, inside)
    if short == "pair" and inside == ["teacher"]:
        del holder["bbox_head"]
    if last in ("module", "channels", "num_levels", "student_channels") and not inside:
        for name in ("channels", "num_levels", "student_channels"):
            cfg.pop(name, None)
    holder[last] = value
    return place.write(short, cfg)


LATER = [(key, value) for key, values in LATE.items() for value in values]


@pytest.mark.parametrize("key, value", EVERY[::12], ids=SHOWN[::12])
def test_an_edge(place, tmp_path, key, value):
    holds(write_edge(place, key, value), work_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("key, value", EVERY, ids=SHOWN)
def test_every_edge(place, tmp_path, key, value):
    holds(write_edge(place, key, value), work_dir=tmp_path)


@pytest.mark.parametrize("key, value", LATER[::5], ids=str)
def test_a_first_step_that_cannot_be(place, tmp_path, key, value):
    assert not holds(write_edge(place, key, value), work_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("key, value", LATER, ids=str)
def test_every_first_step_that_cannot_be(place, tmp_path, key, value):
    assert not holds(write_edge(place, key, value), work_dir=tmp_path)
