"""Whether iterations of a loop may run at the same time: none touches what another writes.

A buffer is an iteration's own where its address tells the index, being a digit of it: of an affine
address with positive coefficients the small terms stay below the index's coefficient in sum, and
each coefficient of a greater term is more than all terms before it in sum.
A local buffer that each iteration stores before it reads is private: every worker may have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from ..ir.dims import Size
from .bounds import is_nonnegative
from .ir import (
    Accumulate,
    Affine,
    Buffer,
    Contract,
    Every,
    For,
    Load,
    Reduce,
    Statement,
    Store,
    nested,
)

Extents = Mapping[str, Size]


@dataclass(frozen=True, slots=True)
class Access:
    """One access: the statement, the loops around it by index, outer before inner, and what lets
    it run in some of their iterations alone."""

    statement: Load | Store | Accumulate
    extents: Extents
    every: tuple[Every, ...] = ()


def accesses(
    body: Sequence[Statement], extents: Extents, every: tuple[Every, ...] = ()
) -> Iterator[Access]:
    """Those of some statements that lie in loops of some extents, in order; none of empty loops."""
    for statement in body:
        match statement:
            case Load() | Store() | Accumulate():
                yield Access(statement, extents, every)
            case For() | Reduce() if statement.extent != 0:
                inner = {**extents, statement.index: statement.extent}
                yield from accesses(statement.body, inner, every)
            case Every():
                yield from accesses(statement.body, extents, (*every, statement))


def shared_buffer(
    loop: For, index: str, buffers: Sequence[Buffer], private: frozenset[str] = frozenset()
) -> str | None:
    """A buffer that one value of `index` writes and another touches, or may; None: there is none.

    index: of the loop or of one inside. private: buffers to leave out.
    """
    if index == loop.index and isinstance(loop.extent, int) and loop.extent <= 1:
        return None
    found: dict[str, list[Access]] = {}
    for access in accesses((loop,), {}):
        found.setdefault(access.statement.buffer, []).append(access)
    for buffer in buffers:
        touched = found.get(buffer.name, [])
        if buffer.name in private or all(isinstance(a.statement, Load) for a in touched):
            continue
        if not tells_apart([(a.statement.at, a.extents) for a in touched], index):
            return buffer.name
    return None


def private_buffers(loop: For, buffers: Sequence[Buffer]) -> frozenset[str]:
    """The local buffers that each iteration of the loop stores before it reads them."""
    local = {buffer.name for buffer in buffers if buffer.access == "local"}
    seen: dict[str, list[Access]] = {}
    broken: set[str] = set()
    for access in accesses(loop.body, {}):
        name = access.statement.buffer
        before = seen.setdefault(name, [])
        if isinstance(access.statement, Store):
            before.append(access)
        elif not any(_covers(store, access) for store in before):
            broken.add(name)
    return frozenset(
        name for name in local & set(seen) - broken
        if all(a.statement.at.coefficient(loop.index) == 0 for a in seen[name])
    )  # fmt: skip


def _covers(store: Access, access: Access) -> bool:
    """Whether an earlier store has set all that an access reads by the time it does."""
    common = [i for i in store.extents if i in access.extents]
    first, second = store.statement.at, access.statement.at
    if any(first.coefficient(i) != second.coefficient(i) for i in common):
        return False
    if any(store.extents[i] != access.extents[i] for i in common) or not _has_run(store, access):
        return False
    return _rest(store, common) == _rest(access, common)


def _has_run(store: Access, access: Access) -> bool:
    """Whether a store that comes first in the text runs, at all its places, where an access does.

    No loop around it alone may be empty; what runs in the first iteration of each block has run.
    """
    known = tuple(access.extents.values())
    alone = [e for i, e in store.extents.items() if i not in access.extents]
    return all(is_nonnegative(extent - 1, known) for extent in alone) and all(
        every in access.every
        or not every.last
        and every.index in store.extents
        and not store.statement.at.coefficient(every.index)
        for every in store.every
    )


def _rest(access: Access, common: Sequence[str]) -> object:
    """The places of an access for fixed values of some indices, whatever the others are called."""
    extents = access.extents
    terms = [(c, extents.get(i, i)) for i, c in access.statement.at.terms if i not in common]
    return access.statement.at.constant, sorted(map(str, terms))


def touched_outside(body: Sequence[Statement], loop: Statement, name: str) -> bool:
    """Whether statements of a body that are not part of `loop` touch a buffer."""
    for statement in body:
        if statement is loop:
            continue
        if isinstance(statement, Contract) and name in (statement.lhs, statement.rhs):
            return True
        if isinstance(statement, Load | Store | Accumulate) and statement.buffer == name:
            return True
        if touched_outside(nested(statement), loop, name):
            return True
    return False


def tells_apart(places: Sequence[tuple[Affine, Extents]], index: str) -> bool:
    """Whether affine addresses are never the same for two values of an index.

    places: each address with the extents of indices, of which others than `index` are free; those
    without an extent have one value.
    """
    found: dict[tuple[_Digits, tuple[Size, ...]], None] = {}
    for at, extents in places:
        digits = _digits(at, extents, index)
        if digits is None:
            return False
        named = (extent for extent in extents.values() if not isinstance(extent, int))
        found[digits, tuple(sorted(set(named), key=str))] = None
    return all(
        _differ(one, other, tuple(dict.fromkeys((*known, *also))))
        for (one, known), (other, also) in combinations_with_replacement(found, 2)
    )


def _differ(one: _Digits, other: _Digits, known: Sequence[Size]) -> bool:
    """Whether two addresses differ for different values of the index.

    known: the extents of their own loops, all over 0 where both addresses are used. Those of a
    third place say nothing of these two: its loops may be empty.
    """
    if one.common() != other.common():
        return False
    lows, highs = (one.low, other.low), (one.high, other.high)
    low = next((x for x in lows if all(is_nonnegative(y - x, known) for y in lows)), None)
    high = next((x for x in highs if all(is_nonnegative(x - y, known) for y in highs)), None)
    if low is None or high is None:
        return False
    coefficient, extent = one.own
    reach = high - low
    for next_coefficient, next_extent in ((coefficient, extent), *one.greater):
        if not is_nonnegative(next_coefficient - 1 - reach, known):
            return False
        reach = reach + next_coefficient * (next_extent - 1)
    return True


@dataclass(frozen=True, slots=True)
class _Digits:
    """An address with positive coefficients alone, where indices may be counted backwards.

    own: the index's (coefficient, extent). greater: those of greater terms, from the smallest on.
    low, high: least and largest sum of the constant and the smaller terms. fixed: terms of indices
    that have one value.
    """

    own: tuple[Size, Size]
    backwards: bool
    greater: tuple[tuple[Size, Size], ...]
    low: Size
    high: Size
    fixed: tuple[tuple[str, Size], ...]

    def common(self) -> object:
        """What all accesses have to share."""
        return self.own, self.backwards, self.greater, self.fixed


def _digits(at: Affine, extents: Extents, index: str) -> _Digits | None:
    """None where the terms cannot be put in order."""
    known = tuple(extents.values())
    constant, terms, backwards = at.constant, [], False
    fixed = tuple(term for term in at.terms if term[0] not in extents)
    for name, coefficient in at.terms:
        extent = extents.get(name, 1)
        if extent == 1 and name != index:
            continue
        if not is_nonnegative(coefficient - 1, known):
            if not is_nonnegative(coefficient * -1 - 1, known):
                return None
            backwards = backwards or name == index
            constant = constant + coefficient * (extent - 1)
            coefficient = coefficient * -1
        terms.append((name, coefficient, extent))
    own = next(((c, e) for name, c, e in terms if name == index), None)
    if own is None:
        return None
    greater: list[tuple[Size, Size]] = []
    high = constant
    for name, coefficient, extent in terms:
        if name == index:
            continue
        reach = coefficient * (extent - 1)
        if is_nonnegative(own[0] - 1 - reach, known):
            high = high + reach
        else:
            place = sum(is_nonnegative(coefficient - c, known) for c, _ in greater)
            greater.insert(place, (coefficient, extent))
    return _Digits(own, backwards, tuple(greater), constant, high, fixed)
