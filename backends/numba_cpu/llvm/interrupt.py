"""Ctrl-C while LLVM works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
TICK = 0.5  # seconds


def interruptible(body: Callable[[], T], tick: Callable[[], object]) -> T:
    """The result of `body`, which runs in another thread where this is the main one.

    Python raises KeyboardInterrupt in the main thread alone, and not before a foreign function has
    returned: waiting for a thread it can raise at once. The thread then goes on to its end, and
    what it makes is dropped. tick: called twice a second meanwhile; what it raises does the same.
    """
    if threading.current_thread() is not threading.main_thread():
        return body()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(body())
        except BaseException as error:  # raised again where it was asked for
            errors.append(error)

    thread = threading.Thread(target=run, name="irgrad compile")
    thread.start()
    thread.join(TICK)
    while thread.is_alive():
        tick()
        thread.join(TICK)
    if errors:
        raise errors[0]
    return results[0]
