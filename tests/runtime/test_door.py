"""The native door: its answers, its fallback, and threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad.backends.numba_cpu import compile_code
from irgrad.backends.numba_cpu.runtime import frames, layout
from irgrad.backends.numba_cpu.runtime.executable import Executable
from irgrad.driver import stage_graphs
from irgrad.passes.lower import lower
from irgrad.runtime.options import Options
from irgrad.tracing.trace import trace

PLAIN = np.arange(6, dtype=np.float32).reshape(2, 3)
OFFSET = np.ones(3, np.float32)


def build(
    f: Callable[..., Any], *specs: str, door: bool, donate: tuple[int, ...] = ()
) -> Executable:
    traced = trace(f, *specs, donate=donate)
    graph = list(stage_graphs(traced, Options()).values())[-1]
    program = lower(graph)
    return Executable(program, graph, compile_code(program), through_door=door)


def unusual() -> dict[str, Any]:
    swapped, frozen_dtype = PLAIN.astype(">f4"), PLAIN.copy()
    return {
        "shape": np.zeros((3, 2), np.float32),
        "rank": np.zeros(6, np.float32),
        "dtype": np.zeros((2, 3)),
        "strided": np.zeros((2, 6), np.float32)[:, ::2],
        "byte-swapped": swapped,
        "subclass": frozen_dtype.view(np.matrix),
        "number": 1.0,
        "NumPy scalar": np.float32(1),
        "nothing": None,
        "list": [[1.0]],
    }


@pytest.fixture(scope="module", params=[True, False], ids=["door", "python"])
def executable(request: pytest.FixtureRequest) -> Executable:
    return build(lambda x, y: (x + y + OFFSET, y), "f32[2,3]", "f32[2,3]", door=request.param)


def test_plain_arrays_pass(executable: Executable) -> None:
    leaves = executable.call((PLAIN, PLAIN * 2))
    assert leaves is not None
    np.testing.assert_array_equal(leaves[0], PLAIN * 3 + 1)
    np.testing.assert_array_equal(leaves[1], PLAIN * 2)


@pytest.mark.parametrize("kind", list(unusual()))
def test_all_else_is_left_to_python(executable: Executable, kind: str) -> None:
    value = unusual()[kind]
    assert executable.call((PLAIN, value)) is None
    assert executable.call((value, PLAIN)) is None


def test_argument_counts_are_checked(executable: Executable) -> None:
    for arguments in ((), (PLAIN,), (PLAIN, PLAIN, PLAIN)):
        assert executable.call(arguments) is None


@pytest.mark.parametrize("door", [True, False])
def test_donated_arguments_have_to_be_writeable_and_apart(door: bool) -> None:
    executable = build(lambda x, y: x + y, "f32[6]", "f32[6]", door=door, donate=(0,))
    block = np.arange(12, dtype=np.float32)
    frozen = block[:6].copy()
    frozen.flags.writeable = False
    assert executable.call((frozen, block[6:])) is None
    for start in (0, 1, 5):
        assert executable.call((block[start : start + 6], block[:6])) is None
    np.testing.assert_array_equal(block, np.arange(12))
    leaves = executable.call((block[:6], frozen))
    assert leaves is not None
    np.testing.assert_array_equal(block[:6], 2 * frozen)


def test_the_layout_of_objects_is_checked_on_live_ones(monkeypatch: Any) -> None:
    assert layout.layout_is_known.__wrapped__()
    for name in ("ARRAY_DATA", "ARRAY_NDIM", "ARRAY_FLAGS", "ARRAY_DESCR", "TUPLE_SIZE"):
        with monkeypatch.context() as changed:
            changed.setattr(layout, name, getattr(layout, name) + 8)
            assert not layout.layout_is_known.__wrapped__()


def test_reference_counts_do_not_move() -> None:
    f = ig.compile(lambda x, y: x + y, "f32[2,3]", "f32[2,3]")
    x, y = PLAIN.copy(), PLAIN.copy()
    before = sys.getrefcount(x), sys.getrefcount(y)
    dtype_before = sys.getrefcount(np.dtype(np.float32))
    results = [f(x, y) for _ in range(1000)]
    held = sys.getrefcount(results[0])
    assert held == 2  # the list's and the call's
    del results
    assert (sys.getrefcount(x), sys.getrefcount(y)) == before
    assert abs(sys.getrefcount(np.dtype(np.float32)) - dtype_before) < 500


def test_frames_are_reused_and_trimmed() -> None:
    pool = frames.FramePool(1 << 25, frames.Frame)
    taken = [pool.take() for _ in range(4)]
    assert len({frame.address for frame in taken}) == 4
    assert all(frame.address % 64 == 0 for frame in taken)
    for frame in taken:
        pool.give(frame)
    assert len(pool.free) == 1
    assert pool.take() is taken[0]
    assert frames.FramePool(1 << 40, frames.Frame).limit == 1
    assert frames.FramePool(1 << 20, frames.Frame, 63 << 20).limit == 1  # scratch of workers


@pytest.mark.parametrize("size", [5, 20000])
def test_threads_share_a_function(size: int) -> None:
    def f(x: Any, y: Any) -> Any:
        z = np.exp(x - x.max()) + y
        return z / z.sum(), (z * y).sum()

    jitted = ig.jit(f)
    rng = np.random.default_rng(1)
    inputs = [(rng.normal(size=size), rng.normal(size=size)) for _ in range(8)]
    expected = [ig.jit(f)(*pair) for pair in inputs]
    wrong: list[int] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(200):
            got = jitted(*inputs[number])
            if any(a.tobytes() != b.tobytes() for a, b in zip(got, expected[number])):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert jitted.cache_info().compiles == 1
