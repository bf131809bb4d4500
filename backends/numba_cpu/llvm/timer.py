"""Readings of the processor's clock between the kernels of a program.

The timed entry has a fifth parameter, `int64_t *laps`: the clock is read twice before the first
call, which tells what a reading costs, then after each call. Ordinary code has none of it.

The clock is one that runs at a fixed rate: the time-stamp counter of x86, CNTVCT_EL0 of ARM. Both
may be read ahead of what is under way, so each reading stands between two fences.
"""

from __future__ import annotations

import platform

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.vectors import I32, I64, VOID, integer, intrinsic

STARTS = 2  # readings before the first call
MACHINES = ("x86_64", "aarch64")
WHOLE_SYSTEM = ir.Constant(I32, 15)  # what an ISB waits for


def has_counter() -> bool:
    """Whether this machine's processor has a clock that programs can read."""
    return platform.machine() in MACHINES


def read_counter(builder: ir.IRBuilder) -> ir.Value:
    """The clock of this machine's processor, in units of its own."""
    if platform.machine() == "aarch64":
        intrinsic(builder, "llvm.aarch64.isb", VOID, [WHOLE_SYSTEM])
        # llvm.readcyclecounter would be another register, which programs may not read.
        name = builder.module.add_metadata(["CNTVCT_EL0"])
        ticks = intrinsic(builder, "llvm.read_volatile_register.i64", I64, [name])
        intrinsic(builder, "llvm.aarch64.isb", VOID, [WHOLE_SYSTEM])
        return ticks
    intrinsic(builder, "llvm.x86.sse2.lfence", VOID, [])
    ticks = intrinsic(builder, "llvm.readcyclecounter", I64, [])
    intrinsic(builder, "llvm.x86.sse2.lfence", VOID, [])
    return ticks


def emit_lap(builder: ir.IRBuilder, laps: ir.Value, number: int) -> None:
    """Store a reading as element `number` of `laps`."""
    place = builder.gep(laps, [integer(number)], source_etype=I64)
    builder.store(read_counter(builder), place, align=8)


def clock_function(module: ir.Module, name: str) -> None:
    """Add `int64_t <name>(void)`, which reads the clock."""
    function = ir.Function(module, ir.FunctionType(I64, []), name)
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    builder.ret(read_counter(builder))
