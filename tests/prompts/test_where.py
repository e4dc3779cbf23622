"""Weights of places: against hand arithmetic, loops over coefficients, and degenerate cases."""

import pytest
import torch

from freekd.frequency import HAAR, build_transform
from freekd.prompts.masks import mask_weight
from freekd.prompts.where import box_weights, energy_weights, masked_weights, mean_one


def test_mean_one_of_nothing_is_one():
    assert mean_one(torch.zeros(2, 3, 3)).eq(1).all()


@pytest.mark.parametrize("granularity", ["band", "level"])
@pytest.mark.parametrize("transform", ["haar", "db2", "dct", "dft"])
def test_energy_is_the_mean_over_channels_of_all_bands(transform, granularity):
    """A map of 40 channels, which is taken in parts, against its whole bands."""
    xi = build_transform(transform)
    feat = torch.randn(2, 40, 11, 14, dtype=torch.float64)
    flat = xi.analyse(feat).flat()
    found = energy_weights(feat, xi, granularity)
    for group, weight in zip(xi.groups(granularity), found):
        energy = sum(flat[i].abs().mean(1) for i in group.members)
        for image in range(2):
            expected = energy[image] / energy[image].mean()
            torch.testing.assert_close(weight[image], expected)


def test_energy_sees_no_sign():
    feat = torch.randn(1, 3, 16, 16)
    for one, other in zip(energy_weights(feat, HAAR), energy_weights(-feat, HAAR)):
        assert torch.equal(one, other)


def test_boxes_get_their_share_of_every_band():
    """Half of the weight lies in the left quarter, at each resolution."""
    inside = torch.zeros(2, 32, 32)
    inside[0, :, :8] = 1
    for weight in box_weights(inside, 0.5, HAAR):
        columns = weight.shape[-1] // 4
        assert float(weight[0, :, :columns].sum() / weight[0].sum()) == pytest.approx(0.5)
        assert float(weight[0].mean()) == pytest.approx(1)
        assert weight[1].eq(1).all(), "an image without boxes"


def test_all_weight_in_boxes():
    inside = torch.zeros(1, 16, 16)
    inside[0, :8] = 1
    finest = box_weights(inside, 1.0, HAAR)[1][0]
    assert finest[:4].eq(2).all() and finest[4:].eq(0).all()


def test_boxes_everywhere_count_alike():
    for weight in box_weights(torch.ones(1, 16, 16), 1.0, HAAR):
        assert torch.allclose(weight, torch.ones_like(weight))


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_masks_by_their_own_sum(distance):
    """A loop over images and masks; a mask that is 0 everywhere counts alike everywhere."""
    masks = torch.rand(2, 3, 5, 4, dtype=torch.float64)
    masks[1, 2] = 0
    (found,) = masked_weights([masks], distance, "sum")
    for image in range(2):
        parts = []
        for one in masks[image]:
            power = one if distance == "l1" else one**2
            parts.append(power / power.mean() if power.any() else torch.ones_like(power))
        torch.testing.assert_close(found[image], sum(parts) / 3)


def test_without_norm_they_are_the_published_weights():
    masks = torch.rand(2, 3, 5, 4)
    assert torch.equal(masked_weights([masks], "l2")[0], mask_weight(masks, "l2"))


def test_a_small_region_counts_as_much_as_a_large_one():
    masks = torch.zeros(1, 2, 8, 8)
    masks[0, 0, 0, 0], masks[0, 1, 4:] = 1, 1
    (weight,) = masked_weights([masks], "l1", "sum")
    assert float(weight[0, 0, 0]) == pytest.approx(float(weight[0, 4:].sum())) == 32
