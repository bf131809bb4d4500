"""A process with a pool: calls, forks while other threads call, or ends while one does."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from typing import Any

import numpy as np
from divided import helpers_of
from forking import wait_for

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu.runtime.door import door_object
from irgrad.backends.numba_cpu.runtime.pool import Services, shared_services

CHILDREN = 12
X = np.linspace(-3, 3, 200_000, dtype=np.float32)


def function() -> Any:
    return ig.compile(lambda x: inp.tanh(x) * 2 + x, X)


def helpers() -> int:
    services: Services | None = shared_services(door_object())
    return 0 if services is None else helpers_of(services)


def call() -> None:
    compiled = function()
    assert helpers() == 0
    result = compiled(X)
    print("helpers", helpers(), "bits", hashlib.sha256(result).hexdigest())


def fork() -> None:
    """Children use what was compiled, in new frames and in those of the parent."""
    compiled = function()
    bound = compiled.bind(X)
    expected, threads = compiled(X), helpers()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            compiled(X)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in workers:
        thread.start()
    ended = 0
    for _ in range(CHILDREN):
        pid = os.fork()
        if not pid:
            good = helpers() == 0
            results = [compiled(X), bound(), compiled(X)]
            good = good and all(np.array_equal(result, expected) for result in results)
            os._exit(0 if good and helpers() == threads else 1)
        ended += wait_for(pid)
    stop.set()
    for thread in workers:
        thread.join()
    print("children", CHILDREN, "ended", ended)


def end() -> None:
    compiled = function()
    compiled(X)
    started = threading.Event()

    def work() -> None:
        while True:
            compiled(X)
            started.set()

    threading.Thread(target=work, daemon=True).start()
    assert started.wait(30)
    print("calls")


if __name__ == "__main__":
    {"call": call, "fork": fork, "exit": end}[sys.argv[1]]()
