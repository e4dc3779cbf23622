"""OFA-KD. Oracles: torch's cross entropy, by hand; the reference's numbers: test_golden.py."""

import math
from types import SimpleNamespace

import pytest
import torch
from loss_steps import step_of
from torch import nn
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.ofakd import OFAKDLoss, exponents, ofa_loss

SHAPES = dict(stage1=4, stage2=8, stage3=(16, 4, 4), stage4=12)
GIVEN = dict(stage_shapes=SHAPES, student_dim=12, teacher_dim=20, num_classes=5)


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(2, 6, 5, dtype=torch.float64)


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def made(**options):
    torch.manual_seed(0)
    return OFAKDLoss(**{**GIVEN, **options})


def taps(dtype=torch.float32):
    torch.manual_seed(1)
    student = {f"stage{i + 1}": torch.randn(6, c, 16 // 2**i, 16 // 2**i, dtype=dtype)
               for i, c in enumerate((4, 8, 16, 12))}  # fmt: skip
    return dict(student, logits=torch.randn(6, 5, dtype=dtype)), dict(
        logits=torch.randn(6, 5, dtype=dtype)
    )


# --------------------------------------------------------------------------- the loss
def test_exponent_1_is_the_soft_cross_entropy(logits):
    student, teacher = logits
    expected = F.cross_entropy(student / 2, (teacher / 2).softmax(1))
    torch.testing.assert_close(ofa_loss(student, teacher, LABELS, 1.0, 2.0), expected)


def test_by_hand():
    """p_t = (1/4, 3/4), label 0, eps 2: weights (5/4)^2 - 1 = 9/16 and (3/4)^2 = 9/16.

    s = (0, ln 3): log p_s = (-ln 4, ln 3 - ln 4). So the loss is 9/16 (2 ln 4 - ln 3).
    """
    student = torch.tensor([[0.0, math.log(3)]])
    found = ofa_loss(student, student, torch.tensor([0]), 2.0)
    assert float(found) == pytest.approx(9 / 16 * (2 * math.log(4) - math.log(3)))


def test_an_exponent_above_1_favours_the_label(logits):
    """The weights are the slopes in -log p_s: the sum over k of (weight_k p_s - weight_k) is 0."""
    student, teacher = logits
    weights = []
    for eps in (1.0, 1.5):
        logs = student.log_softmax(1).detach().requires_grad_()  # log p is its own log-softmax
        p = teacher.softmax(1)
        ofa_loss(logs, teacher, LABELS, eps).backward()
        total = (logs.grad * 6).sum(1)
        torch.testing.assert_close(total, torch.zeros_like(total))
        o = F.one_hot(LABELS, 5)
        weight = (p + o) ** eps - o
        torch.testing.assert_close(logs.grad * 6, weight.sum(1, keepdim=True) * logs.exp() - weight)
        weights.append(weight)
    is_label = F.one_hot(LABELS, 5).bool()
    assert (weights[1] > weights[0])[is_label].all() and (weights[1] < weights[0])[~is_label].all()


def test_a_constant_for_each_image_counts_for_nothing(logits):
    student, teacher = logits
    rows = torch.randn(2, 6, 1, dtype=torch.float64)
    torch.testing.assert_close(ofa_loss(student + rows[0], teacher + rows[1], LABELS, 1.5),
                               ofa_loss(student, teacher, LABELS, 1.5))  # fmt: skip


def test_large_logits_stay_finite():
    student = torch.tensor([[300.0, -300.0]], dtype=torch.float16, requires_grad=True)
    value = ofa_loss(student, -student, torch.tensor([1]), 1.5)
    assert value.dtype == torch.float32 and float(value.detach()) == pytest.approx(
        (2**1.5 - 1) * 600
    )


# --------------------------------------------------------------------------- the module
def test_fresh_branches_know_nothing():
    """Their logits are near 0: the term is the sum of the weights, 1 for eps = 1, times ln K."""
    loss = made()
    loss(*taps(), step_of(LABELS))
    for i in range(1, 5):
        assert float(loss.parts[f"stage{i}"]) == pytest.approx(math.log(5), rel=0.1)


def test_it_is_the_sum_of_its_parts():
    loss = made(stages_weight=0.1, logits_weight=2.0, task_weight=0.5, eps=[1, 1.5, 2, 1, 3])
    student, teacher = taps()
    value = loss(student, teacher, step_of(LABELS))
    expected = 2 * ofa_loss(student["logits"], teacher["logits"], LABELS, 3)
    assert float(loss.parts["logits"]) == pytest.approx(float(expected))
    assert [*loss.parts] == ["logits", "stage1", "stage2", "stage3", "stage4"]
    assert float(value.detach()) == pytest.approx(sum(map(float, loss.parts.values())))
    assert loss.task_scale == 0.5 and loss.eps == (1.0, 1.5, 2.0, 1.0, 3.0)


def test_some_stages_only():
    loss = made(stages=(2, 4), stage_shapes=dict(stage2=8, stage4=12))
    student, teacher = taps()
    loss({name: student[name] for name in ("stage2", "stage4", "logits")}, teacher, step_of(LABELS))
    assert [*loss.parts] == ["logits", "stage2", "stage4"]


def test_width_is_the_larger_of_both():
    assert made().branches["stage4"].head.in_features == 20
    assert made(teacher_dim=3).branches["stage4"].head.in_features == 12


def test_soft_labels_count_by_their_largest():
    soft = 0.9 * F.one_hot(LABELS, 5) + 0.02
    found = made()(*taps(), step_of(soft))
    torch.testing.assert_close(found, made()(*taps(), step_of(LABELS)))


def test_labels_follow_the_order_of_the_classes():
    """Channel k is the student's class order[k]; its labels keep the student's order."""
    order = torch.tensor([2, 0, 1, 4, 3])
    moved = step_of(order[LABELS], class_order=order)
    torch.testing.assert_close(made()(*taps(), moved), made()(*taps(), step_of(LABELS)))


def test_gradients():
    loss, (student, teacher) = made(), taps()
    for feat in (*student.values(), teacher["logits"]):
        feat.requires_grad_()
    loss(student, teacher, step_of(LABELS)).backward()
    assert teacher["logits"].grad is None
    assert all(bool(feat.grad.any()) for feat in student.values())
    assert not [name for name, p in loss.named_parameters() if p.grad is None]


# --------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(eps=0.5), r"ofakd\.eps must be a number from 1 to 100, or a list of such, got 0\.5"),
        (dict(eps=[1, 1]), r"ofakd\.eps must be one number, or 5: one for each of 4 stages"),
        (dict(stages=(1, 5)), r"ofakd\.stages must be some of 1, 2, 3 and 4"),
        (dict(stages=([1],)), r"ofakd\.stages must be some of"),
        (dict(stages=(True, 2)), r"ofakd\.stages must be some of"),
        (dict(stages=(2, 2)), r"ofakd\.stages must be some of"),
        (dict(stage_shapes=dict(SHAPES, stage4=True)), r"ofakd\.stage_shapes must be a dict"),
        (dict(stages=4), r"ofakd\.stages must be some of"),
        (dict(tau=0), r"ofakd\.tau must be a number of at least 0\.001"),
        (dict(stages_weight=-1), r"ofakd\.stages_weight must be a finite number of at least 0"),
        (dict(task_weight="x"), r"ofakd\.task_weight must be a finite number"),
        (dict(teacher_dim=None), r"ofakd\.teacher_dim is missing"),
        (dict(stage_shapes=dict(stage1=4)), r"ofakd\.stage_shapes must be a dict .* stage2=64"),
        (dict(stage_shapes=dict(SHAPES, stage4=(48, 12))),
         r"ofakd\.stage_shapes\.stage4: 48 tokens are no square grid"),
        (dict(num_classes=2.0), r"ofakd\.num_classes must be an integer"),
    ],
)  # fmt: skip
def test_bad_options(options, said):
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_bad_taps():
    loss, (student, teacher) = made(), taps()
    some = {name: out for name, out in student.items() if name != "stage3"}
    said = r"x\.module \(student\): expected the taps logits, stage1, .*\. Add stage3, or choose"
    with pytest.raises(FeatureError, match=said):
        loss.check_taps(some, teacher, None, "x")
    look = SimpleNamespace(outputs=lambda: some, model={})  # before the loss is built
    with pytest.raises(FeatureError, match=said):
        OFAKDLoss.tell({}, look, look, "x")
    assert "stage3" not in OFAKDLoss.tell(dict(stages=(1, 2, 4)), look, look, "x")["stage_shapes"]
    with pytest.raises(
        FeatureError, match=r"\(teacher\): expected the taps logits, got stage1\. Add"
    ):
        loss.check_taps(student, dict(stage1=teacher["logits"]), None, "x")
    with pytest.raises(ValueError, match=r"p\.num_classes=5: the logits are of 4 classes"):
        loss.check_taps(dict(student, logits=torch.zeros(6, 4)),
                        dict(logits=torch.zeros(6, 4)), None, "p")  # fmt: skip
    with pytest.raises(FeatureError, match=r"p: expected logits of the same classes"):
        loss.check_taps(student, dict(logits=torch.zeros(6, 4)), None, "p")
    with pytest.raises(FeatureError, match=r"p\.stage_shapes\.stage2=8: expected maps \(N, 8, H"):
        loss.check_taps(dict(student, stage2=torch.zeros(6, 9, 8, 8)), teacher, None, "p")
    with pytest.raises(FeatureError, match=r"ofakd: expected the labels of the images, gt_label"):
        loss(student, teacher, step_of(img=1))


def test_the_teacher_s_width_is_looked_at():
    paths = (dict(), dict(logits="fc"))
    teacher = nn.ModuleDict(dict(fc=nn.Linear(7, 5)))
    with pytest.raises(ValueError, match=r"p\.teacher_dim=20: .* 'fc', sees 7 channels\. Set"):
        made().check_models(step_of(teacher=teacher, paths=paths), "p")
    made(teacher_dim=7).check_models(step_of(teacher=teacher, paths=paths), "p")


def test_one_exponent_in_a_list():
    assert exponents([1.5], 2, "eps") == (1.5, 1.5, 1.5)
