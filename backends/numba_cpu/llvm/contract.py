"""Contractions of kernels: floats through the blocked routine, integers by plain loops.

The statements that follow the sum are emitted into the blocked routine, for each finished tile,
with lanes along the tile's columns (along its rows where there is one column).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction import (
    Axis,
    ContractionSpec,
    EpilogueTile,
    contraction_function,
    workspace_bytes,
)
from irgrad.backends.numba_cpu.llvm.contraction_plan import make_plans
from irgrad.backends.numba_cpu.llvm.contraction_switches import contraction_switches
from irgrad.backends.numba_cpu.llvm.emit import Group, KernelEmitter, Scope
from irgrad.backends.numba_cpu.llvm.schedule import choose_lanes
from irgrad.backends.numba_cpu.llvm.sizes import Sizes, as_value
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.vectors import (
    I8,
    POINTER,
    constant,
    element_pointer,
    gather,
    integer,
    load_lanes,
    ramp,
    splat,
    value_type,
)
from irgrad.ir.dims import Dim, Size, product
from irgrad.ir.types import DTYPES
from irgrad.kernel.independent import tells_apart
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Check,
    Contract,
    ContractionIndex,
    Kernel,
    Load,
    Statement,
    Store,
)

Indices = tuple[ContractionIndex, ...]
ROWS_TOGETHER = 256  # of a part, for which packing the other operand again costs little


def contract_workspace(contract: Contract, vector_bytes: int) -> int:
    """Bytes of scratch that a contraction needs, whatever its named sizes are."""
    if not _is_blocked(contract):
        return 0
    return workspace_bytes(_spec(contract), vector_bytes)


def divided_rows(contract: Contract, vector_bytes: int) -> tuple[Size, int] | None:
    """(rows, batch elements included; how many of them are enough for a part); None for a
    contraction that cannot be divided, or of a single tile of rows."""
    if not _is_blocked(contract) or not _has_own_points(contract):
        return None
    plan = make_plans(_spec(contract), vector_bytes, _plain_store(contract) is None)[0]
    batch = product(axis.extent for axis in plan.batch)
    if isinstance(plan.m, int) and plan.m <= plan.rows and batch == 1:
        return None
    return plan.m * batch, ROWS_TOGETHER


def _has_own_points(contract: Contract) -> bool:
    """Whether what follows the sum touches, in a buffer that it writes, its point's places alone.
    """
    extents = {index.name: index.extent for index in contract.batch}
    extents[contract.row] = _extent(contract.m)
    extents[contract.column] = _extent(contract.n)
    touched = [s for s in contract.body if isinstance(s, Load | Store | Accumulate)]
    for name in {s.buffer for s in touched if not isinstance(s, Load)}:
        places = [(s.at, extents) for s in touched if s.buffer == name]
        indices = [index for index, extent in extents.items() if extent != 1]
        if name in (contract.lhs, contract.rhs):
            return False
        if not all(tells_apart(places, index) for index in indices):
            return False
    return True


def contract_switches(contract: Contract, vector_bytes: int) -> tuple[str, ...]:
    """A sentence for each choice that its code makes by named sizes; integers have plain loops."""
    if not _is_blocked(contract):
        return ()
    epilogue = _plain_store(contract) is None
    return contraction_switches(_spec(contract), vector_bytes, epilogue)


def _is_blocked(contract: Contract) -> bool:
    return DTYPES[contract.dtype].is_float


def _plain_store(contract: Contract) -> Store | None:
    """The only statement of the body, where it stores the sums as they are."""
    if len(contract.body) == 1:
        (statement,) = contract.body
        if isinstance(statement, Store) and statement.value == contract.result:
            return statement
    return None


def _extent(indices: Indices) -> Size:
    return product(i.extent for i in indices)


def _strides(indices: Indices, step: Size) -> list[Size]:
    """Row-major strides of a group whose flattened index has the stride `step`."""
    strides: list[Size] = []
    for index in reversed(indices):
        strides.insert(0, step)
        step = step * index.extent
    return strides


def _spec(contract: Contract) -> ContractionSpec:
    """Sizes and strides; where the body is no plain store, as if C were a dense [batch, m, n]."""
    store = _plain_store(contract)
    m, n = _extent(contract.m), _extent(contract.n)
    row: Size = n
    column: Size = 1
    if store is None:
        batch_c = _strides(contract.batch, m * n)
    else:
        batch_c = [store.at.coefficient(i.name) for i in contract.batch]
        row = store.at.coefficient(contract.row)
        column = store.at.coefficient(contract.column)

    def axes(indices: Indices, c: list[Size]) -> tuple[Axis, ...]:
        return tuple(
            Axis(i.extent, contract.lhs_at.coefficient(i.name),
                 contract.rhs_at.coefficient(i.name), stride)
            for i, stride in zip(indices, c, strict=True)
        )  # fmt: skip

    return ContractionSpec(
        contract.dtype,
        axes(contract.batch, batch_c),
        axes(contract.m, _strides(contract.m, row)),
        axes(contract.n, _strides(contract.n, column)),
        axes(contract.k, [0] * len(contract.k)),
    )


Call = Callable[[ir.Function, list[ir.Value], int], None]


def emit_contract(
    emitter: KernelEmitter,
    scope: Scope,
    kernel: Kernel,
    contract: Contract,
    workspace: ir.Value | None,
    call_parts: Call | None = None,
) -> None:
    """Emit a contraction of the kernel's outermost body.

    call_parts: of a divided one emits the call of its parts, given the function, the arguments
    before part and parts, and which of them is the workspace.
    """
    if not _is_blocked(contract):
        _emit_loops(emitter, scope, contract)
        return
    builder = scope.builder
    lhs = _operand(emitter, builder, contract.lhs, contract.lhs_at)
    rhs = _operand(emitter, builder, contract.rhs, contract.rhs_at)
    store = _plain_store(contract)
    number = sum(isinstance(s, Contract) for s in kernel.body[: kernel.body.index(contract)])
    name = f"{builder.function.name}_contraction{number}"
    if workspace is None:
        workspace = ir.Constant(I8.as_pointer(), None)
    arguments = [lhs, rhs]
    dims = () if emitter.sizes is None else emitter.sizes.names
    names = [] if store is not None else _body_buffers(contract.body)
    extra = [emitter.pointers[n] for n in names]
    if store is None and any(isinstance(s, Check) for s in contract.body):
        assert emitter.context is not None
        extra.append(emitter.context)
    epilogue = None if store is not None else _Epilogue(emitter, contract, names).emit
    function = contraction_function(
        builder.module, name, _spec(contract), emitter.vector_bytes, epilogue, len(extra), dims,
        call_parts is not None,
    )  # fmt: skip
    if store is not None:
        arguments.append(_operand(emitter, builder, store.buffer, store.at))
    else:
        arguments.append(ir.Constant(function.args[2].type, None))
    if emitter.sizes is not None:
        assert emitter.sizes.dims is not None
        extra.append(emitter.sizes.dims)
    if call_parts is not None:
        call_parts(function, [*arguments, workspace, *extra], len(arguments))
    else:
        builder.call(function, [*arguments, workspace, *extra])


def _operand(
    emitter: KernelEmitter, builder: ir.IRBuilder, buffer: str, at: Affine
) -> ir.Value:
    dtype = emitter.buffers[buffer].dtype
    return element_pointer(
        builder, dtype, emitter.pointers[buffer], emitter.size(at.constant)
    )


def _has_named_stride(contract: Contract, index: str) -> bool:
    """Whether lanes along an index would lie at a distance that is a named size."""
    return any(
        isinstance(s.at.coefficient(index), Dim)
        for s in contract.body
        if isinstance(s, Load | Store | Accumulate | Check)
    )


def _body_buffers(body: tuple[Statement, ...]) -> list[str]:
    """The buffers that a body touches, in order of first use."""
    accesses = [s.buffer for s in body if isinstance(s, Load | Store | Accumulate)]
    return list(dict.fromkeys(accesses))


class _Epilogue:
    """Emits a contraction's body for each finished tile."""

    def __init__(self, emitter: KernelEmitter, contract: Contract, names: list[str]) -> None:
        self.outer = emitter
        self.contract = contract
        self.names = names
        self.lanes = choose_lanes(contract.body, emitter.dtypes, emitter.vector_bytes, None)
        widest = emitter.vector_bytes // DTYPES[contract.dtype].itemsize
        self.along_rows = _extent(contract.n) == 1
        if _has_named_stride(contract, contract.row if self.along_rows else contract.column):
            widest = 1
        single = self.along_rows and _extent(contract.m) == 1
        self.lanes = 1 if single else min(self.lanes, widest)

    def emit(self, builder: ir.IRBuilder, tile: EpilogueTile) -> None:
        """Loops over the tile's rows, and lanes along each; or lanes along its only column."""
        outer, extra = self.outer, list(tile.extra)
        sizes = None
        if outer.sizes is not None:
            first = ir.IRBuilder(builder.block)
            start = builder.append_basic_block("start")
            sizes = Sizes(first, first.bitcast(extra.pop(), POINTER), outer.sizes.names)
            builder.position_at_end(start)
        pointers = dict(zip(self.names, extra))
        context = extra[-1] if len(extra) > len(self.names) else None
        emitter = KernelEmitter(
            outer.buffers, pointers, outer.dtypes, outer.vector_bytes, context, outer.emit_loop,
            mark=outer.mark, sizes=sizes,
        )  # fmt: skip
        self._emit_tile(emitter, builder, tile)
        if sizes is not None:
            sizes.builder.branch(start)

    def _emit_tile(
        self, emitter: KernelEmitter, builder: ir.IRBuilder, tile: EpilogueTile
    ) -> None:
        scope = Scope(builder, {}, self._batch_indices(emitter, builder, tile.batch))
        contract = self.contract
        if self.along_rows:
            scope.indices[contract.column] = tile.n
            line = _Line(
                contract.row, tile.m, tile.m_count, tile.m_divisor, tile.tile, tile.row_stride
            )
            self._emit_line(emitter, scope, line)
            return
        rows = CountedLoop(builder, tile.m_count)
        inner = scope.child()
        inner.indices[contract.row] = builder.add(tile.m, rows.index)
        start = builder.mul(rows.index, integer(tile.row_stride))
        pointer = element_pointer(builder, contract.dtype, tile.tile, start)
        line = _Line(contract.column, tile.n, tile.n_count, tile.n_divisor, pointer, 1)
        self._emit_line(emitter, inner, line)
        rows.close([])

    def _batch_indices(
        self, emitter: KernelEmitter, builder: ir.IRBuilder, flat: ir.Value
    ) -> dict[str, ir.Value | int]:
        indices: dict[str, ir.Value | int] = {}
        left = flat
        for index in reversed(self.contract.batch):
            extent = as_value(emitter.size(index.extent))
            indices[index.name] = builder.urem(left, extent)
            left = builder.udiv(left, extent)
        return indices

    def _emit_line(self, emitter: KernelEmitter, scope: Scope, line: _Line) -> None:
        """Full groups in a loop, then what is left under a mask; neither where it has no turn."""
        builder, lanes = scope.builder, self.lanes
        if lanes == 1:
            self._emit_scalars(emitter, scope, line)
            return
        whole = builder.and_(line.count, integer(-lanes))
        left = builder.and_(line.count, integer(lanes - 1))
        if not (isinstance(line.count, ir.Constant) and line.divisor < lanes):
            with builder.if_then(builder.icmp_signed(">", whole, integer(0))):
                counted = CountedLoop(builder, whole, lanes)
                inner = scope.child()
                inner.hoist, inner.cache = counted.hoist, {}
                self._emit_group(emitter, inner, line, counted.index, None)
                counted.close([])
        if line.divisor % lanes == 0:
            return
        with builder.if_then(builder.icmp_signed(">", left, integer(0))):
            inner = scope.child()
            inner.hoist, inner.cache = builder, {}
            mask = builder.icmp_signed("<", ramp(64, lanes), splat(builder, left, lanes))
            self._emit_group(emitter, inner, line, whole, mask)

    def _emit_group(
        self,
        emitter: KernelEmitter,
        scope: Scope,
        line: _Line,
        first: ir.Value,
        mask: ir.Value | None,
    ) -> None:
        builder, lanes, dtype = scope.builder, self.lanes, self.contract.dtype
        active = lanes if mask is None else None
        start = builder.add(line.start, first)
        inner = scope.with_group(Group(line.index, lanes, start, mask, active))
        offset = first if line.stride == 1 else builder.mul(first, integer(line.stride))
        at = element_pointer(builder, dtype, line.tile, offset)
        if line.stride == 1:
            value = load_lanes(builder, dtype, at, lanes, mask)
        else:
            value = gather(builder, dtype, at, lanes, line.stride, mask)
        inner.define(self.contract.result, value, lanes)
        emitter.emit(inner, self.contract.body)

    def _emit_scalars(self, emitter: KernelEmitter, scope: Scope, line: _Line) -> None:
        builder, dtype = scope.builder, self.contract.dtype
        counted = CountedLoop(builder, line.count)
        inner = scope.child()
        inner.indices[line.index] = builder.add(line.start, counted.index)
        offset = builder.mul(counted.index, integer(line.stride))
        at = element_pointer(builder, dtype, line.tile, offset)
        inner.define(self.contract.result, load_lanes(builder, dtype, at, 1, None), 1)
        emitter.emit(inner, self.contract.body)
        counted.close([])


@dataclass(frozen=True, slots=True)
class _Line:
    """A run of finished sums: index name, first value, how many, address and distance.

    `divisor` divides the count of every run; a count that all runs share is an ir.Constant.
    """

    index: str
    start: ir.Value
    count: ir.Value
    divisor: int
    tile: ir.Value
    stride: int


# -- integers --------------------------------------------------------------------------------------


def _emit_loops(emitter: KernelEmitter, scope: Scope, contract: Contract) -> None:
    """One sum after another; the order of integer sums does not matter."""
    groups = contract.batch + contract.m + contract.n
    if any(i.extent == 0 for i in groups):
        return
    inner, builder = scope.child(), scope.builder
    with ExitStack() as guards:
        for index in groups:
            if isinstance(index.extent, Dim):
                guards.enter_context(builder.if_then(_is_present(emitter, builder, index)))
        loops = [_open(emitter, inner, index) for index in groups]
        inner.indices[contract.row] = _flatten(emitter, inner, contract.m)
        inner.indices[contract.column] = _flatten(emitter, inner, contract.n)
        inner.define(contract.result, _sum(emitter, inner, contract), 1)
        emitter.emit(inner, contract.body)
        for loop in reversed(loops):
            loop.close([])


def _is_present(
    emitter: KernelEmitter, builder: ir.IRBuilder, index: ContractionIndex
) -> ir.Value:
    """Whether an index has values."""
    return builder.icmp_signed(">", as_value(emitter.size(index.extent)), integer(0))


def _open(emitter: KernelEmitter, scope: Scope, index: ContractionIndex) -> CountedLoop:
    loop = CountedLoop(scope.builder, emitter.size(index.extent))
    scope.indices[index.name] = loop.index
    return loop


def _flatten(emitter: KernelEmitter, scope: Scope, indices: Indices) -> ir.Value:
    builder = scope.builder
    flat: ir.Value = integer(0)
    for index in indices:
        extent = as_value(emitter.size(index.extent))
        flat = builder.add(builder.mul(flat, extent), scope.indices[index.name])
    return flat


def _sum(emitter: KernelEmitter, scope: Scope, contract: Contract) -> ir.Value:
    """The sum over k, 0 where it is empty."""
    zero, builder = constant(contract.dtype, 0, 1), scope.builder
    if any(i.extent == 0 for i in contract.k):
        return zero
    named = [index for index in contract.k if isinstance(index.extent, Dim)]
    if not named:
        return _sum_of_some(emitter, scope, contract)
    present = [_is_present(emitter, builder, index) for index in named]
    before, some = builder.block, present[0]
    for also in present[1:]:
        some = builder.and_(some, also)
    with builder.if_then(some):
        total = _sum_of_some(emitter, scope, contract)
        inside = builder.block
    result = builder.phi(total.type)
    result.add_incoming(zero, before)
    result.add_incoming(total, inside)
    return result


def _sum_of_some(emitter: KernelEmitter, scope: Scope, contract: Contract) -> ir.Value:
    """The sum over k, carried through the loops over the indices of k."""
    builder = scope.builder
    total: ir.Value = ir.Constant(value_type(contract.dtype, 1), 0)
    loops: list[CountedLoop] = []
    for index in contract.k:
        loop = _open(emitter, scope, index)
        total = loop.carry(total)
        loops.append(loop)
    values = []
    for buffer, at in ((contract.lhs, contract.lhs_at), (contract.rhs, contract.rhs_at)):
        dtype = emitter.buffers[buffer].dtype
        offset = emitter.offset(builder, scope, at)
        pointer = element_pointer(builder, dtype, emitter.pointers[buffer], offset)
        values.append(load_lanes(builder, dtype, pointer, 1, None))
    total = builder.add(total, builder.mul(*values))
    for loop in reversed(loops):
        loop.close([total])
    return total

