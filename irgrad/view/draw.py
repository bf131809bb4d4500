"""Graphs and the memory of a run as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.shown import size_text
from .data import Drawing, Memory, Outside, Span, ViewNode
from .layout import Layout, Point, arrange, count_bends
from .markup import colour, count, escape

MAX_NODES = 400
MAX_BENDS = 12000
CHARACTER = 6.7  # width of one, at the size that the style gives nodes
NODE_HEIGHT = 34
LAYER_HEIGHT = 64
MARGIN = 8
MAX_LABEL = 30

STEP_WIDTH = 72
ARENA_HEIGHT = 320
LIVE_HEIGHT = 70
ROW_HEIGHT = 18
LEFT = 250
LEAST_BAR = 3.0


def graph_html(drawing: Drawing, label: str) -> str:
    """A graph as SVG, or as a list of its nodes where it is too large to be read as a drawing."""
    keys = [node.key for node in drawing.nodes]
    if len(keys) > MAX_NODES or count_bends(keys, drawing.edges) > MAX_BENDS:
        return _list_html(drawing)
    widths = {node.key: _width(node) for node in drawing.nodes}
    layout = arrange(widths, drawing.edges)
    width = layout.width + 2 * MARGIN
    height = max(layout.layers - 1, 0) * LAYER_HEIGHT + NODE_HEIGHT + 2 * MARGIN
    edges = "".join(_edge(layout, edge) for edge in drawing.edges)
    nodes = "\n".join(_node(node, widths[node.key], layout.positions[node.key]) for node in
                      drawing.nodes)  # fmt: skip
    return (
        f'<div class="scroll canvas"><svg role="group" aria-label="{escape(label)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">\n'
        f'<g class="edges">{edges}</g>\n{nodes}\n</svg></div>'
    )


def _width(node: ViewNode) -> float:
    longest = max(len(_short(node.label)), len(_short(node.type)))
    return round(longest * CHARACTER + 16)


def _short(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 3]}..."


def _on_page(point: Point) -> Point:
    return point[0] + MARGIN, point[1] * LAYER_HEIGHT + NODE_HEIGHT / 2 + MARGIN


def _edge(layout: Layout, edge: tuple[int, int]) -> str:
    """A smooth line from the lower side of one node to the upper side of another."""
    x, y = _on_page(layout.positions[edge[0]])
    y += NODE_HEIGHT / 2
    path = f"M{x:.0f} {y:.0f}"
    end_x, end_y = _on_page(layout.positions[edge[1]])
    bends = [_on_page(bend) for bend in layout.routes[edge]]
    for bend_x, bend_y in [*bends, (end_x, end_y - NODE_HEIGHT / 2)]:
        middle = (y + bend_y) / 2
        path += f"C{x:.0f} {middle:.0f} {bend_x:.0f} {middle:.0f} {bend_x:.0f} {bend_y:.0f}"
        x, y = bend_x, bend_y
    return f'<path data-a="{edge[0]}" data-b="{edge[1]}" d="{path}"/>'


def _attributes(node: ViewNode) -> str:
    data = f' data-l="{" ".join(node.lines)}"' if node.lines else ""
    if node.kernel is not None:
        data += f' data-k="k{node.kernel}"'
    return data


def _tooltip(node: ViewNode) -> str:
    kernel = [f"kernel k{node.kernel}"] if node.kernel is not None else []
    return "\n".join([node.text, *node.places, *kernel])


def _node(node: ViewNode, width: float, centre: Point) -> str:
    x, y = _on_page(centre)
    kind = " input" if node.op == "input" else ""
    inside = (
        f"<title>{escape(_tooltip(node))}</title>"
        f'<rect x="{x - width / 2:.0f}" y="{y - NODE_HEIGHT / 2:.0f}" width="{width:.0f}" '
        f'height="{NODE_HEIGHT}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y - 3:.0f}">{escape(_short(node.label))}</text>'
        f'<text class="t" x="{x:.0f}" y="{y + 11:.0f}">{escape(_short(node.type))}</text>'
    )
    common = f'class="n{kind}{colour(node.kernel)}" id="{node.ident}"{_attributes(node)}'
    if node.lines:
        return f'<a {common} href="#{node.lines[0]}">{inside}</a>'
    return f'<g {common} tabindex="0">{inside}</g>'


def _list_html(drawing: Drawing) -> str:
    rows = "".join(
        f'<li class="n{colour(node.kernel)}" id="{node.ident}"{_attributes(node)} tabindex="0">'
        f'{_list_link(node)}<code title="{escape(_tooltip(node))}">{escape(node.text)}</code></li>'
        for node in drawing.nodes
    )
    return (
        f'<p class="note">{count(len(drawing.nodes), "node")} and their edges are too many to '
        f'draw; the nodes are listed in order.</p><ol class="scroll list">{rows}</ol>'
    )


def _list_link(node: ViewNode) -> str:
    if not node.lines:
        return ""
    return f'<a href="#{node.lines[0]}">{node.lines[0].rpartition("-")[2]}</a> '


# -- memory ----------------------------------------------------------------------------------------


def memory_html(memory: Memory, links: bool = True) -> str:
    """The arena over the steps of a run, how much of it is live, and the caller's memory.

    links: whether steps lead to their kernels.
    """
    if not memory.steps:
        return '<p class="none">No kernel is called, so no memory is planned.</p>'
    beside = (
        f'<p class="note">Beside the arena a run has {count(memory.workspace, "byte")} of '
        "workspace, into which contractions pack their operands.</p>"
        if memory.workspace
        else ""
    )
    top = 26
    live_top = top + ARENA_HEIGHT + 34
    outside_top = live_top + (LIVE_HEIGHT + 30 if memory.live else 0)
    width = LEFT + STEP_WIDTH * len(memory.steps) + MARGIN
    height = outside_top + ROW_HEIGHT * len(memory.outside) + MARGIN
    parts = [_grid(memory, top, height, links), _axis(memory, top)]
    parts += [_span(memory, span, top) for span in memory.spans]
    parts += [_live(memory, live_top)] if memory.live else []
    parts += [
        _outside(memory, row, outside_top + ROW_HEIGHT * i) for i, row in enumerate(memory.outside)
    ]
    return (
        f'{beside}<div class="scroll canvas"><svg class="memory" role="group" '
        f'aria-label="memory over the steps of a run" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n'
        + "\n".join(parts)
        + "\n</svg></div>"
    )


def _x(step: int) -> int:
    return LEFT + STEP_WIDTH * step


def _grid(memory: Memory, top: int, height: int, links: bool) -> str:
    """A column for each step, with a link to its kernel."""
    parts = []
    for i, kernel in enumerate(memory.steps):
        text = (
            f'<text class="step" x="{_x(i) + STEP_WIDTH / 2:.0f}" y="16">'
            f"{memory.start + i}: k{kernel}</text>"
        )
        parts.append(f'<line class="grid" x1="{_x(i)}" y1="{top}" x2="{_x(i)}" y2="{height}"/>')
        parts.append(f'<a href="#k{kernel}">{text}</a>' if links else text)
    return "".join(parts)


def _axis(memory: Memory, top: int) -> str:
    """The ends of the arena's addresses; of a program with named sizes its slots."""
    bottom = top + ARENA_HEIGHT
    labels = [(top + 10, "arena offset 0"), (bottom, f"{memory.arena_bytes:,} bytes")]
    if memory.slots:
        height = ARENA_HEIGHT / len(memory.slots)
        labels = [
            (round(top + height * (i + 0.5)), _clipped(f"slot {i}: {text} B"))
            for i, text in enumerate(memory.slots[:ARENA_HEIGHT // 12])
        ]
    return "".join(
        f'<text class="label" x="{LEFT - 8}" y="{y}">{escape(text)}</text>' for y, text in labels
    ) + (
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{_x(len(memory.steps))}" y2="{bottom}"/>'
    )


def _span(memory: Memory, span: Span, top: int) -> str:
    scale = ARENA_HEIGHT / (len(memory.slots) or max(memory.arena_bytes, 1))
    x, y = _x(span.first) + 1, top + span.offset * scale
    width = STEP_WIDTH * (span.last - span.first + 1) - 2
    size = span.bytes if isinstance(span.bytes, int) and not memory.slots else 1
    height = max(size * scale - 1, LEAST_BAR)
    first, last = memory.start + span.first, memory.start + span.last
    words = [span.label, count(span.bytes, "byte"), f"steps {first} to {last}"]
    words += ["scratch of one kernel"] if span.kind == "scratch" else []
    words += [f"changed in place at step {memory.start + step}" for step in span.updates]
    marks = "".join(
        f'<circle class="inplace" cx="{_x(step) + STEP_WIDTH / 2:.0f}" '
        f'cy="{y + height / 2:.1f}" r="4"/>'
        for step in span.updates
    )
    label = ""
    if height >= 14:
        fits = width // 6
        text = f"{size_text(span.bytes)} B"
        shown = escape(text) if len(text) <= fits else ""
        label = f'<text x="{x + 6}" y="{y + 12:.1f}">{shown}</text>'
    return (
        f'<g class="span {span.kind}{colour(span.kernel)}" data-k="k{span.kernel}">'
        f'<title>{escape(chr(10).join(words))}</title><rect x="{x}" y="{y:.1f}" width="{width}" '
        f'height="{height:.1f}" rx="2"/>{marks}{label}</g>'
    )


def _live(memory: Memory, top: int) -> str:
    """Bytes in use at each step; the highest is the peak."""
    peak = max(memory.live, default=0)
    bottom = top + LIVE_HEIGHT
    bars = []
    for step, live in enumerate(memory.live):
        height = LIVE_HEIGHT * live / max(memory.arena_bytes, 1)
        bars.append(
            f'<rect class="live{" peak" if live == peak and peak else ""}" x="{_x(step) + 1}" '
            f'y="{bottom - height:.1f}" width="{STEP_WIDTH - 2}" height="{height:.1f}">'
            f"<title>step {memory.start + step}: {count(live, 'byte')} in use</title></rect>"
        )
    first = memory.live.index(peak)
    note = f"peak {count(peak, 'byte')} at step {memory.start + first}"
    return (
        f'<text class="label" x="{LEFT - 8}" y="{top + 12}">arena in use</text>'
        f'<text class="label" x="{LEFT - 8}" y="{top + 28}">{note}</text>{"".join(bars)}'
        f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{_x(len(memory.live))}" y2="{bottom}"/>'
    )


def _outside(memory: Memory, row: Outside, y: int) -> str:
    """A donated input or a result: dots where it is read, squares where it is written."""
    middle = y + ROW_HEIGHT / 2
    kind = "donated, overwritten in place" if row.kind == "donated" else "result of its own"
    words = f"{row.label}\n{count(row.bytes, 'byte')}\n{kind}"
    reads = _marks(row.reads, middle, "reads", len(memory.steps))
    writes = _marks(row.writes, middle, "writes", len(memory.steps))
    return (
        f'<g class="outside {row.kind}"><title>{escape(words)}</title>'
        f'<text class="label" x="{LEFT - 8}" y="{middle + 4:.0f}">{escape(_clip(row))}</text>'
        f'<line class="grid" x1="{LEFT}" y1="{middle}" x2="{_x(len(memory.steps))}" '
        f'y2="{middle}"/>{reads}{writes}</g>'
    )


def _clip(row: Outside) -> str:
    mark = "donated " if row.kind == "donated" else ""
    return _clipped(f"{mark}{row.label}")


def _clipped(text: str) -> str:
    return text if len(text) <= 38 else f"{text[:35]}..."


def _marks(steps: Sequence[int], y: float, kind: str, count_: int) -> str:
    assert all(0 <= step < count_ for step in steps)
    if kind == "reads":
        return "".join(
            f'<circle class="reads" cx="{_x(s) + STEP_WIDTH / 2 - 8:.0f}" cy="{y}" r="4"/>'
            for s in steps
        )
    return "".join(
        f'<rect class="writes" x="{_x(s) + STEP_WIDTH / 2 + 2:.0f}" y="{y - 4}" width="8" '
        f'height="8"/>'
        for s in steps
    )
