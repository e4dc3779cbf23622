"""CWD. Oracles: MMRazor's own class, hand arithmetic."""

import math

import pytest
import torch

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

import freekd.distill  # noqa: F401
from freekd.config.losses import read_entry
from freekd.losses.cwd import CWDLoss, cwd_loss


def test_by_hand():
    """One channel, two positions: teacher (1/2, 1/2), student softmax(ln 3, 0) = (3/4, 1/4)."""
    student, teacher = torch.tensor([[[[math.log(3.0), 0.0]]]]), torch.zeros(1, 1, 1, 2)
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(cwd_loss(student, teacher)) == pytest.approx(kl)
    assert float(CWDLoss(1, 1, 1, loss_weight=3.0)(student, teacher)) == pytest.approx(3 * kl)
    # tau = 2 and twice the logits: the same distributions, times 4
    assert float(cwd_loss(2 * student, teacher, tau=2.0)) == pytest.approx(4 * kl)


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize("size", [(2, 5, 13, 9), (1, 19, 32, 32), (3, 2, 1, 1)])
def test_the_value_and_gradient_of_mmrazors_class(tau, size):
    torch.manual_seed(0)
    theirs = LOSSES.get("ChannelWiseDivergence")(tau=tau, loss_weight=3.0).double()
    ours = CWDLoss(size[1], size[1], 1, tau=tau, loss_weight=3.0)
    student, teacher = (5 * torch.randn(*size, dtype=torch.float64) for _ in range(2))
    found = []
    for loss in (ours, theirs):
        leaf = student.clone().requires_grad_()
        value = loss(leaf, teacher)
        found.append((value, *torch.autograd.grad(value, leaf)))
    for mine, expected in zip(*found):
        assert torch.allclose(mine, expected, rtol=1e-12, atol=1e-15)


def test_each_level_is_mmrazors():
    torch.manual_seed(0)
    theirs = LOSSES.get("ChannelWiseDivergence")(tau=2.0)
    levels = [tuple(torch.randn(2, 4, side, side + 1) for _ in range(2)) for side in (8, 4, 2)]
    expected = sum(float(theirs(*level)) for level in levels)
    assert float(CWDLoss(4, 4, 3, tau=2.0)(*zip(*levels))) == pytest.approx(expected, rel=1e-5)


def test_on_the_high_bands_by_hand():
    """A 2x2 map has one coefficient per band: no distribution to differ. A 4x2 map has two.

    Teacher 0; the student's upper block is (a, 0; 0, 0), whose LH, HL and HH are a / 2 each, the
    lower one 0. With a = 2 ln 3 each band is (ln 3, 0) against (0, 0), as above; the mean of three.
    """
    loss = CWDLoss(1, 1, 1, domain="frequency", transform=dict(type="haar", levels=1))
    assert float(loss(torch.randn(1, 1, 2, 2), torch.randn(1, 1, 2, 2))) == 0
    student = torch.zeros(1, 1, 4, 2)
    student[0, 0, 0, 0] = 2 * math.log(3.0)
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(loss(student, torch.zeros(1, 1, 4, 2))) == pytest.approx(kl)


@pytest.mark.parametrize("value", [0, -1.0, 1e-40, 9e-4, "1", True, math.nan, None])
def test_tau(value):
    for key, build in (
        ("tau", lambda: CWDLoss(3, 3, 1, tau=value)),
        ("k.tau", lambda: CWDLoss.check_options(dict(tau=value), "k")),
    ):
        with pytest.raises(ValueError, match=f"{key} must be a number of at least 0.001"):
            build()


def test_the_entry():
    """Ours by its name; MMRazor's where a config asks for it, under whatever label."""
    entry = read_entry("cwd", dict(tau=4.0), "k", "det")
    assert (entry.kind, entry.default_module, entry.takes_maps) == ("CWDLoss", "neck", True)
    assert read_entry("cwd", {}, "k", "seg").default_module == "decode_head.conv_seg"
    for label in ("cwd", "mine"):
        entry = read_entry(label, dict(type="ChannelWiseDivergence", module="neck"), "k", "det")
        assert entry.kind == "ChannelWiseDivergence" and not entry.takes_maps
        built = LOSSES.build({k: v for k, v in entry.loss({}).items() if k != "name"})
        assert type(built).__module__.startswith("mmrazor.")
