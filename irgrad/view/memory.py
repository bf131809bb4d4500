"""When which part of the memory is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir.dims import as_number
from ..ir.types import DTYPES
from ..kernel.ir import Accumulate, Contract, Kernel, Load, Store, walk
from ..kernel.program import Program
from .data import Memory, Outside, Span

_NOTHING = Memory((), (), (), (), 0, 0)


@dataclass(slots=True)
class _Use:
    """A span while its last step is not known."""

    label: str
    kernel: int
    kind: str
    offset: int
    bytes: int
    first: int
    last: int
    updates: list[int] = field(default_factory=list)


def timeline(program: Program | None, input_names: Sequence[str], scratch: int) -> Memory:
    """The memory of a run of a program; nothing where the target runs graphs.

    scratch: all the bytes that a run needs beside arguments and results.
    """
    if program is None:
        return _NOTHING
    spans: list[_Use] = []
    newest: dict[int, _Use] = {}
    for step, call in enumerate(program.calls):
        kernel = program.kernels[call.kernel]
        for slot, buffer in zip(call.slots, kernel.buffers, strict=True):
            if slot.kind != "arena":
                continue
            size = as_number(buffer.size) * DTYPES[buffer.dtype].itemsize
            known = newest.get(slot.number)
            if known is None or known.bytes != size or _starts(kernel, buffer.name):
                kind = "scratch" if buffer.access == "local" else "value"
                use = _Use(
                    f"{kernel.name} {buffer.name}: {buffer.dtype}[{buffer.size}]", call.kernel,
                    kind, slot.number, size, step, step,
                )  # fmt: skip
                newest[slot.number] = use
                spans.append(use)
            else:
                known.last = step
                if buffer.access == "update":
                    known.updates.append(step)
    found = tuple(
        Span(u.label, u.kernel, u.kind, u.offset, u.bytes, u.first, u.last, tuple(u.updates))
        for u in spans
    )
    live = tuple(
        sum(s.bytes for s in found if s.first <= step <= s.last)
        for step in range(len(program.calls))
    )
    steps = tuple(call.kernel for call in program.calls)
    outside = _outside(program, input_names)
    arena = program.arena_bytes
    return Memory(steps, found, outside, live, arena, max(scratch - arena, 0))


def _starts(kernel: Kernel, buffer: str) -> bool:
    """Whether a kernel stores into a buffer before it reads it, if it does at all."""
    for statement in walk(kernel.body):
        if isinstance(statement, Store) and statement.buffer == buffer:
            return True
        if isinstance(statement, Load | Accumulate) and statement.buffer == buffer:
            return False
        if isinstance(statement, Contract) and buffer in (statement.lhs, statement.rhs):
            return False
    return kernel.buffer(buffer).access in ("write", "local")


def _outside(program: Program, input_names: Sequence[str]) -> tuple[Outside, ...]:
    """The inputs that are overwritten and the results with memory of their own."""
    reads: dict[tuple[str, int], list[int]] = {}
    writes: dict[tuple[str, int], list[int]] = {}
    for step, call in enumerate(program.calls):
        for slot, buffer in zip(call.slots, program.kernels[call.kernel].buffers, strict=True):
            key = (slot.kind, slot.number)
            if buffer.access in ("read", "update"):
                reads.setdefault(key, []).append(step)
            if buffer.access in ("write", "update"):
                writes.setdefault(key, []).append(step)
    found = []
    for number in sorted(program.written):
        dtype, size = program.inputs[number]
        key = ("input", number)
        name, count = f"{input_names[number]}", as_number(size)
        found.append(_row(name, "donated", dtype, count, key, reads, writes))
    for number, (dtype, size) in enumerate(program.outputs):
        leaf = next(
            i for i, r in enumerate(program.results) if (r.kind, r.number) == ("output", number)
        )
        key = ("output", number)
        count = as_number(size)
        found.append(_row(f"result {leaf}", "result", dtype, count, key, reads, writes))
    return tuple(found)


def _row(
    label: str,
    kind: str,
    dtype: str,
    size: int,
    key: tuple[str, int],
    reads: dict[tuple[str, int], list[int]],
    writes: dict[tuple[str, int], list[int]],
) -> Outside:
    return Outside(
        f"{label}: {dtype}[{size}]", kind, size * DTYPES[dtype].itemsize,
        tuple(dict.fromkeys(reads.get(key, ()))), tuple(dict.fromkeys(writes.get(key, ()))),
    )  # fmt: skip
