"""Contractions with named sizes: plain loops around a sum for each column, lanes being columns
where those lie side by side, in the order that every form keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.emit import Group, KernelEmitter, Scope
from irgrad.backends.numba_cpu.llvm.scalars import emit_primitive
from irgrad.backends.numba_cpu.llvm.sizes import as_value, lanes_below
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.vectors import (
    I64,
    constant,
    element_pointer,
    integer,
    load_lanes,
    memory_type,
    splat,
    store_lanes,
)
from irgrad.ir.dims import product
from irgrad.ir.types import DTYPES
from irgrad.kernel.evaluate import PANEL_LENGTH
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Check,
    Contract,
    ContractionIndex,
    Load,
    Store,
)


def emit_named_contract(emitter: KernelEmitter, scope: Scope, contract: Contract) -> None:
    """Loops over batches, rows and columns; each point sums over k, then runs the body."""
    inner = scope.child()
    with ExitStack() as loops:
        for index in (*contract.batch, *contract.m):
            loops.enter_context(_loop(emitter, inner, index))
        inner.indices[contract.row] = _flattened(emitter, inner, contract.m)
        if _has_lanes(contract):
            _columns_as_lanes(emitter, inner, contract)
            return
        for index in contract.n:
            loops.enter_context(_loop(emitter, inner, index))
        inner.indices[contract.column] = _flattened(emitter, inner, contract.n)
        point = inner.child()
        point.define(contract.result, _sum(emitter, inner, contract, 1, None), 1)
        emitter.emit(point, contract.body)


def _has_lanes(contract: Contract) -> bool:
    """Whether columns lie side by side, and what follows the sum reaches them by a number."""
    if len(contract.n) != 1 or contract.rhs_at.coefficient(contract.n[0].name) != 1:
        return False
    return all(
        isinstance(s.at.coefficient(contract.column), int)
        for s in contract.body
        if isinstance(s, Load | Store | Accumulate | Check)
    )


def _columns_as_lanes(emitter: KernelEmitter, scope: Scope, contract: Contract) -> None:
    """Full groups of columns, then the rest under a mask."""
    builder, (index,) = scope.builder, contract.n
    lanes = emitter.vector_bytes // DTYPES[contract.dtype].itemsize
    extent = as_value(emitter.size(index.extent))
    rest = builder.and_(extent, integer(lanes - 1))
    full = builder.sub(extent, rest)
    with builder.if_then(builder.icmp_signed(">", full, integer(0))):
        counted = CountedLoop(builder, full, lanes)
        group = Group(contract.column, lanes, counted.index, None, lanes)
        _columns(emitter, scope, contract, group)
        counted.close([])
    with builder.if_then(builder.icmp_signed(">", rest, integer(0))):
        mask = lanes_below(builder, rest, lanes)
        _columns(emitter, scope, contract, Group(contract.column, lanes, full, mask, None))


def _columns(emitter: KernelEmitter, scope: Scope, contract: Contract, group: Group) -> None:
    """The sums of a group of columns, and what follows."""
    inner = scope.child()
    inner.indices[contract.n[0].name] = group.start
    value = _sum(emitter, inner, contract, group.lanes, group.mask)
    inner.hoist, inner.cache = scope.builder, {}
    point = inner.with_group(group)
    point.define(contract.result, value, group.lanes)
    emitter.emit(point, contract.body)


@contextmanager
def _loop(emitter: KernelEmitter, scope: Scope, index: ContractionIndex) -> Iterator[None]:
    """A loop that may take no turn."""
    builder, extent = scope.builder, as_value(emitter.size(index.extent))
    with builder.if_then(builder.icmp_signed(">", extent, integer(0))):
        counted = CountedLoop(builder, extent)
        scope.indices[index.name] = counted.index
        yield
        counted.close([])


def _flattened(
    emitter: KernelEmitter, scope: Scope, group: Sequence[ContractionIndex]
) -> ir.Value | int:
    """The row-major position of a group's indices."""
    if not group:
        return 0
    builder, flat = scope.builder, integer(0)
    for index in group:
        place = scope.indices[index.name]
        scaled = builder.mul(flat, as_value(emitter.size(index.extent)))
        flat = builder.add(scaled, as_value(place))
    return flat


def _sum(
    emitter: KernelEmitter, scope: Scope, contract: Contract, lanes: int, mask: ir.Value | None
) -> ir.Value:
    """The sums over k of columns side by side: panels of fused multiply-adds, added up in order."""
    builder, dtype = scope.builder, contract.dtype
    zero = constant(dtype, 0, lanes)
    total, panel = (emitter.stack_array(memory_type(dtype, 1), lanes) for _ in range(2))
    step = emitter.stack_array(I64, 1)
    for place in (total, panel):
        store_lanes(builder, dtype, zero, place, lanes, None)
    builder.store(integer(0), step)
    inner = scope.child()
    with ExitStack() as loops:
        for index in contract.k:
            loops.enter_context(_loop(emitter, inner, index))
        done = builder.load(step, typ=I64)
        full = builder.icmp_signed("==", done, integer(PANEL_LENGTH))
        with builder.if_then(full, likely=False):
            _add_panel(builder, dtype, total, panel, lanes)
            store_lanes(builder, dtype, zero, panel, lanes, None)
        begun = builder.select(full, integer(1), builder.add(done, integer(1)))
        builder.store(begun, step)
        left = load_lanes(
            builder, dtype, _element(emitter, inner, contract.lhs, contract.lhs_at), 1, None
        )
        right = _element(emitter, inner, contract.rhs, contract.rhs_at)
        factors = [
            splat(builder, left, lanes) if lanes > 1 else left,
            load_lanes(builder, dtype, right, lanes, mask),
            load_lanes(builder, dtype, panel, lanes, None),
        ]
        value = emit_primitive(builder, "fma", factors, dtype, dtype, lanes)
        store_lanes(builder, dtype, value, panel, lanes, None)
    alone = load_lanes(builder, dtype, panel, lanes, None)
    _add_panel(builder, dtype, total, panel, lanes)
    many = as_value(emitter.size(product(index.extent for index in contract.k)))
    more = builder.icmp_signed(">", many, integer(PANEL_LENGTH))
    return builder.select(more, load_lanes(builder, dtype, total, lanes, None), alone)


def _add_panel(
    builder: ir.IRBuilder, dtype: str, total: ir.Value, panel: ir.Value, lanes: int
) -> None:
    parts = [load_lanes(builder, dtype, place, lanes, None) for place in (total, panel)]
    value = emit_primitive(builder, "add", parts, dtype, dtype, lanes)
    store_lanes(builder, dtype, value, total, lanes, None)


def _element(
    emitter: KernelEmitter, scope: Scope, buffer: str, at: Affine
) -> ir.Value:
    """The address of an element."""
    builder, dtype = scope.builder, emitter.buffers[buffer].dtype
    offset = emitter.offset(builder, scope, at)
    return element_pointer(builder, dtype, emitter.pointers[buffer], offset)
