"""Generated bad arguments for all of irgrad.numpy, nn and optim, on arrays and in a trace.

Each call gives NumPy's answer or a named error that ends at the line of the call.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
import pickle
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad import nn, optim
from irgrad.errors import (
    ArgumentError,
    DimError,
    DTypeError,
    IrgradError,
    LimitError,
    MissingError,
    ShapeError,
    TraceError,
)
from irgrad.ir.parser import parse
from irgrad.tracing.functions.namespace import FUNCTIONS
from irgrad.tracing.tracer import Tracer

X, M = np.arange(1.0, 4.0), np.arange(1.0, 10.0).reshape(3, 3)
PER_ARGUMENT = 4  # values that are tried in each argument, drawn by a fixed seed
DEEP: list[Any] = []
for _ in range(2000):
    DEEP = [DEEP]

JUNK: MappingProxyType[str, Any] = MappingProxyType({
    "None": None, "text": "abc", "bytes": b"abc", "object": object(), "minus": -1, "zero": 0,
    "two": 2, "half": 5.5, "nan": float("nan"), "inf": float("inf"), "huge": 2**62,
    "overflow": 2**70, "endless": 10**400, "true": True, "complex": 1 + 2j, "set": {1},
    "list": [], "dict": {}, "tuple": (), "pair": (0, 1), "twice": (0, 0), "one": (0,),
    "mixed": [1, "a"], "ragged": [[1], [1, 2]], "ellipsis": ..., "slice": slice(1), "deep": DEEP,
    "rank 0": np.array(2.0), "empty": np.zeros(0), "no row": np.zeros((0, 3)),
    "text array": np.array("a"), "objects": np.array([None]), "complex array": np.ones(3, "c8"),
    "long double": np.ones(3, np.longdouble), "dates": np.zeros(3, "M8[s]"),
    "records": np.zeros(3, [("a", "f8")]), "masked": np.ma.masked_equal(X, 2.0),
    "matrix": M.view(np.matrix), "memory": memoryview(X.tobytes()), "lambda": lambda x: x,
    "read only": np.broadcast_to(2.0, (3,)), "swapped": X.astype(">f8"), "bytes 8": np.int8(1),
    "single": np.float32(1.5), "short": np.array([1, 2, -128], np.int8),
    "unsigned": np.array([1, 2, 2**64 - 1], np.uint64), "float16": X.astype("f2"),
    "bools": np.array([True, False, True]), "cube": np.ones((2, 3, 3)), "dtype": "f4",
    "object dtype": object, "order": "F", "casting": "unsafe", "rank 65": (1,) * 65,
})  # fmt: skip
NAMES = {id(f): name for name, f in reversed(FUNCTIONS.items()) if name != "getitem"}.values()
# What numbers beyond 64 bits are in NumPy: objects, in place of floats.
OBJECTS = frozenset({"huge", "overflow", "endless"})
Shape = Callable[[Callable[..., Any], Any, Any, Any], Any]
POSITIONS: MappingProxyType[str, Shape] = MappingProxyType({
    "v": lambda f, v, x, m: f(v), "x v": lambda f, v, x, m: f(x, v),
    "v x": lambda f, v, x, m: f(v, x), "m v": lambda f, v, x, m: f(m, v),
    "x x v": lambda f, v, x, m: f(x, x, v), "x 0 v": lambda f, v, x, m: f(x, 0, v),
    "v x x": lambda f, v, x, m: f(v, x, x), "[v, x]": lambda f, v, x, m: f([v, x]),
    "'i,i' v": lambda f, v, x, m: f("i,i", v, x), "v v": lambda f, v, x, m: f(v, v),
})  # fmt: skip
# Accepted in a trace where NumPy refuses: lists as axes, one bound of clip, None as correction, and
# options of layout and copies, which mean nothing for values that are never written.
LENIENT_FUNCTIONS = frozenset({"clip", "asarray", "astype", "unstack", "nan_to_num", "dstack"})
LENIENT_OPTIONS = frozenset({"subok", "copy", "correction"})
# Refused where NumPy takes any container as a tuple, and where it would break memory.
STRICT: MappingProxyType[str, frozenset[str]] = MappingProxyType({
    "tile": frozenset({"set", "dict", "bytes"}), "dstack": frozenset({"matrix"}),
})  # fmt: skip
ODD = ("axis", "dtype", "out", "where", "keepdims", "initial", "casting", "order", "unknown")


def by_name(keyword: str, matrix: bool) -> Shape:
    """Calls with one keyword argument, after one array or two."""
    if matrix:
        return lambda f, v, x, m: f(m, **{keyword: v})
    return lambda f, v, x, m: f(x, x, **{keyword: v})


def calls(name: str, function: Callable[..., Any]) -> Iterator[tuple[str, str, Shape, Any]]:
    """The bad calls of a function: how, with which value, the call, the value."""
    shapes = dict(POSITIONS)
    parameters = inspect.signature(function).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for keyword in dict.fromkeys((*named, *ODD)):
        shapes[f"m {keyword}"] = by_name(keyword, True)
        shapes[f"x x {keyword}"] = by_name(keyword, False)
    for how, shape in shapes.items():
        chosen = random.Random(f"{name} {how}").sample(sorted(JUNK), PER_ARGUMENT)
        for kind in chosen:
            value = JUNK[kind]
            writable = isinstance(value, np.ndarray) and value.flags.writeable
            yield how, kind, shape, value.copy() if writable else value


def outcome(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[str, Any]:
    """The word "value", "named" or "raw", with the value or the error."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return "value", call(*args, **options)
        except IrgradError as error:
            return "named", error
        except Exception as error:  # noqa: BLE001 - the kind of the error is what is tested
            return "raw", error


def numpys(name: str) -> Callable[..., Any] | None:
    """NumPy's function of a name."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part)
    return found


def equal(got: Any, wanted: Any) -> bool:
    """Whether a result is NumPy's in values, dtype (of native byte order), shape and tree."""
    if isinstance(wanted, (tuple, list)):
        return len(got) == len(wanted) and all(map(equal, got, wanted))
    if isinstance(wanted, np.dtype):
        return bool(got == wanted)
    x, y = np.asarray(got), np.asarray(wanted)
    if x.dtype.newbyteorder("=") != y.dtype.newbyteorder("=") or x.shape != y.shape:
        return False
    if x.dtype.kind not in "biufc":
        return x.dtype.kind in "OUSMmV"  # NumPy's own result, of equal type
    if x.dtype.kind not in "fc":
        return np.array_equal(x, y)
    tolerance = 4 * float(np.finfo(x.dtype).eps)
    largest = float(np.max(np.abs(y), initial=1.0, where=np.isfinite(y)))
    return np.allclose(x, y, rtol=tolerance, atol=tolerance * largest, equal_nan=True)


def problem(error: IrgradError) -> str | None:
    """What is wrong with the text of an error."""
    lines = str(error).splitlines()
    if "expected" not in lines[0] or len(lines) > 12 or len(str(error)) > 1500:
        return "message"
    return None if any(line.startswith("  File ") for line in lines[1:]) else "no line"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_bad_arguments_outside_a_trace(name: str) -> None:
    function, wrong = FUNCTIONS[name], []
    for how, kind, shape, value in calls(name, function):
        reference = numpys(name) if hasattr(np, name.split(".")[0]) else None
        got, result = outcome(shape, function, value, X.copy(), M.copy())
        if got == "raw" or (got == "named" and problem(result)):
            wrong.append((how, kind, got, result))
            continue
        if reference is None or name in ("empty", "empty_like"):
            continue
        if got == "named" and kind in STRICT.get(name, ()):
            continue
        wanted, answer = outcome(shape, reference, value, X.copy(), M.copy())
        lenient = kind == "deep" or (name in LENIENT_FUNCTIONS and got == "value")
        if (got == "value") != (wanted == "value") and not lenient:
            wrong.append((how, kind, got, answer))
        # Without `out`, `where` leaves what happens to be in memory.
        elif got == wanted == "value" and "where" not in how and not isinstance(result, np.matrix):
            plain = isinstance(result, (bool, int, float))  # rounded by a narrow dtype of NumPy
            if isinstance(result, np.generic) or not (plain or equal(result, answer)):
                wrong.append((how, kind, result, answer))
    assert not wrong


@pytest.mark.parametrize("name", sorted(NAMES))
def test_bad_arguments_in_a_trace(name: str) -> None:
    function, wrong = FUNCTIONS[name], []
    accepted: list[tuple[str, str, Shape, Any]] = []

    def model(x: Any, m: Any) -> list[Any]:
        results = []
        for how, kind, shape, value in calls(name, function):
            got, result = outcome(shape, function, value, x, m)
            if got == "raw" or (got == "named" and problem(result)):
                wrong.append((how, kind, got, result))
            elif got == "value" and kind not in OBJECTS and how not in ("v", "v v") and not (
                isinstance(result, np.dtype)
            ):
                accepted.append((how, kind, shape, value))
                results.append(result)
        return results

    got = ig.jit(model, target="reference")(X.copy(), M.copy())
    assert not wrong
    for (how, kind, shape, value), result in zip(accepted, got, strict=True):
        if not hasattr(np, name.split(".")[0]) or name in ("empty", "empty_like"):
            break
        wanted, answer = outcome(shape, numpys(name), value, X.copy(), M.copy())
        if wanted == "value" and not equal(result, answer):
            wrong.append((how, kind, result, answer))
        elif wanted != "value" and not (
            name in LENIENT_FUNCTIONS or how.split()[-1] in LENIENT_OPTIONS or kind == "list"
        ):
            wrong.append((name, how, kind, answer))
    assert not wrong


METHODS = tuple(n for n in dir(np.ndarray) if not n.startswith("_") and callable(getattr(M, n)))
OPERATORS = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"),
    *("lt", "le", "gt", "ge", "lshift", "rshift", "getitem"),
)


def uses(x: Any, kinds: Iterable[str]) -> Iterator[tuple[str, str, Callable[..., Any], Any]]:
    """The bad uses of an array: what, with which value, the use, the value."""
    for kind in kinds:
        value = JUNK[kind]
        for name in METHODS:
            method = lambda x, *args, name=name, **options: getattr(x, name)(*args, **options)
            yield f"x.{name}(v)", kind, method, value
            yield f"x.{name}(0, v)", kind, lambda x, v, f=method: f(x, 0, v), value
            yield f"x.{name}(axis)", kind, lambda x, v, f=method: f(x, axis=v), value
        for name in OPERATORS:
            yield f"{name} x v", kind, getattr(operator, name), value
            if name != "getitem":
                yield f"{name} v x", kind, lambda x, v, f=getattr(operator, name): f(v, x), value


@pytest.mark.parametrize("first", range(0, len(JUNK), 9))
def test_bad_arguments_of_methods_and_operators(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # ndarray has methods that write files
    wrong: list[Any] = []
    accepted: list[tuple[str, str, Callable[..., Any], Any]] = []

    def model(x: Any) -> list[Any]:
        results = []
        for how, kind, use, value in uses(x, sorted(JUNK)[first : first + 9]):
            got, result = outcome(use, x, value)
            if got == "raw" or (got == "named" and problem(result)):
                wrong.append((how, kind, got, result))
            elif isinstance(result, Tracer) and kind not in OBJECTS:  # "text" % x is a text
                accepted.append((how, kind, use, value))
                results.append(result)
        return results

    got = ig.jit(model, target="reference")(M.copy())
    assert not wrong
    for (how, kind, use, value), result in zip(accepted, got, strict=True):
        wanted, answer = outcome(use, M.copy(), value)
        if (wanted == "value" and not equal(result, answer)) or (
            wanted != "value" and kind != "list"
        ):
            wrong.append((how, kind, result, answer))
    assert not wrong
    assert not list(tmp_path.iterdir())


# -- nn and optim ----------------------------------------------------------------------------------

LABELS = np.array([0, 1, 2])
SECOND: MappingProxyType[str, tuple[np.ndarray, ...]] = MappingProxyType({
    "cross_entropy": (LABELS,), "mse_loss": (X,),
})


def is_wrong(got: str, result: Any) -> bool:
    """Whether an outcome is neither a value, arrays for scalars included, nor a good message."""
    return got == "raw" or isinstance(result, np.generic) or (
        got == "named" and problem(result) is not None
    )


def traced(call: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
    """A call in a trace; a traced array stands for `M`."""
    return ig.trace(lambda m: call(m if value is M else value, *args, **options) is None, M)


@pytest.mark.parametrize("name", sorted(set(nn.__all__) - {"norm", "stop_gradient"}))
def test_bad_arguments_of_formulas(name: str) -> None:
    function, wrong, second = getattr(nn, name), [], SECOND.get(name, ())
    named = list(inspect.signature(function).parameters)[1:]
    for kind, value in JUNK.items():
        cases: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [(value, second, {})]
        for option in (*named, "unknown"):
            cases.append((M, () if option in named[: len(second)] else second, {option: value}))
        for first, rest, given in cases:
            for call in (outcome(function, first, *rest, **given),
                         outcome(traced, function, first, *rest, **given)):
                if is_wrong(*call):
                    wrong.append((kind, list(given), *call))
    assert not wrong


PARAMS: MappingProxyType[str, np.ndarray] = MappingProxyType({
    "w": M.astype("f4"), "b": X.astype("f4"),
})
TREES: MappingProxyType[str, Any] = MappingProxyType({
    **JUNK, "swapped names": {"w": X, "c": M}, "wide": {"w": M, "b": X},
    "repeats": {"w": M[:1].astype("f4"), "b": np.float32(1)}, "texts": {"w": "a", "b": "b"},
    "more": {"w": np.ones((2, 3, 3), "f4"), "b": X.astype("f4")},
})


def step(
    make: Callable[..., optim.Optimiser], settings: dict[str, Any], trees: dict[str, Any]
) -> Any:
    """New parameters of one step, of which one argument may be replaced."""
    optimiser = make(**{"rate": 0.1, **settings})
    params = trees.get("params", dict(PARAMS))
    if "init" in trees:
        return optimiser.init(trees["init"])
    state = trees["state"] if "state" in trees else optimiser.init(dict(PARAMS))
    new = optimiser.update(trees.get("gradients", dict(PARAMS)), state, params)[0]
    assert new.keys() == PARAMS.keys() == params.keys()
    assert all(new[k].dtype == p.dtype and new[k].shape == p.shape for k, p in params.items())
    return new


@pytest.mark.parametrize("make", [optim.sgd, optim.momentum, optim.adam, optim.adamw])
def test_bad_arguments_of_optimisers(make: Callable[..., optim.Optimiser]) -> None:
    wrong = []
    settings = (*inspect.signature(make).parameters, "unknown")
    for kind, value in TREES.items():
        for what in ("init", "params", "gradients", "state", *settings):
            given = {what: value}
            call = outcome(step, make, *((given, {}) if what in settings else ({}, given)))
            if is_wrong(*call):
                wrong.append((what, kind, *call))
    assert not wrong


def test_settings_of_numpys_types_keep_the_dtype_of_parameters() -> None:
    params = np.ones(3, "f4")
    for number in (np.float64(0.5), np.longdouble(0.5), np.float32(0.5)):
        for make in (optim.sgd, optim.momentum, optim.adam):
            optimiser = make(number)
            new, state = optimiser.update(params, optimiser.init(params), params)
            assert new.dtype == np.float32
            assert make is not optim.adam or isinstance(state["step"], np.ndarray)
    with pytest.raises(ArgumentError, match=r"sgd: rate: expected a number in \[0.0, inf\)"):
        optim.sgd(10**400)
    with pytest.raises(ShapeError, match=r"sgd: gradients: expected the shape of f32\[3\]"):
        optim.sgd(0.5).update(np.ones((2, 3), "f4"), (), params)
    with pytest.raises(DTypeError, match="no wider than"):
        optim.sgd(0.5).update(np.ones(3), (), params)
    with pytest.raises(ArgumentError, match="adam: expected the state that init gave"):
        optim.adam(0.5).update(params, (), params)


def test_state_begins_inside_of_a_trace() -> None:
    optimiser = optim.adam(0.1)
    graph = ig.trace(optimiser.init, "f32[n,3]")
    assert sorted(map(str, (graph.type(v) for v in graph.outputs))) == ["f32[n,3]"] * 2 + ["f64[]"]


def test_formulas_of_what_numpy_converts() -> None:
    listed = nn.gelu([1.0, 2.0])
    np.testing.assert_array_equal(listed, nn.gelu(np.array([1.0, 2.0])))
    assert type(nn.silu(np.array(1.0))) is np.ndarray and type(nn.silu(1.0)) is float
    for function in (nn.silu, nn.sigmoid, nn.erf, lambda x: nn.mse_loss(x, M)):
        for value in (M.view(np.matrix), np.ma.masked_equal(M, 2.0)):
            with pytest.raises(ArgumentError, match="expected a plain ndarray, got M|matrix"):
                function(value)
    for value in (np.ones(2, "c16"), "1.5", np.ones(2, "M8[s]"), np.ones(2, np.longdouble)):
        with pytest.raises(DTypeError, match="dtype"):
            nn.sigmoid(value)


# -- single findings -------------------------------------------------------------------------------


def run(function: Callable[..., Any], *args: Any) -> Any:
    return ig.jit(function, target="reference")(*args)


@pytest.mark.parametrize("call, error, match", [
    (lambda: inp.add(X, np.ones(4)), ShapeError, "add: expected .* NumPy's add, got .* broadcast"),
    (lambda: inp.sum(X, axis=3), ShapeError, "sum: expected .*AxisError"),
    (lambda: inp.sum(X, unknown=1), ArgumentError, "unexpected keyword argument 'unknown'"),
    (lambda: inp.sqrt("abc"), ArgumentError, "sqrt: expected"),
    (lambda: inp.result_type("M8[s]", "f4"), DTypeError, "result_type: expected"),
    (lambda: inp.zeros(2**46), LimitError, "zeros: expected .*MemoryError"),
    (lambda: inp.linalg.multi_dot([M]), ShapeError, "multi_dot: expected"),
    (lambda: inp.repeat(np.ones(24), 2**62), LimitError, "repeat: expected"),
    (lambda: inp.repeat(np.ones(4), [2**62] * 4), LimitError, "repeat: expected"),
    (lambda: inp.tile(np.ones(24), (2**31, 2**31)), LimitError, "tile: expected"),
    (lambda: inp.add(DEEP, 1), LimitError, "nested at most 64"),
    (lambda: inp.dstack(M.view(np.matrix)), ArgumentError, "dstack: expected plain arrays"),
])
def test_what_numpy_refuses_is_named(call: Callable[[], Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match) as raised:
        call()
    assert str(raised.value).splitlines()[-2].startswith('  File "tests/errors/test_namespace_a')


def test_floating_point_errors_are_raised_where_the_user_asks_for_them() -> None:
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        inp.divide(X, 0.0)


def test_python_numbers_come_back_where_they_hold_the_result() -> None:
    assert type(inp.sin(1.0)) is float and type(inp.add(1, 2)) is int
    assert inp.sin(True).dtype == np.float16  # no Python number is
    assert inp.sum(3, dtype="f4").dtype == np.float32


@pytest.mark.parametrize("body, argument, error, match", [
    (lambda x: np.exp(x, where=None), X, TraceError, "exp: expected operands alone.* where"),
    (lambda x: x.astype(x), X, DTypeError, "got an array; write x.dtype"),
    (lambda x: inp.zeros(3, dtype=x), X, DTypeError, "got an array"),
    (lambda x: x.sum(keepdims="no"), X, ArgumentError, "sum: expected keepdims to be True or"),
    (lambda x: x.sum(axis=True), M, ArgumentError, "sum: expected an integer as axis, got True"),
    (lambda x: x.sum(unknown=1), X, ArgumentError, "sum: expected arguments that fit"),
    (lambda x: x.transpose(axis=1), X, ArgumentError, "transpose: expected"),
    (lambda x: x.copy("text"), X, ArgumentError, "copy: expected order"),
    (lambda x: inp.zeros_like(x, order="Q"), X, ArgumentError, "expected order"),
    (lambda x: inp.meshgrid(x, x, indexing="yx"), X, ArgumentError, "expected indexing"),
    (lambda x: inp.clip(x, 0, 1, min=2), X, ArgumentError, "clip: expected each bound once"),
    (lambda x: inp.isclose(x, x, rtol=None), X, ArgumentError, "isclose: expected rtol"),
    (lambda x: inp.nan_to_num(x, nan=1j), X, ArgumentError, "nan_to_num: expected nan"),
    (lambda x: x.var(ddof=None), X, ArgumentError, "var: expected ddof to be a number"),
    (lambda x: x.round(0.5), X, ArgumentError, "round: expected decimals to be an integer"),
    (lambda x: inp.concatenate([x], dtype="i4"), X, DTypeError, "concatenate: expected a dtype"),
    (lambda x: inp.where(x > 0, 1, 2**70), X, DTypeError, "expected a number that i64 holds"),
    (lambda x: x.real, 1j * X, DTypeError, "real: expected a real dtype, got c128"),
    (lambda x: inp.isnan(x), 1j * X, DTypeError, "isnan: expected a real dtype"),
    (lambda x: inp.nan_to_num(x), 1j * X, DTypeError, "nan_to_num: expected a real dtype"),
    (lambda x: x == 1j, X, TraceError, "got 1j of type complex"),
    (lambda x: x.cumsum(), X, MissingError, "got 'cumsum'; near it are sum"),
    (lambda x: setattr(x, "shape", (3, 1)), X, TraceError, "assignment to its attribute 'shape'"),
    (lambda x: x << 1, X, TraceError, "a shift of bits"),
    (lambda x: round(x.sum()), X, TraceError, r"round\(\)"),
    (lambda x: pow(x, 2, 3), X, TraceError, "modulus"),
    (lambda x: x.__delitem__(0), X, TraceError, "a deletion of elements"),
    (pickle.dumps, X, TraceError, "got pickle"),
    (lambda x: np.pad(x, 2**62), X, LimitError, "pad: expected a result whose sizes fit 64 bits"),
    (lambda x: np.pad(x, [[1], [1, 2]]), M, ShapeError, "the same number of widths for each axis"),
    (lambda x: np.roll(x, x, ()), X, TraceError, "roll: expected shift to be known"),
])
def test_uses_that_a_trace_refuses(
    body: Callable[[Any], Any], argument: np.ndarray, error: type, match: str
) -> None:
    with pytest.raises(error, match=match) as raised:
        run(body, argument)
    assert "test_namespace_arguments.py" in str(raised.value)


def test_attributes_that_are_asked_for_are_absent() -> None:
    assert run(lambda x: x + hasattr(x, "cumsum") + hasattr(x, "__jax_array__"), X)[0] == 1.0


@pytest.mark.parametrize("body, argument", [
    (inp.reciprocal, np.array([1, -1, 3, 2**63 - 1, 1 - 2**63])),
    (inp.reciprocal, np.array([1, 3, 255], np.uint8)),
    (inp.sinc, np.array([0, 1, -2], np.int8)),
    (inp.sinc, np.array([True, False])),
    (lambda x: x.ravel("C") + np.ravel(x, order="C"), M),
    (lambda x: np.transpose(x, 0), X),
    (lambda x: x.imag + x.max(0, None, True), M),
    (lambda x: x.sum(0, "f4", None, True), M),
    (lambda x: np.roll(x, 1, (0, 1)) + np.roll(x, (1, 2), 0) + np.roll(x, (1,), (0, 0)), M),
    (lambda x: np.roll(x, (), 0) + np.roll(x, 2, ()), M),
])
def test_answers_of_numpy(body: Callable[[Any], Any], argument: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        wanted = body(argument)
    got = run(body, argument)
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == wanted.dtype and got.shape == np.shape(wanted)


def test_a_mask_times_an_infinite_constant_keeps_nan() -> None:
    mask = np.array([True, False])
    np.testing.assert_array_equal(run(lambda c: c * np.inf, mask), [np.inf, np.nan])
    got = run(lambda c: inp.where(c, 1.0, 0.0) * np.nan, mask)
    np.testing.assert_array_equal(got, [np.nan, np.nan])


def test_in_place_operators_keep_shape_and_dtype() -> None:
    def add(x: Any, y: Any) -> Any:
        x += y
        return x

    assert run(add, np.ones(3, "f4"), X).dtype == np.float32
    assert run(add, np.float32(1), np.float64(2)).dtype == np.float64  # as NumPy's scalars
    with pytest.raises(DTypeError, match=r"add: expected a result that i64\[3\] holds"):
        run(add, np.arange(3), X)
    with pytest.raises(ShapeError, match=r"add: expected a result of the shape of f64\[3\]"):
        run(add, X, M)


@pytest.mark.parametrize("body, match", [
    (lambda n: [1.0] * n, "size n: expected a number or an array"),
    (lambda n: (1, 2) + (n + 0) * (3,), "expected a number or an array"),
    (lambda n: {4: 1}.get(n), r"hash\(\)"), (lambda n: n in {4, 5}, r"hash\(\)"),
    (lambda n: n // 0, "a divisor other than 0"), (lambda n: n % 0, "a divisor other than 0"),
    (lambda n: list(n), "iteration"), (len, r"len\(\)"), (round, r"round\(\)"),
    (lambda n: ~n, "expected a use"), (lambda n: n << 1, "a shift of bits"),
    (lambda n: n @ n, "expected a use"), (lambda n: f"{n:d}", "the format 'd'"),
    (pickle.dumps, "pickle"), (lambda n: pow(n, 2, 5), "modulus"),
])
def test_uses_of_symbolic_sizes_that_are_refused(body: Callable[[Any], Any], match: str) -> None:
    with pytest.raises(DimError, match=match) as raised:
        ig.trace(lambda x: body(x.shape[0]), "f64[n]")
    assert "test_namespace_arguments.py" in str(raised.value)


def test_arithmetic_of_symbolic_sizes() -> None:
    def body(x: Any) -> Any:
        n = x.shape[0]
        return (*divmod(n, 2), *divmod(9, n), abs(n - 5), +n, n & 6, 1 | n, n ^ 1, n == "text")

    compiled = ig.compile(body, "f64[n]", target="reference")
    assert [int(v) for v in compiled(np.ones(4))] == [2, 0, 2, 1, 1, 4, 4, 5, 5, 0]


# -- how arguments are given -----------------------------------------------------------------------


def test_options_that_are_not_known_are_named() -> None:
    with pytest.raises(ArgumentError, match="got 'emitt'; did you mean emit") as raised:
        ig.Options(emitt="llvm")  # type: ignore[call-arg]
    assert "test_namespace_arguments.py" in str(raised.value)
    with pytest.raises(ArgumentError, match="each once, got others: .*multiple values"):
        ig.Options("llvm", emit="llvm")  # type: ignore[misc]
    with pytest.raises(ArgumentError, match="option emit: expected 'llvm' or 'numba', got 1"):
        ig.Options(emit=1)  # type: ignore[arg-type]
    assert "emit" in inspect.signature(ig.Options).parameters
    kept = ig.Options(numerics="exact")
    assert pickle.loads(pickle.dumps(kept)) == kept == dataclasses.replace(kept)


def test_parameters_by_position_leave_their_names_to_keywords() -> None:
    def scaled(x: Any, /, y: Any = 1.0, **more: Any) -> Any:
        return x * y + more.get("x", 0.0)

    def alone(x: Any, /) -> Any:
        return x

    assert run(scaled, 2.0) == 2.0
    call = ig.jit(scaled, target="reference")
    assert call(2.0, x=3.0) == scaled(2.0, x=3.0) == 5.0
    assert call(2.0, y=4.0, x=3.0) == 11.0
    assert ig.jit(scaled, static="x", target="reference")(2.0, x=3.0) == 5.0
    for refused in (lambda: ig.jit(alone, target="reference")(x=1.0), lambda: call(x=1.0)):
        with pytest.raises(ArgumentError, match="'x'"):
            refused()


def test_built_in_functions_of_unknown_parameters() -> None:
    assert ig.jit(abs, target="reference")(-2.0) == 2.0
    for call in (lambda f: f(), lambda f: f(a=1.0), lambda f: f(1.0, key=1.0)):
        with pytest.raises(ArgumentError, match="max: expected"):
            call(ig.jit(max, target="reference"))
    with pytest.raises(TraceError, match=r"got bool\(\)"):
        ig.jit(max)(X)

    def passes(x: Any) -> Any:
        raise TypeError("of the user")

    with pytest.raises(TypeError, match="^of the user$"):
        run(passes, X)


@pytest.mark.parametrize("key", ["a" * 300, "a" * 256, "a b", 'quoted "text"\n', "\u00e9" * 300])
def test_keys_of_any_length_are_read_back(key: str) -> None:
    graph = ig.trace(lambda tree: tree[key] + 1.0, {key: X})
    again = parse(str(graph))
    assert again == graph and str(again) == str(graph)
    compiled = ig.compile(again, target="reference")
    np.testing.assert_array_equal(compiled({key: X}), X + 1.0)
