"""When which part of the memory is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from ..interpret import input_names
from ..ir.dims import Size
from ..ir.shown import how_many, size_text
from ..ir.types import DTYPES
from ..kernel.ir import Accumulate, Contract, Kernel, Load, Store, walk
from ..kernel.listing import slot_text
from ..kernel.program import Program
from ..runtime.compiled import MemoryPlan
from ..runtime.report import arena_text, table_lines
from .data import Memory, Outside, Span

_NOTHING = Memory((), (), (), (), 0, 0)


@dataclass(slots=True)
class _Use:
    """A span while its last step is not known."""

    label: str
    kernel: int
    kind: str
    offset: int
    bytes: Size
    first: int
    last: int
    updates: list[int] = field(default_factory=list)


def plan_text(plan: MemoryPlan) -> str:
    """The text of a memory plan: each buffer with its place and the calls that it is in use at."""
    found = plan_memory(plan)
    head = f"memory of a run: {arena_text(plan.workspace)}, " + how_many(
        len(found.steps), "kernel call"
    )
    return "\n".join([head, *_lines(found)]) + "\n"


def plan_memory(plan: MemoryPlan) -> Memory:
    """The memory of the program that a plan is for; nothing where there is none."""
    if plan.lowered is None:
        return _NOTHING
    graph, program = plan.lowered()
    return timeline(program, input_names(graph), plan.workspace.fixed_bytes)


def timeline(program: Program | None, input_names: Sequence[str], scratch: int) -> Memory:
    """The memory of a run of a program; nothing where the target runs graphs.

    scratch: the bytes that a run needs beside arguments, results and slots.
    """
    if program is None:
        return _NOTHING
    spans: list[_Use] = []
    newest: dict[int, _Use] = {}
    for step, call in enumerate(program.calls):
        kernel = program.kernels[call.kernel]
        for slot, buffer in zip(call.slots, kernel.buffers, strict=True):
            if slot.kind not in ("arena", "slot"):
                continue
            size = buffer.size * DTYPES[buffer.dtype].itemsize
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
    steps = tuple(call.kernel for call in program.calls)
    outside = _outside(program, input_names)
    slots = tuple(map(slot_text, program.slots))
    live = () if slots else _live(found, len(steps))
    arena = program.arena_bytes
    return Memory(steps, found, outside, live, arena, max(scratch - arena, 0), slots)


def _live(spans: Sequence[Span], steps: int) -> tuple[int, ...]:
    """The bytes in use at each step: what spans add at their first and take off behind their last.
    """
    change = [0] * (steps + 1)
    for span in spans:
        assert isinstance(span.bytes, int), "named sizes have slots"
        change[span.first] += span.bytes
        change[span.last + 1] -= span.bytes
    return tuple(accumulate(change[:-1]))


def cut(memory: Memory, steps: int, spans: int) -> Memory:
    """The memory of at most so many steps, around the peak, and of their largest spans."""
    count = len(memory.steps)
    peak = memory.live.index(max(memory.live)) if memory.live else 0
    start = max(0, min(peak - steps // 2, count - steps))
    end = min(count, start + steps)

    def inside(found: Sequence[int]) -> tuple[int, ...]:
        return tuple(step - start for step in found if start <= step < end)

    kept = [
        replace(span, first=max(span.first - start, 0), last=min(span.last, end - 1) - start,
                updates=inside(span.updates))
        for span in memory.spans
        if span.first < end and span.last >= start
    ]  # fmt: skip
    kept.sort(key=lambda span: -span.bytes if isinstance(span.bytes, int) else 0)
    rows = [replace(row, reads=inside(row.reads), writes=inside(row.writes))
            for row in memory.outside]  # fmt: skip
    return replace(
        memory, steps=memory.steps[start:end], spans=tuple(kept[:spans]),
        outside=tuple(rows[:spans]), live=memory.live[start:end], start=start,
    )  # fmt: skip


def _lines(memory: Memory) -> list[str]:
    """The buffers of a run as text, in order of their first use."""
    where = "slot" if memory.slots else "offset"
    rows = [
        (x.label, size_text(x.bytes), f"{x.offset:,}", f"steps {x.first} to {x.last}")
        for x in memory.spans
    ]
    lines = [f"slot {number}: {text} bytes" for number, text in enumerate(memory.slots)]
    if memory.workspace:
        lines.append(f"{how_many(memory.workspace, 'byte')} of them are workspace of contractions")
    return [*lines, *table_lines(("buffer", "bytes", where, "in use"), rows)]


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
        found.append(_row(input_names[number], "donated", dtype, size, key, reads, writes))
    for number, (dtype, size) in enumerate(program.outputs):
        leaf = next(
            i for i, r in enumerate(program.results) if (r.kind, r.number) == ("output", number)
        )
        key = ("output", number)
        found.append(_row(f"result {leaf}", "result", dtype, size, key, reads, writes))
    return tuple(found)


def _row(
    label: str,
    kind: str,
    dtype: str,
    size: Size,
    key: tuple[str, int],
    reads: dict[tuple[str, int], list[int]],
    writes: dict[tuple[str, int], list[int]],
) -> Outside:
    return Outside(
        f"{label}: {dtype}[{size}]", kind, size * DTYPES[dtype].itemsize,
        tuple(dict.fromkeys(reads.get(key, ()))), tuple(dict.fromkeys(writes.get(key, ()))),
    )  # fmt: skip
