"""A compiled program as something to call from Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import numpy as np

from irgrad.errors import ArgumentError, CheckError
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import DTYPES
from irgrad.kernel.program import Program, Result
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.boundary import is_plain

from .door import FRAME_HEADER, NOT_PLAIN, OK, Input, load_door, make_table
from .frames import Frame, FramePool
from .layout import layout_is_known

Leaves = Sequence[np.ndarray]
Call = Callable[[tuple[object, ...]], Leaves | None]
SHORT_WORK = 1 << 14  # flops and bytes of a call that is over before another thread could run


@dataclass(frozen=True, slots=True)
class Code:
    """Loaded machine code.

    address: of the entry. source: the text of a kernel in a form ("llvm", "asm"). seconds: compile
    time by phase. owner: what keeps the code in memory.
    """

    address: int
    source: Callable[[str, str], str]
    seconds: Mapping[str, float]
    owner: object


class Executable:
    """A program whose calls go through the door; see `irgrad.runtime.backend.Executable`."""

    def __init__(self, program: Program, graph: Graph, code: Code, arena_bytes: int) -> None:
        self.program = program
        self.arena_bytes = arena_bytes
        self.seconds = dict(code.seconds)
        self._code = code
        self._pool = FramePool(arena_bytes)
        self._inputs = _inputs(graph)
        self._captures = tuple(np.asarray(graph.captures[key]) for key in graph.inputs
                               if key in graph.captures)
        self._arguments = len(graph.inputs) - len(self._captures)
        self._output_types = _output_types(program)
        self.call = self._make_call()

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Where each result comes from; the same for all arguments, as shapes are fixed."""
        return self.program.results

    def source(self, form: str, kernel: str) -> str:
        """The code of one kernel, as LLVM or assembly text."""
        if form not in ("llvm", "asm"):
            raise ArgumentError(f"source: expected 'llvm' or 'asm', got {form!r}")
        return self._code.source(form, kernel)

    # -- calls -----------------------------------------------------------------------------------

    def _make_call(self) -> Call:
        """The call through the door; through Python where objects have an unknown layout."""
        copied = [i for i, array in enumerate(self._captures) if not _is_plain_now(array)]
        if layout_is_known():
            inner = self._through_door(copied)
        else:
            inner = self._through_python()
        if not copied:
            return inner
        captures = self._captures

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            return inner(arguments + tuple(_plain_copy(captures[i]) for i in copied))

        return call

    def _through_door(self, copied: Sequence[int]) -> Call:
        """The fast path. Captures at the positions `copied` arrive as further arguments."""
        door = load_door()
        order = [
            *range(self._arguments),
            *(self._arguments + i for i in copied),
            *(self._arguments + i for i in range(len(self._captures)) if i not in copied),
        ]
        first_capture = self._arguments + len(copied)
        inputs = [self._inputs[i] for i in order]
        table = make_table(
            self._code.address,
            [
                _captured(one, self._captures[i - self._arguments]) if n >= first_capture else one
                for n, (i, one) in enumerate(zip(order, inputs))
            ],
            order,
            len(self._output_types),
            release=_work(self.program) > SHORT_WORK,
        )
        return self._door_call(door.call, table)
