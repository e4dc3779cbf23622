"""Cycle spinning: a transform of maps that are moved over its grid, by another offset each time.

Haar's coefficients belong to blocks of 2^J x 2^J places, whose borders lie where they lie. An error
across a border and the same error inside of a block have other coefficients, so a weight on bands
means another thing at each place. The mean over all offsets d of the grid,

    E_d sum_k w_k |xi_k(R_d s) - xi_k(R_d t)|^p,    R_d: roll by d, 0 <= d_y, d_x < 2^J,

does not know the borders: it is the distance of the undecimated transform. One random d for each
training step estimates it without bias, at the cost of one transform (Coifman and Donoho,
"Translation-invariant de-noising", 1995, average over d likewise).
"""

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from freekd.frequency.transform import Transform

Offset = Tuple[int, int]


def check_grid(transform: Transform, key: str) -> None:
    """Raise ValueError, naming the key, where moving a map says nothing new to a transform."""
    if transform.grid is None:
        raise ValueError(
            f"{key}=True needs coefficients that belong to blocks of the map, and those of "
            f"{transform} do not. Remove {key}, or take a wavelet, or a DCT of blocks (block=8)"
        )


def random_offset(transform: Transform) -> Offset:
    """(d_y, d_x), uniform over the transform's grid, from torch's generator of the CPU.

    So nothing waits for a GPU, and a seed decides it.
    """
    d_y, d_x = torch.randint(transform.grid or 1, (2,)).tolist()
    return d_y, d_x


def moved(x: Tensor, offset: Optional[Offset]) -> Tensor:
    """R_d x: maps (..., H, W), rolled; a weight that has no places, (..., 1, 1), as it is.

    Without an offset the map itself.

    The same as ``torch.roll`` over both axes, which is several times slower on a CPU.

    >>> moved(torch.tensor([[1, 2, 3]]), (0, 1)).tolist()
    [[3, 1, 2]]
    """
    height, width = x.shape[-2:]
    if offset is None or (height, width) == (1, 1):
        return x
    out: Tensor = _Rolled.apply(  # type: ignore[no-untyped-call]
        x, offset[0] % height, offset[1] % width
    )
    return out


class _Rolled(torch.autograd.Function):
    """By 0 <= down < H, 0 <= across < W: four rectangles change places, each copied once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: int, across: int) -> Tensor:
        height, width = x.shape[-2:]
        ctx.back = (height - down) % height, (width - across) % width
        out = torch.empty_like(x)
        for to, at in _halves(height, down):
            for into, of in _halves(width, across):
                out[..., to, into] = x[..., at, of]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None, None]:
        return _Rolled.apply(grad, *ctx.back), None, None  # type: ignore[no-untyped-call]


def _halves(count: int, offset: int) -> Tuple[Tuple[slice, slice], Tuple[slice, slice]]:
    """Of an axis: where each of its two parts goes, and where it was."""
    rest = count - offset
    return (slice(offset, None), slice(0, rest)), (slice(0, offset), slice(rest, None))
