# mypy: ignore-errors
"""GPU kernels (Triton): the Haar transform, its inverse, the weighted distance, the masks' weights.

Each map is read, or written, once. See :mod:`.lanes` for how the work is cut, and :mod:`.ops` for
the functions that call these. Sizes are not specialised on, so that a run with maps of many sizes
compiles few variants; what matters of a width, the power of two that divides it, is UNIT.
"""

import triton
import triton.language as tl

from freekd.frequency.triton.lanes import (
    SIZES,
    analyse,
    band_size,
    depth,
    load_bands,
    load_map,
    place,
    rows_in_lane,
    store_bands,
    store_map,
    store_row,
    synthesise,
)


# --------------------------------------------------------------------------- the transform
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


# --------------------------------------------------------------------------- the weighted distance
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


# --------------------------------------------------------------------------- the masks' weights
#     w_k = (1/T) sum_i sigma(P_k,i . R_k)    (sigma squared for the squared distance), Eq. 5
#
# or, for masks of band energy, sigma(W_k,i . |R_k| + o_k,i).
#
# The first kernel reads the map once and projects: it transforms a lane's channel and adds P_k,i,c
# times each coefficient to the logits of the prompts, which stay in registers. A thread that summed
# over all channels alone would leave most of the machine idle, so they are shared out: among SUBS
# lanes of a warp that work on the same place, and among programs. The second kernel adds up the
# programs' logits, in a fixed order, and applies sigma.
@triton.jit
def read(x, MAGNITUDES: tl.constexpr):
    """|x| or x."""
    return tl.abs(x) if MAGNITUDES else x


@triton.jit
def grouped(
    low,
    details,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    SHARED: tl.constexpr,
    MAGNITUDES: tl.constexpr,
):
    """What the prompts are multiplied with: the low, then for each level and row its bands.

    With SHARED (granularity ``level``) the sum of the three bands; with MAGNITUDES all without
    their signs.
    """
    out = (read(low, MAGNITUDES),)
    for level in tl.static_range(LEVELS):
        for row in tl.static_range(rows_in_lane(level + 1, SIDE)):
            lh = read(details[level][row][0], MAGNITUDES)
            hl = read(details[level][row][1], MAGNITUDES)
            hh = read(details[level][row][2], MAGNITUDES)
            if SHARED:
                out = out + (lh + hl + hh,)
            else:
                out = out + (lh, hl, hh)
    return out


@triton.constexpr_function
def group_count(levels, shared):
    """The number of groups: a low, and the bands or the levels."""
    return 1 + (levels if shared else 3 * levels)


@triton.constexpr_function
def group_level(group, levels, shared):
    """The level of a group's coefficients."""
    return levels if group == 0 else group if shared else (group + 2) // 3


@triton.constexpr_function
def piece(number, part, levels, side, shared):
    """The row, or the group, of one of :func:`grouped`'s tensors."""
    out = [{"row": 0, "group": 0}]
    for group in range(1, 1 + levels, 1) if shared else range(1, 1 + 3 * levels, 3):
        level = group if shared else (group + 2) // 3
        for row in range(max(side >> level, 1)):
            out += [{"row": row, "group": group + i} for i in range(1 if shared else 3)]
    return len(out) if part == "count" else out[number][part]


@triton.jit
def group_start(
    images,
    height,
    width_units,
    GROUP: tl.constexpr,
    LEVELS: tl.constexpr,
    UNIT: tl.constexpr,
    SHARED: tl.constexpr,
):
    """Where a group's (N, h, w) starts in the packed buffer; groups start at multiples of 4."""
    fours = images * 0
    for group in tl.static_range(GROUP):
        h, w = band_size(height, width_units, group_level(group, LEVELS, SHARED), UNIT)
        fours += (images * h * w + 3) // 4
    return fours * 4


@triton.jit
def over_subs(x, SPAN: tl.constexpr):
    """The sum over the lanes of a warp that hold the same place; each of them gets it."""
    lanes: tl.constexpr = x.shape[0]
    columns: tl.constexpr = x.shape[1]
    shape: tl.constexpr = (lanes // 32, 32 // SPAN, SPAN, columns)
    total = tl.sum(tl.reshape(x, shape), axis=1, keep_dims=True)
    return tl.reshape(tl.broadcast_to(total, shape), (lanes, columns))


@triton.jit
def store_piece(
    pointer,
    value,
    image,
    y,
    x,
    valid,
    images,
    height,
    width_units,
    ROW: tl.constexpr,
    GROUP: tl.constexpr,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    SHARED: tl.constexpr,
):
    """Write a row of a group's coefficients into a packed buffer, each once."""
    LEVEL: tl.constexpr = group_level(GROUP, LEVELS, SHARED)
    h, w = band_size(height, width_units, LEVEL, UNIT)
    y_in, x_in = y >> depth(LEVEL, SIDE), x >> depth(LEVEL, SIDE)
    first = (y_in << depth(LEVEL, SIDE) == y) & (x_in << depth(LEVEL, SIDE) == x)
    base = group_start(images, height, width_units, GROUP, LEVELS, UNIT, SHARED) + image * (h * w)
    store_row(
        pointer,
        value,
        base,
        y_in,
        x_in,
        h,
        w,
        valid & first,
        ROW,
        rows_in_lane(LEVEL, SIDE),
        UNIT >> LEVEL,
    )


@triton.jit
def zeros_of(
    NUMBER: tl.constexpr,
    BLOCK: tl.constexpr,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    SHARED: tl.constexpr,
    ACC: tl.constexpr,
):
    """Zeros of the shape of :func:`grouped`'s tensor NUMBER."""
    GROUP: tl.constexpr = piece(NUMBER, "group", LEVELS, SIDE, SHARED)
    COLUMNS: tl.constexpr = rows_in_lane(group_level(GROUP, LEVELS, SHARED), SIDE)
    return tl.zeros((BLOCK, COLUMNS), ACC)


@triton.jit(do_not_specialize=["channels", "share", "prompts", "chunks", "fours", *SIZES])
def logits_kernel(
    pointer,
    prompt,
    offset,
    out,
    channels,
    share,
    prompts,
    chunks,
    fours,
    planes,
    height,
    width_units,
    blocks_y,
    blocks_x,
    COUNT: tl.constexpr,
    SHARED: tl.constexpr,
    MAGNITUDES: tl.constexpr,
    OFFSET: tl.constexpr,
    LEVELS: tl.constexpr,
    SIDE: tl.constexpr,
    UNIT: tl.constexpr,
    SPAN: tl.constexpr,
    BLOCK: tl.constexpr,
    ACC: tl.constexpr,
):
    """The logits of COUNT prompts over a program's channels.

    ``pointer`` is a map (N, C, H, W) with N = ``planes``, ``prompt`` (groups, prompts, C),
    ``offset`` (groups, prompts), which the first program along axis 1 adds where OFFSET, ``out``
    (programs along axis 1, prompts, 4 ``fours``), see :func:`group_start`. SPAN lanes of a warp
    hold neighbouring places, and 32 / SPAN such spans the same places of different channels; a lane
    takes ``share`` channels one after the other. ``chunks`` programs side by side share the
    prompts: registers do not hold the sums of more than a few.
    """
    SUBS: tl.constexpr = 32 // SPAN
    width = width_units * UNIT
    area = height * width
    lane = tl.arange(0, BLOCK)
    sub = (lane // SPAN) % SUBS
    first_prompt = (tl.program_id(0) % chunks) * COUNT
    start = (tl.program_id(0) // chunks) * (BLOCK // SUBS)
    index = start + (lane // 32) * SPAN + lane % SPAN
    image, y, x = place(index, blocks_y, blocks_x, depth(LEVELS, SIDE))
    valid = image < planes
    logits = ()
    for number in tl.static_range(piece(0, "count", LEVELS, SIDE, SHARED)):
        for _prompt in tl.static_range(COUNT):
            logits = logits + (zeros_of(number, BLOCK, LEVELS, SIDE, SHARED, ACC),)
    for step in range(share):
        channel = (tl.program_id(1) * share + step) * SUBS + sub
        inside = valid & (channel < channels)
        base = (image * channels + channel).to(tl.int64) * area
        rows = load_map(pointer, base, y, x, height, width, inside, SIDE, UNIT, ACC)
        low, details = analyse(rows, LEVELS, SIDE)
        values = grouped(low, details, LEVELS, SIDE, SHARED, MAGNITUDES)
        factors = ()
        for row in tl.static_range(group_count(LEVELS, SHARED) * COUNT):
            i = first_prompt + row % COUNT
            line = (row // COUNT) * prompts + i
            factor = tl.load(
                prompt + (line * channels + channel), mask=inside & (i < prompts), other=0.0
            )
            factors = factors + (factor.to(ACC)[:, None],)
        sums = ()
        for number in tl.static_range(piece(0, "count", LEVELS, SIDE, SHARED)):
            for i in tl.static_range(COUNT):
                factor = factors[piece(number, "group", LEVELS, SIDE, SHARED) * COUNT + i]
                sums = sums + (logits[number * COUNT + i] + values[number] * factor,)
        logits = sums
    for number in tl.static_range(piece(0, "count", LEVELS, SIDE, SHARED)):
        for i in tl.static_range(COUNT):
            line = tl.program_id(1) * prompts + first_prompt + i
            logit = over_subs(logits[number * COUNT + i], SPAN)
            if OFFSET:
                place_of = piece(number, "group", LEVELS, SIDE, SHARED) * prompts + first_prompt + i
                adds = (first_prompt + i < prompts) & (tl.program_id(1) == 0)
                logit += tl.load(offset + place_of, mask=adds, other=0.0).to(ACC)
            store_piece(
                out + line.to(tl.int64) * (4 * fours),
                logit,
                image,
                y,
                x,
                valid & (sub == 0) & (first_prompt + i < prompts),
                planes,
                height,
                width_units,
                piece(number, "row", LEVELS, SIDE, SHARED),
                piece(number, "group", LEVELS, SIDE, SHARED),
                LEVELS,
                SIDE,
                UNIT,
                SHARED,
            )


@triton.jit(do_not_specialize=["total", "prompts", "parts"])
def masks_kernel(logits, out, total, prompts, parts, SQUARED: tl.constexpr, BLOCK: tl.constexpr):
    """The mean over prompts of sigma, or its square, of the sum over ``parts`` programs' logits."""
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < total
    result = tl.zeros((BLOCK,), out.dtype.element_ty)
    for i in range(prompts):
        logit = tl.zeros((BLOCK,), out.dtype.element_ty)
        for part in range(parts):
            line = (part * prompts + i).to(tl.int64) * total
            logit += tl.load(logits + line + index, mask=inside, other=0.0)
        mask = 1 / (1 + tl.exp(-logit))
        result += mask * mask if SQUARED else mask
    tl.store(out + index, result / prompts, mask=inside)
