# mypy: ignore-errors
"""GPU kernels (Triton): the Haar transform, its inverse, and the weighted distance of two maps.

Each map is read, or written, once. See :mod:`.haar_triton_blocks` for how the work is cut, and
:mod:`.haar_triton` for the functions that call these. Sizes are not specialised on, so that a run
with maps of many sizes compiles few variants; what matters of a width, the power of two that
divides it, is UNIT.
"""

import triton
import triton.language as tl

from freekd.frequency.triton.bands import load_bands, store_bands
from freekd.frequency.triton.blocks import analyse, depth, rows_in_lane, synthesise
from freekd.frequency.triton.masks import logits_kernel, masks_kernel
from freekd.frequency.triton.memory import SIZES, load_map, place, store_map

__all__ = [
    "analysis_kernel",
    "distance_kernel",
    "logits_kernel",
    "masks_kernel",
    "synthesis_kernel",
]


@triton.jit(do_not_specialize=SIZES)
def analysis_kernel(
    pointer,
    bands,
    planes,
    height,
    width_units,
    blocks_y,
    blocks_x,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    """Planes (H, W) at ``pointer`` to 3J + 1 tensors of planes."""
    width = width_units * UNIT
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, y, x = place(index, blocks_y, blocks_x, depth(LEVELS, SIDE))
    valid = plane < planes
    plane = plane.to(tl.int64)
    base = plane * (height * width)
    rows = load_map(pointer, base, y, x, height, width, valid, SIDE, UNIT, ACC)
    low, details = analyse(rows, LEVELS, SIDE)
    store_bands(bands, low, details, plane, y, x, height, width_units, valid, LEVELS, SIDE, UNIT)


@triton.jit(do_not_specialize=SIZES)
def synthesis_kernel(
    pointer,
    bands,
    planes,
    height,
    width_units,
    blocks_y,
    blocks_x,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    """The inverse of :func:`analysis_kernel`."""
    width = width_units * UNIT
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    plane, y, x = place(index, blocks_y, blocks_x, depth(LEVELS, SIDE))
    valid = plane < planes
    plane = plane.to(tl.int64)
    base = plane * (height * width)
    low, details = load_bands(
        bands, plane, y, x, height, width_units, valid, LEVELS, SIDE, UNIT, -1, ACC
    )
    rows = synthesise(low, details, LEVELS, SIDE)
    store_map(pointer, rows, base, y, x, height, width, valid, SIDE, UNIT)


@triton.jit
def size_of(x, SQUARED: tl.constexpr):
    """|x| or x^2."""
    return x * x if SQUARED else tl.abs(x)


@triton.jit
def slope(x, weight, SQUARED: tl.constexpr):
    """The derivative of weight |x|^p, NaN where x is not finite: a gradient scaler must see it."""
    if SQUARED:
        out = 2.0 * x * weight
    else:
        out = tl.where(x > 0, weight, tl.where(x < 0, -weight, x * weight)) + (x - x)
    return out


@triton.jit(do_not_specialize=["images", "channels", "groups", "count", *SIZES[1:]])
def distance_kernel(
    student,
    teacher,
    weights,
    omega,
    grad_out,
    out,
    images,
    channels,
    groups,
    count,
    height,
    width_units,
    blocks_y,
    blocks_x,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    BATCHED: tl.constexpr,
    OMEGA: tl.constexpr,
    SQUARED: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    """The value, or the gradient, of the distance of ``student`` and ``teacher``, (N, C, H, W).

    A lane takes ``count`` channels one after the other, so that the weights, which they share, are
    read once for all of them; ``groups`` is ceil(C / count). The value goes to ``out`` as one sum
    for each program; the gradient, times ``grad_out[0]``, as a map.
    """
    width = width_units * UNIT
    area = height * width
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    group, y, x = place(index, blocks_y, blocks_x, depth(LEVELS, SIDE))
    image = group // groups
    first = (group % groups) * count
    valid = image < images
    low_weight, detail_weights = load_bands(
        weights,
        image.to(tl.int64),
        y,
        x,
        height,
        width_units,
        valid,
        LEVELS,
        SIDE,
        UNIT,
        BATCHED,
        ACC,
    )
    total = tl.zeros((BLOCK, 1), ACC)
    scale = tl.full((BLOCK, 1), 1.0, ACC)
    if GRADIENT:
        scale = scale * tl.load(grad_out).to(ACC)
    for step in range(count):
        channel = first + step
        inside = valid & (channel < channels)
        plane = image * channels + channel
        base = plane.to(tl.int64) * area
        a = load_map(student, base, y, x, height, width, inside, SIDE, UNIT, ACC)
        b = load_map(teacher, base, y, x, height, width, inside, SIDE, UNIT, ACC)
        rows = ()
        for row in tl.static_range(SIDE):
            rows = rows + (a[row] - b[row],)
        low, details = analyse(rows, LEVELS, SIDE)
        factor = scale
        if OMEGA:
            factor = scale * tl.load(omega + plane, mask=inside, other=0.0).to(ACC)[:, None]
        if GRADIENT:
            slopes = ()
            for level in tl.static_range(LEVELS):
                bands = ()
                for row in tl.static_range(rows_in_lane(level + 1, SIDE)):
                    triple = ()
                    for i in tl.static_range(3):
                        weight = detail_weights[level][row][i] * factor
                        triple = triple + (slope(details[level][row][i], weight, SQUARED),)
                    bands = bands + (triple,)
                slopes = slopes + (bands,)
            low = slope(low, low_weight * factor, SQUARED)
            rows = synthesise(low, slopes, LEVELS, SIDE)
            store_map(out, rows, base, y, x, height, width, inside, SIDE, UNIT)
        else:
            # a coefficient that 4^k lanes share is counted by each of them: 4^-k, exactly
            part = size_of(low, SQUARED) * low_weight * 0.25 ** depth(LEVELS, SIDE)
            for level in tl.static_range(LEVELS):
                for row in tl.static_range(rows_in_lane(level + 1, SIDE)):
                    for i in tl.static_range(3):
                        error = size_of(details[level][row][i], SQUARED)
                        error = (
                            error * detail_weights[level][row][i] * 0.25 ** depth(level + 1, SIDE)
                        )
                        part += tl.sum(error, axis=1, keep_dims=True)
            total += part * factor
    if not GRADIENT:
        tl.store(out + tl.program_id(0), tl.sum(total))
