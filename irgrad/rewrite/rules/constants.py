"""Folding: ops of constants whose result is a constant (every element the same number).

A folded op is evaluated by its NumPy meaning. The kernels give the very same bits for arithmetic,
comparisons, casts and selection, which are correctly rounded; other functions are class stable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ...ir.dims import Size, product
from ...ir.floats import exact_text
from ...ir.graph import Graph
from ...ops.build import Expr, as_scalar
from ...ops.registry import REGISTRY
from ..numbers import Number, repeated_product, repeated_sum
from ..pattern import op, same_number
from ..predicates import all_one, at_least_one
from ..rule import Match, Predicate, Rule

EXACT_OPS = (
    "neg", "add", "sub", "mul", "div", "abs", "sign", "floor", "ceil", "round",
    "trunc", "maximum", "minimum", "relu", "scale_or_zero", "sqrt", "reciprocal", "square",
    "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "isnan", "isinf", "isfinite", "select", "cast",
)  # fmt: skip
ROUNDED_OPS = (
    "floor_divide",
    "remainder", "power", "fma", "exp", "exp2", "expm1", "log", "log2", "log1p", "log10", "rsqrt",
    "cbrt", "tanh", "sigmoid", "softplus", "erf", "erfc", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "atan2", "hypot",
)  # fmt: skip
MOVES = ("reshape", "transpose", "broadcast", "slice", "flip")
PICKS = ("reduce_max", "reduce_min", "reduce_any", "reduce_all")


class _NoRegions:
    """The environment of ops without regions or symbolic sizes."""

    dims: Mapping[str, int] = MappingProxyType({})

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """No op that is folded holds a region."""
        raise AssertionError(f"region {graph.name} met while folding constants")


def _constants(m: Match) -> bool:
    """Whether all operands are constants, and the result can be one: there are no complex ones."""
    return m["root"].dtype.kind != "c" and all(x.node.op == "constant" for x in m.operands("root"))


def _numbers(m: Match) -> list[Number]:
    return [x.node.attribute("value") for x in m.operands("root")]


def _evaluate(m: Match) -> Expr:
    node = m["root"].node
    arrays = [
        np.asarray(x.node.attribute("value"), x.dtype.numpy) for x in m.operands("root")
    ]
    (result,) = REGISTRY[node.op].evaluate(arrays, dict(node.attributes), _NoRegions())
    return m["root"].like(as_scalar(result[()], m["root"].dtype))


def _same(m: Match) -> Expr:
    return m["root"].like(_numbers(m)[0])


def _positive_zero(m: Match) -> bool:
    return same_number(_numbers(m)[0], False if m["root"].dtype.kind == "b" else 0)


def _all_same(m: Match) -> bool:
    first, *others = map(_bits, _numbers(m))
    return all(other == first for other in others)


def _bits(number: Number) -> Any:
    return exact_text(number) if isinstance(number, float) else number


# -- reductions ------------------------------------------------------------------------------------


def _reduced(m: Match) -> Size:
    (x,) = m.operands("root")
    return product(x.shape[axis] for axis in m.attr("root", "axes"))


def _some(m: Match) -> bool:
    (x,) = m.operands("root")
    return at_least_one([x.shape[axis] for axis in m.attr("root", "axes")])


def _folded_sum(m: Match) -> Number | None:
    return repeated_sum(_numbers(m)[0], _reduced(m), m["root"].dtype)


def _folded_product(m: Match) -> Number | None:
    return repeated_product(_numbers(m)[0], _reduced(m), m["root"].dtype)


def _folded_dot(m: Match) -> Number | None:
    a, b = _numbers(m)
    (x, _), dtype = m.operands("root"), m["root"].dtype
    count = product(x.shape[axis] for axis in m.attr("root", "lhs_contract"))
    if dtype.is_integer:
        return repeated_sum(int(a) * int(b), count, dtype)
    exact = float(a) * float(b)
    if as_scalar(exact, dtype) != exact or not _exact_product(a, b, exact):
        return None
    return repeated_sum(exact, count, dtype)


def _exact_product(a: float, b: float, product_: float) -> bool:
    if not all(map(math.isfinite, (a, b, product_))):
        return False
    (p, q), (r, s), (t, u) = (v.as_integer_ratio() for v in (float(a), float(b), product_))
    return p * r * u == q * s * t


def _is_static(m: Match) -> bool:
    return isinstance(m.attr("root", "size"), int)


def _position_exists(m: Match) -> bool:
    (x,) = m.operands("root")
    return at_least_one([x.shape[m.attr("root", "axis")]])


def _known(fold: Any) -> Predicate:
    return lambda m: fold(m) is not None


def _folded(fold: Any) -> Any:
    return lambda m: m["root"].like(fold(m))


RULES: tuple[Rule, ...] = (
    Rule("fold", "a correctly rounded op of constants -> a constant",
         op(EXACT_OPS), _evaluate, (_constants,)),
    Rule("fold_rounded", "an op of constants that is right within its error bound -> a constant",
         op(ROUNDED_OPS), _evaluate, (_constants,), "stable"),
    Rule("fold_move", "a constant reshaped, transposed, repeated, sliced or flipped -> a constant",
         op(MOVES), _same, (_constants,)),
    Rule("fold_pad", "pad of zeros -> zeros",
         op("pad"), _same, (_constants, _positive_zero)),
    Rule("fold_concatenate", "concatenate of equal constants -> a constant",
         op("concatenate"), _same, (_constants, _all_same)),
    Rule("fold_dim_size", "the size of a static dim -> a constant",
         op("dim_size"), lambda m: m["root"].like(m.attr("root", "size")), (_is_static,)),
    Rule("fold_iota", "iota along an axis of size 1 -> 0",
         op("iota"), lambda m: m["root"].like(0),
         (lambda m: all_one([m["root"].shape[m.attr("root", "axis")]]),)),
    Rule("fold_pick", "max, min, any, all of a constant, not empty -> the constant",
         op(PICKS), _same, (_constants, _some)),
    Rule("fold_position", "argmax, argmin of a constant -> 0, the first index",
         op(("argmax", "argmin")), lambda m: m["root"].like(0), (_constants, _position_exists)),
    Rule("fold_sum", "sum of n equal numbers -> n * number where every partial sum is exact",
         op("reduce_sum"), _folded(_folded_sum), (_constants, _known(_folded_sum))),
    Rule("fold_prod", "prod of n equal integers, zeros or ones -> the power",
         op("reduce_prod"), _folded(_folded_product), (_constants, _known(_folded_product))),
    Rule("fold_dot", "dot_general of constants -> n * a * b where every partial sum is exact",
         op("dot_general"), _folded(_folded_dot), (_constants, _known(_folded_dot))),
)  # fmt: skip
