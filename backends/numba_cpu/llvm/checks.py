"""Run-time checks: the record of the first failure in the irg_ctx that an entry is given.

struct irg_ctx {
    int64_t status;       0: no failure; 1: a check failed. Zeroed by the caller.
    int64_t check;        number of the failed check
    int64_t position;     flat position of the failing element
    void *parallel_for;   reserved: runs a loop's parts in parallel
    void *lapack;         reserved: table of LAPACK entries
};
"""

from __future__ import annotations

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.vectors import (
    I1,
    I64,
    POINTER,
    VOID,
    any_lane,
    integer,
    intrinsic,
    mask_bits,
)

CONTEXT = ir.LiteralStructType([I64, I64, I64, POINTER, POINTER])
RECORD = "irg_record_failure"


def status_of(builder: ir.IRBuilder, context: ir.Value) -> ir.Value:
    """The status field."""
    return builder.load(context, typ=I64, align=8)


def emit_check(
    builder: ir.IRBuilder,
    context: ir.Value,
    check: int,
    failed: ir.Value,
    place: tuple[ir.Value, int, int],
) -> None:
    """Record the smallest position of a failing lane; place: (lane 0's position, stride, lanes)."""
    position, stride, lanes = place
    with builder.if_then(any_lane(builder, failed), likely=False):
        if lanes > 1 and stride:
            position = builder.add(position, _lane_distance(builder, failed, stride, lanes))
        builder.call(_record(builder.module), [context, integer(check), position])


def _lane_distance(
    builder: ir.IRBuilder, failed: ir.Value, stride: int, lanes: int
) -> ir.Value:
    """Distance from lane 0 to the failing lane with the smallest position."""
    bits = mask_bits(builder, failed)
    name = "llvm.cttz" if stride > 0 else "llvm.ctlz"
    lane = intrinsic(
        builder, f"{name}.i{lanes}", bits.type, [bits, ir.Constant(I1, 1)]
    )
    lane = builder.zext(lane, I64) if lanes < 64 else lane
    if stride < 0:
        lane = builder.sub(integer(lanes - 1), lane)
    return builder.mul(lane, integer(stride))


def _record(module: ir.Module) -> ir.Function:
    """void irg_record_failure(irg_ctx*, i64 check, i64 position): keeps the smallest pair."""
    found = module.globals.get(RECORD)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER, I64, I64]), RECORD)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    context, check, position = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    fields = [
        builder.gep(context, [integer(0), ir.IntType(32)(i)], source_etype=CONTEXT)
        for i in range(3)
    ]
    status, old_check, old_position = (builder.load(f, typ=I64, align=8) for f in fields)
    nearer = builder.and_(
        builder.icmp_signed("==", check, old_check),
        builder.icmp_signed("<", position, old_position),
    )
    smaller = builder.or_(builder.icmp_signed("<", check, old_check), nearer)
    none = builder.icmp_signed("==", status, integer(0))
    with builder.if_then(builder.or_(none, smaller)):
        for pointer, value in zip(fields, (integer(1), check, position), strict=True):
            builder.store(value, pointer, align=8)
    builder.ret_void()
    return function
