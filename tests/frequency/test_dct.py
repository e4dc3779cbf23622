"""The cosine transform against scipy's, and against Haar, which is its shortest block."""

import numpy as np
import pytest
import scipy.fft
import torch

from freekd.frequency import CosineTransform, WaveletTransform
from freekd.frequency.dct import _matrix, dct_matrix


def random_map(size, seed=0):
    return np.random.default_rng(seed).standard_normal((2, 3, *size))


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_the_matrix_is_orthonormal_and_scipys(count):
    matrix = dct_matrix(count)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(count, dtype=torch.float64))
    want = scipy.fft.dct(np.eye(count), axis=0, norm="ortho")
    np.testing.assert_allclose(matrix.numpy(), want, atol=1e-12)


@pytest.mark.parametrize("size", [(16, 24), (13, 22), (3, 5), (1, 1)])
def test_bands_are_rectangles_of_scipys_coefficients(size):
    x = random_map(size)
    want = scipy.fft.dctn(x, axes=(-2, -1), norm="ortho")
    bands = CosineTransform().analyse(torch.from_numpy(x))
    found = dict(bands.named())
    rows, columns = ([-(-n // 2**j) for j in range(4)] for n in size)
    np.testing.assert_allclose(found["LL3"], want[..., : rows[3], : columns[3]], atol=1e-12)
    for j in (1, 2, 3):
        low = slice(0, rows[j]), slice(0, columns[j])
        high = slice(rows[j], rows[j - 1]), slice(columns[j], columns[j - 1])
        parts = dict(LH=(high[0], low[1]), HL=(low[0], high[1]), HH=(high[0], high[1]))
        for name, (y, x_) in parts.items():
            band, wanted = found[f"{name}{j}"], want[..., y, x_]
            height, width = wanted.shape[-2:]
            np.testing.assert_allclose(band[..., :height, :width], wanted, atol=1e-12)
            rest = band.clone()
            rest[..., :height, :width] = 0
            assert not rest.any()  # what fills a band up is zero


def test_sizes_are_haars():
    haar = WaveletTransform()
    for size in ((100, 168), (25, 42), (7, 11), (1, 5), (1, 1)):
        assert CosineTransform().sizes(size) == haar.sizes(size)
    assert CosineTransform(block=8).sizes((104, 168)) == haar.sizes((104, 168))
    assert CosineTransform(block=8).sizes((100, 168)) == haar.sizes((104, 168))


@pytest.mark.parametrize("size", [(16, 24), (13, 9), (1, 5)])
def test_blocks_of_two_are_haar(size):
    """c_0 = (a + b) / sqrt 2, c_1 = (a - b) / sqrt 2."""
    x = torch.from_numpy(random_map(size))
    got, want = CosineTransform(1, block=2).analyse(x), WaveletTransform(levels=1).analyse(x)
    for (name, band), wanted in zip(got.named(), want.flat()):
        torch.testing.assert_close(band, wanted, msg=name)


def test_a_block_is_scipys_and_stays_in_its_place():
    x = random_map((16, 24))
    found = dict(CosineTransform(2, block=8).analyse(torch.from_numpy(x)).named())
    for down in range(2):
        for across in range(3):
            block = x[..., down * 8 : down * 8 + 8, across * 8 : across * 8 + 8]
            want = scipy.fft.dctn(block, axes=(-2, -1), norm="ortho")
            low = found["LL2"][..., down * 2 : down * 2 + 2, across * 2 : across * 2 + 2]
            np.testing.assert_allclose(low, want[..., :2, :2], atol=1e-12)
            hh = found["HH1"][..., down * 4 : down * 4 + 4, across * 4 : across * 4 + 4]
            np.testing.assert_allclose(hh, want[..., 4:, 4:], atol=1e-12)
            lh = found["LH2"][..., down * 2 : down * 2 + 2, across * 2 : across * 2 + 2]
            np.testing.assert_allclose(lh, want[..., 2:4, :2], atol=1e-12)


def test_blocks_do_without_a_size():
    transform = CosineTransform(block=8)
    x = torch.from_numpy(random_map((13, 9)))
    out = transform.synthesise(transform.analyse(x))
    assert out.shape[-2:] == (16, 16)
    torch.testing.assert_close(out[..., :13, :9], x)
    assert float(out[..., 13:, :].abs().max()) < 1e-12  # the zeros that filled the blocks up


def test_made_without_gradients_it_still_has_them_later():
    """A matrix that is kept from a block of inference mode is none of its tensors."""
    _matrix.cache_clear()
    x = torch.randn(1, 1, 6, 6)
    with torch.inference_mode():
        CosineTransform().analyse(x)
    x.requires_grad_()
    sum(band.sum() for band in CosineTransform().analyse(x).flat()).backward()
    assert x.grad is not None
