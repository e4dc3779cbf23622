"""DKD. Oracles: the reference's numbers (test_golden.py), KL by torch, hand arithmetic."""

import math

import pytest
import torch
from loss_steps import step_of
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.dkd import DKDLoss, dkd_terms
from freekd.losses.logits import at_label

LABELS = torch.tensor([2, 0, 6, 2, 4])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)


def test_by_hand():
    """p(t) = (1/2, 1/4, 1/4), p(s) = (1/4, 1/2, 1/4), label 0.

    TCKD = 1/2 ln 2 + 1/2 ln(2/3). q(t) = (1/2, 1/2), q(s) = (2/3, 1/3):
    NCKD = 1/2 ln(3/4) + 1/2 ln(3/2).
    """
    student = torch.tensor([[0.25, 0.5, 0.25]]).log()
    teacher = torch.tensor([[0.5, 0.25, 0.25]]).log()
    target, others = dkd_terms(student, teacher, torch.tensor([0]), 1.0)
    assert float(target) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert float(others) == pytest.approx(0.5 * math.log(3 / 4) + 0.5 * math.log(3 / 2), abs=1e-6)
    loss = DKDLoss(tau=1, alpha=2, beta=3, loss_weight=0.5)
    value = loss(student, teacher, step_of(torch.tensor([0])))
    assert float(value) == pytest.approx(float(target) + 1.5 * float(others))


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_weighted_by_what_the_teacher_leaves_it_is_kd(logits, tau):
    """alpha = 1, and beta = 1 - b of each image: tau^2 KL."""
    student, teacher = logits
    target, others = dkd_terms(student, teacher, LABELS, tau)
    b = at_label(F.softmax(teacher / tau, 1), LABELS)
    log_s, log_t = F.log_softmax(student / tau, 1), F.log_softmax(teacher / tau, 1)
    divergence = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(target + (1 - b) * others, tau**2 * divergence, rtol=1e-10, atol=0)


def test_a_shift_of_all_logits_of_an_image_changes_nothing(logits):
    student, teacher = logits
    shift = torch.arange(5.0, dtype=torch.float64)[:, None]
    loss = DKDLoss()
    before = loss(student, teacher, step_of(LABELS))
    after = loss(student + 9 * shift, teacher - shift, step_of(LABELS))
    torch.testing.assert_close(after, before)


def test_nothing_where_both_are_alike_and_only_the_student_learns(logits):
    student, teacher = (side.requires_grad_() for side in logits)
    loss = DKDLoss()
    loss(student, teacher, step_of(LABELS)).backward()
    assert teacher.grad is None and float(student.grad.abs().max()) > 0.1
    same = teacher.detach().clone().requires_grad_()
    value = loss(same, teacher, step_of(LABELS))
    value.backward()
    assert abs(float(value.detach())) < 1e-12 and float(same.grad.abs().max()) < 1e-12


def test_gradient_by_finite_differences(logits):
    student, teacher = logits
    loss, step = DKDLoss(tau=2.5), step_of(LABELS)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, step), (student.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype):
    """A student sure of the label, z above, and a teacher sure of another class: by hand.

    As b = 0 and 1 - a = 2 exp(-z), TCKD = z - ln 2. The others: q(t) = (1, 0) and
    q(s) = (1/2, 1/2): ln 2. Together z.
    """
    student = torch.tensor([[1e4, 0.0, 0.0]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[0.0, 1e4, 0.0]], dtype=dtype)
    value = DKDLoss(tau=1, beta=1)(student, teacher, step_of(torch.tensor([0])))
    value.backward()
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(float(student.detach()[0, 0]), rel=1e-6)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(tau=0), "dkd.tau must be a number of at least 0.001 .*got 0"),
        (dict(alpha=-1), "dkd.alpha .*got -1"),
        (dict(beta="6"), "dkd.beta must be a finite number of at least 0, got '6'"),
        (dict(beta=float("inf")), "dkd.beta .*got inf"),
        (dict(loss_weight=None), "dkd.loss_weight .*got None"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        DKDLoss(**options)


def test_what_it_cannot_compare():
    loss, three = DKDLoss(), torch.zeros(2, 3)
    for student, teacher, words in [
        (torch.zeros(2, 3, 4, 4), three, r"dkd: .* the student's tap, got \(2, 3, 4, 4\)"),
        (three, torch.zeros(2, 5), r"dkd: .*\(2, 3\) from the student and \(2, 5\)"),
        (torch.zeros(2, 1), torch.zeros(2, 1), "dkd: .* at least 2 classes"),
    ]:
        with pytest.raises(FeatureError, match=words):
            loss.check_feats([student], [teacher])
    with pytest.raises(FeatureError, match=r"dkd: expected labels \(2,\) .* got \(4,\)"):
        loss(three, three, step_of(torch.zeros(4, dtype=torch.int64)))
    with pytest.raises(FeatureError, match="dkd: expected the labels .* a batch of img; load them"):
        loss(three, three, step_of(img=three))
