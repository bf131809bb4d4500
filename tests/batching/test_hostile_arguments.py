"""Odd functions, axes and arguments of vmap, jacobian and hessian: right answers, named errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy
import pytest

import irgrad.numpy as np
from irgrad.batching import vmap
from irgrad.errors import DifferentiationError, IrgradError
from irgrad.ir.types import F64, TensorType
from irgrad.jacobians import hessian, jacobian
from irgrad.transforms import compile as compile_function
from irgrad.transforms import jit

X = numpy.arange(1.0, 4.0)
SQUARE = numpy.arange(9.0).reshape(3, 3)
MAX_MESSAGE = 1500


def outcome(call: Callable[[], Any]) -> Any:
    """The result of a call, or its error, which has to be short, named, and end on a line here."""
    try:
        return call()
    except IrgradError as error:
        message = str(error)
        assert "expected" in message and len(message) < MAX_MESSAGE
        assert __file__.rsplit("/", 1)[-1] in message
        return error


class Scale:
    """Callables of a class."""

    def method(self, x: Any) -> Any:
        return x * x

    def __call__(self, x: Any) -> Any:
        return x * x


def power(n: Any, x: Any) -> Any:
    return x**n


def generator(x: Any) -> Iterator[Any]:
    yield x


async def coroutine(x: Any) -> Any:
    return x


SQUARES: MappingProxyType[str, Any] = MappingProxyType({
    "method": Scale().method, "object": Scale(), "partial": functools.partial(power, 2),
    "jitted": jit(Scale(), target="reference"), "default": lambda x, n=2: x**n,
    "keyword": lambda x, *, n=2: x**n, "any": lambda *xs, **named: xs[0] ** 2,
    "ufunc": numpy.square, "traced ufunc": np.square, "vmap": vmap(lambda x: x * x),
})  # fmt: skip
REFUSED: MappingProxyType[str, Any] = MappingProxyType({
    "unbound": Scale.method, "class": Scale, "two": power, "none": lambda: 1.0, "string": str,
    "compiled": compile_function(lambda x: x, "f64[9]", target="reference"), "number": float,
    "text": lambda x: "a", "set": lambda x: {1.0}, "huge": lambda x: 2**70, "iterator": iter,
    "complex": lambda x: 1j, "array": lambda x: numpy.array(x), "branch": lambda x: x or 1.0,
    "generator": generator, "object array": lambda x: numpy.array([None, 1], object),
})  # fmt: skip
WAYS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType({
    "vmap": lambda f: vmap(f)(numpy.stack([X, 2 * X])),
    "vmap in a trace": lambda f: jit(vmap(f), target="reference")(numpy.stack([X, 2 * X])),
    "jacobian": lambda f: jacobian(f)(X),
    "reverse": lambda f: jacobian(f, mode="reverse")(X),
    "chunks": lambda f: jacobian(f, chunk=2)(X),
})  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_any_callable_is_a_function(way: str) -> None:
    expected = numpy.stack([X**2, 4 * X**2]) if "vmap" in way else numpy.diag(2 * X)
    for kind, f in SQUARES.items():
        numpy.testing.assert_array_equal(WAYS[way](f), expected, kind)


@pytest.mark.parametrize("way", [*WAYS, "hessian", "hessian in chunks"])
def test_functions_that_do_not_fit_are_named(way: str) -> None:
    chunk = 2 if "chunks" in way else None
    call = WAYS.get(way) or (lambda f: hessian(f, chunk=chunk)(X))
    for kind, f in REFUSED.items():
        assert isinstance(outcome(lambda f=f: call(f)), IrgradError), kind


def test_what_is_no_function_is_named() -> None:
    for transform in (vmap, jacobian, hessian):
        for value in (None, 3, "f", X, [np.sin], {"f": np.sin}, ..., NotImplemented, F64):
            assert isinstance(outcome(lambda t=transform, f=value: t(f)), IrgradError), value


def test_errors_of_the_function_itself_pass_through() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("mine")

    for call in (*WAYS.values(), lambda f: hessian(f)(X), lambda f: hessian(f, chunk=1)(X)):
        with pytest.raises(KeyError, match="mine"):
            call(fails)


# -- axes and numbers of arguments -----------------------------------------------------------------

NESTED: list[Any] = [0]
for _ in range(2000):
    NESTED = [NESTED]
AXES: tuple[Any, ...] = (
    1.0, 0.5, float("nan"), 1j, "0", b"0", "", True, False, {0}, frozenset(), object(), slice(1),
    range(1), 10**30, -(10**30), 2, -3, X, numpy.array(0), numpy.int64(0), np.sin, int, (), [],
    (0, 0), (0, 0, 0), ((0,),), ((),), [[0]], {"x": 0}, {}, ({"x": 0},), (2,), ("0",), (None,),
    (True,), ..., NESTED, TensorType(F64, ()), iter([0]),
)  # fmt: skip


def test_axes_that_do_not_fit_are_named() -> None:
    for axes in AXES:
        into = outcome(lambda a=axes: vmap(lambda x: x, a)(SQUARE))
        assert isinstance(into, IrgradError), f"in_axes {type(axes)}"
        out = outcome(lambda a=axes: vmap(lambda x: x, 0, a)(SQUARE))
        assert isinstance(out, IrgradError), f"out_axes {type(axes)}"
    assert isinstance(outcome(lambda: vmap(lambda x: x, 0, None)(SQUARE)), IrgradError)
    assert isinstance(outcome(lambda: vmap(lambda x: (x, X), 0, (None, 0))(SQUARE)), IrgradError)


def test_sizes_that_disagree_are_named() -> None:
    for axes in ((0, 0), (0, -1), (-1, 0), (1, 1)):
        for other in ((2, 4), (4, 2), (0, 1), (1, 0), (1, 1)):
            call = vmap(lambda x, y: np.sum(x) * np.sum(y), axes)
            found = outcome(lambda c=call, o=other: c(SQUARE, numpy.ones(o)))
            assert isinstance(found, IrgradError), f"{axes} {other}"


@pytest.mark.parametrize("name", ["argnums", "chunk", "mode"])
def test_options_that_do_not_fit_are_named(name: str) -> None:
    odd = [10**30, 0.0, "0", {0}, object(), X, numpy.array(1), True, -2, (), [0.0], (0, 0), (0, -1),
           {"a": 0}, np.sin, ..., (None,), (True,), NESTED]  # fmt: skip
    if name == "chunk":
        odd.remove(10**30)  # as many as there are
    for value in odd:
        options = {name: value}
        found = outcome(lambda o=options: jacobian(lambda x: x, **o)(X))
        assert isinstance(found, IrgradError), f"{name} {type(value)}"
        if name != "mode":
            found = outcome(lambda o=options: hessian(lambda x: np.sum(x), **o)(X))
            assert isinstance(found, IrgradError), f"{name} {type(value)}"


def test_a_chunk_may_be_larger_than_all() -> None:
    numpy.testing.assert_array_equal(jacobian(lambda x: x, chunk=10**30)(X), numpy.eye(3))


# -- arguments -------------------------------------------------------------------------------------

LEAVES: tuple[Any, ...] = (
    "text", b"bytes", {1.0}, object(), [1.0, 2.0], 2**70, slice(2), numpy.array([None]), F64,
    numpy.array(["a"]), numpy.array(["2020-01-01"], "M8[D]"), numpy.ma.array(X), memoryview(X),
    numpy.zeros(2, [("a", "f8")]), (x for x in X), np.sin, range(3), "f64[3]", TensorType(F64, ()),
)  # fmt: skip


def sum_of_first(p: Any) -> Any:
    return np.sum(p["x"][0]) * np.sum(p["x"][1]) * 2.0


DERIVED: MappingProxyType[str, Callable[..., Any]] = MappingProxyType({
    "jacobian": jacobian, "hessian": hessian, "chunks": functools.partial(jacobian, chunk=2),
})  # fmt: skip


@pytest.mark.parametrize("way", ["vmap", *DERIVED])
def test_arguments_that_are_no_arrays_are_named(way: str) -> None:
    transform = DERIVED.get(way, vmap)
    plain, nested = transform(lambda x: np.sum(x) * 2.0), transform(sum_of_first)
    for leaf in LEAVES:
        assert isinstance(outcome(lambda x=leaf: plain(x)), IrgradError), f"{type(leaf)}"
        found = outcome(lambda x=leaf: nested({"x": (x, X)}))
        assert isinstance(found, IrgradError), f"{type(leaf)}"


@pytest.mark.parametrize("way", DERIVED)
def test_what_has_no_real_derivative_is_named(way: str) -> None:
    derive = DERIVED[way]
    for integers in (3, True, numpy.arange(3), numpy.int8(1), X > 1, X.astype("u8")):
        found = outcome(lambda x=integers: derive(lambda x: np.sum(x * 2.0))(x))
        assert isinstance(found, DifferentiationError), f"{integers}"
        found = outcome(lambda x=integers: derive(sum_of_first)({"x": (X, x)}))
        assert isinstance(found, DifferentiationError), f"{integers}"
    for dtype in (int, bool, complex):
        found = outcome(lambda d=dtype: derive(lambda x: x[0].astype(d))(X))
        assert isinstance(found, DifferentiationError), f"{dtype}"
    assert isinstance(outcome(lambda: derive(lambda x: x[0])(X * 1j)), DifferentiationError)


def test_numbers_of_arguments_that_do_not_fit_are_named() -> None:
    calls = (vmap(lambda x: x), jacobian(lambda x: x), jacobian(lambda x: x, chunk=1),
             hessian(lambda x: np.sum(x)), hessian(lambda x: np.sum(x), chunk=1))  # fmt: skip
    for call in calls:
        for args, named in (((), {}), ((X, X), {}), ((X,), {"y": X}), ((), {"y": X}),
                            ((X,), {"x": X})):  # fmt: skip
            found = outcome(lambda c=call, a=args, n=named: c(*a, **n))
            assert isinstance(found, IrgradError), f"{args} {named}"
