"""One level of any discrete wavelet: a strided convolution along the width, then the height."""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from freekd.frequency.filters import extend, filter_bank


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


def analyse_level(x: Tensor, wavelet: str, mode: str) -> List[Tensor]:
    """One level of (..., H, W): [LL, LH, HL, HH]."""
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


def synthesise_level(bands: Sequence[Tensor], wavelet: str, mode: str) -> Tensor:
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
