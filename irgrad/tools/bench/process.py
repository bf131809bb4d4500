"""Contenders as child processes, each on one core with one thread."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from ...config import environment_with
from ...errors import BackendError

ONE_THREAD = MappingProxyType(
    {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NUMEXPR_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "JAX_PLATFORMS": "cpu",
    }
)


class Process:
    """A contender that runs until it is closed."""

    def __init__(self, peer: str, core: int) -> None:
        self.peer = peer
        self._child = subprocess.Popen(
            [sys.executable, "-m", "irgrad.tools.bench.worker", peer, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_with(ONE_THREAD),
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request of `worker`; BackendError where the contender fails."""
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BackendError(f"{self.peer}: expected an answer, got the end of its process")
        answer = json.loads(line)
        if "error" in answer:
            raise BackendError(f"{self.peer}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.kill()
        self._child.wait()
        self._child.stdin.close()
        self._child.stdout.close()


def measuring_core() -> int:
    """The core that contenders run on: the last one that this process may use."""
    return max(os.sched_getaffinity(0))


@contextmanager
def on_measuring_core() -> Iterator[None]:
    """Hold this process to that core for a while."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {measuring_core()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def processor() -> str:
    """The name of this machine's processor."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()
