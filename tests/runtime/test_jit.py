"""jit: what is compiled anew, what is refused, and how calls inside of traces behave.

All of that is the same on every target, so most functions here are for the reference one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

import irgrad as ig

F32 = np.float32
interpreted = partial(ig.jit, target="reference")
WEIGHTS = np.ones(3)
RATE = 0.5
SETTINGS = {"rates": [0.5, 2.0]}


def compiles(f: Any) -> int:
    return f.cache_info().compiles


def test_one_compile_for_each_signature() -> None:
    f = ig.jit(lambda x: x * 2)
    for x in (np.ones(3), np.ones(3), np.ones(3)[::-1], np.ones(3).astype(">f8")):
        np.testing.assert_array_equal(f(x), x * 2)
    assert compiles(f) == 1
    for count, x in enumerate([np.ones(4), np.ones((1, 3)), np.ones(3, F32), 1.0, np.ones(())], 2):
        np.testing.assert_array_equal(f(x), x * 2)
        assert compiles(f) == count
    assert f.cache_info().reasons[:3] == (
        "first call", "x: shape [3] -> [4]", "x: shape [4] -> [1, 3]",
    )


def test_python_numbers_stay_weak() -> None:
    f = interpreted(lambda x, s: x * s)
    x = np.ones(3, F32)
    assert f(x, 2.0).dtype == F32
    assert f(x, np.array(2.0)).dtype == np.float64
    assert f(x, 3.0).dtype == F32
    assert f(x, np.float64(3)).dtype == np.float64
    assert compiles(f) == 2


def test_decorator_forms_and_metadata() -> None:
    @ig.jit
    def plain(x: Any) -> Any:
        """Doubles."""
        return x * 2

    @ig.jit(target="reference")
    def with_arguments(x: Any) -> Any:
        return x * 2

    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Doubles."
    assert plain(np.ones(2)).sum() == with_arguments(np.ones(2)).sum() == 4
    with pytest.raises(ig.errors.ArgumentError, match="jit: expected a function, got"):
        ig.jit(3)


def test_methods() -> None:
    class Layer:
        factor = 3.0

        @interpreted(static="self")
        def apply(self, x: Any) -> Any:
            return x * self.factor

    assert Layer().apply(np.ones(2)).tolist() == [3, 3]


def test_static_values_are_compiled_for_themselves() -> None:
    def power(x: Any, n: int, flip: bool = False) -> Any:
        return (-x if flip else x) ** n

    for static in ((1, 2), ("n", "flip")):
        f = interpreted(power, static=static)
        x = np.arange(3.0)
        assert f(x, 2).tolist() == [0, 1, 4]
        assert f(x, 3).tolist() == [0, 1, 8]
        assert f(x, n=3, flip=True).tolist() == [0, -1, -8]
        assert f(x, 2).tolist() == [0, 1, 4]
        assert compiles(f) == 3
        assert f(x, True).tolist() == [0, 1, 2]
    with pytest.raises(ig.errors.ArgumentError, match="static argument 1: expected a hashable"):
        f(x, [2])
    with pytest.raises(ig.errors.ArgumentError, match="static: expected a parameter among x, n"):
        interpreted(power, static="m")(x, 2)


def test_keywords_and_defaults() -> None:
    @interpreted
    def f(x: Any, y: Any = 2.0, z: Any = 3.0) -> Any:
        return x + 10 * y + 100 * z

    x = np.zeros(1)
    assert f(x) == 320
    assert f(x, z=1.0) == 120
    assert f(z=1.0, x=x, y=np.ones(1)) == 110
    with pytest.raises(ig.errors.ArgumentError, match="f: expected keywords among y, z, got 'w'"):
        f(x, w=1)
    with pytest.raises(ig.errors.ArgumentError, match="f: expected keywords among y, z, got 'x'"):
        f(x, x=x)
    with pytest.raises(ig.errors.ArgumentError, match="f: expected argument 'x', got none"):
        f(y=x)


def test_arguments_that_are_given_by_name_alone() -> None:
    @interpreted(static="power")
    def f(x: Any, y: Any = 1.0, *, scale: Any, power: int = 1, **more: Any) -> Any:
        return (x + y) ** power * scale + sum(more.values())

    x = np.ones(2)
    assert f(x, scale=3.0).tolist() == [6, 6]
    assert f(x, scale=np.full(2, 2.0)).tolist() == [4, 4]
    assert f(x, scale=2.0, power=2, y=2.0).tolist() == [18, 18]
    assert f(x, scale=2.0, power=3, y=2.0, z=x, w=1.0).tolist() == [56, 56]
    assert compiles(f) == 4
    assert f(x, scale=5.0).tolist() == [10, 10]
    assert compiles(f) == 4
    g = ig.jit(lambda x, *, donated: donated + x, donate="x")
    assert g(x, donated=np.ones(2)) is x
    with pytest.raises(ig.errors.ArgumentError, match="g: expected keywords among b, got 'c'"):
        interpreted(named_g)(x, c=1.0)


def named_g(a: Any, *, b: Any) -> Any:
    return a + b


named_g.__name__ = "g"


class Pair(NamedTuple):
    first: Any
    second: Any


def test_trees_in_and_out() -> None:
    @interpreted
    def f(tree: Any) -> Any:
        return Pair(tree["a"].first * 2, [tree["b"], None])

    tree = {"a": Pair(np.ones(2), None), "b": (np.zeros(3), F32(4))}
    for _ in range(2):
        result = f(tree)
        assert type(result) is Pair
        assert result.first.tolist() == [2, 2]
        assert result.second[0][1] == 4
        assert result.second[1] is None
    assert compiles(f) == 1


UNFIT: dict[str, tuple[Any, str]] = {
    "list": ([1.0, 2.0], "^x: expected an array, got a list of numbers"),
    "nested list": (({"a": [[1, 2]]},), "^x.0.a.0: expected an array, got a list of numbers"),
    "text": ("no", "^x: expected an array or a number, got 'no' of type str; .* static="),
    "object": ({"a": object()}, "^x.a: expected an array or a number, got <object"),
    "masked": (np.ma.ones(3), "^x: expected a plain ndarray, got the subclass MaskedArray"),
    "dates": (np.zeros(2, "datetime64[s]"), "^dtype: expected one of"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_unfit_arguments_are_refused(kind: str) -> None:
    value, message = UNFIT[kind]
    f = interpreted(lambda x: x)
    with pytest.raises(ig.errors.IrgradError, match=message) as caught:
        f(value)
    assert str(caught.value).split("\n")[-1].strip() == "f(value)"
    assert compiles(f) == 0


# -- what a compile depends on besides the arguments -----------------------------------------------


def uses_global(x: Any) -> Any:
    return x * RATE


def uses_global_below(x: Any) -> Any:
    return [uses_global(x) for _ in range(1)][0]


@pytest.mark.parametrize("f", [uses_global, uses_global_below, partial(uses_global)])
def test_changed_globals_are_seen(f: Callable[..., Any], monkeypatch: Any) -> None:
    jitted = interpreted(f)
    x = np.ones(2)
    assert jitted(x).tolist() == [0.5, 0.5]
    monkeypatch.setitem(globals(), "RATE", float("0.5"))
    assert jitted(x).tolist() == [0.5, 0.5]
    assert compiles(jitted) == 1
    monkeypatch.setitem(globals(), "RATE", 2.0)
    assert jitted(x).tolist() == [2, 2]
    assert jitted.cache_info().reasons[1] == "variable RATE: 0.5 -> 2.0"
    monkeypatch.setitem(globals(), "RATE", 0.5)
    assert jitted(x).tolist() == [0.5, 0.5]
    assert compiles(jitted) == 2


def test_globals_with_the_name_of_a_variable_are_not_those(monkeypatch: Any) -> None:
    def step(RATE: Any, x: Any) -> Any:  # noqa: N803
        return {name: RATE[name] * x for name in [*RATE]}, (lambda: RATE["a"])()

    jitted = interpreted(step)
    for value in (1.0, 2.0, 3.0):
        monkeypatch.setitem(globals(), "RATE", value)
        assert jitted({"a": 2.0}, np.ones(2))[0]["a"].tolist() == [2, 2]
    assert compiles(jitted) == 1


def test_changed_elements_of_containers_are_seen() -> None:
    jitted = interpreted(lambda x: x * SETTINGS["rates"][1])
    assert jitted(np.ones(1)) == 2
    SETTINGS["rates"][1] = 3.0
    assert jitted(np.ones(1)) == 3
    SETTINGS["rates"][1] = 2.0
    assert jitted(np.ones(1)) == 2
    assert compiles(jitted) == 2


def test_changed_cells_and_functions_are_seen() -> None:
    factor: Any = np.ones(2)

    def inner(x: Any) -> Any:
        return x * 2

    f = ig.jit(lambda x: inner(x) * factor)
    x = np.ones(2)
    assert f(x).tolist() == [2, 2]
    factor *= 5  # in place: the same array, read at the call
    assert f(x).tolist() == [10, 10]
    assert compiles(f) == 1
    factor = np.full(2, 3.0)
    assert f(x).tolist() == [6, 6]
    assert compiles(f) == 2
    inner = np.negative  # noqa: F811
    assert f(x).tolist() == [-3, -3]
    assert compiles(f) == 3


def test_what_lies_deeper_is_frozen_and_listed() -> None:
    class Model:
        def __init__(self) -> None:
            self.weights = np.ones(2)
            self.rate = 2.0

    model = Model()
    f = interpreted(lambda x: x * model.weights * model.rate)
    x = np.ones(2)
    assert f(x).tolist() == [2, 2]
    model.weights += 1
    assert f(x).tolist() == [4, 4]
    report = f.compiled(x).report()
    assert "read at the trace alone:\n  model (Model)" in report
    assert "captured:\n  capture 0 f64[2]" in report


def test_captured_arrays_that_change_their_type_are_refused() -> None:
    block = np.ones(4)
    f = ig.jit(lambda x: x + block)
    assert f(1.0).shape == (4,)
    block.resize((2, 2), refcheck=False)
    message = r"captured array block: expected f64\[4\], .* got f64\[2,2\]"
    with pytest.raises(ig.errors.ArgumentError, match=message):
        f(1.0)


def test_too_many_retraces_are_an_error(monkeypatch: Any) -> None:
    f = ig.jit(uses_global, max_retraces=2, target="reference")
    for rate in (1.0, 2.0, 3.0):
        monkeypatch.setitem(globals(), "RATE", rate)
        assert f(1.0) == rate
    monkeypatch.setitem(globals(), "RATE", 4.0)
    message = "uses_global: expected at most 2 retraces .*: variable RATE: 3.0 -> 4.0"
    with pytest.raises(ig.errors.LimitError, match=message):
        f(1.0)
    monkeypatch.setitem(globals(), "RATE", 3.0)
    assert f(1.0) == 3


# -- inside of traces ------------------------------------------------------------------------------


def test_jit_in_jit_inlines() -> None:
    inner = ig.jit(lambda x: np.tanh(x) + 1)
    outer = ig.jit(lambda x: inner(x) * inner(x * 2))
    x = np.linspace(0, 1, 5)
    np.testing.assert_allclose(outer(x), (np.tanh(x) + 1) * (np.tanh(2 * x) + 1), rtol=1e-12)
    assert compiles(inner) == 0
    assert len(outer.compiled(x).kernels) == 1
    graph = ig.trace(inner, "f64[3]")
    assert "tanh" in str(graph)


def test_functions_that_close_over_traced_values_are_inlined() -> None:
    def outer(x: Any) -> Any:
        inner = interpreted(lambda y: y * x)
        with pytest.raises(ig.errors.TraceError, match="uses no value of a trace that is going on"):
            inner.compiled(np.ones(3))
        return inner(np.full(3, 2.0)) + inner(x)

    x = np.arange(3.0)
    np.testing.assert_array_equal(interpreted(outer)(x), 2 * x + x * x)


def test_gradients_of_jitted_functions_and_jitted_gradients() -> None:
    loss = ig.jit(lambda x: (x * x * x).sum())
    x = np.arange(3.0)
    np.testing.assert_allclose(ig.grad(loss)(x), 3 * x * x)
    jitted = interpreted(ig.grad(ig.grad(lambda s: s**4)))
    np.testing.assert_allclose(jitted(2.0), 48)
    step = ig.jit(lambda w, x: w - 0.1 * ig.grad(lambda w: (w * x).sum())(w), donate="w")
    w = np.zeros(3)
    assert step(w, x) is w
    np.testing.assert_allclose(w, -0.1 * x)


def test_checks_outside_of_traces() -> None:
    ig.check(True, "fine")
    ig.check(np.ones(3, bool), "fine")
    with pytest.raises(ig.errors.CheckError, match="check: not fine .* flat index 1") as caught:
        ig.check(np.array([True, False]), "not fine")
    assert str(caught.value).endswith('ig.check(np.array([True, False]), "not fine")')
    with pytest.raises(ig.errors.ArgumentError, match="check: expected bools, got f64"):
        ig.check(np.ones(2), "what")
    with pytest.raises(ig.errors.ArgumentError, match="check: expected bools, got f64"):
        ig.trace(lambda x: ig.check(x, "what"), "f64[2]")
    with pytest.raises(ig.errors.ArgumentError, match="check: expected a message, got"):
        ig.check(True, 3)  # type: ignore[arg-type]


def test_specs_of_jit() -> None:
    f = interpreted(lambda x, n: x * n, specs=("f32[n,3]", "f32[]"))
    assert f.specs == ("f32[n,3]", "f32[]")
    for size in (1, 4):
        assert f(np.ones((size, 3), F32), 2.0).shape == (size, 3)
    with pytest.raises(ig.errors.ArgumentError, match=r"^x: expected f32\[n,3\], got f32\[3,4\]"):
        f(np.ones((3, 4), F32), 2.0)
    message = r"expected arguments \(\*, \*\) as in specs, got \(\*\)"
    with pytest.raises(ig.errors.ArgumentError, match=message):
        f(np.ones((3, 3), F32))
    donating = interpreted(lambda x: x + 1, specs=("f64[n]",), donate=0)
    with pytest.raises(ig.errors.DonationError, match="not C-contiguous"):
        donating(np.ones(4)[::2])
    assert ig.spec("f32[n,3]") == ig.ir.parse_type("f32[n,3]")
