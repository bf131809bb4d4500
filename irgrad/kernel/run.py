"""The slow meaning of a program: its kernels as they are defined, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir.dims import as_number, as_shape
from ..ir.types import DTYPES
from .evaluate import failed_checks
from .instantiate import instantiate
from .ir import Buffer
from .plan import ALIGNMENT
from .program import Program, Slot

FILL = 0xA5  # of memory that a program has not written


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind.

    results: the result leaves. inputs: the input arrays, of which donated ones may be overwritten.
    failures: (check, position) of every failed check. completed: False where guards failed, so
    that the later calls did not run.
    """

    results: tuple[np.ndarray, ...]
    inputs: tuple[np.ndarray, ...]
    failures: tuple[tuple[int, int], ...]
    completed: bool


def run_program(
    program: Program,
    arguments: Sequence[np.ndarray],
    dims: Mapping[str, int] | None = None,
) -> Outcome:
    """Run a program by the slow meaning of its kernels, on copies of the arguments.

    dims: the numbers behind the program's named sizes. Outputs and the arena start as garbage;
    every slot must lie inside of its memory.
    """
    program = instantiate(program, dims or {})
    inputs = [np.array(a, order="C").reshape(-1) for a in arguments]
    outputs = [_garbage(dtype, as_number(count)) for dtype, count in program.outputs]
    arena = np.full(program.arena_bytes, FILL, np.uint8)
    failures: list[tuple[int, int]] = []
    completed = True
    for position, call in enumerate(program.calls):
        kernel = program.kernels[call.kernel]
        memory = {
            buffer.name: _memory(slot, buffer, inputs, outputs, arena)
            for buffer, slot in zip(kernel.buffers, call.slots, strict=True)
        }
        failures += failed_checks(kernel, memory)
        if position + 1 == program.guard_calls and failures:
            completed = False
            break
    return Outcome(
        tuple(collect_results(program, inputs, outputs)),
        tuple(x.reshape(a.shape) for x, a in zip(inputs, arguments)),
        tuple(failures),
        completed,
    )


def collect_results(
    program: Program, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The result leaves, from the flat inputs and output buffers after a run."""
    return [
        (outputs if r.kind == "output" else inputs)[r.number].reshape(as_shape(r.shape))
        for r in program.results
    ]


def _garbage(dtype: str, count: int) -> np.ndarray:
    size = DTYPES[dtype].itemsize
    fill = np.full(count * size, 1 if dtype == "bool" else FILL, np.uint8)
    return fill.view(DTYPES[dtype].numpy)


def _memory(
    slot: Slot,
    buffer: Buffer,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    arena: np.ndarray,
) -> np.ndarray:
    """The elements of a buffer: exactly those, in an input, an output or the arena."""
    dtype = DTYPES[buffer.dtype].numpy
    if slot.kind == "arena":
        size = as_number(buffer.size) * dtype.itemsize
        assert slot.number % ALIGNMENT == 0 and slot.number + size <= arena.size
        return arena[slot.number : slot.number + size].view(dtype)
    array = (inputs if slot.kind == "input" else outputs)[slot.number]
    assert array.dtype == dtype and array.size == buffer.size
    return array
