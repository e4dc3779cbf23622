# mypy: ignore-errors
"""GPU kernels (Triton) of the Haar transform, the pieces: reading and writing all bands of lanes.

Imported by :mod:`freekd.frequency.triton.maps` alone, and only where triton is there. What a lane
is stands in :mod:`.haar_triton_blocks`.
"""

import triton
import triton.language as tl

from freekd.frequency.triton.blocks import depth, rows_in_lane
from freekd.frequency.triton.memory import band_size, load_row, store_row


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
