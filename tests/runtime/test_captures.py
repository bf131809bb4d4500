"""Arrays that are no arguments: read by address at each call, kept alive, listed by line."""

from __future__ import annotations

import gc
import pickle
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import irgrad as ig

X = np.arange(3.0)
W = np.ones(3)
PLAIN: dict[str, Any] = {"target": "reference"}


def product(x: Any) -> Any:
    return x * W


def total(x: Any) -> Any:
    return (x * x * W).sum()


# Each gives something that is proportional to W.
WAYS: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "jit": lambda: ig.jit(product, **PLAIN),
    "compile": lambda: ig.compile(product, X, **PLAIN),
    "bind": lambda: lambda x, b=ig.compile(product, X, **PLAIN).bind(X): b().copy(),
    "inner jit": lambda: ig.jit(lambda x: ig.jit(product)(x), **PLAIN),
    "vmap": lambda: lambda x, f=ig.jit(ig.vmap(product), **PLAIN): f(x[None]),
    "grad": lambda: ig.grad(total),
    "jitted grad": lambda: ig.jit(ig.grad(total), **PLAIN),
    "jacobian": lambda: ig.jit(ig.jacobian(product), **PLAIN),
    "hessian": lambda: ig.jit(ig.hessian(total), **PLAIN),
    "hvp": lambda: lambda x: ig.hvp(total, (x,), (x,))[1],
    "jvp": lambda: lambda x: ig.jvp(product, (x,), (x,))[1],
    "vjp": lambda: lambda x: ig.vjp(product, x)[0],
}


@pytest.mark.interpreted
@pytest.mark.parametrize("way", WAYS)
def test_changes_in_place_are_seen(way: str) -> None:
    call = WAYS[way]()
    try:
        once = np.array(call(X))
        W[:] = 5
        np.testing.assert_allclose(call(X), 5 * once)
        assert np.any(once)
    finally:
        W[:] = 1


@pytest.mark.parametrize("way", ["plain", "jit", "vmap", "grad", "jacobian", "rule"])
def test_each_is_one_input_with_its_name_and_first_line(way: str) -> None:
    array = np.ones(3)

    def f(x: Any) -> Any:
        first = x * array
        return (first + array).sum()

    ruled = ig.custom_vjp(f)
    ruled.defvjp(lambda x: (f(x), None), lambda kept, ct: (ct * array,))
    g: dict[str, Any] = {"plain": f, "jit": ig.jit(f), "vmap": ig.vmap(f), "grad": ig.grad(f),
                         "jacobian": ig.jacobian(f), "rule": ig.value_and_grad(ruled)}  # fmt: skip
    compiled = ig.compile(g[way], X[None] if way == "vmap" else X, **PLAIN)
    (capture,) = compiled.captured
    assert capture.array is array
    assert (capture.name, capture.type) == ("array", "f64[3]")
    assert capture.location is not None
    assert capture.location.source() == "first = x * array"
    assert "; captures %array: f64[3])" in compiled.ir("traced")
    assert f"array f64[3] ({capture.location})" in compiled.report()


def test_of_any_size_and_from_any_place() -> None:
    small, none, whole = np.array(2.0), np.zeros(0), np.arange(6.0)
    things = [np.ones(3), {"a": np.full(3, 2.0)}]
    holder = types.SimpleNamespace(weights=np.full(3, 4.0), rate=0.5)

    def f(x: Any, extra: Any = np.full(3, 8.0)) -> Any:  # noqa: B008 - what is tested
        parts = [x + whole[:3], whole[3:] - x, things[0] + x, things[1]["a"] * x]
        return parts, holder.weights * x * holder.rate, x + extra, x * small, x.sum() + none

    compiled = ig.compile(f, X, **PLAIN)
    captured = compiled.captured
    assert len(captured) == 8
    assert [c.array.base is whole for c in captured].count(True) == 2
    owned = [c.array for c in captured if c.array.base is None]
    assert [id(a) for a in owned] == [
        *map(id, (things[0], things[1]["a"], holder.weights, f.__defaults__[0], small, none)),
    ]  # type: ignore[index]
    for array in (small, whole, things[0], things[1]["a"], holder.weights):
        array *= 3
    for got, want in zip(_leaves(compiled(X)), _leaves(f(X)), strict=True):
        np.testing.assert_allclose(got, want)
    assert "read at the trace alone:\n  holder (SimpleNamespace)" in compiled.report()


def _leaves(tree: Any) -> list[Any]:
    return [x for part in tree for x in (part if isinstance(part, list) else [part])]


def test_attributes_are_frozen_and_their_arrays_read() -> None:
    holder = types.SimpleNamespace(weights=np.ones(3), rate=2.0)
    f = ig.jit(lambda x: x * holder.weights * holder.rate, **PLAIN)
    np.testing.assert_array_equal(f(X), 2 * X)
    holder.weights[:] = 3
    np.testing.assert_array_equal(f(X), 6 * X)
    holder.weights, holder.rate = np.zeros(3), 0.0
    np.testing.assert_array_equal(f(X), 6 * X)
    assert f.cache_info().compiles == 1
    assert f.compiled(X).report().count("holder (SimpleNamespace)") == 1


def test_they_live_as_long_as_the_code() -> None:
    def make() -> tuple[ig.Compiled, Any]:
        array = np.full(3, 2.0)
        return ig.compile(lambda x: x * array, X, **PLAIN), weakref.ref(array)

    compiled, array = make()
    gc.collect()
    np.testing.assert_array_equal(compiled(X), 2 * X)
    assert compiled.captured[0].array is array()
    del compiled
    gc.collect()
    assert array() is None


def test_equal_code_reads_the_arrays_of_its_own_function() -> None:
    """Functions of one text share their machine code, never their arrays."""

    def make(array: np.ndarray) -> ig.Compiled:
        return ig.compile(lambda x: np.sinh(x) * array, X)

    first, second = make(np.ones(3)), make(np.full(3, 2.0))
    assert second.cache_info().origin == "memory"
    assert first._parts.executable._code is second._parts.executable._code
    again = pickle.loads(pickle.dumps(second))
    second.captured[0].array[:] = 4
    for compiled, factor in ((first, 1), (second, 4), (again, 2)):
        np.testing.assert_allclose(compiled(X), np.sinh(X) * factor)
        np.testing.assert_allclose(compiled.bind(X)(), np.sinh(X) * factor)
    again.captured[0].array[:] = 8
    np.testing.assert_allclose(again(X), np.sinh(X) * 8)


def test_globals_and_cells_are_guarded_by_identity_or_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factor: Any = 2.0
    f = ig.jit(lambda x: product(x) * factor, **PLAIN)
    compiles = [(f(X), f.cache_info().compiles)[1]]
    monkeypatch.setitem(globals(), "W", np.ones(3))  # an equal array, but another one
    compiles.append((f(X), f.cache_info().compiles)[1])
    monkeypatch.setitem(globals(), "W", np.full(3, 7.0))
    np.testing.assert_array_equal(f(X), 14 * X)
    compiles.append(f.cache_info().compiles)
    factor = float("2.0")  # an equal number, whatever object it is
    compiles.append((f(X), f.cache_info().compiles)[1])
    factor = 2  # of another type
    compiles.append((f(X), f.cache_info().compiles)[1])
    assert compiles == [1, 2, 3, 3, 4]
    np.testing.assert_array_equal(f(X), 14 * X)
