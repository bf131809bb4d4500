"""Programs for the tests of the disk cache, and ways to look at what it does with them."""

from __future__ import annotations

import gc
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest

import irgrad as ig
from irgrad import cached
from irgrad.config import environment_with, read_config
from irgrad.ir import Graph
from irgrad.runtime import cache_key
from irgrad.runtime.options import Options

WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
SPECS = ("f32[5,4]", "f32[3]")
X = np.linspace(0, 2, 20, dtype=np.float32).reshape(5, 4)
Y = np.array([0.5, 1.0, 2.0], np.float32)


def model(x: Any, y: Any) -> Any:
    ig.check((y > 0).all(), "positive")
    return np.tanh(x @ WEIGHTS) * y, y


def same_model(x: Any, y: Any) -> Any:
    """The same graph from other lines."""
    ig.check((y > 0).all(), "positive")
    return np.tanh(x @ WEIGHTS) * y, y


def expected() -> np.ndarray:
    return np.tanh(X.astype(np.float64) @ WEIGHTS) * Y


def find(graph: Graph, options: Options | None = None) -> Any:
    """What the cache has of a graph, without compiling: a hit, a miss, or why it is not asked."""
    return cached._find(graph, "cpu", options or Options(), read_config())


def is_hit(graph: Graph, options: Options | None = None) -> bool:
    return isinstance(find(graph, options), cached._Hit)


@contextmanager
def no_compiles() -> Iterator[None]:
    """Fails where LLVM compiles something."""
    with mock.patch.object(llvm.TargetMachine, "emit_object", side_effect=AssertionError):
        yield


def settle_source(patch: pytest.MonkeyPatch) -> None:
    """Take the source files as older than this process, whoever edits them meanwhile."""
    patch.setattr(cache_key, "process_start", lambda: math.inf)


def forget() -> None:
    """Drop the code that nothing uses."""
    gc.collect()


# The source is taken as one that nobody edits while the processes run.
PRELUDE = """
import math, sys
import irgrad as ig
from irgrad import cached
from irgrad.runtime import cache_key
cache_key.process_start = lambda: math.inf
cache_key.package_source = cached.package_source = lambda folder: cache_key.Source("same", 0.0)
import llvmlite.binding as llvm
emit, compiled = llvm.TargetMachine.emit_object, []
def counted(machine, module):
    compiled.append(module.name)
    return emit(machine, module)
llvm.TargetMachine.emit_object = counted
import numpy as np
"""


def start_process(script: str, folder: str, **settings: str) -> subprocess.Popen[str]:
    """A fresh process that runs a script with a cache."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment_with({"IRGRAD_CACHE": folder, **settings}),
    )


def output(process: subprocess.Popen[str]) -> str:
    """What a process printed; AssertionError where it failed."""
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    return text
