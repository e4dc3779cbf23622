"""Feature imitation, against hand arithmetic and torch's own mean squared error."""

import pytest
import torch

from freekd.losses import cards
from freekd.losses.mimic import FeatureMSELoss


def test_hand_arithmetic():
    """|1 - 3|^2 = 4 on the first level, |0 - 1|^2 = 1 on the second; half of the sum: 2.5."""
    loss = FeatureMSELoss(2, 2, 2, loss_weight=0.5)
    students = [torch.full((1, 2, 4, 4), 1.0), torch.zeros(1, 2, 2, 2)]
    teachers = [torch.full((1, 2, 4, 4), 3.0), torch.ones(1, 2, 2, 2)]
    assert float(loss(students, teachers)) == pytest.approx(2.5)


def test_after_its_own_convolution():
    torch.manual_seed(0)
    loss = FeatureMSELoss(3, 5, 1)
    student, teacher = torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6, 6, requires_grad=True)
    found = loss(student, teacher)
    expected = torch.nn.functional.mse_loss(loss.align[0](student), teacher)
    assert float(found) == pytest.approx(float(expected))
    found.backward()
    assert teacher.grad is None and loss.align[0].weight.grad is not None


def test_card():
    card = cards()["mimic"]
    assert card.type == "FeatureMSELoss" and card.maps and "num_levels" not in card.defaults


def test_defaults():
    """The release's: a convolution even where channels agree, which then starts as the identity."""
    loss, feat = FeatureMSELoss(3, 3, 1), torch.randn(2, 3, 4, 4)
    assert loss.align is not None and loss.loss_weight == 1.0
    assert float(loss(feat, feat).detach()) == pytest.approx(0, abs=1e-10)
    assert FeatureMSELoss(3, 3, 1, align="auto").align is None
