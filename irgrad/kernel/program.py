"""A program: kernels called in order on planned buffers, which a backend compiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..ir.location import Location
    from .ir import Kernel


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value of the program lives.

    kind: "input" (number = position among the inputs of the graph), "output" (number = position
    among the buffers that the caller provides for results) or "arena" (number = byte offset).
    """

    kind: str
    number: int


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel call: a slot for each of the kernel's buffers, locals included (arena slots).

    origin: the source lines that it computes, which are no part of its meaning: equal kernels from
    different lines are one.
    """

    kernel: int
    slots: tuple[Slot, ...]
    origin: tuple[Location, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """Where result leaf i of the function comes from.

    kind: "output" (output buffer `number`), "donated" (the array of input `number` is returned) or
    "input" (a copy of input `number` is returned). shape and dtype are those of the returned array.
    """

    kind: str
    number: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class CheckSite:
    """A run-time check: its message and the description of the user's line."""

    message: str
    line: str


@dataclass(frozen=True, slots=True)
class Program:
    """A lowered and planned graph.

    inputs and outputs: (dtype, elements) of each buffer that the caller provides. results: one for
    each output leaf. arena_bytes: size of the one arena, whose slots are 64-byte aligned. written:
    positions of inputs that calls write (donated ones). checks: by number. guard_calls: how many
    first calls hold all checks; no call before that writes an input.
    """

    kernels: tuple[Kernel, ...]
    calls: tuple[Call, ...]
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    results: tuple[Result, ...]
    arena_bytes: int
    written: frozenset[int] = frozenset()
    checks: tuple[CheckSite, ...] = ()
    guard_calls: int = 0

    @property
    def work(self) -> int:
        """Flops and bytes of all kernels, each counted once."""
        return sum(kernel.flops + kernel.bytes for kernel in self.kernels)

    @property
    def whole(self) -> Program:
        """The program itself."""
        return self


class LateProgram:
    """A program whose code is at hand while its kernels are lowered when somebody asks for them.

    inputs, outputs, results, work: as in `Program`. lower: gives the program.
    """

    def __init__(
        self,
        inputs: tuple[tuple[str, int], ...],
        outputs: tuple[tuple[str, int], ...],
        results: tuple[Result, ...],
        work: int,
        lower: Callable[[], Program],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.results = results
        self.work = work
        self._lower = lower

    @cached_property
    def whole(self) -> Program:
        """The program with its kernels."""
        return self._lower()

    @property
    def checks(self) -> tuple[CheckSite, ...]:
        """The run-time checks, with the lines of the graph that was lowered just now."""
        return self.whole.checks
