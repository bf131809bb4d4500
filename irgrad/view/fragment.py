"""Elements of HTML for notebooks: rows of code and tables beside the source lines that they are of.

An element brings its styles, which are those of its own class alone, needs nothing from outside,
and has no script: what belongs together is shown by the style of what the pointer is on. Its size
is bounded, whatever it shows, and it says what it leaves out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from ..ir.location import Location
from ..ir.shown import how_many
from .data import SourceLine
from .markup import escape
from .sources import Sources

MAX_ROWS = 240  # of code in one element
MAX_TEXT = 240  # characters of a row
MAX_PLACES = 6  # source lines of a row
MAX_SOURCE = 160  # source lines of an element
MAX_TABLE = 60  # rows of a table
PREFIX = "\ue000"  # stands for what makes the idents of an element its own; never in escaped text
_LINK = re.compile(r' href="#([^"]*)"')


@dataclass(slots=True)
class Budget:
    """How many rows of code are still to be shown."""

    left: int = MAX_ROWS


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: cells as HTML, and the source lines that it is of."""

    cells: tuple[str, ...]
    origin: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class Fragment:
    """One element while it is made. sources: the source lines that its parts have named."""

    sources: Sources = field(default_factory=lambda: Sources(f"{PREFIX}-"))

    # -- parts -----------------------------------------------------------------------------------

    def code_row(self, text: str, origin: Sequence[Location] = ()) -> str:
        """A line of code with a link to its first source line; the others are in its tooltip."""
        link = self._link(origin, str(origin[0].line)) if origin else ""
        return (
            f'<div class="l"{self._attributes(origin)}><i>{link}</i>'
            f"<code>{escape(clipped(text))}</code></div>"
        )

    def place(self, origin: Sequence[Location]) -> str:
        """The first source line as a cell, and how many more there are."""
        if not origin:
            return "-"
        more = f" and {len(origin) - 1} more" if len(origin) > 1 else ""
        return self._link(origin, str(origin[0])) + more

    def table(self, head: Sequence[str], rows: Sequence[Row]) -> str:
        """A table; names in `head` that start with # are those of numbers."""
        names = "".join(
            f'<th class="num">{name[1:]}</th>' if name[0] == "#" else f"<th>{name}</th>"
            for name in head
        )
        lines = []
        for row in rows[:MAX_TABLE]:
            cells = "".join(
                f'<td class="num">{cell}</td>' if name[0] == "#" else f"<td>{cell}</td>"
                for name, cell in zip(head, row.cells, strict=True)
            )
            lines.append(f"<tr{self._attributes(row.origin)}>{cells}</tr>")
        rest = left_out(len(rows) - MAX_TABLE, "row")
        return (
            f'<div class="scroll"><table><thead><tr>{names}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>{rest}"
        )

    def _link(self, origin: Sequence[Location], text: str) -> str:
        return f'<a href="#{self.sources.ident(origin[0])}">{escape(clipped(text))}</a>'

    def _attributes(self, origin: Sequence[Location]) -> str:
        if not origin:
            return ""
        idents = self.sources.idents(origin[:MAX_PLACES])
        more = [f"and {len(origin) - MAX_PLACES} more"] if len(origin) > MAX_PLACES else []
        title = "\n".join([*(f"{x}: {clipped(x.source())}" for x in origin[:MAX_PLACES]), *more])
        return f' data-l="{" ".join(idents)}" title="{escape(title)}"'

    # -- the whole -------------------------------------------------------------------------------

    def element(self, title: str, facts: Iterable[str], body: str) -> str:
        """The element: a headline, the source lines that were named, and the body."""
        pane, shown, marked = self._source_pane()
        head = f"<b>{escape(clipped(title))}</b>"
        head += "".join(f"<span>{escape(clipped(fact))}</span>" for fact in facts)
        body = _LINK.sub(lambda link: link[0] if link[1] in shown else "", body)
        rules = "\n".join(_rule(ident) for ident in marked)
        style = files(__package__).joinpath("notebook.css").read_text(encoding="utf-8")
        inner = (
            f'<p class="head">{head}</p><div class="panes">{pane}'
            f'<div class="main">{body}</div></div>'
        )
        digest = hashlib.sha256(inner.encode(errors="surrogatepass")).hexdigest()[:10]
        whole = f'<div class="irgrad-view"><style>\n{style}{rules}\n</style>{inner}</div>'
        return whole.replace(PREFIX, f"irg{digest}")

    def _source_pane(self) -> tuple[str, frozenset[str], list[str]]:
        """The source lines, the idents of those that are there, and of those that rows are of."""
        found = [
            (file.name, line)
            for file in self.sources.files_shown({})
            for block in file.blocks
            for line in block
        ]
        if not found:
            return "", frozenset(), []
        wanted = [x for x in found if x[1].ident in self.sources.marked]
        if len(found) > MAX_SOURCE:  # without what is around the lines
            found = wanted[:MAX_SOURCE]
        shown = {line.ident for _, line in found}
        marked = [line.ident for _, line in wanted if line.ident in shown]
        parts: list[str] = []
        name = None
        for file, line in found:
            if file != name:
                parts.append(f'<div class="file">{escape(clipped(file))}</div>')
            name = file
            parts.append(_source_line(line, line.ident in self.sources.marked))
        rest = left_out(len(wanted) - len(marked), "source line")
        pane = f'<div class="source">{"".join(parts)}{rest}</div>'
        return pane, frozenset(shown), marked


def clipped(text: str) -> str:
    """A text of at most MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def left_out(count: int, what: str) -> str:
    """A note of how many things are not shown, nothing where all are."""
    return f'<div class="gap">{how_many(count, what)} left out</div>' if count > 0 else ""


def folded(title: str, body: str, opened: bool = False) -> str:
    """A part that can be opened."""
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(clipped(title))}</summary>{body}</details>"


def _source_line(line: SourceLine, marked: bool) -> str:
    data = f' id="{line.ident}" data-s="{line.ident}"' if marked else ""
    return (
        f'<div class="s"{data}><i>{line.number}</i><code>{escape(clipped(line.text))}</code></div>'
    )


def _rule(ident: str) -> str:
    """The style of a source line and of what is of it while the pointer is on one of them."""
    row, line = f'[data-l~="{ident}"]', f'[data-s="{ident}"]'
    on = (f".irgrad-view:has({row}:hover) {line}", f".irgrad-view:has({line}:hover) {row}")
    return f"{on[0]}, {on[1]} {{ background: rgba(255, 196, 0, .35); }}\n" + (
        f"{on[1]} rect {{ fill: rgba(255, 196, 0, .5); }}"
    )
