"""Forks while another thread compiles without end; each child calls what is there and compiles."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import irgrad as ig
import irgrad.numpy as inp

CHILDREN = 8
PATIENCE = 20.0  # seconds that a child may take


def function(number: float) -> Callable[[Any], Any]:
    return ig.jit(lambda x: inp.tanh(x * number) + inp.exp(x).sum())


def child(shared: Callable[[Any], Any], number: int) -> bool:
    """Call, compile for a new signature, and compile another function."""
    x = np.full(3, 0.5)
    expected = np.tanh(x * 1.5) + np.exp(x).sum()
    found = [shared(x), shared(np.full(4 + number, 0.5))[:3], function(1.5 + number)(x)]
    return bool(np.allclose(found[0], expected)) and all(len(one) == 3 for one in found)


def wait_for(pid: int) -> bool:
    """Whether a child ended well, in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


def main() -> None:
    shared = function(1.5)
    shared(np.ones(3))
    stop = threading.Event()

    def compile_on() -> None:
        number = 2.0
        while not stop.is_set():
            function(number)(np.ones(3))
            number += 1

    other = threading.Thread(target=compile_on)
    other.start()
    ended = 0
    for number in range(CHILDREN):
        pid = os.fork()
        if not pid:
            os._exit(0 if child(shared, number) else 1)
        ended += wait_for(pid)
    stop.set()
    other.join()
    print("children", CHILDREN, "ended", ended)


if __name__ == "__main__":
    main()
