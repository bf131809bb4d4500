"""Kernels divided between threads: the same bits with any number of them, busy or not, after forks
and to the end of the process."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from divided import CASES, FAILS_AT, Runs, helpers_of, joined, program_of, services_of
from test_processes import run
from test_threads import together

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu import compile_code
from irgrad.backends.numba_cpu.llvm import function, split
from irgrad.backends.numba_cpu.llvm.cpu import host_cpu
from irgrad.backends.numba_cpu.runtime.executable import Code
from irgrad.backends.numba_cpu.runtime.pool import Services
from irgrad.backends.numba_cpu.runtime.pool_text import pool_text

pytestmark = pytest.mark.skipif(not pool_text(), reason="no pool on this machine")
RUNS = 200
BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@contextmanager
def work(least: int, part: int) -> Iterator[None]:
    """Statements of so much work are divided, into parts of at least so much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "SPLIT_WORK", least)
        patch.setattr(function, "PART_WORK", part)
        split.plan_splits.cache_clear()
        yield
    split.plan_splits.cache_clear()


@pytest.fixture(scope="module")
def code() -> Code:
    with work(1 << 20, 1 << 17):
        return compile_code(joined())


@pytest.fixture(scope="module")
def runs(code: Code) -> Runs:
    return Runs.of(code, joined())


def test_each_kind_of_statement_is_divided() -> None:
    private: set[str] = set()
    for case in CASES:
        with work(1 << 20, 1 << 17):
            plans = [
                split.plan_splits(kernel, host_cpu().vector_bytes)
                for kernel in program_of(case).kernels
            ]
        assert any(plans), case
        found = [name for plan in plans for one in plan.values() for name in one.private]
        private |= {f"{case}: {name}" for name in found}
        if case == "check":
            assert plans[-2], "the check itself"
    assert {"softmax: t0", "two row buffers: t0", "two row buffers: t1"} <= private


def test_bits_are_those_of_whole_statements(runs: Runs) -> None:
    """Which are compiled without any division."""
    with work(1 << 60, 1 << 17):
        whole = compile_code(joined())
    assert whole.worker_bytes == 0 < runs.code.worker_bytes
    expected = Runs(whole, runs.inputs, runs.outputs).digest(None)
    assert expected[1] == (0, min(FAILS_AT))
    assert runs.digest(None) == expected


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_bits_do_not_depend_on_threads(runs: Runs, workers: int) -> None:
    services = services_of(runs.code, workers)
    assert services is not None and helpers_of(services) == 0
    found = Counter(runs.digest(services) for _ in range(RUNS))
    assert found == {runs.digest(None): RUNS}
    assert helpers_of(services) == workers - 1


def test_callers_give_a_parallel_for_of_their_own(runs: Runs) -> None:
    """Which may take the parts in any order."""
    seen: set[tuple[int, int]] = set()

    def backwards(pool: int, body: object, data: int, parts: int) -> None:
        seen.add((pool, parts))
        for part in reversed(range(parts)):
            body(data, part, part % 3)  # type: ignore[operator]

    own = ctypes.CFUNCTYPE(None, ctypes.c_void_p, BODY, ctypes.c_void_p, ctypes.c_int64)(backwards)
    address = ctypes.cast(own, ctypes.c_void_p).value
    assert address is not None
    assert runs.digest(Services(address, 4096, 3, 0)) == runs.digest(None)
    assert {pool for pool, _ in seen} == {4096} and max(parts for _, parts in seen) > 3


# -- the pool --------------------------------------------------------------------------------------


class Native:
    """`parallel_for` of a pool as a function of Python."""

    def __init__(self, code: Code, workers: int) -> None:
        services = services_of(code, workers)
        assert services is not None
        self.services: Services = services
        kinds = (ctypes.c_void_p, BODY, ctypes.c_void_p, ctypes.c_int64)
        self.function = ctypes.CFUNCTYPE(None, *kinds)(services.parallel_for)

    def __call__(self, body: Callable[[int, int], None], parts: int) -> None:
        """Run `body(part, worker)` for each part."""
        self.function(None, BODY(lambda _, part, worker: body(part, worker)), None, parts)


@pytest.mark.parametrize("parts", [0, 1, 2, 3, 500])
def test_each_part_runs_once_with_a_worker_of_its_own(code: Code, parts: int) -> None:
    pool, lock = Native(code, 4), threading.Lock()
    done: Counter[int] = Counter()
    inside: set[int] = set()

    def body(part: int, worker: int) -> None:
        with lock:
            assert worker not in inside
            inside.add(worker)
            done[part] += 1
        with lock:
            inside.remove(worker)

    for _ in range(3):
        pool(body, parts)
    assert done == {part: 3 for part in range(parts)}
    assert helpers_of(pool.services) == (3 if parts > 1 else 0)


def test_a_call_that_finds_the_pool_busy_goes_on_alone(code: Code) -> None:
    pool = Native(code, 2)
    inside, go_on = threading.Event(), threading.Event()

    def hold(part: int, worker: int) -> None:
        inside.set()
        assert go_on.wait(30)

    owner = threading.Thread(target=pool, args=(hold, 2))
    owner.start()
    assert inside.wait(30)
    alone: list[tuple[int, int, int]] = []
    for _ in range(2):
        pool(lambda part, worker: alone.append((part, worker, threading.get_ident())), 3)
    assert alone == 2 * [(part, 0, threading.get_ident()) for part in range(3)]
    assert owner.is_alive()
    go_on.set()
    owner.join(30)
    assert not owner.is_alive()


def test_helpers_help(code: Code) -> None:
    both: set[int] = set()
    barrier = threading.Barrier(2, timeout=30)

    def meet(part: int, worker: int) -> None:
        barrier.wait()
        both.add(worker)

    Native(code, 2)(meet, 2)
    assert both == {0, 1}


def test_many_threads_call_a_divided_function() -> None:
    x = np.linspace(-3, 3, 160_000, dtype=np.float32)
    compiled = ig.compile(lambda x: inp.tanh(x) * 2 + x, "f32[n]")  # divided where n is large
    assert "divided between threads:" in compiled.report()
    expected = np.concatenate([compiled(piece) for piece in np.split(x, 160)])
    wrong: list[int] = []

    def calls(number: int) -> None:
        wrong.extend(i for i in range(1000) if not np.array_equal(compiled(x), expected))

    together(16, calls)
    assert not wrong


# -- processes -------------------------------------------------------------------------------------


def test_limits_change_no_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the user, in processes that read them; which end well, with threads of the pool in them.
    """
    found = {}
    processors = len(os.sched_getaffinity(0))
    for limit in ("1", "2"):
        monkeypatch.setenv("IRGRAD_THREADS", limit)
        words = run("pooled.py", "call").split()
        found[limit] = words[3]
        assert words[:3] == ["helpers", str(min(int(limit), processors) - 1), "bits"]
    assert len(set(found.values())) == 1


def test_forks_of_a_busy_process() -> None:
    assert run("pooled.py", "fork").split() == ["children", "12", "ended", "12"]


def test_exits_with_a_call_under_way() -> None:
    assert run("pooled.py", "exit").split() == ["calls"]
