"""Losses that need no teacher: in a distiller without one, and beside losses that have one."""

import copy

import pytest
import tiny
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

from freekd.checks import FeatureError
from freekd.distill.schedule import Run

SEEN = []


@LOSSES.register_module()
class OfItself(nn.Module):
    """The mean square of one tap, times a parameter of its own."""

    takes_teacher = False

    def __init__(self, loss_weight=1.0):
        super().__init__()
        self.loss_weight = loss_weight
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, step):
        SEEN.append((teacher, step))
        squares = torch.stack([level.square().mean() for level in student]).sum()
        return self.loss_weight * self.scale * squares


@LOSSES.register_module()
class OfTwoTaps(nn.Module):
    """Named taps, checked before training."""

    takes_teacher = False
    named_taps = True

    def forward(self, student, teacher, step=None):
        SEEN.append((teacher, step))
        return student["a"].mean() + 0 * student["b"].mean()

    def check_taps(self, student, teacher, step, key):
        SEEN.append((teacher, step))
        if student["b"].shape[1] != 16:
            raise FeatureError(f"{key}: 16 expected, got {student['b'].shape[1]}")


def own(module="neck", **options):
    loss = dict(type="OfItself", name="loss_own")
    return dict(student_module=module, losses=[dict(loss, **options)])


def two_taps(**taps):
    named = dict(dict(a="backbone.layer2", b="backbone.layer3"), **taps)
    return dict(student_module=named, losses=[dict(type="OfTwoTaps", name="loss_two")])


def compared(**options):
    return dict(student_module="neck", teacher_module="neck", losses=[tiny.freekd_loss(**options)])


def algorithm(*components, teacher=None, **distiller):
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["distiller"].update(components=[copy.deepcopy(one) for one in components], teacher=teacher)
    cfg["distiller"].update(distiller)
    torch.manual_seed(0)
    SEEN.clear()
    return tiny.build(cfg)


TEACHER = tiny.detector(base_channels=8)


def runs_of(model):
    """How often a model's backbone has run since."""
    counts = []
    model.backbone.register_forward_hook(lambda *_: counts.append(1))
    return counts


# --------------------------------------------------------------------------- without a teacher
def test_a_step_without_a_teacher(batch):
    model = algorithm(own(loss_weight=2.0)).train()
    student = model.architecture.model
    with torch.no_grad():
        maps = copy.deepcopy(student).extract_feat(batch["img"])
    outputs = model.train_step(batch, None)
    log = outputs["log_vars"]
    expected = 2.0 * sum(float(level.square().mean()) for level in maps)
    assert log["distiller.loss_own.0"] == pytest.approx(expected, rel=1e-4)
    task = log["student.loss_cls"] + log["student.loss_bbox"]
    assert log["loss"] == pytest.approx(task + expected, rel=1e-4)
    assert log["ratio.own"] == pytest.approx(expected / task, rel=1e-4)
    (teacher, step), = SEEN  # fmt: skip
    assert teacher is None and step.teacher is None and step.student is student
    outputs["loss"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_there_is_nothing_of_a_teacher():
    model = algorithm(own())
    model.init_weights()
    assert model.distiller.teacher is None and not model.distiller.held()
    assert [name for name in model.state_dict() if not name.startswith("architecture.")] == [
        "distiller.losses.loss_own.scale"
    ]
    assert model.distiller.exec_teacher_forward({}) is None
    model.distiller.check_ready()
    model.distiller.check_annotations(())
    assert model.distiller.check_class_names(model.architecture.model) == []
    model.eval().train().half().float()


def test_shapes_are_looked_at_before_training():
    model = algorithm(own(), two_taps())
    found = model.distiller.check_shapes(model.architecture.model, (3, 64, 64))
    assert found["loss_own"] == ["[(1, 8, 8, 8), (1, 8, 4, 4), (1, 8, 2, 2)]"]
    assert found["loss_two"] == ["(1, 8, 8, 8)", "(1, 16, 4, 4)"]
    (teacher, step), = SEEN  # fmt: skip
    assert teacher is None and step.paths == (two_taps()["student_module"], None)
    with pytest.raises(FeatureError, match=r"components\[0\]: 16 expected, got 32"):
        model = algorithm(two_taps(b="backbone.layer4"))
        model.distiller.check_shapes(model.architecture.model)


def test_a_tap_that_does_not_run(batch):
    model = algorithm(own("bbox_head.loss_bbox")).train()
    model.architecture.model.bbox_head.loss = lambda *_, **__: {"loss_cls": torch.zeros(())}
    with pytest.raises(RuntimeError, match=r"'bbox_head.loss_bbox' did not run in the student"):
        model.train_step(batch, None)


# --------------------------------------------------------------------------- beside a teacher
def test_beside_losses_that_have_a_teacher(batch):
    """Each as it is alone; the teacher runs once."""
    logs = []
    for components in ([compared()], [compared(), own()], [own(), compared()]):
        model = algorithm(*components, teacher=TEACHER).train()
        count = runs_of(model.distiller.teacher)
        logs.append(model.train_step(batch, None)["log_vars"])
        assert len(count) == 1
    (teacher, step), = SEEN  # fmt: skip
    assert teacher is None and step.teacher is model.distiller.teacher
    for log in logs[1:]:
        assert log["distiller.loss_freekd.0"] == logs[0]["distiller.loss_freekd.0"]
        assert log["distiller.loss_own.0"] == logs[1]["distiller.loss_own.0"] > 0


def test_the_teacher_rests_where_no_term_needs_it(batch):
    """The other's term begins in iteration 2; this one's acts from the first."""
    model = algorithm(compared(start=2), own(), teacher=TEACHER).train()
    count, logs = runs_of(model.distiller.teacher), []
    model.distiller.schedules.prepare(Run(4))
    for iteration in range(4):
        model.distiller.schedules.tell(iteration)
        logs.append(model.train_step(batch, None)["log_vars"])
    assert len(count) == 3  # tried in the first step
    assert [log["distiller.loss_own.0"] > 0 for log in logs] == [True] * 4
    assert [log["distiller.loss_freekd.0"] > 0 for log in logs] == [False, False, True, True]


def test_a_term_of_its_own_may_start_later(batch):
    model = algorithm(own(start=1)).train()
    model.distiller.schedules.prepare(Run(2))
    logs = []
    for iteration in range(2):
        model.distiller.schedules.tell(iteration)
        outputs = model.train_step(batch, None)
        outputs["loss"].backward()
        logs.append(outputs["log_vars"])
    assert logs[0]["distiller.loss_own.0"] == 0 < logs[1]["distiller.loss_own.0"]


# --------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("components", "keys", "words"),
    [
        ([compared()], {}, ["components[0]", "FreeKDLoss (loss_freekd) needs a teacher",
                            "distiller.teacher is None"]),
        ([own(), compared()], {}, ["components[1]", "distiller.teacher is None"]),
        ([dict(own(), teacher_module="neck")], dict(teacher=TEACHER),
         ["components[0]", "teacher_module='neck'", "OfItself (loss_own) needs no teacher"]),
        ([dict(own(), resize=True)], {}, ["components[0]", "['resize']", "needs none"]),
        ([dict(student_module="neck", losses=[tiny.freekd_loss()])], dict(teacher=TEACHER),
         ["components[0]", "no teacher_module. Add it"]),
        ([own("nek")], {}, ["components[0].student_module='nek'", "nearest: ['neck'"]),
        ([own()], dict(teacher_checkpoint="t.pth"), ["distiller.teacher_checkpoint='t.pth'",
                                                     "distiller.teacher is None"]),
        ([own()], dict(save_teacher=True), ["distiller.save_teacher=True"]),
        ([own()], dict(teacher_autocast="bfloat16"), ["distiller.teacher_autocast='bfloat16'"]),
        ([own()], dict(class_map="by_name"), ["distiller.class_map='by_name'"]),
    ],
)  # fmt: skip
def test_what_is_refused(components, keys, words):
    with pytest.raises(ValueError) as error:
        algorithm(*components, **keys)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_nothing_to_inherit():
    cfg = tiny.distill([])
    cfg["distiller"].update(components=[own()], teacher=None)
    with pytest.raises(ValueError, match=r"inherit=\['neck'\]: distiller.teacher is None"):
        tiny.build(dict(cfg, inherit=["neck"]))
