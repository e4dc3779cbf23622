"""Weighted sums over channels of the sizes of Haar coefficients, without making the bands.

    y_k[n,t] = sum_c W_k[t,c] |xi_k(x)[n,c]|

with xi J levels of the Haar transform with zero extension: what masks of band energy are made of.
|.| keeps W from going through the transform, as it does for signed coefficients. So on a CPU the
maps are taken a few channels at a time: between reading x and adding to y all stays in the cache.
No gradient.
"""

from itertools import product
from typing import List, Sequence

import torch
from torch import Tensor

from freekd.frequency.butterfly import Butterfly, halved, maps_at_a_time
from freekd.widen import wide_dtype

_FEWEST = 8  # parts of large maps: buffers are three times the size of a part
_LEAST = 2**17  # samples of a part, where the maps have them: smaller ones cost more time


class _Level:
    """Buffers of one level: what is split, what comes of it, and its sums."""

    def __init__(self, like: Tensor, images: int, maps: int, rows: int, size: Sequence[int]):
        height, width = halved(size)
        self.size = (height, width)
        self.maps = like.new_empty(maps, *size)
        self.packed = like.new_empty(maps, 2, height, 2 * width)  # see butterfly.py
        self.sums = like.new_zeros(images, 2, rows, height * 2 * width)


@torch.no_grad()
def haar_magnitudes(x: Tensor, weights: Tensor) -> List[Tensor]:
    """y above.

    Args:
        x: (N, C, H, W), any floating type.
        weights: W (3J + 1, T, C), in the order of :meth:`freekd.frequency.WaveletBands.flat`.

    Returns:
        3J + 1 sums (N, T, h, w), in float32, or float64 where ``x`` is.

    Packed bands hold HL and HH negated, which |.| does not see, and two bands in turn along the
    width; the sums of both are taken over all columns, and of each the half that is its own.
    """
    images, channels, height, width = x.shape
    levels, count = len(weights) // 3, weights.shape[1]
    dtype = wide_dtype(x)
    like = x.new_empty(0, dtype=dtype)
    weights = weights.to(dtype)
    room = max(-(-images * channels // _FEWEST), _LEAST // (height * width))
    room = min(maps_at_a_time(height, width, like), room)
    step, together = max(1, min(channels, room)), max(1, min(images, room // channels))
    rows = 2 * count
    work, size = [], (height, width)
    for _ in range(levels):
        work.append(_Level(like, images, step * together, rows, size))
        size = halved(size)
    pairs = _in_pairs(weights, levels)
    for image, first in product(range(0, images, together), range(0, channels, step)):
        piece = x[image : image + together, first : first + step]
        n, c = piece.shape[:2]
        for level, this in enumerate(work):
            maps, packed = this.maps[: n * c], this.packed[: n * c]
            if level == 0:
                maps.view_as(piece).copy_(piece)
            else:
                maps.copy_(work[level - 1].packed[: n * c, 0, :, 0::2])
            Butterfly(maps, packed).split()
        for this, factors in zip(work, pairs):
            sizes = this.packed[: n * c].abs_().view(n, c, 2, -1)
            for i, half in product(range(n), range(2)):
                part = factors[half][:, first : first + c]
                this.sums[image + i, half, : len(part)].addmm_(part, sizes[i, :, half])
    return _unpacked(work, images, count)


def _in_pairs(weights: Tensor, levels: int) -> List[List[Tensor]]:
    """Per level the factors of its packed halves: HL and (in the last) LL; then LH and HH."""
    out = []
    for level in range(1, levels + 1):
        lh, hl, hh = weights[3 * level - 2 : 3 * level + 1]
        first = torch.cat([hl, weights[0]]) if level == levels else hl
        out.append([first.contiguous(), torch.cat([hh, lh])])
    return out


def _unpacked(work: Sequence[_Level], images: int, count: int) -> List[Tensor]:
    low, details = None, []
    for this in work:
        sums = this.sums.view(images, 2, 2, count, *this.size, 2)
        low = sums[:, 0, 1, ..., 0]
        details += [sums[:, 1, 1, ..., 0], sums[:, 0, 0, ..., 1], sums[:, 1, 0, ..., 1]]
    assert low is not None
    return [low, *details]
