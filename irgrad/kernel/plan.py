"""The memory plan: which buffers share memory, and where in the arena each of them lies.

Values are numbered storages. Two buffers of one kernel call that share memory become one parameter
of the kernel, so that parameters never alias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from ..errors import LimitError
from ..ir.dims import Size
from .ir import (
    Accumulate,
    Affine,
    Buffer,
    Compound,
    Contract,
    For,
    Kernel,
    Load,
    Reduce,
    Statement,
    Store,
    walk,
)
from .slots import ALIGNMENT, MAX_BYTES, aligned, assign_slots


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call on storages: reads and writes in the order of the kernel's parameters."""

    kernel: Kernel
    reads: tuple[int, ...]
    writes: tuple[int, ...]


def can_share(kernel: Kernel, read: str, write: str) -> bool:
    """Whether `write` may lie in the memory of `read`: each element is read, if at all, at the very
    point that later stores it, and by no statement after the one that stores it."""
    a, b = kernel.buffer(read), kernel.buffer(write)
    if (a.dtype, a.size) != (b.dtype, b.size) or b.access != "write":
        return False
    stores = [s for s in walk(kernel.body) if isinstance(s, Store) and s.buffer == write]
    if len(stores) != 1:
        return False
    loads = [s for s in walk(kernel.body) if isinstance(s, Load) and s.buffer == read]
    if any(isinstance(s, Contract) and read in (s.lhs, s.rhs) for s in walk(kernel.body)):
        return False
    if any(load.at != stores[0].at for load in loads):
        return False
    once = _indices_around(kernel.body, stores[0].at)
    return once and not _read_after(kernel.body, read, stores[0])


def _indices_around(body: tuple[Statement, ...], at: Affine) -> bool:
    """Whether every loop that holds a store at `at` has a coefficient there, or a single turn."""
    for statement in body:
        if isinstance(statement, Compound):
            holds = any(isinstance(s, Store) and s.at == at for s in walk(statement.body))
            if not holds:
                continue
            if isinstance(statement, For | Reduce):
                many = not isinstance(statement.extent, int) or statement.extent > 1
                if many and at.coefficient(statement.index) == 0:
                    return False
            if not _indices_around(statement.body, at):
                return False
    return True


def _read_after(body: tuple[Statement, ...], read: str, store: Store) -> bool:
    """Whether a load of `read` follows the store in program order."""
    seen = False
    for statement in walk(body):
        if statement is store:
            seen = True
        elif seen and isinstance(statement, Load) and statement.buffer == read:
            return True
    return False


def merge_buffers(kernel: Kernel, merges: Mapping[str, str]) -> Kernel:
    """The kernel with each written buffer of `merges` renamed to the read one that it shares."""
    if not merges:
        return kernel
    shared = set(merges.values())
    buffers = tuple(
        replace(b, access="update") if b.name in shared else b
        for b in kernel.buffers
        if b.name not in merges
    )
    return replace(kernel, buffers=buffers, body=_rename(kernel.body, merges))


def _rename(body: tuple[Statement, ...], names: Mapping[str, str]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, Store | Accumulate | Load):
            result.append(
                replace(statement, buffer=names.get(statement.buffer, statement.buffer))
            )
        elif isinstance(statement, Compound):
            result.append(replace(statement, body=_rename(statement.body, names)))
        else:
            result.append(statement)
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of a sequence of steps.

    kernels: of each step, with shared buffers merged. home: for each storage the storage whose
    memory it uses (itself where it has its own). offsets: in the arena, for storages that live
    there. local_offsets: for each step, of the kernel's local buffers. arena_bytes: total.
    slots: where a size is symbolic, the sizes in each slot of the arena; offsets are then numbers
    of slots, and arena_bytes is 0.
    """

    kernels: tuple[Kernel, ...]
    home: Mapping[int, int]
    offsets: Mapping[int, int]
    local_offsets: tuple[tuple[int, ...], ...]
    arena_bytes: int
    slots: tuple[tuple[Size, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Storages:
    """What a plan is about.

    sizes: bytes of each storage. outside: storages that the caller provides (inputs and results),
    which take no arena memory. partners: for a result, the donated input whose memory it is to
    have. results: storages that leave the function.
    """

    sizes: Mapping[int, Size]
    outside: frozenset[int]
    partners: Mapping[int, int]
    results: frozenset[int]


def pair_donations(
    results: Sequence[int], donated: Sequence[int], types: Mapping[int, object]
) -> dict[int, int]:
    """For each result the donated input that it belongs to: the n-th result of a type and the n-th
    donated input of that type, so that parameters and moments come back in their own memory."""
    waiting: dict[object, list[int]] = {}
    for storage in donated:
        waiting.setdefault(types[storage], []).append(storage)
    partners: dict[int, int] = {}
    for result in dict.fromkeys(results):
        inputs = waiting.get(types[result])
        if inputs:
            partners[result] = inputs.pop(0)
    return partners


def plan_memory(steps: Sequence[Step], storages: Storages, first_write: int) -> Layout:
    """Plan all storages of some steps; donated inputs are written from step `first_write` on."""
    planner = _Planner(steps, storages, first_write)
    kernels = tuple(planner.share(position) for position in range(len(steps)))
    return _place(steps, storages, kernels, planner.home)


class _Planner:
    """Decides step by step which memory each result takes over."""

    def __init__(self, steps: Sequence[Step], storages: Storages, first_write: int) -> None:
        self.steps = steps
        self.storages = storages
        self.first_write = first_write
        self.home = {storage: storage for storage in storages.sizes}
        self.last: dict[int, int] = {}
        for position, step in enumerate(steps):
            for storage in step.reads + step.writes:
                self.last[storage] = position

    def share(self, position: int) -> Kernel:
        """Give each result of a step memory to take over where it can; the step's kernel then."""
        step = self.steps[position]
        merges: dict[str, str] = {}
        written = step.kernel.buffers[len(step.reads) : len(step.reads) + len(step.writes)]
        for buffer, storage in zip(written, step.writes):
            pick = self._donation if storage in self.storages.results else self._dying
            partner = pick(position, buffer.name, storage, merges)
            if partner is None:
                continue
            root = self.home[partner]
            self.home[storage] = root
            self.last[root] = max(self.last.get(root, position), self.last[storage])
            if partner in step.reads:
                merges[buffer.name] = step.kernel.buffers[step.reads.index(partner)].name
        return merge_buffers(step.kernel, merges)

    def _donation(
        self, position: int, write: str, result: int, merges: Mapping[str, str]
    ) -> int | None:
        """The donated input that a result belongs to, where it may be overwritten by now."""
        step = self.steps[position]
        partner = self.storages.partners.get(result)
        if partner is None or position < self.first_write or self.last.get(partner, -1) > position:
            return None
        if partner in step.reads and not self._sharable(step, partner, write, merges):
            return None
        return partner

    def _dying(
        self, position: int, write: str, result: int, merges: Mapping[str, str]
    ) -> int | None:
        """An arena storage that this step reads last and whose memory its result can take over."""
        step = self.steps[position]
        for storage in step.reads:
            root = self.home[storage]
            if root in self.storages.outside or self.last[root] > position:
                continue
            if self._sharable(step, storage, write, merges):
                return storage
        return None

    def _sharable(self, step: Step, storage: int, write: str, merges: Mapping[str, str]) -> bool:
        name = step.kernel.buffers[step.reads.index(storage)].name
        return name not in merges.values() and can_share(step.kernel, name, write)


def _place(
    steps: Sequence[Step],
    storages: Storages,
    kernels: tuple[Kernel, ...],
    home: Mapping[int, int],
) -> Layout:
    """Arena offsets, each the lowest place free during its buffer's life; or slots."""
    spans: dict[object, tuple[int, int, Size]] = {}
    for position, step in enumerate(steps):
        for storage in step.reads + step.writes:
            root = home[storage]
            if root in storages.outside:
                continue
            start, _, _ = spans.get(root, (position, position, 0))
            spans[root] = (start, position, storages.sizes[root])
        for buffer in step.kernel.buffers:
            if buffer.access == "local":
                size = buffer.size * _itemsize(buffer)
                spans[position, buffer.name] = (position, position, size)
    placed, slots, total = _arena(spans)
    offsets = {storage: placed[root] for storage, root in home.items() if root in placed}
    local = tuple(
        tuple(placed[i, b.name] for b in step.kernel.buffers if b.access == "local")
        for i, step in enumerate(steps)
    )
    return Layout(kernels, home, offsets, local, total, slots)


def _arena(
    spans: Mapping[object, tuple[int, int, Size]],
) -> tuple[dict[object, int], tuple[tuple[Size, ...], ...], int]:
    """Byte offsets, no slots and the size of all; or slot numbers, slots and 0."""
    numbers = {k: (a, b, size) for k, (a, b, size) in spans.items() if isinstance(size, int)}
    if len(numbers) == len(spans):
        placed, total = _first_fit(numbers)
        return placed, (), total
    placed, slots = assign_slots(spans)
    return placed, slots, 0


def _first_fit(spans: Mapping[object, tuple[int, int, int]]) -> tuple[dict[object, int], int]:
    """An offset for each (first step, last step, bytes), and the size of all.

    The best of some orders; the first one is left only where bytes that no step uses at once lie
    side by side.
    """
    if sum(size + ALIGNMENT for _, _, size in spans.values()) > MAX_BYTES:
        raise LimitError(
            f"plan: expected intermediate arrays of at most {MAX_BYTES} bytes in all, got more"
        )
    least = _most_live(list(spans.values()))
    best: tuple[dict[object, int], int] | None = None
    for rank in _ORDERS:
        found = _fit_in_order(spans, sorted(spans, key=lambda key: (rank(*spans[key]), str(key))))
        best = found if best is None or found[1] < best[1] else best
        if best[1] == least:
            break
    assert best is not None, "there are orders"
    return best


# The largest first; those in use longest and largest first; the last to be used first.
_ORDERS: tuple[Callable[[int, int, int], tuple[int, ...]], ...] = (
    lambda start, end, size: (-size, start),
    lambda start, end, size: (-size * (end - start + 1),),
    lambda start, end, size: (-end, -size),
)


def _most_live(spans: Sequence[tuple[int, int, int]]) -> int:
    """The most bytes in use at one step, which no plan can do without."""
    changes = dict.fromkeys((step for start, end, _ in spans for step in (start, end + 1)), 0)
    for start, end, size in spans:
        changes[start] += aligned(max(size, 1))
        changes[end + 1] -= aligned(max(size, 1))
    return max(accumulate(changes[step] for step in sorted(changes)), default=0)


def _fit_in_order(
    spans: Mapping[object, tuple[int, int, int]], order: Sequence[object]
) -> tuple[dict[object, int], int]:
    """Each span in turn at the lowest place that is free during its life."""
    start, end, size = np.array([spans[key] for key in order], np.int64).reshape(-1, 3).T
    size = -(-np.maximum(size, 1) // ALIGNMENT) * ALIGNMENT
    low = np.zeros(len(order), np.int64)
    for i in range(len(order)):
        busy = np.flatnonzero((start[:i] <= end[i]) & (start[i] <= end[:i]))
        busy = busy[np.argsort(low[busy], kind="stable")]
        # Below each busy place there is room from the highest end of those before it.
        room = np.maximum.accumulate(np.append(0, (low + size)[busy]))
        fits = np.flatnonzero(low[busy] - room[:-1] >= size[i])
        low[i] = room[fits[0]] if fits.size else room[-1]
    total = int(np.max(low + size, initial=0))
    return {key: int(at) for key, at in zip(order, low)}, total


def _itemsize(buffer: Buffer) -> int:
    return {"bool": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4,
            "u32": 4, "f32": 4, "c128": 16}.get(buffer.dtype, 8)
