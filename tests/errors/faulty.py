"""The decorator that faulty programs carry, and what is known of each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faulty:
    """A program that must fail: with which error, and what the message names."""

    program: Callable[[], None]
    error: type[Exception]
    named: tuple[str, ...]

    def __call__(self) -> None:
        """Run the program."""
        self.program()

    def bad_line(self) -> str:
        """The text of the line that the error has to end on."""
        lines = inspect.getsource(self.program).splitlines()
        (bad,) = (line.strip() for line in lines if line.endswith("# BAD"))
        return bad


def faulty(
    error: type[Exception], *named: str
) -> Callable[[Callable[[], None]], Faulty]:
    """Mark a program as one that raises `error` with all of `named` in its message."""
    return lambda program: Faulty(program, error, named)
