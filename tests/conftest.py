"""Counts what the whole run compiles, prints it, and holds it to a limit."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import llvmlite.binding as llvm
import pytest

MAX_COMPILES = 400
COMPILES = pytest.StashKey[int]()


@pytest.fixture(scope="session", autouse=True)
def _count_compiles(request: pytest.FixtureRequest) -> Iterator[None]:
    """Counts object files: one for each module that LLVM compiles in this process."""
    emit = llvm.TargetMachine.emit_object
    stash = request.config.stash
    stash[COMPILES] = 0

    def counted(machine: llvm.TargetMachine, module: llvm.ModuleRef) -> bytes:
        stash[COMPILES] += 1
        return emit(machine, module)

    with mock.patch.object(llvm.TargetMachine, "emit_object", counted):
        yield
    assert stash[COMPILES] <= MAX_COMPILES, f"{stash[COMPILES]} compiles, limit {MAX_COMPILES}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = terminalreporter.config.stash.get(COMPILES, 0)
    terminalreporter.write_line(f"compiled {count} modules (limit {MAX_COMPILES})")
