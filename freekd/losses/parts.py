"""A loss that is a sum over parts of a map, a part at a time: little memory on a CPU.

    l(s) = sum_P l_P(s_P),    dl/ds = sum_P dl_P/ds_P

autograd would keep several copies of the maps until the backward pass. Here the gradient of a part
is computed beside its value, while all of it lies in the cache, and only the gradient is kept: one
copy. A GPU takes all at once, in autograd's own way.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from freekd.widen import wide_dtype, widened

PART_BYTES = 2**20  # of one side's maps worked on at a time, as they are computed: float32 at least
FEWEST = 4  # parts: what a part needs beside its gradient is several times its size

OfPart = Callable[[slice, Tensor], Tensor]  # l_P, of the slice P and s_P


def channels_at_a_time(feat: Tensor, fewest: int = FEWEST, least: int = 0) -> int:
    """How many channels of (N, C, H, W) make a part: a few on a CPU, else all.

    Args:
        feat: the map.
        fewest: how many parts there are of a small map, if it has that many channels.
        least: but a part has at least so many bytes, where the map does.
    """
    count = max(1, feat.shape[1])
    if feat.device.type != "cpu":
        return count
    size = torch.finfo(wide_dtype(feat)).bits // 8
    one = max(1, feat.numel() // count * size)
    return max(1, min(PART_BYTES // one, -(-count // fewest)), min(least // one, count))


def mean_over_channels(mean_of: OfPart, student: Tensor) -> Tensor:
    """The mean of a loss over channels, which it treats each by itself.

    Args:
        mean_of: the mean over some channels: given their slice and (N, c, H, W) of the student.
        student: (N, C, H, W).
    """
    count, step = student.shape[1], channels_at_a_time(student)

    def share(part: slice, piece: Tensor) -> Tensor:
        size: int = part.stop - part.start
        return mean_of(part, piece) * (size / count)

    return sum_over_parts(share, student, 1, parts(count, step))


def parts(count: int, step: int) -> List[slice]:
    """0 to ``count``, ``step`` at a time.

    >>> parts(5, 3)
    [slice(0, 3, None), slice(3, 5, None)]
    """
    return [slice(first, min(first + step, count)) for first in range(0, max(1, count), step)]


def sum_over_parts(
    of_part: OfPart,
    student: Tensor,
    axis: int,
    slices: Sequence[slice],
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """l above.

    Args:
        of_part: l_P; computed a second time where a second derivative is asked for.
        student: s.
        axis: the parts are slices of it.
        slices: each P; they may overlap.
        parameters: what ``of_part`` uses that learns.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if student.device.type != "cpu":
        return _plain(of_part, student, axis, slices)
    wanted = torch.is_grad_enabled() and (student.requires_grad or bool(learning))
    out: Tensor = _Sum.apply(  # type: ignore[no-untyped-call]
        of_part, axis, slices, wanted, student, *learning
    )
    return out


def again(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``; on a CPU its backward pass computes it a second time and keeps nothing.

    Args:
        function: draws no random numbers.
        args: the first is a tensor.
    """
    if args[0].device.type != "cpu" or not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def _at(axis: int, part: slice) -> Tuple[slice, ...]:
    return (*[slice(None)] * axis, part)


def _plain(of_part: OfPart, student: Tensor, axis: int, slices: Sequence[slice]) -> Tensor:
    return torch.stack([of_part(part, student[_at(axis, part)]) for part in slices]).sum()


class _Sum(torch.autograd.Function):
    """l, with its gradient already in hand."""

    @staticmethod
    def forward(
        ctx: Any,
        of_part: OfPart,
        axis: int,
        slices: Sequence[slice],
        wanted: bool,
        student: Tensor,
        *learning: Tensor,
    ) -> Tensor:
        ctx.of_part, ctx.axis, ctx.slices = of_part, axis, slices
        ctx.save_for_backward(student, *learning)
        value, ctx.gradients = _computed(ctx, student, learning, wanted)
        return value

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
        student, *learning = ctx.saved_tensors
        gradients, ctx.gradients = ctx.gradients, None  # it becomes the result: good for one pass
        own = ctx.needs_input_grad[4]
        with torch.autocast(device_type=grad_out.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: as autograd does it
                alias = student.view_as(student)  # the student's own hooks run once, not here
                inputs = [x for x in (alias, *learning) if x.requires_grad]
                value = _plain(ctx.of_part, alias, ctx.axis, ctx.slices)
                found = list(torch.autograd.grad(value, inputs, grad_out, create_graph=True))
            else:
                if gradients is None:  # a second pass over a retained graph
                    _, gradients = _computed(ctx, student, learning, True)
                found = [gradient.mul_(grad_out) for gradient in gradients]
                found = [g.to(x.dtype) for g, x in zip(found, [*[student] * own, *learning])]
        first = found.pop(0) if own else None
        return (None, None, None, None, first, *found)


def _computed(
    ctx: Any, student: Tensor, learning: Sequence[Tensor], wanted: bool
) -> Tuple[Tensor, List[Tensor]]:
    """l, and where wanted its gradients: in the student, if it wants one, and in what learns.

    In float32 at least: before a gradient scaler's factor, which comes in the backward pass, half
    precision would lose the small ones.
    """
    own = wanted and ctx.needs_input_grad[4]
    sums = [torch.zeros_like(x, dtype=wide_dtype(x)) for x in [student] * own + list(learning)]
    values = []
    for part in ctx.slices:
        index = _at(ctx.axis, part)
        with torch.set_grad_enabled(wanted):
            piece = widened(student.detach()[index]).requires_grad_(own)
            value = ctx.of_part(part, piece)
            if wanted:
                found = torch.autograd.grad(value, [piece, *learning] if own else list(learning))
                targets = [sums[0][index], *sums[1:]] if own else sums
                for target, gradient in zip(targets, found):
                    target.add_(gradient)
                del found, targets, gradient
        values.append(value.detach())
        del value, piece
    return torch.stack(values).sum(), sums if wanted else []
