"""The weighted distance between the bands of two maps, of any transform (Eq. 3 and 13).

sign(NaN) is 0 in torch: a NaN in a map would make the loss NaN and leave the gradient finite, so
that a gradient scaler would not see it. Here the gradient is NaN where a map is not finite.
"""

from typing import Any, Optional, Sequence

import torch
from torch import Tensor

Weights = Sequence[Tensor]


def weighted_sum(
    bands: Sequence[Tensor],
    weights: Weights,
    gates: Optional[Sequence[Tensor]] = None,
    squared: bool = False,
) -> Tensor:
    """sum_k sum w_k omega_k |b_k|^p, p = 1 or 2.

    Args:
        bands: b (N, C, h, w), of each band k.
        weights: w (N or 1, h, w), of each band.
        gates: omega (N, C or 1, h or 1, w or 1), of each band; None for 1.
        squared: p = 2 instead of 1.
    """
    total = bands[0].new_zeros(())
    for k, (band, weight) in enumerate(zip(bands, weights)):
        error = powers(band, squared) * weight.unsqueeze(1)
        if gates is not None:
            error = error * gates[k]
        total = total + error.sum()
    return total


def weighted_whole(
    coefficients: Tensor, weight: Tensor, gates: Optional[Sequence[Tensor]], squared: bool
) -> Tensor:
    """:func:`weighted_sum` of bands that lie in one tensor: a few steps instead of some per band.

    Args:
        coefficients: b (N, C, ...), of all bands.
        weight: w (N or 1, ...), of each coefficient.
        gates, squared: as of :func:`weighted_sum`; of the gates :func:`is_a_factor` is true.
    """
    sums = (powers(coefficients, squared) * weight.unsqueeze(1)).flatten(2).sum(-1)
    return (sums if gates is None else sums * gates[0].flatten(1)).sum()


def of_one_count(weights: Weights) -> Weights:
    """Weights (N or 1, h, w) with one first axis, as what puts bands together wants them; views."""
    count = max(len(weight) for weight in weights)
    return [weight.expand(count, -1, -1) for weight in weights]


def is_a_factor(gates: Optional[Sequence[Tensor]]) -> bool:
    """Whether all bands share one gate that has no places, or there is none."""
    return gates is None or all(g is gates[0] and g.shape[2:] == (1, 1) for g in gates)


def powers(x: Tensor, squared: bool) -> Tensor:
    """|x|^2, or |x| as :func:`magnitude` has it."""
    return x.square() if squared else magnitude(x)


def magnitude(x: Tensor) -> Tensor:
    """|x|, with the slope sign(x), and NaN where x is not finite (torch's own is 0 at NaN)."""
    out: Tensor = _Magnitude.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Magnitude(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs()

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.no_grad():  # a constant, also for a second derivative
            slope: Tensor = x.sign().add_(x, alpha=0)  # 0 NaN = 0 inf = NaN
        return grad_out * slope
