"""A program: kernels called in order on planned buffers, which a backend compiles."""

from __future__ import annotations

from dataclasses import dataclass

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
    """One kernel call: a slot for each of the kernel's buffers, locals included (arena slots)."""

    kernel: int
    slots: tuple[Slot, ...]


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
