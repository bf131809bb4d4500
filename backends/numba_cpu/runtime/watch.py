"""Compiled code that looks at its own results: a native entry around that of any program.

The watched entry has the signature of an ordinary one and takes its place, behind the door and in
bound calls; ordinary calls have none of it. It copies the donated arrays behind the arena, calls
the entry that a table names, and reads the results, whose memory the entry has just written.

A table is `HEADER` words of 64 bits: the entry, how many arrays to copy, how many to read, and C's
`memmove`; then `RECORD` words for each of these arrays: 8 * its position among the buffers, its
bytes, and where its copy begins in the arena or the address of the function that reads it. The
address of the table is in the header of a frame.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from irgrad.ir.dims import as_shape
from irgrad.ir.types import DTYPES
from irgrad.kernel.slots import aligned
from irgrad.runtime.backend import OnNonFinite

from .call_plan import CallPlan
from .door import FRAME_HEADER
from .frames import Frame, FramePool
from .watch_text import ENTRY, FLOATS, READER, watch_text

PARTS = {"c64": "f32", "c128": "f64"}  # what the parts of complex numbers are


@dataclass(frozen=True, slots=True, eq=False)
class WatchCode:
    """The native code.

    entry: the address of the watched entry. readers: those of the functions that tell whether an
    array is not finite, by dtype. owner: what keeps the code in memory.
    """

    entry: int
    readers: Mapping[str, int]
    owner: object


@dataclass(frozen=True, slots=True)
class Copied:
    """An input that is copied before each call: its position, its type, and where its copy begins
    in the arena."""

    position: int
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """How a program is watched.

    code: what runs. table: what it is told, which must outlive its frames. copied: the donated
    inputs, where a result can be NaN or infinite. arena_bytes: scratch memory of a call, with the
    copies. found: raises for what the code has found.
    """

    code: WatchCode
    table: np.ndarray
    copied: tuple[Copied, ...]
    arena_bytes: int
    found: OnNonFinite

    def take(self, pool: FramePool[Frame]) -> Frame:
        """A frame for a watched call, of a pool that others share."""
        return self.mark(pool.take())

    def mark(self, frame: Frame) -> Frame:
        """The frame, whose calls are watched as this says."""
        frame.watch(self.table.__array_interface__["data"][0])
        return frame

    def copies(self, frame: Frame) -> list[tuple[int, np.ndarray]]:
        """The donated inputs as they were before the last call in a frame, by position."""
        start = frame.address + FRAME_HEADER
        return [(one.position, _array_at(start + one.start, one)) for one in self.copied]


def make_watch(
    entry: int, plan: CallPlan, arena_bytes: int, found: OnNonFinite
) -> Watch:
    """How the calls of a plan are watched. entry: its address; arena_bytes: what it uses itself."""
    code = load_watch()
    read: list[tuple[int, int, int]] = []
    for result in plan.results:
        reader = code.readers.get(result.dtype)
        size = _bytes(as_shape(result.shape), DTYPES[result.dtype].numpy)
        if reader is not None and size:
            position = result.number + (len(plan.inputs) if result.kind == "output" else 0)
            read.append((8 * position, size, reader))
    copied: list[Copied] = []
    end = aligned(arena_bytes)
    for i, one in enumerate(plan.inputs):
        if one.donated and read:
            copied.append(Copied(i, one.shape, one.dtype, end))
            end += aligned(_bytes(one.shape, one.dtype))
    copies = [(8 * one.position, _bytes(one.shape, one.dtype), one.start) for one in copied]
    memmove = ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0
    header = entry, len(copies), len(read), memmove
    words = [*header, *(word for one in (*copies, *read) for word in one)]
    return Watch(code, np.array(words, np.int64), tuple(copied), end, found)


@cache
def load_watch() -> WatchCode:
    """The native code, compiled once in a process that asks for it."""
    from ..llvm.compile import compile_text, load_object

    loaded = load_object(compile_text(watch_text()))
    readers = {name: loaded.address(READER.format(name)) for name in FLOATS}
    readers |= {name: readers[part] for name, part in PARTS.items()}
    return WatchCode(loaded.address(ENTRY), readers, loaded)


def _bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def _array_at(address: int, like: Copied) -> np.ndarray:
    """A new array with the elements at an address."""
    array = np.empty(like.shape, like.dtype)
    ctypes.memmove(array.__array_interface__["data"][0], address, array.nbytes)
    return array
