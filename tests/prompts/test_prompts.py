"""Prompts: masks, masked reconstruction, and what learns."""

import pytest
import torch

from freekd.frequency import HAAR, WaveletTransform, dwt2
from freekd.prompts.masks import haar_masks, prompt_masks
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec


def feats(channels=4, sizes=((8, 12), (5, 7)), dtype=torch.float32, seed=0):
    gen = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, *size, generator=gen, dtype=dtype) for size in sizes]


@pytest.mark.parametrize("granularity", ["band", "level"])
def test_zero_prompts_and_two_of_them_are_the_identity(granularity):
    """sigma(0) = 1/2, so T = 2 sums to 1; T = 6 to 3."""
    feat = feats(dtype=torch.float64)[1]
    groups = len(HAAR.groups(granularity))
    for count, factor in ((2, 1.0), (6, 3.0), (1, 0.5)):
        prompt = torch.zeros(groups, count, 4, dtype=torch.float64)
        out, masks = masked_reconstruction(feat, prompt, granularity=granularity)
        torch.testing.assert_close(out, feat * factor)
        assert len(masks) == groups and all(bool((mask == 0.5).all()) for mask in masks)


def test_masks_by_hand():
    """M = P R: with P selecting channel 1, the mask is sigma of that channel's coefficients."""
    feat = feats()[0]
    bands = dwt2(feat)
    prompt = torch.zeros(10, 1, 4)
    prompt[:, 0, 1] = 1.0
    for mask, band in zip(prompt_masks(prompt, bands), bands.flat()):
        torch.testing.assert_close(mask[:, 0], torch.sigmoid(band[:, 1]))


def test_level_granularity_shares_one_mask_over_three_orientations():
    feat = feats()[0]
    transform = WaveletTransform(levels=2)
    bands = transform.analyse(feat)
    prompt = torch.randn(3, 2, 4)
    masks = prompt_masks(prompt, bands, transform, "level")
    level2 = bands.details[1]
    logits = torch.einsum("tc,nchw->nthw", prompt[2], sum(level2))
    torch.testing.assert_close(masks[2], torch.sigmoid(logits))


def test_masks_come_from_projecting_first():
    """P xi(F) = xi(P F)."""
    feat = feats(dtype=torch.float64)[1]
    prompt = torch.randn(10, 2, 4, dtype=torch.float64)
    masks = prompt_masks(prompt, dwt2(feat))
    for group, mask in enumerate(masks):
        projected = torch.einsum("tc,nchw->nthw", prompt[group], feat)
        torch.testing.assert_close(mask, torch.sigmoid(dwt2(projected).flat()[group]))


def test_channel_weight_scales_the_reconstruction():
    feat = feats(dtype=torch.float64)[0]
    prompt = torch.randn(10, 2, 4, dtype=torch.float64)
    weight = torch.rand(2, 4, 1, 1, dtype=torch.float64)
    plain, _ = masked_reconstruction(feat, prompt)
    weighted, _ = masked_reconstruction(feat, prompt, gate_weight=weight)
    torch.testing.assert_close(weighted, plain * weight)


@pytest.mark.parametrize("gate", ["position", None])
def test_starts_near_the_identity_and_everything_learns(gate):
    torch.manual_seed(0)
    prompts = FrequencyPrompts(PromptSpec.build(4, 2, gate=gate))
    inputs = feats()
    outs, masks = prompts(inputs)
    for out, feat in zip(outs, inputs):
        assert out.shape == feat.shape
        torch.testing.assert_close(out, feat, rtol=0.2, atol=0.2)
    loss = sum(out.square().sum() for out in outs) + prompts.dissimilarity(masks)
    loss.backward()
    for name, parameter in prompts.named_parameters():
        assert parameter.grad is not None, name
        # the gate's last layer starts at zero: what is before it learns from the second step on
        if "gate.mlps" not in name or ".2." in name:
            assert float(parameter.grad.abs().max()) > 0, name


def test_gradcheck():
    prompt = (torch.randn(4, 2, 2, dtype=torch.float64) * 0.1).requires_grad_()
    feat = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, f: masked_reconstruction(f, p, WaveletTransform(levels=1))[0], (prompt, feat)
    )


def test_half_precision_keeps_its_dtype():
    prompts = FrequencyPrompts(PromptSpec.build(4, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outs, masks = prompts([feat.half() for feat in feats()])
    assert {out.dtype for out in outs} == {torch.float16}
    assert {mask.dtype for level in masks for mask in level} == {torch.float32}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(channels=0, num_levels=2), ["channels", "0"]),
        (dict(channels=(4, 4, 4), num_levels=2), ["channels", "3 levels", "num_levels=2"]),
        (dict(channels=4, num_levels=2, num_prompts=0), ["num_prompts", "0"]),
        (
            dict(channels=4, num_levels=2, transform=dict(type="haar", levels=1.5)),
            ["transform.levels", "1.5"],
        ),
        (dict(channels=4, num_levels=2, granularity="x"), ["granularity='x'", "'band'"]),
        (dict(channels=4, num_levels=2, gate="x"), ["gate.type='x'", "'position'"]),
        (dict(channels=4, num_levels=2, transform="haarr"), ["transform.type='haarr'", "haar"]),
        (dict(channels=(4, 8), num_levels=2), ["gate='position'", "gate=None"]),
    ],
)
def test_spec_errors(kwargs, words):
    with pytest.raises(ValueError) as error:
        PromptSpec.build(**kwargs)
    for word in words:
        assert word in str(error.value)


def test_wrong_features_are_refused_with_both_numbers():
    prompts = FrequencyPrompts(PromptSpec.build(4, 2))
    with pytest.raises(ValueError, match=r"neck gives 1 feature maps, num_levels=2"):
        prompts.check_feats(feats()[:1], "neck")
    with pytest.raises(ValueError, match=r"level 0: expected \(N, 4, H, W\).*\(2, 3, 8, 12\)"):
        prompts.check_feats(feats(channels=3), "neck")
    with pytest.raises(ValueError, match=r"10 groups, T, 4 channels.*\(4, 2, 4\)"):
        prompt_masks(torch.zeros(4, 2, 4), dwt2(feats()[0]))


@pytest.mark.parametrize("shape", [(8,), (8, 8), (4, 8, 8), (1, 1, 4, 8, 8), (1, 3, 8, 8)])
def test_maps_of_another_kind_are_refused_on_every_way(shape):
    """Not (N, C, H, W) of 4 channels: with both shapes, and never an IndexError."""
    maps, prompt = torch.zeros(shape), torch.zeros(10, 2, 4)
    spec = FrequencyPrompts(PromptSpec.build(4, 1, gate=None))
    ways = [
        lambda: spec.masks([maps]),
        lambda: spec.weights([maps]),
        lambda: spec.requires_grad_(False).masks([maps]),
    ]
    if len(shape) > 1:  # else the transform refuses them
        ways += [
            lambda: haar_masks(prompt, maps),
            lambda: prompt_masks(prompt, dwt2(maps)),
            lambda: masked_reconstruction(maps, prompt),
        ]
    for way in ways:
        with pytest.raises(ValueError, match=r"expected maps \(N, C, h, w\) and a prompt \(10 gro"):
            way()


@pytest.mark.parametrize("shape", [(), (10,), (10, 4), (10, 2, 4, 1), (4, 2, 4), (10, 2, 3)])
def test_prompts_of_another_kind_are_refused_on_every_way(shape):
    maps, prompt = torch.zeros(1, 4, 8, 8), torch.zeros(shape)
    for way in (
        lambda: haar_masks(prompt, maps),
        lambda: prompt_masks(prompt, dwt2(maps)),
        lambda: masked_reconstruction(maps, prompt),
    ):
        with pytest.raises(ValueError, match=r"10 groups, T, 4 channels\).*and a prompt \("):
            way()


def test_a_gate_weight_of_another_shape_is_refused():
    maps, prompt = torch.zeros(1, 4, 8, 8), torch.zeros(10, 2, 4)
    for shape in ((4,), (1, 4), (1, 3, 1, 1), (1, 4, 1), (1, 4, 8, 1), (1, 1, 4, 4)):
        with pytest.raises(ValueError, match=r"a gate's weight .* for maps \(1, 4, 8, 8\)"):
            masked_reconstruction(maps, prompt, gate_weight=torch.ones(shape))
