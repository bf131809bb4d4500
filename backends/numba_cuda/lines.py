"""Lines of source under construction, with nesting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Stands before what all threads of a block do together; the emulator has `yield` there.
MEETING = "\0"


class Lines:
    """Lines of a function's body."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._depth = 0

    def add(self, line: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self._depth + line)

    @contextmanager
    def under(self, head: str) -> Iterator[None]:
        """Lines in the body of a statement such as a loop; `pass` where there are none."""
        self.add(f"{head}:")
        self._depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.add("pass")
        self._depth -= 1
