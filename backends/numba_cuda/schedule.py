"""How a kernel is spread over blocks and threads.

Logical lanes of a reduction are threads of one block, so a row of the kernel IR's reductions needs
one block; 64 threads are one warp pair, of which lane l of 64 is thread l. Elementwise loops run
over the whole grid. What is left, such as sums that rows add up in order, runs in one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from irgrad.errors import LoweringError
from irgrad.ir.dims import as_number
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import (
    Accumulate,
    Check,
    Contract,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    lanes,
    walk,
)

ELEMENTWISE_THREADS = 256
BLOCK_THREADS = 64
MOST_BLOCKS = 4096
COMPUTED = frozenset(
    ["bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"]
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a kernel runs.

    kind: "elementwise" (a grid-stride loop over each loop nest), "rows" (one block for each
    iteration of the outer loops) or "block" (one block for the whole kernel). threads: in a block.
    blocks: of the launch; loops stride over what is more.
    """

    kind: str
    threads: int
    blocks: int


def schedule(kernel: Kernel) -> Schedule:
    """The schedule of a kernel.

    Raises LoweringError for contractions and for dtypes without device code.
    """
    for statement in walk(kernel.body):
        if isinstance(statement, Contract):
            raise LoweringError(
                f"cuda kernel {kernel.name}: expected elementwise loops and reductions, got a "
                "contraction"
            )
        if isinstance(statement, Let | Load):
            _require_dtype(kernel, statement.dtype)
    for buffer in kernel.buffers:
        _require_dtype(kernel, buffer.dtype)
    spread = _spreads(kernel)
    if spread and all(isinstance(s, For) and _is_nest(s) for s in kernel.body):
        points = max((math.prod(nest(s)[1]) for s in kernel.body), default=1)
        blocks = -(-points // ELEMENTWISE_THREADS)
        return Schedule("elementwise", ELEMENTWISE_THREADS, min(max(blocks, 1), MOST_BLOCKS))
    if spread:
        rows = max(math.prod(nest(s)[1]) for s in kernel.body)
        return Schedule("rows", BLOCK_THREADS, min(max(rows, 1), MOST_BLOCKS))
    return Schedule("block", BLOCK_THREADS, 1)


def nest(loop: Statement) -> tuple[list[str], list[int], tuple[Statement, ...]]:
    """(indices, extents, body) of the parallel loops that hold nothing but the next one."""
    indices: list[str] = []
    extents: list[int] = []
    body: tuple[Statement, ...] = (loop,)
    while len(body) == 1 and isinstance(body[0], For) and body[0].parallel:
        indices.append(body[0].index)
        extents.append(as_number(body[0].extent))
        body = body[0].body
    return indices, extents, body


def runs_together(loop: For) -> bool:
    """Whether all threads of a block run a loop in step: it holds a reduction, or its iterations
    are in order and hold loops that threads share."""
    inner = list(walk(loop.body))
    if any(isinstance(s, Reduce) for s in inner):
        return True
    return not loop.parallel and any(isinstance(s, For) and s.parallel for s in inner)


def threads_may_share(loop: For | Reduce, indices: Sequence[str]) -> bool:
    """Whether threads may take the points of indices in turn: none writes what another does."""
    return all(
        s.at.coefficient(index) != 0
        for s in walk(loop.body)
        if isinstance(s, Accumulate | Store)
        for index in indices
    )


def lane_count(loop: Reduce) -> int:
    """Threads that hold the lanes of a reduction: 32 where any result has 32 lanes."""
    return min(lanes(DTYPES[r.dtype].itemsize) for r in loop.results)


def _require_dtype(kernel: Kernel, dtype: str) -> None:
    """Raise LoweringError for a dtype without device code."""
    if dtype not in COMPUTED:
        raise LoweringError(
            f"cuda kernel {kernel.name}: expected bool, an integer, f32 or f64, got {dtype}"
        )


def _is_nest(loop: For) -> bool:
    """Whether a loop is a nest around simple statements."""
    indices, _, body = nest(loop)
    return bool(indices) and all(isinstance(s, Let | Load | Store | Check) for s in body)


def _spreads(kernel: Kernel) -> bool:
    """Whether the iterations of all outer loops may run in blocks of their own, in any order."""
    if not kernel.body or not all(isinstance(s, For) and s.parallel for s in kernel.body):
        return False
    if any(isinstance(s, Accumulate) for s in walk(kernel.body)):
        return False
    local = {b.name for b in kernel.buffers if b.access == "local"}
    touched = [(_written((s,)) - local, _touched((s,)) - local) for s in kernel.body]
    for i, (written, _) in enumerate(touched):
        if any(written & other for j, (_, other) in enumerate(touched) if j != i):
            return False
    return True


def _written(body: tuple[Statement, ...]) -> set[str]:
    return {s.buffer for s in walk(body) if isinstance(s, Store | Accumulate)}


def _touched(body: tuple[Statement, ...]) -> set[str]:
    return {s.buffer for s in _accesses(body)}


def _accesses(body: tuple[Statement, ...]) -> Iterator[Load | Store | Accumulate]:
    return (s for s in walk(body) if isinstance(s, Load | Store | Accumulate))


def reads_and_writes(statement: Statement) -> tuple[set[str], set[str]]:
    """The buffers that a statement reads and those that it writes, accumulation in both."""
    reads = {s.buffer for s in _accesses((statement,)) if not isinstance(s, Store)}
    return reads, _written((statement,))
