"""Which edit of a pass is the first after which a graph is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..ir.graph import Edit, Graph, Node, Value
from ..ir.location import describe
from .base import Pass

# What is wrong with a graph, as "expected X, got Y"; "" where nothing is.
Problem = Callable[[Graph], str]
# How two values of a graph that should be equal differ, in the same words.
Differ = Callable[[Graph, Value, Value], str]
MAX_LINES = 4  # of the user's program that a message lists


class _Stop(Exception):
    """Ends a pass that has made as many edits as it was allowed."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """The edit of a pass that makes a graph wrong.

    step: the pass. problem: what is wrong after the edit. number: of the edit, counted from 1 among
    the `count` that the pass makes; 0 where no edit is to blame but what the pass does after them,
    as with effects. reason: the edit's own, with the rule where one fired. old, new: the replaced
    node and the one in its place; of an update, the node before and after it.
    """

    step: str
    problem: str
    number: int
    count: int
    reason: str = ""
    old: Node | None = None
    new: Node | None = None

    @property
    def rule(self) -> str:
        """The name of the rule that fired; "" where the edit is no rule's."""
        return self.reason.partition(": ")[2].partition(" (")[0]

    def __str__(self) -> str:
        """One sentence, and the user's line that the replaced node comes from."""
        text = f"pass {self.step}: {self.problem}"
        if self.old is None or self.new is None:
            return f"{text}, from what it does besides its {self.count} edits"
        text = (
            f"{text}, from edit {self.number} of {self.count}, {self.reason!r}: "
            f"{_described(self.old)} became {_described(self.new)}"
        )
        lines = self.old.locations or self.new.locations
        return f"{text}\n{describe(lines[0])}" if lines else text


def find_culprit(
    step: Pass, before: Graph, problem: Problem, differ: Differ | None = None
) -> Culprit | None:
    """The first edit of a pass after which a graph is wrong; None where the pass leaves it right.

    before: the graph that the pass gets, on which `problem` finds nothing; it is left alone. The
    pass runs again for each step of a bisection over its edits, so it has to make the same ones
    each time. differ: where the two values of the edit found agree, it was but the last straw, and
    an earlier one whose values differ is to blame.
    """
    final, edits = _run(step, before)
    found = problem(final)
    if not found:
        return None
    good, bad = 0, len(edits)
    last = problem(_run(step, before, bad)[0]) if edits else ""
    if not last:
        return Culprit(step.name, found, 0, len(edits))
    while bad - good > 1:
        middle = (good + bad) // 2
        now = problem(_run(step, before, middle)[0])
        good, bad, last = (good, middle, now) if now else (middle, bad, last)
    if differ is not None:
        bad = _first_unequal(step, before, bad, differ) or bad
    return _named(step, before, bad, len(edits), last)


def _first_unequal(step: Pass, before: Graph, number: int, differ: Differ) -> int:
    """The edit itself, or else the first one up to it, whose values differ; 0 where all agree."""
    stopped, edits = _run(step, before, number)
    if differ(stopped, edits[-1].old, edits[-1].new):
        return number
    found: list[int] = []

    def look(graph: Graph, edit: Edit, position: int) -> bool:
        if differ(graph, edit.old, edit.new):
            found.append(position)
        return bool(found) or position == number

    _run(step, before, stop=look)
    return found[0] if found else 0


def _run(
    step: Pass,
    before: Graph,
    limit: int | None = None,
    stop: Callable[[Graph, Edit, int], bool] | None = None,
) -> tuple[Graph, list[Edit]]:
    """A copy of the graph after a pass, and its edits.

    limit, stop: the pass ends right after that many edits, or after one for which `stop` holds;
    what nothing reads any more is then still there.
    """
    work = before.copy()
    edits: list[Edit] = []

    def count(edit: Edit) -> None:
        edits.append(edit)
        if len(edits) == limit or (stop is not None and stop(work, edit, len(edits))):
            raise _Stop

    work.on_edit = count
    with suppress(_Stop):
        step.apply(work)
    work.on_edit = None
    return work, edits


def _named(step: Pass, before: Graph, number: int, count: int, problem: str) -> Culprit:
    stopped, edits = _run(step, before, number)
    edit = edits[-1]
    old = stopped[edit.old.node]
    if edit.old == edit.new and edit.old.node in before:
        old = before[edit.old.node]
    return Culprit(step.name, problem, number, count, edit.reason, old, stopped[edit.new.node])


def _described(node: Node) -> str:
    """A node in words: its op and types; of a kernel also its name, kind and source lines."""
    types = ", ".join(map(str, node.types))
    if node.op != "fused":
        return f"{node.op} ({types})" if types else node.op
    return f"kernel {node.name} ({node.attribute('kind')} of {members(node.attribute('body'))})"


def members(body: Graph) -> str:
    """The ops of a kernel's region in order, each with its line where that is known."""
    parts = []
    for key in body.order():
        node = body[key]
        if node.op != "input":
            parts.append(f"{node.op} {node.locations[0]}" if node.locations else node.op)
    left = len(parts) - 2 * MAX_LINES
    return ", ".join(parts[: 2 * MAX_LINES]) + (f" and {left} more" if left > 0 else "")
