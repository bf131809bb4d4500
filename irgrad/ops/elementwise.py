"""How records of elementwise ops are made: derivatives from partials, samples from a domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir.types import DType
from .batching import shifted
from .build import Expr
from .record import (
    Attrs,
    Evaluation,
    Jvp,
    NotDifferentiable,
    NotLinear,
    OpDef,
    RuleContext,
    Sample,
    Samples,
    Transpose,
)
from .rules import NUMERIC, elementwise_rule

# The derivative of the result by one operand, from (operands, result); None where it is zero.
Partial = Callable[..., Expr | None]


def add_tangents(parts: Sequence[Expr | None]) -> Expr | None:
    """The sum of tangents, None where all are zero."""
    total: Expr | None = None
    for part in parts:
        if part is not None:
            total = part if total is None else total + part
    return total


def partials_jvp(partials: Sequence[Partial | None], guarded: bool) -> Jvp:
    """The tangent rule sum_i t_i * partial_i(operands, result).

    guarded: multiply by `scale_or_zero`, for ops whose derivative is infinite or NaN on the border
    of their domain.
    """

    def jvp(ctx: RuleContext, tangents: tuple[Expr | None, ...]) -> tuple[Expr | None, ...]:
        parts: list[Expr | None] = []
        for tangent, partial in zip(tangents, partials):
            if tangent is None or partial is None:
                continue
            slope = partial(*ctx.inputs, ctx.outputs[0])
            if slope is not None:
                parts.append(tangent.op("scale_or_zero", slope) if guarded else tangent * slope)
        return (add_tangents(parts),)

    return jvp


def numpy_meaning(function: Callable[..., np.ndarray], dtype_from: str = "operand") -> Any:
    """The NumPy meaning of an op whose result has the dtype of its operands ("operand") or bool."""

    def evaluate(
        inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
    ) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            result = np.asarray(function(*inputs))
        dtype = np.dtype(bool) if dtype_from == "bool" else inputs[-1].dtype
        return (result.astype(dtype, copy=False),)

    return evaluate


def sample_arrays(
    arity: int, low: float, high: float, dtypes: str = "f"
) -> Samples:
    """Calls on small random arrays with values between low and high, for each kind in `dtypes`.

    Shapes 0-d, size 0, size 1 and odd sizes occur; integers are drawn from the rounded range.
    """

    def samples(rng: np.random.Generator) -> list[Sample]:
        calls = []
        for shape in ((), (0,), (1,), (3, 5), (37,)):
            for dtype in _dtypes_of(dtypes):
                arrays = []
                for _ in range(arity):
                    values: np.ndarray = np.asarray(rng.uniform(low, high, shape))
                    if dtype.kind == "b":
                        values = values > (low + high) / 2
                    elif dtype.kind in "iu":
                        values = np.rint(values)
                    arrays.append(np.asarray(values, dtype=dtype))
                calls.append(Sample(tuple(arrays)))
        return calls

    return samples


def _dtypes_of(kinds: str) -> list[np.dtype]:
    table = {"f": ("f4", "f8"), "i": ("i4", "i8"), "b": ("?",), "u": ("u1",)}
    return [np.dtype(name) for kind in kinds if kind in table for name in table[kind]]


def elementwise(
    name: str,
    function: Callable[..., np.ndarray],
    partials: Sequence[Partial | None] | NotDifferentiable,
    *,
    kinds: str = "f",
    result: Callable[[DType], DType] | None = None,
    guarded: bool = False,
    scalar: Callable[..., Any] | None = None,
    transpose: Transpose | NotLinear = NotLinear(),
    jvp: Jvp | None = None,
    domain: tuple[float, float] = (-3.0, 3.0),
    flops: int = 1,
    numpy: tuple[str, ...] = (),
    arity: int | None = None,
    samples: Samples | None = None,
) -> OpDef:
    """The record of an elementwise op.

    function: the NumPy meaning on arrays. partials: one for each operand, or NotDifferentiable.
    kinds: dtype kinds accepted. domain: the range that generated tests draw operands from, where
    no `samples` are given.
    The other parameters are fields of OpDef or parts of `partials_jvp`.
    """
    count = arity if arity is not None else len(partials)  # type: ignore[arg-type]
    if jvp is not None:
        rule: Jvp | NotDifferentiable = jvp
    elif isinstance(partials, NotDifferentiable):
        rule = partials
    else:
        rule = partials_jvp(partials, guarded)
    return OpDef(
        name=name,
        family="elementwise",
        attributes={},
        infer=elementwise_rule(name, count, kinds, result),
        evaluate=numpy_meaning(function, "bool" if result else "operand"),
        jvp=rule,
        transpose=transpose,
        samples=samples
        or sample_arrays(count, *domain, dtypes="".join(k for k in kinds if k in "fib")),
        batch=shifted(),
        scalar=scalar,
        flops=flops,
        numpy=numpy,
    )


def linear_jvp(op: str) -> Jvp:
    """The tangent rule of a linear op of one operand: the op itself."""

    def jvp(ctx: RuleContext, tangents: tuple[Expr | None, ...]) -> tuple[Expr | None, ...]:
        return (None if tangents[0] is None else tangents[0].op(op, **ctx.attrs),)

    return jvp


__all__ = ["NUMERIC", "Partial", "add_tangents", "elementwise", "linear_jvp", "numpy_meaning",
           "partials_jvp", "sample_arrays"]
