"""PKD. Oracles: Pearson's correlation by NumPy, hand arithmetic."""

import numpy as np
import pytest
import torch

from freekd.losses import cards
from freekd.losses.pkd import PKDLoss, pkd_loss


def one_minus_r(student, teacher):
    """Mean over channels of 1 - r, by np.corrcoef over (N, H, W)."""
    found = []
    for channel in range(student.shape[1]):
        x, y = (side[:, channel].reshape(-1).double().numpy() for side in (student, teacher))
        found.append(1 - np.corrcoef(x, y)[0, 1])
    return np.mean(found)


def test_it_is_the_correlation():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 9, 7) * 3 + 5, torch.randn(2, 4, 9, 7)
    student = student + 2 * teacher
    assert float(pkd_loss(student, teacher)) == pytest.approx(
        one_minus_r(student, teacher), rel=1e-4
    )


def test_by_hand():
    """The correlation of (0, 1, 2, 3) and (0, 0, 1, 1) is 2 / sqrt 5.

    Deviations (-3, -1, 1, 3) / 2 and (-1, -1, 1, 1) / 2: the sum of products is 2, the squares sum
    to 5 and 1.
    """
    student = torch.tensor([0.0, 1, 2, 3]).view(1, 1, 2, 2)
    teacher = torch.tensor([0.0, 0, 1, 1]).view(1, 1, 2, 2)
    found = PKDLoss(1, 1, 1, loss_weight=2.0)(student, teacher)
    assert float(found) == pytest.approx(2 * (1 - 2 / 5**0.5), rel=1e-4)


def test_scale_and_mean_of_a_channel_do_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6)
    factor, shift = torch.tensor([2.0, 30.0, 0.5]), torch.tensor([1.0, -4.0, 9.0])
    moved = student * factor.view(3, 1, 1) + shift.view(3, 1, 1)
    expected = float(pkd_loss(student, teacher))
    assert float(pkd_loss(moved, teacher)) == pytest.approx(expected, rel=1e-4)


def test_a_channel_without_variance_counts_as_half():
    """Its z is 0, so the mean square of the difference is the other's, which is 1: 1/2."""
    torch.manual_seed(0)
    teacher = torch.randn(2, 1, 8, 8)
    assert float(pkd_loss(torch.full_like(teacher, 3.0), teacher)) == pytest.approx(0.5, rel=1e-4)


def test_on_the_high_bands():
    """The mean over bands of 1 - r of the band's own coefficients."""
    import pywt

    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 16, 12), torch.randn(2, 3, 16, 12)
    expected = []
    trees = [pywt.wavedec2(side.numpy(), "haar", "zero", 2) for side in (student, teacher)]
    for level in zip(*(tree[1:] for tree in trees)):
        for ours, theirs in zip(*level):
            expected.append(one_minus_r(torch.from_numpy(ours), torch.from_numpy(theirs)))
    loss = PKDLoss(3, 3, 1, domain="frequency", transform=dict(type="haar", levels=2))
    assert len(expected) == 6
    assert float(loss(student, teacher)) == pytest.approx(6 * np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("size", [(25, 42), (13, 21), (7, 11), (4, 6), (2, 3), (2, 2)])
@pytest.mark.parametrize(
    "transform",
    ["haar", "dct", dict(type="dct", block=8), "dft", dict(type="dft", levels=4)],
    ids=str,
)
def test_unrelated_maps_give_1_on_every_level(transform, size):
    """Whatever its size: bands that hold nothing there do not count."""
    torch.manual_seed(0)
    loss = PKDLoss(200, 200, 1, domain="frequency", transform=transform, loss_weight=1.0)
    student, teacher = torch.randn(4, 200, *size), torch.randn(4, 200, *size)
    assert float(loss(student, teacher)) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("bands", ["high", "all", "low"])
@pytest.mark.parametrize("transform", ["dct", "dft"])
def test_a_map_of_one_place(transform, bands):
    """It has a low band alone: no high one is left, and nothing to learn there."""
    torch.manual_seed(0)
    loss = PKDLoss(
        200, 200, 1, domain="frequency", transform=transform, bands=bands, loss_weight=1.0
    )
    student = torch.randn(4, 200, 1, 1, requires_grad=True)
    value = loss(student, torch.randn(4, 200, 1, 1))
    value.backward()
    assert float(value.detach()) == pytest.approx(0 if bands == "high" else 1, abs=0.1)


def test_another_size_is_resized_to_the_teachers():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 8, 10)
    resized = torch.nn.functional.interpolate(student, (8, 10), mode="bilinear")
    found = PKDLoss(3, 3, 1, loss_weight=1.0)(student, teacher)
    assert float(found) == pytest.approx(one_minus_r(resized, teacher), rel=1e-4)


def test_card():
    card = cards()["pkd"]
    assert card.type == "PKDLoss" and set(card.tasks) == {"det", "seg"} and card.maps
