"""Frames: the context and the scratch memory of one call in flight."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from irgrad.kernel.slots import ALIGNMENT, aligned

from .door import FRAME_HEADER
from .pool import Services

POOL_BYTES = 64 << 20
POOL_FRAMES = 16
RECORD_BYTES = 24  # of an irg_ctx, before its services
WATCH_AT = FRAME_HEADER - 8  # in the header: where the address of a table of `watch` is


class Context(ctypes.Structure):
    """The irg_ctx of the entry: the record of a failed check, then services."""

    _fields_ = [
        ("status", ctypes.c_int64),
        ("check", ctypes.c_int64),
        ("position", ctypes.c_int64),
        ("parallel_for", ctypes.c_void_p),
        ("lapack", ctypes.c_void_p),
        ("pool", ctypes.c_void_p),
        ("workers", ctypes.c_int64),
    ]


class Frame:
    """One block of memory: an irg_ctx at `address`, the arena `FRAME_HEADER` bytes later.

    services: of the irg_ctx, if any; then the arena is longer, by `worker_bytes` for each worker
    but one.
    """

    __slots__ = ("_memory", "address")

    def __init__(
        self,
        arena_bytes: int,
        services: Services | None = None,
        worker_bytes: int = 0,
    ) -> None:
        if services is not None:
            arena_bytes += (services.workers - 1) * worker_bytes
        self._memory = np.empty(FRAME_HEADER + arena_bytes + ALIGNMENT, dtype=np.uint8)
        start = self._memory.__array_interface__["data"][0]
        self.address = aligned(start)
        ctypes.memset(self.address, 0, FRAME_HEADER)
        if services is not None:
            context = Context.from_address(self.address)
            context.parallel_for, context.pool = services.parallel_for, services.pool
            context.workers = services.workers

    def watch(self, table: int) -> None:
        """Set the address of the table by which code looks at its results, see `watch`."""
        ctypes.c_uint64.from_address(self.address + WATCH_AT).value = table

    @property
    def status(self) -> int:
        """What the last call recorded: 0 nothing, 1 a failed check, or `watch.NOT_FINITE`."""
        return int(Context.from_address(self.address).status)

    def take_failure(self) -> tuple[int, int]:
        """The number and the flat position of the check that failed; clears the record."""
        context = Context.from_address(self.address)
        failure = int(context.check), int(context.position)
        ctypes.memset(self.address, 0, RECORD_BYTES)
        return failure


class ArrayFrame:
    """The same as arrays: the record of failed checks, (status, check, position), and the arena."""

    __slots__ = ("arena", "failures")

    def __init__(self, arena_bytes: int) -> None:
        self.failures = np.zeros(3, np.int64)
        self.arena = np.empty(arena_bytes, np.uint8)

    def take_failure(self) -> tuple[int, int]:
        """The number and the flat position of the check that failed; clears the record."""
        failure = int(self.failures[1]), int(self.failures[2])
        self.failures[:] = 0
        return failure


F = TypeVar("F", Frame, ArrayFrame)


class FramePool(Generic[F]):
    """Frames that no call uses, at most POOL_FRAMES of them and POOL_BYTES in all, but one always.

    more: bytes of a frame beside its arena, as the scratch of workers. `free` is taken from and
    added to by `pop` and `append` alone, which are atomic.
    """

    def __init__(self, arena_bytes: int, make: Callable[[int], F], more: int = 0) -> None:
        self.arena_bytes = arena_bytes
        frame_bytes = FRAME_HEADER + arena_bytes + more
        self.limit = max(1, min(POOL_FRAMES, POOL_BYTES // frame_bytes))
        self.free: list[F] = []
        self._make: Callable[[int], F] = make

    def take(self) -> F:
        """A free frame, or a new one."""
        try:
            return self.free.pop()
        except IndexError:
            return self.new()

    def new(self) -> F:
        """A new frame."""
        return self._make(self.arena_bytes)

    def give(self, frame: F) -> None:
        """Hand a frame back."""
        if len(self.free) < self.limit:
            self.free.append(frame)


class FramePools(Generic[F]):
    """Pools by the size of their frames, each of which has `more` bytes beside its arena."""

    def __init__(self, make: Callable[[int], F], more: int = 0) -> None:
        self._make: Callable[[int], F] = make
        self._more = more
        self._pools: dict[int, FramePool[F]] = {}

    def of(self, arena_bytes: int, exact: bool) -> FramePool[F]:
        """The pool for a size; unless it is to be exact, that of all sizes up to a power of two."""
        room = arena_bytes if exact or not arena_bytes else 1 << (arena_bytes - 1).bit_length()
        return self._pools.setdefault(room, FramePool(room, self._make, self._more))
