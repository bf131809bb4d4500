"""Contractions with named sizes: plain loops around one sum, in the order that every form keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.emit import KernelEmitter, Scope
from irgrad.backends.numba_cpu.llvm.scalars import emit_primitive
from irgrad.backends.numba_cpu.llvm.sizes import as_value
from irgrad.backends.numba_cpu.llvm.structure import CountedLoop
from irgrad.backends.numba_cpu.llvm.vectors import (
    I64,
    constant,
    element_pointer,
    integer,
    load_lanes,
    memory_type,
    store_lanes,
)
from irgrad.ir.dims import product
from irgrad.kernel.evaluate import PANEL_LENGTH
from irgrad.kernel.ir import Affine, Contract, ContractionIndex


def emit_named_contract(emitter: KernelEmitter, scope: Scope, contract: Contract) -> None:
    """Loops over batches, rows and columns; each point sums over k, then runs the body."""
    builder, inner = scope.builder, scope.child()
    with ExitStack() as loops:
        for group, flat in ((contract.batch, ""), (contract.m, contract.row),
                            (contract.n, contract.column)):
            for index in group:
                loops.enter_context(_loop(emitter, inner, index))
            if flat:
                inner.indices[flat] = _flattened(emitter, inner, group)
        point = inner.child()
        point.define(contract.result, _sum(emitter, inner, contract), 1)
        emitter.emit(point, contract.body)
    assert scope.builder is builder


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


def _sum(emitter: KernelEmitter, scope: Scope, contract: Contract) -> ir.Value:
    """The sum over k at a point: panels of fused multiply-adds, added up in order."""
    builder, dtype = scope.builder, contract.dtype
    zero = constant(dtype, 0, 1)
    total, panel = (emitter.stack_array(memory_type(dtype, 1), 1) for _ in range(2))
    step = emitter.stack_array(I64, 1)
    for place in (total, panel):
        store_lanes(builder, dtype, zero, place, 1, None)
    builder.store(integer(0), step)
    inner = scope.child()
    with ExitStack() as loops:
        for index in contract.k:
            loops.enter_context(_loop(emitter, inner, index))
        done = builder.load(step, typ=I64)
        full = builder.icmp_signed("==", done, integer(PANEL_LENGTH))
        with builder.if_then(full, likely=False):
            _add_panel(builder, dtype, total, panel)
            store_lanes(builder, dtype, zero, panel, 1, None)
        begun = builder.select(full, integer(1), builder.add(done, integer(1)))
        builder.store(begun, step)
        factors = [
            _element(emitter, inner, contract.lhs, contract.lhs_at, dtype),
            _element(emitter, inner, contract.rhs, contract.rhs_at, dtype),
            load_lanes(builder, dtype, panel, 1, None),
        ]
        value = emit_primitive(builder, "fma", factors, dtype, dtype, 1)
        store_lanes(builder, dtype, value, panel, 1, None)
    alone = load_lanes(builder, dtype, panel, 1, None)
    _add_panel(builder, dtype, total, panel)
    many = as_value(emitter.size(product(index.extent for index in contract.k)))
    more = builder.icmp_signed(">", many, integer(PANEL_LENGTH))
    return builder.select(more, load_lanes(builder, dtype, total, 1, None), alone)


def _add_panel(builder: ir.IRBuilder, dtype: str, total: ir.Value, panel: ir.Value) -> None:
    parts = [load_lanes(builder, dtype, place, 1, None) for place in (total, panel)]
    store_lanes(
        builder, dtype, emit_primitive(builder, "add", parts, dtype, dtype, 1), total, 1, None
    )


def _element(
    emitter: KernelEmitter, scope: Scope, buffer: str, at: Affine, dtype: str
) -> ir.Value:
    builder = scope.builder
    offset = emitter.offset(builder, scope, at)
    pointer = element_pointer(builder, dtype, emitter.pointers[buffer], offset)
    return load_lanes(builder, dtype, pointer, 1, None)
