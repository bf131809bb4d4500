"""Which statements of a kernel are divided between threads, and into which units.

A statement with enough work becomes a function of a range of units, which `parallel_for` calls for
parts of the range. The parts depend on how many threads there are, and no bit of a result does: a
unit computes elements of its own, in the order in which the whole statement would. Local buffers
that each iteration sets before it reads them are private to a part: they lie in its worker's
scratch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from irgrad.backends.numba_cpu.llvm.contract import contract_workspace, divided_rows
from irgrad.backends.numba_cpu.llvm.emit import scalar_dtypes
from irgrad.backends.numba_cpu.llvm.schedule import let_cost, plan_loop
from irgrad.backends.numba_cpu.llvm.tiles import block_rows, plan_tiles
from irgrad.ir.dims import Size, product
from irgrad.ir.types import DTYPES
from irgrad.kernel.independent import private_buffers, shared_buffer, touched_outside
from irgrad.kernel.ir import (
    Contract,
    Every,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    kernel_dims,
)
from irgrad.kernel.slots import aligned

SPLIT_WORK = 1 << 22  # operations, each one lane of an instruction, from which a split pays
PART_WORK = 1 << 19  # the least of a part
ACCESS_WORK = 2
ENOUGH_UNITS = 64  # of a loop, that none further inside is looked at
CHUNK = 1024  # iterations of a unit where iterations are lanes
SMALL_CHUNK = 64  # the same where other loops are around, and parts run all of these
PRIVATE_BYTES = 1 << 20  # the most that a worker has of private buffers


@dataclass(frozen=True, slots=True)
class Split:
    """How one statement is divided.

    index: of the loop whose range is divided, "" for a contraction. extent: of that range, or the
    rows; step: how much of it is a unit, of which the last may be less. work: of the statement, as
    `work_of` counts it. private: offsets of private buffers in a worker's scratch, which has
    `scratch` bytes.
    """

    index: str
    extent: Size
    step: int
    work: Size
    private: Mapping[str, int] = field(default_factory=dict)
    scratch: int = 0


@lru_cache(maxsize=64)
def plan_splits(kernel: Kernel, vector_bytes: int) -> Mapping[int, Split]:
    """The statements of a kernel that are divided, by position."""
    found: dict[int, Split] = {}
    for position, statement in enumerate(kernel.body):
        if not isinstance(statement, For | Contract):
            continue
        work = work_of(statement)
        if isinstance(work, int) and work < SPLIT_WORK:
            continue
        if isinstance(statement, For):
            split = _loop_split(kernel, statement, work, vector_bytes)
        else:
            split = _contract_split(statement, work, vector_bytes)
        if split is not None:
            found[position] = split
    return found


def work_of(statement: Statement) -> Size:
    """About the number of scalar operations that a statement does, reads and writes included."""
    match statement:
        case For() | Reduce():
            return _total(statement.body) * statement.extent
        case Contract():
            groups = statement.batch, statement.m, statement.n
            points = product(i.extent for group in groups for i in group)
            return points * (product(i.extent for i in statement.k) + _total(statement.body))
        case Every():
            return _total(statement.body)
        case Let():
            return let_cost(statement)
    return ACCESS_WORK


def _total(body: Iterable[Statement]) -> Size:
    total: Size = 0
    for statement in body:
        total = total + work_of(statement)
    return total


def _contract_split(contract: Contract, work: Size, vector_bytes: int) -> Split | None:
    found = divided_rows(contract, vector_bytes)
    if found is None:
        return None
    rows, together = found
    scratch = contract_workspace(contract, vector_bytes)
    return Split("", rows, together, work, scratch=scratch)


# -- loops -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Range:
    """A loop whose range can be divided, into units of `step` iterations."""

    loop: For
    step: int

    @property
    def units(self) -> int:
        """How many units there are; of a named size many."""
        extent = self.loop.extent
        return -(-extent // self.step) if isinstance(extent, int) else ENOUGH_UNITS


def _loop_split(kernel: Kernel, loop: For, work: Size, vector_bytes: int) -> Split | None:
    best: _Range | None = None
    for one in _ranges(loop, scalar_dtypes(kernel.body), vector_bytes, CHUNK):
        if best is None or one.units > best.units:
            best = one
        if best.units >= ENOUGH_UNITS:
            break
    if best is None or best.units <= 1:
        return None
    inner = best.loop
    names = frozenset(
        name
        for name in private_buffers(inner, kernel.buffers)
        if not touched_outside(kernel.body, inner, name)
    )
    if shared_buffer(loop, inner.index, kernel.buffers, names) is not None:
        return None
    placed = _placed(kernel, names)
    if placed is None:
        return None
    return Split(inner.index, inner.extent, best.step, work, *placed)


def _ranges(
    loop: For, dtypes: Mapping[str, str], vector_bytes: int, chunk: int
) -> Iterator[_Range]:
    """The loops of a nest of parallel ones that are emitted as loops, outer before inner."""
    if not loop.parallel:
        return
    tiles = None if kernel_dims((), (loop,)) else plan_tiles(loop, dtypes, vector_bytes)
    if tiles is not None:
        yield from (_Range(outer, 1) for outer in tiles.outer)
        yield _Range(tiles.across, block_rows(tiles))
        return
    plan = plan_loop(loop, dtypes, vector_bytes)
    kind = plan.kind
    if kind != "unrolled":
        assert kind != "vector" or chunk % plan.lanes == 0, "units that start within a vector"
        yield _Range(loop, chunk if kind == "vector" else 1)
    inner = [s for s in loop.body if not isinstance(s, Let | Load)]
    if kind != "vector" and len(inner) == 1 and isinstance(inner[0], For):
        yield from _ranges(inner[0], dtypes, vector_bytes, SMALL_CHUNK)


def _placed(kernel: Kernel, names: Iterable[str]) -> tuple[dict[str, int], int] | None:
    """Offsets of buffers that follow one another, and the bytes of all; None where that is much."""
    found: dict[str, int] = {}
    total = 0
    for name in sorted(names):
        buffer = kernel.buffer(name)
        if not isinstance(buffer.size, int):
            return None
        found[name] = total
        size = buffer.size * DTYPES[buffer.dtype].itemsize
        total += aligned(size)
    return (found, total) if total <= PRIVATE_BYTES else None
