"""Static plan of one blocked contraction: merged index maps, tile shapes, packing, scratch layout.

Everything here is plain Python over sizes and strides; no LLVM is involved. The plan decides how
fast a contraction runs, never its bits: those follow from `PANEL_LENGTH` and the sizes alone.

A contraction of named sizes has a plan for each of a few tile shapes. What such a plan decides is
static too, from `likely` sizes, and right for all sizes of at least a tile; what has to follow the
sizes themselves (where the tail begins, how many panels there are) is computed by the code.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from irgrad.errors import LoweringError
from irgrad.ir.dims import Dim, Size, as_number, evaluate, names, product
from irgrad.kernel.ir import PANEL_LENGTH
from irgrad.kernel.slots import aligned

ITEM_BYTES = {"f32": 4, "f64": 8}
_ALIGNMENT = 64
_CACHE_WAY_BYTES = 4096
_B_BLOCK_BYTES = {64: 1 << 20, 32: 1 << 18, 16: 1 << 18}
_BUFFER_BYTES = 1 << 20
_BUFFER_TILE_BYTES = 1 << 14
_GROUP_BYTES = 512
_TILE_OVERHEAD = 30.0
_LATENCY = 4.0
_STREAM_BYTES = 14.0
_NEW_SHAPE = 1.08
_USUAL_TILE = {64: (6, 4), 32: (6, 2), 16: (8, 3)}
_NEW_TAIL = 1.03
MASK_BITS = 64
DEEP = 256
_LIKELY = 64
_FEW_ROWS = 4
_ROW_GUESSES = (1, _FEW_ROWS, 16, _LIKELY)


def likely(size: Size) -> int:
    """A size, or a guess where it is named."""
    return size if isinstance(size, int) else evaluate(size, dict.fromkeys(names(size), _LIKELY))


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the index space of a contraction.

    `a`, `b` and `c` are the strides of the operands in elements, 0 where an operand lacks the axis.
    """

    extent: Size
    a: Size
    b: Size
    c: Size


@dataclass(frozen=True, slots=True)
class ContractionSpec:
    """C[batch, m, n] = sum over k of A[batch, m, k] * B[batch, k, n].

    `dtype` is "f32" or "f64". Each group is row-major and may be empty, which means extent 1. Where
    m or n has named sizes, one stride describes C along it.
    """

    dtype: str
    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class IndexMap:
    """Offsets of one operand along one group: row-major (extent, stride), merged where possible."""

    axes: tuple[tuple[Size, Size], ...]

    @property
    def named(self) -> bool:
        """Whether an extent or a stride is a named size."""
        return any(isinstance(size, Dim) for axis in self.axes for size in axis)

    @property
    def linear(self) -> bool:
        """Whether the offset of index i is i * stride."""
        return len(self.axes) <= 1

    @property
    def stride(self) -> Size:
        """The one stride of a linear map; 0 where the extent is 1 or no one stride exists."""
        return self.axes[0][1] if len(self.axes) == 1 else 0

    @property
    def extent(self) -> Size:
        """Number of indices."""
        return product(extent for extent, _ in self.axes)

    def is_unit(self) -> bool:
        """Whether consecutive indices are adjacent elements (true of a single index)."""
        return self.linear and (not self.axes or self.axes[0][1] == 1)


@dataclass(frozen=True, slots=True)
class Segment:
    """`valid` columns from column `offset`, held in one vector of `width` lanes (1: a scalar)."""

    offset: int
    width: int
    valid: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All static decisions about one contraction, after the roles of A and B may have been swapped.

    `a_layout` and `b_layout` are "direct" or, for packed panels of (k, row) and (k, column) order,
    how they are packed: "copy", "transpose" or "elements"; "rows" packs A in (row, k) order.
    `buffered` says that finished tiles lie in scratch memory instead of C. Row tile t starts at row
    min(t * rows, m - rows): the last one overlaps its neighbour. `block_tiles` column tiles make a
    block, `row_block` row tiles share the buffer, `group` row tiles are packed together;
    `buffer_row` is the row stride of scratch tiles. `masked` lets the full-width micro-kernel do
    the last, narrower column tile too. Unless `direct_tiles` is 0, B is read in place with up to so
    many row tiles, and with columns of less than a tile, whatever `b_layout` says. Of a named m
    `row_block` is a bound that holds for several panels.
    """

    dtype: str
    lanes: int
    swapped: bool
    m: Size
    n: Size
    k: Size
    batch: tuple[Axis, ...]
    a_m: IndexMap
    a_k: IndexMap
    b_k: IndexMap
    b_n: IndexMap
    c_m: IndexMap
    c_n: IndexMap
    rows: int
    columns: int
    masked: bool
    block_tiles: int
    row_block: int
    group: int
    a_layout: str
    b_layout: str
    buffered: bool
    buffer_row: int
    direct_tiles: int = 0

    @property
    def panel(self) -> int:
        """Length of a full k panel."""
        return PANEL_LENGTH

    @property
    def depth(self) -> int:
        """Steps of k in a packed panel, at least 1."""
        return max(1, min(self.k, self.panel)) if isinstance(self.k, int) else self.panel

    @property
    def several(self) -> bool:
        """Whether there may be more than one panel of k."""
        return not isinstance(self.k, int) or self.k > self.panel

    @property
    def tail(self) -> int:
        """Columns of the last, narrower column tile; 0 if there is none."""
        return as_number(self.n) % self.columns

    @property
    def ragged(self) -> bool:
        """Whether there may be a narrower column tile."""
        return not isinstance(self.n, int) or self.tail > 0

    @property
    def block_columns(self) -> int:
        """Columns of a full column block."""
        return self.block_tiles * self.columns

    @property
    def row_tiles(self) -> int:
        """Number of row tiles."""
        return -(-as_number(self.m) // self.rows)

    @property
    def empty(self) -> bool:
        """Whether C has no element."""
        return self.m == 0 or self.n == 0 or any(axis.extent == 0 for axis in self.batch)


@dataclass(frozen=True, slots=True)
class Scratch:
    """Byte offsets into the workspace; `tables` names index maps and their offset tables."""

    tables: tuple[tuple[str, int], ...]
    a: int
    b: int
    buffer: int
    sums: int
    total: int


def packed_row(dtype: str) -> int:
    """Row stride of a panel of A packed by rows: a cache line more than a panel of k is long.

    So its rows lie in different sets of the cache.
    """
    return PANEL_LENGTH + _ALIGNMENT // ITEM_BYTES[dtype]


@lru_cache(maxsize=1024)
def segments(columns: int, lanes: int) -> tuple[Segment, ...]:
    """Cut a row of a tile into full vectors and one narrower vector for the rest."""
    full = [Segment(offset, lanes, lanes) for offset in range(0, columns - columns % lanes, lanes)]
    rest = columns % lanes
    if rest:
        full.append(Segment(columns - rest, 1 << (rest - 1).bit_length(), rest))
    return tuple(full)


def takes_mask(columns: int, lanes: int, vector_bytes: int) -> bool:
    """Whether the micro-kernel of a tile leaves its columns to a run-time mask of 64 bits.

    Masked loads and stores of whole vectors cost nothing extra with AVX-512 only.
    """
    return vector_bytes == 64 and columns % lanes == 0 and columns <= MASK_BITS


def merge(pairs: Iterable[tuple[Size, Size]]) -> IndexMap:
    """Drop axes of extent 1 and join neighbours that one stride describes."""
    merged: list[tuple[Size, Size]] = []
    for extent, stride in pairs:
        if extent == 1:
            continue
        if merged and merged[-1][1] == extent * stride:
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return IndexMap(tuple(merged))


def merge_batch(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Join neighbouring batch axes that one stride per operand describes."""
    merged: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        last = merged[-1] if merged else None
        if last is not None and all(
            outer == axis.extent * inner
            for outer, inner in ((last.a, axis.a), (last.b, axis.b), (last.c, axis.c))
        ):
            merged[-1] = Axis(last.extent * axis.extent, axis.a, axis.b, axis.c)
        else:
            merged.append(axis)
    return tuple(merged)


def swap_roles(spec: ContractionSpec) -> ContractionSpec:
    """The same contraction as C^T = B^T A^T."""

    def swap(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(axis.extent, axis.b, axis.a, axis.c) for axis in axes)

    return ContractionSpec(spec.dtype, swap(spec.batch), swap(spec.n), swap(spec.m), swap(spec.k))


def _swaps(spec: ContractionSpec, lanes: int, epilogue: bool) -> tuple[bool, ...]:
    """Whether vectors should run along m; both where the named depth of the sum decides.

    They do for a single column, for a C with adjacent rows, and for few columns and an A with
    adjacent rows, where a deep sum pays for the scattered stores to C.
    """
    c_m = merge((axis.extent, axis.c) for axis in spec.m)
    c_n = merge((axis.extent, axis.c) for axis in spec.n)
    if c_n.extent == 1:
        return (isinstance(c_m.extent, Dim) or c_m.extent > 1,)
    if epilogue or c_m.extent == 1:
        return (False,)
    a_m = merge((axis.extent, axis.a) for axis in spec.m)
    if c_m.is_unit() and not c_n.is_unit():
        return (True,)
    narrow = 3 * likely(c_n.extent) <= 2 * lanes and likely(c_m.extent) >= 4 * lanes
    if not (narrow and a_m.is_unit()):
        return (False,)
    k = product(axis.extent for axis in spec.k)
    return (k >= DEEP,) if isinstance(k, int) else (False, True)


def _tile_cycles(rows: int, columns: int, k: int, lanes: int, vector_bytes: int) -> float:
    """Estimated cycles of one micro-kernel call: the slowest of arithmetic, loads and latency."""
    parts = segments(columns, lanes)
    full = 1.0 if vector_bytes == 64 else 0.5
    arithmetic = rows * sum(full if 2 * part.width > lanes else 0.5 for part in parts)
    loads = 0.5 * rows + sum(full if part.width == lanes else 0.5 for part in parts)
    stream = columns / lanes * vector_bytes / _STREAM_BYTES
    step = max(arithmetic, loads, stream, _LATENCY) + 0.1 * rows / len(parts)
    return k * step + _TILE_OVERHEAD + 2.0 * rows * len(parts)


def choose_tile(m: int, n: int, k: int, lanes: int, vector_bytes: int) -> tuple[int, int, bool]:
    """Pick rows and columns of a tile, and whether the last column tile is a masked full one.

    The least estimated time wins, except that shapes which other contractions of a module are
    likely to use too, and so to share, are preferred by a few per cent.
    """
    registers = 16 if vector_bytes == 32 else 32
    usual = _USUAL_TILE[vector_bytes]
    best: tuple[float, int, int, bool] | None = None
    for vectors in range(1, 9):
        columns = min(vectors * lanes, n)
        if columns < (vectors - 1) * lanes + 1:
            break
        for rows in range(1, min(m, (registers - 1 - vectors) // vectors) + 1):
            full = _tile_cycles(rows, columns, k, lanes, vector_bytes)
            options = [(full, takes_mask(columns, lanes, vector_bytes))]
            if n % columns:
                tail = _tile_cycles(rows, n % columns, k, lanes, vector_bytes)
                options = [(tail, False)] + options * options[0][1]
            for tail, masked in options:
                time = (full * (n // columns) + tail * (n % columns > 0)) * -(-m // rows)
                time *= 1.0 if (rows, vectors) == usual else _NEW_SHAPE
                time *= 1.0 if masked or n % columns == 0 else _NEW_TAIL
                if best is None or time < best[0]:
                    best = (time, rows, columns, masked)
    assert best is not None
    return best[1:]


def column_cycles(plan: Plan, columns: int, vector_bytes: int) -> int:
    """Estimated cycles of a row tile and that many columns."""
    k = max(likely(plan.k), 1)
    return round(_tile_cycles(plan.rows, columns, k, plan.lanes, vector_bytes))


def _aliases(stride: int, rows: int, item: int) -> bool:
    """Whether `rows` lines at this stride crowd into few sets of a small cache."""
    distance = abs(stride) * item
    if distance < _ALIGNMENT or rows <= 4:
        return False
    low = distance & -distance
    sets = max(1, _CACHE_WAY_BYTES // max(low, _ALIGNMENT))
    return rows > 4 * sets


def _packing(index_map: IndexMap, k_map: IndexMap) -> str:
    """How a panel is packed: along adjacent indices, across adjacent k, or element by element."""
    if index_map.is_unit():
        return "copy"
    return "transpose" if k_map.is_unit() else "elements"


def _layout_of_a(a_m: IndexMap, a_k: IndexMap, rows: int, column_tiles: int, item: int) -> str:
    if a_m.linear and a_k.linear:
        across, along = likely(a_m.stride), likely(a_k.stride)
        crowded = _aliases(across, rows, item)
        near = abs(along) * item <= 1024 and abs(across) * item <= 1 << 14
        if column_tiles <= 2 or (near and not crowded):
            return "direct"
    return "rows" if a_k.is_unit() else _packing(a_m, a_k)


def _layout_of_b(b_k: IndexMap, b_n: IndexMap, m: Size, rows: int, item: int) -> tuple[str, int]:
    """The layout of B, and up to how many row tiles it is read in place where m is named."""
    most = 8 if abs(likely(b_k.stride)) * item <= 1024 else 2
    if not (b_n.is_unit() and b_k.linear):
        thin = isinstance(b_n.extent, Dim) and b_n.is_unit()
        return ("elements" if thin else _packing(b_n, b_k)), 0
    if -(-m // rows) <= most if isinstance(m, int) else rows <= _FEW_ROWS:
        return "direct", 0
    named = isinstance(m, Dim) or isinstance(b_n.extent, Dim)
    return _packing(b_n, b_k), most if named else 0


Tile = tuple[int, int, bool]


def _tiles(m: Size, n: Size, k: Size, lanes: int, vector_bytes: int) -> list[Tile]:
    """The best tile; the best ones for a few numbers of rows and columns where those are named."""
    rows = (max(m, 1),) if isinstance(m, int) else _ROW_GUESSES
    columns = (max(n, 1),) if isinstance(n, int) else (lanes, 2 * lanes, MASK_BITS)
    tiles = []
    for x in rows:
        few = isinstance(m, Dim) and x <= _FEW_ROWS
        for y in columns[-1:] if few else columns:
            tiles.append(choose_tile(x, y, max(likely(k), 1), lanes, vector_bytes))
    if isinstance(n, Dim):
        tiles = [(r, c, takes_mask(c, lanes, vector_bytes)) for r, c, _ in tiles]
    return list(dict.fromkeys(tiles))


@lru_cache(maxsize=256)
def make_plans(spec: ContractionSpec, vector_bytes: int, epilogue: bool) -> tuple[Plan, ...]:
    """Decide tile shape, packing and blocking of a contraction for one vector width.

    One plan, or several where sizes are named: one for each tile shape, with roles swapped or not.
    They differ in nothing that an epilogue sees. Raises LoweringError for a dtype that kernels do
    not compute with.
    """
    if spec.dtype not in ITEM_BYTES:
        raise LoweringError(f"cpu kernel: expected an integer, f32 or f64, got {spec.dtype}")
    lanes = vector_bytes // ITEM_BYTES[spec.dtype]
    plans: list[Plan] = []
    for swapped in _swaps(spec, lanes, epilogue):
        roles = swap_roles(spec) if swapped else spec
        m, n, k = (product(axis.extent for axis in group) for group in (roles.m, roles.n, roles.k))
        tiles = _tiles(m, n, k, lanes, vector_bytes)
        plans += [_plan(roles, vector_bytes, epilogue, swapped, tile) for tile in tiles]
    width = max(plan.buffer_row for plan in plans)
    return tuple(
        replace(plan, buffer_row=width, row_block=_fewer(plan, plan.buffer_row, width))
        for plan in plans
    )


def _fewer(plan: Plan, width: int, wider: int) -> int:
    """How many row tiles share a buffer whose rows become wider."""
    if not plan.buffered or not plan.several:
        return plan.row_block
    return max(1, plan.row_block * width // wider)


def _plan(
    spec: ContractionSpec, vector_bytes: int, epilogue: bool, swapped: bool, tile: Tile
) -> Plan:
    """The plan with a given tile, after roles have been swapped."""
    item = ITEM_BYTES[spec.dtype]
    lanes = vector_bytes // item
    a_m, c_m = (merge((x.extent, s) for x, s in _pairs(spec.m, which)) for which in "ac")
    b_n, c_n = (merge((x.extent, s) for x, s in _pairs(spec.n, which)) for which in "bc")
    a_k, b_k = (merge((x.extent, s) for x, s in _pairs(spec.k, which)) for which in "ab")
    m, n, k = a_m.extent, b_n.extent, a_k.extent
    rows, columns, masked = tile
    panel = PANEL_LENGTH
    depth = max(1, min(k, panel)) if isinstance(k, int) else panel
    empty = isinstance(k, int) and k == 0
    buffered = epilogue or empty or not (c_m.linear and c_n.is_unit())
    block_tiles = max(1, _B_BLOCK_BYTES[vector_bytes] // (depth * columns * item))
    if buffered:
        block_tiles = min(block_tiles, max(1, _BUFFER_TILE_BYTES // (rows * columns * item)))
    tail = columns
    if isinstance(n, int):
        block_tiles, tail = max(1, min(block_tiles, n // columns)), n % columns
    width = -(-(block_tiles * columns + tail) // lanes) * lanes
    if _aliases(width, rows, item):
        width += _ALIGNMENT // item
    column_tiles = -(-max(likely(n), 4 * columns * isinstance(n, Dim)) // columns)
    a_layout = "direct" if empty else _layout_of_a(a_m, a_k, rows, column_tiles, item)
    b_layout, direct = "direct", 0
    if not empty:
        b_layout, direct = _layout_of_b(b_k, b_n, m, rows, item)
    group = 1
    while a_layout == "copy" and group * rows * item < _GROUP_BYTES:
        group *= 2
    row_block = max(1, _BUFFER_BYTES // (width * item * rows))
    if isinstance(m, int):
        row_tiles = -(-m // rows)
        several = not isinstance(k, int) or k > depth
        row_block = min(row_tiles, row_block) if buffered and several else row_tiles
    return Plan(
        dtype=spec.dtype, lanes=lanes, swapped=swapped, m=m, n=n, k=k,
        batch=merge_batch(spec.batch), a_m=a_m, a_k=a_k, b_k=b_k, b_n=b_n, c_m=c_m, c_n=c_n,
        rows=rows, columns=columns, masked=masked, block_tiles=block_tiles,
        row_block=row_block, group=group, a_layout=a_layout,
        b_layout=b_layout, buffered=buffered, buffer_row=width, direct_tiles=direct,
    )  # fmt: skip


def _pairs(axes: tuple[Axis, ...], operand: str) -> Iterator[tuple[Axis, int]]:
    return ((axis, getattr(axis, operand)) for axis in axes)


def is_thin(plan: Plan) -> bool:
    """Whether packed tiles of B may have fewer columns than others: a named number is reordered."""
    return isinstance(plan.n, Dim) and plan.b_layout in ("transpose", "elements")


def table_maps(plan: Plan) -> tuple[tuple[str, IndexMap], ...]:
    """The index maps that need an offset table at run time, by name."""
    needed: list[tuple[str, IndexMap]] = []

    def need(name: str, index_map: IndexMap, always: bool) -> None:
        if not index_map.linear or (always and not index_map.named):
            needed.append((name, index_map))

    if plan.a_layout != "direct":
        need("a_m", plan.a_m, plan.a_layout == "elements")
        need("a_k", plan.a_k, plan.a_layout == "elements")
    if plan.b_layout != "direct":
        need("b_k", plan.b_k, plan.b_layout == "elements")
        need("b_n", plan.b_n, plan.b_layout == "elements")
    if plan.buffered:
        scattered = not plan.c_n.is_unit()
        need("c_m", plan.c_m, scattered)
        need("c_n", plan.c_n, scattered)
    return tuple(needed)


def window(plan: Plan, name: str) -> int:
    """The most entries of a map's offset table.

    A named map has the entries of one call of a packing function: of a panel, of a group of row
    tiles, or of a column block.
    """
    index_map: IndexMap = getattr(plan, name)
    if not index_map.named:
        return as_number(index_map.extent)
    width = plan.block_columns + plan.columns
    return {"a_m": plan.rows * plan.group, "b_n": width}.get(name, plan.depth)


def window_sizes(plan: Plan) -> tuple[Size, ...]:
    """Extents and byte strides of the named maps with tables; they follow the parameters."""
    maps = [index_map for _, index_map in table_maps(plan) if index_map.named]
    item = ITEM_BYTES[plan.dtype]
    axes = [axis for index_map in maps for axis in index_map.axes]
    return tuple(size for extent, stride in axes for size in (extent, stride * item))


def make_scratch(plan: Plan) -> Scratch:
    """Lay out offset tables, packed panels and the tile buffer in the workspace."""
    if plan.empty:
        return Scratch((), 0, 0, 0, 0, 0)
    item = ITEM_BYTES[plan.dtype]
    depth = plan.depth
    total = 0

    def take(size: int) -> int:
        nonlocal total
        offset = total
        total += aligned(size)
        return offset

    tables = tuple((name, take(8 * window(plan, name))) for name, _ in table_maps(plan))
    a_row = packed_row(plan.dtype) if plan.a_layout == "rows" else depth * plan.group
    a = take(0 if plan.a_layout == "direct" else a_row * plan.rows * item)
    width = plan.block_columns + (plan.columns if plan.ragged else 0)
    b = take(0 if plan.b_layout == "direct" else depth * width * item)
    height = plan.rows * (plan.row_block if plan.several else 1)
    buffer = take(height * plan.buffer_row * item if plan.buffered else 0)
    sums = take(plan.rows * plan.buffer_row * item if plan.several else 0)
    return Scratch(tables, a, b, buffer, sums, total)
