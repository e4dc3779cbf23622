"""WSLD. Oracles: the reference's numbers (test_golden.py), hand arithmetic, finite differences."""

import math

import pytest
import torch
from loss_steps import step_of
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.wsld import WSLDLoss, wsld_loss, wsld_weights

LABELS = torch.tensor([2, 0, 6, 2, 4])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)


def torch_s_own(student, teacher, tau):
    return F.cross_entropy(student / tau, (teacher / tau).softmax(1), reduction="none")


def test_by_hand():
    """p(t) = (1/2, 1/2), p(s) = (1/8, 7/8), label 0: rho = ln 8 / ln 2 = 3, at tau 1.

    L = (1 - exp(-3)) (1/2 ln 8 + 1/2 ln(8/7)).
    """
    student, teacher = torch.tensor([[0.125, 0.875]]).log(), torch.zeros(1, 2)
    value = wsld_loss(student, teacher, torch.tensor([0]), tau=1.0, alpha=2.0)
    expected = 2 * (1 - math.exp(-3)) * 0.5 * (math.log(8) + math.log(8 / 7))
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_alike_it_is_a_soft_cross_entropy(logits):
    """omega is 1 - 1/e for every image, up to the 1e-7 beside the teacher's cross entropy."""
    teacher = logits[1]
    value = WSLDLoss(tau=4.0, alpha=2.25)(teacher.clone(), teacher, step_of(LABELS))
    expected = 2.25 * 16 * (1 - math.exp(-1)) * torch_s_own(teacher, teacher, 4).mean()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    assert float(value) != float(expected)


def test_a_temperature_does_not_change_the_weights(logits):
    """They are of the softmax at temperature 1, whatever that of the soft labels."""
    student, teacher = logits
    weights = wsld_weights(student, teacher, LABELS)
    ours, theirs = (F.cross_entropy(z, LABELS, reduction="none") for z in logits)
    torch.testing.assert_close(weights, 1 - torch.exp(-ours / (theirs + 1e-7)))
    for tau in (0.5, 4.0):
        each = torch_s_own(student, teacher, tau)
        expected = 3 * tau**2 * (weights * each).mean()
        torch.testing.assert_close(wsld_loss(student, teacher, LABELS, tau, 3.0), expected)


def test_a_shift_of_all_logits_of_an_image_changes_nothing(logits):
    student, teacher = logits
    shift = torch.arange(5.0, dtype=torch.float64)[:, None]
    before = WSLDLoss()(student, teacher, step_of(LABELS))
    after = WSLDLoss()(student + 9 * shift, teacher - shift, step_of(LABELS))
    torch.testing.assert_close(after, before)


def test_the_gradient_goes_through_the_soft_labels_alone(logits):
    """That of the weighted soft cross entropy, its weights constants; none to the teacher."""
    student, teacher = (side.requires_grad_() for side in logits)
    WSLDLoss(tau=2, alpha=1)(student, teacher, step_of(LABELS)).backward()
    assert teacher.grad is None
    weights = wsld_weights(student, teacher, LABELS)
    fixed = 4 * (weights * torch_s_own(student, teacher.detach(), 2)).mean()
    torch.testing.assert_close(student.grad, torch.autograd.grad(fixed, student)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype):
    """The teacher is sure and right: rho is 1e4 / 1e-7, omega 1; the soft label costs 1e4."""
    student = torch.tensor([[0.0, 1e4]], dtype=dtype).requires_grad_()
    teacher = torch.tensor([[1e4, 0.0]], dtype=dtype)
    value = WSLDLoss(tau=1, alpha=1)(student, teacher, step_of(torch.tensor([0])))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(student.grad).all()
    assert float(value.detach()) == float(student.detach()[0, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(tau=0), "wsld.tau must be a number of at least 0.001 .*got 0"),
        (dict(alpha=-1), "wsld.alpha must be a finite number of at least 0, got -1"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        WSLDLoss(**options)


def test_what_it_cannot_compare():
    three = torch.zeros(2, 3)
    with pytest.raises(FeatureError, match=r"wsld: .*\(2, 3\) from the student and \(2, 5\)"):
        WSLDLoss().check_feats([three], [torch.zeros(2, 5)])
    with pytest.raises(FeatureError, match="wsld: expected the labels .* a batch of img; load"):
        WSLDLoss()(three, three, step_of(img=three))
