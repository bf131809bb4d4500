"""Comparisons, truth values, bits, selection, and conversion between dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.types import DTYPES, DType, TensorType
from .attributes import read_dtype
from .batching import shifted
from .build import Expr
from .elementwise import elementwise, sample_arrays
from .record import Attrs, Evaluation, NotLinear, OpDef, RuleContext, Sample, Types
from .rules import (
    ANY,
    INEXACT,
    elementwise_rule,
    require_count,
    require_kind,
    require_same_dtype,
    require_same_shape,
    to_bool,
)

Parts = tuple[Expr | None, ...]
ORDERED = "biuf"
INTEGER = "iu"


def _compare(name: str, function: Callable[..., np.ndarray], numpy: tuple[str, ...]) -> OpDef:
    return elementwise(name, function, [None, None], kinds=ORDERED, result=to_bool, numpy=numpy)


def _bits(
    name: str, function: Callable[..., np.ndarray], scalar: Callable[..., Any], kinds: str,
    arity: int = 2,
) -> OpDef:
    domain = (-100.0, 100.0)
    return elementwise(name, function, [None] * arity, kinds=kinds, scalar=scalar, domain=domain,
                       numpy=(name,))


# -- select ----------------------------------------------------------------------------------------


def _select_infer(types: Types, attrs: Attrs) -> Types:
    require_count("select", types, 3)
    require_kind("select", types[0], "b", 0)
    shape = require_same_shape("select", types)
    return (TensorType(require_same_dtype("select", types[1:]), shape),)


def _select_evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    return (np.asarray(np.where(*inputs)),)


def _select_jvp(ctx: RuleContext, t: Parts) -> Parts:
    condition = ctx.inputs[0]
    if t[1] is None and t[2] is None:
        return (None,)
    zero = ctx.builder.zeros(ctx.outputs[0].type)
    taken, other = (zero if tangent is None else tangent for tangent in t[1:])
    return (condition.op("select", taken, other),)


def _select_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not linear[0]
    condition = ctx.inputs[0]
    zero = ctx.builder.zeros(ct[0].type)
    return (
        None,
        condition.op("select", ct[0], zero) if linear[1] else None,
        condition.op("select", zero, ct[0]) if linear[2] else None,
    )


def _select_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((rng.random(call.operands[0].shape) < 0.5, *call.operands))
        for call in sample_arrays(2, -3.0, 3.0, "fib")(rng)
    ]


# -- cast ------------------------------------------------------------------------------------------


def _cast_infer(types: Types, attrs: Attrs) -> Types:
    require_count("cast", types, 1)
    target = read_dtype("cast", attrs, "cb" if types[0].dtype.kind == "c" else ANY)
    return (TensorType(target, types[0].shape),)


def _saturate(x: np.ndarray, target: np.dtype) -> np.ndarray:
    """Floats as integers: truncated, held to the range of `target`, NaN as 0."""
    limits = np.iinfo(target)
    whole = np.trunc(x.astype(np.float64))
    # max + 1 is a power of two, so it is exact in float64 where max itself is not.
    above, below = whole >= float(limits.max + 1), whole < float(limits.min)
    inside = np.where(above | below | np.isnan(whole), 0.0, whole).astype(target)
    held = np.where(below, target.type(limits.min), inside)
    return np.where(above, target.type(limits.max), held)


def _cast_evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    (x,) = inputs
    target: DType = attrs["dtype"]
    if target.kind == "b":
        return (np.asarray(x != 0),)
    if x.dtype.kind not in "biuc" and target.is_integer:
        return (np.asarray(_saturate(x, target.numpy)),)
    with np.errstate(all="ignore"):
        return (x.astype(target.numpy),)


def _cast_jvp(ctx: RuleContext, t: Parts) -> Parts:
    kinds = (ctx.inputs[0].dtype.kind, ctx.outputs[0].dtype.kind)
    if t[0] is None or any(kind not in INEXACT for kind in kinds):
        return (None,)
    return (t[0].op("cast", dtype=ctx.attrs["dtype"]),)


def _cast_transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None
    return (ct[0].op("cast", dtype=ctx.inputs[0].dtype),)


def _cast_samples(rng: np.random.Generator) -> list[Sample]:
    calls = [
        Sample(call.operands, {"dtype": DTYPES[name]})
        for call in sample_arrays(1, -5.0, 5.0, "fib")(rng)
        for name in ("bool", "i32", "i64", "f32", "f64")
    ]
    borders = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**31), 2.0**63, -0.5])
    calls += [
        Sample((borders.astype(source),), {"dtype": DTYPES[name]})
        for source in (np.float32, np.float64)
        for name in ("bool", "i32", "i64")
    ]
    return calls


# -- stop_gradient ---------------------------------------------------------------------------------


def _identity_evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    return (inputs[0],)


OPS: tuple[OpDef, ...] = (
    _compare("eq", np.equal, ("equal",)),
    _compare("ne", np.not_equal, ("not_equal",)),
    _compare("lt", np.less, ("less",)),
    _compare("le", np.less_equal, ("less_equal",)),
    _compare("gt", np.greater, ("greater",)),
    _compare("ge", np.greater_equal, ("greater_equal",)),
    _bits("logical_and", np.logical_and, lambda k, x, y: k.and_(x, y), "b"),
    _bits("logical_or", np.logical_or, lambda k, x, y: k.or_(x, y), "b"),
    _bits("logical_xor", np.logical_xor, lambda k, x, y: k.xor(x, y), "b"),
    _bits("logical_not", np.logical_not, lambda k, x: k.not_(x), "b", arity=1),
    _bits("bitwise_and", np.bitwise_and, lambda k, x, y: k.and_(x, y), INTEGER),
    _bits("bitwise_or", np.bitwise_or, lambda k, x, y: k.or_(x, y), INTEGER),
    _bits("bitwise_xor", np.bitwise_xor, lambda k, x, y: k.xor(x, y), INTEGER),
    elementwise("isnan", np.isnan, [None], result=to_bool, numpy=("isnan",)),
    elementwise("isinf", np.isinf, [None], result=to_bool, numpy=("isinf",),
                scalar=lambda k, x: k.eq(k.abs(x), k.constant(math.inf))),
    elementwise("isfinite", np.isfinite, [None], result=to_bool, numpy=("isfinite",),
                scalar=lambda k, x: k.lt(k.abs(x), k.constant(math.inf))),
    OpDef("select", "elementwise", {}, _select_infer, _select_evaluate, _select_jvp,
          _select_transpose, _select_samples, batch=shifted(), numpy=("where",)),
    OpDef("cast", "elementwise", {"dtype": "dtype"}, _cast_infer, _cast_evaluate, _cast_jvp,
          _cast_transpose, _cast_samples, batch=shifted(), numpy=("astype",)),
    OpDef("stop_gradient", "elementwise", {}, elementwise_rule("stop_gradient", 1, ANY),
          _identity_evaluate, lambda ctx, t: (None,), NotLinear(),
          sample_arrays(1, -3.0, 3.0, "fib"), batch=shifted(), scalar=lambda k, x: x, flops=0),
)
