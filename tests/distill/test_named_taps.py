"""What a loss may get beyond two maps: named taps, the step, a factor of the task loss."""

import copy

import pytest
import tiny
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

from freekd.checks import FeatureError
from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.losses.step import Step

SEEN = []


@LOSSES.register_module()
class TwoStages(nn.Module):
    """Squared difference at two named taps, each with its own weight."""

    named_taps = True

    def __init__(self, student_channels, teacher_channels, num_levels, a=1.0, b=1.0):
        super().__init__()
        self.told = (student_channels, teacher_channels, num_levels)
        self.weights = dict(a=a, b=b)
        self.align = nn.ModuleDict(
            {name: nn.Conv2d(student_channels[name], teacher_channels[name], 1) for name in "ab"}
        )

    def forward(self, student, teacher, step=None):
        SEEN.append((student, teacher, step))
        terms = [
            weight * (self.align[name](student[name]) - teacher[name]).square().mean()
            for name, weight in self.weights.items()
        ]
        return sum(terms)


@LOSSES.register_module()
class WithStep(nn.Module):
    """Takes the step beside one tap; scales the task loss."""

    def __init__(self, scale=0.25):
        super().__init__()
        self.task_scale = scale

    def forward(self, student, teacher, step=None):
        SEEN.append(step)
        return sum(label.sum() for label in step.labels) * student.mean() * 0.0


@LOSSES.register_module()
class Answers(nn.Module):
    """A loss whose forward gives or raises something else than a loss."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, student, teacher):
        if self.kind == "key":
            return teacher[{}["gt_label"]]
        if self.kind == "attribute":
            return teacher.no_such
        return dict(dict=dict(a=student.mean()), none=None, number=1.0)[self.kind]


@LOSSES.register_module()
class WrongScale(nn.Module):
    """Its property asks for what is not there."""

    @property
    def task_scale(self):
        return 1 - self.alpha


NAMED = dict(
    student_module=dict(a="backbone.layer2", b="backbone.layer3"),
    teacher_module=dict(a="backbone.layer2", b="backbone.layer3"),
)
TOLD = dict(
    student_channels=dict(a=8, b=16), teacher_channels=dict(a=16, b=32), num_levels=dict(a=1, b=1)
)


def algorithm(*components, **teacher):
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["distiller"]["components"] = [copy.deepcopy(component) for component in components]
    torch.manual_seed(0)
    return tiny.build(cfg)


def two_stages(**options):
    return dict(NAMED, losses=[dict(type="TwoStages", name="loss_two", **TOLD, **options)])


def test_named_taps_against_the_features(batch):
    model = algorithm(two_stages(a=2.0, b=0.5)).train()
    log = model.train_step(batch, None)["log_vars"]
    loss, student = model.distiller.losses["loss_two"], model.architecture.model
    with torch.no_grad():
        maps = [
            dict(zip("ab", (m.backbone.layer2, m.backbone.layer3)))
            for m in (student, model.distiller.teacher.eval())
        ]
        found = [{}, {}]
        for which, (own, m) in enumerate(zip(maps, (student, model.distiller.teacher))):
            hooks = [
                layer.register_forward_hook(
                    lambda _, __, out, n=name, w=which: found[w].update({n: out})
                )
                for name, layer in own.items()
            ]
            m.extract_feat(batch["img"])
            for hook in hooks:
                hook.remove()
        want = 2.0 * (loss.align["a"](found[0]["a"]) - found[1]["a"]).square().mean()
        want += 0.5 * (loss.align["b"](found[0]["b"]) - found[1]["b"]).square().mean()
    assert log["distiller.loss_two.0"] == pytest.approx(float(want), rel=1e-4)


def test_each_module_has_one_hook_and_shapes_are_checked_before(batch):
    model = algorithm(two_stages(), dict(NAMED, losses=[dict(
        type="TwoStages", name="loss_again", **TOLD)]))  # fmt: skip
    student = model.architecture.model
    assert len(student.backbone.layer2._forward_hooks) == 1
    found = model.distiller.check_shapes(student)
    assert list(found) == ["loss_two", "loss_again"] and len(found["loss_two"]) == 2


def test_the_step_is_the_batch_and_the_bare_models(batch):
    model = algorithm(
        dict(
            student_module="neck",
            teacher_module="neck",
            losses=[dict(type="WithStep", name="loss_step")],
        )
    ).train()
    SEEN.clear()
    model.train_step(batch, None)
    step = SEEN[0]  # once for each level of the neck
    assert isinstance(step, Step) and len(SEEN) == tiny.NUM_LEVELS
    assert step.data is batch and step.labels is batch["gt_labels"]
    assert step.student is model.architecture.model and step.teacher is model.distiller.teacher


def test_nothing_of_the_step_is_kept(batch):
    """Not in a state dict, not among modules, not among an optimizer's parameters."""
    model = algorithm(two_stages()).train()
    names, modules = list(model.state_dict()), {name for name, _ in model.named_modules()}
    model.train_step(batch, None)
    assert list(model.state_dict()) == names
    assert {name for name, _ in model.named_modules()} == modules
    assert sum(name.startswith("distiller.") for name in names) == 4  # the loss's own layers
    learned = {id(p) for p in model.parameters()}
    assert len(learned) == len(list(model.parameters()))
    assert not learned & {id(p) for p in model.distiller.teacher.parameters()}


def test_the_task_loss_is_scaled(batch):
    """By the product of the losses' factors; the distiller's own terms are not."""
    logs = []
    for scales in ((1.0,), (0.25,), (0.25, 0.5)):
        components = [
            dict(
                student_module="neck",
                teacher_module="neck",
                losses=[
                    dict(type="WithStep", name=f"loss_step_{i}", scale=scale)
                    for i, scale in enumerate(scales)
                ]
                + [dict(type="FeatureMSELoss", name="loss_mse", student_channels=8,
                        teacher_channels=8, num_levels=3)],
            )
        ]  # fmt: skip
        logs.append(algorithm(*components).train().train_step(batch, None)["log_vars"])
    plain, quarter, eighth = logs
    for name in ("student.loss_cls", "student.loss_bbox"):
        assert quarter[name] == pytest.approx(plain[name] / 4, rel=1e-5)
        assert eighth[name] == pytest.approx(plain[name] / 8, rel=1e-5)
    assert quarter["distiller.loss_mse.0"] == pytest.approx(plain["distiller.loss_mse.0"], rel=1e-5)


@pytest.mark.parametrize(
    ("component", "words"),
    [
        (
            dict(NAMED, losses=[tiny.freekd_loss()]),
            ["components[0]", "FreeKDLoss (loss_freekd)", "named taps ['a', 'b']"],
        ),
        (
            dict(
                student_module="neck",
                teacher_module="neck",
                losses=two_stages()["losses"],
            ),
            ["components[0]", "TwoStages", "must be dicts"],
        ),
        (
            dict(two_stages(), teacher_module=dict(a="backbone.layer2")),
            ["student_module names the taps ['a', 'b'], teacher_module ['a']"],
        ),
        (dict(two_stages(), teacher_module=3), ["teacher_module must be the path"]),
        (
            dict(two_stages(), student_module=dict(a="backbone.layer2", b="backbone.layer9")),
            ["tap 'b'", "'backbone.layer9'", "nearest"],
        ),
        (dict(two_stages(), resize=True), ["components[0]", "['resize']", "one tap"]),
        (
            dict(
                two_stages(),
                align_module=dict(type="conv2d", student_channels=8, teacher_channels=8),
            ),
            ["components[0]", "['align_module']", "one tap"],
        ),
    ],
)
def test_what_named_taps_may_not_be(component, words):
    with pytest.raises(ValueError) as error:
        algorithm(component)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_named_taps_run_equally_often(batch):
    """The class layer of the head runs once for each of three levels, the stage once."""
    named = dict(a="backbone.layer2", b="bbox_head.retina_cls")
    model = algorithm(dict(two_stages(), student_module=named, teacher_module=named)).train()
    with pytest.raises(RuntimeError, match=r"components\[0\].*{'a': 1, 'b': 3} times"):
        model.train_step(batch, None)


def test_a_pair_tells_the_channels_of_each_tap(tmp_path):
    config = tmp_path / "pair.py"
    stock = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
    losses = dict(two=dict(type="TwoStages", module=NAMED["student_module"], a=3.0))
    config.write_text(
        f"pair = dict(teacher={stock!r}, student=dict(config={stock!r}, backbone=dict(depth=18), "
        f"neck=dict(in_channels=[64, 128, 256, 512])), losses={losses!r})\n"
    )
    (component,) = load_config(str(config)).algorithm.distiller.components
    assert component.student_module == component.teacher_module == NAMED["student_module"]
    assert component.losses[0] == dict(
        type="TwoStages", name="loss_two", a=3.0, student_channels=dict(a=128, b=256),
        teacher_channels=dict(a=512, b=1024), num_levels=dict(a=1, b=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(module="neck"), ["pair.losses.two.module", "takes named taps", "'neck'"]),
        (dict(module=NAMED["student_module"], resize=True), ["pair.losses.two.resize", "Remove"]),
    ],
)
def test_what_an_entry_with_named_taps_may_not_be(tmp_path, options, words):
    config = tmp_path / "pair.py"
    losses = dict(two=dict(type="TwoStages", **options))
    config.write_text(
        f"pair = dict(teacher={tiny.detector()!r}, student={tiny.detector()!r}, losses={losses!r})"
    )
    with pytest.raises(ConfigError) as error:
        load_config(str(config))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_resize_of_the_pair_is_not_for_named_taps(tmp_path):
    config = tmp_path / "pair.py"
    losses = dict(two=dict(type="TwoStages", module=NAMED["student_module"]), mimic={})
    config.write_text(
        f"pair = dict(teacher={tiny.detector()!r}, student={tiny.detector()!r}, resize=True, "
        f"losses={losses!r})"
    )
    component, other = load_config(str(config)).algorithm.distiller.components
    assert "resize" not in component and other.resize is True
    with pytest.raises(ConfigError, match=r"pair.resize=True: .* none among \['two'\]"):
        load_config(str(config), {"pair.losses.mimic": None})


def one_tap(loss, module="bbox_head.retina_reg", **component):
    return dict(student_module=module, teacher_module=module, losses=[loss], **component)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dict", "gives a dict"),  # MMRazor would leave it out of the sum
        ("none", "gives a NoneType"),
        ("number", "gives a float"),
        ("key", "KeyError: 'gt_label'"),
        ("attribute", "no attribute 'no_such'"),
    ],
)
def test_a_loss_that_gives_no_loss(batch, kind, words):
    model = algorithm(one_tap(dict(type="Answers", name="loss_x", kind=kind))).train()
    with pytest.raises(FeatureError, match=r"components\[0\]: loss_x") as error:
        model.train_step(batch, None)
    assert words in str(error.value)


@pytest.mark.parametrize("scale", ["a", None, -1, float("nan"), True])
def test_a_scale_of_the_task_that_is_none(scale):
    with pytest.raises(ValueError, match="WithStep.task_scale must be a finite number"):
        algorithm(one_tap(dict(type="WithStep", name="loss_x", scale=scale)))


def test_a_scale_of_the_task_that_cannot_be_read():
    """Without an error the task loss would stay as it is."""
    with pytest.raises(ValueError, match="WrongScale.task_scale cannot be read"):
        algorithm(one_tap(dict(type="WrongScale", name="loss_x")))


def test_ratios_of_labels_that_are_alike(batch):
    """Only the prefix that every term has is taken off."""
    losses = [dict(type="ChannelWiseDivergence", name=name) for name in ("loss_x", "loss_loss_x")]
    component = dict(one_tap(losses[0], "neck"), losses=losses)
    log = algorithm(component).train().train_step(batch, None)["log_vars"]
    assert log["ratio.x"] == log["ratio.loss_x"]


@pytest.mark.parametrize(
    ("align", "words"),
    [
        (dict(type="conv2d"), "align_module must be dict(type='conv2d' or 'linear'"),
        (3, "align_module must be dict"),
        (dict(type="conv2d", student_channels="8", teacher_channels=8), "student_channels must be"),
    ],
)
def test_what_align_module_may_not_be(align, words):
    with pytest.raises(ValueError) as error:
        algorithm(
            one_tap(dict(type="ChannelWiseDivergence", name="loss_x"), "neck", align_module=align)
        )
    assert f"components[0].{words}" in str(error.value) or words in str(error.value)


def test_align_module_of_other_channels_is_refused_before_training():
    align = dict(type="conv2d", student_channels=16, teacher_channels=8)
    loss = dict(type="ChannelWiseDivergence", name="loss_x")
    model = algorithm(one_tap(loss, "neck", align_module=align))
    with pytest.raises(FeatureError, match=r"align_module: student_channels=16, but 'neck' gives"):
        model.distiller.check_shapes(model.architecture.model)
