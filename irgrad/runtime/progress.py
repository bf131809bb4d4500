"""How far a compile is: told to a callback, and to a terminal where it takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

OnProgress = Callable[[str, int, int], object]
LONG = 2.0  # seconds after which the terminal shows a line
CLEAR = "\r\x1b[K"


class Progress:
    """Passes the steps of one compile on; used as a context, at whose end the line is taken away.

    It is called with a phase ("passes", "lower", "kernels", "optimise"), the number of its steps
    that are done, and how many it has. What the callback raises ends the compile.
    """

    def __init__(
        self,
        name: str,
        callback: OnProgress | None,
        stream: TextIO | None,
        before: float = 0.0,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        """name: of what is compiled. stream: gets the line if it is an open terminal. before:
        seconds that the compile took before this."""
        self.name = name
        self._callback = callback
        shown = stream is not None and not stream.closed and stream.isatty()
        self._terminal = stream if shown else None
        self._now = now
        self._start = now() - before
        self._shown = False

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Tell of one step."""
        if self._callback is not None:
            self._callback(phase, done, total)
        if self._terminal is None:
            return
        seconds = self._now() - self._start
        if seconds > LONG:
            line = f"irgrad: compiling {self.name}: {phase} {done} of {total}, {seconds:.0f} s"
            self._terminal.write(CLEAR + line)
            self._terminal.flush()
            self._shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown and self._terminal is not None:
            self._terminal.write(CLEAR)
            self._terminal.flush()
            self._shown = False


def no_progress(phase: str, done: int, total: int) -> None:
    """The callback that nobody listens to."""
