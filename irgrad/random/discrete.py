"""Choices: of categories, of integers, and of an order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, LimitError, ShapeError, brief
from ..ir.dims import Size
from ..ir.types import F32, F64, I64, U32, TensorType
from ..ops.build import Expr
from ..ops.movement import broadcast, reshape, slice_axes
from ..tracing.context import Trace
from ..tracing.functions.elementwise import chosen
from ..tracing.functions.operands import as_axis
from ..tracing.tracer import Tracer
from .continuous import standard_gumbel
from .draws import Key, as_key, as_shape, draw, drawn
from .uniforms import randint

MAX_PERMUTED = 1 << 31


@drawn
def categorical(
    t: Trace, key: Any, logits: Any, axis: Any = -1, shape: Any = ()
) -> Tracer:
    """Positions along an axis, i64, with probabilities softmax(logits).

    The largest of the logits plus Gumbel noise (Gumbel-max), which is the same on every target, so
    the choice is too, wherever the logits are. shape: of independent draws, in front of the axes of
    `logits` without `axis`.
    """
    source = as_key(t, "categorical", key)
    values = t.lift(logits).expr
    if values.dtype not in (F32, F64):
        raise DTypeError(f"categorical: expected logits of f32 or f64, got {values.type}")
    place = as_axis("categorical", axis, values.type.rank)
    front = as_shape(t, "categorical", shape)
    return t.wrap(_most_likely(t, source, values, place, front))


def _most_likely(
    t: Trace, key: Key, logits: Expr, axis: int, front: tuple[Size, ...]
) -> Expr:
    sizes = (*front, *logits.shape)
    wide = broadcast(logits, sizes, range(len(front), len(sizes)))
    noise = standard_gumbel(draw(t, key, sizes), logits.dtype)
    # Not a sum that could take in a product which the logits are: their rounding decides.
    total = wide.op("mul_add", wide.like(1.0), noise)
    return total.op("argmax", axis=len(front) + axis)


@drawn
def choice(
    t: Trace, key: Any, n: Any, shape: Any = (), replace: Any = True, p: Any = None
) -> Tracer:
    """Numbers of 0, ..., n-1, i64: uniform, or with the probabilities `p`.

    n: a size; replace: whether a number may be chosen again, which all are with `p`.
    p: f32[n] or f64[n], at least 0; they need not sum to 1.
    Raises ArgumentError for arrays in the place of n: choose positions, and index with them.
    """
    source = as_key(t, "choice", key)
    count = _as_count(t, "choice", n)
    sizes = as_shape(t, "choice", shape)
    if not isinstance(replace, (bool, np.bool_)):
        raise ArgumentError(f"choice: expected replace to be True or False, got {brief(replace)}")
    if p is not None:
        if not replace:
            raise ArgumentError("choice: expected replace=True with p, got False")
        weights = t.lift(p).expr
        if weights.dtype not in (F32, F64):
            raise DTypeError(f"choice: expected p of f32 or f64, got {weights.type}")
        if weights.shape != (count,):
            raise ShapeError(f"choice: expected p of shape [{count}], got {weights.type}")
        return t.wrap(_most_likely(t, source, weights.op("stepped_log"), 0, sizes))
    if replace:
        if isinstance(count, int) and count < 1:
            raise ArgumentError(f"choice: expected n of at least 1, got {brief(n)}")
        return randint(t.lift(key), sizes, 0, n, np.int64)
    total = TensorType(I64, sizes).size
    if not isinstance(total, int) or not isinstance(count, int) or total > count:
        raise ShapeError(
            f"choice: expected at most n = {count} elements without replacement, got {total}"
        )
    order = _order(t, source, count)
    return t.wrap(reshape(slice_axes(order, (0,), (total,)), sizes))


@drawn
def permutation(t: Trace, key: Any, n: Any) -> Tracer:
    """The numbers 0, ..., n-1 in a random order, i64[n].

    Each is found from its position alone, without a sort, by a bijection that a key chooses (see
    the op `shuffled_index`). n: a size, known or symbolic, up to 2**31.
    Raises ArgumentError for an array: index it with the permutation of its length.
    """
    source = as_key(t, "permutation", key)
    return t.wrap(_order(t, source, _as_count(t, "permutation", n)))


def _as_count(t: Trace, function: str, n: Any) -> Size:
    if isinstance(n, (Tracer, np.ndarray, list, tuple)):
        raise ArgumentError(
            f"{function}: expected a number of elements, got an array; draw positions of its "
            "length, and index NumPy's arrays with them: there is no gather of traced values"
        )
    count = t.size(n, function)
    if isinstance(count, int) and count < 0:
        raise ShapeError(f"{function}: expected a size of at least 0, got {brief(n)}")
    return count


def _order(t: Trace, key: Key, n: Size) -> Expr:
    if isinstance(n, int) and n > MAX_PERMUTED:
        raise LimitError(f"permutation: expected at most 2**31 elements, got {n}")
    words = draw(t, key, ())
    index = t.builder.one("iota", shape=(n,), axis=0, dtype=U32)
    scalars = (*_grid(t, n), words.word0, words.word1)
    operands = [broadcast(x, (n,), ()) for x in scalars]
    return index.op("shuffled_index", *operands).op("cast", dtype=I64)


def _grid(t: Trace, n: Size) -> tuple[Expr, Expr]:
    """n, and half the number of its bits: the columns' logarithm in a grid that is near square."""
    scalar = TensorType(U32, ())
    if isinstance(n, int):
        width = max((n.bit_length() - 1) // 2, 1)
        return t.constant(n, scalar), t.constant(width, scalar)
    size = t.builder.one("dim_size", size=n)
    width_expr = t.constant(1, scalar)
    for half in range(2, 16):
        more = size.op("ge", size.like(4**half))
        width_expr = width_expr + chosen(more, width_expr.like(1), width_expr.like(0))
    return size.op("cast", dtype=U32), width_expr

