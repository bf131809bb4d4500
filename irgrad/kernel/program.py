"""A program: kernels called in order on planned buffers, which a backend compiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..ir.shown import how_many, shown_html
from ..ops.size_guards import SizeGuard
from .slots import slot_offsets

if TYPE_CHECKING:
    from ..ir.dims import Size
    from ..ir.location import Location
    from .ir import Kernel


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value of the program lives.

    kind: "input" (number = position among the inputs of the graph), "output" (number = position
    among the buffers that the caller provides for results), "arena" (number = byte offset) or, in a
    program with named sizes, "slot" (number = position among its slots).
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
    shape: tuple[Size, ...]
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
    first calls hold all checks; no call before that writes an input. dims: the names that sizes
    depend on, in order. slots: of a program with named sizes, which has no arena_bytes of its own:
    for each slot of the arena the sizes in bytes that it holds in turn (see `slots`). size_guards:
    what the numbers behind the names have to fulfil, or the program must not run.
    """

    kernels: tuple[Kernel, ...]
    calls: tuple[Call, ...]
    inputs: tuple[tuple[str, Size], ...]
    outputs: tuple[tuple[str, Size], ...]
    results: tuple[Result, ...]
    arena_bytes: int
    written: frozenset[int] = frozenset()
    checks: tuple[CheckSite, ...] = ()
    guard_calls: int = 0
    dims: tuple[str, ...] = ()
    slots: tuple[tuple[Size, ...], ...] = ()
    size_guards: tuple[SizeGuard, ...] = ()

    def __repr__(self) -> str:
        from .listing import summary  # the listing needs this module's types

        return f"Program({summary(self)})"

    def __str__(self) -> str:
        from .listing import print_program

        return print_program(self)

    def _repr_html_(self) -> str:
        """Its calls, memory and kernels in a notebook."""
        return shown_html(self)

    def workspace_bytes(self, dims: Mapping[str, int]) -> int:
        """The size of the arena under `dims`; DimError for a name without a value."""
        return slot_offsets(self.slots, dims)[1] if self.slots else self.arena_bytes

    @property
    def work(self) -> Size:
        """Flops and bytes of all kernels, each counted once."""
        total: Size = 0
        for kernel in self.kernels:
            total = total + kernel.flops + kernel.bytes
        return total

    @property
    def whole(self) -> Program:
        """The program itself."""
        return self


class LateProgram:
    """A program whose code is at hand while its kernels are lowered when somebody asks for them.

    inputs, outputs, results, work, slots, size_guards: as in `Program`. lower: gives the program.
    """

    def __init__(
        self,
        inputs: tuple[tuple[str, Size], ...],
        outputs: tuple[tuple[str, Size], ...],
        results: tuple[Result, ...],
        work: Size,
        lower: Callable[[], Program],
        slots: tuple[tuple[Size, ...], ...] = (),
        size_guards: tuple[SizeGuard, ...] = (),
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.results = results
        self.work = work
        self.slots = slots
        self.size_guards = size_guards
        self._lower = lower

    def __repr__(self) -> str:
        return f"LateProgram({how_many(len(self.results), 'result')})"

    @cached_property
    def whole(self) -> Program:
        """The program with its kernels."""
        return self._lower()

    @property
    def checks(self) -> tuple[CheckSite, ...]:
        """The run-time checks, with the lines of the graph that was lowered just now."""
        return self.whole.checks
