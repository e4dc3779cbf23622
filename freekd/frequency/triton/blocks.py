# mypy: ignore-errors
"""GPU kernels (Triton) of the Haar transform, the pieces: butterflies of blocks and lanes.

Imported by :mod:`freekd.frequency.triton.maps` alone, and only where triton is there.

How the work is cut. A map is cut into blocks of 2^J x 2^J samples, whose coefficients depend on
nothing else, and a block into *lanes* of 4x4 samples (SIDE = 4; 2x2 for J = 1): a lane is what one
thread holds. Its rows are tensors (lanes, SIDE), read 16 bytes at a time in float32, so that the
first two levels are butterflies between the registers of one thread. A block's lanes are numbered
in Z-order, so the lows of four neighbouring lanes, which the next level wants, are a reshape away:
that level is done by shuffles within the warp, and each of the four lanes gets all four results.
Blocks of all channels of all images are numbered through, so that small maps fill the machine as
large ones do.

Reads outside the map give zero: zero extension (method.md, identity 4). Coefficients are kept as a
low (lanes, 1) and ``details[level - 1][row]`` = (LH, HL, HH), each (lanes, columns); a level has
SIDE / 2^level rows and columns in a lane, 1 at least.
"""

import triton
import triton.language as tl


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
