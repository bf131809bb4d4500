"""Batching rules of ops that treat each axis alike: the batch becomes axis 0, others move up.

    relu = shifted()                                 # no attribute names an axis
    reduce_sum = shifted(axes=next_axes)
    broadcast = shifted(shape=with_size, dims=after_first)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.dims import Size
from .build import Expr
from .record import Batch, BatchContext, Batched

# What an attribute becomes, given it and the size of the batch.
Change = Callable[[Any, Size], Any]


def with_batch(x: Expr, batched: bool, size: Size) -> Expr:
    """`x` itself where it is batched, else `x` repeated along a new axis 0."""
    if batched:
        return x
    shape = (size, *x.shape)
    if x.node.op == "constant":
        return x.builder.one("constant", **{**dict(x.node.attributes), "shape": shape})
    return x.builder.broadcast(x, shape, range(1, len(shape)))


def shifted(**changes: Change) -> Batch:
    """The rule of an op that treats its operands' axes alike: the same op, with batched operands.

    changes: by name of an attribute, what it becomes; the others stay.
    """

    def batch(
        ctx: BatchContext, operands: tuple[Expr, ...], batched: tuple[bool, ...], size: Size
    ) -> tuple[Batched, ...]:
        attrs = {
            name: changes[name](value, size) if name in changes else value
            for name, value in ctx.attrs.items()
        }
        spread = [with_batch(x, flag, size) for x, flag in zip(operands, batched, strict=True)]
        return tuple((result, True) for result in ctx.builder.emit(ctx.op, spread, **attrs))

    return batch


def next_axis(axis: int, size: Size) -> int:
    """An axis, one further up."""
    return axis + 1


def next_axes(axes: Sequence[int], size: Size) -> tuple[int, ...]:
    """Axes, each one further up."""
    return tuple(axis + 1 for axis in axes)


def after_first(axes: Sequence[int], size: Size) -> tuple[int, ...]:
    """A list that places every axis, each one further up and behind the batch."""
    return (0, *next_axes(axes, size))


def with_size(sizes: Sequence[Size], size: Size) -> tuple[Size, ...]:
    """An entry for each axis, led by the size of the batch."""
    return (size, *sizes)


def with_zero(entries: Sequence[Size], size: Size) -> tuple[Size, ...]:
    """An entry for each axis, led by 0 for the batch."""
    return (0, *entries)


def with_one(entries: Sequence[Size], size: Size) -> tuple[Size, ...]:
    """An entry for each axis, led by 1 for the batch."""
    return (1, *entries)
