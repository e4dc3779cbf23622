"""The two-dimensional wavelet transform (the paper's xi) and its inverse, in pure torch.

Coefficients equal PyWavelets' ``wavedec2`` for every discrete wavelet, level count, extension mode
and size. Haar takes the fast path of :mod:`freekd.frequency.haar`; everything else is a strided
convolution along the width, then along the height.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from freekd.frequency.bands import DetailBands, WaveletBands
from freekd.frequency.filters import HAAR_NAMES, check_mode, extend, filter_bank
from freekd.frequency.haar import haar_analysis, haar_synthesis, halved


def _float_input(x: Tensor, what: str) -> Tensor:
    if not torch.is_tensor(x) or x.dim() < 2:
        came = tuple(x.shape) if torch.is_tensor(x) else type(x).__name__
        raise ValueError(f"{what} needs a tensor (..., H, W), got {came}")
    if not x.is_floating_point():
        raise ValueError(f"{what} needs a real floating-point tensor, got {x.dtype}")
    if 0 in x.shape[-2:]:
        raise ValueError(f"{what} needs a map of at least 1x1, got {tuple(x.shape)}")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_transform(size: Sequence[int], wavelet: str, levels: int, mode: str) -> None:
    """Raise ValueError, naming the key, unless :func:`dwt2` can transform maps (..., H, W)."""
    if len(size) < 2 or 0 in size[-2:]:
        raise ValueError(f"dwt2 needs a map (..., H, W) of at least 1x1, got {tuple(size)}")
    if not isinstance(levels, int) or levels < 1:
        raise ValueError(f"dwt_levels must be an integer of at least 1, got {levels!r}")
    check_mode(mode)
    filter_bank(wavelet)


def haar_applies(size: Sequence[int], wavelet: str, mode: str, levels: int) -> bool:
    """Whether J levels of (..., H, W) are those of :mod:`.haar`, which extends by zeros.

    On an even size Haar never looks beyond the ends, so every mode gives the same.
    """
    even = size[-2] % 2**levels == 0 and size[-1] % 2**levels == 0
    return wavelet in HAAR_NAMES and (mode == "zero" or even)


def band_sizes(
    size: Sequence[int], wavelet: str = "haar", levels: int = 3, mode: str = "zero"
) -> List[Tuple[int, int]]:
    """(h, w) of the 3J + 1 bands of :func:`dwt2` of a map (..., H, W), without computing them.

    Raises:
        ValueError: as :func:`dwt2`.

    >>> band_sizes((25, 42), levels=2)[:2]
    [(7, 11), (13, 21)]
    """
    check_transform(size, wavelet, levels, mode)
    taps = 2 if wavelet in HAAR_NAMES else len(filter_bank(wavelet).dec_lo)
    beyond = 1 if mode == "periodization" else taps - 1  # samples that a level adds, rounding incl.
    sizes: List[Tuple[int, int]] = []
    height, width = size[-2:]
    for _ in range(levels):
        height, width = (height + beyond) // 2, (width + beyond) // 2
        sizes += [(height, width)] * 3
    return [(height, width), *sizes]


def _analyse_rows(x: Tensor, wavelet: str, mode: str) -> Tuple[Tensor, Tensor]:
    """One level along the last axis: (M, W) to low and high, (M, W') each."""
    bank = filter_bank(wavelet)
    taps = len(bank.dec_lo)
    length = x.shape[-1]
    if mode == "periodization":
        if length % 2:
            x = torch.cat((x, x[..., -1:]), dim=-1)
        left = right = taps // 2 - 1
    else:
        left, right = taps - 2, 2 * ((length + taps - 1) // 2) - length
    kernel = x.new_tensor([bank.dec_lo[::-1], bank.dec_hi[::-1]]).unsqueeze(1)
    out = F.conv1d(extend(x, left, right, mode).unsqueeze(1), kernel, stride=2)
    return out[:, 0], out[:, 1]


def _synthesise_rows(low: Tensor, high: Tensor, wavelet: str, mode: str) -> Tensor:
    """The inverse of :func:`_analyse_rows`; an odd length comes out one larger."""
    bank = filter_bank(wavelet)
    taps = len(bank.rec_lo)
    kernel = low.new_tensor([bank.rec_lo, bank.rec_hi]).unsqueeze(1)
    full = F.conv_transpose1d(torch.stack((low, high), dim=1), kernel, stride=2)[:, 0]
    if mode != "periodization":
        return full[:, taps - 2 : full.shape[-1] - (taps - 2)]
    length, shift = 2 * low.shape[-1], taps // 2 - 1
    wrapped = full.new_zeros(full.shape[0], length)
    for start in range(0, full.shape[-1], length):  # what lies beyond the end comes in again
        piece = full[:, start : start + length]
        wrapped = wrapped + F.pad(piece, (0, length - piece.shape[-1]))
    return torch.roll(wrapped, -shift, dims=-1)


def _along_height(x: Tensor) -> Tensor:
    return x.transpose(-1, -2)


def _analyse(x: Tensor, wavelet: str, mode: str) -> List[Tensor]:
    """One level of (..., H, W): [LL, LH, HL, HH]."""
    if haar_applies(x.shape, wavelet, mode, 1):
        return haar_analysis(x)
    lead = x.shape[:-2]

    def split(maps: Tensor) -> Tuple[Tensor, Tensor]:
        rows = maps.reshape(-1, maps.shape[-1])
        low, high = _analyse_rows(rows, wavelet, mode)
        return low.view(*maps.shape[:-1], -1), high.view(*maps.shape[:-1], -1)

    low, high = split(x.reshape(-1, *x.shape[-2:]))
    ll, lh = split(_along_height(low))
    hl, hh = split(_along_height(high))
    return [
        _along_height(band).reshape(*lead, *_along_height(band).shape[-2:])
        for band in (ll, lh, hl, hh)
    ]


def _synthesise(bands: Sequence[Tensor], wavelet: str, mode: str) -> Tensor:
    """One level back to (..., H', W'), up to one larger than what was analysed."""
    lead = bands[0].shape[:-2]
    ll, lh, hl, hh = (_along_height(band.reshape(-1, *band.shape[-2:])) for band in bands)

    def merge(low: Tensor, high: Tensor) -> Tensor:
        shape = low.shape[:-1]
        width = low.shape[-1]
        return _synthesise_rows(
            low.reshape(-1, width), high.reshape(-1, width), wavelet, mode
        ).reshape(*shape, -1)

    low, high = _along_height(merge(ll, lh)), _along_height(merge(hl, hh))
    out = merge(low, high)
    return out.reshape(*lead, *out.shape[-2:])


def dwt2(x: Tensor, wavelet: str = "haar", levels: int = 3, mode: str = "zero") -> WaveletBands:
    """Transform the last two axes into J levels of named wavelet bands.

    Args:
        x: map (..., H, W). Half precision is computed, and returned, in float32, also under
            autocast.
        wavelet: a discrete wavelet, named as in PyWavelets.
        levels: J >= 1. As many as asked for, whatever the size: a band has at least 1x1.
        mode: PyWavelets' signal extension mode; the paper's default is ``zero``.

    Returns:
        The bands; with Haar, level j has size ceil(H / 2^j) x ceil(W / 2^j).

    Raises:
        ValueError: for an unknown wavelet or mode, ``levels`` < 1, or a map without two axes.

    >>> import torch
    >>> bands = dwt2(torch.ones(1, 4, 4), levels=2)
    >>> [(name, tuple(band.shape)) for name, band in bands.named()][:2]
    [('LL2', (1, 1, 1)), ('LH1', (1, 2, 2))]
    >>> float(bands.low)  # orthonormal: 4 samples of 1 become 2, 4 of 2 become 4
    4.0
    """
    low = _float_input(x, "dwt2")
    check_transform(x.shape, wavelet, levels, mode)
    with torch.autocast(device_type=low.device.type, enabled=False):
        if haar_applies(low.shape, wavelet, mode, levels):
            return WaveletBands.from_flat(haar_analysis(low, levels))
        details = []
        for _ in range(levels):
            low, lh, hl, hh = _analyse(low, wavelet, mode)
            details.append(DetailBands(lh, hl, hh))
    return WaveletBands(low, tuple(details))


def idwt2(
    bands: WaveletBands,
    wavelet: str = "haar",
    mode: str = "zero",
    size: Optional[Sequence[int]] = None,
) -> Tensor:
    """The inverse of :func:`dwt2` (the paper's xi~).

    Args:
        bands: what :func:`dwt2` gives, possibly changed.
        wavelet, mode: as given to :func:`dwt2`.
        size: (H, W) of the map that was transformed. An odd size comes out one larger without it.

    Raises:
        ValueError: for an unknown wavelet or mode, or a ``size`` that the bands cannot fill.
    """
    check_mode(mode)
    filter_bank(wavelet)
    low, *flat = (_float_input(band, "idwt2") for band in bands.flat())
    with torch.autocast(device_type=low.device.type, enabled=False):
        if wavelet in HAAR_NAMES:
            height, width = flat[0].shape[-2:]
            fits = size is not None and halved(size) == (height, width)  # else cut below
            largest = (2 * height, 2 * width)
            low = haar_synthesis([low, *flat], size if size is not None and fits else largest)
        else:
            for level in reversed(range(bands.levels)):
                lh, hl, hh = flat[3 * level : 3 * level + 3]
                height, width = lh.shape[-2:]
                low = _synthesise((low[..., :height, :width], lh, hl, hh), wavelet, mode)
    if size is None:
        return low
    height, width = size
    if height > low.shape[-2] or width > low.shape[-1]:
        raise ValueError(f"the bands reconstruct {tuple(low.shape[-2:])}, size={tuple(size)} asked")
    return low[..., :height, :width]
