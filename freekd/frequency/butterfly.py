"""The Haar transform as butterflies: the default wavelet's fast path, in torch, without gradients.

Haar with zero extension is a 2x2 block transform: with a, b / c, d the samples of a block,

    LL = (a + b + c + d) / 2    LH = (a + b - c - d) / 2
    HL = (a - b + c - d) / 2    HH = (a - b - c + d) / 2

The 4x4 matrix is orthonormal and symmetric, so the adjoint of the transform is its inverse.

Along the height a butterfly adds and subtracts whole rows. Along the width neighbours would have to
be read with a stride of two, which is slow on CPUs. So a pair of neighbours x, y is taken as the
complex number x + iy: its product with (1 - i) / 2 is ((x + y) + i (y - x)) / 2, a butterfly in one
multiplication of contiguous memory. What comes out is called *packed*: LL and -HL, LH and -HH,
alternate along the width. Maps are taken a few at a time, so that they stay in the cache.
"""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor

_SPLIT, _MERGE = 0.5 - 0.5j, 0.5 + 0.5j
_CHUNK_BYTES = 2**21  # of maps worked on at a time: on 1 MB of L2 cache, 2**20 took a fifth longer


def maps_at_a_time(height: int, width: int, like: Tensor) -> int:
    """How many maps of this size stay in a CPU's cache; a GPU takes all at once."""
    if like.device.type != "cpu":
        return 2**31
    return max(1, _CHUNK_BYTES // (height * width * like.element_size()))


def as_pairs(packed: Tensor) -> Tensor:
    """(..., W), W even, as complex numbers of neighbours (..., W / 2); shares the memory."""
    return torch.view_as_complex(packed.unflatten(-1, (-1, 2)))


class Butterfly:
    """One level between maps x (M, H, W) and ``packed`` (M, 2, ceil(H/2), 2 ceil(W/2)).

    ``packed[:, 0]`` holds LL at even and -HL at odd columns, ``packed[:, 1]`` LH and -HH. Both
    tensors are the caller's; the views of them are made once.
    """

    def __init__(self, x: Tensor, packed: Tensor) -> None:
        height, width = x.shape[-2:]
        full = height // 2
        self.upper, self.lower = x[:, 0 : 2 * full : 2], x[:, 1::2]
        self.sums, self.falls = packed[:, 0, :full, :width], packed[:, 1, :full, :width]
        self.odd = height % 2 == 1
        self.last = x[:, 2 * full :]  # the row that has no lower one, if there is one
        self.last_sums, self.last_falls = packed[:, 0, full:, :width], packed[:, 1, full:, :width]
        self.beyond = packed[..., width:]
        self.pairs = as_pairs(packed)

    def split(self) -> None:
        """Analysis of x into ``packed``."""
        torch.add(self.upper, self.lower, out=self.sums)
        torch.sub(self.upper, self.lower, out=self.falls)
        if self.odd:
            self.last_sums.copy_(self.last)
            self.last_falls.copy_(self.last)
        if self.beyond.shape[-1]:
            self.beyond.zero_()
        self.pairs.mul_(_SPLIT)

    def merge(self) -> None:
        """Synthesis of ``packed``, which changes, into x; what lies beyond x is cut."""
        self.pairs.mul_(_MERGE)
        torch.add(self.sums, self.falls, out=self.upper)
        torch.sub(self.sums, self.falls, out=self.lower)
        if self.odd:
            torch.add(self.last_sums, self.last_falls, out=self.last)


def halved(size: Sequence[int]) -> Tuple[int, int]:
    """The size of a band of the next level: halves, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def _analyse(x: Tensor) -> List[Tensor]:
    """One level of (..., H, W): LL, LH, HL, HH, each (..., ceil(H/2), ceil(W/2))."""
    height, width = halved(x.shape[-2:])
    bands = [x.new_empty(*x.shape[:-2], height, width) for _ in range(4)]
    maps = x.reshape(-1, *x.shape[-2:])
    flat = [band.view(-1, height, width) for band in bands]
    step = min(len(maps), maps_at_a_time(2 * height, 2 * width, x))
    buffer = x.new_empty(step, 2, height, 2 * width)
    for first in range(0, len(maps), step or 1):
        part = slice(first, first + step)
        packed = buffer[: len(maps) - first]
        Butterfly(maps[part], packed).split()
        low, high = packed[..., 0::2], packed[..., 1::2]
        ll, lh, hl, hh = (band[part] for band in flat)
        ll.copy_(low[:, 0])
        lh.copy_(low[:, 1])
        torch.neg(high[:, 0], out=hl)
        torch.neg(high[:, 1], out=hh)
    return bands


def haar_low(x: Tensor) -> Tensor:
    """LL of one level alone: (..., H, W) to (..., ceil(H/2), ceil(W/2)). No gradient."""
    lead, size = x.shape[:-2], x.shape[-2:]
    height, width = halved(size)
    maps = x.detach().reshape(-1, *size)
    out = maps.new_empty(len(maps), height, width)
    step = min(len(maps), maps_at_a_time(size[0], size[1], maps))
    buffer = maps.new_zeros(step, height, 2 * width)  # a last, odd, column stays 0
    for first in range(0, len(maps), step or 1):
        part = maps[first : first + step]
        rows, lower = buffer[: len(part)], part[:, 1::2]
        torch.add(
            part[:, 0 : 2 * lower.shape[1] : 2], lower, out=rows[:, : lower.shape[1], : size[1]]
        )
        if size[0] % 2:
            rows[:, -1, : size[1]] = part[:, -1]
        ll = out[first : first + step]
        torch.add(rows[..., 0::2], rows[..., 1::2], out=ll).mul_(0.5)
    return out.view(*lead, height, width)


def _synthesise(bands: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The inverse of :func:`_analyse`, (..., H, W)."""
    height, width = bands[0].shape[-2:]
    out = bands[0].new_empty(*bands[0].shape[:-2], *size)
    maps = out.view(-1, *size)
    ll, lh, hl, hh = (band.reshape(-1, height, width) for band in bands)
    step = min(len(maps), maps_at_a_time(2 * height, 2 * width, out))
    buffer = out.new_empty(step, 2, height, 2 * width)
    for first in range(0, len(maps), step or 1):
        part = slice(first, first + step)
        packed = buffer[: len(maps) - first]
        low, high = packed[..., 0::2], packed[..., 1::2]
        low[:, 0] = ll[part]
        low[:, 1] = lh[part]
        torch.neg(hl[part], out=high[:, 0])
        torch.neg(hh[part], out=high[:, 1])
        Butterfly(maps[part], packed).merge()
    return out


def torch_analysis(x: Tensor, levels: int) -> List[Tensor]:
    """J levels of (..., H, W): LL_J, then LH, HL, HH of levels 1 to J."""
    low, details = x, []
    for _ in range(levels):
        low, *bands = _analyse(low)
        details += bands
    return [low, *details]


def torch_synthesis(bands: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The inverse of :func:`torch_analysis`, cut to ``size`` (H, W)."""
    low, *details = bands
    for level in reversed(range(len(bands) // 3)):
        target = details[3 * level - 3].shape[-2:] if level else size
        low = _synthesise((low, *details[3 * level : 3 * level + 3]), target)
    return low
