"""The Haar transform with zero extension and its inverse, differentiable: kernels or butterflies.

The transform is orthonormal, so its adjoint is its inverse: the backward pass of one is the other.
On a GPU :mod:`.triton` computes it, elsewhere :mod:`.butterfly`.
"""

from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor

from freekd.frequency.butterfly import halved, torch_analysis, torch_synthesis
from freekd.frequency.triton import ops
from freekd.frequency.triton.check import usable
from freekd.widen import wide_dtype


class _HaarAnalysis(torch.autograd.Function):
    """J levels of analysis; the adjoint is :class:`_HaarSynthesis`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tuple[Tensor, ...]:
        ctx.size = tuple(x.shape[-2:])
        if usable(x, levels):
            return tuple(ops.analysis(x, levels))
        return tuple(torch_analysis(x, levels))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tuple[Any, ...]:
        return haar_synthesis(grads, ctx.size), None


class _HaarSynthesis(torch.autograd.Function):
    """J levels of synthesis, cut to a size; the adjoint is :class:`_HaarAnalysis`."""

    @staticmethod
    def forward(ctx: Any, size: Tuple[int, int], *bands: Tensor) -> Tensor:
        ctx.levels = len(bands) // 3
        if usable(bands[0], ctx.levels):
            return ops.synthesis(bands, size)
        return torch_synthesis(bands, size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
        return (None, *haar_analysis(grad, ctx.levels))


def haar_analysis(x: Tensor, levels: int = 1) -> List[Tensor]:
    """J Haar levels with zero extension.

    Args:
        x: (..., H, W), float32 or float64.
        levels: J >= 1.

    Returns:
        The 3J + 1 bands in the order of :meth:`WaveletBands.flat`; level j has the size
        (..., ceil(H / 2^j), ceil(W / 2^j)).
    """
    return list(_HaarAnalysis.apply(x, levels))  # type: ignore[no-untyped-call]


def haar_synthesis(bands: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The inverse of :func:`haar_analysis`, cut to ``size`` (H, W).

    Args:
        bands: 3J + 1 of them, each level as large as half of the finer one, rounded up.
        size: twice the size of level 1's bands, or one less.

    Raises:
        ValueError: sizes that do not belong together.
    """
    finer = tuple(size)
    for level, band in enumerate((*bands[1::3], bands[0]), start=1):
        coarser = tuple(band.shape[-2:])
        expected = halved(finer) if 3 * level < len(bands) else finer  # LL has the last level's
        if coarser != expected:
            raise ValueError(
                f"the bands of level {min(level, len(bands) // 3)} have the size {coarser}, "
                f"expected {expected}"
            )
        finer = coarser
    bands = [band.to(wide_dtype(*bands)) for band in bands]
    out: Tensor = _HaarSynthesis.apply(tuple(size), *bands)  # type: ignore[no-untyped-call]
    return out
