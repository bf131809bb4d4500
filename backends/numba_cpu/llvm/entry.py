"""One LLVM module and one C entry for a program.

`int32_t irg_<name>(irg_ctx *ctx, const int64_t *dims, void *const *buffers, void *arena)` runs the
calls in order. dims: the numbers behind the program's named sizes. buffers: the inputs, then the
outputs. arena: `arena_bytes` bytes, aligned to 64: the program's own (of one with named sizes its
slots, as `slot_offsets` places them), then scratch of the kernel that runs, of each worker where
`parallel_for` is given: `worker_bytes` more for every one but the first. Returns 1 where a check
among the guard calls has failed, before any later call, else 0. The caller zeroes `ctx->status`;
`irg_ctx` is described in `checks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.checks import status_of
from irgrad.backends.numba_cpu.llvm.function import (
    kernel_function,
    kernel_workspace,
    needs_context,
)
from irgrad.backends.numba_cpu.llvm.sizes import Sizes
from irgrad.backends.numba_cpu.llvm.split import plan_splits
from irgrad.backends.numba_cpu.llvm.timer import STARTS, emit_lap
from irgrad.backends.numba_cpu.llvm.vectors import I8, I32, POINTER, integer
from irgrad.kernel.ir import Kernel
from irgrad.kernel.program import Program, Slot
from irgrad.kernel.slots import ALIGNMENT, aligned


def arena_bytes(program: Program, vector_bytes: int) -> int:
    """Size of the arena that the program's entry needs: its own bytes, then kernels' scratch.

    Of a program with named sizes it has `workspace_bytes(dims)` bytes more: those of its slots.
    """
    scratch = max((kernel_workspace(k, vector_bytes) for k in program.kernels), default=0)
    return aligned(program.arena_bytes) + scratch


def worker_bytes(program: Program, vector_bytes: int) -> int:
    """How much longer the arena has to be for each worker beyond the first; 0: nothing is divided.
    """
    divided = [k for k in program.kernels if plan_splits(k, vector_bytes)]
    needed = [max(ALIGNMENT, kernel_workspace(k, vector_bytes)) for k in divided]
    return max(needed, default=0)


def program_module(
    program: Program,
    name: str,
    vector_bytes: int,
    on_kernel: Callable[[int], object] | None = None,
    timed: bool = False,
) -> ir.Module:
    """The module with all kernels of a program and its entry `irg_<name>`.

    on_kernel: called after each kernel with the number of those that are emitted. timed: whether
    the entry reads the clock between calls, as `timer` describes.
    """
    module = ir.Module(name=f"irg_{name}")
    functions: dict[object, ir.Function] = {}
    by_kernel: list[ir.Function] = []
    for number, kernel in enumerate(program.kernels):
        key = (tuple((b.name, b.dtype) for b in kernel.buffers), kernel.body, kernel.dims)
        if key not in functions:
            unique = replace(kernel, name=f"kernel_{number}_{kernel.name}")
            functions[key] = kernel_function(
                module, unique, vector_bytes, dims=program.dims
            )
        by_kernel.append(functions[key])
        if on_kernel is not None:
            on_kernel(number + 1)
    _emit_entry(module, program, name, by_kernel, vector_bytes, timed)
    return module


def _emit_entry(
    module: ir.Module,
    program: Program,
    name: str,
    functions: list[ir.Function],
    vector_bytes: int,
    timed: bool,
) -> None:
    signature = ir.FunctionType(I32, [POINTER] * (5 if timed else 4))
    entry = ir.Function(module, signature, f"irg_{name}")
    entry.attributes.add("nounwind")
    context, dims, buffers, arena = entry.args[:4]
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    offsets = Sizes(builder, dims, program.dims).slots(program.slots)
    addresses = _Addresses(builder, buffers, arena, len(program.inputs), offsets)
    scratch = Slot("arena", aligned(program.arena_bytes))
    if program.slots:
        scratch = Slot("slot", len(program.slots))
    for number in range(STARTS if timed else 0):
        emit_lap(builder, entry.args[-1], number)
    for position, call in enumerate(program.calls):
        kernel: Kernel = program.kernels[call.kernel]
        arguments = [addresses.of(slot) for slot in call.slots]
        if kernel.dims:
            arguments.append(dims)
        if kernel_workspace(kernel, vector_bytes):
            arguments.append(addresses.of(scratch))
        if needs_context(kernel, vector_bytes):
            arguments.append(context)
        builder.call(functions[call.kernel], arguments)
        if timed:
            emit_lap(builder, entry.args[-1], STARTS + position)
        if position + 1 == program.guard_calls:
            failed = builder.icmp_signed("!=", status_of(builder, context), integer(0))
            with builder.if_then(failed, likely=False):
                builder.ret(ir.Constant(I32, 1))
    builder.ret(ir.Constant(I32, 0))


class _Addresses:
    """Computes addresses of slots."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        buffers: ir.Value,
        arena: ir.Value,
        inputs: int,
        offsets: list[ir.Value],
    ) -> None:
        self.builder = builder
        self.buffers = buffers
        self.arena = arena
        self.inputs = inputs
        self.offsets = offsets

    def of(self, slot: Slot) -> ir.Value:
        """The address of a slot."""
        builder = self.builder
        if slot.kind == "arena":
            return builder.gep(self.arena, [integer(slot.number)], source_etype=I8)
        if slot.kind == "slot":
            return builder.gep(self.arena, [self.offsets[slot.number]], source_etype=I8)
        position = slot.number + (self.inputs if slot.kind == "output" else 0)
        pointer = builder.gep(self.buffers, [integer(position)], source_etype=POINTER)
        return builder.load(pointer, typ=POINTER, align=8)
