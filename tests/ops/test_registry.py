"""Tests that every record of the registry gets: types, meaning, derivatives, special values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from irgrad.errors import CheckError, DTypeError, ShapeError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import BOOL, C64, DTYPES, F32, F64, I32, TensorType, dtype_of
from irgrad.ops import bits, random
from irgrad.ops.build import Expr
from irgrad.ops.record import OpDef, RuleContext, Sample
from irgrad.ops.registry import REGISTRY, builder
from irgrad.ops.steps import ArraySteps

ALL = sorted(REGISTRY)
ELEMENTWISE = [name for name in ALL if REGISTRY[name].family == "elementwise"]
ATTRIBUTE_KINDS = {
    "bool", "int", "ints", "size", "sizes", "dtype", "scalar", "str", "graph", "slices",
}
# Which operands may be linear together, for linear ops where that is not simply all of them.
MASKS = {
    "mul": [(True, False), (False, True)],
    "div": [(True, False)],
    "scale_or_zero": [(True, False)],
    "fma": [(True, False, True), (False, True, True), (False, False, True)],
    "select": [(False, True, True), (False, True, False), (False, False, True)],
    "dot_general": [(True, False), (False, True)],
    "linear_call": [(False, True, True), (False, True, False)],
}
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e-39, 1e30, -745.0)


def samples(name: str) -> list[Sample]:
    return REGISTRY[name].samples(np.random.default_rng(7))


def types_of(arrays: Sequence[np.ndarray]) -> tuple[TensorType, ...]:
    return tuple(TensorType(dtype_of(x.dtype), x.shape) for x in arrays)


def apply(name: str, types: Sequence[TensorType], attrs: Any) -> tuple[Graph, list[Expr], Any]:
    """A graph that holds one node, with its operands and results as expressions."""
    graph = Graph(name)
    b = builder(graph)
    operands = [b.wrap(graph.add_input(type_)) for type_ in types]
    results = b.emit(name, operands, **attrs)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    return graph, operands, results


def finite(arrays: Sequence[np.ndarray]) -> bool:
    return all(bool(np.isfinite(x).all()) for x in arrays)


def is_float(x: np.ndarray) -> bool:
    return x.dtype.kind == "f"


# -- records ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_record_is_complete(name: str) -> None:
    op = REGISTRY[name]
    assert op.name == name
    assert op.family in {"elementwise", "movement", "reduce", "contract", "structured"}
    assert set(op.attributes.values()) <= ATTRIBUTE_KINDS
    assert op.flops >= 0
    for alias in op.numpy:
        assert hasattr(np, alias) or hasattr(np.ndarray, alias), alias
    calls = samples(name)
    assert calls
    for call in calls:
        assert set(call.attrs) == set(op.attributes)


def test_numpy_names_are_unique() -> None:
    names = [alias for op in REGISTRY.values() for alias in op.numpy]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ALL)
def test_inferred_types_hold_for_the_meaning(name: str) -> None:
    for call in samples(name):
        graph, _, results = apply(name, types_of(call.operands), call.attrs)
        before = [x.copy() for x in call.operands]
        got = interpret(graph, call.operands)  # raises where a result is not of its inferred type
        assert types_of(got) == tuple(x.type for x in results)
        for old, new in zip(before, call.operands):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ALL)
def test_unsupported_dtypes_are_refused(name: str) -> None:
    op = REGISTRY[name]
    call = samples(name)[0]
    shapes = [x.shape for x in call.operands]
    refused = set()
    for dtype in DTYPES.values():
        try:
            op.infer(tuple(TensorType(dtype, shape) for shape in shapes), call.attrs)
        except DTypeError as error:
            assert str(error).startswith(name)
            refused.add(dtype)
    if op.family == "elementwise" and name not in {"cast", "stop_gradient"}:
        assert C64 in refused
    if op.family in {"reduce", "contract", "structured"}:
        assert refused


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_operands_have_equal_shape_and_dtype(name: str) -> None:
    op = REGISTRY[name]
    call = samples(name)[-1]
    types = types_of(call.operands)
    with pytest.raises(ShapeError, match=name):
        op.infer(types + types[:1], call.attrs)
    if len(types) > 1:
        uneven = (*types[:-1], TensorType(types[-1].dtype, (*types[-1].shape, 1)))
        with pytest.raises(ShapeError, match=name):
            op.infer(uneven, call.attrs)
        other = I32 if types[-1].dtype is not I32 else F32
        with pytest.raises(DTypeError, match=name):
            op.infer((*types[:-1], TensorType(other, types[-1].shape)), call.attrs)


# -- tangents --------------------------------------------------------------------------------------


def tangent_graph(
    op: OpDef, call: Sample
) -> tuple[Graph, list[int], list[int]]:
    """A graph from operands ++ tangents to the tangents of the results that have one.

    Returned with the positions of the operands and of the results that have tangents.
    """
    graph, operands, results = apply(op.name, types_of(call.operands), call.attrs)
    b = operands[0].builder if operands else builder(graph)
    moving = [i for i, x in enumerate(operands) if x.dtype.is_float]
    tangents: list[Expr | None] = [None] * len(operands)
    for i in moving:
        tangents[i] = b.wrap(graph.add_input(operands[i].type))
    assert callable(op.jvp)
    context = RuleContext(b, tuple(operands), tuple(results), call.attrs)
    found = op.jvp(context, tuple(tangents))
    assert len(found) == len(results)
    for tangent, result in zip(found, results):
        assert tangent is None or tangent.type == result.type
        assert tangent is None or result.dtype.is_float
    graph.effects = []
    graph.outputs = [x.value for x in found if x is not None]
    return graph, moving, [i for i, x in enumerate(found) if x is not None]


@pytest.mark.parametrize("name", [n for n in ALL if callable(REGISTRY[n].jvp)])
def test_jvp_is_the_slope_of_the_meaning(name: str) -> None:
    """Against central differences in float64, along a random direction."""
    op = REGISTRY[name]
    rng = np.random.default_rng(3)
    step = 1e-6
    compared = 0
    for call in samples(name):
        graph, moving, with_tangent = tangent_graph(op, call)
        double = all(call.operands[i].dtype == np.float64 for i in moving)
        if not moving or not double or not finite(call.operands):
            continue
        directions = [rng.uniform(-1, 1, call.operands[i].shape) for i in moving]
        plain, _, results = apply(name, types_of(call.operands), call.attrs)
        ends = []
        for sign in (1, -1):
            moved = list(call.operands)
            for i, direction in zip(moving, directions):
                moved[i] = moved[i] + sign * step * direction
            ends.append(interpret(plain, moved))
        got = dict(zip(with_tangent, interpret(graph, [*call.operands, *directions])))
        for i, result in enumerate(results):
            if not result.dtype.is_float or name == "stop_gradient":
                assert i not in got
                continue
            # A cast to f32 has the step's rounding error in its differences.
            tolerance = 1e-7 if result.dtype is F64 else 1.0
            slope = (ends[0][i].astype(float) - ends[1][i]) / (2 * step)
            tangent = got.get(i, np.zeros(slope.shape))
            np.testing.assert_allclose(tangent, slope, rtol=100 * tolerance, atol=tolerance * 10)
            compared += 1
    float_results = any(
        x.dtype.is_float
        for call in samples(name)
        if any(is_float(operand) for operand in call.operands)
        for x in apply(name, types_of(call.operands), call.attrs)[2]
    )
    assert compared or not float_results or name == "stop_gradient"


@pytest.mark.parametrize("name", [n for n in ALL if callable(REGISTRY[n].jvp)])
def test_zero_tangents_stay_zero(name: str) -> None:
    op = REGISTRY[name]
    call = samples(name)[0]
    graph, operands, results = apply(name, types_of(call.operands), call.attrs)
    context = RuleContext(builder(graph), tuple(operands), tuple(results), call.attrs)
    assert op.jvp(context, (None,) * len(operands)) == (None,) * len(results)  # type: ignore[operator]


BORDERS = [
    ("sqrt", (0.0,)), ("log", (0.0,)), ("log2", (0.0,)), ("log10", (0.0,)), ("log1p", (-1.0,)),
    ("rsqrt", (0.0,)), ("cbrt", (0.0,)), ("reciprocal", (0.0,)), ("asin", (1.0,)),
    ("acos", (-1.0,)), ("atan2", (0.0, 0.0)), ("hypot", (0.0, 0.0)), ("div", (1.0, 0.0)),
    ("power", (0.0, 0.5)), ("sqrt", (-1.0,)), ("log", (-1.0,)),
]


@pytest.mark.parametrize("name, point", BORDERS)
def test_zero_tangent_at_the_border_of_the_domain_gives_zero(
    name: str, point: tuple[float, ...]
) -> None:
    operands = tuple(np.array([x]) for x in point)
    graph, moving, _ = tangent_graph(REGISTRY[name], Sample(operands))
    (tangent,) = interpret(graph, [*operands, *(np.zeros(1) for _ in moving)])
    assert tangent == 0


def test_hypot_has_slope_zero_at_the_origin() -> None:
    origin = (np.zeros(1), np.zeros(1))
    graph, _, _ = tangent_graph(REGISTRY["hypot"], Sample(origin))
    (tangent,) = interpret(graph, [*origin, np.ones(1), np.ones(1)])
    assert tangent == 0


# -- transposes ------------------------------------------------------------------------------------


def transposed(
    op: OpDef, call: Sample, mask: tuple[bool, ...]
) -> tuple[Graph, list[int]]:
    """A graph from operands ++ cotangents to the linear operands' cotangents, zeros left out."""
    graph, operands, results = apply(op.name, types_of(call.operands), call.attrs)
    b = builder(graph)
    cotangents = tuple(b.wrap(graph.add_input(x.type)) for x in results)
    context = RuleContext(b, tuple(operands), tuple(results), call.attrs)
    assert callable(op.transpose)
    found = op.transpose(context, cotangents, mask)
    assert len(found) == len(operands)
    for part, operand, linear in zip(found, operands, mask):
        assert part is None or (linear and part.type == operand.type)
    graph.outputs = [x.value for x in found if x is not None]
    return graph, [i for i, x in enumerate(found) if x is not None]


def linear_calls(name: str) -> list[tuple[Sample, tuple[bool, ...]]]:
    """The samples and masks for which the linear operands and all results are floats."""
    chosen = []
    for call in samples(name):
        results = apply(name, types_of(call.operands), call.attrs)[2]
        for mask in MASKS.get(name, [(True,) * len(call.operands)]):
            floats = all(is_float(x) for x, linear in zip(call.operands, mask) if linear)
            usable = call.operands and finite(call.operands) and results
            if floats and usable and all(x.dtype.is_float for x in results):
                chosen.append((call, mask))
    return chosen


def fill_linear(
    call: Sample, mask: tuple[bool, ...], values: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """The operands, with `values` of each linear one in its place."""
    return [
        np.asarray(values(x), x.dtype) if linear else x for x, linear in zip(call.operands, mask)
    ]


@pytest.mark.parametrize(
    "name", [n for n in ALL if callable(REGISTRY[n].transpose) and samples(n)[0].operands]
)
def test_transpose_is_the_adjoint(name: str) -> None:
    """<ct, f(t) - f(0)> == <transpose(ct), t>, the linear operands' values being unreadable."""
    op = REGISTRY[name]
    rng = np.random.default_rng(11)
    chosen = linear_calls(name)
    assert chosen
    for call, mask in chosen:
        plain, _, _ = apply(name, types_of(call.operands), call.attrs)
        graph, found = transposed(op, call, mask)

        tangents = fill_linear(call, mask, lambda x: rng.uniform(-1, 1, x.shape))
        outputs = interpret(plain, tangents)
        at_zero = interpret(plain, fill_linear(call, mask, lambda x: np.zeros(x.shape)))
        cotangents = [np.asarray(rng.uniform(-1, 1, x.shape), x.dtype) for x in outputs]
        unreadable = fill_linear(call, mask, lambda x: np.full(x.shape, np.nan))
        back = interpret(graph, [*unreadable, *cotangents])
        left = sum(
            float(np.vdot(ct.astype(float), y.astype(float) - y0))
            for ct, y, y0 in zip(cotangents, outputs, at_zero)
        )
        right = sum(
            float(np.vdot(part.astype(float), tangents[i].astype(float)))
            for i, part in zip(found, back)
        )
        single = any(x.dtype == np.float32 for x in [*call.operands, *outputs])
        scale = 1 + sum(float(np.abs(ct).sum()) for ct in cotangents)
        assert left == pytest.approx(right, abs=(1e-6 if single else 1e-14) * scale * 10)


# -- special values --------------------------------------------------------------------------------


def grid(arity: int, dtype: type) -> list[np.ndarray]:
    rows = np.array(list(product(SPECIAL, repeat=arity)), dtype)
    return [np.ascontiguousarray(column) for column in rows.T]


def evaluate(name: str, operands: Sequence[np.ndarray], **attrs: Any) -> np.ndarray:
    graph, _, _ = apply(name, types_of(operands), attrs)
    return interpret(graph, operands)[0]


def float_arity(name: str) -> int | None:
    """The number of operands of an op on floats without attributes; None for other ops."""
    op = REGISTRY[name]
    if op.attributes:
        return None
    count = len(samples(name)[0].operands)
    try:
        op.infer((TensorType(F64, (1,)),) * count, {})
    except DTypeError:
        return None
    return count


def assert_same(got: np.ndarray, expected: np.ndarray, rtol: float) -> None:
    """Equal within rtol, NaN and infinities in the same places, zeros of the same sign."""
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=0)
    zero = expected == 0
    if got.dtype != np.bool_:
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 0.0), (np.float32, 3e-7)])
@pytest.mark.parametrize(
    "name", [n for n in ELEMENTWISE if REGISTRY[n].numpy and float_arity(n)]
)
def test_special_values_are_those_of_numpy(name: str, dtype: type, rtol: float) -> None:
    operands = grid(float_arity(name) or 0, dtype)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = np.asarray(getattr(np, REGISTRY[name].numpy[0])(*operands))
    assert_same(evaluate(name, operands), expected, rtol)


SPECIAL_VALUES = [
    ("rsqrt", [0.0, -0.0, math.inf, -1.0, math.nan],
     [math.inf, -math.inf, 0.0, math.nan, math.nan]),
    ("sigmoid", [0.0, math.inf, -math.inf, -745.0, math.nan],
     [0.5, 1.0, 0.0, math.exp(-745.0), math.nan]),
    ("softplus", [0.0, math.inf, -math.inf, 800.0, -745.0, math.nan],
     [math.log(2.0), math.inf, 0.0, 800.0, math.exp(-745.0), math.nan]),
    ("erf", [0.0, -0.0, math.inf, -math.inf, math.nan], [0.0, -0.0, 1.0, -1.0, math.nan]),
    ("erfc", [0.0, math.inf, -math.inf, 25.0, math.nan],
     [1.0, 0.0, 2.0, math.erfc(25.0), math.nan]),
    ("relu", [0.0, -1.0, math.inf, -math.inf, math.nan], [0.0, 0.0, math.inf, 0.0, math.nan]),
]


@pytest.mark.parametrize("name, points, expected", SPECIAL_VALUES)
def test_special_values_of_ops_that_numpy_lacks(
    name: str, points: list[float], expected: list[float]
) -> None:
    assert_same(evaluate(name, [np.array(points)]), np.array(expected), 1e-14)


def test_scale_or_zero_gives_zero_wherever_its_first_operand_is() -> None:
    ct, scale = np.zeros(4), np.array([math.nan, math.inf, -math.inf, 2.0])
    np.testing.assert_array_equal(evaluate("scale_or_zero", [ct, scale]), np.zeros(4))


@pytest.mark.parametrize("bits", [32, 64])
def test_cast_of_floats_to_integers_saturates(bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    x = np.array([math.nan, math.inf, -math.inf, 1e30, -1e30, 2.0 ** (bits - 1), -0.9, 2.9])
    got = evaluate("cast", [x], dtype=DTYPES[f"i{bits}"])
    assert got.tolist() == [0, high, low, high, low, high, 0, 2]


def test_cast_to_bool_is_unequal_to_zero() -> None:
    x = np.array([0.0, -0.0, 0.5, math.nan, -math.inf])
    assert evaluate("cast", [x], dtype=BOOL).tolist() == [False, False, True, True, True]


def test_check_names_its_message_and_the_first_false_element() -> None:
    graph, _, _ = apply("check", [TensorType(BOOL, (2, 3))], {"message": "positive input"})
    flags = np.ones((2, 3), bool)
    assert interpret(graph, [flags]) == []
    flags[1, 1] = flags[1, 2] = False
    with pytest.raises(CheckError, match=r"positive input.*flat index 4 of 6"):
        interpret(graph, [flags])


# -- kernel expressions ----------------------------------------------------------------------------


class Primitives:
    """Kernel primitives on arrays, each with the meaning of the op of the same name."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def constant(self, value: float) -> np.ndarray:
        return np.asarray(value, self.dtype)

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x & y

    def or_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x | y

    def xor(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x ^ y

    def not_(self, x: np.ndarray) -> np.ndarray:
        return ~x

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        assert REGISTRY[name].scalar is None, f"{name} is not a kernel primitive"

        def call(*operands: np.ndarray) -> np.ndarray:
            return evaluate(name, [np.array(x) for x in np.broadcast_arrays(*operands)])

        return call


def primitives(name: str, dtype: np.dtype) -> Any:
    """What the expression of an op is run on: arrays, with bits and words where it needs those."""
    by_steps = {op.name for op in (*bits.OPS, *random.OPS)}
    return ArraySteps(dtype_of(dtype)) if name in by_steps else Primitives(dtype)


@pytest.mark.parametrize("name", [n for n in ALL if REGISTRY[n].scalar is not None])
def test_kernel_expression_has_the_meaning_of_the_op(name: str) -> None:
    op = REGISTRY[name]
    assert op.family == "elementwise" and op.scalar is not None
    calls = [call.operands for call in samples(name)]
    if float_arity(name):
        calls.append(tuple(grid(float_arity(name) or 0, np.float64)))
    for operands in calls:
        with np.errstate(all="ignore"):
            got = np.asarray(op.scalar(primitives(name, operands[0].dtype), *operands))
        expected = evaluate(name, operands)
        assert got.dtype == expected.dtype
        tolerance = 4 * np.finfo(expected.dtype).eps if is_float(expected) else 0
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=0)


# -- regions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ALL if "graph" in REGISTRY[n].attributes.values()])
def test_regions_must_fit_the_operands(name: str) -> None:
    op = REGISTRY[name]
    call = samples(name)[0]
    types = types_of(call.operands)
    with pytest.raises(ShapeError, match=name):
        op.infer(tuple(TensorType(t.dtype, (5,)) for t in types), call.attrs)
    with pytest.raises(DTypeError, match=name):
        op.infer(tuple(TensorType(F32, t.shape) for t in types), call.attrs)
    for key, kind in op.attributes.items():
        if kind != "graph":
            continue
        damaged = call.attrs[key].copy()
        damaged.add_input(types[0])
        with pytest.raises(ShapeError, match=name):
            op.infer(types, {**call.attrs, key: damaged})


def test_vjp_rule_of_the_sample_is_the_derivative_of_its_body() -> None:
    (call,) = samples("custom_vjp_call")
    (x,) = call.operands
    _, growth, kept = interpret(call.attrs["forward"], [x])
    (slope,) = interpret(call.attrs["backward"], [growth, kept, np.ones(x.shape)])
    step = 1e-6
    ends = [interpret(call.attrs["body"], [x + sign * step])[0] for sign in (1, -1)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


def test_missing_tangents_of_a_custom_jvp_are_zero() -> None:
    (call,) = samples("custom_jvp_call")
    x, y = call.operands
    graph, operands, results = apply("custom_jvp_call", types_of(call.operands), call.attrs)
    b = builder(graph)
    tangent = b.wrap(graph.add_input(operands[1].type))
    context = RuleContext(b, tuple(operands), tuple(results), call.attrs)
    (found,) = REGISTRY["custom_jvp_call"].jvp(context, (None, tangent))  # type: ignore[operator]
    graph.outputs = [Value(*found.value)]
    (got,) = interpret(graph, [x, y, np.ones(x.shape)])
    np.testing.assert_allclose(got, x * np.cos(y))
