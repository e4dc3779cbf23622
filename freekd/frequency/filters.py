"""Wavelet filters and the extension of a signal beyond its ends.

The filters come from PyWavelets; Haar's are written down, so that the default needs no package.
"""

import math
from difflib import get_close_matches
from functools import lru_cache
from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

HAAR_NAMES = ("haar", "db1")
MODES = (
    "zero",
    "constant",
    "symmetric",
    "reflect",
    "periodic",
    "smooth",
    "antisymmetric",
    "antireflect",
    "periodization",
)


class FilterBank(NamedTuple):
    """Decomposition and reconstruction filters, in PyWavelets' order of taps."""

    dec_lo: Tuple[float, ...]
    dec_hi: Tuple[float, ...]
    rec_lo: Tuple[float, ...]
    rec_hi: Tuple[float, ...]


def check_mode(mode: str) -> None:
    """Raise ValueError unless ``mode`` is one of PyWavelets' signal extension modes."""
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is not a signal extension mode; expected one of {MODES}")


@lru_cache(maxsize=None)
def filter_bank(wavelet: str) -> FilterBank:
    """The four filters of a discrete wavelet named as in PyWavelets.

    Raises:
        ValueError: for a name that PyWavelets does not know, with the nearest ones.
        ImportError: when PyWavelets is needed and missing.
    """
    if wavelet in HAAR_NAMES:
        s = math.sqrt(0.5)
        return FilterBank((s, s), (-s, s), (s, s), (s, -s))
    try:
        import pywt
    except ImportError as error:
        raise ImportError(
            f"wavelet={wavelet!r} needs PyWavelets (only 'haar' is built in): "
            "pip install PyWavelets"
        ) from error
    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        near = get_close_matches(str(wavelet), known, n=4, cutoff=0.3)
        raise ValueError(
            f"wavelet={wavelet!r} is not a discrete wavelet of PyWavelets; nearest: {near}, "
            "all: pywt.wavelist(kind='discrete')"
        )
    bank = pywt.Wavelet(wavelet).filter_bank
    return FilterBank(*(tuple(float(tap) for tap in taps) for taps in bank))


def wavelet_names() -> Sequence[str]:
    """The discrete wavelets; Haar alone where PyWavelets is missing."""
    try:
        import pywt
    except ImportError:
        return HAAR_NAMES
    names: Sequence[str] = pywt.wavelist(kind="discrete")
    return names


def _index_and_sign(length: int, left: int, right: int, mode: str) -> Tuple[List[int], List[float]]:
    """For each position of the extended signal: the source sample and its sign."""
    indices, signs = [], []
    for position in range(-left, length + right):
        sign = 1.0
        if mode == "constant":
            source = min(max(position, 0), length - 1)
        elif mode in ("periodic", "periodization"):
            source = position % length
        elif mode == "reflect":
            period = max(2 * (length - 1), 1)
            source = position % period
            source = min(source, period - source) if length > 1 else 0
        else:  # symmetric, antisymmetric
            turn, source = divmod(position, length)
            if turn % 2:
                source = length - 1 - source
                sign = -1.0 if mode == "antisymmetric" else 1.0
        indices.append(source)
        signs.append(sign)
    return indices, signs


def _extend_linear(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """``smooth`` and ``antireflect``: extensions that add multiples of end differences."""
    length = x.shape[-1]
    first, last = x[..., :1], x[..., -1:]
    if mode == "smooth":
        slope_left = first - x[..., 1:2] if length > 1 else torch.zeros_like(first)
        slope_right = last - x[..., -2:-1] if length > 1 else torch.zeros_like(last)
        before = torch.arange(left, 0, -1, dtype=x.dtype, device=x.device)
        after = torch.arange(1, right + 1, dtype=x.dtype, device=x.device)
        return torch.cat((first + before * slope_left, x, last + after * slope_right), dim=-1)
    # antireflect: with m = length - 1, position r + q m (0 <= r < m) is x[r] + q (x[m] - x[0])
    # for even q, and 2 x[m] - x[m - r] + (q - 1) (x[m] - x[0]) for odd q.
    if length == 1:
        return x.expand(*x.shape[:-1], left + 1 + right)
    m = length - 1
    sources, signs, turns, ends = [], [], [], []
    for position in range(-left, length + right):
        q, r = divmod(position, m)
        odd = q % 2
        sources.append(m - r if odd else r)
        signs.append(-1.0 if odd else 1.0)
        turns.append(float(q - 1 if odd else q))
        ends.append(2.0 if odd else 0.0)
    index = torch.tensor(sources, device=x.device)
    sign, turn, end = (
        torch.tensor(values, dtype=x.dtype, device=x.device) for values in (signs, turns, ends)
    )
    return sign * x.index_select(-1, index) + turn * (last - first) + end * last


def extend(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Extend the last axis by ``left`` and ``right`` samples, as PyWavelets' mode says.

    ``periodization`` expects an even length here (the caller repeats the last sample of an odd
    one) and then equals ``periodic``.
    """
    if left == 0 and right == 0:
        return x
    if mode == "zero":
        return F.pad(x, (left, right))
    if mode in ("smooth", "antireflect"):
        return _extend_linear(x, left, right, mode)
    indices, signs = _index_and_sign(x.shape[-1], left, right, mode)
    out = x.index_select(-1, torch.tensor(indices, device=x.device))
    if mode == "antisymmetric":
        out = out * torch.tensor(signs, dtype=x.dtype, device=x.device)
    return out
