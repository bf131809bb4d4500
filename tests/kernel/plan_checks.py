"""An independent check of a memory plan: whose bytes lie where, step by step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from irgrad.ir.graph import Graph
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Accumulate, Kernel, Store, walk
from irgrad.kernel.plan import Step
from irgrad.kernel.program import Call, Program, Slot
from irgrad.passes.lower import Lowered, lower, lower_steps, plan_steps

NOBODY, SCRATCH = -1, -2


def check_plan(fused: Graph) -> Program:
    """Follow every value of a fused graph through the memory of its program.

    Asserts that each kernel finds what it reads, that the buffers of a call do not overlap, that no
    input is written unless it is donated, and none before the guards are done, and that the
    results are there at the end.
    """
    lowered, _ = plan_steps(fused, lower_steps(fused))
    program = lower(fused)
    assert len(lowered.steps) == len(program.calls)
    memory = _Memory(program, lowered)
    for position, (step, call) in enumerate(zip(lowered.steps, program.calls)):
        kernel = program.kernels[call.kernel]
        slots = {b.name: slot for b, slot in zip(kernel.buffers, call.slots, strict=True)}
        sizes = {b.name: b.size * memory.itemsize(b.dtype) for b in kernel.buffers}
        memory.check_apart(slots, sizes)
        targets = _targets(step, kernel)
        names = [b.name for b in step.kernel.buffers]
        for name, storage in zip(names, step.reads):
            memory.check_holds(slots[name], sizes[name], storage)
        for buffer in kernel.buffers:
            if buffer.access == "local":
                memory.write(slots[buffer.name], sizes[buffer.name], SCRATCH)
        for name, storage in zip(names[len(step.reads) :], step.writes):
            target = targets.get(name, name)
            if slots[target].kind == "input":
                assert position >= program.guard_calls, "an input is written before the guards"
                assert slots[target].number in fused.signature.donated
                assert slots[target].number in program.written
            memory.write(slots[target], sizes[target], storage)
    for result, storage in zip(program.results, lowered.results, strict=True):
        slot = Slot("output" if result.kind == "output" else "input", result.number)
        memory.check_holds(slot, memory.bytes_of(slot), storage)
    _check_results(program)
    return program


def _check_results(program: Program) -> None:
    places = [(r.kind, r.number) for r in program.results if r.kind != "input"]
    assert len(set(places)) == len(places), "two results in one place"
    for call in program.calls:
        for slot in call.slots:
            assert slot.kind != "arena" or slot.number % 64 == 0


def _targets(step: Step, kernel: Kernel) -> Mapping[str, str]:
    """Which buffer of the planned kernel each buffer of the step's own kernel writes to."""
    return {
        a.buffer: b.buffer
        for a, b in zip(walk(step.kernel.body), walk(kernel.body), strict=True)
        if isinstance(a, Store | Accumulate) and isinstance(b, Store | Accumulate)
    }


class _Memory:
    """For each byte of inputs, outputs and arena, the storage whose value lies there."""

    def __init__(self, program: Program, lowered: Lowered) -> None:
        self.inputs = [
            np.full(count * self.itemsize(dtype), storage)
            for (dtype, count), storage in zip(program.inputs, lowered.inputs, strict=True)
        ]
        self.outputs = [
            np.full(count * self.itemsize(dtype), NOBODY) for dtype, count in program.outputs
        ]
        self.arena = np.full(program.arena_bytes, NOBODY)

    def itemsize(self, dtype: str) -> int:
        return DTYPES[dtype].itemsize

    def bytes_of(self, slot: Slot) -> int:
        return self._bytes(slot, None).size

    def _bytes(self, slot: Slot, size: int | None) -> np.ndarray:
        if slot.kind == "arena":
            assert size is not None and slot.number + size <= self.arena.size
            return self.arena[slot.number : slot.number + size]
        owner = (self.inputs if slot.kind == "input" else self.outputs)[slot.number]
        assert size is None or owner.size == size
        return owner

    def check_holds(self, slot: Slot, size: int, storage: int) -> None:
        found = set(self._bytes(slot, size).tolist()) - {storage}
        assert not found, f"{slot}: expected storage {storage}, got {found}"

    def check_apart(self, slots: Mapping[str, Slot], sizes: Mapping[str, int]) -> None:
        """No two buffers of a call share a byte."""
        names = [name for name in slots if sizes[name]]
        for i, a in enumerate(names):
            for b in names[:i]:
                x, y = slots[a], slots[b]
                if x.kind != y.kind:
                    continue
                if x.kind != "arena":
                    assert x.number != y.number, f"{a} and {b} are one buffer"
                else:
                    apart = x.number + sizes[a] <= y.number or y.number + sizes[b] <= x.number
                    assert apart, f"{a} and {b} overlap"

    def write(self, slot: Slot, size: int, storage: int) -> None:
        self._bytes(slot, size)[:] = storage


def calls_of(program: Program, name: str) -> list[Call]:
    """The calls of kernels whose name contains a word."""
    return [call for call in program.calls if name in program.kernels[call.kernel].name]
