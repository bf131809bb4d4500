"""The pool of threads that divided kernels of this process share; see `pool_text` for how it works.

Its threads are the system's own: they know nothing of Python, so they neither need nor hold the
interpreter's lock, and end with the process. They are made when first there is work to divide.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from irgrad.runtime.processors import available_threads

from .pool_text import pool_text

_LIBRARY = ("pthread_create", "pthread_sigmask", "syscall", "getpid")


@dataclass(frozen=True, slots=True)
class Services:
    """What an irg_ctx offers: the addresses of `parallel_for` and of its pool; how many workers.

    helpers: the address of `int64_t (void)`, which counts the threads that the pool has made.
    """

    parallel_for: int
    pool: int
    workers: int
    helpers: int


@cache
def shared_services(door: bytes) -> Services | None:
    """The pool of this process, with as many workers as it has threads; None for a single one.

    door: the object file of the door, which has the pool's code.
    """
    from .door import load_door

    workers = available_threads().count
    return make_services(load_door(door).addresses, workers) if workers > 1 else None


def make_services(addresses: Mapping[str, int], workers: int) -> Services | None:
    """A pool of `workers`, the calling thread among them; None where this machine has none.

    addresses: of a door's functions.
    """
    if not pool_text():
        return None
    library = ctypes.CDLL(None)
    try:
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in _LIBRARY]
    except AttributeError:
        return None
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, *(ctypes.c_void_p,) * len(found))
    prototype(addresses["irg_pool_configure"])(workers - 1, *found)
    return Services(
        addresses["irg_parallel_for"], 0, workers, addresses["irg_pool_helpers"]
    )
