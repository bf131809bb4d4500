"""No call may answer with what was true at an earlier one: variables, captures, signatures, errors.

Each function is called through `check`, which compares it with itself uncompiled.
"""

from __future__ import annotations

import os
import signal
import threading
import types
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.driver import stage_graphs
from irgrad.errors import ArgumentError, CheckError
from irgrad.kernel.program import Program
from irgrad.passes.lower import lower
from irgrad.testing.programs import run_program

X = np.array([1.0, -2.0, 3.0])
SCALE: Any = 2.0


class Settings:
    """Read by name in functions below."""

    rate: Any = 2.0
    steps: Any = (1.0,)


class Special(Settings):
    """Inherits what it does not set."""


def helper(x: Any) -> Any:
    return x * SCALE


def check(jitted: Any, *args: Any) -> None:
    """The jitted function and the plain one agree, in dtype, value and sign of zero, twice."""
    expected = np.asarray(jitted.__wrapped__(*args))
    for _ in range(2):
        got = jitted(*args)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(got, expected)
        if expected.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


# -- variables -------------------------------------------------------------------------------------

# What is tested is what is compiled anew, on any target, and no rewrite may change a sign.
PLAIN: dict[str, Any] = {"target": "reference", "numerics": "exact"}
LIKENESSES = (0.0, -0.0, 1, True, 1.0, 2, np.float32(2), np.int32(1), np.float64(1), 0, -0.0)


def test_equal_numbers_of_other_types_and_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    by_global = ig.jit(lambda x: x * SCALE, **PLAIN)
    cell: Any = None
    by_cell = ig.jit(lambda x: x * cell, **PLAIN)
    content = [cell]
    by_element = ig.jit(lambda x: x * content[0], **PLAIN)
    for value in LIKENESSES:
        monkeypatch.setitem(globals(), "SCALE", value)
        cell = content[0] = value
        for function in (by_global, by_cell, by_element):
            check(function, X)
            check(function, np.arange(3))


def test_static_values_that_compare_equal() -> None:
    scaled = ig.jit(lambda x, s: x * s, static=1, **PLAIN)
    for value in LIKENESSES:
        for x in (X, np.arange(3)):
            got, expected = scaled(x, value), np.asarray(x * value)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))
    nested = ig.jit(lambda x, s: x * sum(s[0]), static=1, **PLAIN)
    for pair in ((1, 2), (1.0, 2), (True, True), (-0.0, -0.0), (0.0, 0.0)):
        assert nested(np.arange(3), (pair,)).dtype == (np.arange(3) * sum(pair)).dtype
        assert nested(np.arange(3), (frozenset(pair),)).dtype == (
            np.arange(3) * sum(frozenset(pair))).dtype
    missing = ig.jit(lambda x, s: x * s, static=1, **PLAIN)
    for _ in range(3):
        assert np.isnan(missing(X, float("nan"))).all()


def test_functions_modules_and_classes_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("layers")
    module.inner = types.ModuleType("layers.inner")  # type: ignore[attr-defined]
    exec("K = 2.0\ndef dense(x):\n    return x * K", vars(module))  # a module without a file
    vars(module.inner)["K"] = 3.0
    calls = ig.jit(lambda x: helper(x) + 1, **PLAIN)
    reads = ig.jit(lambda x: module.dense(x) * module.inner.K, **PLAIN)
    settings = ig.jit(lambda x: x * Settings.rate * Settings.steps[0], **PLAIN)
    inherited = ig.jit(lambda x: x * Special.rate, **PLAIN)
    functions = (calls, reads, settings, inherited)
    for function in functions:
        check(function, X)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    check(calls, X)
    monkeypatch.setitem(globals(), "helper", lambda x: x - SCALE)
    check(calls, X)
    vars(module)["K"] = 7.0
    check(reads, X)
    vars(module.inner)["K"] = -1.0
    check(reads, X)
    vars(module)["dense"] = np.cos
    check(reads, X)
    monkeypatch.setattr(Settings, "rate", 5.0)
    check(settings, X)
    check(inherited, X)
    monkeypatch.setattr(Settings, "steps", (2.0,))
    check(settings, X)
    assert [f.cache_info().compiles for f in functions] == [3, 4, 3, 2]


def test_containers_partials_and_defaults_that_change() -> None:
    def scaled(a: Any, x: Any, bias: Any = [1.0]) -> Any:  # noqa: B006
        return x * a[0] + bias[0]

    lists = [[1.0], [2.0], [3.0]]
    first, second, third = (partial(scaled, one) for one in lists)
    together = ig.jit(lambda x: first(x) + second(x) + third(x), **PLAIN)
    check(together, X)
    for one in lists:
        one[0] *= 10
        check(together, X)
    scaled.__defaults__[0][0] = 7.0  # type: ignore[index]
    check(together, X)
    by_default = ig.jit(scaled, **PLAIN)
    np.testing.assert_array_equal(by_default([2.0 * X], X), 2 * X * X + 7)
    table = {"a": [2.0, {"b": 3.0}]}
    by_table = ig.jit(lambda x: x * table["a"][0] + table["a"][1]["b"], **PLAIN)  # type: ignore[index]
    check(by_table, X)
    table["a"][1]["b"] = -0.0  # type: ignore[index]
    check(by_table, X)
    table["a"].append(1.0)
    check(by_table, X)


@pytest.mark.interpreted
def test_nested_jits_and_gradients_see_changes() -> None:
    scale = 2.0
    inner = ig.jit(lambda x: x * scale, **PLAIN)
    outer = ig.jit(lambda x: inner(x) + 1, **PLAIN)
    slope = ig.jit(ig.grad(lambda x: (inner(x) ** 2).sum()), **PLAIN)
    for scale in (2.0, 3.0, -1.0):
        check(outer, X)
        np.testing.assert_array_equal(slope(X), 2 * scale**2 * X)
        np.testing.assert_array_equal(ig.grad(lambda x: inner(x).sum())(X), np.full(3, scale))


def test_what_is_not_watched_is_listed() -> None:
    settings = types.SimpleNamespace(rate=2.0)
    function = ig.jit(lambda x: x * settings.rate, **PLAIN)
    check(function, X)
    assert "settings (SimpleNamespace)" in function.compiled(X).report()


# -- captures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_captured_arrays_are_read_at_each_call(target: str) -> None:
    owned = np.arange(6.0).reshape(2, 3).copy()
    strided = np.arange(12.0).reshape(2, 6)[:, ::2]
    swapped = np.arange(6.0).reshape(2, 3).astype(">f8")
    box = types.SimpleNamespace(array=np.ones((2, 3)))
    arrays = (owned, strided, swapped)

    def sums(x: Any) -> Any:
        return [((x * box.array + array).sum(0), (x + array).sum(0)) for array in arrays]

    function, compiled = ig.jit(sums, target=target), ig.compile(sums, X, target=target)
    bound = compiled.bind(X)
    for value in (1.0, -3.0):
        for array in arrays:
            array += value
        box.array *= value
        expected = [((X * box.array + a).sum(0), (X + a).sum(0)) for a in arrays]
        for got in (function(X), compiled(X), bound()):
            np.testing.assert_array_equal(got, expected)
    assert function.cache_info().compiles == 1
    compiled = ig.compile(lambda x: x + owned, 1.0, target=target)
    owned.shape = (3, 2)
    for call in (compiled, compiled.bind):
        with pytest.raises(ArgumentError, match="captured array owned"):
            call(1.0)


def test_rebound_captures() -> None:
    array: Any = np.ones(3)
    function = ig.jit(lambda x: x * array, **PLAIN)
    values = [np.full(3, 2.0), np.full(1, 3.0), 4, np.arange(3), np.float32(2), np.full(3, 2.0)]
    for value in values:
        array = value
        check(function, X)


def test_results_are_fresh_arrays() -> None:
    captured = np.arange(3.0)
    function = ig.jit(lambda x: (x, x, captured, x[:], x.reshape(1, 3), x + 0))
    results = function(X)
    arrays = [*results, *function(X), X, captured]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)
    results[0][:] = 9
    np.testing.assert_array_equal(function(X)[0], X)


# -- signatures ------------------------------------------------------------------------------------


def test_one_function_with_many_signatures() -> None:
    function = ig.jit(lambda x: x * 2, **PLAIN)
    arguments = [
        X, X.astype("f4"), np.arange(3), np.ones((2, 3)), np.array(1.0), 1.0, 1, True,
        np.float32(1), X[::-1], X.astype(">f8"), X > 1, np.zeros((0, 3)), np.ones((3, 1)).T, -0.0,
    ]  # fmt: skip
    for _ in range(2):
        for argument in arguments:
            check(function, argument)
    assert function.cache_info().compiles == 12


def test_trees_keep_their_kind() -> None:
    pair = namedtuple("pair", "a b")
    same = ig.jit(lambda t: t, target="reference")
    trees = (pair(X, X), OrderedDict(b=X, a=2 * X), deque([X, X]), {1: X, "a": X}, [X, (X,)])
    for tree in trees:
        got = same(tree)
        assert type(got) is type(tree)
    difference = ig.jit(lambda d: d["a"] - d["b"], **PLAIN)
    np.testing.assert_array_equal(difference({"a": X, "b": 2 * X}), -X)
    np.testing.assert_array_equal(difference({"b": 2 * X, "a": X}), -X)
    swapped = ig.jit(lambda p: pair(p.b, p.a), **PLAIN)(pair(X, 2 * X))
    np.testing.assert_array_equal(swapped.a, 2 * X)


def test_threads_share_a_function() -> None:
    function = ig.jit(lambda x: (x * 2 + 1).sum())
    faults: list[Any] = []

    def work() -> None:
        try:
            for _ in range(20):
                for n in (2, 3):
                    x = np.arange(float(n))
                    if function(x) != (x * 2 + 1).sum():
                        faults.append(n)
        except Exception as error:  # noqa: BLE001 - what a thread raises is lost otherwise
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert function.cache_info().compiles == 2


# -- donation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_donated_loop_equals_a_plain_one(target: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    y = x @ np.array([1.0, -1.0, 0.5]) + 2
    optimiser = ig.optim.adam(0.1)

    def loss(p: Any, x: Any, y: Any) -> Any:
        return ((x @ p["w"] + p["b"] - y) ** 2).mean() + 0.1 * (p["w"] @ p["w"])

    def step(p: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = ig.value_and_grad(loss)(p, x, y)
        return (*optimiser.update(gradient, state, p), value)

    def start() -> tuple[Any, Any]:
        params = {"w": np.zeros(3), "b": np.zeros(())}
        return params, optimiser.init(params)

    plain, donated = ig.jit(step, target=target), ig.jit(step, donate=(0, 1), target=target)
    (p, s), (q, t) = start(), start()
    first = {id(a) for a in (q["w"], q["b"], *t["mean"].values(), *t["square"].values())}
    losses = []
    for _ in range(30):
        p, s, value = plain(p, s, x, y)
        q, t, same = donated(q, t, x, y)
        losses.append(float(value))
        assert value == same
        for name in p:
            np.testing.assert_array_equal(p[name], q[name])
    last = {id(a) for a in (q["w"], q["b"], *t["mean"].values(), *t["square"].values())}
    assert last == first
    assert losses[-1] < losses[0] / 2
    assert donated.cache_info().compiles == plain.cache_info().compiles == 1


BODIES: tuple[Callable[[Any], Any], ...] = (
    lambda p: (p[::-1], p.sum()), lambda p: (p, p + 1), lambda p: (p + 1, p), lambda p: (p, p),
    lambda p: (p.reshape(3, 3).T.reshape(-1), p[0]),
    lambda p: (p.reshape(3, 3) @ p.reshape(3, 3), p),
    lambda p: (np.roll(p, 1), np.roll(p, -1)), lambda p: (np.concatenate([p[3:], p[:3]]), p.max()),
    lambda p: (p * p.sum(), p - p[::-1]), lambda p: (np.zeros_like(p), p * 2),
)  # fmt: skip


def lowered(body: Callable[[Any], Any]) -> Program:
    """The kernels and the memory of a function of one donated array."""
    graph = ig.trace(body, "f64[9]", donate=0)
    return lower(list(stage_graphs(graph, ig.Options()).values())[-1])


def test_donated_memory_is_read_before_it_is_written() -> None:
    """Each function alone by the meaning of its kernels, all of them in one compiled function."""
    start, every = np.arange(9.0), tuple(range(len(BODIES)))

    def together(*arrays: Any) -> Any:
        return [body(p) for body, p in zip(BODIES, arrays, strict=True)]

    native = ig.jit(together, donate=every)(*(start.copy() for _ in every))
    for body, compiled in zip(BODIES, native, strict=True):
        slow = run_program(lowered(body), [start]).results
        interpreted = ig.jit(body, donate=0, target="reference")(start.copy())
        for got in (compiled, slow, interpreted):
            for a, b in zip(got, body(start), strict=True):
                np.testing.assert_allclose(a, b)
            assert not np.shares_memory(got[0], got[1])
    arrays = [array for pair in native for array in pair]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])


def test_failed_check_leaves_donated_arrays_alone() -> None:
    def body(p: Any) -> Any:
        ig.check(p >= 0, "negative")
        return p * 2

    for target in ("cpu", "reference"):
        array = np.array([1.0, -1.0])
        with pytest.raises(CheckError, match="negative .*flat index 1"):
            ig.jit(body, donate=0, target=target)(array)
        np.testing.assert_array_equal(array, [1, -1])


# -- errors and interrupts -------------------------------------------------------------------------


def test_errors_within_a_trace_leave_all_usable() -> None:
    fails = [True]

    def body(x: Any) -> Any:
        y = x * 2
        if fails[0]:
            raise KeyError("of the user")
        return y.sum()

    jitted, slope = ig.jit(body, **PLAIN), ig.jit(ig.grad(body), **PLAIN)
    for call in (jitted, slope, ig.grad(body), partial(ig.trace, body), partial(ig.compile, body)):
        with pytest.raises(KeyError, match="of the user"):
            call(X)
    np.testing.assert_array_equal(inp.sin(X), np.sin(X))
    fails[0] = False
    assert jitted(X) == 2 * X.sum()
    np.testing.assert_array_equal(slope(X), [2, 2, 2])
    assert jitted.cache_info().compiles == 1


def test_interrupts_while_compiling_leave_all_usable() -> None:
    def body(x: Any) -> Any:
        for i in range(100):
            x = inp.sin(x) + i
        return x

    expected = body(X)
    hits = 0

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in (0.004, 0.008, 0.015, 0.03, 0.05):
            function = ig.jit(body)
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                function(X)
            except KeyboardInterrupt:
                hits += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            np.testing.assert_allclose(function(X), expected)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits, "no interrupt came while compiling"

    def interrupted(x: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return x

    with pytest.raises(KeyboardInterrupt):
        ig.jit(interrupted)(X)
    check(ig.jit(lambda x: x + 1), X)
