"""KD. Oracles: the reference's numbers, properties of the softmax, finite differences."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from freekd.checks import FeatureError
from freekd.losses.kd import KDLoss, kd_loss

FOLDER = Path(os.environ.get("FREEKD_GOLDEN") or Path(__file__).parents[1] / "golden")
FILES = sorted(FOLDER.glob("kd_*.npz"))


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(5, 7, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)


def test_there_are_numbers():
    assert FILES, f"no kd_*.npz in {FOLDER}"


@pytest.mark.golden
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("dtype", "of_loss", "of_gradient"),
    [(torch.float64, 1e-8, 1e-6), (torch.float32, 1e-5, 1e-3)],
    ids=["float64", "float32"],
)
def test_reference_numbers(path, dtype, of_loss, of_gradient):
    """A missing key fails: every array here is read by its name."""
    with np.load(path) as file:
        arrays = {name: np.array(file[name]) for name in file.files}
    student = torch.from_numpy(arrays["in__student"]).to(dtype).requires_grad_()
    teacher = torch.from_numpy(arrays["in__teacher"]).to(dtype).requires_grad_()
    loss = KDLoss(tau=float(arrays["hp__temp"]), alpha=float(arrays["hp__alpha"]))
    value = loss(student, teacher)
    expected = float(arrays["out64__loss"])
    assert abs(float(value.detach()) - expected) <= of_loss * abs(expected)
    assert abs(loss.task_scale - float(arrays["out64__task_loss_scale"])) <= 1e-12
    value.backward()
    gradient = arrays["grad64__student"]
    apart = np.abs(student.grad.double().numpy() - gradient).max()
    assert apart <= of_gradient * np.abs(gradient).max()
    assert teacher.grad is None


def test_by_hand():
    """K = 2, tau = 2: s = (2, 0), t = (0, 2 ln 3): p(t) = (1/4, 3/4).

    log p(s) = (-ln(1 + 1/e), -1 - ln(1 + 1/e)), as s / tau = (1, 0). So the cross entropy is
    ln(1 + 1/e) + 3/4, and the loss 0.5 * 4 times that.
    """
    student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2 * math.log(3)]])
    expected = 0.5 * 4 * (math.log1p(math.exp(-1)) + 0.75)
    assert abs(float(kd_loss(student, teacher, 2.0, 0.5)) - expected) < 1e-6


def test_the_divergence_and_the_teachers_entropy(logits):
    student, teacher = logits
    p, log_s = F.softmax(teacher / 3, 1), F.log_softmax(student / 3, 1)
    divergence = F.kl_div(log_s, p, reduction="batchmean")
    entropy = -(p * p.log()).sum(1).mean()
    expected = 0.7 * 9 * (divergence + entropy)
    torch.testing.assert_close(kd_loss(student, teacher, 3.0, 0.7), expected, rtol=1e-12, atol=0)


def test_a_shift_of_all_logits_of_an_image_changes_nothing(logits):
    student, teacher = logits
    shift = torch.arange(5.0, dtype=torch.float64)[:, None]
    before = kd_loss(student, teacher, 4.0, 0.5)
    torch.testing.assert_close(kd_loss(student + 9 * shift, teacher - shift, 4.0, 0.5), before)


def test_no_gradient_where_both_are_alike_and_least_there(logits):
    teacher = logits[1]
    student = teacher.clone().requires_grad_()
    value = kd_loss(student, teacher, 4.0, 0.5)
    value.backward()
    assert float(student.grad.abs().max()) < 1e-15
    assert float(kd_loss(logits[0], teacher, 4.0, 0.5)) > float(value.detach())


def test_gradient_by_finite_differences(logits):
    student, teacher = logits
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, teacher, 2.5, 0.5), (student,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype):
    """The log of a softmax would be -inf; a sure teacher on the other class costs 1e4."""
    student = torch.tensor([[1e4, 0.0]], dtype=dtype).requires_grad_()
    value = KDLoss(tau=1.0, alpha=1.0)(student, torch.tensor([[0.0, 1e4]], dtype=dtype))
    value.backward()
    expected = float(student.detach()[0, 0])
    assert value.dtype == torch.float32 and float(value.detach()) == expected
    assert torch.isfinite(student.grad).all()


def test_it_computes_in_float32_under_autocast():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = KDLoss()(student, teacher)
    assert torch.equal(value, KDLoss()(student, teacher))


def test_nothing_to_learn_or_to_keep():
    loss = KDLoss(tau=3, alpha=0.25)
    assert not list(loss.parameters()) and not loss.state_dict() and loss.task_scale == 0.75


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(tau=0), "kd.tau must be a number of at least 0.001 .*got 0"),
        (dict(tau=-1.0), "kd.tau"),
        (dict(tau=True), "kd.tau .*got True"),
        (dict(tau=float("nan")), "kd.tau .*got nan"),
        (dict(tau="4"), "kd.tau .*got '4'"),
        (dict(alpha=1.5), "kd.alpha must be a number from 0 to 1, .*got 1.5"),
        (dict(alpha=None), "kd.alpha .*got None"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        KDLoss(**options)


def test_a_config_s_own_key_is_named():
    """Whatever the entry is called."""
    with pytest.raises(ValueError, match="pair.losses.mine.tau must be"):
        KDLoss.check_options(dict(tau=0), "pair.losses.mine")
    KDLoss.check_options(dict(alpha=1), "pair.losses.mine")


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3), r"the student's tap, got \(2, 3, 4, 4\)"),
        (torch.zeros(2, 3), (torch.zeros(2, 3),), "the teacher's tap, got tuple"),
        (torch.zeros(2, 3), torch.zeros(2, 5), r"\(2, 3\) from the student and \(2, 5\) from"),
    ],
)
def test_what_is_no_logits(student, teacher, words):
    with pytest.raises(FeatureError, match=words):
        KDLoss()(student, teacher)
