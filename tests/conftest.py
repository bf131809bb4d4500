"""Counts what the whole run compiles, prints it, and holds it to a limit.

Tests of derivatives, of errors and of the traced NumPy call transforms on arrays hundreds of times.
There the graphs are run by the interpreter, the oracle; that kernels equal it is tested elsewhere.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest

import irgrad.differentiation
from irgrad.interpret import interpret
from irgrad.ir import Graph
from irgrad.jitted import Plan

MAX_COMPILES = 400
INTERPRETED = frozenset({"autodiff", "batching", "errors", "numpy"})
COMPILES = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what runs in its background deaf to Ctrl-C, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "interpreted: transforms run graphs by the interpreter")


@pytest.fixture(scope="session", autouse=True)
def _count_compiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Counts object files: one for each module that LLVM compiles in this process."""
    emit = llvm.TargetMachine.emit_object
    stash = request.config.stash
    stash[COMPILES] = 0

    def counted(machine: llvm.TargetMachine, module: llvm.ModuleRef) -> bytes:
        stash[COMPILES] += 1
        return emit(machine, module)

    with (
        mock.patch.object(llvm.TargetMachine, "emit_object", counted),
        mock.patch.dict(os.environ, IRGRAD_CACHE="off"),  # what counts is compiled
    ):
        yield
    assert stash[COMPILES] <= MAX_COMPILES, f"{stash[COMPILES]} compiles, limit {MAX_COMPILES}"


def _interpreted(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.array(result) for result in interpret(graph, arrays)]


@pytest.fixture(autouse=True)
def _derivatives_by_the_interpreter(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = request.node.get_closest_marker("interpreted") is not None
    if marked or request.path.parent.name in INTERPRETED:
        monkeypatch.setattr(irgrad.differentiation, "_execute", _interpreted)
        monkeypatch.setattr(irgrad.differentiation, "Plan", partial(Plan, target="reference"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = terminalreporter.config.stash.get(COMPILES, 0)
    terminalreporter.write_line(f"compiled {count} modules (limit {MAX_COMPILES})")
