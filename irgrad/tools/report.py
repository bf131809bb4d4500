"""How the command line tells of errors: one line on stderr and an exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from ..errors import ArgumentError, FileError, IrgradError, ParseError

FAILED = 1  # the input or the program is at fault
MISUSED = 2  # as typer has it for unknown options
_PLACE = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+)', re.MULTILINE)


class UsageError(ArgumentError):
    """An argument of the command line is not of the form that its help describes."""


@contextmanager
def reported(verbose: bool) -> Iterator[None]:
    """Turn an error of irgrad into a line on stderr and an exit code, 2 for a UsageError, else 1.

    verbose: print all lines of its message.
    """
    try:
        yield
    except IrgradError as error:
        complain(error_text(error, verbose))
        raise typer.Exit(MISUSED if isinstance(error, UsageError) else FAILED) from None
    except MemoryError:
        complain("expected enough memory for the arrays, got too little")
        raise typer.Exit(FAILED) from None


def complain(text: str) -> None:
    """Print an error on stderr; where that is closed or full, the exit code alone tells of it."""
    if sys.stderr is not None:  # print would take stdout instead
        with suppress(OSError, ValueError):
            print(f"irgrad: error: {text}", file=sys.stderr)


def say(text: str) -> None:
    """Write text on stdout at once, with what its encoding cannot express as escapes.

    Raises FileError where it cannot be written, BrokenPipeError where nobody reads it any more.
    """
    try:
        if sys.stdout is None:
            raise ValueError("a closed file")
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise not_written(error) from None


def not_written(error: OSError | ValueError) -> FileError:
    """The error for a standard output that cannot be written."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FileError(f"standard output: expected to write it, got {why.lower()}")


def error_text(error: IrgradError, verbose: bool) -> str:
    """The message: its first line and the source line that it names, or all of it."""
    lines = [printable(line) for line in str(error).splitlines()] or [type(error).__name__]
    if verbose:
        return "\n".join(lines)
    place = _place(error)
    return f"{lines[0]} ({place})" if place and place not in lines[0] else lines[0]


def printable(text: str) -> str:
    """Text that cannot move a terminal's cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _place(error: IrgradError) -> str:
    """The file and line at the end of a message, as `file:line` or `file:line:column`."""
    found = list(_PLACE.finditer(str(error)))
    if not found:
        return ""
    place = f"{printable(found[-1]['file'])}:{found[-1]['line']}"
    return f"{place}:{error.column}" if isinstance(error, ParseError) else place
