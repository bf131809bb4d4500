"""Running programs slowly, and many programs as one, so that a test compiles one module for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..ir.dims import Size
from ..kernel.ir import Check, Kernel, Statement, nested
from ..kernel.program import Call, Program, Result, Slot
from ..kernel.run import FILL, Outcome, collect_results, run_program
from ..kernel.slots import aligned

__all__ = [
    "FILL", "Outcome", "Place", "collect_results", "join_programs", "run_program",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where one of the joined programs begins: its first input, output and result."""

    input: int
    output: int
    result: int


def join_programs(programs: Sequence[Program]) -> tuple[Program, tuple[Place, ...]]:
    """The program that runs some programs one after another, and where each of them lies in it.

    Inputs, outputs, results and checks follow one another; arenas lie side by side, or all slots of
    programs with named sizes, which share the sizes of one name. No call counts as a guard, so a
    failed check of one program does not stop the others.
    """
    kernels: list[Kernel] = []
    calls: list[Call] = []
    inputs: list[tuple[str, Size]] = []
    outputs: list[tuple[str, Size]] = []
    slots: list[tuple[Size, ...]] = []
    results: list[Result] = []
    places: list[Place] = []
    written: set[int] = set()
    checks = 0
    arena = 0
    for number, program in enumerate(programs):
        place = Place(len(inputs), len(outputs), len(results))
        shift = {
            "input": place.input, "output": place.output, "arena": arena, "slot": len(slots),
        }  # fmt: skip
        first = len(kernels)
        for kernel in program.kernels:
            body = tuple(_renumbered(s, checks) for s in kernel.body)
            kernels.append(replace(kernel, name=f"p{number}_{kernel.name}", body=body))
        calls += [
            Call(first + c.kernel, tuple(Slot(s.kind, s.number + shift[s.kind]) for s in c.slots))
            for c in program.calls
        ]
        results += [
            replace(r, number=r.number + (place.output if r.kind == "output" else place.input))
            for r in program.results
        ]
        inputs += program.inputs
        outputs += program.outputs
        slots += program.slots
        written |= {place.input + i for i in program.written}
        checks += len(program.checks)
        arena += aligned(program.arena_bytes)
        places.append(place)
    assert not (arena and slots), "programs with an arena of their own beside such with slots"
    joined = Program(
        tuple(kernels), tuple(calls), tuple(inputs), tuple(outputs), tuple(results), arena,
        frozenset(written), tuple(check for program in programs for check in program.checks),
        dims=tuple(sorted({name for program in programs for name in program.dims})),
        slots=tuple(slots),
    )  # fmt: skip
    return joined, tuple(places)


def _renumbered(statement: Statement, shift: int) -> Statement:
    """A statement with the numbers of its checks moved up."""
    if isinstance(statement, Check):
        return replace(statement, check=statement.check + shift)
    if nested(statement):
        body = tuple(_renumbered(s, shift) for s in nested(statement))
        return replace(statement, body=body)  # type: ignore[call-arg, arg-type]
    return statement
