"""A block emulator: runs the emulated text of a kernel on any machine and watches its memory.

The threads of a block are generators that run in turn, from one meeting point to the next. A
barrier that only some threads reach, a shuffle that meets a barrier, an element that one thread
writes while another touches it, and scratch memory that is read before it is written are errors.
Scalars are NumPy's, so the arithmetic is that of the neutral kernel IR.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from irgrad.backends.numba_cuda.block_printer import FAILURES
from irgrad.backends.numba_cuda.printer import NO_FAILURE, CudaSource
from irgrad.errors import BackendError
from irgrad.ir.types import DTYPES

WARP = 32
MANY = -1


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a thread says when it stops: a barrier (offset 0), or the value that it offers to the
    thread `offset` below it in its warp."""

    offset: int = 0
    value: Any = None


def syncthreads() -> Meeting:
    """All threads of the block go on together."""
    return Meeting()


def shuffle_down(value: Any, offset: int) -> Meeting:
    """The value of the thread `offset` above in the same warp, the own one where there is none."""
    return Meeting(offset, value)


def atomic_min(record: Any, place: int, value: int) -> None:
    """Lower record[place] to value, at once for all threads."""
    record.lower(place, value)


def run_source(
    source: CudaSource, arrays: Mapping[str, np.ndarray], blocks: int | None = None
) -> tuple[int, int] | None:
    """Run a kernel in place on flat arrays by parameter name; (check, position) of what failed
    first, None where no check failed.

    blocks: of the launch, those of the schedule where it is None.
    Raises BackendError for what the hardware would leave undefined.
    """
    failures = np.full(source.checks, NO_FAILURE, np.int64)
    arrays = {**arrays, FAILURES: failures}
    function = _load(source)
    launch = _Launch(blocks or source.schedule.blocks, source.schedule.threads)
    watched = [
        _Watched(name, arrays[name].view(DTYPES[dtype].numpy), launch)
        for name, dtype in source.parameters
    ]
    with np.errstate(all="ignore"):
        for block in range(launch.blocks):
            launch.block = block
            launch.interval = 0
            _run_block(function, watched, launch)
    failed = np.flatnonzero(failures != NO_FAILURE)
    return (int(failed[0]), int(failures[failed[0]])) if failed.size else None


def _load(source: CudaSource) -> Any:
    name = f"<emulated {source.name}>"
    linecache.cache[name] = (len(source.emulated), None, source.emulated.splitlines(True), name)
    namespace: dict[str, Any] = {}
    exec(compile(source.emulated, name, "exec"), namespace)
    return namespace[source.name]


@dataclass(slots=True)
class _Launch:
    """Where the run is: sizes, and the block, thread and interval between barriers of now."""

    blocks: int
    threads: int
    block: int = 0
    thread: int = 0
    interval: int = 0


def _run_block(function: Any, arrays: Sequence[_Watched], launch: _Launch) -> None:
    shared: list[_Watched] = []
    views = [_thread_view(t, launch, shared) for t in range(launch.threads)]
    if not inspect.isgeneratorfunction(function):
        for thread, view in enumerate(views):
            launch.thread = thread
            function(view, *arrays)
        return
    threads: list[Generator[Meeting, Any, None]] = [function(view, *arrays) for view in views]
    answers: list[Any] = [None] * launch.threads
    while True:
        said: list[Meeting | None] = []
        for thread, generator in enumerate(threads):
            launch.thread = thread
            try:
                said.append(generator.send(answers[thread]))
            except StopIteration:
                said.append(None)
        if all(meeting is None for meeting in said):
            return
        answers = _meet(said, launch)


def _meet(said: Sequence[Meeting | None], launch: _Launch) -> list[Any]:
    """What each thread gets from the meeting."""
    where = f"block {launch.block}"
    first = next(meeting for meeting in said if meeting is not None)
    for thread, meeting in enumerate(said):
        if meeting is None or meeting.offset != first.offset:
            raise BackendError(
                f"emulator: expected all threads of {where} at one barrier or shuffle, got thread "
                f"{thread} elsewhere"
            )
    if not first.offset:
        launch.interval += 1
        return [None] * len(said)
    values = [meeting.value for meeting in said if meeting is not None]
    return [
        values[t + first.offset] if t % WARP + first.offset < WARP and t + first.offset < len(said)
        else values[t]
        for t in range(len(said))
    ]  # fmt: skip


def _thread_view(thread: int, launch: _Launch, shared: list[_Watched]) -> SimpleNamespace:
    """What a thread sees as `cuda`: its registers and the block's shared memory."""
    made = iter(range(1 << 20))

    def array(size: int, dtype: Any) -> _Watched:
        number = next(made)
        if number == len(shared):
            shared.append(_Watched(f"shared {number}", np.empty(size, dtype), launch, fresh=True))
        return shared[number]

    return SimpleNamespace(
        threadIdx=SimpleNamespace(x=thread),
        blockIdx=SimpleNamespace(x=launch.block),
        blockDim=SimpleNamespace(x=launch.threads),
        gridDim=SimpleNamespace(x=launch.blocks),
        shared=SimpleNamespace(array=array),
    )


@dataclass(slots=True)
class _Touch:
    """The last accesses of one element: (block, interval, thread); block or thread MANY for
    several."""

    write: tuple[int, int, int] | None = None
    read: tuple[int, int, int] | None = None


@dataclass(slots=True)
class _Watched:
    """An array whose accesses are checked. fresh: nothing in it has been written."""

    name: str
    array: np.ndarray
    launch: _Launch
    fresh: bool = False
    touches: dict[int, _Touch] = field(default_factory=dict)

    def __getitem__(self, i: int) -> Any:
        touch = self._touch(i)
        if self.fresh and touch.write is None:
            raise BackendError(f"emulator: {self._at(i)} is read before it is written")
        self._conflict(i, touch.write)
        now = self._now()
        before = touch.read
        if before is not None and before[0] != now[0]:
            now = (MANY, *now[1:])
        elif before is not None and before[1] == now[1] and before[2] != now[2]:
            now = (*now[:2], MANY)
        touch.read = now
        return self.array[i]

    def __setitem__(self, i: int, value: Any) -> None:
        assert np.asarray(value).dtype == self.array.dtype, f"{self.name}: a store of {value!r}"
        touch = self._touch(i)
        self._conflict(i, touch.write)
        self._conflict(i, touch.read)
        touch.write = self._now()
        self.array[i] = value

    def lower(self, i: int, value: int) -> None:
        """An atomic minimum, which no other one disturbs."""
        self._touch(i)
        self.array[i] = min(self.array[i], value)

    def _touch(self, i: int) -> _Touch:
        if not 0 <= i < self.array.size:
            raise BackendError(
                f"emulator: expected an index of {self.name} below {self.array.size}, got {i}"
            )
        return self.touches.setdefault(int(i), _Touch())

    def _now(self) -> tuple[int, int, int]:
        return self.launch.block, self.launch.interval, self.launch.thread

    def _conflict(self, i: int, other: tuple[int, int, int] | None) -> None:
        """Raise where another thread's access is not separated from this one by a barrier."""
        if other is None:
            return
        block, interval, thread = self._now()
        apart = other[0] == block and (other[1] != interval or other[2] == thread)
        if not apart:
            raise BackendError(
                f"emulator: expected a barrier between two threads at {self._at(i)}, got none: "
                f"thread {other[2]} of block {other[0]}, thread {thread} of block {block}"
            )

    def _at(self, i: int) -> str:
        return f"{self.name}[{i}]"
