"""Functions of irgrad.numpy, traced and interpreted, give NumPy's values, shapes and dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy_calls import Call, all_calls

import irgrad.numpy as inp
from irgrad.errors import DTypeError, IrgradError, ShapeError, TraceError
from irgrad.interpret import interpret
from irgrad.tracing.functions.joining import REFUSED
from irgrad.tracing.functions.namespace import FUNCTIONS
from irgrad.tracing.trace import trace

CALLS = all_calls()
TOLERANCES = {"f": 2e-5, "d": 1e-10}
MISSING_DTYPES = ("f16", "i8")  # what NumPy computes bool operands in, and irgrad does not
NOT_COMPARED = {"asarray", "array", "result_type", "empty", "empty_like"}


def numpy_result(call: Call) -> list[np.ndarray] | Exception:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = call.function(np, *call.arrays)
        except (TypeError, ValueError, IndexError) as error:
            return error
    return [np.asarray(x) for x in (result if isinstance(result, (list, tuple)) else [result])]


def computed_in_a_missing_dtype(error: Exception) -> bool:
    return isinstance(error, DTypeError) and any(
        f"computed in {name};" in str(error) for name in MISSING_DTYPES
    )


def compare(call: Call, namespace: Any) -> None:
    """Trace and interpret a call; where NumPy raises, irgrad has to raise too."""
    expected = numpy_result(call)
    try:
        graph = trace(lambda *xs: call.function(namespace, *xs), *call.arrays)
    except IrgradError as error:
        if not isinstance(expected, Exception) and not computed_in_a_missing_dtype(error):
            raise
        return
    assert not isinstance(expected, Exception), f"{call.label}: NumPy raises {expected!r}"
    got = interpret(graph, call.arrays)
    assert len(got) == len(expected), call.label
    for x, y in zip(expected, got):
        assert (x.dtype, x.shape) == (y.dtype, y.shape), call.label
        tolerance = TOLERANCES.get(x.dtype.char, 0)
        np.testing.assert_allclose(
            y, x, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=call.label
        )


@pytest.mark.parametrize("name", sorted(CALLS))
def test_traced_function_is_numpys(name: str) -> None:
    for call in CALLS[name]:
        compare(call, inp)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_numpys_own_function_dispatches(name: str) -> None:
    """np.f on a traced value is irgrad.numpy.f."""
    for call in CALLS[name]:
        compare(call, np)


def test_every_offered_function_has_calls() -> None:
    compared = {id(FUNCTIONS[name]) for name in CALLS}
    refused = {name for name, _ in REFUSED}
    for name, function in FUNCTIONS.items():
        if name not in refused | NOT_COMPARED | {"getitem"}:
            assert id(function) in compared, f"{name} has no sample calls"


def test_names_of_the_array_api_are_offered() -> None:
    for name in ("acos", "asin", "atan2", "concat", "permute_dims", "pow", "bitwise_invert", "abs",
                 "matrix_transpose", "vecdot", "astype", "unstack", "true_divide", "mod", "conj"):
        assert callable(getattr(inp, name)), name
    assert inp.concat is inp.concatenate
    assert set(inp.__all__) <= set(dir(inp))
    assert "getitem" not in inp.__all__
    assert inp.pi == np.pi
    assert inp.linalg.norm is FUNCTIONS["linalg.norm"]
    with pytest.raises(AttributeError, match="no attribute 'fft'"):
        inp.fft  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'svd'"):
        inp.linalg.svd  # noqa: B018


INDICES = (
    np.s_[1], np.s_[-1], np.s_[:, 1:], np.s_[::2], np.s_[::-1], np.s_[..., ::-2], np.s_[1:0],
    np.s_[:, None, 0], np.s_[None, ..., 1, None], np.s_[:, :, 5:], np.s_[:, :, -3:-1],
    np.s_[:, 2:0:-1], np.s_[...], np.s_[()], np.s_[:, :, 3::-3], np.s_[1, 2, 3],
    np.s_[:, -100:100], np.s_[:, 5:2:-1], np.s_[:, :, 100:-100:-1], np.s_[np.int64(1), 2:],
    np.s_[np.array(1)], np.s_[0:0, ::-1],
)


@pytest.mark.parametrize("shape", [(2, 3, 4), (7, 5, 6)])
def test_indexing_is_numpys(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    for index in INDICES:
        (got,) = interpret(trace(lambda x, index=index: x[index], x), [x])
        np.testing.assert_array_equal(got, x[index], err_msg=str(index))


METHODS: tuple[Callable[[Any], Any], ...] = (
    lambda x: x.T, lambda x: x.mT, lambda x: x.astype(np.float64), lambda x: x.reshape(4, 6),
    lambda x: x.reshape((4, -1)), lambda x: x.transpose(1, 0, 2), lambda x: x.transpose((1, 0, 2)),
    lambda x: x.transpose(), lambda x: x.sum(1), lambda x: x.mean((0, 1)), lambda x: x.prod(0),
    lambda x: x.max(axis=1, keepdims=True), lambda x: x.min(2), lambda x: x.var(1),
    lambda x: x.std(ddof=1), lambda x: x.any(0), lambda x: x.all(), lambda x: x.argmax(1),
    lambda x: x.argmin(0), lambda x: x.flatten(), lambda x: x.ravel(), lambda x: x.clip(0, 1),
    lambda x: x.trace(), lambda x: x.diagonal(1), lambda x: x[:1].squeeze(), lambda x: x.copy(),
    lambda x: x.swapaxes(0, 2), lambda x: x.dot(x[0, 0]), lambda x: x.repeat(2, 1),
    lambda x: x.real, lambda x: x.conj(), lambda x: divmod(x, 2), lambda x: x**2,
    lambda x: divmod(7, abs(x) + 1),
    lambda x: x**3, lambda x: 2.0**x, lambda x: x // 2, lambda x: 7 // (abs(x) + 1),
    lambda x: x % 3, lambda x: 7 % (abs(x) + 1), lambda x: -x, lambda x: +x, lambda x: abs(x),
    lambda x: 1 - x, lambda x: x / 2, lambda x: 2 / (abs(x) + 1), lambda x: [*x],
    lambda x: (x > 0) & (x < 1) | ~(x >= 0) ^ (x <= 1), lambda x: True & (x != 0),
    lambda x: x == 0, lambda x: x.round(), lambda x: len(x) + x,
    lambda x: x.size * x.ndim * x.shape[0] + x, lambda x: np.ones(4) @ x[0].T,
    lambda x: np.arange(4) * x, lambda x: np.float64(2) * x, lambda x: x + [1, 2, 3, 4],
    lambda x: np.add.reduce(x, axis=1), lambda x: np.maximum.reduce(x, axis=None),
    lambda x: np.asarray([1, 2]) [:, None, None] - x,
)


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_methods_and_operators_are_ndarrays(dtype: str) -> None:
    x = np.arange(-11, 13).reshape(2, 3, 4).astype(dtype)
    for i, method in enumerate(METHODS):
        compare(Call(f"method {i}", lambda m, x, f=method: f(x), (x,)), np)


def test_integer_operators_on_bits() -> None:
    x = np.arange(-6, 6, dtype=np.int32)
    compare(Call("bits", lambda m, x: (x & 3, x | 4, x ^ 5, 3 & x, 4 | x, 5 ^ x, ~x), (x,)), np)


def test_lists_of_traced_values_become_arrays() -> None:
    x = np.arange(3.0)
    graph = trace(lambda x: inp.asarray([[x[0], 1], [x[1], x[2]]]), x)
    np.testing.assert_array_equal(interpret(graph, [x])[0], [[0, 1], [1, 2]])
    graph = trace(lambda x: inp.array([x, 2 * x], dtype=np.float32), x)
    assert interpret(graph, [x])[0].dtype == np.float32


def test_result_type_of_traced_values() -> None:
    kinds = []

    def f(x: Any, s: Any) -> Any:
        kinds.extend([np.result_type(x, np.float64), np.result_type(x, s), inp.result_type(x, 1.5)])
        return x

    trace(f, np.zeros(3, np.float32), 2.0)
    assert kinds == [np.float64, np.float32, np.float32]


@pytest.mark.parametrize("name, instead", REFUSED)
def test_refused_functions_say_what_to_write(name: str, instead: str) -> None:
    with pytest.raises(TraceError, match=f"{name}: expected a function that can be traced"):
        trace(lambda x: getattr(inp, name)(x, 0), np.zeros(3))


class TestOutsideATrace:
    """Without a traced argument the functions are NumPy's."""

    def test_results_are_arrays_or_python_numbers(self) -> None:
        assert type(inp.sqrt(4.0)) is float
        assert type(inp.add(1, 2)) is int
        assert type(inp.isnan(1.0)) is bool
        total = inp.sum(np.ones(3, np.float32))
        assert type(total) is np.ndarray and total.shape == () and total.dtype == np.float32
        assert type(inp.sqrt(np.float32(4))) is np.ndarray
        assert type(inp.max([1, 2])) is np.ndarray
        assert [type(x) for x in inp.divmod(7.0, 2.0)] == [float, float]

    def test_created_arrays_are_plain_and_writable(self) -> None:
        for made in (inp.zeros((2, 3)), inp.ones(3, np.float32), inp.full((2,), 7), inp.arange(4),
                     inp.eye(3), inp.zeros(3, like=np.ones(2)), inp.linspace(0, 1, 5)):
            assert type(made) is np.ndarray and made.flags.writeable

    def test_errors_are_numpys(self) -> None:
        with pytest.raises(ValueError, match="broadcast"):
            inp.add(np.zeros(3), np.zeros(4))


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x + np.ones(5), ShapeError, r"add: expected shapes that broadcast, got f32\[3,4\] "
                                           r"and f64\[5\] \(axis 1: 4 against 5\)"),
    (lambda x: x.sum(2), ShapeError, r"sum: expected an axis in -2..1, got 2 \(rank 2\)"),
    (lambda x: x.sum((0, 0)), ShapeError, "expected each axis once"),
    (lambda x: x.reshape(5, -1), ShapeError, "reshape: expected sizes whose product divides"),
    (lambda x: x.reshape(-1, -1), ShapeError, "at most one size -1"),
    (lambda x: x.reshape(5), ShapeError, r"reshape: expected as many elements as f32\[3,4\]"),
    (lambda x: np.reshape(x, 12, order="F"), TraceError, "expected order 'C'"),
    (lambda x: x @ np.ones((3, 4)), ShapeError, "matmul: expected contracted axes of equal size"),
    (lambda x: x @ np.float32(2), ShapeError, "matmul: expected rank 1 or more"),
    (lambda x: np.einsum("ij,jk", x, x), ShapeError, "einsum: expected one size for the label 'j'"),
    (lambda x: np.einsum("ijk->i", x), ShapeError, "expected operand 0 of rank 3"),
    (lambda x: np.einsum("ij->ii", x), IrgradError, "output labels that occur once"),
    (lambda x: np.einsum("i1->i", x), IrgradError, "expected letters"),
    (lambda x: x[3], ShapeError, r"index: expected a position in -3..2 for axis 0 of f32\[3,4\]"),
    (lambda x: x[0, 0, 0], ShapeError, "index: expected at most 2 indices"),
    (lambda x: x[x > 0], TraceError, r"np.where\(mask"),
    (lambda x: x[np.array([0, 1])], TraceError, "an array of positions"),
    (lambda x: x[[True, False, True]], TraceError, "an array of positions"),
    (lambda x: x[x[0, 0].astype(int)], TraceError, "a traced value of type i64"),
    (lambda x: x["a"], TraceError, "index: expected integers, slices"),
    (lambda x: x[::0], ShapeError, "expected a step other than 0"),
    (lambda x: np.pad(x, 1, mode="edge"), TraceError, "expected mode 'constant'"),
    (lambda x: np.repeat(x, [1, 2, 3], 0), TraceError, "expected one number of repeats"),
    (lambda x: np.concatenate([x, x[0]]), ShapeError, "concatenate: expected operands of equal"),
    (lambda x: np.stack([x, x[0]]), ShapeError, "stack: expected arrays of equal shape"),
    (lambda x: np.where(x), IrgradError, "where: expected a condition and two values"),
    (lambda x: np.sum(x, where=x > 0), TraceError, "sum: expected arguments among a, axis"),
    (lambda x: np.sum(x, out=np.zeros(())), TraceError, "sum: expected no argument 'out'"),
    (lambda x: np.add(x, x, out=np.zeros((3, 4))), TraceError, "no array to write into"),
    (lambda x: np.add(x, x, where=x > 0), TraceError, "expected operands alone"),
    (lambda x: np.add.accumulate(x), TraceError, "add.accumulate: expected a call or a reduction"),
    (lambda x: np.fft.fft(x), TraceError, "fft.fft: expected a function that irgrad.numpy offers"),
    (lambda x: np.cumsum(x), TraceError, "cumsum: .*; near it are .*sum"),
    (lambda x: np.linalg.svd(x), TraceError, "linalg.svd: expected a function"),
    (lambda x: np.linalg.norm(x, 2), TraceError, "singular values are in irgrad.linalg"),
    (lambda x: x - (x > 0) - (x > 0) if False else (x > 0) - (x > 0), DTypeError,
     "subtract: expected operands of dtypes that NumPy accepts, got bool and bool"),
    (lambda x: np.sqrt(x > 0), DTypeError, "computed in f16; convert them first with astype"),
    (lambda x: x.astype(int) ** -1, DTypeError, "power: expected an exponent >= 0"),
    (lambda x: x.astype("i4") + 2**40, DTypeError, "out of bounds for i32"),
    (lambda x: x + 1j, TraceError, "expected an array, a traced value or a number"),
    (lambda x: x + np.array(["a"]), DTypeError, "dtype: expected one of"),
    (lambda x: np.multiply(x, np.array([None])), DTypeError, "dtype: expected one of"),
    (lambda x: x * np.ma.masked_array([1.0]), TraceError, "expected a plain ndarray"),
    (lambda x: np.max(x[:, :0], axis=1), ShapeError, "max: expected an element along axis 1"),
    (lambda x: np.diag(x[None]), ShapeError, "diag: expected rank 1 or 2"),
    (lambda x: np.tril(x[0]), ShapeError, "tril: expected rank 2 or more"),
    (lambda x: np.split(x, 3, axis=1), ShapeError, "split: expected 3 parts of equal size"),
    (lambda x: inp.arange(x.sum()), TraceError, "arange: expected integers or sizes known"),
    (lambda x: inp.zeros(x.sum(), like=x), TraceError, "expected a size that does not depend on"),
    (lambda x: np.tensordot(x, x, axes=1), ShapeError, "tensordot: expected contracted axes"),
    (lambda x: np.broadcast_to(x, (4, 3)), ShapeError, "broadcast_to: expected shapes"),
    (lambda x: np.squeeze(x, 0), ShapeError, "squeeze: expected size 1 at axis 0"),
    (lambda x: np.transpose(x, (0, 0)), ShapeError, "transpose: expected each of the 2 axes"),
])
def test_errors_name_function_and_cause_and_end_on_the_users_line(
    call: Callable[[Any], Any], error: type[IrgradError], message: str
) -> None:
    def user_function(x: Any) -> Any:
        return call(x)  # the line of the user

    with pytest.raises(error, match=message) as caught:
        trace(user_function, "f32[3,4]")
    lines = str(caught.value).splitlines()
    assert len(lines) <= 12
    assert 'test_numpy_values.py", line' in lines[-2] or 'test_numpy_values.py", line' in lines[-1]
