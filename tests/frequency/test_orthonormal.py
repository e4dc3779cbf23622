"""What the DCT and the DFT share with Haar: energy, inverse, adjoint, content of the bands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freekd.frequency import (
    HAAR,
    CosineTransform,
    FourierTransform,
    WaveletTransform,
    build_transform,
)
from freekd.frequency.distance import weighted_sum
from freekd.frequency.groups import selected_groups

NEW = [
    CosineTransform(),
    CosineTransform(2, block=4),
    CosineTransform(1, block=6),
    FourierTransform(),
    FourierTransform(1),
]
ALL = [HAAR, *NEW]
SIZES = st.tuples(st.integers(1, 21), st.integers(1, 21))


def random_map(size, seed=0, dtype=torch.float64):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def energy(bands):
    return sum(band.square().sum() for band in bands.flat())


@settings(max_examples=80, deadline=None)
@given(size=SIZES, transform=st.sampled_from(ALL))
def test_parseval_inverse_and_adjoint_at_any_size(size, transform):
    x = random_map(size)
    bands = transform.analyse(x)
    assert [tuple(band.shape[-2:]) for band in bands.flat()] == transform.sizes(size)
    assert all(min(s) >= 1 for s in transform.sizes(size))
    assert tuple(name for name, _ in bands.named()) == transform.names
    torch.testing.assert_close(energy(bands), x.square().sum())
    torch.testing.assert_close(transform.synthesise(bands, size), x)
    # <xi x, y> = <x, xi~ y> for any y: so what stage 1 makes of masked bands is a projection
    gen = torch.Generator().manual_seed(1)
    flat = [torch.randn(b.shape, generator=gen, dtype=b.dtype) for b in bands.flat()]
    left = sum((a * y).sum() for a, y in zip(bands.flat(), flat))
    back = transform.synthesise(transform.bands(flat), size)
    torch.testing.assert_close(left, (x * back).sum())


@settings(max_examples=80, deadline=None)
@given(size=SIZES, transform=st.sampled_from(ALL))
def test_a_band_without_coefficients_of_its_own_is_zero_and_no_other_is(size, transform):
    bands = transform.analyse(random_map(size)).flat()
    assert transform.occupied(size) == [bool(band.abs().max() > 1e-9) for band in bands]


@pytest.mark.parametrize("transform", NEW, ids=repr)
@pytest.mark.parametrize("granularity", ["band", "level"])
def test_groups_have_bands_of_one_size_and_cover_all(transform, granularity):
    groups = transform.groups(granularity)
    members = [member for group in groups for member in group.members]
    assert sorted(members) == list(range(len(transform.names)))
    sizes = transform.sizes((25, 42))
    for group in groups:
        assert len({sizes[member] for member in group.members}) == 1
    wavelet = WaveletTransform(levels=transform.levels)
    assert [group.name for group in groups] == [g.name for g in wavelet.groups(granularity)]
    assert [group.low for group in groups] == [True] + [False] * (len(groups) - 1)
    assert len(selected_groups(groups, "high")) == len(groups) - 1
    with pytest.raises(ValueError, match="granularity='x'"):
        transform.groups("x")


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_low_and_high_content(transform):
    """A constant is in LL alone; the steepest change of a map in HH1, or LH1, HL1 by its axis."""
    rows = (-1.0) ** torch.arange(16, dtype=torch.float64)[:, None].expand(16, 24)
    columns = (-1.0) ** torch.arange(24, dtype=torch.float64).expand(16, 24)
    for x, name in (
        (torch.ones(16, 24, dtype=torch.float64), "LL"),
        (rows, "LH1"),
        (columns, "HL1"),
        (rows * columns, "HH1"),
    ):
        share = {}
        for found, band in transform.analyse(x).named():
            key = "LL" if found.startswith("LL") else found[:3]
            share[key] = share.get(key, 0) + float(band.square().sum() / x.square().sum())
        assert share[name] > 0.7, share  # a DCT has no cosine of the highest frequency: it leaks


def test_whole_maps_have_as_much_in_ll_as_haar():
    """A random map's energy is spread evenly: LL holds about 1 / 64 of it, level 1 about 3 / 4."""
    x = random_map((64, 96))
    for transform in (HAAR, CosineTransform(), CosineTransform(block=8), FourierTransform()):
        flat = transform.analyse(x).flat()
        low, finest = transform.groups("level")[0], transform.groups("level")[1]
        for group, expected in ((low, 1 / 64), (finest, 3 / 4)):
            share = sum(float(flat[m].square().sum()) for m in group.members) / x.square().sum()
            assert float(share) == pytest.approx(expected, rel=0.15), (transform, group)


@pytest.mark.parametrize("transform", NEW, ids=repr)
def test_gradcheck(transform):
    x = random_map((5, 6))[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(transform.analyse(x).flat()), x)
    flat = [band.detach().requires_grad_() for band in transform.analyse(x).flat()]
    assert torch.autograd.gradcheck(
        lambda *flat: transform.synthesise(transform.bands(flat), (5, 6)), flat
    )


@pytest.mark.parametrize("transform", NEW, ids=repr)
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(transform, half):
    x = random_map((13, 9), dtype=torch.float32).to(half)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bands = transform.analyse(x)
        back = transform.synthesise(bands, (13, 9))
    want = transform.analyse(x.float())
    for band, wanted in zip(bands.flat(), want.flat()):
        assert torch.equal(band, wanted) and band.dtype == torch.float32
    torch.testing.assert_close(back, x.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transform", NEW, ids=repr)
def test_wrong_maps_are_refused(transform):
    for bad, words in (
        (torch.zeros(3), r"\(\.\.\., H, W\)"),
        (torch.zeros(2, 2, dtype=torch.long), "floating-point"),
        (torch.zeros(2, 0), "at least 1x1"),
    ):
        with pytest.raises(ValueError, match=words):
            transform.analyse(bad)
    with pytest.raises(ValueError, match="at least 1x1"):
        transform.sizes((0, 3))
    with pytest.raises(ValueError, match="has bands of"):
        transform.synthesise(transform.analyse(torch.zeros(30, 40)), (12, 12))
    if getattr(transform, "block", None) is None:
        with pytest.raises(ValueError, match=r"needs size=\(H, W\)"):
            transform.synthesise(transform.analyse(torch.zeros(12, 12)))


@pytest.mark.parametrize("transform", NEW, ids=repr)
def test_the_config_form(transform):
    assert build_transform(transform.to_dict()) == transform
    assert build_transform(transform) is transform and transform != HAAR
    assert transform.haar_levels((16, 24)) == 0


def test_the_three_names():
    assert build_transform("dwt") == HAAR == build_transform(dict(type="dwt", levels=3))
    assert build_transform("dct") == CosineTransform(3, None)
    assert build_transform("dft") == FourierTransform(3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(type="dct", levels=0), "transform.levels must be an integer from 1 to 16, got 0"),
        (dict(type="dct", block=12), "transform.block=12 must be a multiple of 2.levels = 8"),
        (dict(type="dct", block="8"), "transform.block must be an integer"),
        (dict(type="dct", blocks=8), "'blocks'; it has .*Did you mean 'block'"),
        (dict(type="dft", levels=2.0), "transform.levels must be an integer"),
        (dict(type="dft", block=8), "no option 'block'"),
        ("dftt", "nearest: 'dft'"),
    ],
)
def test_wrong_options_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        build_transform(given)


def test_averages():
    """Over all positions for the whole map; over a coefficient's own block for blocks."""
    weight = torch.rand(2, 3, 13, 9, dtype=torch.float64)
    for transform in (CosineTransform(), FourierTransform()):
        for found in transform.averaged(weight):
            torch.testing.assert_close(found, weight.mean(dim=(2, 3), keepdim=True))
    blocks = CosineTransform(2, block=4)
    found = blocks.averaged(weight)
    assert [tuple(w.shape[-2:]) for w in found] == blocks.sizes((13, 9))
    for band, side in ((found[0], 1), (found[1], 2), (found[4], 1)):
        for y in range(band.shape[-2]):
            for x in range(band.shape[-1]):
                top, left = y // side * 4, x // side * 4
                own = weight[..., top : top + 4, left : left + 4]  # within the map alone
                torch.testing.assert_close(band[..., y, x], own.mean(dim=(2, 3)))


@settings(max_examples=80, deadline=None)
@given(
    size=SIZES,
    transform=st.sampled_from(NEW),
    squared=st.booleans(),
    gate=st.sampled_from([None, "channels", "bands", "places"]),
    mixed=st.booleans(),  # weights of each image, and of all: bands left out have the latter
)
def test_the_distance_in_one_piece_is_that_of_the_bands(size, transform, squared, gate, mixed):
    """Value and gradients, of the weights and the gate, too, against the sum over bands."""
    s, t = random_map(size).requires_grad_(), random_map(size, 1)
    gen = torch.Generator().manual_seed(2)

    def positive(*shape):
        found = torch.rand(shape, generator=gen, dtype=torch.float64)
        return found.requires_grad_()

    sizes = transform.sizes(size)
    weights = [positive(1 + (not mixed or k % 2), *one) for k, one in enumerate(sizes)]
    leaves, gates = [s, *weights], None
    if gate == "channels":
        gates = [positive(2, 3, 1, 1)] * len(weights)
    elif gate is not None:
        gates = [positive(2, 3, *(x.shape[1:] if gate == "places" else (1, 1))) for x in weights]
    if gates:
        leaves += gates[:1] if gate == "channels" else gates
    value = transform.distance(s, t, weights, gates, squared)
    want = weighted_sum(transform.difference(s, t), weights, gates, squared)
    torch.testing.assert_close(value, want)
    found, wanted = (torch.autograd.grad(x, leaves) for x in (value, want))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("base", [CosineTransform, FourierTransform])
def test_a_transform_that_extends_another_is_asked_for_its_own_bands(base):
    class Halved(base):
        def analyse(self, x):
            return super().analyse(x / 2)

    s, t = random_map((9, 8)), random_map((9, 8), 1)
    weights = [torch.ones(1, *one, dtype=s.dtype) for one in base().sizes((9, 8))]
    whole, halved = (of.distance(s, t, weights, squared=True) for of in (base(), Halved()))
    torch.testing.assert_close(halved, whole / 4)
    torch.testing.assert_close(whole, (s - t).square().sum())  # orthonormal


@pytest.mark.parametrize("transform", NEW, ids=repr)
def test_what_is_not_finite_is_seen(transform):
    s, t = random_map((9, 8)), random_map((9, 8), 1)
    s[0, 0, 0, 0] = float("nan")
    s.requires_grad_()
    weights = [torch.ones(1, *one, dtype=s.dtype) for one in transform.sizes((9, 8))]
    for squared in (False, True):
        value = transform.distance(s, t, weights, squared=squared)
        (grad,) = torch.autograd.grad(value, s)
        assert value.isnan() and grad[0, 0, 0, 0].isnan() and grad[1:].isfinite().all()
