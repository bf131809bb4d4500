"""dot_general: type rule, NumPy meaning against einsum, product rule, both transposes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from irgrad.errors import DTypeError, ShapeError
from irgrad.interpret import interpret
from irgrad.ir.dims import Size, symbol
from irgrad.ir.graph import Graph
from irgrad.ir.types import BOOL, F32, F64, I32, TensorType, dtype_of
from irgrad.ops import contract
from irgrad.ops.record import RuleContext, Sample
from irgrad.ops.registry import REGISTRY, builder

N, M = symbol("n"), symbol("m")
NO_DIMS = SimpleNamespace(dims={})
OP = REGISTRY["dot_general"]


def samples(dtype: Any = None) -> list[Sample]:
    calls = OP.samples(np.random.default_rng(0))
    return [s for s in calls if dtype is None or s.operands[0].dtype == dtype]


def axes(
    lhs_contract: tuple[Any, ...],
    rhs_contract: tuple[Any, ...],
    lhs_batch: tuple[Any, ...] = (),
    rhs_batch: tuple[Any, ...] = (),
) -> dict[str, Any]:
    return {"lhs_batch": lhs_batch, "rhs_batch": rhs_batch, "lhs_contract": lhs_contract,
            "rhs_contract": rhs_contract}


def f32(*shape: Size) -> TensorType:
    return TensorType(F32, shape)


def types_of(sample: Sample) -> tuple[TensorType, ...]:
    return tuple(TensorType(dtype_of(x.dtype), x.shape) for x in sample.operands)


def einsum(x: np.ndarray, y: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    """The same contraction by labelled axes."""
    left = list(range(x.ndim))
    right = [100 + i for i in range(y.ndim)]
    for a, b in zip((*attrs["lhs_batch"], *attrs["lhs_contract"]),
                    (*attrs["rhs_batch"], *attrs["rhs_contract"])):
        right[b] = left[a]
    batch = [left[a] for a in attrs["lhs_batch"]]
    out = batch + [i for i in left if i not in right] + [i for i in right if i not in left]
    letters = {label: chr(97 + i) for i, label in enumerate(dict.fromkeys(left + right))}
    text = ["".join(letters[i] for i in labels) for labels in (left, right, out)]
    return np.einsum(f"{text[0]},{text[1]}->{text[2]}", x, y)


def test_samples_against_einsum() -> None:
    for sample in samples():
        x, y = sample.operands
        (expected,) = OP.infer(types_of(sample), sample.attrs)
        (result,) = OP.evaluate(sample.operands, sample.attrs, NO_DIMS)
        assert (result.dtype, result.shape) == (expected.dtype.numpy, expected.shape)
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in (x, y)]
        want = einsum(*wide, sample.attrs)
        np.testing.assert_allclose(result, want.astype(x.dtype), rtol=1e-6, atol=1e-6)


def test_integers_wrap_around_and_floats_round_once() -> None:
    big = np.array([2**31 - 1, 1], np.int32)
    (product,) = OP.evaluate([big, np.ones(2, np.int32)], axes((0,), (0,)), NO_DIMS)
    assert product == np.int32(-(2**31))
    x = np.array([1e8, 1.0, -1e8], np.float32)
    (total,) = OP.evaluate([x, np.ones(3, np.float32)], axes((0,), (0,)), NO_DIMS)
    assert total == np.float32(1)


def test_symbolic_types_and_flops() -> None:
    plain = axes((1,), (0,))
    assert OP.infer((f32(N, 784), f32(784, 10)), plain) == (f32(N, 10),)
    batched = axes((2,), (1,), (0,), (0,))
    assert OP.infer((f32(N, 3, M), f32(N, M, 4)), batched) == (f32(N, 3, 4),)
    assert contract.dot_flops((f32(N, 784), f32(784, 10)), plain) == 2 * 784 * 10 * N
    assert contract.dot_flops((f32(3), f32(5)), axes((), ())) == 30


@pytest.mark.parametrize(
    ("types", "attrs", "error", "message"),
    [
        ((f32(2, 3), f32(4, 5)), axes((1,), (0,)), ShapeError,
         "dot_general: expected contract axes of equal size, got f32[2,3] and f32[4,5] (axis 1 "
         "against axis 0: 3 against 4)"),
        ((f32(2, N), f32(M, 5)), axes((1,), (0,)), ShapeError,
         "dot_general: expected contract axes of equal size, got f32[2,n] and f32[m,5] (axis 1 "
         "against axis 0: n == m cannot be proved)"),
        ((f32(2, 3), f32(3, 5)), axes((1,), (0,), (0,), (1,)), ShapeError,
         "dot_general: expected batch axes of equal size, got f32[2,3] and f32[3,5] (axis 0 "
         "against axis 1: 2 against 5)"),
        ((f32(2, 3), f32(3)), axes((1,), ()), ShapeError,
         "dot_general: expected as many lhs_contract as rhs_contract axes, got (1,) and ()"),
        ((f32(3, 3), f32(3, 3)), axes((1,), (0,), (1,), (1,)), ShapeError,
         "dot_general: expected each axis of the lhs operand f32[3,3] at most once, got lhs_batch "
         "(1,) and lhs_contract (1,)"),
        ((f32(3), f32(3)), axes((1,), (0,)), ShapeError,
         "dot_general: expected an axis in 0..0, got 1 (rank 1)"),
        ((f32(3), TensorType(F64, (3,))), axes((0,), (0,)), DTypeError,
         "dot_general: expected operands of equal dtype, got f32[3] and f64[3]"),
        ((TensorType(BOOL, (3,)),) * 2, axes((0,), (0,)), DTypeError,
         "dot_general: expected operand 0 of signed integer or unsigned integer or float type, "
         "got bool[3]"),
        ((f32(3),), axes((0,), (0,)), ShapeError, "dot_general: expected 2 operands, got 1"),
    ],
)
def test_errors(
    types: tuple[TensorType, ...], attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        OP.infer(types, attrs)
    assert str(caught.value) == message


CROSSED = axes((0, 3, 1), (4, 0, 2), (2,), (3,))


def linear_cases() -> list[Sample]:
    rng = np.random.default_rng(7)
    crossed = Sample(
        (rng.normal(size=(2, 3, 4, 5, 6)), rng.normal(size=(5, 7, 3, 4, 2))), CROSSED
    )
    return [*samples(np.float64), crossed]


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("sample", linear_cases(), ids=lambda s: str(s.operands[0].shape))
def test_transpose_is_the_adjoint(sample: Sample, position: int) -> None:
    graph = Graph()
    b = builder(graph)
    inputs = tuple(b.wrap(graph.add_input(type_)) for type_ in types_of(sample))
    out = b.one("dot_general", *inputs, **sample.attrs)
    ct = b.wrap(graph.add_input(out.type))
    context = RuleContext(b, inputs, (out,), sample.attrs)
    linear = (position == 0, position == 1)
    pulled = OP.transpose(context, (ct,), linear)
    assert pulled[1 - position] is None
    assert pulled[position].type == inputs[position].type
    graph.outputs = [out.value, pulled[position].value]
    cotangent = np.random.default_rng(8).normal(size=out.shape)
    value, back = interpret(graph, [*sample.operands, cotangent])
    np.testing.assert_allclose(
        np.sum(cotangent * value), np.sum(back * sample.operands[position]), rtol=1e-11, atol=1e-11
    )


def test_transpose_with_symbolic_sizes() -> None:
    graph = Graph()
    b = builder(graph)
    x = b.wrap(graph.add_input(TensorType(F64, (N, 3))))
    w = b.wrap(graph.add_input(TensorType(F64, (3, M))))
    out = contract.dot_general(x, w, ((1,), (0,)))
    ct = b.wrap(graph.add_input(out.type))
    context = RuleContext(b, (x, w), (out,), axes((1,), (0,)))
    dx, _ = OP.transpose(context, (ct,), (True, False))
    _, dw = OP.transpose(context, (ct,), (False, True))
    graph.outputs = [dx.value, dw.value]
    rng = np.random.default_rng(9)
    xs, ws, cts = (rng.normal(size=shape) for shape in ((4, 3), (3, 2), (4, 2)))
    got = interpret(graph, [xs, ws, cts])
    np.testing.assert_allclose(got[0], cts @ ws.T, rtol=1e-13)
    np.testing.assert_allclose(got[1], xs.T @ cts, rtol=1e-13)


def test_jvp_is_the_product_rule() -> None:
    rng = np.random.default_rng(10)
    for sample in linear_cases():
        graph = Graph()
        b = builder(graph)
        primals = tuple(b.wrap(graph.add_input(type_)) for type_ in types_of(sample))
        tangents = tuple(b.wrap(graph.add_input(type_)) for type_ in types_of(sample))
        context = RuleContext(
            b, primals, b.emit("dot_general", primals, **sample.attrs), sample.attrs
        )
        (both,) = OP.jvp(context, tangents)
        (left,) = OP.jvp(context, (tangents[0], None))
        assert OP.jvp(context, (None, None)) == (None,)
        graph.outputs = [both.value, left.value]
        t = [rng.normal(size=x.shape) for x in sample.operands]
        x, y = sample.operands
        got = interpret(graph, [x, y, *t])
        first = einsum(t[0], y, sample.attrs)
        np.testing.assert_allclose(got[0], first + einsum(x, t[1], sample.attrs), atol=1e-12)
        np.testing.assert_allclose(got[1], first, atol=1e-12)


def test_dtypes_of_samples() -> None:
    assert {dtype_of(s.operands[0].dtype) for s in samples()} == {F32, F64, I32}
