"""The Haar transform as butterflies: the default wavelet's fast path.

Haar with zero extension is a 2x2 block transform: with a, b / c, d the samples of a block,

    LL = (a + b + c + d) / 2    LH = (a + b - c - d) / 2
    HL = (a - b + c - d) / 2    HH = (a - b - c + d) / 2

The 4x4 matrix is orthonormal and symmetric, so the same butterfly inverts it, and the adjoint of
the transform is its inverse (method.md, identity 4): the backward pass of one is the other.
"""

from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F


def _butterfly(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    top_sum, top_diff = a + b, a - b
    bottom_sum, bottom_diff = c + d, c - d
    return (
        (top_sum + bottom_sum).mul_(0.5),
        top_sum.sub_(bottom_sum).mul_(0.5),
        (top_diff + bottom_diff).mul_(0.5),
        top_diff.sub_(bottom_diff).mul_(0.5),
    )


def _analyse(x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2))
    even, odd = x[..., 0::2, :], x[..., 1::2, :]
    return _butterfly(even[..., 0::2], even[..., 1::2], odd[..., 0::2], odd[..., 1::2])


def _synthesise(low: Tensor, lh: Tensor, hl: Tensor, hh: Tensor, size: Sequence[int]) -> Tensor:
    height, width = size
    out = low.new_empty(low.shape[:-2] + (2 * low.shape[-2], 2 * low.shape[-1]))
    even, odd = out[..., 0::2, :], out[..., 1::2, :]
    even[..., 0::2], even[..., 1::2], odd[..., 0::2], odd[..., 1::2] = _butterfly(low, lh, hl, hh)
    return out[..., :height, :width]


class _HaarAnalysis(torch.autograd.Function):
    """One level of analysis; its adjoint is :class:`_HaarSynthesis`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.size = tuple(x.shape[-2:])
        return _analyse(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        low, lh, hl, hh = grads
        return haar_synthesis(low, lh, hl, hh, ctx.size)


class _HaarSynthesis(torch.autograd.Function):
    """One level of synthesis, cut to a size; its adjoint is :class:`_HaarAnalysis`."""

    @staticmethod
    def forward(
        ctx: Any, low: Tensor, lh: Tensor, hl: Tensor, hh: Tensor, size: Tuple[int, int]
    ) -> Tensor:
        return _synthesise(low, lh, hl, hh, size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
        return (*haar_analysis(grad), None)


def haar_analysis(x: Tensor) -> List[Tensor]:
    """One Haar level, zero extension: (..., H, W) to [LL, LH, HL, HH], each half, rounded up."""
    return list(_HaarAnalysis.apply(x))  # type: ignore[no-untyped-call]


def haar_synthesis(low: Tensor, lh: Tensor, hl: Tensor, hh: Tensor, size: Sequence[int]) -> Tensor:
    """The inverse of :func:`haar_analysis`, cut to ``size`` (H, W)."""
    out: Tensor = _HaarSynthesis.apply(low, lh, hl, hh, tuple(size))  # type: ignore[no-untyped-call]
    return out
