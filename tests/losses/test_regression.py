"""Box regression imitation: the card stands for mmdet's smooth L1 between the two heads."""

import pytest
import torch

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

import freekd.distill  # noqa: F401
from freekd.config.losses import read_entry


def test_the_class_is_mmdets():
    entry = read_entry("regression", dict(module="bbox_head.retina_reg", beta=0.5), "k", "det")
    loss = LOSSES.build({k: v for k, v in entry.loss({}).items() if k != "name"})
    assert type(loss).__module__.startswith("mmdet.")
    # |d| = 1 > beta: |d| - beta / 2 = .75; |d| = .1: d^2 / (2 beta) = .01
    student, teacher = torch.tensor([[1.0, 0.1]]), torch.zeros(1, 2)
    assert float(loss(student, teacher)) == pytest.approx((0.75 + 0.01) / 2)


def test_it_compares_no_feature_maps():
    entry = read_entry("regression", dict(module="bbox_head.retina_reg"), "k", "det")
    assert not entry.compares_maps and not entry.takes_maps and entry.default_module is None
