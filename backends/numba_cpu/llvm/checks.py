"""Run-time checks, and the irg_ctx that an entry is given: the record of the first failure, and the
services of the caller.

struct irg_ctx {
    int64_t status;       0: no failure; 1: a check failed. Zeroed by the caller.
    int64_t check;        number of the failed check
    int64_t position;     flat position of the failing element
    void (*parallel_for)(void *pool, void (*body)(void *data, int64_t part, int64_t worker),
                         void *data, int64_t parts);
    void *lapack;         reserved: table of LAPACK entries
    void *pool;           what parallel_for is given first
    int64_t workers;      how many workers parallel_for has
};

parallel_for calls body(data, part, worker) once for each part from 0 to parts - 1, on any threads
and in any order, and returns when all these calls have. 0 <= worker < workers, and no two calls
under way have the same worker: each has scratch of its own in the arena. Where parallel_for is null
all runs on the calling thread, with the same bits; so it does where workers is less than 2.
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

CONTEXT = ir.LiteralStructType([I64, I64, I64, POINTER, POINTER, POINTER, I64])
PARALLEL_FOR, POOL, WORKERS = 3, 5, 6  # positions of fields
BUSY = -1  # the status while a thread writes the record
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


def context_field(builder: ir.IRBuilder, context: ir.Value, number: int) -> ir.Value:
    """The address of a field."""
    return builder.gep(context, [integer(0), ir.IntType(32)(number)], source_etype=CONTEXT)


def _record(module: ir.Module) -> ir.Function:
    """void irg_record_failure(irg_ctx*, i64 check, i64 position): keeps the smallest pair.

    Threads write one after another: who takes the status may, and the others try again.
    """
    found = module.globals.get(RECORD)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(VOID, [POINTER, I64, I64]), RECORD)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    context, check, position = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    fields = [context_field(builder, context, i) for i in range(3)]
    take, write = (function.append_basic_block(name) for name in ("take", "write"))
    builder.branch(take)
    builder.position_at_end(take)
    status = builder.atomic_rmw("xchg", fields[0], integer(BUSY), "acquire")
    taken = builder.icmp_signed("==", status, integer(BUSY))
    builder.cbranch(taken, take, write)
    builder.position_at_end(write)
    old_check, old_position = (builder.load(f, typ=I64, align=8) for f in fields[1:])
    nearer = builder.and_(
        builder.icmp_signed("==", check, old_check),
        builder.icmp_signed("<", position, old_position),
    )
    smaller = builder.or_(builder.icmp_signed("<", check, old_check), nearer)
    none = builder.icmp_signed("==", status, integer(0))
    with builder.if_then(builder.or_(none, smaller)):
        for pointer, value in zip(fields[1:], (check, position), strict=True):
            builder.store(value, pointer, align=8)
    builder.atomic_rmw("xchg", fields[0], integer(1), "release")
    builder.ret_void()
    return function
