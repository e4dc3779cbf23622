# mypy: ignore-errors
"""GPU kernels (Triton) of the Haar transform, the pieces: lanes' addresses, reads and writes.

Imported by :mod:`freekd.frequency.triton.maps` alone, and only where triton is there. What a lane
is stands in :mod:`.haar_triton_blocks`. A plane is one channel of one image; planes are numbered in
int32, and their samples in int64.
"""

import triton
import triton.language as tl

from freekd.frequency.triton.blocks import merge_columns, split_columns

# of all kernels; not specialised on, so that maps of many sizes need few variants
SIZES = ["planes", "height", "width_units", "blocks_y", "blocks_x"]


@triton.constexpr_function
def columns_at_once(columns, unit, bits):
    """How many of a lane's columns one read takes: at most 16 bytes, aligned to its size."""
    return max(min(columns, unit, 128 // bits), 1)


@triton.jit
def place(index, blocks_y, blocks_x, DEPTH: tl.constexpr):
    """Plane, row and column of lanes numbered through, 4^DEPTH of them in a block."""
    block = index >> (2 * DEPTH)
    x = (block % blocks_x) << DEPTH
    rest = block // blocks_x
    y = (rest % blocks_y) << DEPTH
    for bit in tl.static_range(DEPTH):
        x += ((index >> (2 * bit)) & 1) << bit
        y += ((index >> (2 * bit + 1)) & 1) << bit
    return rest // blocks_y, y, x


@triton.jit
def band_size(height, width_units, LEVEL: tl.constexpr, UNIT: tl.constexpr):
    """Height and width of level LEVEL of a map ``height`` x (``width_units`` UNIT).

    Written so that the compiler sees what divides the width, and reads several columns at once.
    """
    h = (height + ((1 << LEVEL) - 1)) >> LEVEL
    if (UNIT >> LEVEL) >= 1:
        w = width_units * (UNIT >> LEVEL)
    else:
        w = (width_units * UNIT + ((1 << LEVEL) - 1)) >> LEVEL
    return h, w


@triton.jit
def chunk(
    base,
    y,
    x,
    h,
    w,
    valid,
    ROW: tl.constexpr,
    AT: tl.constexpr,
    ROWS: tl.constexpr,
    VEC: tl.constexpr,
):
    """Offsets of VEC columns from AT of row ROW of lanes ROWS x ROWS large; which are inside."""
    column = (x[:, None] * ROWS + AT) + tl.arange(0, VEC)[None, :]
    line = (y * ROWS + ROW)[:, None]
    inside = valid[:, None] & (line < h) & (column < w)
    return base[:, None] + (line * w + column), inside


@triton.jit
def load_row(
    pointer,
    base,
    y,
    x,
    h,
    w,
    valid,
    ROW: tl.constexpr,
    ROWS: tl.constexpr,
    UNIT: tl.constexpr,
    ACC: tl.constexpr,
):
    """Row ROW (lanes, ROWS) of lanes of planes (h, w) that begin at ``base``; zero outside.

    UNIT divides w. As many columns at a time as one read can take, so that a thread's columns stay
    its own: left to itself the compiler spreads an unaligned row over the threads, then exchanges.
    """
    VEC: tl.constexpr = columns_at_once(ROWS, UNIT, pointer.dtype.element_ty.primitive_bitwidth)
    parts = ()
    for at in tl.static_range(0, ROWS, VEC):
        offset, inside = chunk(base, y, x, h, w, valid, ROW, at, ROWS, VEC)
        part = tl.load(pointer + offset, mask=inside, other=0.0).to(ACC)
        if VEC == 2 and ROWS == 4:
            even, odd = split_columns(part)
            parts = parts + (even, odd)
        else:
            parts = parts + (part,)
    if VEC == ROWS:
        out = parts[0]
    elif ROWS == 2:
        out = merge_columns(parts[0], parts[1])
    else:
        even, odd = merge_columns(parts[0], parts[2]), merge_columns(parts[1], parts[3])
        out = merge_columns(even, odd)
    return out


@triton.jit
def store_row(
    pointer,
    row,
    base,
    y,
    x,
    h,
    w,
    valid,
    ROW: tl.constexpr,
    ROWS: tl.constexpr,
    UNIT: tl.constexpr,
):
    """The inverse of :func:`load_row`, rounded to the pointer's type."""
    VEC: tl.constexpr = columns_at_once(ROWS, UNIT, pointer.dtype.element_ty.primitive_bitwidth)
    if pointer.dtype.element_ty.primitive_bitwidth < 32:
        row = row.to(tl.float32)  # float64 to half precision goes by float32, as in torch
    row = row.to(pointer.dtype.element_ty)
    if VEC == ROWS:
        parts = (row,)
    elif ROWS == 2:
        even, odd = split_columns(row)
        parts = (even, odd)
    else:
        even, odd = split_columns(row)
        zero, two = split_columns(even)
        one, three = split_columns(odd)
        if VEC == 2:
            parts = (merge_columns(zero, one), merge_columns(two, three))
        else:
            parts = (zero, one, two, three)
    for i in tl.static_range(ROWS // VEC):
        offset, inside = chunk(base, y, x, h, w, valid, ROW, i * VEC, ROWS, VEC)
        tl.store(pointer + offset, parts[i], mask=inside)


@triton.jit
def load_map(
    pointer, base, y, x, h, w, valid, SIDE: tl.constexpr, UNIT: tl.constexpr, ACC: tl.constexpr
):
    """All rows of lanes, in ACC."""
    rows = ()
    for row in tl.static_range(SIDE):
        rows = rows + (load_row(pointer, base, y, x, h, w, valid, row, SIDE, UNIT, ACC),)
    return rows


@triton.jit
def store_map(pointer, rows, base, y, x, h, w, valid, SIDE: tl.constexpr, UNIT: tl.constexpr):
    """The inverse of :func:`load_map`."""
    for row in tl.static_range(SIDE):
        store_row(pointer, rows[row], base, y, x, h, w, valid, row, SIDE, UNIT)
