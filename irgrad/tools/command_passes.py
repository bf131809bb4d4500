"""`irgrad passes`: what each pass does to a graph."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Edit, Graph
from ..passes.base import Pass
from ..passes.pipeline import pipeline
from ..runtime.report import explain_text
from .options import Numerics, NumericsOption, SourceArgument, SpecOption, VerboseOption
from .report import printable, reported, say
from .source import load_source
from .source_graph import read_graph

HELP = """List the passes that irgrad runs over a function, and what each one does.

Examples:

    irgrad passes model.py:loss --spec 'f32[8,784]' --spec 'f32[784,10]'

    irgrad passes graph.irg --numerics exact

A row for each pass has its name (the one that irgrad ir --stage takes), the nodes before and after
it, its edits, its milliseconds, and the rules that it used with how often: a rule of the class
exact keeps each bit, stable moves results by rounding, approximate by more. The list after the
table has, for each rule, the first line of the source that it touched.
"""


@dataclass(frozen=True, slots=True)
class PassRow:
    """What one pass did: nodes before and after, edits by reason, seconds."""

    name: str
    before: int
    after: int
    edits: Counter[str]
    seconds: float

    @property
    def rules(self) -> str:
        """The reasons of the edits without the name of the pass, each with its number."""
        return ", ".join(
            f"{reason.partition(': ')[2] or reason} x{count}"
            for reason, count in self.edits.most_common()
        )


def passes(
    source: SourceArgument,
    spec: SpecOption = None,
    numerics: NumericsOption = Numerics.stable,
    verbose: VerboseOption = False,
) -> None:
    """Print a table of the passes, then their rules."""
    with reported(verbose):
        graph = read_graph(load_source(source), spec or ())
        work = graph.copy()
        rows = run_rows(work, pipeline(numerics.value))
        say(f"{table(rows)}\n{printable_lines(explain_text(work))}")


def run_rows(graph: Graph, steps: Sequence[Pass]) -> list[PassRow]:
    """Run passes on a graph in place and tell what each one did."""
    rows: list[PassRow] = []
    names: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def count(edit: Edit) -> None:
        reasons[edit.reason] += 1

    graph.on_edit = count
    for step in steps:
        reasons.clear()
        names[step.name] += 1
        number = names[step.name]
        before, start = len(graph.order()), time.perf_counter()
        step.apply(graph)
        seconds = time.perf_counter() - start
        name = step.name if number == 1 else f"{step.name}.{number}"
        rows.append(PassRow(name, before, len(graph.order()), Counter(reasons), seconds))
    graph.on_edit = None
    return rows


def table(rows: Sequence[PassRow]) -> str:
    """The rows in aligned columns."""
    cells = [("pass", "nodes", "edits", "ms", "rules")]
    cells += [
        (row.name, f"{row.before} -> {row.after}", str(row.edits.total()),
         f"{row.seconds * 1e3:.1f}", row.rules)
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in cells) for i in range(4)]
    return "".join(
        "  ".join([
            line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in (1, 2, 3)), line[4]
        ]).rstrip() + "\n"
        for line in cells
    )  # fmt: skip


def printable_lines(text: str) -> str:
    """Lines that cannot move a terminal's cursor."""
    return "".join(printable(line) + "\n" for line in text.splitlines())
