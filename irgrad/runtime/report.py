"""What is known of a compiled function, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..interpret import input_names
from ..ir.dims import Size, names
from ..ir.graph import Graph, Value
from ..ir.location import Location
from ..ir.shown import how_many, size_text
from ..kernel.slots import ALIGNMENT, Workspace
from ..ops.size_guards import named_sizes, size_guards

if TYPE_CHECKING:
    from .compiled import Compiled, KernelInfo, Parts


def report_text(compiled: Compiled, parts: Parts, copies: Mapping[str, int]) -> str:
    """Kernels, memory, donations, captures, widenings, copies and compile times.

    copies: how often each argument was copied at the boundary so far.
    """
    kernels = compiled.kernels
    calls = sum(kernel.calls for kernel in kernels)
    flops: Size = sum(kernel.calls * kernel.flops for kernel in kernels)
    moved: Size = sum(kernel.calls * kernel.bytes for kernel in kernels)
    lines = [
        f"{compiled.graph.name} for {compiled.target}: {len(kernels)} kernels, {calls} calls, "
        f"{size_text(flops)} flops, {size_text(moved)} bytes"
    ]
    rows = [
        (k.name, str(k.calls), size_text(k.flops), size_text(k.bytes), first_line(k.origin))
        for k in kernels
    ]
    head = ("name", "calls", "flops", "bytes", "line")
    lines += _section("kernels", list(table_lines(head, rows)))
    lines += _section("divided between threads", list(parts.executable.divided()))
    chosen = [f"{kernel}: {text}" for kernel, text in parts.executable.switches()]
    lines += _section("chosen by size", chosen)
    lines += _section("named sizes", list(_named_sizes(compiled.graph)))
    lines += _section("refused sizes", list(_guards(compiled.graph)))
    lines += _section("memory", [f"arena {arena_text(compiled.plan.workspace)}"])
    lines += _section("donated", list(_donations(compiled, parts)))
    lines += _section("captured", [f"{c.name} {c.type} ({_place(c.location)})" for c in
                                   compiled.captured])
    lines += _section("read at the trace alone", list(parts.frozen))
    lines += _section("widened floats", [str(w) for w in compiled.graph.widenings])
    lines += _section("copied at the boundary", [f"{k}: {n} times" for k, n in copies.items()])
    times = [f"{phase} {seconds * 1e3:.1f} ms" for phase, seconds in parts.seconds.items()]
    lines += _section("compile time", [", ".join(times)])
    return "\n".join(lines) + "\n"


def _named_sizes(graph: Graph) -> Iterator[str]:
    """Each name with the first axis of an argument that has it."""
    labels = input_names(graph)
    for name in named_sizes(graph):
        yield next(
            f"{name}: axis {axis} of {label} {graph.type(Value(key))}"
            for key, label in zip(graph.inputs, labels)
            for axis, size in enumerate(graph.type(Value(key)).shape)
            if name in names(size)
        )


def _guards(graph: Graph) -> Iterator[str]:
    """What calls expect of named sizes, with the user's lines."""
    for guard in size_guards(graph):
        if guard.size is not None:
            yield f"where {guard.size} < 0: {guard.op} ({_place(guard.location)})"


def arena_text(workspace: Workspace) -> str:
    """The bytes of a call's scratch memory: a number, or the closed form of its slots."""
    parts = [
        size_text(sizes[0]) if len(sizes) == 1 else f"max({', '.join(map(size_text, sizes))})"
        for sizes in workspace.slots
    ]
    fixed = [f"{workspace.fixed_bytes:,}"] if workspace.fixed_bytes or not parts else []
    rounded = f", each slot rounded up to {ALIGNMENT}" if parts else ""
    return " + ".join([*parts, *fixed]) + " bytes" + rounded


def kernel_text(kernel: KernelInfo) -> str:
    """The text of a kernel under what it costs and the source lines that it computes."""
    costs = f"{size_text(kernel.flops)} flops, {size_text(kernel.bytes)} bytes a call"
    lines = [f"# {kernel.name}: {how_many(kernel.calls, 'call')}, {costs}"]
    lines += [f"# {x}: {x.source()}".rstrip(": ") for x in kernel.origin]
    return "\n".join([*lines, kernel.text])


def _section(title: str, lines: Sequence[str]) -> list[str]:
    parts = ["  " + part for line in lines for part in line.split("\n")]
    return [f"{title}:", *parts] if parts else []


def table_lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows in aligned columns: the first and the last to the left, numbers to the right."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1])]
        yield "  ".join([*cells, row[-1]]).rstrip()


def first_line(origin: Sequence[Location]) -> str:
    """The main line of several, and how many more there are."""
    more = f" and {len(origin) - 1} more" if len(origin) > 1 else ""
    return f"{origin[0]}{more}" if origin else "-"


def _place(location: Location | None) -> str:
    return str(location) if location else "no line"


def _donations(compiled: Compiled, parts: Parts) -> Iterator[str]:
    """Which donated arguments become results, and which could not."""
    results = parts.program.results if parts.program is not None else ()
    taken = {r.number: i for i, r in enumerate(results) if r.kind == "donated"}
    for position in sorted(compiled.signature.donated):
        key = compiled.graph.inputs[position]
        name = compiled.signature.names[position : position + 1] or (f"argument {position}",)
        type_ = compiled.graph.type(Value(key))
        if position in taken:
            yield f"{name[0]} is result {taken[position]}"
        elif parts.program is None:
            yield f"{name[0]} is the first free result of type {type_}"
        else:
            yield f"{name[0]} is not donated: no result of type {type_} could take its memory"


def explain_text(graph: Graph) -> str:
    """How often each rule edited the graph, the most frequent first, with a line it touched."""
    counts = Counter(edit.reason for edit in graph.edits)
    examples: dict[str, str] = {}
    for edit in graph.edits:
        if edit.reason not in examples and edit.new.node in graph:
            locations = graph[edit.new.node].locations
            if locations:
                examples[edit.reason] = str(locations[0])
    lines = [
        f"{count:6}  {reason}" + (f"  first at {examples[reason]}" if reason in examples else "")
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    return "\n".join([f"{len(graph.edits)} edits of {graph.name}", *lines]) + "\n"
