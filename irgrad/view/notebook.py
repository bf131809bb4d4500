"""What a notebook shows of graphs, kernels, programs, plans, profiles and compiled functions."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import IrgradError
from ..ir.dims import Size
from ..ir.graph import Graph
from ..ir.location import Location
from ..ir.printer import Style, header, return_line, value_labels
from ..ir.shown import how_many, size_text
from ..kernel.ir import Kernel
from ..kernel.listing import call_text, memory_text, summary
from ..kernel.program import Program
from ..runtime.compiled import Compiled, KernelInfo, MemoryPlan
from ..runtime.profile import Profile
from ..runtime.report import arena_text
from ..runtime.retraces import History, Retrace
from .attribution import ir_lines
from .data import Memory
from .draw import graph_html, memory_html
from .fragment import MAX_PLACES, MAX_ROWS, PREFIX, Budget, Fragment, Row, clipped, folded, left_out
from .graphs import drawing, node_text
from .layout import count_bends
from .markup import bar_html, escape
from .memory import cut, plan_memory, timeline

MAX_DRAWN = 120  # nodes of a drawing
MAX_BENDS = 1500
MAX_STEPS = 48  # calls of a memory timeline
MAX_SPANS = 200
MAX_KERNELS = 20  # whose text is shown
MAX_DEPTH = 8  # of regions in regions
_STYLE = Style(names=True, brief=True)


def notebook_html(subject: object) -> str:
    """An element of HTML for an object that shows itself.

    It is bounded: of large things the ends are shown, and how much is left out.
    """
    view = Fragment()
    match subject:
        case Graph():
            return _graph_element(view, subject)
        case Kernel():
            body = _kernel_rows(view, subject, MAX_ROWS)
            return view.element(f"kernel {subject.name}", _costs(subject), body)
        case KernelInfo():
            assert subject.kernel is not None, "compiled functions give it"
            body = _kernel_rows(view, subject.kernel, MAX_ROWS)
            facts = [how_many(subject.calls, "call"), *_costs(subject)]
            return view.element(f"kernel {subject.name}", facts, body)
        case Program():
            return view.element("program", [summary(subject)], _program(view, subject))
        case MemoryPlan():
            facts = [arena_text(subject.workspace)]
            return view.element("memory plan", facts, _memory(plan_memory(subject)))
        case Compiled():
            return _compiled_element(view, subject)
        case Profile():
            return _profile_element(view, subject)
        case History():
            return _history_element(view, subject)
        case _:
            raise AssertionError(f"nothing that shows itself: {type(subject).__name__}")


# -- graphs ----------------------------------------------------------------------------------------


def _graph_element(view: Fragment, graph: Graph) -> str:
    title, facts = f"graph {graph.name}", [how_many(len(graph), "node")]
    try:
        body = _graph_body(view, graph)
    except IrgradError as error:  # not well-formed: there is no text, and that is what is shown
        view, body = Fragment(), f'<p class="note">{escape(str(error))}</p>'
    return view.element(title, facts, body)


def _graph_body(view: Fragment, graph: Graph) -> str:
    rows = f'<div class="code">{_graph_rows(view, graph, Budget(), 0)}</div>'
    return rows + _graph_drawing(view, graph)


def _graph_rows(view: Fragment, graph: Graph, budget: Budget, depth: int) -> str:
    """The graph as text, of a long one the first and the last nodes; regions can be opened."""
    order = graph.order()
    labels = value_labels(graph, order, _STYLE)
    nodes = [key for key in order if graph[key].op != "input"]
    first, last = _ends(len(nodes), budget.left)
    budget.left -= min(len(nodes), first + last)
    name = header(graph, labels, Style(names=True, brief=True, depth=depth))
    parts = [view.code_row(f"{name} {{")]
    for position, key in enumerate(nodes):
        if first <= position < len(nodes) - last:
            parts.append(left_out(len(nodes) - first - last, "node") if position == first else "")
            continue
        node = graph[key]
        parts.append(view.code_row(f"  {node_text(graph, key, labels)}", node.locations))
        for region, body in node.regions():
            title = f"{region}: graph of {how_many(len(body), 'node')}"
            if budget.left > 0 and depth < MAX_DEPTH:
                inner = _graph_rows(view, body, budget, depth + 1)
                parts.append(f'<details class="region"><summary>{escape(title)}</summary>'
                             f"{inner}</details>")  # fmt: skip
            else:
                parts.append(f'<div class="gap">{escape(title)}, left out</div>')
    return "".join([*parts, view.code_row(return_line(graph, labels)), view.code_row("}")])


def _ends(count: int, left: int) -> tuple[int, int]:
    """How many of some things to show of the start and of the end."""
    if count <= left:
        return count, 0
    return max(left, 0) * 3 // 4, max(left, 0) // 4


def _graph_drawing(view: Fragment, graph: Graph) -> str:
    """The drawing, where it can be read as one."""
    if not 1 < len(graph) <= MAX_DRAWN:
        return ""
    found = drawing(graph, f"{PREFIX}-n", {}, view.sources)
    keys = [node.key for node in found.nodes]
    if count_bends(keys, found.edges) > MAX_BENDS or any(
        len(node.lines) > MAX_PLACES for node in found.nodes
    ):
        return ""
    return folded("drawing", graph_html(found, graph.name))


# -- kernels and programs --------------------------------------------------------------------------


def _costs(kernel: Kernel | KernelInfo) -> list[str]:
    return [f"{size_text(kernel.flops)} flops", f"{size_text(kernel.bytes)} bytes"]


def _kernel_rows(view: Fragment, kernel: Kernel, limit: int) -> str:
    """The text of a kernel, of a long one the first and the last lines."""
    lines = ir_lines(kernel, None)
    first, last = _ends(len(lines), limit)
    parts = [view.code_row(text, origin) for text, origin in lines[:first]]
    parts.append(left_out(len(lines) - first - last, "line"))
    parts += [view.code_row(text, origin) for text, origin in lines[len(lines) - last :]]
    return f'<div class="code">{"".join(parts)}</div>'


def _kernels(view: Fragment, kernels: Sequence[Kernel]) -> str:
    """The texts of the first kernels, each to be opened."""
    limit = MAX_ROWS // max(1, min(len(kernels), MAX_KERNELS))
    parts = [
        folded(kernel.name, _kernel_rows(view, kernel, max(limit, 40)))
        for kernel in kernels[:MAX_KERNELS]
    ]
    return "".join(parts) + left_out(len(kernels) - MAX_KERNELS, "kernel")


def _program(view: Fragment, program: Program) -> str:
    first, last = _ends(len(program.calls), MAX_ROWS // 2)
    rows = [
        view.code_row(f"{step}: {call_text(program, call)}", call.origin)
        if step < first or step >= len(program.calls) - last
        else (left_out(len(program.calls) - first - last, "call") if step == first else "")
        for step, call in enumerate(program.calls)
    ]
    names = [f"input {number}" for number in range(len(program.inputs))]
    return (
        f'<div class="code">{"".join(rows)}</div>'
        + folded(f"memory: {memory_text(program)}", _memory(timeline(program, names, 0)))
        + _kernels(view, program.kernels)
    )


def _memory(memory: Memory) -> str:
    """The timeline of a run, of a long one the steps around its peak."""
    few = cut(memory, MAX_STEPS, MAX_SPANS)
    steps, spans = len(memory.steps) - len(few.steps), len(memory.spans) - len(few.spans)
    rows = len(memory.outside) - len(few.outside)
    notes = left_out(steps, "kernel call") + left_out(spans, "buffer") + left_out(rows, "array")
    return memory_html(few, links=False) + notes


# -- compiled functions ----------------------------------------------------------------------------


def _compiled_element(view: Fragment, compiled: Compiled) -> str:
    kernels = compiled.kernels
    flops: Size = 0
    moved: Size = 0
    for info in kernels:
        flops, moved = flops + info.flops * info.calls, moved + info.bytes * info.calls
    rows = [
        Row((escape(clipped(k.name)), f"{k.calls:,}", size_text(k.flops), size_text(k.bytes),
             view.place(k.origin)), k.origin)
        for k in kernels
    ]  # fmt: skip
    plan = compiled.plan
    facts = [
        f"for {compiled.target}", how_many(len(kernels), "kernel"), f"{size_text(flops)} flops",
        f"{size_text(moved)} bytes moved", f"{arena_text(plan.workspace)} bytes of memory",
    ]  # fmt: skip
    head = ("kernel", "#calls", "#flops", "#bytes", "source line")
    texts = [info.kernel for info in kernels if info.kernel is not None]
    body = (
        (view.table(head, rows) if rows else "")
        + folded("report", _report(compiled.report()))
        + (folded("memory", _memory(plan_memory(plan))) if rows else "")
        + folded("graph as traced", _graph_body(view, compiled.graph))
        + (folded("kernels", _kernels(view, texts)) if texts else "")
    )
    return view.element(compiled.graph.name, facts, body)


def _report(text: str) -> str:
    lines = text.splitlines()
    shown = "".join(f"{escape(line[:MAX_ROWS])}\n" for line in lines[:MAX_ROWS])
    return f'<pre class="scroll">{shown}</pre>{left_out(len(lines) - MAX_ROWS, "line")}'


def _profile_element(view: Fragment, profile: Profile) -> str:
    rows = [
        Row((escape(clipped(k.name)), _us(k.seconds.minimum), _us(k.seconds.median),
             f"{k.share:.1%}", bar_html(min(max(k.share, 0.0), 1.0), i), f"{k.gigaflops:,.2f}",
             f"{k.gigabytes:,.2f}", view.place(k.origin)), k.origin)
        for i, k in enumerate(profile.kernels)
    ]  # fmt: skip
    lines = [
        Row((view.place((x.location,)), _us(x.alone), _us(x.shared), str(len(x.kernels))),
            (x.location,))
        for x in profile.lines()
    ]  # fmt: skip
    head = ("kernel", "#least us", "#median us", "#share", "of the call", "#GFLOP/s", "#GB/s",
            "source line")  # fmt: skip
    body = view.table(head, rows) + folded(
        "by source line", view.table(("source line", "#alone us", "#with others us", "#kernels"),
                                     lines),
    )  # fmt: skip
    facts = [
        f"for {profile.target} ({profile.form})", f"{profile.rounds} rounds",
        f"call: least {_us(profile.seconds.minimum)} us, median {_us(profile.seconds.median)} us",
        f"without timers: least {_us(profile.ordinary.minimum)} us",
    ]  # fmt: skip
    return view.element(f"profile of {profile.name}", facts, body)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f}"


def _history_element(view: Fragment, history: History) -> str:
    records = list(history.records)
    rows = [
        Row((str(x.number), f"{x.seconds:.3f}", view.place(_where(x)), _reason(x)), _where(x))
        for x in records
    ]
    seconds = sum(record.seconds for record in records)
    facts = [f"{how_many(len(records), 'compile')}, {seconds:.3f} s"]
    head = ("#compile", "#seconds", "called at", "why")
    body = view.table(head, rows) if rows else '<p class="note">It was not called yet.</p>'
    body += f'<p class="note">{escape(history.hint)}</p>' if history.hint else ""
    return view.element(f"jit {history.function}", facts, body)


def _where(record: Retrace) -> tuple[Location, ...]:
    return (record.location,) if record.location else ()


def _reason(record: Retrace) -> str:
    near = f" (compared with compile {record.cause.nearest})" if record.cause.nearest else ""
    return escape(clipped(f"{record.cause}{near}"))
