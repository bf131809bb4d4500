"""Promotion of arrays, numbers and weak arguments is NumPy's; widened floats are written down."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from irgrad.errors import DTypeError
from irgrad.ir.types import F32, F64
from irgrad.tracing.functions.namespace import FUNCTIONS
from irgrad.tracing.trace import trace

DTYPES = [np.dtype(name) for name in ("?", "i4", "i8", "f4", "f8")]
NUMBERS: tuple[Any, ...] = (2, 1.5, True)
UFUNCS = sorted(
    {f.__name__ for name in FUNCTIONS if isinstance(f := getattr(np, name, None), np.ufunc)
     and f.signature is None and f.nout == 1}
)


def traced_dtype(f: Callable[..., Any], *specs: Any) -> np.dtype | None:
    """The dtype of a traced result; None where irgrad refuses the operands."""
    try:
        graph = trace(f, *specs)
    except DTypeError:
        return None
    return graph.type(graph.outputs[0]).dtype.numpy


def numpy_dtype(f: Callable[..., Any], *operands: Any) -> np.dtype | None:
    """The dtype of NumPy's result; None where NumPy refuses, or uses a dtype that irgrad lacks."""
    with np.errstate(all="ignore"):
        try:
            dtype = np.asarray(f(*operands)).dtype
        except (TypeError, ValueError):
            return None
    return dtype if dtype in DTYPES else None


def ones(dtype: np.dtype) -> np.ndarray:
    return np.ones((2, 1), dtype)


@pytest.mark.parametrize("name", UFUNCS)
def test_ufuncs_of_all_operand_kinds(name: str) -> None:
    """Arrays of each dtype, NumPy's numbers, and Python's numbers as constants and arguments."""
    ufunc = getattr(np, name)
    kinds: list[Any] = [ones(d) for d in DTYPES] + [d.type(1) for d in DTYPES[1:]] + list(NUMBERS)
    for operands in itertools.product(kinds, repeat=ufunc.nin):
        if not any(isinstance(x, np.ndarray) for x in operands):
            continue
        expected = numpy_dtype(ufunc, *operands)
        label = f"{name}{operands}"
        # Every operand an argument: numbers are weak arguments.
        assert traced_dtype(ufunc, *operands) == expected, label
        # Numbers as constants, arrays as arguments.
        arrays = [x for x in operands if isinstance(x, np.ndarray)]

        def f(*xs: Any, operands: Any = operands) -> Any:
            rest = iter(xs)
            return ufunc(*(next(rest) if isinstance(x, np.ndarray) else x for x in operands))

        assert traced_dtype(f, *arrays) == expected, label


OPERATORS = (operator.add, operator.mul, operator.truediv, operator.sub, operator.lt, operator.eq)


def test_weak_arguments_combine_as_python_numbers() -> None:
    """The dtype of (s op t) op x, where s and t are Python numbers."""
    for s, t in itertools.product((2, 1.5), repeat=2):
        for dtype in DTYPES:
            for first, second in itertools.product(OPERATORS[:4], OPERATORS):
                x = ones(dtype)

                def f(s: Any, t: Any, x: Any, first: Any = first, second: Any = second) -> Any:
                    return second(first(s, t), x)

                assert traced_dtype(f, s, t, x) == numpy_dtype(f, s, t, x), (s, t, dtype)


def test_functions_of_numpy_make_python_numbers_strong() -> None:
    """np.sqrt(2.0) is a float64 of NumPy, which widens; a Python operator keeps it weak."""
    x = ones(np.dtype("f4"))
    for f in (lambda s, x: np.sqrt(s) * x, lambda s, x: s**2 * x, lambda s, x: np.add(s, 1) * x):
        assert traced_dtype(f, 2.0, x) == numpy_dtype(f, 2.0, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions(dtype: np.dtype) -> None:
    x = ones(dtype)
    for name in ("sum", "prod", "mean", "var", "std", "max", "min", "any", "all", "argmax", "ptp"):
        f = getattr(np, name)
        assert traced_dtype(f, x) == numpy_dtype(f, x), name


@pytest.mark.parametrize("function", [
    lambda x, y: np.concatenate([x, y]), lambda x, y: np.stack([x, y]), lambda x, y: x @ y.T,
    lambda x, y: np.where(x > 0, x, y), lambda x, y: np.clip(x, 0, y),
    lambda x, y: np.einsum("ij,kj->ik", x, y), lambda x, y: np.kron(x, y),
    lambda x, y: np.outer(x, y), lambda x, y: np.tensordot(x, y, 0), lambda x, y: np.dot(x, y.T),
])
def test_functions_of_two_arrays(function: Callable[..., Any]) -> None:
    for first, second in itertools.product(DTYPES, repeat=2):
        x, y = ones(first), ones(second)
        expected = numpy_dtype(function, x, y)
        assert traced_dtype(function, x, y) == expected, (first, second)


def test_arrays_of_rank_0_are_strong() -> None:
    x, scalar = np.ones(3, np.float32), np.array(2.0)
    assert traced_dtype(lambda x: x * scalar, x) == np.float64
    assert traced_dtype(lambda x, s: x * s, x, scalar) == np.float64


# -- widening --------------------------------------------------------------------------------------


def test_widened_float_arrays_are_listed_with_their_line() -> None:
    def f(x: Any, y: Any) -> Any:
        narrow = x * 2.0 + np.float32(1)
        return narrow * y  # widens x

    graph = trace(f, np.ones(3, np.float32), np.ones(3))
    (widening,) = graph.widenings
    assert (widening.source, widening.target) == (F32, F64)
    assert widening.location is not None
    assert widening.location.source() == "return narrow * y  # widens x"
    assert "f32 is widened to f64" in str(widening)
    assert graph.copy().widenings == graph.widenings


def test_what_is_no_widening() -> None:
    for f in (lambda x, i, s: x * 2.0 * s, lambda x, i, s: x.astype(float), lambda x, i, s: i * 1.5,
              lambda x, i, s: np.mean(x, dtype=np.float64), lambda x, i, s: np.sqrt(i)):
        assert trace(f, np.ones(3, np.float32), np.ones(3, np.int64), 2.0).widenings == []


def test_an_integer_array_widens_a_float_array() -> None:
    graph = trace(lambda x, i: x * i, np.ones(3, np.float32), np.ones(3, np.int32))
    assert len(graph.widenings) == 1
