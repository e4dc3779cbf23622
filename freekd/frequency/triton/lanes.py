# mypy: ignore-errors
"""GPU kernels (Triton) of the Haar transform, the pieces: lanes, their butterflies, reads, writes.

Imported by :mod:`.kernels` alone, and only where triton is there.

How the work is cut. A map is cut into blocks of 2^J x 2^J samples, whose coefficients depend on
nothing else, and a block into *lanes* of 4x4 samples (SIDE = 4; 2x2 for J = 1): a lane is what one
thread holds. Its rows are tensors (lanes, SIDE), read 16 bytes at a time in float32, so that the
first two levels are butterflies between the registers of one thread. A block's lanes are numbered
in Z-order, so the lows of four neighbouring lanes, which the next level wants, are a reshape away:
that level is done by shuffles within the warp, and each of the four lanes gets all four results.
Blocks of all channels of all images are numbered through, so that small maps fill the machine as
large ones do. A plane is one channel of one image; planes are numbered in int32, and their samples
in int64.

Reads outside the map give zero: J levels on any size are those of the size filled up with zeros to
a multiple of 2^J, cut to ceil(H / 2^j). Coefficients are kept as a low (lanes, 1) and
``details[level - 1][row]`` = (LH, HL, HH), each (lanes, columns); a level has SIDE / 2^level rows
and columns in a lane, 1 at least.
"""

import triton
import triton.language as tl

# of all kernels; not specialised on, so that maps of many sizes need few variants
SIZES = ["planes", "height", "width_units", "blocks_y", "blocks_x"]


# --------------------------------------------------------------------------- butterflies
@triton.constexpr_function
def rows_in_lane(level, side):
    """How many rows, and columns, of a level a lane holds; ``side`` at level 0."""
    return max(side >> level, 1)


@triton.constexpr_function
def depth(level, side):
    """log4 of the number of lanes that share a coefficient of level ``level``."""
    return max(level - (2 if side == 4 else 1), 0)


@triton.jit
def butterfly(a, b, c, d):
    """LL, LH, HL, HH of a 2x2 block a b / c d; its own inverse."""
    left, right = a + c, b + d
    left_fall, right_fall = a - c, b - d
    return (
        0.5 * (left + right),
        0.5 * (left_fall + right_fall),
        0.5 * (left - right),
        0.5 * (left_fall - right_fall),
    )


@triton.jit
def split_columns(x):
    """(n, k) to its even and odd columns, (n, k / 2) each."""
    n: tl.constexpr = x.shape[0]
    half: tl.constexpr = x.shape[1] // 2
    even, odd = tl.split(tl.reshape(x, (n, half, 2)))
    return even, odd


@triton.jit
def merge_columns(even, odd):
    """The inverse of :func:`split_columns`."""
    n: tl.constexpr = even.shape[0]
    double: tl.constexpr = even.shape[1] * 2
    return tl.reshape(tl.join(even, odd), (n, double))


@triton.jit
def across_lanes(x, STEP: tl.constexpr):
    """LL, LH, HL, HH (lanes, 1) of the values x (lanes, 1) of four lanes, STEP apart in Z-order."""
    lanes: tl.constexpr = x.shape[0]
    quads: tl.constexpr = lanes // (4 * STEP)
    corners = tl.reshape(0.5 * x, (quads, 2, 2, STEP))
    sign = (1 - 2 * tl.arange(0, 2)).to(x.dtype)
    sign_x, sign_y = sign[None, None, :, None], sign[None, :, None, None]
    low = tl.sum(corners, axis=2, keep_dims=True)
    high = tl.sum(corners * sign_x, axis=2, keep_dims=True)
    out = ()
    for band in tl.static_range(4):
        part = low if band < 2 else high
        signed = part if band % 2 == 0 else part * sign_y
        total = tl.sum(signed, axis=1, keep_dims=True)
        out = out + (tl.reshape(tl.broadcast_to(total, (quads, 2, 2, STEP)), (lanes, 1)),)
    return out


@triton.jit
def back_across_lanes(ll, lh, hl, hh, STEP: tl.constexpr):
    """The inverse of :func:`across_lanes`: each lane takes its corner."""
    lane = tl.arange(0, ll.shape[0])[:, None] // STEP
    sign_x = (1 - 2 * (lane & 1)).to(ll.dtype)
    sign_y = (1 - (lane & 2)).to(ll.dtype)
    return 0.5 * ((ll + sign_y * lh) + sign_x * (hl + sign_y * hh))


@triton.jit
def analyse(rows, LEVELS: tl.constexpr, SIDE: tl.constexpr):
    """J levels of the rows of lanes; returns the low and the details, see the file's head."""
    lows = rows
    details = ()
    for level in tl.static_range(1, LEVELS + 1):
        finer = lows
        lows = ()
        bands = ()
        if (SIDE >> level) >= 1:
            for row in tl.static_range(rows_in_lane(level, SIDE)):
                a, b = split_columns(finer[2 * row])
                c, d = split_columns(finer[2 * row + 1])
                ll, lh, hl, hh = butterfly(a, b, c, d)
                lows = lows + (ll,)
                bands = bands + ((lh, hl, hh),)
        else:
            ll, lh, hl, hh = across_lanes(finer[0], 4 ** depth(level - 1, SIDE))
            lows = (ll,)
            bands = ((lh, hl, hh),)
        details = details + (bands,)
    return lows[0], details


@triton.jit
def synthesise(low, details, LEVELS: tl.constexpr, SIDE: tl.constexpr):
    """The inverse of :func:`analyse`: the rows (lanes, SIDE)."""
    lows = (low,)
    for back in tl.static_range(LEVELS):
        bands = details[LEVELS - 1 - back]
        coarser = lows
        lows = ()
        if (SIDE >> (LEVELS - back)) >= 1:
            for row in tl.static_range(rows_in_lane(LEVELS - back, SIDE)):
                lh, hl, hh = bands[row]
                a, b, c, d = butterfly(coarser[row], lh, hl, hh)
                lows = lows + (merge_columns(a, b), merge_columns(c, d))
        else:
            lh, hl, hh = bands[0]
            lows = (back_across_lanes(coarser[0], lh, hl, hh, 4 ** depth(LEVELS - back - 1, SIDE)),)
    return lows


# --------------------------------------------------------------------------- maps and rows
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


# --------------------------------------------------------------------------- all bands of lanes
@triton.jit
def load_level(
    pointers,
    plane,
    y,
    x,
    height,
    width_units,
    valid,
    LEVEL: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    BATCHED: tl.constexpr,
    ACC: tl.constexpr,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
):
    """Bands FIRST to LAST - 1, all of level LEVEL's size: for each row of a lane a tuple."""
    ROWS: tl.constexpr = rows_in_lane(LEVEL, SIDE)
    y, x = y >> depth(LEVEL, SIDE), x >> depth(LEVEL, SIDE)
    h, w = band_size(height, width_units, LEVEL, UNIT)
    rows = ()
    for row in tl.static_range(ROWS):
        bands = ()
        for k in tl.static_range(FIRST, LAST):
            base = plane * (h * w * ((BATCHED >> k) & 1))
            band = load_row(pointers[k], base, y, x, h, w, valid, row, ROWS, UNIT >> LEVEL, ACC)
            bands = bands + (band,)
        rows = rows + (bands,)
    return rows


@triton.jit
def load_bands(
    pointers,
    plane,
    y,
    x,
    height,
    width_units,
    valid,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    BATCHED: tl.constexpr,
    ACC: tl.constexpr,
):
    """All bands (or weights) of lanes, from 3J + 1 pointers to (planes, h, w): low and details.

    Bit k of BATCHED: band k has a plane for each number ``plane`` (int64), not one for all. Where
    several lanes share a coefficient each gets it.
    """
    details = ()
    for level in tl.static_range(1, LEVELS + 1):
        rows = load_level(
            pointers,
            plane,
            y,
            x,
            height,
            width_units,
            valid,
            level,
            SIDE,
            UNIT,
            BATCHED,
            ACC,
            3 * level - 2,
            3 * level + 1,
        )
        details = details + (rows,)
    rows = load_level(
        pointers,
        plane,
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
        0,
        1,
    )
    return rows[0][0], details


@triton.jit
def store_bands(
    pointers,
    low,
    details,
    plane,
    y,
    x,
    height,
    width_units,
    valid,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
):
    """Write all bands of lanes to 3J + 1 tensors (planes, h, w), each coefficient once."""
    for level in tl.static_range(1, LEVELS + 1):
        y_in, x_in = y >> depth(level, SIDE), x >> depth(level, SIDE)
        first = (y_in << depth(level, SIDE) == y) & (x_in << depth(level, SIDE) == x)
        inside = valid & first  # the first of the lanes that share a coefficient writes it
        h, w = band_size(height, width_units, level, UNIT)
        base = plane * (h * w)
        for row in tl.static_range(rows_in_lane(level, SIDE)):
            for i in tl.static_range(3):
                store_row(
                    pointers[3 * level - 2 + i],
                    details[level - 1][row][i],
                    base,
                    y_in,
                    x_in,
                    h,
                    w,
                    inside,
                    row,
                    rows_in_lane(level, SIDE),
                    UNIT >> level,
                )
            if level == LEVELS:
                store_row(pointers[0], low, base, y_in, x_in, h, w, inside, row, 1, 1)
