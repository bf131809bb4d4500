"""`irgrad diff`: what changes in a graph from one stage of a compile to another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from ..driver import stage_graphs
from ..errors import ArgumentError, brief
from ..ir.compare import diff as graph_diff
from ..ir.graph import Edit, Graph, Value
from ..ir.printer import Style, value_labels
from ..passes.base import run_passes
from ..passes.pipeline import pipeline
from ..runtime.options import Options
from .command_passes import printable_lines
from .options import Numerics, NumericsOption, SourceArgument, SpecOption, VerboseOption
from .report import reported, say
from .source import load_source
from .source_graph import read_graph

HELP = """Show what changes in a function's graph from one stage of a compile to another.

Examples:

    irgrad diff model.py:loss traced simplify --spec 'f32[8,784]' --spec 'f32[784,10]'

    irgrad diff graph.irg simplify.2 fuse --context 0

    irgrad diff graph.irg

The stages are traced and the passes, as irgrad passes lists them; without names, traced and the
last one. Lines that begin with - are of the first stage, with + of the second one. A node that
lives on keeps its number of the first stage on both sides; a new one has a + in its number. A
comment names the rules that replaced or made a node.
"""
_LINE = re.compile(r"^(?P<mark>[-+])   %(?P<label>\+?[\w.]+)[ ,]")  # of a node of the graph itself


def diff(
    source: SourceArgument,
    first: Annotated[
        str, typer.Argument(metavar="[STAGE_A]", help="The earlier stage.")
    ] = "traced",
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[STAGE_B]", help="The later stage; the last one by default.",
            show_default=False,
        ),
    ] = None,
    spec: SpecOption = None,
    context: Annotated[
        int, typer.Option("--context", min=0, max=10**6, help="Unchanged lines around changes.")
    ] = 2,
    numerics: NumericsOption = Numerics.stable,
    verbose: VerboseOption = False,
) -> None:
    """Print the differences of two stages."""
    with reported(verbose):
        graph = read_graph(load_source(source), spec or ())
        stages = stage_graphs(graph, Options(numerics=numerics.value))
        names = (first, list(stages)[-1] if second is None else second)
        for name in names:
            if name not in stages:
                raise ArgumentError(
                    f"diff: expected stages among {', '.join(stages)}, got {brief(name)}"
                )
        places = [list(stages).index(name) for name in names]
        between = list(stages.items())[min(places) : max(places) + 1]
        edits = _edits_between(graph, numerics, *places)
        a, b = (stages[name] for name in names)
        pairs = same_nodes(a, b, edits)
        text = graph_diff(a, b, context, pairs)
        text = with_reasons(text, between, edits, pairs) if places[0] < places[1] else text
        say(printable_lines(text) or f"no difference between {' and '.join(names)}\n")


def _edits_between(graph: Graph, numerics: Numerics, first: int, second: int) -> list[Edit]:
    """The edits of the passes after one stage up to another; none where that is the earlier one."""
    work = graph.copy()
    counts = [0]
    run_passes(work, pipeline(numerics.value), [lambda step, now: counts.append(len(now.edits))])
    return work.edits[counts[first] : counts[second]]


def same_nodes(a: Graph, b: Graph, edits: Sequence[Edit]) -> dict[int, int]:
    """The nodes of two stages that are the same one, or where one took the other's place.

    edits: those that lead from `a` to `b`; copies of a graph keep the keys of its nodes.
    """
    order_a, order_b = a.order(), b.order()
    later = set(order_b)
    pairs = {key: key for key in order_a if key in later}
    free = later - pairs.keys() - set(b.inputs)
    for key in order_a:
        for result in range(len(a[key].types)):
            _, new = _followed(Value(key, result), edits)
            if key not in pairs and new.node in free:
                pairs[key] = new.node
                free.remove(new.node)
    return pairs


def _followed(value: Value, edits: Sequence[Edit]) -> tuple[list[str], Value]:
    """The reasons for which a value was replaced, one after the other, and the last one of it."""
    away = {edit.old: edit for edit in edits}
    reasons: list[str] = []
    seen = {value}
    while value in away and away[value].new not in seen:
        reasons.append(away[value].reason)
        value = away[value].new
        seen.add(value)
    return list(dict.fromkeys(reasons)), value


def with_reasons(
    text: str,
    between: Sequence[tuple[str, Graph]],
    edits: Sequence[Edit],
    pairs: Mapping[int, int],
) -> str:
    """The text of a difference with a comment after each node that is gone or new.

    between: the stages from the first to the second one, by name. edits: those that lead there.
    pairs: the nodes that both have.
    """
    first, last = between[0][1], between[-1][1]
    olds, news = _by_label(first), _by_label(last)
    lines = []
    for line in text.splitlines():
        found = _LINE.match(line)
        comment = ""
        if found is not None and found["mark"] == "-" and found["label"] in olds:
            comment = _fate(olds[found["label"]], between, edits, pairs)
        elif found is not None and found["label"].startswith("+"):
            key = news[found["label"][1:]].node
            made = [edit.reason for edit in edits if edit.new.node == key]
            comment = ", ".join(dict.fromkeys(made))
        lines.append(f"{line}  # {comment}" if comment else line)
    return "".join(line + "\n" for line in lines)


def _by_label(graph: Graph) -> dict[str, Value]:
    labels: Mapping[Value, str] = value_labels(graph, graph.order(), Style())
    return {label[1:]: value for value, label in labels.items()}


def _fate(
    value: Value,
    between: Sequence[tuple[str, Graph]],
    edits: Sequence[Edit],
    pairs: Mapping[int, int],
) -> str:
    """The rules that replaced a value and what it became, or the pass after which it is gone."""
    first, last = between[0][1], between[-1][1]
    reasons, new = _followed(value, edits)
    if reasons:
        labels = value_labels(first, first.order(), Style())
        twin = next((Value(key, new.result) for key, to in pairs.items() if to == new.node), value)
        now = labels.get(twin, "") if twin != value else ""
        now = now or (last[new.node].op if new.node in last else "")
        return ", ".join(reasons) + (f": now {now}" if now else "")
    gone = next((name for name, graph in between if value.node not in graph), "")
    return "" if not gone else "fuse: in a kernel" if gone == "fuse" else f"gone after {gone}"
