"""Where in the user's program a node comes from."""

from __future__ import annotations

import linecache
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

MAX_SOURCE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Location:
    """One source line.

    file: path as Python knows it; line: counted from 1; function: the enclosing function's name;
    role: what the node is to that line, "" for the line itself or "gradient of".
    """

    file: str
    line: int
    function: str = ""
    role: str = ""

    def __str__(self) -> str:
        prefix = f"{self.role} " if self.role else ""
        return f"{prefix}{relative_path(self.file)}:{self.line}"

    def source(self) -> str:
        """The text of the line, or "" where the file is not at hand.

        Only regular files are read, of at most MAX_SOURCE bytes: IR text may name any path.
        """
        if self.file not in linecache.cache:
            try:
                found = os.stat(self.file)
            except (OSError, ValueError):
                return ""
            if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_SOURCE:
                return ""
        try:
            return linecache.getline(self.file, self.line).strip()
        except ValueError:  # it declares an encoding that it is not in
            return ""


def relative_path(file: str) -> str:
    """The path from the working directory where the file lies below it, else its last two parts."""
    if not os.path.isabs(file):
        return file
    try:
        here = os.getcwd() + os.sep
    except OSError:  # the working directory is gone
        here = file + os.sep
    if file.startswith(here):
        return file[len(here) :]
    return "/".join(file.replace(os.sep, "/").split("/")[-2:])


def gradient_of(locations: Iterable[Location]) -> tuple[Location, ...]:
    """The same lines, marked as the origin of a derivative."""
    return tuple(Location(x.file, x.line, x.function, "gradient of") for x in locations)


def merge(*groups: Iterable[Location]) -> tuple[Location, ...]:
    """All locations in order, each once; the first one stays primary."""
    return tuple(dict.fromkeys(x for group in groups for x in group))


def describe(location: Location) -> str:
    """The two lines that end an error message: file, line and function, then the line's text."""
    where = f'  File "{relative_path(location.file)}", line {location.line}'
    if location.function:
        where += f", in {location.function}"
    text = location.source()
    return f"{where}\n    {text}" if text else where
