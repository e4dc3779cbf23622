"""The weighted distance between the Haar bands of two maps, in one pass (Eq. 3 and 13).

    D = sum_k sum_{n,c,y,x} w_k[n,y,x] omega[n,c] |xi_k(s - t)[n,c,y,x]|^p,    p = 1 or 2

with xi J levels of the Haar transform with zero extension. Its gradient is known in closed form:
the transform's adjoint is its inverse, so

    dD/ds = omega xi^-1( w_k sign(xi_k(s - t)) )    or    omega xi^-1( 2 w_k xi_k(s - t) ).

On a CPU the maps are taken a few at a time, so that everything between reading s and t and writing
the gradient stays in the cache; the bands never exist as a whole. On a GPU kernels do the same,
see :mod:`.triton`.
As in :mod:`.distance`, the gradient is NaN where a map is not finite.
"""

import math
from itertools import product
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.frequency.butterfly import Butterfly, halved, maps_at_a_time
from freekd.frequency.distance import Weights, weighted_sum
from freekd.frequency.haar import haar_analysis
from freekd.frequency.triton import ops
from freekd.frequency.triton.check import usable
from freekd.widen import wide_dtype

_ADDENDS = 2**14  # summed in float32 at a time: on large maps a longer sum loses digits


def can_fuse(student: Tensor, levels: int, *constants: Optional[Tensor]) -> bool:
    """Whether :func:`haar_distance` has a fast way for these tensors.

    Args:
        student: the map that may want a gradient.
        levels: J.
        constants: teacher, weights: they are not differentiated here.
    """
    tensors = [student, *(tensor for tensor in constants if tensor is not None)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors[1:]):
        return False
    if any(tensor.device != student.device for tensor in tensors):
        return False
    if 0 in student.shape:
        return False
    return student.device.type == "cpu" or usable(student, levels)


def haar_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Weights,
    channel_weight: Optional[Tensor] = None,
    squared: bool = False,
) -> Tensor:
    """D above.

    Args:
        student, teacher: s and t (N, C, H, W), any floating type each. No gradient flows into t.
        weights: w, 3J + 1 tensors (N or 1, h, w) in the order of
            :meth:`freekd.frequency.WaveletBands.flat`; without gradient.
        channel_weight: omega (N, C), or None for 1; without gradient.
        squared: p = 2 instead of 1.

    Returns:
        A scalar in float32, or float64 where a map is. It may be differentiated twice: the second
        time :func:`plain_distance` is.
    """
    want_gradient = torch.is_grad_enabled() and student.requires_grad
    if want_gradient:
        teacher, *weights = (_can_be_saved(x) for x in (teacher, *weights))
        channel_weight = None if channel_weight is None else _can_be_saved(channel_weight)
    out: Tensor = _HaarDistance.apply(  # type: ignore[no-untyped-call]
        student, teacher, channel_weight, squared, want_gradient, *weights
    )
    return out


def _can_be_saved(x: Tensor) -> Tensor:
    """Autograd keeps no tensors of inference mode: a copy of such, others as they are."""
    return x.clone() if x.is_inference() else x


def plain_distance(
    student: Tensor,
    teacher: Tensor,
    weights: Weights,
    channel_weight: Optional[Tensor] = None,
    squared: bool = False,
) -> Tensor:
    """The same as :func:`haar_distance`, from differentiable operations, whole bands at a time."""
    dtype = wide_dtype(student, teacher)
    bands = haar_analysis(student.to(dtype) - teacher.to(dtype), len(weights) // 3)
    gates = None if channel_weight is None else [channel_weight[:, :, None, None]] * len(bands)
    return weighted_sum(bands, weights, gates, squared)


class _HaarDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        channel_weight: Optional[Tensor],
        squared: bool,
        want_gradient: bool,
        *weights: Tensor,
    ) -> Tensor:
        ctx.squared, ctx.dtype, ctx.gradient = squared, student.dtype, None
        ctx.save_for_backward(student, teacher, channel_weight, *weights)
        levels = len(weights) // 3
        if usable(student, levels):
            return ops.distance_value(student, teacher, weights, channel_weight, levels, squared)
        value, ctx.gradient = _in_chunks(
            student, teacher, weights, channel_weight, squared, want_gradient
        )
        return value

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
        gradient, ctx.gradient = ctx.gradient, None  # it becomes the result: good for one pass
        if gradient is None or torch.is_grad_enabled():
            with torch.autocast(device_type=grad_out.device.type, enabled=False):
                result = _HaarDistance._from_the_maps(ctx, grad_out)
        else:
            factor = float(grad_out)
            if factor != 1:
                gradient.mul_(factor)
            result = gradient.to(ctx.dtype)
        return (result, None, None, None, None, *(None for _ in ctx.needs_input_grad[5:]))

    @staticmethod
    def _from_the_maps(ctx: Any, grad_out: Tensor) -> Tensor:
        """The gradient from the maps: on a GPU, a second time, or to be differentiated itself."""
        student, teacher, channel_weight, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph
            alias = student.view_as(student)  # the student's own hooks run once, not here
            value = plain_distance(alias, teacher, weights, channel_weight, ctx.squared)
            (result,) = torch.autograd.grad(value, alias, grad_out, create_graph=True)
            return result
        if usable(student, len(weights) // 3):
            return ops.distance_gradient(
                student, teacher, weights, channel_weight, len(weights) // 3, ctx.squared, grad_out
            )
        _, gradient = _in_chunks(student, teacher, weights, channel_weight, ctx.squared, True)
        assert gradient is not None
        return gradient.mul_(grad_out).to(student.dtype)


class _Buffers:
    """Of one level: what is split, what comes out of it, and scratch."""

    def __init__(self, like: Tensor, count: int, size: Sequence[int]) -> None:
        height, width = halved(size)
        self.maps = like.new_empty(count, *size)
        self.packed = like.new_empty(count, 2, height, 2 * width)  # see butterfly.py


class _Level:
    """Views of the buffers of one level for a chunk of ``images`` x ``channels`` maps.

    The buffers are made once for each loss, the views once for each shape of chunk.
    """

    def __init__(self, buffers: _Buffers, scratch: Tensor, images: int, channels: int) -> None:
        count = images * channels
        self.maps, self.packed = buffers.maps[:count], buffers.packed[:count]
        self.butterfly = Butterfly(self.maps, self.packed)
        self.low = self.packed[:, 0, :, 0::2]
        self.flat = self.packed.view(images, channels, -1)
        self.error = scratch[: self.flat.numel()].view_as(self.flat)
        self.parts = self.error.split(_ADDENDS, dim=2)


class _Workspace:
    """J levels of a few maps at a time, images x channels of (H, W), in the cache."""

    def __init__(self, levels: List[_Level]) -> None:
        self.levels = levels
        self.difference = levels[0].maps

    def weighted_sums(
        self, weights: Sequence[Tensor], squared: bool, want_gradient: bool
    ) -> Tensor:
        """sum w |xi(difference)|^p of each map, (images, channels).

        Args:
            weights: per level (images or 1, coefficients), as :func:`_packed_weights` gives them.
            want_gradient: the bands are replaced by their derivatives.
        """
        total = self.difference.new_zeros(*self.levels[0].flat.shape[:2], 1)
        for level, (this, weight) in enumerate(zip(self.levels, weights)):
            this.butterfly.split()
            if level + 1 < len(self.levels):
                self.levels[level + 1].maps.copy_(this.low)
                this.low.zero_()  # split further, no band of this level
            flat, error = this.flat, this.error
            torch.mul(flat, flat, out=error) if squared else torch.abs(flat, out=error)
            for part, w in zip(this.parts, weight.split(_ADDENDS, dim=1)):
                if len(w) == 1:
                    total += (part @ w[0]).unsqueeze(2)
                else:
                    total.baddbmm_(part, w.unsqueeze(2))
            if want_gradient:
                (flat.mul_(2) if squared else flat.sign_()).mul_(weight.unsqueeze(1))
        return total.squeeze(2)

    def synthesise(self, out: Tensor) -> None:
        """xi^-1 of what :meth:`weighted_sums` left, into ``out`` (M, H, W)."""
        for level in reversed(range(1, len(self.levels))):
            self.levels[level].butterfly.merge()
            self.levels[level - 1].low.copy_(self.levels[level].maps)
        Butterfly(out, self.levels[0].packed).merge()


def _packed_weights(weights: Weights, level: int, dtype: torch.dtype) -> Tensor:
    """Level ``level``'s weights in the order of its packed bands, flat; LL counts in the last."""
    lh, hl, hh = weights[3 * level - 2 : 3 * level + 1]
    count = max(len(weight) for weight in weights)
    packed = lh.new_zeros((count, 2, *lh.shape[-2:], 2), dtype=dtype)
    if 3 * level + 1 == len(weights):
        packed[:, 0, ..., 0] = weights[0]
    packed[:, 0, ..., 1] = hl
    packed[:, 1, ..., 0] = lh
    packed[:, 1, ..., 1] = hh
    return packed.flatten(1)


def _in_chunks(
    student: Tensor,
    teacher: Tensor,
    weights: Weights,
    channel_weight: Optional[Tensor],
    squared: bool,
    want_gradient: bool,
) -> Tuple[Tensor, Optional[Tensor]]:
    """D and, where wanted, dD/ds, both in float32 at least: several images, or part of one."""
    dtype, levels = wide_dtype(student, teacher), len(weights) // 3
    count, channels, height, width = student.shape
    like = student.new_empty(0, dtype=dtype)
    room = maps_at_a_time(height, width, like)
    room = min(room, -(-count * channels // 2))  # a part takes four times its size
    step, images = min(channels, room), min(count, max(1, room // channels))
    buffers, size = [], (height, width)
    for _ in range(levels):
        buffers.append(_Buffers(like, step * images, size))
        size = halved(size)
    scratch = like.new_empty(buffers[0].packed.numel())
    spaces: Dict[Tuple[int, int], _Workspace] = {}  # of a full chunk, and of the last ones
    packed = [_packed_weights(weights, level, dtype) for level in range(1, levels + 1)]
    sums = like.new_zeros(count, channels)
    gradient = like.new_empty(student.shape) if want_gradient else None
    for image, first in product(range(0, count, images), range(0, channels, step)):
        part = (slice(image, image + images), slice(first, first + step))
        s, t = student[part], teacher[part]
        n, c = s.shape[:2]
        if (n, c) not in spaces:
            spaces[n, c] = _Workspace([_Level(buffer, scratch, n, c) for buffer in buffers])
        work = spaces[n, c]
        if s.dtype == t.dtype == dtype:
            torch.sub(s, t, out=work.difference.view_as(s))
        else:
            work.difference.view_as(s).copy_(s).sub_(t)
        rows = [weight[part[0]] if len(weight) > 1 else weight for weight in packed]
        sums[part] = work.weighted_sums(rows, squared, want_gradient)
        if gradient is not None:
            out = gradient[part]  # several images: all channels, so that this can be flattened
            work.synthesise(out.view(-1, height, width))
            if channel_weight is not None:
                out.mul_(channel_weight[part][..., None, None])
    sums = sums if channel_weight is None else sums * channel_weight
    total = sums.sum()
    if gradient is not None and not math.isfinite(total):
        gradient += (sums - sums)[..., None, None]  # of each map: 0, or NaN where it is not finite
    return total, gradient
