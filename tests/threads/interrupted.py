"""Sends itself SIGINT at many times of a compile, and calls the function again each time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends import numba_cpu

ROUNDS = 20
X = np.full((8, 8), 0.01)


def function(number: float) -> Callable[[Any], Any]:
    def body(x: Any) -> Any:
        for i in range(3):
            x = inp.tanh(x @ x * (number + i)) + inp.exp(x).sum(axis=0)
        return x

    return ig.jit(body)


def interrupt(body: Callable[[], Any], delay: float) -> float | None:
    """Seconds from the signal to its exception; None where `body` had ended before."""
    sent: list[float] = []

    def send() -> None:
        time.sleep(delay)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    found = None
    try:
        sender.start()
        body()
        sender.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        found = time.perf_counter() - sent[0]
    sender.join()
    return found


def compile_elsewhere(number: float) -> None:
    """Another thread can compile: no lock was left behind."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(function(number)(X)), daemon=True)
    thread.start()
    thread.join(20)
    assert done, "another thread is stuck"


def main() -> None:
    function(0.5)(X)
    start = time.perf_counter()
    function(0.25)(X)
    whole = time.perf_counter() - start
    waits: list[float] = []
    for number in range(1, ROUNDS + 1):
        # Half of the rounds wait for LLVM in a thread, as compiles of many kernels do.
        with mock.patch.object(numba_cpu, "MANY_KERNELS", 0 if number % 2 else 10**6):
            jitted = function(float(number))
            waited = interrupt(lambda: jitted(X), whole * number / (ROUNDS + 1))  # noqa: B023
            if waited is not None:
                waits.append(waited)
            expected = X
            for i in range(3):
                expected = np.tanh(expected @ expected * (number + i)) + np.exp(expected).sum(0)
            np.testing.assert_allclose(jitted(X), expected, rtol=1e-9)
        assert jitted.cache_info().compiles == 1  # type: ignore[attr-defined]
        if number % 7 == 0:
            compile_elsewhere(number + 0.5)
    print("interrupted", len(waits), "waited", f"{max(waits, default=0.0):.3f}")


if __name__ == "__main__":
    main()
