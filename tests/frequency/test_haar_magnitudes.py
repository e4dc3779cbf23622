"""Sums over channels of |bands|, a few channels at a time: against the bands as a whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freekd.frequency import WaveletTransform, dwt2
from freekd.frequency.haar_magnitudes import haar_magnitudes
from freekd.prompts.forms import EnergyBiasForm
from freekd.prompts.masks import haar_masks, prompt_masks

DOUBLE = torch.float64


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(
    shape=st.tuples(*(st.integers(1, most) for most in (3, 9, 21, 21))),
    levels=st.integers(1, 4),
    prompts=st.integers(1, 3),
    room=st.sampled_from((1, 2**10, 2**12, 2**21)),  # a map at a time, several, all
    layout=st.sampled_from(("plain", "sliced", "channels_last")),
)
def test_are_the_sums_of_whole_bands(shape, levels, prompts, room, layout):
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=gen, dtype=DOUBLE)
    if layout == "sliced":
        x = torch.nn.functional.pad(x, (1, 2, 0, 1))[..., : shape[2], 1 : 1 + shape[3]]
    elif layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(3 * levels + 1, prompts, shape[1], generator=gen, dtype=DOUBLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freekd.frequency.butterfly._CHUNK_BYTES", room)
        patch.setattr("freekd.frequency.haar_magnitudes._LEAST", room)
        found = haar_magnitudes(x, weights)
    bands = dwt2(x, levels=levels).flat()
    assert len(found) == len(bands)
    for sums, band, factors in zip(found, bands, weights):
        wanted = torch.einsum("tc,nchw->nthw", factors, band.abs())
        torch.testing.assert_close(sums, wanted, rtol=1e-12, atol=1e-12)


def test_by_hand():
    """One 2x2 block 1 2 / 3 4: LL 5, LH |1+2-3-4|/2 = 2, HL |1-2+3-4|/2 = 1, HH 0."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    weights = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(4, 1, 1)
    assert [float(y) for y in haar_magnitudes(x, weights)] == [5.0, 20.0, 100.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_summed_in_float32(dtype):
    x = torch.randn(2, 5, 9, 12).to(dtype)
    weights = torch.randn(7, 2, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = haar_magnitudes(x, weights)
    for ours, wide in zip(found, haar_magnitudes(x.double(), weights)):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), wide, rtol=1e-5, atol=1e-5)


def test_x_is_left_as_it_is_and_has_no_gradient():
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    before = x.detach().clone()
    found = haar_magnitudes(x, torch.randn(4, 1, 3, requires_grad=True))
    assert torch.equal(x, before) and not any(y.requires_grad for y in found)


@pytest.mark.parametrize("granularity", ["band", "level"])
@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_masks_without_the_bands(granularity, size):
    gen = torch.Generator().manual_seed(0)
    transform = WaveletTransform(levels=2)
    groups = len(transform.groups(granularity))
    feat = torch.randn(3, 4, *size, generator=gen, dtype=DOUBLE)
    prompt = torch.randn(groups, 2, 4, generator=gen, dtype=DOUBLE)
    form = EnergyBiasForm(
        torch.rand(groups, 4, generator=gen, dtype=DOUBLE),
        torch.randn(groups, 2, generator=gen, dtype=DOUBLE),
    )
    found = haar_masks(prompt, feat, transform, granularity, form)
    wanted = prompt_masks(prompt, transform.analyse(feat), transform, granularity, form)
    assert len(found) == groups
    for ours, whole in zip(found, wanted):
        torch.testing.assert_close(ours, whole, rtol=1e-12, atol=1e-14)
