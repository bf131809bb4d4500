"""What the command line works on: a function in a Python file, or a graph in IR text."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from ..errors import ArgumentError, FileError, IrgradError, brief
from ..ir.graph import Graph
from ..ir.lexer import MAX_TEXT
from ..ir.location import Location, describe
from ..ir.parser import parse
from ..runtime.compiled import Compiled
from .files import check_input, read_text
from .report import UsageError, printable

MODULE = "__irgrad_source__"  # the name under which a file is imported
MAX_FILE = 2**24  # bytes of a Python file
MAX_SAID = 300  # characters of the message of an exception
TEXT = ".irg"


@dataclass(frozen=True, slots=True)
class Source:
    """A loaded SOURCE.

    label: how messages call it. what: the graph, or the function or jitted function.
    """

    label: str
    what: Any

    @property
    def graph(self) -> Graph | None:
        """The graph, where it does not have to be traced."""
        if isinstance(self.what, Graph):
            return self.what
        return self.what.graph if isinstance(self.what, Compiled) else None

    @property
    def file(self) -> str:
        """The path of its file."""
        return source_file(self.label)


def source_file(text: str) -> str:
    """The path in the text of a SOURCE."""
    return text if text.endswith(TEXT) else text.rpartition(":")[0]


def load_source(text: str) -> Source:
    """Load what `file.py:function` or `graph.irg` names; a Python file is run as an import would.

    Raises UsageError for text of another form, FileError for a file that is missing or does
    not hold what it should, ParseError or LimitError for what the IR text holds.
    """
    if text.endswith(TEXT):
        return Source(text, _read_graph(text))
    file, colon, name = text.rpartition(":")
    if not colon or not file or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"SOURCE: expected file.py:function or a file of IR text that ends in {TEXT}, got "
            f"{brief(text)}"
        )
    return Source(text, _find(file, name))


def _read_graph(path: str) -> Graph:
    return parse(read_text(path, "a file of IR text", MAX_TEXT), path)


def _find(file: str, name: str) -> Any:
    found: Any = _import(file)
    shown = printable(file)
    for part in name.split("."):
        with user_code(f"{shown}: expected a function that the file defines", ArgumentError, file):
            there = hasattr(found, part)
        if not there:
            near = difflib.get_close_matches(part, _callables(found), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ArgumentError(
                f"{shown}: expected a function that the file defines, got {brief(name)}{hint}"
            )
        with user_code(f"{shown}: expected a function that the file defines", ArgumentError, file):
            found = getattr(found, part)
    if not callable(found) and not isinstance(found, Graph):
        raise ArgumentError(
            f"{shown}: expected {name} to be a function, got {type(found).__name__}"
        )
    return found


def _callables(holder: Any) -> list[str]:
    """The public names of what can be called in a module or class."""
    names = vars(holder).items() if isinstance(holder, (ModuleType, type)) else ()
    return [k for k, v in names if isinstance(k, str) and callable(v) and not k.startswith("_")]


def _import(file: str) -> ModuleType:
    """The module of a file, run with its folder on the path, as `python file.py` would.

    The text itself is compiled, never a cached form of it, which could be out of date.
    """
    check_input(file, "a Python file", MAX_FILE)
    loader = SourceFileLoader(MODULE, file)
    spec = importlib.util.spec_from_file_location(MODULE, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    folder = os.path.dirname(os.path.abspath(file))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    message = f"{printable(file)}: expected a Python file that can be imported"
    with user_code(message, FileError, file):
        exec(loader.source_to_code(loader.get_data(file), file), module.__dict__)
    return module


@contextlib.contextmanager
def user_code(message: str, kind: type[IrgradError], file: str) -> Iterator[None]:
    """Run the user's code: what it prints goes to stderr, what it raises becomes a `kind`.

    An error of irgrad and Ctrl-C pass through.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (IrgradError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's program may raise anything
        got = ": ".join([type(error).__name__, *_said(error)])
        raise kind(f"{message}, got {got}\n{describe(_where(error, file))}") from None


def _said(error: BaseException) -> list[str]:
    """The first line of an exception's message, or none where it has no text."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # the user's own class may fail at its message
        return []
    return [line[:MAX_SAID] for line in text.splitlines()[:1]] if isinstance(text, str) else []


def _where(error: BaseException, file: str) -> Location:
    """The line of the user's file that an exception comes from."""
    if isinstance(error, SyntaxError) and isinstance(error.filename, str):
        line = error.lineno if isinstance(error.lineno, int) else 1
        return Location(error.filename, max(line, 1))
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    return Location(file, lines[-1] if lines else 1)
