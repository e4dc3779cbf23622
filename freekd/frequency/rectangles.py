"""The dyadic split of a map's coefficients, ordered from low to high frequency, into bands.

A wavelet transform halves the frequencies of each axis J times. The same is done here to the
coefficients of another transform: an axis has cuts n_0 >= n_1 >= ... >= n_J >= 1, and level j takes
what lies between n_j and n_(j-1). So the bands have the names and the meaning of
:mod:`freekd.frequency.bands`: ``LH_j`` is low along the width and high along the height.
"""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from freekd.checks import check_choice
from freekd.frequency.bands import WaveletBands, band_names
from freekd.frequency.groups import GRANULARITIES, BandGroup

Cuts = Sequence[int]  # n_0, the number of coefficients of an axis, then n_1 to n_J


def halves(count: int, levels: int) -> List[int]:
    """The cuts of an axis of ``count`` coefficients: ceil(count / 2^j), as Haar's bands.

    >>> halves(7, 3)
    [7, 4, 2, 1]
    """
    return [-(-count // 2**level) for level in range(levels + 1)]


def _band_axis(cuts: Cuts) -> List[int]:
    """The length of the bands of level 1 to J along an axis."""
    return [max(low, before - low) for before, low in zip(cuts, cuts[1:])]


def rectangle_sizes(rows: Cuts, columns: Cuts) -> List[Tuple[int, int]]:
    """(h, w) of the 3J + 1 bands of :func:`split`, in the order of :func:`band_names`.

    >>> rectangle_sizes([7, 4], [8, 4])
    [(4, 4), (4, 4), (4, 4), (4, 4)]
    """
    sizes = [(rows[-1], columns[-1])]
    for size in zip(_band_axis(rows), _band_axis(columns)):
        sizes += [size] * 3
    return sizes


def rectangles(rows: Cuts, columns: Cuts) -> List[Tuple[range, range]]:
    """The rows and columns that each band of :func:`split` takes, in :func:`band_names`' order.

    >>> rectangles([2, 1], [1, 1])[1:]
    [(range(1, 2), range(0, 1)), (range(0, 1), range(1, 1)), (range(1, 2), range(1, 1))]
    """
    out = [(range(rows[-1]), range(columns[-1]))]
    for (tall, top), (wide, left) in zip(zip(rows, rows[1:]), zip(columns, columns[1:])):
        low, high = (range(top), range(left)), (range(top, tall), range(left, wide))
        out += [(high[0], low[1]), (low[0], high[1]), high]
    return out


def split(coefficients: Tensor, rows: Cuts, columns: Cuts) -> WaveletBands:
    """Cut coefficients (..., n_0, m_0), low frequencies first, into bands.

    The three bands of a level have one size; where one of them holds fewer rows or columns (none,
    on a map that is smaller than the split), zeros fill it up at the high end.

    Args:
        coefficients: (..., n_0, m_0).
        rows, columns: the cuts of both axes.
    """
    low, details = coefficients, []
    for (tall, top), (wide, left) in zip(zip(rows, rows[1:]), zip(columns, columns[1:])):
        # by halves: a slice's gradient is a whole map of zeros for each band
        upper, lower = low.split([top, tall - top], dim=-2)
        low, hl = upper.split([left, wide - left], dim=-1)
        lh, hh = lower.split([left, wide - left], dim=-1)
        details += [lh, hl, hh]
    sizes = rectangle_sizes(rows, columns)
    return WaveletBands.from_flat([_filled(*one) for one in zip([low, *details], sizes)])


def _filled(band: Tensor, size: Tuple[int, int]) -> Tensor:
    """A band with zeros below and at its right, up to (height, width)."""
    missing = (size[0] - band.shape[-2], size[1] - band.shape[-1])
    return F.pad(band, (0, missing[1], 0, missing[0])) if any(missing) else band


def join(bands: WaveletBands, rows: Cuts, columns: Cuts) -> Tensor:
    """The inverse of :func:`split`; what was filled up is left out.

    Raises:
        ValueError: bands of other sizes than those of the cuts.
    """
    want = rectangle_sizes(rows, columns)
    came = [tuple(band.shape[-2:]) for band in bands.flat()]
    if came != want:
        raise ValueError(f"a map of this size has bands of {want}, got {came}")
    low = bands.low
    for level in reversed(range(bands.levels)):
        lh, hl, hh = bands.details[level]
        height, width = rows[level] - rows[level + 1], columns[level] - columns[level + 1]
        top = torch.cat([low, hl[..., : rows[level + 1], :width]], dim=-1)
        bottom = torch.cat(
            [lh[..., :height, : columns[level + 1]], hh[..., :height, :width]], dim=-1
        )
        low = torch.cat([top, bottom], dim=-2)
    return low


def dyadic_groups(levels: int, granularity: str, parts: int = 1) -> List[BandGroup]:
    """The bands that share a prompt: each by itself (``band``), or the three of a ``level``.

    Args:
        levels: J.
        granularity: ``band`` or ``level``.
        parts: how many bands stand for one, as the real and the imaginary part do: the flat list
            has all bands of the first part, then those of the next. They share the prompt.

    Raises:
        ValueError: another granularity.
    """
    check_choice("granularity", granularity, GRANULARITIES)
    names = band_names(levels)
    shared: List[Tuple[str, Tuple[int, ...]]] = []
    if granularity == "band":
        shared = [(name, (i,)) for i, name in enumerate(names)]
    else:
        triples = [(3 * j - 2, 3 * j - 1, 3 * j) for j in range(1, levels + 1)]
        shared = [(names[0], (0,))]
        shared += [(f"level{j}", members) for j, members in enumerate(triples, start=1)]
    return [
        BandGroup(name, tuple(i + k * len(names) for k in range(parts) for i in members), n == 0)
        for n, (name, members) in enumerate(shared)
    ]
