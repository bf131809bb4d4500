"""Programs as text for readers: buffers, calls in order, then the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..ir.dims import Size
from ..ir.shown import how_many, short, size_text
from .text import print_kernel

if TYPE_CHECKING:
    from .program import Call, Program, Slot


def print_program(program: Program) -> str:
    """The text of a program: what it is given, which kernel runs on which memory, and all kernels.

    A call names for each buffer of its kernel where that lies: an input, an output, or a byte
    offset in the arena; in a program with named sizes a slot, whose sizes are listed.
    """
    kernels = [print_kernel(kernel) for kernel in program.kernels]
    return "\n".join([*_head(program), *_calls(program), *kernels])


def summary(program: Program) -> str:
    """Kernels, calls and memory in words."""
    kernels = how_many(len(program.kernels), "kernel")
    return f"{kernels}, {how_many(len(program.calls), 'call')}, {memory_text(program)}"


def memory_text(program: Program) -> str:
    """The arena in words."""
    if program.slots:
        return how_many(len(program.slots), "slot")
    return f"arena {program.arena_bytes:,} bytes"


def slot_text(sizes: tuple[Size, ...]) -> str:
    """The bytes of a slot, the largest of what it holds in turn."""
    texts = [size_text(size) for size in sizes]
    return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"


def place_text(slot: Slot) -> str:
    """Where a buffer lies."""
    return f"{slot.kind} {slot.number}"


def call_text(program: Program, call: Call) -> str:
    """A call: its kernel and the place of each buffer."""
    kernel = program.kernels[call.kernel]
    pairs = zip(kernel.buffers, call.slots, strict=True)
    places = ", ".join(f"{buffer.name}={place_text(slot)}" for buffer, slot in pairs)
    return f"{kernel.name}({places})"


def _head(program: Program) -> Iterator[str]:
    sizes = f" for sizes {', '.join(program.dims)}" if program.dims else ""
    yield f"program{sizes}: {summary(program)}"
    for kind, buffers in (("input", program.inputs), ("output", program.outputs)):
        for number, (dtype, count) in enumerate(buffers):
            written = kind == "input" and number in program.written
            yield f"  {kind} {number}: {dtype}[{count}]{' overwritten' if written else ''}"
    for number, held in enumerate(program.slots):
        yield f"  slot {number}: {slot_text(held)} bytes"
    for number, result in enumerate(program.results):
        shape = ",".join(map(str, result.shape))
        kind = "copy of input" if result.kind == "input" else result.kind
        yield f"  result {number}: {kind} {result.number} as {result.dtype}[{shape}]"
    for number, check in enumerate(program.checks):
        yield f"  check {number}: {short(check.message)}"


def _calls(program: Program) -> Iterator[str]:
    for position, call in enumerate(program.calls):
        yield f"  {position}: {call_text(program, call)}"
        if position + 1 == program.guard_calls:
            yield "  stop here where a check has failed"
