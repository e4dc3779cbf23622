"""A map's zero frequency and the rest of it, compared apart: no transform is needed.

For the cosine transform D of n values (orthonormal), the coefficient of frequency zero is
(sum x) / sqrt(n), and its basis vector is constant. So

    D^-1 mask_0 D x       = mean(x)          (its zero frequency, "DC")
    D^-1 (1 - mask_0) D x = x - mean(x)      (all others, "AC")

in one axis or in several, whatever their lengths; a transform that is not normalised, with its own
inverse, gives the same. Masking the coefficient costs two products with a matrix of cosines,
subtracting the mean costs one pass. ``tests/losses/test_decouple.py`` shows the equality.

The distance here splits both maps along one axis, brings every vector along the other axis to
length 1, and sums the squares:

    dc = n sum || unit(mean s) - unit(mean t) ||^2,
    ac =   sum || unit(s - mean s) - unit(t - mean t) ||^2,    unit(x) = x / max(||x||, 1e-12),

with n the length of the first axis: the constant part is there n times. What is left of a constant
map is exactly 0 here: a rest within rounding of its mean counts as 0, where a transform would bring
its own rounding to length 1. autograd would keep the
centred, the divided and the subtracted map. Here the gradient is computed beside the value, from

    d ||unit(a) - b||^2 / da = 2 / ||a|| (e - <unit(a), e> unit(a)),    e = unit(a) - b,

and it alone is kept: one map.
"""

from typing import Any, Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .parts import PART_BYTES, parts

EPS = 1e-12  # the least length of a vector that has a direction
ROUNDING = 8  # so many roundings of the mean are no direction either


class Decoupled(NamedTuple):
    """Their sum, which has the gradient, and both parts, which have none."""

    total: Tensor
    dc: Tensor
    ac: Tensor


def decoupled_distance(
    student: Tensor, teacher: Tensor, axis: int, dc_weight: float = 1.0, ac_weight: float = 1.0
) -> Decoupled:
    """The equations above.

    Args:
        student, teacher: (N, A, B), of one shape and type, in any memory order. No gradient flows
            into the teacher.
        axis: the mean is taken over it, 1 or 2; the vectors lie along the other one.
        dc_weight, ac_weight: of the two parts.

    Returns:
        Scalars, weights included. ``total`` can be differentiated once. Where a vector is 0 (of
        length 1e-12 at most, or within rounding of the mean that was taken from it) it has no
        direction: its unit vector is 0, and no gradient flows into it.

    >>> map_ = torch.tensor([[[1.0, 3.0]]])
    >>> [float(part) for part in decoupled_distance(map_, -map_, axis=2)]
    [16.0, 8.0, 8.0]
    """
    out: Tuple[Tensor, Tensor, Tensor] = _Distance.apply(  # type: ignore[no-untyped-call]
        student, teacher.detach(), axis, dc_weight, ac_weight
    )
    return Decoupled(*out)


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, axis: int, dc_weight: float, ac_weight: float
    ) -> Tuple[Tensor, Tensor, Tensor]:
        other, wanted = 3 - axis, ctx.needs_input_grad[0]
        means = [feat.mean(axis, keepdim=True) for feat in (student, teacher)]
        lengths = [torch.linalg.vector_norm(mean, dim=other, keepdim=True) for mean in means]
        floors = [(ROUNDING * torch.finfo(x.dtype).eps * x).clamp_min_(EPS) for x in lengths]
        least = torch.full_like(floors[0], EPS)
        dc, slope = _apart([mean.clone() for mean in means], [least, least], other, wanted)
        dc = dc * (dc_weight * student.shape[axis])
        gradient = torch.empty_like(student) if wanted else None
        sums = []
        for images, part in _pieces(student, axis):
            index = (images, part, slice(None)) if axis == 1 else (images, slice(None), part)
            centred = student[index] - means[0][images], teacher[index] - means[1][images]
            value, piece = _apart(centred, [floor[images] for floor in floors], other, wanted)
            sums.append(value)
            if gradient is not None and piece is not None:
                gradient[index] = piece
        ac = torch.stack(sums).sum() * ac_weight
        if gradient is not None and slope is not None:
            gradient *= ac_weight
            gradient += slope * dc_weight - gradient.mean(axis, keepdim=True)
            ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(dc, ac)
        return dc + ac, dc, ac

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_total: Tensor, *_: Any
    ) -> Tuple[Optional[Tensor], None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_total, None, None, None, None


def _apart(
    sides: Sequence[Tensor], floors: Sequence[Tensor], axis: int, wanted: bool
) -> Tuple[Tensor, Optional[Tensor]]:
    """sum || unit(a) - unit(b) ||^2 along ``axis``, and its gradient in a; both are overwritten.

    Args:
        sides: a and b.
        floors: vectors of each that are no longer than this are 0.
        axis: the vectors lie along it.
        wanted: whether the gradient is.
    """
    shares = []  # 1 / ||x||, or 0
    for x, floor in zip(sides, floors):
        lengths = torch.linalg.vector_norm(x, dim=axis, keepdim=True)
        shares.append(torch.where(lengths > floor, 1 / lengths, torch.zeros_like(lengths)))
        x.mul_(shares[-1])
    unit, b = sides
    e = torch.sub(unit, b, out=b)
    value = torch.linalg.vector_norm(e, dim=axis).square_().sum()
    if not wanted:
        return value, None
    along = (unit * e).sum(axis, keepdim=True)
    return value, e.sub_(unit.mul_(along)).mul_(2 * shares[0])


def _pieces(feat: Tensor, axis: int) -> Iterator[Tuple[slice, slice]]:
    """Of (N, A, B): some images, and places along ``axis``; a CPU's cache holds a piece."""
    count, length = feat.shape[0], feat.shape[axis]
    if feat.device.type != "cpu":
        yield slice(None), slice(None)
        return
    row = max(1, feat.shape[3 - axis]) * feat.element_size()
    step = max(16, PART_BYTES // row)  # 16 neighbours in memory are read together
    if step < length:
        for image in range(count):
            for part in parts(length, step):
                yield slice(image, image + 1), part
    else:
        for images in parts(count, max(1, step // length)):
            yield images, slice(None)
