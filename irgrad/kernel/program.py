"""A program: kernels called in order on planned buffers. What a backend compiles and a runtime runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .ir import Kernel


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value of the program lives.

    kind: "input" (number = position among the graph's inputs), "output" (number = position among the
    buffers that the caller provides for results) or "arena" (number = byte offset in the arena).
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

    inputs and outputs: (dtype, elements) of each caller-provided buffer; written: positions of inputs
    that calls write (donated). results: one for each output leaf. arena_bytes: size of the one
    arena, 64-byte aligned slots. checks: by number. Donated inputs are only written by calls at
    position `first_write` or later, after every check.
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
    kernel_nodes: Mapping[int, int] = field(default_factory=dict)
