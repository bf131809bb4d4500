"""Where the user's program stands: the lines that a traced operation comes from."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache, wraps
from types import FrameType, ModuleType
from typing import Any, ParamSpec, TypeVar

import networkx
import numpy as np
import optree

from ..errors import ArgumentError, IrgradError
from ..ir.location import Location, describe

P = ParamSpec("P")
R = TypeVar("R")
CALLERS = 3  # lines kept besides the innermost one


def _folder(module: ModuleType) -> str:
    assert module.__file__ is not None
    return os.path.dirname(module.__file__) + os.sep


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_COMMANDS = os.path.join(_PACKAGE, "tools") + os.sep
# A backend lies beside the package in a checkout and inside it once installed.
_OWN_FOLDERS = (
    _PACKAGE + os.sep,
    os.path.join(os.path.dirname(_PACKAGE), "backends") + os.sep,
    _folder(np),
    _folder(optree),
    _folder(networkx),
)


@cache
def is_user_file(file: str) -> bool:
    """Whether a source file belongs to the user: not to irgrad, nor to a library that it calls."""
    return not file.startswith(_OWN_FOLDERS) and not file.startswith("<frozen ")


@lru_cache(maxsize=4096)
def _location(file: str, line: int, function: str) -> Location:
    return Location(file, line, function)


def user_locations() -> tuple[Location, ...]:
    """The innermost line of the user's program that is being run, then up to 3 of its callers.

    Callers are followed only up to the next frame that is not the user's, which is where the trace
    began. Empty where no frame is the user's.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_COMMANDS):  # no program of the user's called it
            return ()
        frame = frame.f_back
    found: list[Location] = []
    while frame is not None and len(found) <= CALLERS:
        code = frame.f_code
        if not is_user_file(code.co_filename):
            break
        found.append(_location(code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return tuple(found)


def add_location(error: IrgradError, locations: tuple[Location, ...]) -> None:
    """Let the message of an error end with the user's line, unless it names a line already."""
    message = str(error)
    if locations and '\n  File "' not in message:
        error.args = (f"{message}\n{describe(locations[0])}",)


def ends_at_call(function: Callable[P, R]) -> Callable[P, R]:
    """Let the errors of a public function end with the line that calls it, unless they name one.

    A call that does not fit its parameters becomes an ArgumentError.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call_function(function, args, kwargs)
        except IrgradError as error:
            add_location(error, user_locations())
            raise

    return call


def call_function(f: Callable[..., R], args: Iterable[Any], kwargs: Mapping[str, Any]) -> R:
    """Call a function; ArgumentError where the arguments do not fit its parameters."""
    args = tuple(args)
    try:
        return f(*args, **kwargs)
    except TypeError as error:
        if isinstance(error, IrgradError):
            raise
        mismatch = _mismatch(f, args, kwargs, error)
        if mismatch is None:
            raise
        raise mismatch from error


def _mismatch(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: TypeError
) -> ArgumentError | None:
    """The error for arguments that do not fit the parameters of a function; None where they do.

    error: what the call raised. It stands for the mismatch where a built-in function, whose
    parameters are not known, has raised it itself.
    """
    name = getattr(f, "__name__", type(f).__name__)
    try:
        signature = inspect.signature(f, follow_wrapped=False)
    except (TypeError, ValueError):
        at_call = error.__traceback__ is not None and error.__traceback__.tb_next is None
        if not at_call:
            return None
        return ArgumentError(f"{name}: expected arguments that fit it, got other ones: {error}")
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        return ArgumentError(
            f"{name}: expected arguments that fit ({', '.join(signature.parameters)}), got other "
            f"ones: {mismatch}"
        )
    return None
