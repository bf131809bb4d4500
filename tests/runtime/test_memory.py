"""Memory of runs, counted: what is planned is what is used, and calls and functions leave nothing.

tracemalloc sees the blocks of Python and the data of NumPy's arrays.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends import numba_cpu
from irgrad.backends.numba_cpu.runtime.executable import _addresses
from irgrad.backends.numba_cpu.runtime.frames import Frame
from irgrad.driver import stage_graphs
from irgrad.ir.types import DTYPES
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.ir import Accumulate, Load, Store, walk
from irgrad.kernel.program import Program
from irgrad.passes.lower import lower

ALIGNMENT = 64
GUARD = 4096
CALLS = 10_000
FILLING = 2_500
LIMIT = 1024  # bytes: less than any array of the programs below, and 0.1 a call
X = np.random.default_rng(0).uniform(-1, 1, (37, 160))


def chain(x: Any) -> Any:
    """Steps that cannot be fused; every value on the way is an array of more than LIMIT bytes."""
    for _ in range(5):
        x = (x / (1 + abs(x).sum(axis=0)))[::-1]
    return x


def loss(params: Any, x: Any, target: Any) -> Any:
    hidden = inp.tanh(x @ params["w"] + params["b"])
    error = inp.tanh(hidden @ params["v"]) - target
    return (error * error).mean()


def training(params: Any, x: Any, target: Any) -> Any:
    ig.check(target > 0, "positive")
    value, gradients = ig.value_and_grad(loss)(params, x, target)
    return value, {name: params[name] - 0.1 * gradients[name] for name in params}


def training_arguments() -> Any:
    rng = np.random.default_rng(1)
    shapes = {"w": (20, 24), "b": (24,), "v": (24, 24)}
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return params, np.ones((48, 20), np.float32), np.ones((48, 24), np.float32)


@pytest.fixture(scope="module")
def chained() -> ig.Compiled:
    return ig.compile(chain, X)


@pytest.fixture(scope="module")
def trained() -> ig.Compiled:
    return ig.compile(training, *training_arguments(), donate=(0,))


@pytest.fixture(scope="module")
def named() -> ig.Compiled:
    return ig.compile(chain, "f64[n,160]")


# -- what is planned -------------------------------------------------------------------------------


def live_bytes(program: Program) -> list[int]:
    """For each call the bytes of the arena, in whole blocks of ALIGNMENT, that hold what this call
    or a later one reads, or what this call writes."""
    live = np.zeros((len(program.calls), program.arena_bytes), bool)
    writer = np.full(program.arena_bytes, -1)
    for step, call in enumerate(program.calls):
        kernel = program.kernels[call.kernel]
        for slot, buffer in zip(call.slots, kernel.buffers, strict=True):
            if slot.kind != "arena":
                continue
            size = buffer.size * DTYPES[buffer.dtype].itemsize
            place = slice(slot.number, slot.number - -size // ALIGNMENT * ALIGNMENT)
            live[step, place] = True
            first = next(
                s for s in walk(kernel.body)
                if isinstance(s, Load | Store | Accumulate) and s.buffer == buffer.name
            ) if buffer.access == "update" else None  # fmt: skip
            if buffer.access == "read" or (first is not None and not isinstance(first, Store)):
                begun = set(writer[place].tolist())
                assert min(begun) >= 0, "a call reads what no call has written"
                for between in range(min(begun), step):
                    live[between, place] |= writer[place] <= between
            if buffer.access in ("write", "update"):
                writer[place] = step
    return live.sum(axis=1).tolist()


def written_bytes(
    compiled: ig.Compiled, size: int, arguments: Any, poison: int
) -> tuple[np.ndarray, Any]:
    """Run the entry on an arena of exactly `size` bytes between guards.

    Gives which of its bytes are no longer the poison, and the results. Asserts that the guards are.
    """
    leaves = optree.tree_leaves(arguments)
    instance = compiled._parts.executable._of(leaves)
    results = [
        leaves[r.number] if r.kind == "donated" else np.empty(r.shape, DTYPES[r.dtype].numpy)
        for r in instance.plan.results
    ]
    arrays = instance.plan.bound_arrays(tuple(leaves), results)
    memory = np.full(size + 2 * GUARD + ALIGNMENT, poison, np.uint8)
    address = memory.__array_interface__["data"][0]
    start = -(-(address + GUARD) // ALIGNMENT) * ALIGNMENT
    frame = Frame(0)
    buffers = _addresses((*arrays.inputs, *arrays.outputs))
    dims = instance.dims.__array_interface__["data"][0]
    assert instance._entry(frame.address, dims, buffers, start) == 0
    begin = start - address
    assert (memory[:begin] == poison).all(), "written before the arena"
    assert (memory[begin + size :] == poison).all(), "written behind the arena"
    return memory[begin : begin + size] != poison, results


@pytest.mark.parametrize("name", ["chained", "trained"])
def test_a_run_uses_what_is_planned(name: str, request: pytest.FixtureRequest) -> None:
    compiled: ig.Compiled = request.getfixturevalue(name)
    program = compiled._parts.program
    assert program is not None
    peak = compiled.plan.peak_bytes
    assert max(live_bytes(program)) == program.arena_bytes <= peak
    make: Callable[[], Any] = training_arguments if name == "trained" else lambda: (X,)
    first, results = written_bytes(compiled, peak, make(), 0xA5)
    second, again = written_bytes(compiled, peak, make(), 0x5A)
    used = np.flatnonzero(first | second)  # no byte has both values
    if peak == program.arena_bytes:
        assert peak - used[-1] <= ALIGNMENT
    else:
        assert used[-1] >= program.arena_bytes, "no scratch is used"
    for one, other, called in zip(
        results, again, optree.tree_leaves(compiled(*make())), strict=True
    ):
        np.testing.assert_array_equal(one, other)  # whatever was in the arena before
        np.testing.assert_array_equal(one, called)


@pytest.mark.parametrize("n", [1, 7, 64])
def test_named_sizes_use_what_is_planned_for_their_numbers(named: ig.Compiled, n: int) -> None:
    program = named._parts.program
    assert program is not None and program.slots
    numbers = instantiate(program, {"n": n})
    peak = named.plan.peak_bytes_at(n=n)
    x = np.linspace(-1, 1, n * 160).reshape(n, 160)
    assert max(live_bytes(numbers)) <= numbers.arena_bytes <= peak
    first, (result,) = written_bytes(named, peak, (x,), 0xA5)
    second, (again,) = written_bytes(named, peak, (x,), 0x5A)
    used = np.flatnonzero(first | second)
    assert numbers.arena_bytes - used[-1] <= 2 * ALIGNMENT
    np.testing.assert_array_equal(result, again)
    np.testing.assert_allclose(result, chain(x), rtol=1e-12)


def widths(x: Any) -> Any:
    """A chain of values of other sizes, each dead one step later."""
    for n in (40, 10, 60, 20, 30, 50, 16):
        x = inp.tanh(x @ inp.ones((x.shape[1], n)))
    return x


def squares(x: Any) -> Any:
    return (widths(x) ** 2).sum()


# A function, and by how much its plan is larger than what is in use at once.
PLANNED: dict[str, tuple[Callable[..., Any], str, float]] = {
    "widths": (widths, "f64[24,33]", 1.0),
    "gradient": (ig.grad(squares), "f64[24,33]", 1.0),
    "second": (ig.grad(lambda x: (ig.grad(squares)(x) ** 2).sum()), "f64[5,7]", 1.03),
    "batch": (ig.vmap(squares), "f64[6,5,7]", 1.2),
}


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_is_hardly_larger_than_what_is_in_use(name: str) -> None:
    function, spec, waste = PLANNED[name]
    stages = stage_graphs(ig.trace(function, spec), ig.Options())
    program = lower(list(stages.values())[-1])
    peak = max(live_bytes(program))
    assert peak <= program.arena_bytes <= waste * peak


# -- calls -----------------------------------------------------------------------------------------


def traced_growth(call: Callable[[], Any], calls: int) -> tuple[int, int]:
    """By how much traced memory has grown after the calls, and at its peak among them.

    A full collection empties the lists of blocks that Python keeps for reuse, up to 2,000 of a
    kind, which calls fill again: so it comes first, and FILLING calls after it.
    """
    call()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(FILLING):
            call()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(calls):
            call()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, peak - before


def test_a_bound_call_allocates_nothing(chained: ig.Compiled, trained: ig.Compiled) -> None:
    calls = {"chain": chained.bind(X), "training": trained.bind(*training_arguments())}
    for name, bound in calls.items():
        growth, peak = traced_growth(bound, CALLS)
        assert growth < LIMIT, name
        assert peak < LIMIT, name


def test_ten_thousand_calls_leave_nothing(chained: ig.Compiled) -> None:
    jitted = ig.jit(chain)
    params, x, target = training_arguments()
    stepped = ig.jit(training, donate=(0,))
    calls: dict[str, Callable[[], Any]] = {
        "plain": lambda: jitted(X),
        "by name": lambda: jitted(x=X),
        "copied at the boundary": lambda: jitted(X[::-1]),
        "trees and donation": lambda: stepped(params, x, target),
        "compiled": lambda: chained(X),
    }
    for name, call in calls.items():
        growth, _ = traced_growth(call, CALLS if name == "plain" else CALLS // 4)
        assert growth < LIMIT, name
    assert jitted.cache_info().compiles == stepped.cache_info().compiles == 1


def test_failed_calls_leave_nothing(chained: ig.Compiled, trained: ig.Compiled) -> None:
    params, x, target = training_arguments()
    target[3] = -1

    def fails(call: Callable[[], Any], error: type[Exception]) -> None:
        try:
            call()
        except error:
            return
        raise AssertionError("it did not fail")

    calls: tuple[tuple[Callable[[], Any], type[Exception]], ...] = (
        (lambda: chained(np.zeros(3)), ig.errors.ArgumentError),
        (lambda: trained(params, x, target), ig.errors.CheckError),
    )
    for call, error in calls:
        growth, _ = traced_growth(lambda call=call, error=error: fails(call, error), 500)
        assert growth < LIMIT


# -- functions -------------------------------------------------------------------------------------


def test_a_thousand_dropped_functions_leave_nothing() -> None:
    """Functions, variables, graphs and histories go; the code of the backend is as before."""
    gc.collect()
    codes = numba_cpu._codes()._codes
    before = len(codes)

    def once(number: int) -> tuple[weakref.ref[Any], ...]:
        array = np.full(2, float(number))
        function = ig.jit(lambda x: x * array, target="reference")
        assert function(np.ones(2))[0] == number
        compiled = function.compiled(np.ones(2))
        return tuple(map(weakref.ref, (function, array, compiled, compiled.graph,
                                       compiled._parts.executable, function.history)))  # fmt: skip

    dropped = [ref for number in range(1000) for ref in once(number)]
    gc.collect()
    assert not [ref for ref in dropped if ref() is not None]
    assert len(codes) == before


def is_executable(address: int) -> bool:
    """Whether an address of this process is mapped as code."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights = line.split()[:2]
        first, end = (int(word, 16) for word in place.split("-"))
        if first <= address < end:
            return "x" in rights
    return False


def test_machine_code_is_unmapped_with_its_last_function() -> None:
    codes = numba_cpu._codes()._codes
    gc.collect()
    before = len(codes)
    function = ig.jit(lambda x: np.arctan(x) * 1.0625)
    other = ig.jit(lambda x: np.arctan(x) * 1.0625)
    expected = function(np.ones(5))
    np.testing.assert_array_equal(other(np.ones(5)), expected)
    bound = other.compiled(np.ones(5)).bind(np.ones(5))
    code = function.compiled(np.ones(5))._parts.executable._code
    address, alive = code.address, weakref.ref(code)
    assert len(codes) == before + 1
    del function, code
    gc.collect()
    del other
    gc.collect()
    assert alive() is not None, "the bound call still runs it"
    np.testing.assert_array_equal(bound(), expected)
    if Path("/proc/self/maps").exists():
        assert is_executable(address)
    del bound
    gc.collect()
    assert alive() is None
    assert len(codes) == before
    assert not Path("/proc/self/maps").exists() or not is_executable(address)
