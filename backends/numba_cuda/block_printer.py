"""Statements of a kernel as the work of one block: what all threads do, and what each one does.

All threads compute the scalars of a row. Loops without reductions are dealt out to the threads;
what a row stores once, thread 0 stores. Threads meet at a barrier before one reads what another
wrote, or writes what another has read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from irgrad.backends.common.formula_source import FUNCTIONS
from irgrad.backends.common.neutral import neutral_value
from irgrad.backends.common.scalar_source import expression, literal, place, type_name
from irgrad.backends.numba_cuda.lines import MEETING, Lines
from irgrad.backends.numba_cuda.schedule import (
    lane_count,
    nest,
    reads_and_writes,
    runs_together,
    threads_may_share,
)
from irgrad.errors import LoweringError
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import (
    IDENTITY,
    Accumulate,
    Check,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
    lanes,
    walk,
)

THREAD = "cuda.threadIdx.x"
WARP = 32
FAILURES = "failures"
# Functions whose device code is made for one dtype, with which the text names them.
SPECIALISED = ("floor_divide", "remainder", "integer_power", "integer_abs")
COMBINE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or",
           "all": "and"}  # fmt: skip


class BlockPrinter(Lines):
    """Prints statements of one kernel.

    used: the functions that expressions call. shared: name -> (dtype, size) of the arrays in which
    the lanes of reductions are exchanged.
    """

    def __init__(self, kernel: Kernel, threads: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.threads = threads
        self.used: set[str] = set()
        self.shared: dict[str, tuple[str, int]] = {}
        self._dtypes = _scalar_dtypes(kernel.body)
        self._read: set[str] = set()
        self._written: set[str] = set()

    # -- loops ---------------------------------------------------------------------------------

    @contextmanager
    def points(
        self, indices: Sequence[str], extents: Sequence[int], start: str, step: str
    ) -> Iterator[None]:
        """A loop over the points of an index space from `start` in steps, all indices named."""
        total = math.prod(extents)
        if len(indices) == 1:
            with self.under(f"for {indices[0]} in range({start}, {total}, {step})"):
                yield
            return
        with self.under(f"for point in range({start}, {total}, {step})"):
            inner = total
            for i, (index, extent) in enumerate(zip(indices, extents, strict=True)):
                inner = inner // extent if extent else 0
                text = "point" if i == 0 else f"point % {inner * extent}"
                self.add(f"{index} = {text}" + (f" // {inner}" if inner > 1 else ""))
            yield

    # -- barriers ------------------------------------------------------------------------------

    def meet(self) -> None:
        """A barrier of the block."""
        self.add(f"{MEETING}syncthreads()")
        self._read.clear()
        self._written.clear()

    def meet_if_touched(self) -> None:
        """A barrier where memory was touched since the last one."""
        if self._read or self._written:
            self.meet()

    def _before(self, statement: Statement) -> None:
        """A barrier where the statement meets memory that threads touched since the last one."""
        reads, writes = reads_and_writes(statement)
        if (reads | writes) & self._written or writes & self._read:
            self.meet()
        self._read |= reads
        self._written |= writes

    # -- what all threads do -------------------------------------------------------------------

    def block(self, body: Sequence[Statement]) -> None:
        """Statements that all threads of the block run together."""
        for statement in body:
            if isinstance(statement, Let | Load):
                self._before(statement)
                self._simple(statement)
            elif isinstance(statement, Store | Accumulate | Check):
                self._before(statement)
                with self.under(f"if {THREAD} == 0"):
                    self._simple(statement)
            elif isinstance(statement, Reduce):
                self._reduce(statement)
            else:
                assert isinstance(statement, For)
                self._for(statement)

    def _for(self, loop: For) -> None:
        if runs_together(loop):
            self.meet_if_touched()
            with self.under(f"for {loop.index} in range({loop.extent})"):
                self.block(loop.body)
                self.meet_if_touched()
            return
        self._before(loop)
        indices, extents, body = nest(loop)
        wide = [i for i, extent in zip(indices, extents, strict=True) if extent > 1]
        if loop.parallel and threads_may_share(loop, wide):
            with self.points(indices, extents, THREAD, str(self.threads)):
                self.thread(body)
        else:
            with (
                self.under(f"if {THREAD} == 0"),
                self.under(f"for {loop.index} in range({loop.extent})"),
            ):
                self.thread(loop.body)

    # -- what one thread does ------------------------------------------------------------------

    def thread(self, body: Sequence[Statement]) -> None:
        """Statements that a thread runs alone."""
        for statement in body:
            if isinstance(statement, For):
                with self.under(f"for {statement.index} in range({statement.extent})"):
                    self.thread(statement.body)
            else:
                assert isinstance(statement, Let | Load | Store | Accumulate | Check)
                self._simple(statement)

    def _simple(self, statement: Let | Load | Store | Accumulate | Check) -> None:
        match statement:
            case Let():
                self.add(f"{statement.name} = {self._expression(statement)}")
            case Load():
                source = f"{statement.buffer}[{place(statement.at)}]"
                self.add(f"{statement.name} = {_loaded(source, statement.dtype)}")
            case Store():
                dtype = self.kernel.buffer(statement.buffer).dtype
                target = f"{statement.buffer}[{place(statement.at)}]"
                self.add(f"{target} = {_stored(statement.value, dtype)}")
            case Accumulate():
                target = f"{statement.buffer}[{place(statement.at)}]"
                dtype = self.kernel.buffer(statement.buffer).dtype
                before = _loaded(target, dtype)
                total = self._combine(statement.kind, dtype, before, statement.value)
                self.add(f"{target} = {_stored(total, dtype)}")
            case Check():
                with self.under(f"if not {statement.value}"):
                    at = place(statement.at)
                    self.add(f"atomic_min({FAILURES}, {statement.check}, {at})")

    def _expression(self, let: Let) -> str:
        called: list[str] = []
        text = expression(let, self._dtypes, frozenset(FUNCTIONS), called.append)
        for name in called:
            if name in SPECIALISED:
                typed = f"{name}_{let.dtype}"
                text = text.replace(f"{name}(", f"{typed}(", 1)
                name = typed
            self.used.add(name)
        return text

    def _combine(self, kind: str, dtype: str, a: str, b: str) -> str:
        let = Let("", COMBINE[kind], (a, b), dtype)
        return expression(let, {a: dtype, b: dtype}, frozenset(), self.used.add)

    # -- reductions ----------------------------------------------------------------------------

    def _reduce(self, loop: Reduce) -> None:
        """Lanes in threads, then the tree: halves by shared memory, the rest by shuffles."""
        if loop.extent == 0:
            for result in loop.results:
                value = literal(IDENTITY[result.kind], result.dtype)
                self.add(f"{result.name} = {value}")
            return
        if not threads_may_share(loop, [loop.index]):
            raise LoweringError(
                f"cuda kernel {self.kernel.name}: expected a reduction that stores one element an "
                "iteration, got one that adds up in place"
            )
        self._before(loop)
        count = min(lane_count(loop), self.threads)
        halves = [_Half(r, h) for r in loop.results for h in range(_halves(r, count))]
        for half in halves:
            self._start(half)
        if count == self.threads:
            self._lanes(loop, count, halves)
        else:
            with self.under(f"if {THREAD} < {count}"):
                self._lanes(loop, count, halves)
        self._exchange(loop, count)
        for offset in (16, 8, 4, 2, 1):
            for result in loop.results:
                self._shuffle(result, offset)
        self._share(loop)

    def _start(self, half: _Half) -> None:
        result = half.result
        self.add(f"{half.value} = {literal(_neutral(result), _lane_dtype(result))}")
        if _is_position(result):
            lane = THREAD if not half.number else f"{THREAD} + {WARP}"
            self.add(f"{half.index} = i64({lane})")

    def _lanes(self, loop: Reduce, count: int, halves: Sequence[_Half]) -> None:
        with self.under(f"for {loop.index} in range({THREAD}, {loop.extent}, {count})"):
            self.thread(loop.body)
            for half in halves:
                if _halves(half.result, count) == 1:
                    self._step(half, loop.index)
                else:
                    with self.under(f"if {loop.index} // {WARP} % 2 == {half.number}"):
                        self._step(half, loop.index)

    def _step(self, half: _Half, index: str) -> None:
        result = half.result
        if not _is_position(result):
            text = self._combine(result.kind, result.dtype, half.value, result.value)
            self.add(f"{half.value} = {text}")
            return
        value = f"u8({result.value})" if result.dtype == "bool" else result.value
        with self.under(f"if {_better(result, value, half.value)}"):
            self.add(f"{half.value} = {value}")
            self.add(f"{half.index} = i64({index})")

    def _exchange(self, loop: Reduce, count: int) -> None:
        """Combine lanes 32 apart: within a thread, or through shared memory."""
        apart = [r for r in loop.results if _halves(r, count) == 2]
        for result in apart:
            first, second = _Half(result, 0), _Half(result, 1)
            self._merge(result, second.value, second.index)
            assert first.value == f"{result.name}_lane"
        wide = [r for r in loop.results if count == 2 * WARP]
        if not wide:
            return
        for result in wide:
            for part, dtype in _parts(result):
                self.shared[f"shared_{part}"] = (dtype, count)
                self.add(f"shared_{part}[{THREAD}] = {_stored(part, dtype)}")
        self.meet()
        with self.under(f"if {THREAD} < {WARP}"):
            for result in wide:
                other = [
                    _loaded(f"shared_{part}[{THREAD} + {WARP}]", dtype)
                    for part, dtype in _parts(result)
                ]
                self._merge(result, *other)

    def _shuffle(self, result: Reduction, offset: int) -> None:
        others = []
        for part, dtype in _parts(result):
            word = _word(dtype)
            if word == dtype:
                self.add(f"{part}_other = {MEETING}shuffle_down({part}, {offset})")
            else:
                self.add(f"{part}_word = {MEETING}shuffle_down({word}({part}), {offset})")
                self.add(f"{part}_other = {type_name(dtype)}({part}_word)")
            others.append(f"{part}_other")
        self._merge(result, *others)

    def _merge(self, result: Reduction, value: str, index: str = "") -> None:
        mine = _Half(result, 0)
        if not _is_position(result):
            text = self._combine(result.kind, result.dtype, mine.value, value)
            self.add(f"{mine.value} = {text}")
            return
        more = _better(result, value, mine.value)
        less = _better(result, mine.value, value)
        with self.under(f"if ({more}) or (not ({less}) and {index} < {mine.index})"):
            self.add(f"{mine.value} = {value}")
            self.add(f"{mine.index} = {index}")

    def _share(self, loop: Reduce) -> None:
        """Give the totals of thread 0 to all threads."""
        totals = []
        for result in loop.results:
            part, dtype = _parts(result)[-1]
            name = f"shared_{part}"
            self.shared.setdefault(name, (dtype, 1))
            totals.append((result.name, part, dtype))
        with self.under(f"if {THREAD} == 0"):
            for _, part, dtype in totals:
                self.add(f"shared_{part}[0] = {_stored(part, dtype)}")
        self.meet()
        for scalar, part, dtype in totals:
            self.add(f"{scalar} = {_loaded(f'shared_{part}[0]', dtype)}")
            self._read.add(f"shared_{part}")


class _Half:
    """A lane of a reduction that a thread holds; a second one where 64 lanes meet 32 threads."""

    def __init__(self, result: Reduction, number: int) -> None:
        self.result = result
        self.number = number
        suffix = "_high" if number else ""
        self.value = f"{result.name}_lane{suffix}"
        self.index = f"{result.name}_index{suffix}"


def memory_dtype(dtype: str) -> str:
    """The dtype that values have in memory: truth values are bytes there."""
    return "u8" if dtype == "bool" else dtype


def _loaded(text: str, dtype: str) -> str:
    return f"boolean({text})" if dtype == "bool" else text


def _stored(text: str, dtype: str) -> str:
    return f"u8({text})" if dtype == "bool" else text


def _halves(result: Reduction, count: int) -> int:
    return lanes(DTYPES[result.dtype].itemsize) // count


def _is_position(result: Reduction) -> bool:
    return result.kind.startswith("arg")


def _lane_dtype(result: Reduction) -> str:
    return "u8" if _is_position(result) and result.dtype == "bool" else result.dtype


def _parts(result: Reduction) -> list[tuple[str, str]]:
    """(scalar, dtype) of what a lane holds; the result comes last."""
    half = _Half(result, 0)
    parts = [(half.value, _lane_dtype(result))]
    return [*parts, (half.index, "i64")] if _is_position(result) else parts


def _neutral(result: Reduction) -> bool | int | float:
    """The value whose combination with any x gives the bits of x."""
    return neutral_value(result.kind, _lane_dtype(result))


def _word(dtype: str) -> str:
    """The type that a shuffle moves a value as: floats and signed integers of 4 or 8 bytes."""
    if DTYPES[dtype].is_float:
        return dtype
    return "i64" if DTYPES[dtype].itemsize == 8 else "i32"


def _better(result: Reduction, new: str, old: str) -> str:
    """Whether `new` is more extreme than `old`: NaN is the most extreme."""
    relation = ">" if result.kind == "argmax" else "<"
    if not DTYPES[result.dtype].is_float:
        return f"{new} {relation} {old}"
    return f"{old} == {old} and ({new} {relation} {old} or {new} != {new})"


def _scalar_dtypes(body: tuple[Statement, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for statement in walk(body):
        if isinstance(statement, Let | Load):
            found[statement.name] = statement.dtype
        elif isinstance(statement, Reduce):
            for r in statement.results:
                found[r.name] = "i64" if _is_position(r) else r.dtype
    return found

