"""NKD. Oracles: the reference's numbers (test_golden.py), hand arithmetic, finite differences."""

import math

import pytest
import torch
from loss_steps import step_of
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.nkd import NKDLoss, nkd_loss

LABELS = torch.tensor([2, 0, 6, 2, 4])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)


def test_by_hand():
    """p(t) = (1/2, 1/4, 1/4), p(s) = (1/4, 1/2, 1/4), label 0, gamma 3.

    L = 1/2 ln 4 + 3 (1/2 ln(3/2) + 1/2 ln 3), as q(t) = (1/2, 1/2) and q(s) = (2/3, 1/3).
    """
    student = torch.tensor([[0.25, 0.5, 0.25]]).log()
    teacher = torch.tensor([[0.5, 0.25, 0.25]]).log()
    value = nkd_loss(student, teacher, torch.tensor([0]), tau=1.0, gamma=3.0)
    expected = 0.5 * math.log(4) + 1.5 * (math.log(3 / 2) + math.log(3))
    assert float(value) == pytest.approx(expected, rel=1e-6)
    loss = NKDLoss(tau=1, gamma=3, loss_weight=0.1)
    value = loss(student, teacher, step_of(torch.tensor([0])))
    assert float(value) == pytest.approx(0.1 * expected, rel=1e-6)


def test_the_temperature_is_of_the_other_classes_alone(logits):
    """Rows without their label's class, by loops."""
    student, teacher = logits
    expected = 0.0
    for s, t, y in zip(student, teacher, LABELS.tolist()):
        kept = [k for k in range(7) if k != y]
        q_t, q_s = F.softmax(t[kept] / 3, 0), F.log_softmax(s[kept] / 3, 0)
        expected -= F.softmax(t, 0)[y] * F.log_softmax(s, 0)[y] + 2 * 9 * (q_t * q_s).sum()
    value = nkd_loss(student, teacher, LABELS, tau=3.0, gamma=2.0)
    torch.testing.assert_close(value, expected / 5, rtol=1e-12, atol=0)


def test_a_shift_of_all_logits_of_an_image_changes_nothing(logits):
    student, teacher = logits
    shift = torch.arange(5.0, dtype=torch.float64)[:, None]
    before = NKDLoss()(student, teacher, step_of(LABELS))
    after = NKDLoss()(student + 9 * shift, teacher - shift, step_of(LABELS))
    torch.testing.assert_close(after, before)


def test_the_teachers_label_changes_nothing_of_the_others(logits):
    """A teacher's logit of the label scales the first part alone."""
    student, teacher = logits
    higher = teacher + 5 * F.one_hot(LABELS, 7)
    parts = []
    for side in (teacher, higher):
        both, first = (nkd_loss(student, side, LABELS, 2.0, gamma) for gamma in (1.0, 0.0))
        parts.append((both - first, first))
    torch.testing.assert_close(parts[0][0], parts[1][0])
    assert float(parts[1][1]) > 1.5 * float(parts[0][1])


def test_no_gradient_reaches_the_teacher(logits):
    student, teacher = (side.requires_grad_() for side in logits)
    NKDLoss()(student, teacher, step_of(LABELS)).backward()
    assert teacher.grad is None and float(student.grad.abs().max()) > 0.01


def test_gradient_by_finite_differences(logits):
    student, teacher = logits
    loss, step = NKDLoss(tau=2.5, gamma=2.0), step_of(LABELS)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, step), (student.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype):
    """p(t)_y = 1 costs 1e4 where the student is sure of another class; q(t) = (1/2, 1/2), half."""
    student = torch.tensor([[0.0, 1e4, 0.0]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[1e4, 0.0, 0.0]], dtype=dtype)
    value = NKDLoss(gamma=1)(student, teacher, step_of(torch.tensor([0])))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(student.grad).all()
    assert float(value.detach()) == pytest.approx(1.5 * float(student.detach()[0, 1]), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(tau=0), "nkd.tau must be a number of at least 0.001 .*got 0"),
        (dict(gamma=-1), "nkd.gamma must be a finite number of at least 0, got -1"),
        (dict(loss_weight="1"), "nkd.loss_weight .*got '1'"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        NKDLoss(**options)


def test_what_it_cannot_compare():
    three = torch.zeros(2, 3)
    with pytest.raises(FeatureError, match=r"nkd: .* the teacher's tap, got \(2, 4, 3\)"):
        NKDLoss().check_feats([three], [torch.zeros(2, 4, 3)])
    with pytest.raises(FeatureError, match=r"nkd: expected labels \(2,\) .* got \(2, 4\)"):
        NKDLoss()(three, three, step_of(torch.zeros(2, 4)))
