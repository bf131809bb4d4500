"""For every rule: a small graph that it fires in, and what must be left of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph, Node, Value
from irgrad.ir.spec import parse_type
from irgrad.ir.types import BOOL, F32, F64, I32, I64, TensorType
from irgrad.ops.build import Builder, Expr
from irgrad.ops.contract import dot_general
from irgrad.ops.registry import builder

SIZES = {"n": 3, "m": 4}
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 1e300, 7.0)


@dataclass(frozen=True)
class Case:
    """inputs: their types, named a, b, c in the function. after: the expression that is left."""

    inputs: str
    build: Callable[..., Expr]
    after: str


def graph_of(inputs: str, build: Callable[..., Expr | tuple[Expr, ...]]) -> Graph:
    """The graph of a function of expressions; a function of no inputs gets the builder."""
    graph = Graph()
    b = builder(graph)
    arguments = [
        b.wrap(graph.add_input(parse_type(text), name))
        for text, name in zip(inputs.split(), "abcdefgh")
    ]
    result = build(*arguments) if arguments else build(b)
    graph.outputs = [x.value for x in (result if isinstance(result, tuple) else (result,))]
    return graph


def expression(graph: Graph) -> str:
    """The outputs as nested calls: op[attribute values](operands); constants as numbers."""
    text: dict[Value, str] = {}
    for key in graph.order():
        node = graph[key]
        for index in range(len(node.types)):
            text[Value(key, index)] = _call(node, text)
    return "; ".join(text[value] for value in graph.outputs)


def _call(node: Node, text: Mapping[Value, str]) -> str:
    if node.op == "input":
        return node.name
    if node.op == "constant":
        return repr(node.attribute("value"))
    attrs = ", ".join(str(value) for _, value in node.attributes)
    operands = ", ".join(text[value] for value in node.operands)
    return f"{node.op}[{attrs}]({operands})" if attrs else f"{node.op}({operands})"


def arrays_for(graph: Graph, kind: str, seed: int) -> list[np.ndarray]:
    """Arguments of a graph: "special" (NaN, infinities, zeros), "whole" numbers or "positive"."""
    rng = np.random.default_rng(seed)
    return [_array(graph.type(Value(key)), kind, rng) for key in graph.inputs]


def _array(type_: TensorType, kind: str, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(evaluate(size, SIZES) for size in type_.shape)
    if type_.dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if type_.dtype.is_integer:
        return np.asarray(rng.integers(-9, 9, shape), type_.dtype.numpy)
    if kind == "special":
        with np.errstate(over="ignore"):
            return np.asarray(rng.choice(SPECIAL, shape)).astype(type_.dtype.numpy)
    if kind == "whole":
        return np.asarray(rng.integers(-4, 5, shape), type_.dtype.numpy)
    return np.asarray(rng.uniform(0.3, 2.5, shape), type_.dtype.numpy)


def t(text: str) -> TensorType:
    return parse_type(text)


def const(value: float, text: str) -> Callable[[Builder], Expr]:
    return lambda b: b.constant(value, t(text))


def folded(value: float, type_: str, op: str, after: str, **attrs: object) -> Case:
    """A graph without inputs: an op of one constant."""
    return Case("", lambda b: b.constant(value, t(type_)).op(op, **attrs), after)


def bc(x: Expr, text: str, *dims: int) -> Expr:
    return x.builder.broadcast(x, t(text).shape, dims)


def select(c: Expr, x: Expr, y: Expr) -> Expr:
    return c.op("select", x, y)


def no(c: Expr) -> Expr:
    return c.op("logical_not")


def iota(x: Expr, axis: int) -> Expr:
    return x.builder.one("iota", shape=x.shape, axis=axis, dtype=I64)


def cut(x: Expr, start: tuple, stop: tuple, step: tuple) -> Expr:
    return x.op("slice", start=start, stop=stop, step=step)


def matmul(a: Expr, b: Expr) -> Expr:
    return dot_general(a, b, ((1,), (0,)))


def _on_diagonal(b: Builder, shape: tuple[int, int], shift: int = 0) -> Expr:
    """True where column == row + shift."""
    rows, columns = (b.one("iota", shape=shape, axis=axis, dtype=I64) for axis in (0, 1))
    return (rows + shift if shift else rows).eq(columns)


def ones(x: Expr, shape: tuple[int, int], shift: int = 0) -> Expr:
    """A matrix of the dtype of `x` with ones on a diagonal."""
    return _on_diagonal(x.builder, shape, shift).op("cast", dtype=x.dtype)


def scaled(x: Expr, shape: tuple[int, int], axis: int, shift: int = 0) -> Expr:
    """A matrix with the elements of `x` on a diagonal, by row or by column."""
    value = x.builder.broadcast(x, shape, (axis,))
    return _on_diagonal(x.builder, shape, shift).op("select", value, value.like(0))


def _dot_ones(b: Builder) -> Expr:
    return dot_general(b.constant(2, t("f32[5,6]")), b.constant(3, t("f32[6,7]")), ((1,), (0,)))


V = "f64[5]"
VV = "f64[5] f64[5]"
M = "f64[3,4]"
B = "bool[5]"

FOLD_CASES = {
    "fold": [
        Case("", lambda b: b.constant(1, t("f32[3]")) / b.constant(3, t("f32[3]")),
             repr(float(np.float32(1) / np.float32(3)))),
        Case("", lambda b: b.constant(0, t(V)) / b.constant(0, t(V)), "nan"),
        folded(-1e10, "f64[]", "cast", "-2147483648", dtype=I32),
        folded(3, "i32[]", "cast", "3.0", dtype=F32),
        Case("", lambda b: select(b.constant(True, t("bool[]")), b.constant(-0.0, t("f64[]")),
                                  b.constant(1, t("f64[]"))), "-0.0"),
        folded(float("nan"), "f64[2]", "isnan", "True"),
    ],
    "fold_rounded": [folded(0.5, V, "exp", repr(float(np.exp(0.5))))],
    "fold_move": [
        folded(2, "f64[3,4]", "reshape", "2.0", shape=(12,)),
        folded(2, "f64[3,4]", "transpose", "2.0", permutation=(1, 0)),
        folded(2, "f64[3]", "broadcast", "2.0", shape=(3, 2), dims=(0,)),
        folded(2, "f64[3]", "slice", "2.0", start=(1,), stop=(3,), step=(1,)),
        folded(2, "f64[3]", "flip", "2.0", axes=(0,)),
    ],
    "fold_pad": [
        folded(0, "f64[3]", "pad", "0.0", low=(1,), high=(0,), interior=(1,)),
        folded(False, "bool[3]", "pad", "False", low=(1,), high=(0,), interior=(1,)),
    ],
    "fold_concatenate": [
        Case("", lambda b: b.constant(2, t("i32[3]")).op(
            "concatenate", b.constant(2, t("i32[2]")), axis=0), "2"),
    ],
    "fold_dim_size": [Case("", lambda b: b.one("dim_size", size=7), "7")],
    "fold_iota": [Case("", lambda b: b.one("iota", shape=(4, 1), axis=1, dtype=F64), "0.0")],
    "fold_pick": [
        folded(2, "f64[3,4]", "reduce_max", "2.0", axes=(1,)),
        folded(2, "f64[3,4]", "reduce_min", "2.0", axes=(0, 1)),
        folded(True, "bool[3]", "reduce_any", "True", axes=(0,)),
        folded(False, "bool[3]", "reduce_all", "False", axes=(0,)),
    ],
    "fold_position": [folded(2, "f64[3,4]", "argmax", "0", axis=1)],
    "fold_sum": [
        folded(3, "f32[1000]", "reduce_sum", "3000.0", axes=(0,)),
        folded(2**30, "i32[4]", "reduce_sum", "0", axes=(0,)),
        folded(-np.inf, "f64[4]", "reduce_sum", "-inf", axes=(0,)),
        folded(5, "f64[0]", "reduce_sum", "0.0", axes=(0,)),
    ],
    "fold_prod": [
        folded(3, "i32[21]", "reduce_prod", str((3**21 + 2**31) % 2**32 - 2**31), axes=(0,)),
        folded(1, "f64[4]", "reduce_prod", "1.0", axes=(0,)),
        folded(5, "f64[0]", "reduce_prod", "1.0", axes=(0,)),
    ],
    "fold_dot": [Case("", _dot_ones, "36.0")],
}  # fmt: skip

ARITHMETIC_CASES = {
    "add_zero": [Case(V, lambda a: 0.0 + a, "a")],
    "add_negative_zero": [Case(V, lambda a: a + -0.0, "a")],
    "add_self": [Case(V, lambda a: a + a, "mul(a, 2.0)")],
    "add_neg": [Case(VV, lambda a, b: a + -b, "sub(a, b)"),
                Case(VV, lambda a, b: -b + a, "sub(a, b)")],
    "add_add_constants": [Case("i32[5]", lambda a: (a + 2147483647) + 2,
                               "add(a, -2147483647)")],
    "sub_zero": [Case(V, lambda a: a - 0.0, "a")],
    "zero_sub": [Case(V, lambda a: 0.0 - a, "neg(a)"), Case("i32[5]", lambda a: 0 - a, "neg(a)")],
    "sub_self": [Case(V, lambda a: a - a, "0.0")],
    "sub_neg": [Case(VV, lambda a, b: a - -b, "add(a, b)")],
    "neg_neg": [Case(V, lambda a: (-a).op("neg"), "a")],
    "neg_sub": [Case(VV, lambda a, b: -(a - b), "sub(b, a)")],
    "neg_mul_constant": [Case(V, lambda a: -(a * 3), "mul(a, -3.0)")],
    "neg_div_constant": [Case(V, lambda a: -(a / 3), "div(a, -3.0)")],
    "mul_one": [Case(V, lambda a: 1 * a, "a"), Case("i32[2]", lambda a: a * 1, "a")],
    "mul_zero": [Case(V, lambda a: a * 0, "0.0")],
    "mul_minus_one": [Case(V, lambda a: a * -1, "neg(a)")],
    "mul_mul_constants": [Case(V, lambda a: (a * 3) * 5, "mul(a, 15.0)")],
    "mul_neg_neg": [Case(VV, lambda a, b: -a * -b, "mul(a, b)")],
    "mul_neg_constant": [Case(V, lambda a: -a * 3, "mul(a, -3.0)")],
    "mul_neg": [Case(VV, lambda a, b: a * -b, "neg(mul(b, a))")],
    "mul_reciprocal": [Case(VV, lambda a, b: a * (1 / b), "div(a, b)")],
    "div_one": [Case(V, lambda a: a / 1, "a")],
    "div_minus_one": [Case(V, lambda a: a / -1, "neg(a)")],
    "div_power_of_two": [Case(V, lambda a: a / -8, "mul(a, -0.125)")],
    "div_neg_neg": [Case(VV, lambda a, b: -a / -b, "div(a, b)")],
    "div_neg_constant": [Case(V, lambda a: -a / 3, "div(a, -3.0)")],
    "constant_div_neg": [Case(V, lambda a: 3 / -a, "div(-3.0, a)")],
    "div_neg": [Case(VV, lambda a, b: -a / b, "neg(div(a, b))")],
    "div_by_neg": [Case(VV, lambda a, b: a / -b, "neg(div(a, b))")],
    "div_constant": [Case(V, lambda a: a / 5, "mul(a, 0.2)")],
    "floor_divide_one": [Case("i64[5]", lambda a: a.op("floor_divide", a.like(1)), "a")],
    "remainder_one": [Case("i64[5]", lambda a: a.op("remainder", a.like(1)), "0")],
    "square_to_mul": [Case(V, lambda a: a.op("square"), "mul(a, a)")],
    "reciprocal_to_div": [Case(V, lambda a: a.op("reciprocal"), "div(1.0, a)")],
    "power_zero": [Case(V, lambda a: a.op("power", a.like(0)), "1.0")],
    "power_one": [Case(V, lambda a: a.op("power", a.like(1)), "a")],
    "power_two": [Case(V, lambda a: a.op("power", a.like(2)), "mul(a, a)")],
    "power_three": [Case("i64[5]", lambda a: a.op("power", a.like(3)), "mul(mul(a, a), a)")],
    "power_half": [Case(V, lambda a: a.op("power", a.like(0.5)), "sqrt(a)")],
    "power_minus_half": [Case(V, lambda a: a.op("power", a.like(-0.5)), "rsqrt(a)")],
    "power_minus_one": [Case(V, lambda a: a.op("power", a.like(-1)), "div(1.0, a)")],
    "maximum_self": [Case(V, lambda a: a.op("maximum", a), "a")],
    "minimum_self": [Case(V, lambda a: a.op("minimum", a), "a")],
    "relu_relu": [Case(V, lambda a: a.op("relu").op("relu"), "relu(a)")],
    "abs_neg": [Case(V, lambda a: (-a).op("abs"), "abs(a)")],
    "abs_abs": [Case(V, lambda a: a.op("abs").op("abs"), "abs(a)")],
    "scale_zero": [Case(V, lambda a: a.like(0).op("scale_or_zero", a), "0.0")],
    "scale_nonzero": [Case(V, lambda a: a.like(3).op("scale_or_zero", a), "mul(3.0, a)")],
    "scale_one": [Case(V, lambda a: a.op("scale_or_zero", a.like(1)), "a")],
    "scale_finite": [
        Case(V, lambda a: a.op("scale_or_zero", a.like(3)), "mul(a, 3.0)"),
        Case(VV, lambda a, b: a.op("scale_or_zero", b.op("exp").op("sigmoid")),
             "mul(a, sigmoid(exp(b)))"),
    ],
    "log_exp": [Case(V, lambda a: a.op("exp").op("log"), "a")],
    "log_one_plus_exp": [Case(V, lambda a: (a.op("exp") + 1).op("log"), "softplus(a)")],
    "log_one_plus": [Case(V, lambda a: (1 + a).op("log"), "log1p(a)")],
    "log1p_exp": [Case(V, lambda a: a.op("exp").op("log1p"), "softplus(a)")],
    "exp_minus_one": [Case(V, lambda a: a.op("exp") - 1, "expm1(a)")],
    "one_over_one_plus_exp": [Case(V, lambda a: 1 / (1 + (-a).op("exp")), "sigmoid(a)")],
}  # fmt: skip

LOGIC_CASES = {
    "not_not": [Case(B, lambda a: no(no(a)), "a")],
    "and_true": [Case(B, lambda a: a.op("logical_and", a.like(True)), "a")],
    "and_false": [Case(B, lambda a: a.like(False).op("logical_and", a), "False")],
    "and_self": [Case(B, lambda a: a.op("logical_and", a), "a")],
    "or_true": [Case(B, lambda a: a.op("logical_or", a.like(True)), "True")],
    "or_false": [Case(B, lambda a: a.op("logical_or", a.like(False)), "a")],
    "or_self": [Case(B, lambda a: a.op("logical_or", a), "a")],
    "xor_true": [Case(B, lambda a: a.op("logical_xor", a.like(True)), "logical_not(a)")],
    "xor_false": [Case(B, lambda a: a.op("logical_xor", a.like(False)), "a")],
    "xor_self": [Case(B, lambda a: a.op("logical_xor", a), "False")],
    "not_eq": [Case(VV, lambda a, b: no(a.eq(b)), "ne(a, b)")],
    "not_ne": [Case(VV, lambda a, b: no(a.op("ne", b)), "eq(a, b)")],
    "reflexive_true": [Case("i32[5]", lambda a, name=name: a.op(name, a), "True")
                       for name in ("eq", "le", "ge")],
    "reflexive_false": [Case(V, lambda a, name=name: a.op(name, a), "False")
                        for name in ("lt", "gt")],
    "unequal_self": [Case("i32[5]", lambda a: a.op("ne", a), "False")],
    "compare_ranges": [
        Case("", lambda b: b.one("iota", shape=(4,), axis=0, dtype=I64).lt(4), "True"),
        Case("", lambda b: b.one("iota", shape=(4,), axis=0, dtype=I64).eq(4), "False"),
        Case("f64[3,4]", lambda a: iota(a, 0).op("ge", iota(a, 1) + 3), "False"),
        Case("f64[3,4]", lambda a: iota(a, 0).op("ne", iota(a, 1) - 4), "True"),
    ],
    "select_true": [Case(VV, lambda a, b: select(a.builder.constant(True, t(B)), a, b), "a")],
    "select_false": [Case(VV, lambda a, b: select(a.builder.constant(False, t(B)), a, b), "b")],
    "select_same": [Case(f"{B} {V}", lambda a, b: select(a, b, b), "b")],
    "select_truth": [Case(B, lambda a: select(a, a.like(True), a.like(False)), "a")],
    "select_untruth": [Case(B, lambda a: select(a, a.like(False), a.like(True)),
                            "logical_not(a)")],
    "select_not": [Case(f"{B} {VV}", lambda a, b, c: select(no(a), b, c), "select(a, c, b)")],
    "select_select_taken": [
        Case(f"{B} {VV} {V}", lambda a, b, c, d: select(a, select(a, b, c), d),
             "select(a, b, d)")],
    "select_select_other": [
        Case(f"{B} {VV} {V}", lambda a, b, c, d: select(a, b, select(a, c, d)),
             "select(a, b, d)")],
    "mul_mask": [Case(f"{B} {V}", lambda a, b: select(a, b.like(1), b.like(0)) * b,
                      "select(a, b, 0.0)")],
    "mul_unmask": [Case(f"{B} {V}", lambda a, b: b * select(a, b.like(0), b.like(1)),
                        "select(a, 0.0, b)")],
    "mul_cast_mask": [Case(f"{B} {V}", lambda a, b: b * a.op("cast", dtype=F64),
                           "select(a, b, 0.0)")],
    "cast_same": [Case(V, lambda a: a.op("cast", dtype=F64), "a")],
    "cast_cast": [
        Case("f32[5]", lambda a: a.op("cast", dtype=F64).op("cast", dtype=I32), "cast[i32](a)"),
        Case("i32[5]", lambda a: a.op("cast", dtype=I64).op("cast", dtype=F32), "cast[f32](a)"),
        Case(B, lambda a: a.op("cast", dtype=F32).op("cast", dtype=BOOL), "cast[bool](a)"),
    ],
}  # fmt: skip

MOVEMENT_CASES = {
    "reshape_same": [Case("f64[n,4]", lambda a: a.op("reshape", shape=a.shape), "a")],
    "reshape_reshape": [
        Case(M, lambda a: a.op("reshape", shape=(12,)).op("reshape", shape=(4, 3)),
             "reshape[(4, 3)](a)"),
        Case(M, lambda a: a.op("reshape", shape=(12,)).op("reshape", shape=(3, 4)), "a")],
    "transpose_identity": [Case(M, lambda a: a.op("transpose", permutation=(0, 1)), "a")],
    "transpose_transpose": [
        Case("f64[2,3,4]", lambda a: a.op("transpose", permutation=(1, 2, 0)).op(
            "transpose", permutation=(1, 2, 0)), "transpose[(2, 0, 1)](a)"),
        Case(M, lambda a: a.op("transpose", permutation=(1, 0)).op(
            "transpose", permutation=(1, 0)), "a")],
    "transpose_to_reshape": [
        Case("f64[3,1,4]", lambda a: a.op("transpose", permutation=(1, 0, 2)),
             "reshape[(1, 3, 4)](a)")],
    "broadcast_identity": [Case("f64[n,4]", lambda a: bc(a, "f64[n,4]", 0, 1), "a")],
    "broadcast_to_reshape": [Case("f64[n]", lambda a: bc(a, "f64[1,n,1]", 1),
                                  "reshape[(1, n, 1)](a)")],
    "broadcast_broadcast": [
        Case("f64[3]", lambda a: bc(bc(a, "f64[3,4]", 0), "f64[2,3,4]", 1, 2),
             "broadcast[(1,), (2, 3, 4)](a)")],
    "broadcast_of_reshape": [
        Case("f64[3]", lambda a: bc(a.op("reshape", shape=(3, 1)), "f64[3,4]", 0, 1),
             "broadcast[(0,), (3, 4)](a)")],
    "broadcast_of_ones": [
        Case("f64[3,1]", lambda a: bc(a, "f64[3,4]", 0, 1),
             "broadcast[(0,), (3, 4)](reshape[(3,)](a))")],
    "reshape_of_broadcast": [
        Case("f64[3]", lambda a: bc(a, "f64[3,4]", 0).op("reshape", shape=(3, 1, 4)),
             "broadcast[(0,), (3, 1, 4)](a)"),
        Case("f64[]", lambda a: bc(a, "f64[3,4]").op("reshape", shape=(2, 6)),
             "broadcast[(), (2, 6)](a)")],
    "transpose_of_broadcast": [
        Case(M, lambda a: bc(a, "f64[2,3,4]", 1, 2).op("transpose", permutation=(2, 0, 1)),
             "broadcast[(0, 2), (4, 2, 3)](transpose[(1, 0)](a))")],
    "slice_whole": [Case("f64[n,4]", lambda a: cut(a, (0, 0), a.shape, (1, 1)), "a")],
    "slice_slice": [
        Case("f64[20]", lambda a: cut(cut(a, (2,), (20,), (3,)), (1,), (6,), (2,)),
             "slice[(5,), (6,), (18,)](a)"),
        Case("f64[n+3]", lambda a: cut(cut(a, (1,), (a.shape[0],), (1,)), (1,),
                                       (a.shape[0] - 1,), (1,)), "slice[(2,), (1,), (n+3,)](a)"),
        Case("f64[9]", lambda a: cut(cut(a, (1,), (9,), (2,)), (3,), (3,), (1,)),
             "slice[(1,), (1,), (1,)](a)"),
        Case("f64[9]", lambda a: cut(cut(a, (0,), (9,), (8,)), (1,), (2,), (2**63 - 1,)),
             "slice[(8,), (1,), (9,)](a)")],
    "slice_of_broadcast": [
        Case("f64[3]", lambda a: cut(bc(a, "f64[3,4]", 0), (1, 1), (3, 3), (1, 1)),
             "broadcast[(0,), (2, 2)](slice[(1,), (1,), (3,)](a))")],
    "slice_of_pad": [
        Case("f64[n]", lambda a: cut(a.op("pad", low=(2,), high=(1,), interior=(0,)), (2,),
                                     (a.shape[0] + 2,), (1,)), "a"),
        Case("f64[5]", lambda a: cut(a.op("pad", low=(2,), high=(1,), interior=(0,)), (3,), (7,),
                                     (2,)), "slice[(1,), (2,), (5,)](a)")],
    "slice_of_concatenate": [
        Case("f64[n,2] f64[3,2]", lambda a, b: cut(
            a.op("concatenate", b, axis=0), (a.shape[0] + 1, 0), (a.shape[0] + 3, 2), (1, 1)),
            "slice[(1, 0), (1, 1), (3, 2)](b)")],
    "pad_none": [Case(V, lambda a: a.op("pad", low=(0,), high=(0,), interior=(0,)), "a")],
    "add_of_pads": [Case(VV, lambda a, b: a.op("pad", low=(1,), high=(2,), interior=(3,))
                         + b.op("pad", low=(1,), high=(2,), interior=(3,)),
                         "pad[(2,), (3,), (1,)](add(a, b))")],
    "concatenate_one": [Case(V, lambda a: a.op("concatenate", axis=0), "a")],
    "flip_short": [Case("f64[1,3]", lambda a: a.op("flip", axes=(0, 1)), "flip[(1,)](a)")],
    "flip_none": [Case(V, lambda a: a.op("flip", axes=()), "a")],
    "flip_flip": [Case(M, lambda a: a.op("flip", axes=(0, 1)).op("flip", axes=(1,)),
                       "flip[(0,)](a)")],
    "elementwise_of_broadcast": [
        Case("f64[3]", lambda a: bc(a, "f64[3,4]", 0).op("exp"),
             "broadcast[(0,), (3, 4)](exp(a))"),
        Case("f64[3] f64[]", lambda a, b: bc(a, "f64[2,3,4]", 1) / bc(b, "f64[2,3,4]"),
             "broadcast[(1,), (2, 3, 4)](div(a, broadcast[(), (3,)](b)))"),
        Case("f64[n] f64[m]", lambda a, b: 2 + bc(a, "f64[n,m]", 0),
             "broadcast[(0,), (n, m)](add(a, 2.0))"),
        Case("f64[3] f64[4]", lambda a, b: bc(a, "f64[2,3,4]", 1) * bc(b, "f64[2,3,4]", 2),
             "broadcast[(1, 2), (2, 3, 4)](mul(broadcast[(0,), (3, 4)](a), "
             "broadcast[(1,), (3, 4)](b)))"),
        Case("f64[3,1]", lambda a: bc(a, "f64[3,4]", 0, 1).op("cast", dtype=F32),
             "broadcast[(0,), (3, 4)](cast[f32](reshape[(3,)](a)))"),
    ],
}  # fmt: skip

REDUCE_CASES = {
    "reduce_none": [Case(M, lambda a: a.op("reduce_sum", axes=()), "a")],
    "pick_of_one": [Case("f64[3,1]", lambda a: a.op("reduce_max", axes=(1,)),
                         "reshape[(3,)](a)")],
    "sum_of_one": [Case("f64[1,3,1]", lambda a: a.op("reduce_sum", axes=(0, 2)),
                        "reshape[(3,)](a)")],
    "pick_of_pick": [Case("f64[2,3,4]", lambda a: a.op("reduce_max", axes=(1,)).op(
        "reduce_max", axes=(1,)), "reduce_max[(1, 2)](a)")],
    "sum_of_sum": [Case("f64[2,3,4]", lambda a: a.op("reduce_sum", axes=(0,)).op(
        "reduce_sum", axes=(1,)), "reduce_sum[(0, 2)](a)")],
    "pick_of_transpose": [Case("f64[2,3,4]", lambda a: a.op(
        "transpose", permutation=(2, 0, 1)).op("reduce_min", axes=(1,)),
        "transpose[(1, 0)](reduce_min[(0,)](a))")],
    "sum_of_transpose": [Case(M, lambda a: a.op("transpose", permutation=(1, 0)).op(
        "reduce_sum", axes=(0,)), "reduce_sum[(1,)](a)")],
    "reduce_of_reshape": [
        Case(M, lambda a: a.op("reshape", shape=(1, 3, 1, 4)).op("reduce_sum", axes=(0, 3)),
             "reshape[(3, 1)](reduce_sum[(1,)](a))"),
        Case("f64[3,1,4]", lambda a: a.op("reshape", shape=(3, 4)).op("reduce_max", axes=(0,)),
             "reshape[(4,)](reduce_max[(0,)](a))")],
    "pick_all_of_reshape": [Case(M, lambda a: a.op("reshape", shape=(2, 6)).op(
        "reduce_max", axes=(0, 1)), "reduce_max[(0, 1)](a)")],
    "sum_all_of_reshape": [Case(M, lambda a: a.op("reshape", shape=(12,)).op(
        "reduce_sum", axes=(0,)), "reduce_sum[(0, 1)](a)")],
    "pick_of_broadcast": [
        Case("f64[3]", lambda a: bc(a, "f64[2,3,4]", 1).op("reduce_max", axes=(1, 2)),
             "broadcast[(), (2,)](reduce_max[(0,)](a))"),
        Case("f64[3] f64[n]", lambda a, b: bc(a, "f64[3,n]", 0).op("reduce_max", axes=(0,)),
             "broadcast[(), (n,)](reduce_max[(0,)](a))")],
    "sum_of_broadcast": [
        Case("f64[3]", lambda a: bc(a, "f64[3,4]", 0).op("reduce_sum", axes=(1,)), "mul(a, 4.0)"),
        Case("f64[3,1]", lambda a: bc(a, "f64[3,4]", 0, 1).op("reduce_sum", axes=(0, 1)),
             "mul(reduce_sum[(0, 1)](a), 4.0)"),
        Case("f64[3] f64[n]", lambda a, b: bc(a, "f64[3,n]", 0).op("reduce_sum", axes=(1,)),
             "mul(a, broadcast[(), (3,)](cast[f64](dim_size[n]())))"),
        Case("f64[3]", lambda a: bc(a, "f64[3,4]", 0).op("reduce_sum", axes=(0,)),
             "broadcast[(), (4,)](reduce_sum[(0,)](a))")],
    "sum_of_constant": [
        Case("f64[n]", lambda a: a.like(2).op("reduce_sum", axes=(0,)),
             "mul(2.0, cast[f64](dim_size[n]()))"),
        Case("", lambda b: b.constant(0.1, t("f64[3]")).op("reduce_sum", axes=(0,)),
             "mul(0.1, 3.0)")],
    "sum_of_mul": [
        Case(M, lambda a: (a * 3).op("reduce_sum", axes=(0,)), "mul(reduce_sum[(0,)](a), 3.0)"),
        Case(f"{M} f64[4]", lambda a, b: (bc(b, M, 1) * a).op("reduce_sum", axes=(0,)),
             "mul(reduce_sum[(0,)](a), b)")],
    "sum_of_div": [
        Case(f"{M} f64[3]", lambda a, b: (a / bc(b, M, 0)).op("reduce_sum", axes=(1,)),
             "div(reduce_sum[(1,)](a), b)")],
    "sum_of_neg": [Case(M, lambda a: (-a).op("reduce_sum", axes=(0,)),
                        "neg(reduce_sum[(0,)](a))")],
}  # fmt: skip

CONTRACT_CASES = {
    "dot_of_transpose_lhs": [
        Case("f64[4,3] f64[4,5]", lambda a, b: matmul(a.op("transpose", permutation=(1, 0)), b),
             "dot_general[(), (0,), (), (0,)](a, b)")],
    "dot_of_transpose_rhs": [
        Case("f64[2,3,4] f64[5,2,4]", lambda a, b: dot_general(
            a, b.op("transpose", permutation=(1, 2, 0)), ((2,), (1,)), ((0,), (0,))),
            "dot_general[(0,), (2,), (1,), (2,)](a, b)")],
    "transpose_of_dot": [
        Case("f64[3,4] f64[4,5]", lambda a, b: matmul(a, b).op("transpose", permutation=(1, 0)),
             "dot_general[(), (0,), (), (1,)](b, a)")],
    "dot_to_mul": [
        Case("f64[3,1] f64[1,5]", matmul,
             "mul(broadcast[(0,), (3, 5)](reshape[(3,)](a)), "
             "broadcast[(1,), (3, 5)](reshape[(5,)](b)))"),
        Case("f64[3,2] f64[2,4]", lambda a, b: dot_general(a, b, ((), ()), ((1,), (0,))),
             "mul(broadcast[(0, 1), (2, 3, 4)](transpose[(1, 0)](a)), "
             "broadcast[(0, 2), (2, 3, 4)](b))")],
}  # fmt: skip

DIAGONAL_CASES = {
    "dot_of_diagonal_lhs": [
        Case("f64[4,3]", lambda a: matmul(ones(a, (4, 4)), a), "a"),
        Case("f64[4,3]", lambda a: matmul(ones(a, (6, 4), -1), a),
             "pad[(1, 0), (0, 0), (1, 0)](a)"),
        Case("f64[3,7]", lambda a: dot_general(ones(a, (4, 7), 2), a, ((1,), (1,))),
             "slice[(2, 0), (1, 1), (6, 3)](transpose[(1, 0)](a))"),
        Case("f64[3,7]", lambda a: dot_general(ones(a, (7, 4), 2), a, ((0,), (1,))),
             "pad[(0, 0), (0, 0), (2, 0)](slice[(0, 0), (1, 1), (2, 3)](transpose[(1, 0)](a)))"),
        Case("f64[4,3] f64[4]", lambda a, b: matmul(scaled(b, (4, 4), 1), a),
             "mul(a, broadcast[(0,), (4, 3)](b))"),
        Case("f64[5,3] f64[4]", lambda a, b: matmul(scaled(b, (4, 5), 0, 1), a),
             "mul(slice[(1, 0), (1, 1), (5, 3)](a), broadcast[(0,), (4, 3)](b))"),
        Case("i32[4,3]", lambda a: matmul(ones(a, (2, 4), 9), a),
             "pad[(2, 0), (0, 0), (0, 0)](slice[(4, 0), (1, 1), (4, 3)](a))")],
    "dot_of_diagonal_rhs": [
        Case("f64[3,4]", lambda a: matmul(a, ones(a, (4, 6), 1)),
             "transpose[(1, 0)](pad[(1, 0), (0, 0), (1, 0)](transpose[(1, 0)](a)))"),
        Case("f64[2,4,3] f64[4]", lambda a, b: dot_general(
            a, scaled(b, (4, 4), 1), ((1,), (0,))),
            "transpose[(1, 2, 0)](mul(transpose[(1, 0, 2)](a), broadcast[(0,), (4, 2, 3)](b)))")],
    "slice_of_diagonal": [
        Case("f32[5]", lambda a: cut(ones(a, (6, 6)), (1, 3), (6, 5), (1, 1)),
             "cast[f32](eq(add(iota[0, i64, (5, 2)](), -2), iota[1, i64, (5, 2)]()))"),
        Case("f64[6]", lambda a: cut(scaled(a, (6, 6), 1), (0, 1), (6, 6), (1, 1)),
             "select(eq(add(iota[0, i64, (6, 5)](), -1), iota[1, i64, (6, 5)]()), "
             "slice[(0, 1), (1, 1), (6, 6)](broadcast[(1,), (6, 6)](a)), 0.0)")],
    "dot_of_rows_apart": [
        Case("f64[5,4,3] f64[4,2]", lambda a, b: dot_general(a, b, ((1,), (0,))),
             "dot_general[(0,), (1,), (0,), (1,)](a, broadcast[(1, 2), (5, 4, 2)](b))"),
        Case("f64[3,5,4,2] f64[6,3,4]", lambda a, b: dot_general(
            a, b, ((2,), (2,)), ((0,), (1,))),
            "dot_general[(0, 1), (2,), (2, 0), (3,)](a, broadcast[(1, 2, 3), (5, 6, 3, 4)](b))")],
    "dot_of_columns_apart": [
        Case("f64[2,4] f64[5,4,3]", lambda a, b: dot_general(a, b, ((1,), (1,))),
             "transpose[(1, 0, 2)](dot_general[(0,), (2,), (0,), (1,)]("
             "broadcast[(1, 2), (5, 2, 4)](a), b))"),
        Case("f64[6,3,4] f64[3,5,4,2]", lambda a, b: dot_general(
            a, b, ((2,), (2,)), ((1,), (0,))),
            "transpose[(0, 2, 1, 3)](dot_general[(2, 0), (3,), (0, 1), (2,)]("
            "broadcast[(1, 2, 3), (5, 6, 3, 4)](a), b))")],
}  # fmt: skip

CASES: dict[str, list[Case]] = {
    **FOLD_CASES, **ARITHMETIC_CASES, **LOGIC_CASES, **MOVEMENT_CASES, **REDUCE_CASES,
    **CONTRACT_CASES, **DIAGONAL_CASES,
}  # fmt: skip
LIST = list(itertools.chain.from_iterable(
    ((name, index, case) for index, case in enumerate(cases)) for name, cases in CASES.items()
))  # fmt: skip
