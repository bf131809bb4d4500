"""Figures that are no accident: kernels, memory, source lines. Each may change on purpose alone."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import optree
import pytest
from golden_programs import PROGRAMS, compiled, random_leaves, stages

from irgrad.backends.numba_cpu.runtime.door import FRAME_HEADER
from irgrad.backends.numba_cpu.runtime.frames import ALIGNMENT, Frame
from irgrad.interpret import interpret
from irgrad.kernel.ir import Contract

SPARE = 1 << 14


@dataclass(frozen=True, slots=True)
class Counts:
    """kernels: of forward and backward together. arena: bytes at the tiny and the large sizes.
    donated: results that lie in arrays of the caller's."""

    kernels: int
    arena: int
    large_arena: int
    donated: int = 0


COUNTS = {
    "gelu_gate": Counts(1, 0, 0),
    "softmax": Counts(1, 64, 4_032),
    "layer_norm": Counts(1, 128, 12_352),
    "cross_entropy": Counts(2, 128, 4_160),
    "training_step": Counts(11, 640, 152_704, donated=13),
    "matmuls": Counts(2, 0, 0),
    "reductions": Counts(7, 128, 16_384),
    "movement": Counts(3, 192, 99_648),
    "safe_root": Counts(1, 0, 0),
    "checked": Counts(3, 64, 4_096),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_and_arena(name: str) -> None:
    tiny, large = stages(name).program, stages(name, large=True).program
    donated = sum(result.kind == "donated" for result in tiny.results)
    found = Counts(len(tiny.kernels), tiny.arena_bytes, large.arena_bytes, donated)
    assert found == COUNTS[name]
    assert len(tiny.calls) == len(tiny.kernels) == len(large.kernels)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_kernel_knows_its_lines(name: str) -> None:
    for kernel in compiled(name).kernels:
        assert kernel.origin, kernel.name
        for location in kernel.origin:
            assert location.file.endswith("golden_programs.py"), (kernel.name, location)
            assert location.source()


@dataclass(slots=True)
class Frames:
    """Stands for the class Frame: makes frames with spare room behind, all filled with a byte."""

    fill: int
    made: list[tuple[int, Frame]]

    def __call__(self, arena_bytes: int) -> Frame:
        frame = Frame(arena_bytes + SPARE)
        ctypes.memset(frame.address + FRAME_HEADER, self.fill, arena_bytes + SPARE)
        self.made.append((arena_bytes, frame))
        return frame

    def touched(self) -> int:
        """The end of the part that calls have changed in any frame, from the arena's start."""
        ends = [0]
        for arena_bytes, frame in self.made:
            start = frame.address + FRAME_HEADER
            memory = np.frombuffer(ctypes.string_at(start, arena_bytes + SPARE), np.uint8)
            ends += [int(i) + 1 for i in np.flatnonzero(memory != self.fill)[-1:]]
        return max(ends)


def run_in(name: str, fill: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Frames, list[bytes]]:
    """Run a program once, bound, in watched frames; the results are those of its meaning."""
    frames = Frames(fill, [])
    found = compiled(name)
    leaves = random_leaves(found.graph)
    expected = interpret(found.graph, [leaf.copy() for leaf in leaves])
    arguments = optree.tree_unflatten(optree.tree_structure(PROGRAMS[name].specs), leaves)
    with monkeypatch.context() as patch:
        patch.setattr("irgrad.backends.numba_cpu.runtime.executable.Frame", frames)
        results = optree.tree_leaves(found.bind(*arguments)())
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    return frames, [result.tobytes() for result in results]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_plan_is_what_a_run_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peak, program = compiled(name).plan.peak_bytes, stages(name).program
    first, results = run_in(name, 0xA5, monkeypatch)
    second, again = run_in(name, 0x5A, monkeypatch)
    assert results == again, "a result depends on what the arena held before"
    assert [size for size, _ in first.made] == [peak]
    touched = max(first.touched(), second.touched())
    assert touched <= peak
    packs = any(isinstance(s, Contract) for kernel in program.kernels for s in kernel.body)
    assert peak >= program.arena_bytes
    if not packs:  # what a contraction packs its operands into depends on the processor
        assert peak == program.arena_bytes
        assert peak - ALIGNMENT < touched or not peak
