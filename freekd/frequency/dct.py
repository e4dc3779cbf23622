"""The discrete cosine transform (an alternative xi and xi~): of the whole map, or of blocks.

DCT-II, orthonormal: c_k = s_k sum_i x_i cos(pi (2 i + 1) k / (2 n)), s_0 = sqrt(1 / n), else
sqrt(2 / n), along both axes; coefficient k has the frequency k / 2n. The coefficients are cut into
the bands of a wavelet transform of J levels, see :mod:`.rectangles`: LL_J holds the lowest 1 / 4^J
of them. As the transform is orthonormal, its adjoint is its inverse, and the energy of the bands is
that of the map.
"""

import math
from functools import lru_cache
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from freekd.checks import check_integer
from freekd.frequency.bands import WaveletBands, band_names
from freekd.frequency.dwt import MOST_LEVELS
from freekd.frequency.groups import BandGroup
from freekd.frequency.maps import float_map, map_size
from freekd.frequency.rectangles import (
    dyadic_groups,
    halves,
    join,
    rectangle_sizes,
    rectangles,
    split,
)
from freekd.frequency.transform import TRANSFORMS, Bands, Transform

MOST_BLOCK = 2**10


def dct_matrix(
    count: int, dtype: torch.dtype = torch.float64, device: Optional[torch.device] = None
) -> Tensor:
    """The orthonormal DCT-II of ``count`` samples, (count, count): row k is coefficient k.

    >>> dct_matrix(2).mul(2**0.5).round().tolist()  # Haar's filters
    [[1.0, 1.0], [1.0, -1.0]]
    """
    steps = torch.arange(count, dtype=torch.float64, device=device)
    angles = torch.outer(steps, 2 * steps + 1) * (math.pi / (2 * count))
    matrix: Tensor = torch.cos(angles) * (2 / count) ** 0.5
    matrix[0] = (1 / count) ** 0.5
    return matrix.to(dtype)


@lru_cache(maxsize=64)
def _matrix(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The same, kept: making it takes a dozen small steps, each a launch on a GPU."""
    with torch.inference_mode(False):  # else a later step could not be differentiated
        return dct_matrix(count, dtype, device)


@TRANSFORMS.register("dct")
class CosineTransform(Transform):
    """DCT-II in 3J + 1 bands, LL_J, then LH, HL, HH of levels 1 to J.

    Args:
        levels: J, 1 to 16.
        block: None, one transform of the whole map: a coefficient has a frequency and no place.
            Or the side of square blocks, a multiple of 2^J such as 8, each transformed by itself:
            a coefficient belongs to its block. Blocks at the lower and right edge are filled up
            with zeros, as Haar's are.

    Bands of the whole map have the sizes of Haar's, ceil(H / 2^j) x ceil(W / 2^j); of blocks those
    of Haar's where H and W are multiples of ``block``. The coefficients of a block lie side by side
    in a band, the blocks in their places.

    Raises:
        ValueError: an option out of range; names it.

    >>> transform = CosineTransform(levels=1)
    >>> transform.names, transform.sizes((25, 42))[0]
    (('LL1', 'LH1', 'HL1', 'HH1'), (13, 21))
    """

    def __init__(self, levels: int = 3, block: Optional[int] = None) -> None:
        check_integer("levels", levels, MOST_LEVELS)
        if block is not None:
            check_integer("block", block, MOST_BLOCK)
            if block % 2**levels:
                raise ValueError(
                    f"block={block} must be a multiple of 2^levels = {2**levels}, so that each "
                    "band has the same part of every block; None transforms the whole map"
                )
        self.levels, self.block, self.grid = levels, block, block
        self.names = tuple(band_names(levels))

    def to_dict(self) -> Dict[str, Any]:
        """``type``, ``levels``, ``block``."""
        return {"type": "dct", "levels": self.levels, "block": self.block}

    def _grid(self, size: Sequence[int]) -> Tuple[Tuple[int, int], Tuple[int, int]]:
        """How many blocks there are along both axes, and how large one is."""
        height, width = map_size(size, "the DCT")
        if self.block is None:
            return (1, 1), (height, width)
        return (-(-height // self.block), -(-width // self.block)), (self.block, self.block)

    def _cuts(self, block: Tuple[int, int]) -> Tuple[List[int], List[int]]:
        return halves(block[0], self.levels), halves(block[1], self.levels)

    def sizes(self, size: Sequence[int]) -> List[Tuple[int, int]]:
        """Level j of the whole map is ceil(H / 2^j) x ceil(W / 2^j)."""
        (down, across), block = self._grid(size)
        return [(down * h, across * w) for h, w in rectangle_sizes(*self._cuts(block))]

    def occupied(self, size: Sequence[int]) -> List[bool]:
        """As :meth:`freekd.frequency.transform.Transform.occupied`, from the cuts."""
        cuts = self._cuts(self._grid(size)[1])
        return [bool(y) and bool(x) for y, x in rectangles(*cuts)]

    def analyse(self, x: Tensor) -> WaveletBands:
        """The bands of maps (..., H, W), in float32 at least.

        Raises:
            ValueError: no real map of at least 1x1.
        """
        x = float_map(x, "the DCT")
        cuts = self._cuts(self._grid(x.shape)[1])
        bands = split(self._coefficients(x), *cuts)
        merged = [band.transpose(-3, -2).flatten(-2).flatten(-3, -2) for band in bands.flat()]
        return WaveletBands.from_flat(merged)

    def _coefficients(self, x: Tensor) -> Tensor:
        """Those of each block, (..., down, across, height, width), of maps (..., H, W)."""
        (down, across), (height, width) = self._grid(x.shape)
        x = F.pad(x, (0, across * width - x.shape[-1], 0, down * height - x.shape[-2]))
        blocks = x.unflatten(-1, (across, width)).unflatten(-3, (down, height)).transpose(-3, -2)
        with torch.autocast(device_type=x.device.type, enabled=False):
            left = _matrix(height, x.dtype, x.device)
            right = _matrix(width, x.dtype, x.device)
            found: Tensor = left @ blocks @ right.T
        return found

    def _joined(self, flat: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Bands as :meth:`analyse` gives them, put together as :meth:`_coefficients` are."""
        (down, across), block = self._grid(size)
        cuts = self._cuts(block)
        parts = [
            band.unflatten(-1, (across, w)).unflatten(-3, (down, h)).transpose(-3, -2)
            for band, (h, w) in zip(flat, rectangle_sizes(*cuts))
        ]
        return join(WaveletBands.from_flat(parts), *cuts)

    def whole(
        self, student: Tensor, teacher: Tensor, weights: Sequence[Tensor], squared: bool
    ) -> Optional[Tuple[Tensor, Tensor]]:
        """As :meth:`.Transform.whole`: the coefficients of all blocks."""
        if type(self) is not CosineTransform:  # it may have an `analyse` of its own
            return None
        coefficients = self._coefficients(float_map(student - teacher, "the DCT"))
        return coefficients, self._joined(weights, student.shape)

    def bands(self, flat: Sequence[Tensor]) -> WaveletBands:
        """The inverse of :meth:`freekd.frequency.WaveletBands.flat`."""
        return WaveletBands.from_flat(list(flat))

    def synthesise(self, bands: Bands, size: Optional[Sequence[int]] = None) -> Tensor:
        """The map (..., H, W), in float32 at least.

        Args:
            bands: what :meth:`analyse` gives, possibly changed.
            size: (H, W). Blocks can do without, and then give the whole of each block.

        Raises:
            ValueError: no ``size`` for a transform of the whole map, or bands of another size.
        """
        flat = [float_map(band, "the inverse of the DCT") for band in bands.flat()]
        if size is None:
            if self.block is None:
                raise ValueError("the inverse of a DCT of the whole map needs size=(H, W)")
            down, across = (2**self.levels * side for side in flat[0].shape[-2:])
            size = (down, across)
        (height, width) = self._grid(size)[1]
        want = self.sizes(size)
        if [tuple(band.shape[-2:]) for band in flat] != want:
            came = [tuple(band.shape[-2:]) for band in flat]
            raise ValueError(f"a map of {tuple(size)} has bands of {want}, got {came}")
        with torch.autocast(device_type=flat[0].device.type, enabled=False):
            left = _matrix(height, flat[0].dtype, flat[0].device)
            right = _matrix(width, flat[0].dtype, flat[0].device)
            blocks = left.T @ self._joined(flat, size) @ right
        x = blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2)
        return x[..., : size[0], : size[1]]

    def groups(self, granularity: str = "band") -> List[BandGroup]:
        """``band``, each by itself, or ``level``, the three of a level.

        Raises:
            ValueError: another granularity.
        """
        return dyadic_groups(self.levels, granularity)

    def averaged(self, weight: Tensor) -> List[Tensor]:
        """The mean over each coefficient's block; over all positions for the whole map."""
        if self.block is None:
            return [weight.mean(dim=(-2, -1), keepdim=True)] * len(self.names)
        means = F.avg_pool2d(weight, self.block, ceil_mode=True)
        sides = [h for h, _ in rectangle_sizes(*self._cuts((self.block, self.block)))]
        return [_spread(means, side) for side in sides]


def _spread(means: Tensor, side: int) -> Tensor:
    """Each value of (..., h, w) as a square of ``side``; its gradient is a plain sum."""
    squares = means[..., :, None, :, None].expand(*means.shape[:-1], side, means.shape[-1], side)
    return squares.flatten(-2).flatten(-3, -2)
