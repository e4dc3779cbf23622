"""The transform against PyWavelets, its inverse, its adjoint, its gradients."""

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freekd.frequency import MODES, WaveletBands, band_names, dwt2, idwt2

WAVELETS = ("haar", "db2", "sym4", "bior2.2")
SIZES = st.tuples(st.integers(1, 21), st.integers(1, 21))


def random_map(size, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((2, 3, *size)).astype(dtype)


def pywt_bands(x, wavelet, levels, mode):
    """PyWavelets' coefficients in our order: LL, then levels fine to coarse."""
    low, *details = pywt.wavedec2(x, wavelet, mode=mode, level=levels)
    return [low] + [band for level in reversed(details) for band in level]


def assert_equals_pywt(size, wavelet, levels, mode):
    x = random_map(size)
    got = dwt2(torch.from_numpy(x), wavelet, levels, mode).flat()
    want = pywt_bands(x, wavelet, levels, mode)
    assert len(got) == len(want) == 3 * levels + 1
    for name, a, b in zip(band_names(levels), got, want):
        assert a.shape == b.shape, name
        scale = max(np.abs(b).max(), 1.0)  # 'smooth' extrapolates to large values on tiny maps
        np.testing.assert_allclose(a.numpy(), b, rtol=0, atol=1e-12 * scale * 100, err_msg=name)


@pytest.mark.filterwarnings("ignore:Level value")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_coefficients_equal_pywavelets(wavelet, mode):
    for size in ((16, 16), (13, 22), (7, 9)):
        deepest = 3 if "reflect" in mode and min(size) < 9 else 4  # see below
        for levels in range(1, deepest + 1):
            assert_equals_pywt(size, wavelet, levels, mode)


@pytest.mark.filterwarnings("ignore:Level value")
@settings(max_examples=60, deadline=None)
@given(
    size=SIZES,
    wavelet=st.sampled_from(WAVELETS + ("db5", "coif1", "rbio3.1")),
    levels=st.integers(1, 4),
    mode=st.sampled_from([m for m in MODES if m not in ("reflect", "antireflect")]),
)
def test_any_size_equals_pywavelets(size, wavelet, levels, mode):
    # PyWavelets refuses [anti]reflect on a length of 1, which deep levels of small maps have
    assert_equals_pywt(size, wavelet, levels, mode)


@settings(max_examples=60, deadline=None)
@given(
    size=SIZES,
    wavelet=st.sampled_from(WAVELETS),
    levels=st.integers(1, 4),
    mode=st.sampled_from(MODES),
)
def test_perfect_reconstruction(size, wavelet, levels, mode):
    x = torch.from_numpy(random_map(size, seed=1))
    out = idwt2(dwt2(x, wavelet, levels, mode), wavelet, mode, size)
    assert out.shape == x.shape
    scale = float(x.abs().max())
    if mode in ("smooth", "antireflect") and wavelet != "haar":
        scale *= 1e3  # linear extrapolation amplifies rounding
    torch.testing.assert_close(out, x, rtol=0, atol=1e-11 * scale)


def test_odd_size_comes_out_one_larger_without_a_size():
    x = torch.from_numpy(random_map((7, 10)))
    out = idwt2(dwt2(x, levels=1))
    assert out.shape[-2:] == (8, 10)
    torch.testing.assert_close(out[..., :7, :], x)
    assert float(out[..., 7, :].abs().max()) < 1e-12  # the zero that was padded


def test_haar_by_hand():
    # block 1 2 / 3 4: LL (1+2+3+4)/2 = 5, LH (1+2-3-4)/2 = -2, HL (1-2+3-4)/2 = -1,
    # HH (1-2-3+4)/2 = 0
    bands = dwt2(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None], levels=1)
    assert [float(band.detach()) for _, band in bands.named()] == [5.0, -2.0, -1.0, 0.0]


def test_horizontal_details_answer_to_horizontal_edges():
    rows = torch.zeros(1, 1, 8, 8)
    rows[..., 1::2, :] = 1  # horizontal stripes: only LH and LL see them
    details = dwt2(rows, levels=1).details[0]
    assert float(details.horizontal.abs().min()) == 1.0
    assert float(details.vertical.abs().max()) == float(details.diagonal.abs().max()) == 0.0


@settings(max_examples=30, deadline=None)
@given(size=SIZES, levels=st.integers(1, 4))
def test_haar_shapes_and_energy(size, levels):
    x = torch.from_numpy(random_map(size))
    bands = dwt2(x, levels=levels)
    for level, details in enumerate(bands.details, start=1):
        want = tuple(math.ceil(n / 2**level) for n in size)
        assert all(band.shape[-2:] == want for band in details)
    energy = sum(float(band.square().sum()) for band in bands.flat())
    assert energy == pytest.approx(float(x.square().sum()), rel=1e-12)  # orthonormal


@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior2.2"])
@pytest.mark.parametrize("mode", ["zero", "symmetric", "periodization"])
def test_gradcheck(wavelet, mode):
    x = torch.randn(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: tuple(dwt2(v, wavelet, 2, mode).flat()), (x,))
    bands = [band.detach().requires_grad_() for band in dwt2(x, wavelet, 2, mode).flat()]
    assert torch.autograd.gradcheck(
        lambda *flat: idwt2(WaveletBands.from_flat(list(flat)), wavelet, mode, (4, 5)), tuple(bands)
    )


def test_haar_second_derivative():
    x = torch.randn(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: tuple(dwt2(v, levels=2).flat()), (x,))
    assert torch.autograd.gradgradcheck(lambda v: idwt2(dwt2(v, levels=2), size=(5, 6)), (x,))


@settings(max_examples=30, deadline=None)
@given(size=SIZES, levels=st.integers(1, 3))
def test_haar_adjoint(size, levels):
    """<xi x, y> = <x, xi^T y>, and for Haar the adjoint is the inverse."""
    x = torch.from_numpy(random_map(size)).requires_grad_()
    bands = dwt2(x, levels=levels)
    gen = torch.Generator().manual_seed(0)
    y = [torch.randn(b.shape, generator=gen, dtype=torch.float64) for b in bands.flat()]
    (adjoint,) = torch.autograd.grad([*bands.flat()], x, y)
    left = sum((a.detach() * b).sum() for a, b in zip(bands.flat(), y))
    torch.testing.assert_close(left, (x.detach() * adjoint).sum(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(adjoint, idwt2(WaveletBands.from_flat(y), size=size))


def test_linear():
    """xi(a) - xi(b) = xi(a - b)."""
    a, b = (torch.from_numpy(random_map((9, 6), seed)) for seed in (1, 2))
    for x, y, z in zip(dwt2(a).flat(), dwt2(b).flat(), dwt2(a - b).flat()):
        torch.testing.assert_close(x - y, z)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x = torch.from_numpy(random_map((12, 10), dtype=np.float32)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bands = dwt2(x, "db2")
        back = idwt2(bands, "db2", size=(12, 10))
    want = dwt2(x.float(), "db2")
    assert bands.low.dtype == back.dtype == torch.float32
    for a, b in zip(bands.flat(), want.flat()):
        assert torch.equal(a, b)
    torch.testing.assert_close(back, x.float(), rtol=0, atol=1e-5)


def test_without_batch_axes_and_non_contiguous():
    x = torch.randn(8, 12, dtype=torch.float64)
    torch.testing.assert_close(dwt2(x).low, dwt2(x[None, None]).low[0, 0])
    turned = x.t()
    torch.testing.assert_close(dwt2(turned, "db2").low, dwt2(turned.contiguous(), "db2").low)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: dwt2(x, "hara"), ["wavelet='hara'", "haar"]),
        (lambda x: dwt2(x, levels=0), ["levels", "0"]),
        (lambda x: dwt2(x, mode="zeros"), ["mode='zeros'", "symmetric"]),
        (lambda x: dwt2(x[0, 0, 0]), ["(..., H, W)", "(8,)"]),
        (lambda x: dwt2(x.long()), ["floating-point", "int64"]),
        (lambda x: idwt2(dwt2(x), size=(9, 8)), ["(8, 8)", "(9, 8)"]),
        (lambda x: WaveletBands.from_flat(dwt2(x).flat()[:-1]), ["3J + 1", "9"]),
    ],
)
def test_errors_say_what_came(call, words):
    with pytest.raises(ValueError) as error:
        call(torch.zeros(1, 1, 8, 8))
    for word in words:
        assert word in str(error.value)


def test_pytorch_wavelets_agrees():
    """The second oracle: what the release computes with."""
    from freekd import compat

    compat.apply()  # its import needs pkg_resources
    from pytorch_wavelets import DWTForward

    x = torch.randn(2, 3, 13, 18)
    low, highs = DWTForward(J=3, wave="haar", mode="zero")(x)
    bands = dwt2(x)
    torch.testing.assert_close(bands.low, low)
    for details, high in zip(bands.details, highs):
        torch.testing.assert_close(torch.stack(tuple(details), dim=2), high)
