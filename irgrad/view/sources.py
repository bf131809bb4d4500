"""The lines of the user's program that nodes come from, and the functions around them."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Mapping, Sequence

from ..ir.location import Location, relative_path
from .data import SourceFile, SourceLine

MAX_BLOCK = 400  # lines of a function that are shown whole
AROUND = 2  # lines beside a marked one, outside of functions and in long ones


class Sources:
    """Gives each source line its ident, in order of first appearance of its file.

    prefix: of all idents.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.files: dict[str, int] = {}
        self.marked: dict[str, Location] = {}

    def ident(self, location: Location) -> str:
        """The ident of a location's line."""
        number = self.files.setdefault(location.file, len(self.files))
        ident = self._name(number, location.line)
        self.marked.setdefault(ident, location)
        return ident

    def _name(self, file: int, line: int) -> str:
        return f"{self.prefix}s{file}-{line}"

    def idents(self, locations: Iterable[Location]) -> tuple[str, ...]:
        """The idents of some locations, each once."""
        return tuple(dict.fromkeys(map(self.ident, locations)))

    def files_shown(
        self, links: Mapping[str, Sequence[tuple[str, str]]]
    ) -> tuple[SourceFile, ...]:
        """The files cut down to what is marked. links: of each line, by ident."""
        found = []
        for file, number in self.files.items():
            marked = {x.line: x for x in self.marked.values() if x.file == file}
            texts = _texts(file, marked)
            blocks = [
                tuple(
                    SourceLine(
                        self._name(number, line), line, texts.get(line, ""),
                        tuple(links.get(self._name(number, line), ())),
                    )
                    for line in block
                )
                for block in _blocks(texts, sorted(marked))
            ]  # fmt: skip
            found.append(SourceFile(relative_path(file), tuple(blocks)))
        return tuple(found)


def _texts(file: str, marked: Mapping[int, Location]) -> dict[int, str]:
    """The lines of a file by number; none where it is not at hand, or not what was compiled."""
    if not any(location.source() for location in marked.values()):
        return {}
    lines = linecache.getlines(file)
    return {number: line.rstrip("\n") for number, line in enumerate(lines, 1)}


def _blocks(texts: Mapping[int, str], marked: Sequence[int]) -> list[list[int]]:
    """Line numbers to show: the outermost functions around marked lines, and lines elsewhere."""
    functions = _functions("\n".join(texts.values()))
    shown: set[int] = set()
    for line in marked:
        inside = next((f for f in functions or () if line in f), None)
        if inside is not None and len(inside) <= MAX_BLOCK:
            shown.update(inside)
        elif functions is None:  # no Python: no more than the line that was named
            shown.add(line)
        else:
            near = range(line - AROUND, line + AROUND + 1)
            shown.update(n for n in near if n in texts and (inside is None or n in inside))
            shown.add(line)
    blocks: list[list[int]] = []
    for line in sorted(shown):
        if blocks and line == blocks[-1][-1] + 1:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _functions(text: str) -> list[range] | None:
    """The lines of each outermost function and method, None where the text is no Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: list[range] = []
    work: list[ast.AST] = [tree]
    while work:
        for node in ast.iter_child_nodes(work.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found.append(range(start, (node.end_lineno or node.lineno) + 1))
            else:
                work.append(node)
    return sorted(found, key=lambda lines: lines.start)
