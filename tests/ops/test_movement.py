"""Constants, indices and movement ops: type rules, NumPy meaning, transposes, symbolic sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from irgrad.errors import ArgumentError, DimError, DTypeError, IrgradError, LimitError, ShapeError
from irgrad.interpret import interpret
from irgrad.ir.dims import Size, symbol
from irgrad.ir.graph import Graph
from irgrad.ir.types import BOOL, F32, F64, I32, I64, TensorType, dtype_of
from irgrad.ops import attributes, contract, creation, movement, reduce
from irgrad.ops.record import NotLinear, OpDef, RuleContext, Sample
from irgrad.ops.registry import REGISTRY, builder

N, M = symbol("n"), symbol("m")
LINEAR = [op for op in movement.OPS if not isinstance(op.transpose, NotLinear)]
NO_DIMS = SimpleNamespace(dims={})


def samples_of(op: OpDef) -> list[Sample]:
    return op.samples(np.random.default_rng(0))


def types_of(arrays: Sequence[np.ndarray]) -> tuple[TensorType, ...]:
    return tuple(TensorType(dtype_of(x.dtype), x.shape) for x in arrays)


def infer(op: str, types: Sequence[TensorType], **attrs: Any) -> TensorType:
    return REGISTRY[op].infer(tuple(types), attrs)[0]


def f32(*shape: Size) -> TensorType:
    return TensorType(F32, shape)


def check_transpose(
    op: str, types: Sequence[TensorType], attrs: Mapping[str, Any], arrays: Sequence[np.ndarray]
) -> None:
    """<ct, f(x)> == <f^T ct, x> for a linear op of all its operands."""
    graph = Graph()
    b = builder(graph)
    inputs = tuple(b.wrap(graph.add_input(type_)) for type_ in types)
    outputs = b.emit(op, inputs, **attrs)
    graph.outputs = [outputs[0].value]
    (value,) = interpret(graph, arrays)
    ct = b.wrap(graph.add_input(outputs[0].type))
    context = RuleContext(b, inputs, outputs, attrs)
    pulled = REGISTRY[op].transpose(context, (ct,), (True,) * len(inputs))
    assert [p.type for p in pulled] == list(types)
    graph.outputs = [p.value for p in pulled]
    cotangent = np.random.default_rng(1).normal(size=value.shape)
    back = interpret(graph, [*arrays, cotangent])
    right = sum(float(np.sum(x * p)) for x, p in zip(arrays, back))
    assert math.isclose(float(np.sum(cotangent * value)), right, rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize("op", (*creation.OPS, *movement.OPS), ids=lambda op: op.name)
def test_result_has_the_inferred_type(op: OpDef) -> None:
    for sample in samples_of(op):
        (expected,) = op.infer(types_of(sample.operands), sample.attrs)
        (result,) = op.evaluate(sample.operands, sample.attrs, NO_DIMS)
        assert types_of([result]) == (expected,)
        assert result.flags.c_contiguous and result.flags.writeable
        assert not any(np.shares_memory(result, x) for x in sample.operands)


@pytest.mark.parametrize("op", LINEAR, ids=lambda op: op.name)
def test_transpose_is_the_adjoint(op: OpDef) -> None:
    calls = [s for s in samples_of(op) if all(x.dtype == np.float64 for x in s.operands)]
    assert len(calls) >= 5
    for sample in calls:
        check_transpose(op.name, types_of(sample.operands), sample.attrs, sample.operands)


@pytest.mark.parametrize("op", LINEAR, ids=lambda op: op.name)
def test_jvp_is_the_op_on_tangents(op: OpDef) -> None:
    for sample in samples_of(op):
        if any(x.dtype != np.float64 for x in sample.operands):
            continue
        graph = Graph()
        b = builder(graph)
        types = types_of(sample.operands)
        x = tuple(b.wrap(graph.add_input(type_)) for type_ in types)
        t = tuple(b.wrap(graph.add_input(type_)) for type_ in types)
        context = RuleContext(b, x, b.emit(op.name, x, **sample.attrs), sample.attrs)
        tangents = (*t[:1], *(None for _ in t[1:]))
        (out,) = op.jvp(context, tangents)
        graph.outputs = [out.value]
        moved = [sample.operands[0], *(np.zeros_like(a) for a in sample.operands[1:])]
        (expected,) = op.evaluate(moved, sample.attrs, NO_DIMS)
        result = interpret(graph, [*sample.operands, *sample.operands])[0]
        np.testing.assert_array_equal(result, expected)
        assert op.jvp(context, (None,) * len(t)) == (None,)


def test_meanings_against_numpy() -> None:
    x = np.arange(15.0).reshape(3, 5)
    calls = [
        ("slice", x[1:, ::2], {"start": (1, 0), "stop": (3, 5), "step": (1, 2)}),
        ("pad", np.pad(x, ((1, 2), (0, 3))), {"low": (1, 0), "high": (2, 3), "interior": (0, 0)}),
        ("broadcast", np.broadcast_to(x[:, None], (3, 2, 5)), {"shape": (3, 2, 5), "dims": (0, 2)}),
        ("flip", x[::-1], {"axes": (0,)}),
        ("transpose", x.T, {"permutation": (1, 0)}),
    ]
    for op, expected, attrs in calls:
        np.testing.assert_array_equal(REGISTRY[op].evaluate([x], attrs, NO_DIMS)[0], expected)
    gaps = {"low": (1,), "high": (0,), "interior": (2,)}
    spaced = REGISTRY["pad"].evaluate([np.array([1.0, 2.0])], gaps, NO_DIMS)[0]
    np.testing.assert_array_equal(spaced, [0, 1, 0, 0, 2])
    grid = REGISTRY["iota"].evaluate([], {"shape": (2, 3), "axis": 1, "dtype": I32}, NO_DIMS)[0]
    np.testing.assert_array_equal(grid, [[0, 1, 2], [0, 1, 2]])


def test_symbolic_types() -> None:
    assert infer("reshape", [f32(N, 28, 28)], shape=(N, 784)) == f32(N, 784)
    assert infer("reshape", [f32(N + 1, M)], shape=(N * M + M,)) == f32(N * M + M)
    assert infer("concatenate", [f32(N, 3), f32(M, 3)], axis=0) == f32(N + M, 3)
    assert infer("concatenate", [f32(N), f32(1)], axis=0) == f32(N + 1)
    assert infer("slice", [f32(N)], start=(1,), stop=(N,), step=(1,)) == f32(N - 1)
    assert infer("slice", [f32(N)], start=(N - 1,), stop=(N,), step=(1,)) == f32(1)
    assert infer("slice", [f32(2 * N)], start=(0,), stop=(2 * N,), step=(2,)) == f32(N)
    assert infer("slice", [f32(2 * N)], start=(1,), stop=(2 * N,), step=(2,)) == f32(N)
    assert infer("pad", [f32(N)], low=(M,), high=(1,), interior=(0,)) == f32(N + M + 1)
    assert infer("pad", [f32(N)], low=(0,), high=(1,), interior=(1,)) == f32(2 * N)
    assert infer("broadcast", [f32(N, 1)], shape=(N, M, 4), dims=(0, 2)) == f32(N, M, 4)
    assert infer("transpose", [f32(N, 3)], permutation=(1, 0)) == f32(3, N)
    assert infer("dim_size", [], size=N - 5) == TensorType(I64, ())
    assert infer("iota", [], shape=(N, M), axis=1, dtype=I64) == TensorType(I64, (N, M))


@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize(
    ("op", "shape", "attrs"),
    [
        ("slice", (2 * N,), {"start": (0,), "stop": (2 * N,), "step": (2,)}),
        ("slice", (2 * N,), {"start": (1,), "stop": (2 * N,), "step": (2,)}),
        ("slice", (N + 2,), {"start": (1,), "stop": (N + 1,), "step": (1,)}),
        ("slice", (3 * N + 1, 2), {"start": (0, 0), "stop": (3 * N, 2), "step": (3, 1)}),
        ("pad", (N,), {"low": (2,), "high": (N,), "interior": (0,)}),
        ("pad", (N,), {"low": (1,), "high": (0,), "interior": (1,)}),
        ("pad", (N, 3), {"low": (0, 0), "high": (3, 1), "interior": (2, 1)}),
        ("reshape", (N, 2, 3), {"shape": (N, 6)}),
        ("broadcast", (N, 1), {"shape": (N, 3, N), "dims": (0, 2)}),
        ("transpose", (N, 2, 3), {"permutation": (2, 0, 1)}),
        ("flip", (N, 2), {"axes": (0,)}),
    ],
)
def test_transpose_with_symbolic_sizes(
    op: str, shape: tuple[Size, ...], attrs: dict[str, Any], n: int
) -> None:
    sizes = attributes.resolve(shape, SimpleNamespace(dims={"n": n}))
    array = np.random.default_rng(2).normal(size=sizes)
    check_transpose(op, [TensorType(F64, shape)], attrs, [array])


def test_concatenate_with_symbolic_sizes() -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=(2, 3)), rng.normal(size=(2, 0)), rng.normal(size=(2, 1))]
    types = [TensorType(F64, (2, N)), TensorType(F64, (2, M)), TensorType(F64, (2, 1))]
    check_transpose("concatenate", types, {"axis": 1}, arrays)


def test_concatenate_transpose_leaves_out_what_is_not_linear() -> None:
    graph = Graph()
    b = builder(graph)
    x = (b.wrap(graph.add_input(f32(2))), b.wrap(graph.add_input(f32(3))))
    out = b.emit("concatenate", x, axis=0)
    ct = b.wrap(graph.add_input(out[0].type))
    rule = REGISTRY["concatenate"].transpose
    left, right = rule(RuleContext(b, x, out, {"axis": 0}), (ct,), (False, True))
    assert left is None and right.type == f32(3)


def test_a_size_that_turns_out_negative_is_an_error() -> None:
    cases = [
        ("slice", (N,), {"start": (1,), "stop": (N,), "step": (1,)}, "start <= stop"),
        ("slice", (N,), {"start": (0,), "stop": (3,), "step": (1,)}, "stop <= size"),
        ("pad", (N,), {"low": (N - 1,), "high": (0,), "interior": (0,)}, "low >= 0"),
    ]
    for op, shape, attrs, message in cases:
        graph = Graph()
        b = builder(graph)
        out = b.one(op, b.wrap(graph.add_input(TensorType(F64, shape))), **attrs)
        graph.outputs = [out.value]
        assert interpret(graph, [np.ones(5)])[0].ndim == 1
        with pytest.raises(ShapeError, match=message):
            interpret(graph, [np.ones(0)])


def test_bounds_list_what_a_caller_must_guard() -> None:
    bounds = movement.slice_bounds((N,), (1,), (N,), (1,))
    assert [(b.meaning, b.size) for b in bounds] == [
        ("start >= 0", 1), ("stop <= size", 0), ("start <= stop", N - 1)
    ]
    assert movement.pad_bounds((N,), (2,), (M,), (0,))[2].size == N + M + 2


def test_helpers_leave_out_what_changes_nothing() -> None:
    graph = Graph()
    b = builder(graph)
    x = b.wrap(graph.add_input(f32(N, 3)))
    same = [
        movement.reshape(x, (N, 3)),
        movement.transpose(x, (0, 1)),
        movement.broadcast(x, (N, 3), (0, 1)),
        movement.slice_axes(x, (0, 0), (N, 3)),
        movement.pad(x, (0, 0), (0, 0)),
        movement.concatenate([x], 0),
        movement.flip(x, ()),
    ]
    assert all(y is x for y in same) and len(graph) == 1
    assert movement.slice_axes(x, (0, 1), (N, 3)).type == f32(N, 2)
    assert movement.pad(x, (M, 0), (0, 1)).type == f32(N + M, 4)
    assert movement.concatenate([x, x], 0).type == f32(2 * N, 3)
    assert movement.invert((2, 0, 1)) == (1, 2, 0)


ERRORS: list[tuple[str, list[TensorType], dict[str, Any], type[Exception], str]] = [
    ("reshape", [f32(2, 3)], {"shape": (5,)}, ShapeError,
     "reshape: expected as many elements as f32[2,3], got f32[5] (6 against 5)"),
    ("reshape", [f32(N, 4)], {"shape": (M, 4)}, ShapeError,
     "reshape: expected as many elements as f32[n,4], got f32[m,4] (4*n == 4*m cannot be proved)"),
    ("reshape", [f32(6)], {"shape": (-2, -3)}, ShapeError,
     "reshape: expected 'shape' of sizes >= 0, got -2 at axis 0"),
    ("reshape", [f32(6)], {"shape": (-1 - N, 6)}, ShapeError, "got -n-1 at axis 0"),
    ("reshape", [f32(6)], {"shape": [2, 3]}, ArgumentError,
     "reshape: expected 'shape' to be a tuple, got list"),
    ("reshape", [f32(1)], {"shape": (True,)}, ArgumentError,
     "reshape: expected 'shape' to be made of sizes, got bool"),
    ("reshape", [f32(1)], {}, ArgumentError, "reshape: expected the attribute 'shape', got none"),
    ("reshape", [f32(1)], {"shape": (1,) * 65}, LimitError, "at most 64 axes, got 65"),
    ("reshape", [f32(0)], {"shape": (0, 2**63)}, ShapeError, "'shape' to fit 64 bits"),
    ("reshape", [], {"shape": ()}, ShapeError, "reshape: expected 1 operands, got 0"),
    ("transpose", [f32(2, 3)], {"permutation": (0, 0)}, ShapeError,
     "transpose: expected a permutation of the 2 axes of f32[2,3], got (0, 0)"),
    ("transpose", [f32(2)], {"permutation": ("0",)}, ArgumentError, "a tuple of integers, got str"),
    ("broadcast", [f32(3)], {"shape": (2, 4), "dims": (1,)}, ShapeError,
     "broadcast: expected axis 0 of f32[3] to be 1 or the size of axis 1 of f32[2,4] "
     "(3 against 4)"),
    ("broadcast", [f32(N)], {"shape": (3,), "dims": (0,)}, ShapeError, "n == 3 cannot be proved"),
    ("broadcast", [f32(2, 2)], {"shape": (2, 2), "dims": (1, 0)}, ShapeError,
     "broadcast: expected 'dims' strictly increasing, got (1, 0)"),
    ("broadcast", [f32(2)], {"shape": (2,), "dims": ()}, ShapeError, "for each axis of f32[2]"),
    ("broadcast", [f32(2)], {"shape": (2,), "dims": (1,)}, ShapeError, "an axis in 0..0, got 1"),
    ("slice", [f32(5)], {"start": (1,), "stop": (6,), "step": (1,)}, ShapeError,
     "slice: expected stop <= size at axis 0 of f32[5], got start (1,), stop (6,), step (1,)"),
    ("slice", [f32(5)], {"start": (-1,), "stop": (4,), "step": (1,)}, ShapeError, "start >= 0"),
    ("slice", [f32(5)], {"start": (3,), "stop": (2,), "step": (1,)}, ShapeError, "start <= stop"),
    ("slice", [f32(N)], {"start": (0,), "stop": (N + 1,), "step": (1,)}, ShapeError,
     "expected stop <= size at axis 0 of f32[n]"),
    ("slice", [f32(5)], {"start": (0,), "stop": (5,), "step": (0,)}, ShapeError,
     "slice: expected steps >= 1, got (0,)"),
    ("slice", [f32(N)], {"start": (0,), "stop": (N,), "step": (2,)}, DimError,
     "slice: expected step 1 or an extent that the step divides, got step 2 for extent n (axis 0)"),
    ("slice", [f32(5, 2)], {"start": (0,), "stop": (5,), "step": (1,)}, ShapeError,
     "slice: expected 'start' with an entry for each axis of f32[5,2], got 1"),
    ("pad", [f32(5)], {"low": (-1,), "high": (0,), "interior": (0,)}, ShapeError,
     "pad: expected low >= 0 at axis 0 of f32[5], got low (-1,), high (0,), interior (0,)"),
    ("pad", [f32(5)], {"low": (0,), "high": (0,), "interior": (-1,)}, ShapeError,
     "pad: expected interior sizes >= 0, got (-1,)"),
    ("pad", [f32(0)], {"low": (1,), "high": (0,), "interior": (2,)}, ShapeError, "result size"),
    ("concatenate", [], {"axis": 0}, ShapeError,
     "concatenate: expected at least 1 operand, got 0"),
    ("concatenate", [f32(2, 3), f32(2, 4)], {"axis": 0}, ShapeError,
     "concatenate: expected equal sizes off axis 0, got f32[2,3] and f32[2,4] (operand 1, axis 1: "
     "3 against 4)"),
    ("concatenate", [f32(2), f32(2, 2)], {"axis": 0}, ShapeError, "operands of equal rank"),
    ("concatenate", [f32(), f32()], {"axis": 0}, ShapeError, "expected an axis in"),
    ("concatenate", [f32(2), TensorType(F64, (2,))], {"axis": 0}, DTypeError, "equal dtype"),
    ("flip", [f32(2, 3)], {"axes": (1, 1)}, ShapeError, "flip: expected 'axes' strictly"),
    ("constant", [], {"value": 0.1, "dtype": F32, "shape": ()}, DTypeError,
     "constant: expected a value rounded to f32, got 0.1"),
    ("constant", [], {"value": 1, "dtype": F32, "shape": ()}, ArgumentError,
     "constant: expected 'value' to be a float for f32, got int"),
    ("constant", [], {"value": 1, "dtype": BOOL, "shape": ()}, ArgumentError, "a bool for bool"),
    ("constant", [], {"value": 2**31, "dtype": I32, "shape": ()}, DTypeError, "out of its range"),
    ("constant", [], {"value": 1, "dtype": "i32", "shape": ()}, ArgumentError, "to be a dtype"),
    ("iota", [], {"shape": (3,), "axis": 1, "dtype": I32}, ShapeError, "an axis in 0..0, got 1"),
    ("iota", [], {"shape": (3,), "axis": 0, "dtype": BOOL}, DTypeError, "got bool"),
    ("dim_size", [], {"size": 1.0}, ArgumentError, "'size' to be made of sizes, got float"),
]


@pytest.mark.parametrize(("op", "types", "attrs", "error", "message"), ERRORS)
def test_errors_name_what_was_wrong(
    op: str, types: list[TensorType], attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        infer(op, types, **attrs)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{op}: ")


JUNK: tuple[Any, ...] = (
    None, "x", b"", 1.5, math.nan, True, -1, 99, 10**5000, [0], {}, object(), N, -1 - N, F32,
    (None,), ("a",), (1.5,), (True,), (-1,), (7,), (10**5000,), ((0,),), (N,), (0, 0), (1, 0),
    (N, -1), (0,) * 100, (),
)


@pytest.mark.parametrize(
    "op", (*creation.OPS, *movement.OPS, *reduce.OPS, *contract.OPS), ids=lambda op: op.name
)
def test_foreign_attribute_values_raise_named_errors(op: OpDef) -> None:
    refused = 0
    for sample in samples_of(op)[::3]:
        types = types_of(sample.operands)
        for name in op.attributes:
            for value in JUNK:
                try:
                    op.infer(types, {**sample.attrs, name: value})
                except IrgradError as error:
                    refused += 1
                    assert len(str(error)) < 1000
            with pytest.raises(ArgumentError, match=f"expected the attribute '{name}'"):
                op.infer(types, {k: v for k, v in sample.attrs.items() if k != name})
    assert refused > 20


def test_dim_size_is_a_number_of_the_run() -> None:
    graph = Graph()
    b = builder(graph)
    graph.add_input(f32(N))
    graph.outputs = [b.one("dim_size", size=N * N - 5).value]
    assert interpret(graph, [np.zeros(3, np.float32)])[0] == 4
    with pytest.raises(LimitError, match="64 bits"):
        REGISTRY["dim_size"].evaluate([], {"size": N * N}, SimpleNamespace(dims={"n": 2**40}))
