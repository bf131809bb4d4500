"""Every public exception of irgrad.

A message starts with the operation or argument it is about, says "expected X, got Y", and ends with
the line of the user's program that caused it, where that is known.
"""

from __future__ import annotations

import reprlib


class IrgradError(Exception):
    """Base class of all errors raised on purpose by irgrad."""


class TraceError(IrgradError):
    """A traced value was used as a trace cannot record; the message says what to write."""


class MissingError(TraceError, AttributeError):
    """An attribute of ndarray, or of anything else, that traced values do not have."""


class ShapeError(IrgradError, ValueError):
    """Shapes, axes or indices of an operation do not fit together."""


class DTypeError(IrgradError, TypeError):
    """The dtypes of an operation's operands are not accepted by it."""


class DimError(IrgradError, ValueError):
    """A relation between symbolic sizes cannot be proved, or a size is used as a plain number."""


class ParseError(IrgradError, ValueError):
    """IR text does not follow the grammar; carries `line` and `column`, counted from 1."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class VerifyError(IrgradError):
    """A graph or kernel breaks an invariant of its level."""


class DifferentiationError(IrgradError):
    """A derivative was asked for that does not exist or is not linear where it must be."""


class ArgumentError(IrgradError, TypeError):
    """An argument of a public function or of a compiled function is of the wrong kind or value."""


class DonationError(IrgradError, ValueError):
    """A donated array overlaps another argument or cannot be written."""


class CheckError(IrgradError):
    """A predicate of `irgrad.check` was false at run time, or a compiler check found a fault."""


class LoweringError(IrgradError):
    """A graph holds something that the chosen target cannot compile."""


class BackendError(IrgradError):
    """A backend is unknown, not installed, or cannot run on this machine."""


class LimitError(IrgradError):
    """An input is larger or deeper than what irgrad accepts."""


class FileError(IrgradError, OSError):
    """A file cannot be read or written, or does not hold what it should."""


class CacheError(IrgradError, OSError):
    """The folder named for compiled code is not the user's alone, or its bound is no number."""


class NonFiniteError(IrgradError, FloatingPointError):
    """A result is NaN or infinite under `debug_nan`; tells what made it.

    op: the operation, or the argument that held it. index: of the element that it made. inputs:
    elements of its operands, each an index and a value. location: the user's line, None where there
    is none; its role is "gradient of" where the operation is part of a derivative.
    """

    def __init__(
        self,
        message: str,
        op: str = "",
        index: tuple[int, ...] = (),
        inputs: tuple[tuple[tuple[int, ...], complex], ...] = (),
        location: object = None,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.index = index
        self.inputs = inputs
        self.location = location


class InternalError(IrgradError):
    """irgrad broke one of its own invariants; please report it with the message."""


def brief(value: object, limit: int = 40) -> str:
    """The repr of a value, as messages quote it: at most `limit` characters, of a longer one the
    start and "...".

    Nested and long containers are cut before they are written, so any value is quick to quote.
    """
    writer = reprlib.Repr()
    writer.maxother = writer.maxstring = limit
    try:
        text = writer.repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit - 3]}..."
