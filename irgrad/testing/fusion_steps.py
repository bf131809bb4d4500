"""Steps that grow what fusion and lowering work on: many ops on few related shapes.

Sizes may be named: nothing here needs them to be numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir.dims import Size
from ..ir.types import BOOL, F32, F64, I32, I64, DType, TensorType
from ..ops.build import Expr
from ..ops.contract import dot_general
from .growth import Dropped, Growth

UNARY = ("tanh", "neg", "sin", "relu", "sigmoid", "abs", "erf", "atan", "square", "sign")
BINARY = ("add", "add", "sub", "mul", "mul", "maximum", "minimum", "atan2")
FLOATS = (F32, F32, F32, F64)


@dataclass(frozen=True, slots=True)
class Fabric:
    """The shapes of one graph, all made of a few sizes, and its main dtype."""

    shapes: tuple[tuple[Size, ...], ...]
    dtype: DType


def fabric(g: Growth, sizes: Sequence[Size]) -> Fabric:
    """Shapes of rank 0 to 3 over two or three sizes."""
    n, m = (g.choose(sizes) for _ in range(2))
    k = g.choose(sizes)
    shapes: tuple[tuple[Size, ...], ...] = (
        (), (n,), (m,), (n, m), (n, m), (m, n), (n, n), (k, n, m), (n, m, k),
    )  # fmt: skip
    return Fabric(shapes, g.choose(FLOATS))


def start(g: Growth, fabric: Fabric, count: int) -> None:
    """Inputs: one of rank 2 of the main dtype, and others."""
    g.input(TensorType(fabric.dtype, fabric.shapes[3]))
    for _ in range(count):
        dtype = fabric.dtype if g.chance(0.8) else g.choose((F32, F64, I32, I64, BOOL))
        g.input(TensorType(dtype, g.choose(fabric.shapes)))


def step(g: Growth, fabric: Fabric) -> Expr:
    """One more value."""
    return g.choose(STEPS)(g, fabric)


def _value(g: Growth, shape: tuple[Size, ...] | None = None, rank: int | None = None) -> Expr:
    """A float value, of a shape or a rank."""
    fitting = [
        v
        for v in g.values
        if g.graph.type(v).dtype.is_float
        and (shape is None or g.graph.type(v).shape == shape)
        and (rank is None or g.graph.type(v).rank >= rank)
    ]
    if not fitting:
        raise Dropped
    late = fitting[-4:] if g.chance(0.6) else fitting
    return g.builder.wrap(g.choose(late))


def _pair(g: Growth) -> tuple[Expr, Expr]:
    """Two values of one type; the second may be repeated or transposed to fit."""
    x = _value(g)
    for _ in range(3):
        y = _value(g)
        if y.shape != x.shape:
            fitted = _fitted(g, y, x)
            if fitted is None:
                continue
            y = fitted
        return x, y if y.dtype is x.dtype else y.op("cast", dtype=x.dtype)
    return x, x


def _fitted(g: Growth, y: Expr, like: Expr) -> Expr | None:
    """`y` moved to the shape of another value, None where no simple movement leads there."""
    shape, rank = like.shape, like.type.rank
    if y.type.rank == rank and y.shape[::-1] == shape:
        return y.op("transpose", permutation=tuple(range(rank))[::-1])
    dims: list[int] = []
    for size in y.shape:
        options = [
            axis for axis in range(dims[-1] + 1 if dims else 0, rank)
            if shape[axis] == size
        ]  # fmt: skip
        if not options:
            return None
        dims.append(g.choose(options[:2]))
    return y.builder.broadcast(y, shape, dims)


def _unary(g: Growth, fabric: Fabric) -> Expr:
    return _value(g).op(g.choose(UNARY))


def _binary(g: Growth, fabric: Fabric) -> Expr:
    x, y = _pair(g)
    return x.op(g.choose(BINARY), y)


def _quotient(g: Growth, fabric: Fabric) -> Expr:
    x, y = _pair(g)
    return x / (y.op("abs") + 1)


def _softmax(g: Growth, fabric: Fabric) -> Expr:
    """Two reductions that one kernel can chain."""
    x = _value(g, rank=1)
    axes, kept = (x.type.rank - 1,), range(x.type.rank - 1)
    top = x.builder.broadcast(x.op("reduce_max", axes=axes), x.shape, tuple(kept))
    e = (x - top).op("exp")
    return e / x.builder.broadcast(e.op("reduce_sum", axes=axes), x.shape, tuple(kept))


def _reduce(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=1)
    rank = x.type.rank
    axes = tuple(axis for axis in range(rank) if g.chance(0.5)) or (rank - 1,)
    name = g.choose(("reduce_sum", "reduce_sum", "reduce_max", "reduce_min"))
    return x.op(name, axes=axes)


def _position(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=1)
    found = x.op(g.choose(("argmax", "argmin")), axis=int(g.rng.integers(x.type.rank)))
    return found.op("cast", dtype=fabric.dtype)


def _any(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=1)
    held = x.gt(0).op(g.choose(("reduce_any", "reduce_all")), axes=(x.type.rank - 1,))
    return held.op("cast", dtype=x.dtype)


def _select(g: Growth, fabric: Fabric) -> Expr:
    x, y = _pair(g)
    return x.gt(y).op("select", x, y * 2)


def _transpose(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=2)
    order = tuple(int(axis) for axis in g.rng.permutation(x.type.rank))
    return x.op("transpose", permutation=order)


def _reshape(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g)
    same = [s for s in fabric.shapes if TensorType(x.dtype, s).size == x.type.size]
    options = [*same, (x.type.size,), (1, *x.shape), (*x.shape, 1)]
    return x.op("reshape", shape=g.choose(options))


def _dot(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=2)
    axis = g.choose((x.type.rank - 1, 0))
    y = _value(g, rank=1)
    options = [i for i, size in enumerate(y.shape) if size == x.shape[axis]]
    if not options or y.dtype is not x.dtype:
        raise Dropped
    return dot_general(x, y, ((axis,), (g.choose(options),)))


def _window(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=1)
    rank = x.type.rank
    kind = g.choose(("slice", "flip", "pad", "concatenate"))
    if kind == "flip":
        return x.op("flip", axes=(int(g.rng.integers(rank)),))
    if kind == "concatenate":
        return x.op("concatenate", x.op("tanh"), axis=int(g.rng.integers(rank)))
    zeros, ones = (0,) * rank, (1,) * rank
    if kind == "pad":
        return x.op("pad", low=ones, high=zeros, interior=zeros)
    return x.op("slice", start=ones, stop=x.shape, step=ones)


def _index(g: Growth, fabric: Fabric) -> Expr:
    x = _value(g, rank=1)
    axis = int(g.rng.integers(x.type.rank))
    return x + x.builder.one("iota", shape=x.shape, axis=axis, dtype=x.dtype)


def _size(g: Growth, fabric: Fabric) -> Expr:
    """A mean, whose divisor is a size used as a number."""
    x = _value(g, rank=1)
    total = x.op("reduce_sum", axes=(0,))
    count = x.builder.one("dim_size", size=x.shape[0]).op("cast", dtype=x.dtype)
    return total / x.builder.broadcast(count + 1, total.shape, ())


STEPS: tuple[Callable[[Growth, Fabric], Expr], ...] = (
    _unary, _unary, _binary, _binary, _binary, _quotient, _softmax, _reduce, _reduce, _position,
    _any, _select, _transpose, _reshape, _dot, _window, _index, _size,
)  # fmt: skip
