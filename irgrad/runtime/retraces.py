"""Why jitted functions were compiled: one record for each compile, and all of them as text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from ..ir.location import Location
from ..ir.shown import how_many, short, shown_html
from .differences import Change

LOGGER = "irgrad"
HINT = 'sizes with names need one compile: jit(specs=("f32[n,784]", ...))'
MAX_CHANGES = 8  # that a record keeps and shows


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a compile was needed.

    changes: what differs from the nearest earlier compile, the one with the fewest differences; at
    most MAX_CHANGES of them, and `more` others. nearest: the number of that compile, 0 where there
    is none.
    """

    changes: tuple[Change, ...] = ()
    more: int = 0
    nearest: int = 0

    @property
    def is_sizes(self) -> bool:
        """Whether sizes alone differ, in shapes of the same rank."""
        same = (x.kind == "shape" and _rank(x.old) == _rank(x.new) for x in self.changes)
        return bool(self.changes) and not self.more and all(same)

    def __str__(self) -> str:
        if not self.nearest:
            return "first call"
        if not self.changes:
            return "variables changed while it was compiled"
        listed = ", ".join(map(str, self.changes))
        return f"{listed} and {self.more} more" if self.more else listed


def _rank(shape: str) -> int:
    """The rank of a shape in words, as "[2, 3]"."""
    return 0 if shape == "[]" else shape.count(",") + 1


def make_cause(changes: Sequence[Change], nearest: int) -> Cause:
    """The cause that consists of these changes."""
    return Cause(tuple(changes[:MAX_CHANGES]), max(0, len(changes) - MAX_CHANGES), nearest)


@dataclass(frozen=True, slots=True)
class Retrace:
    """One compile of a jitted function.

    function: its name. number: of the compile, counted from 1, the first one, which is no retrace.
    cause: what has changed. location: the line of the user's program that called it. seconds: what
    tracing and compiling took.
    """

    function: str
    number: int
    cause: Cause
    location: Location | None
    seconds: float

    def __repr__(self) -> str:
        return f"Retrace({short(self.function)}, compile {self.number})"

    def __str__(self) -> str:
        what = f"retrace {self.number - 1}" if self.number > 1 else "compile"
        where = f" at {self.location}" if self.location else ""
        near = f" (compared with compile {self.cause.nearest})" if self.cause.nearest else ""
        return f"{self.function}: {what} took {self.seconds:.3f} s{where}: {self.cause}{near}"


class History:
    """The compiles of one jitted function in order.

    function: its name. definition: the line where it is defined, if it has one.
    """

    def __init__(self, function: str, definition: Location | None) -> None:
        self.function = function
        self.definition = definition
        self.records: list[Retrace] = []
        _HISTORIES[id(self)] = self

    @property
    def seconds(self) -> float:
        """What all compiles took."""
        return sum(record.seconds for record in self.records)

    def __repr__(self) -> str:
        return f"History({short(self.function)}, {how_many(len(self.records), 'compile')})"

    def _repr_html_(self) -> str:
        """Its compiles and their reasons in a notebook."""
        return shown_html(self)

    def __str__(self) -> str:
        records = list(self.records)
        count = len(records)
        defined = f" ({self.definition})" if self.definition else ""
        total = f"{count} compile{'s' * (count != 1)}, {self.seconds:.3f} s"
        lines = [f"{self.function}{defined}: {total}"]
        for record in records:
            where = f"  {_called_at(record.location)}" if record.location else ""
            lines.append(f"  compile {record.number}: {record.seconds:.3f} s{where}")
            lines += [f"    {line}" for line in _cause_lines(record.cause)]
        if any(record.cause.is_sizes for record in records):
            lines.append(f"  {HINT}")
        return "\n".join(lines)


# Jitted functions own their histories; this only finds the ones that are alive, in the order in
# which the functions were made, so that `explain_retraces()` can list them.
_HISTORIES: Final[WeakValueDictionary[int, History]] = WeakValueDictionary()


def log_compile(record: Retrace) -> None:
    """Write a compile to the logger "irgrad": a retrace at level INFO, the first one at DEBUG."""
    level = logging.INFO if record.number > 1 else logging.DEBUG
    logging.getLogger(LOGGER).log(level, "%s", record)


def histories_text(function: History | None = None) -> str:
    """The compiles of one function, or of all that are alive, those compiled once as a count."""
    if function is not None:
        return f"{function}\n"
    alive = [found for ref in _HISTORIES.valuerefs() if (found := ref()) is not None]
    again = [history for history in alive if len(history.records) > 1]
    once = sum(len(history.records) == 1 for history in alive)
    kept = f"{once} other function{'s' * (once != 1)} compiled once"
    lines = [*map(str, again), *([kept] if once and again else [])]
    if not again:
        lines = [f"no retraces: {once} function{'s' * (once != 1)} compiled once"]
    return "\n".join(lines) + "\n"


def _called_at(location: Location) -> str:
    source = location.source()
    return f"{location}: {source}" if source else str(location)


def _cause_lines(cause: Cause) -> list[str]:
    """One line for each change."""
    if not cause.changes:
        return [str(cause)]
    lines = [f"{change}" for change in cause.changes]
    if cause.more:
        lines.append(f"and {cause.more} more")
    lines[0] += f"  (compared with compile {cause.nearest})"
    return lines
