"""Any number of threads call and compile; nothing is locked during a call, and bits are equal."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.backends.numba_cpu.llvm.interrupt import interruptible
from irgrad.errors import ArgumentError

THREADS = 16
CALLS = 1000
LARGE = 1500
SQUARE = np.full((LARGE, LARGE), 0.5)


def model(w: Any, x: Any) -> Any:
    """A product, a reduction over its rows, and a result that depends on all of it."""
    hidden = inp.tanh(x @ w)
    return hidden / (1 + (hidden * hidden).sum(axis=1, keepdims=True)), hidden.sum()


W = np.random.default_rng(0).normal(size=(24, 20))
INPUTS = [np.random.default_rng(i).normal(size=(12, 24)) for i in range(8)]


@pytest.fixture(scope="module")
def step() -> ig.Compiled:
    return ig.compile(model, W, INPUTS[0])


@pytest.fixture(scope="module")
def product() -> ig.Compiled:
    """A function that runs for a while."""
    return ig.compile(lambda x, y: x @ y, f"f64[{LARGE},{LARGE}]", f"f64[{LARGE},{LARGE}]")


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Lets threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(count: int, body: Callable[[int], None]) -> None:
    """Run `body(number)` in threads that start at once; raises what one of them raised."""
    barrier = threading.Barrier(count)

    def work(number: int) -> None:
        barrier.wait(30)
        body(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work, i) for i in range(count)]:
            future.result(120)


def digest(results: Any) -> str:
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in results)).hexdigest()


def test_many_threads_call_one_function_bit_equal(step: ig.Compiled, eager_switches: None) -> None:
    expected = [digest(step(W, x)) for x in INPUTS]
    jitted = ig.jit(model)
    found: list[Counter[tuple[int, str]]] = [Counter() for _ in range(THREADS)]

    def work(number: int) -> None:
        function = step if number % 2 else jitted
        for i in range(CALLS):
            which = (i * 7 + number) % len(INPUTS)
            found[number][which, digest(function(W, INPUTS[which]))] += 1

    together(THREADS, work)
    total = sum(found, Counter())
    assert total.total() == THREADS * CALLS
    assert {which: bits for which, bits in total} == dict(enumerate(expected))
    assert len(total) == len(INPUTS)
    assert jitted.cache_info().compiles == 1


def test_threads_call_one_function_with_sizes_of_their_own(eager_switches: None) -> None:
    """A function with a named size, called for several numbers at once, mixes nothing up."""
    call = ig.compile(model, "f64[24,20]", "f64[n,24]")
    inputs = [np.random.default_rng(n).normal(size=(n, 24)) for n in (0, 1, 7, 12, 33, 64)]
    expected = [digest(call(W, x)) for x in inputs]
    wrong: list[int] = []

    def body(number: int) -> None:
        for i in range(CALLS // 4):
            which = (number + i * (number % 3)) % len(inputs)
            if digest(call(W, inputs[which])) != expected[which]:
                wrong.append(which)

    together(THREADS, body)
    assert not wrong


def test_threads_compile_one_function_once_and_several_at_once(eager_switches: None) -> None:
    one = ig.jit(model)
    several = ig.jit(model, target="reference")
    got: list[str] = []

    def work(number: int) -> None:
        got.append(digest(one(W, INPUTS[0])))
        for size in range(1, 6):
            several(W, INPUTS[number % 8][: 1 + (size + number) % 5])

    together(8, work)
    assert len(set(got)) == 1
    assert one.cache_info().compiles == 1
    assert several.cache_info().compiles == 5


def test_a_compile_locks_its_own_signature_alone() -> None:
    """While one thread is held up inside of a trace, others call and compile the same function."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        if waits:
            waits.clear()
            inside.set()
            assert go_on.wait(30)
        return x * 2

    waits = [True]
    function = ig.jit(slow, target="reference")
    held = threading.Thread(target=function, args=(np.ones(3),))
    held.start()
    assert inside.wait(30)
    # One thread is tracing for float64[3]; other signatures are compiled and called meanwhile.
    assert function(np.ones(4)).tolist() == [2] * 4
    assert function(np.ones(4)).tolist() == [2] * 4
    assert held.is_alive()
    go_on.set()
    held.join(30)
    assert function.cache_info().compiles == 2


def test_bound_functions_refuse_a_second_caller(step: ig.Compiled, product: ig.Compiled) -> None:
    bound = product.bind(SQUARE, SQUARE)
    refusals: list[str] = []
    first = threading.Thread(target=bound)
    first.start()
    while first.is_alive():
        try:
            bound()
        except ArgumentError as error:
            refusals.append(str(error).split("\n")[0])
            break
    first.join(60)
    assert refusals == [
        "main: expected one caller of a bound call at a time, got a second one; bind once for "
        "each thread"
    ]
    np.testing.assert_array_equal(bound(), product(SQUARE, SQUARE))
    # One for each thread works, and gives the bits of a call.
    expected = [digest(step(W, x)) for x in INPUTS]

    def work(number: int) -> None:
        own = step.bind(W, INPUTS[number])
        for _ in range(200):
            assert digest(own()) == expected[number]

    together(len(INPUTS), work)


def test_what_llvm_is_waited_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irgrad.backends.numba_cpu.llvm.interrupt.TICK", 0.01)
    go_on = threading.Event()
    assert interruptible(lambda: go_on.wait(30) and threading.current_thread(), go_on.set) not in (
        False, threading.main_thread(),
    )

    def fail() -> None:
        raise ArgumentError("body")

    def stop() -> None:
        go_on.set()
        raise TimeoutError("tick")

    with pytest.raises(ArgumentError, match="body"):
        interruptible(fail, go_on.set)
    go_on.clear()
    with pytest.raises(TimeoutError, match="tick"):
        interruptible(lambda: go_on.wait(30), stop)
    found: list[Any] = []
    other = threading.Thread(
        target=lambda: found.append(interruptible(threading.current_thread, stop))
    )
    other.start()
    other.join(30)
    assert found == [other]


def test_asyncio(step: ig.Compiled, product: ig.Compiled) -> None:
    """Calls go to threads; the loop stays free while they run."""
    jitted = ig.jit(model)

    async def serve() -> list[str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        calls = [asyncio.to_thread(jitted, W, x) for x in INPUTS for _ in range(5)]
        results = await asyncio.gather(*calls)
        before = ticks
        await asyncio.to_thread(product, SQUARE, SQUARE)
        ticking.cancel()
        assert ticks > before + 10
        return [digest(result) for result in results]

    expected = [digest(step(W, x)) for x in INPUTS for _ in range(5)]
    assert asyncio.run(serve()) == expected
    assert jitted.cache_info().compiles == 1
