"""What a loss may get beyond two maps: named taps, the step, a factor of the task loss."""

import copy

import pytest
import tiny
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

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
