"""CWD: the card stands for MMRazor's own loss on the neck."""

import math

import pytest
import torch

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

import freekd.distill  # noqa: F401
from freekd.config.losses import read_entry


def test_the_class_is_mmrazors():
    entry = read_entry("cwd", dict(loss_weight=3.0, tau=1.0), "k", "det")
    assert entry.default_module == "neck" and entry.compares_maps
    loss = LOSSES.build({k: v for k, v in entry.loss({}).items() if k != "name"})
    assert type(loss).__module__.startswith("mmrazor.")
    # one channel, two positions: teacher (1/2, 1/2), student softmax(ln 3, 0) = (3/4, 1/4)
    student = torch.tensor([[[[math.log(3.0), 0.0]]]])
    teacher = torch.zeros(1, 1, 1, 2)
    kl = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(loss(student, teacher)) == pytest.approx(3.0 * kl)
