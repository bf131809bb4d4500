"""How a loop of a kernel is emitted: with which lanes, unrolled, or one iteration after another.

Decisions only; they change speed, never bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from irgrad.backends.common.formulas.table import FUNCTIONS
from irgrad.ir.dims import Size
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Check,
    Contract,
    Every,
    For,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    walk,
)

NAMED_EXTENT = 1024  # what a named size is taken to be
UNROLL_EXTENT = 4
UNROLL_COST = 48
MATH_COST = 24
SLOW_COSTS: Mapping[str, int] = {
    "div": 4, "sqrt": 5, "floor_divide": 40, "remainder": 40, "power": 80, "rsqrt": 9,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """How a loop is emitted.

    kind: "nest" (a counted loop around other loops), "unrolled" (a copy of the body for each
    iteration), "vector" (groups of `lanes` iterations) or "sequential" (a loop of one lane).
    """

    kind: str
    lanes: int = 1


def cost(body: Iterable[Statement]) -> int:
    """About the number of instructions of one iteration; nested loops count once an iteration."""
    total = 0
    for statement in body:
        if isinstance(statement, Every):
            total += cost(statement.body) // statement.block
        elif isinstance(statement, For | Reduce):
            total += likely(statement.extent) * cost(statement.body)
        elif isinstance(statement, Let):
            total += let_cost(statement)
        else:
            total += 1
    return total


def let_cost(let: Let) -> int:
    """About the number of instructions of a primitive."""
    if let.op in ("constant", "index"):
        return 0
    slow = SLOW_COSTS.get(let.op)
    if slow is None:
        slow = MATH_COST if let.op in FUNCTIONS else 1
    return slow


def plan_loop(loop: For | Reduce, dtypes: Mapping[str, str], vector_bytes: int) -> LoopPlan:
    """The plan of a loop that is not inside a vector loop."""
    inner = [s for s in walk(loop.body) if isinstance(s, For | Reduce | Contract)]
    weight = cost(loop.body)
    extent = likely(loop.extent)
    if extent <= 1 or (
        not inner and extent <= UNROLL_EXTENT and extent * weight <= UNROLL_COST
    ):
        return LoopPlan("unrolled")
    blocks = any(isinstance(s, Every) for s in loop.body)
    if blocks or (inner and not _rows_as_lanes(loop, inner, weight)):
        return LoopPlan("nest")
    if not lanes_are_independent(loop) or _has_named_stride(loop):
        return LoopPlan("nest" if inner else "sequential")
    return LoopPlan("vector", choose_lanes(loop.body, dtypes, vector_bytes, extent))


def likely(extent: Size) -> int:
    """An extent, or a guess where it is a named size."""
    return extent if isinstance(extent, int) else NAMED_EXTENT


def _has_named_stride(loop: For | Reduce) -> bool:
    """Whether lanes would lie at a distance that is a named size."""
    return any(
        not isinstance(s.at.coefficient(loop.index), int)
        for s in walk(loop.body)
        if isinstance(s, Load | Store | Accumulate | Check)
    )


def _rows_as_lanes(
    loop: For | Reduce, inner: list[For | Reduce | Contract], weight: int
) -> bool:
    """Whether a loop around tiny loops computes a lane for each of its own iterations.

    Its accesses then have a stride, which pays where there is much arithmetic for each of them.
    """
    if isinstance(loop, Reduce) or likely(loop.extent) < 8 or _has_named_stride(loop):
        return False
    if any(isinstance(s, Contract) or likely(s.extent) > UNROLL_EXTENT for s in inner):
        return False
    accesses = _access_count(loop.body)
    return 6 * accesses <= weight <= 400


def _access_count(body: Iterable[Statement]) -> int:
    total = 0
    for statement in body:
        if isinstance(statement, For | Reduce):
            total += likely(statement.extent) * _access_count(statement.body)
        elif isinstance(statement, Load | Store | Accumulate):
            total += 1
    return total


def lanes_are_independent(loop: For | Reduce) -> bool:
    """Whether the iterations may run side by side, statement after statement.

    Holds where each buffer that the body writes is touched at one address, which differs from one
    iteration to the next, or is only accumulated to; a parallel loop promises it for the rest.
    """
    promised = isinstance(loop, For) and loop.parallel
    accesses: dict[str, list[Load | Store | Accumulate]] = {}
    written: set[str] = set()
    for statement in walk(loop.body):
        if isinstance(statement, Load | Store | Accumulate):
            accesses.setdefault(statement.buffer, []).append(statement)
            if not isinstance(statement, Load):
                written.add(statement.buffer)
    inner = {s.index for s in walk(loop.body) if isinstance(s, For | Reduce)}
    return all(
        _is_private(accesses[name], loop.index, inner, promised) for name in written
    )


def _is_private(
    accesses: list[Load | Store | Accumulate], index: str, inner: set[str], promised: bool
) -> bool:
    moves = all(a.at.coefficient(index) != 0 for a in accesses)
    if promised and moves:
        return True
    if inner:
        # Addresses of different iterations of the nested loops could meet.
        return False
    if len({a.at for a in accesses}) > 1:
        return False
    return moves or (len(accesses) == 1 and isinstance(accesses[0], Accumulate))


def choose_lanes(
    body: Iterable[Statement], dtypes: Mapping[str, str], vector_bytes: int, extent: int | None
) -> int:
    """Lanes for a loop over this body, fewer where its extent is short.

    A full vector of the item size that most of the work is done in; values of twice that size take
    two vectors each.
    """
    work = _work_by_size(body, dtypes)
    widest = max(work, default=1)
    main = max(work, key=lambda size: (work[size], size), default=1)
    lanes = min(vector_bytes // main, 2 * vector_bytes // widest)
    while extent is not None and lanes // 2 >= extent and lanes > 2:
        lanes //= 2
    return lanes


def _work_by_size(body: Iterable[Statement], dtypes: Mapping[str, str]) -> Counter[int]:
    """About the number of instructions of one iteration by the size of what they compute."""
    work: Counter[int] = Counter()
    for statement in body:
        match statement:
            case Let(op="constant"):
                continue
            case Let():
                known = [dtypes[x] for x in statement.operands if x in dtypes]
                sizes = [DTYPES[x].itemsize for x in (statement.dtype, *known)]
                work[max(sizes)] += let_cost(statement)
            case Load():
                work[DTYPES[statement.dtype].itemsize] += 1
            case Store() | Accumulate() | Check():
                work[DTYPES[dtypes[statement.value]].itemsize] += 1
            case For() | Reduce():
                for size, inner in _work_by_size(statement.body, dtypes).items():
                    work[size] += inner * likely(statement.extent)
    return work


def substitute(at: Affine, indices: Mapping[str, object]) -> Affine:
    """`at` with the indices that are known numbers folded into its constant."""
    total, terms = at.constant, []
    for name, coefficient in at.terms:
        value = indices.get(name)
        if isinstance(value, int):
            total += coefficient * value
        else:
            terms.append((name, coefficient))
    return Affine(total, tuple(terms))
