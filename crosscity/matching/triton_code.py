"""The loops of matching in Triton's language; `crosscity.matching.triton_stages` starts them.

Arguments are pointers to contiguous tensors and whole numbers, as the stages pass them; Triton has
no types for them. What indexes maps is 64 bits wide, as a large pair has more than 2³¹ cells.
Kernels are not compiled anew for sizes that happen to be 1 or multiples of 16: every level of every
size of picture would have some. Importable only where Triton is.
"""

import triton
import triton.language as tl

SIZES = ["height", "width", "pooled_height", "pooled_width"]
OF_CORRELATION = ["block_count", "tiles_across", "whole_height", "whole_width", *SIZES]
OF_A_LEVEL = ["tiles", "tiles_across", "below_height", "below_width", *SIZES]
OF_A_WAY = ["count", "above_width", "below_height", "below_width", "area", "width"]


@triton.jit(do_not_specialize=OF_CORRELATION)
def correlate_kernel(
    vectors,
    columns,
    row_factors,
    column_factors,
    table,
    top,
    left,
    blocks,
    cells,
    block_count,
    tiles_across,
    whole_height,
    whole_width,
    height,
    width,
    pooled_height,
    pooled_width,
    everywhere: tl.constexpr,
    size: tl.constexpr,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    terms: tl.constexpr,
    nothing: tl.constexpr,
    table_steps: tl.constexpr,
):
    """One block of patches against one tile of pooled cells.

    Windows of the second image have a rim of one around the map, of zeros: a cell there answers 0,
    which is followed by nobody, so off the map needs no look.
    """
    # Programs that run side by side share their part of the second image, which is the larger.
    block = tl.program_id(0) % block_count
    tile = tl.program_id(0) // block_count
    first = tl.load(blocks + block)
    count = tl.load(blocks + block_count + block)
    first_row = tl.load(blocks + 2 * block_count + block)
    first_column = tl.load(blocks + 3 * block_count + block)
    end_row = first_row + tl.load(blocks + 4 * block_count + block)
    end_column = first_column + tl.load(blocks + 5 * block_count + block)
    first_row += tile // tiles_across * tile_height
    first_column += tile % tiles_across * tile_width

    n = tl.arange(0, tile_height * tile_width)
    i = first_row + n // tile_width
    j = first_column + n % tile_width
    m = tl.arange(0, size)
    present = m < count
    patch = first + m
    k = tl.arange(0, terms)
    more = terms + tl.arange(0, 16)
    vector = vectors + patch.to(tl.int64)[:, None] * (terms + 16)
    a = tl.load(vector + k[None, :], mask=present[:, None], other=0.0)
    a_more = tl.load(vector + more[None, :], mask=present[:, None], other=0.0)
    patch_top = tl.load(top + patch, mask=present, other=0)
    patch_left = tl.load(left + patch, mask=present, other=0)
    # Beyond the tile's end the last cell is read again, and not stored.
    place = 2 * tl.minimum(i, end_row - 1) + 1
    place = place * (whole_width + 2) + 2 * tl.minimum(j, end_column - 1) + 1
    last_row = tl.minimum(first_row + tile_height, end_row) - 1
    last_column = tl.minimum(first_column + tile_width, end_column) - 1
    on_row_rim = (first_row < 2) | (2 * last_row + 1 >= whole_height - 2)
    on_column_rim = (first_column < 2) | (2 * last_column + 1 >= whole_width - 2)
    best = tl.full((size, tile_height * tile_width), nothing, tl.int32)
    for o in range(9):
        there = place + (o // 3 - 1) * (whole_width + 2) + o % 3 - 1
        window = columns + there.to(tl.int64)[:, None] * (terms + 16)
        response = tl.dot(a, tl.trans(tl.load(window + k[None, :])))
        response = tl.dot(a_more, tl.trans(tl.load(window + more[None, :])), response)
        # Where a window leaves the image the patch is normalised over the part inside.
        if on_row_rim:
            y = 2 * i + o // 3 - 1
            for side in tl.static_range(4):
                factor = tl.load(row_factors + patch * 4 + side, mask=present, other=1.0)
                at_side = y == (side if side < 2 else whole_height - 4 + side)
                response = tl.where(at_side[None, :], response * factor[:, None], response)
        if on_column_rim:
            x = 2 * j + o % 3 - 1
            for side in tl.static_range(4):
                factor = tl.load(column_factors + patch * 4 + side, mask=present, other=1.0)
                at_side = x == (side if side < 2 else whole_width - 4 + side)
                response = tl.where(at_side[None, :], response * factor[:, None], response)
        # Responses are not negative, so their bits order like integers; the place takes four.
        key = (response.to(tl.int32, bitcast=True) & -16) | (8 - o)
        if not everywhere:
            y = 2 * i + o // 3 - 1
            x = 2 * j + o % 3 - 1
            down = y[None, :] - patch_top[:, None]
            right = x[None, :] - patch_left[:, None]
            own = (down >= 0) & (down < height) & (right >= 0) & (right < width)
            key = tl.where(own, key, nothing)
        best = tl.maximum(best, key)
    looked_at = (i < end_row) & (j < end_column)
    own_i = i[None, :] - (patch_top // 2)[:, None]
    own_j = j[None, :] - (patch_left // 2)[:, None]
    stored = present[:, None] & looked_at[None, :]
    if not everywhere:
        stored = stored & (own_i >= 0) & (own_i < pooled_height)
        stored = stored & (own_j >= 0) & (own_j < pooled_width)
    # Within a block 32 bits suffice, and spare registers.
    area = pooled_height * pooled_width
    at = m[:, None] * area + own_i * pooled_width + own_j
    own = cells + first.to(tl.int64) * area
    tl.store(own + at, _rectified(best, table, stored, table_steps), mask=stored)


@triton.jit
def _rectified(best, table, stored, table_steps: tl.constexpr):
    """The stored cell of a pooled response and its place, less 32768."""
    best = tl.where(stored, best, 0)
    response = tl.minimum(best.to(tl.float32, bitcast=True), 1.0)
    step = (response * table_steps + 0.5).to(tl.int32)
    value = tl.load(table + step, mask=stored, other=0) | (best & 15)
    return (value - 32768).to(tl.int16)


@triton.jit(do_not_specialize=OF_A_LEVEL)
def aggregate_kernel(
    below,
    children,
    shifts,
    shares,
    table,
    top,
    left,
    cells,
    tiles,
    tiles_across,
    below_height,
    below_width,
    height,
    width,
    pooled_height,
    pooled_width,
    step: tl.constexpr,
    power: tl.constexpr,
    tile_height: tl.constexpr,
    tile_width: tl.constexpr,
    nothing: tl.constexpr,
    table_steps: tl.constexpr,
):
    """One tile of a patch's pooled map, from the maps of its children."""
    patch = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    first_row = tile // tiles_across * tile_height
    first_column = tile % tiles_across * tile_width
    n = tl.arange(0, tile_height * tile_width)
    i = first_row + n // tile_width
    j = first_column + n % tile_width
    stored = (i < pooled_height) & (j < pooled_width)
    odd_row = tl.load(top + patch) & 1
    odd_column = tl.load(left + patch) & 1
    # Rows and columns that the tile looks at, of this patch's map and then of its children's.
    begin_y, end_y = 2 * first_row - 1 - odd_row, 2 * (first_row + tile_height) - odd_row
    begin_x, end_x = 2 * first_column - 1 - odd_column, 2 * (first_column + tile_width) - odd_column
    whole = (begin_y >= 0) & (end_y <= height) & (begin_x >= 0) & (end_x <= width)
    for k in tl.static_range(4):
        down, across = _shift(shifts, patch, k)
        whole = whole & (tl.load(children + patch * 4 + k) >= 0)
        whole = whole & (begin_y + down >= 0) & (end_y + down <= below_height)
        whole = whole & (begin_x + across >= 0) & (end_x + across <= below_width)
    best = tl.full((tile_height * tile_width,), nothing, tl.int32)
    if whole:
        for o in range(9):
            y = 2 * i + o // 3 - 1 - odd_row
            x = 2 * j + o % 3 - 1 - odd_column
            total = tl.zeros((tile_height * tile_width,), tl.float32)
            for k in tl.static_range(4):
                down, across = _shift(shifts, patch, k)
                base = below + tl.load(children + patch * 4 + k) * below_height * below_width
                stored_there = tl.load(base + (y + down) * below_width + x + across).to(tl.int32)
                value = ((stored_there + 32768) & 0xFFF0).to(tl.float32)
                total += tl.load(shares + patch * 4 + k) * step * value
            best = tl.maximum(best, (total.to(tl.int32, bitcast=True) & -16) | (8 - o))
    else:
        for o in range(9):
            y = 2 * i + o // 3 - 1 - odd_row
            x = 2 * j + o % 3 - 1 - odd_column
            counts = stored & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            total = tl.zeros((tile_height * tile_width,), tl.float32)
            weight = tl.zeros((tile_height * tile_width,), tl.float32)
            for k in tl.static_range(4):
                down, across = _shift(shifts, patch, k)
                child = tl.load(children + patch * 4 + k)
                share = tl.load(shares + patch * 4 + k)
                row = y + down
                column = x + across
                # A child that is not there has no rows; Triton 3.9's interpreter makes numbers of a
                # mask that is combined with a single truth value.
                rows = tl.where(child >= 0, below_height, 0)
                inside = counts & (row >= 0) & (row < rows)
                inside = inside & (column >= 0) & (column < below_width)
                base = below + tl.maximum(child, 0) * below_height * below_width
                at = base + row * below_width + column
                value = (tl.load(at, mask=inside, other=-32768).to(tl.int32) + 32768) & 0xFFF0
                total += share * step * value.to(tl.float32)
                weight += tl.where(inside, share, 0.0)
            # Where a child's map ends the mean is over what is there (`BORDER_POWER`).
            rim = (weight > 0.0) & (weight < 0.99999)
            spread = tl.exp2(power * tl.log2(tl.where(rim, weight, 1.0)))
            total = tl.where(rim, total / spread, total)
            key = (total.to(tl.int32, bitcast=True) & -16) | (8 - o)
            best = tl.maximum(best, tl.where(counts, key, nothing))
    own = cells + patch * pooled_height * pooled_width
    value = _rectified(best, table, stored, table_steps)
    tl.store(own + i * pooled_width + j, value, mask=stored)


@triton.jit
def _shift(shifts, patch, k: tl.constexpr):
    """(y, x) of a child's pooled map against the patch's."""
    at = shifts + (patch * 4 + k) * 2
    return tl.load(at).to(tl.int32), tl.load(at + 1).to(tl.int32)


@triton.jit
def _below(
    patch,
    cell,
    score,
    count,
    children,
    shifts,
    above_width,
    below,
    below_height,
    below_width,
    top,
    left,
    lanes: tl.constexpr,
    steps: tl.constexpr,
):
    """What each lane leads to: whether anywhere, the child, (y, x) in its window, the score."""
    f = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    r = f // 4
    live = r < count
    k = f % 4
    parent = tl.load(patch + r, mask=live, other=0)
    place = tl.load(cell + r, mask=live, other=0)
    child = tl.load(children + parent * 4 + k, mask=live, other=-1)
    i = place // above_width + tl.load(shifts + (parent * 4 + k) * 2, mask=live, other=0)
    j = place % above_width + tl.load(shifts + (parent * 4 + k) * 2 + 1, mask=live, other=0)
    ok = live & (child >= 0) & (i >= 0) & (i < below_height) & (j >= 0) & (j < below_width)
    at = below + (child * below_height + i) * below_width + j
    stored = tl.load(at, mask=ok, other=-32768).to(tl.int32) + 32768
    value = stored >> 4
    rank = 8 - (stored & 15)
    y = 2 * i + rank // 3 - 1 - (tl.load(top + child, mask=ok, other=0) & 1)
    x = 2 * j + rank % 3 - 1 - (tl.load(left + child, mask=ok, other=0) & 1)
    gone = tl.load(score + r, mask=live, other=0.0)
    return ok & (value > 0), child, y, x, gone + tl.div_rn(value.to(tl.float32), 1.0 * steps)


@triton.jit(do_not_specialize=OF_A_WAY)
def step_down_kernel(
    patch,
    cell,
    score,
    count,
    children,
    shifts,
    above_width,
    below,
    below_height,
    below_width,
    top,
    left,
    area,
    width,
    keys,
    scores,
    lanes: tl.constexpr,
    steps: tl.constexpr,
):
    """Key (patch · area + cell, or -1) and score of each way one level down."""
    ok, child, y, x, reached = _below(
        patch, cell, score, count, children, shifts, above_width,
        below, below_height, below_width, top, left, lanes, steps,
    )  # fmt: skip
    f = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    live = f // 4 < count
    tl.store(keys + f, tl.where(ok, child * area + y * width + x, -1), mask=live)
    tl.store(scores + f, reached, mask=live)


@triton.jit
def _packed(score, place):
    """A score and a place as one number: the larger score is larger, then the smaller place."""
    return (score.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (0xFFFFFFFF - place)


@triton.jit(do_not_specialize=[*OF_A_WAY, "bins_across"])
def best_below_kernel(
    patch,
    cell,
    score,
    count,
    children,
    shifts,
    above_width,
    below,
    below_height,
    below_width,
    top,
    left,
    area,
    width,
    patches,
    places,
    bins_across,
    lanes: tl.constexpr,
    steps: tl.constexpr,
    bin_side: tl.constexpr,
):
    """The best of what is reached, of each patch and of each bin of the second image."""
    ok, child, y, x, reached = _below(
        patch, cell, score, count, children, shifts, above_width,
        below, below_height, below_width, top, left, lanes, steps,
    )  # fmt: skip
    whole_y = y + tl.load(top + child, mask=ok, other=0)
    whole_x = x + tl.load(left + child, mask=ok, other=0)
    of_patch = _packed(reached, y * width + x)
    in_bin = (whole_y % bin_side) * bin_side + whole_x % bin_side
    of_place = _packed(reached, child * bin_side * bin_side + in_bin)
    place = (whole_y // bin_side) * bins_across + whole_x // bin_side
    # Most are beaten already: reading is cheaper than an atomic maximum.
    better = ok & (of_patch > tl.load(patches + child, mask=ok, other=0))
    tl.atomic_max(patches + child, of_patch, mask=better)
    better = ok & (of_place > tl.load(places + place, mask=ok, other=0))
    tl.atomic_max(places + place, of_place, mask=better)


@triton.jit(do_not_specialize=OF_A_WAY)
def entries_of_best_kernel(
    patch,
    cell,
    score,
    count,
    children,
    shifts,
    above_width,
    below,
    below_height,
    below_width,
    top,
    left,
    area,
    width,
    entry,
    patches,
    entries,
    lanes: tl.constexpr,
    steps: tl.constexpr,
):
    """The smallest entry of the ways that end in a patch's best."""
    ok, child, y, x, reached = _below(
        patch, cell, score, count, children, shifts, above_width,
        below, below_height, below_width, top, left, lanes, steps,
    )  # fmt: skip
    f = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    of_patch = _packed(reached, y * width + x)
    won = ok & (of_patch == tl.load(patches + child, mask=ok, other=0))
    tl.atomic_min(entries + child, tl.load(entry + f // 4, mask=won, other=0), mask=won)
