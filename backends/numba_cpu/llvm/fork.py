"""LLVM beside os.fork."""

from __future__ import annotations

import os
from functools import cache


@cache
def let_forks_wait() -> None:
    """From now on let os.fork wait until no other thread is inside of LLVM.

    A child that is born while one is would have LLVM's locks, and that of llvmlite, held by a
    thread that it does not have, and wait for them forever.
    """
    from llvmlite.binding import ffi

    lock = ffi.lib._lock

    def leave() -> None:
        lock.__exit__(None, None, None)

    os.register_at_fork(before=lock.__enter__, after_in_parent=leave, after_in_child=leave)
