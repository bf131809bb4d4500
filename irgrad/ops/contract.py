"""Contraction: sums of products over pairs of axes of two operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ShapeError
from ..ir.dims import Size, product
from ..ir.types import F32, F64, I32, TensorType
from .attributes import read_ints
from .build import Expr
from .elementwise import add_tangents
from .movement import sample_calls, transpose
from .record import Attrs, BatchContext, Batched, Evaluation, OpDef, RuleContext, Sample, Types
from .rules import (
    NUMERIC,
    require_axis,
    require_count,
    require_kind,
    require_same_dtype,
    unequal_sizes,
)

Parts = tuple[Expr | None, ...]
Axes = tuple[int, ...]


def dot_general(
    x: Expr,
    y: Expr,
    contract: tuple[Sequence[int], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Expr:
    """Sum of products over the `contract` pairs of axes, side by side over the `batch` pairs.

    The result has the batch axes, the free axes of `x`, then those of `y`.
    """
    return x.op("dot_general", y, lhs_batch=tuple(batch[0]), rhs_batch=tuple(batch[1]),
                lhs_contract=tuple(contract[0]), rhs_contract=tuple(contract[1]))


def free_axes(rank: int, *taken: Sequence[int]) -> Axes:
    """The axes below `rank` that are neither batch nor contracted, in order."""
    return tuple(axis for axis in range(rank) if not any(axis in axes for axes in taken))


def dot_flops(types: Types, attrs: Attrs) -> Size:
    """Floating-point operations of a dot_general: 2 for each multiply and add."""
    (result,) = infer_dot(types, attrs)
    return 2 * result.size * product(types[0].shape[axis] for axis in attrs["lhs_contract"])


def infer_dot(types: Types, attrs: Attrs) -> Types:
    """The type batch ++ free axes of the left ++ free axes of the right operand."""
    op = "dot_general"
    require_count(op, types, 2)
    for position, type_ in enumerate(types):
        require_kind(op, type_, NUMERIC, position)
    dtype = require_same_dtype(op, types)
    x, y = types
    lhs = _operand_axes(x, attrs, "lhs")
    rhs = _operand_axes(y, attrs, "rhs")
    for what, ours, theirs in zip(("batch", "contract"), lhs, rhs):
        _require_pairs(types, what, ours, theirs)
    shape = [x.shape[axis] for axis in (*lhs[0], *free_axes(x.rank, *lhs))]
    shape += [y.shape[axis] for axis in free_axes(y.rank, *rhs)]
    return (TensorType(dtype, tuple(shape)),)


def _operand_axes(type_: TensorType, attrs: Attrs, side: str) -> tuple[Axes, Axes]:
    batch = read_ints("dot_general", attrs, f"{side}_batch")
    contract = read_ints("dot_general", attrs, f"{side}_contract")
    for axis in (*batch, *contract):
        require_axis("dot_general", axis, type_.rank)
    if len({*batch, *contract}) != len(batch) + len(contract):
        raise ShapeError(
            f"dot_general: expected each axis of the {side} operand {type_} at most once, got "
            f"{side}_batch {batch} and {side}_contract {contract}"
        )
    return batch, contract


def _require_pairs(types: Types, what: str, lhs: Axes, rhs: Axes) -> None:
    x, y = types
    if len(lhs) != len(rhs):
        raise ShapeError(
            f"dot_general: expected as many lhs_{what} as rhs_{what} axes, got {lhs} and {rhs}"
        )
    for a, b in zip(lhs, rhs):
        if x.shape[a] != y.shape[b]:
            raise ShapeError(
                f"dot_general: expected {what} axes of equal size, got {x} and {y} (axis {a} "
                f"against axis {b}: {unequal_sizes(x.shape[a], y.shape[b])})"
            )


def _evaluate(
    inputs: Sequence[np.ndarray], attrs: Attrs, env: Evaluation
) -> tuple[np.ndarray, ...]:
    """As one batched matrix product; floats in float64 rounded once, integers wrap around."""
    x, y = inputs
    wide = np.dtype(np.float64) if x.dtype.kind not in "iu" else x.dtype
    lhs_batch, lhs_contract = attrs["lhs_batch"], attrs["lhs_contract"]
    rhs_batch, rhs_contract = attrs["rhs_batch"], attrs["rhs_contract"]
    lhs_free = free_axes(x.ndim, lhs_batch, lhs_contract)
    rhs_free = free_axes(y.ndim, rhs_batch, rhs_contract)
    batch = [x.shape[i] for i in lhs_batch]
    rows, columns = [x.shape[i] for i in lhs_free], [y.shape[i] for i in rhs_free]
    depth = product(x.shape[i] for i in lhs_contract)
    left = x.transpose((*lhs_batch, *lhs_free, *lhs_contract)).astype(wide)
    right = y.transpose((*rhs_batch, *rhs_contract, *rhs_free)).astype(wide)
    with np.errstate(all="ignore"):
        result = np.matmul(left.reshape((*batch, product(rows), depth)),
                           right.reshape((*batch, depth, product(columns))))
        return (result.reshape((*batch, *rows, *columns)).astype(x.dtype),)


def _jvp(ctx: RuleContext, t: Parts) -> Parts:
    """d(x . y) = dx . y + x . dy."""
    x, y = ctx.inputs
    left = None if t[0] is None else t[0].op("dot_general", y, **ctx.attrs)
    right = None if t[1] is None else x.op("dot_general", t[1], **ctx.attrs)
    return (add_tangents([left, right]),)


def _transpose(ctx: RuleContext, ct: Parts, linear: tuple[bool, ...]) -> Parts:
    assert ct[0] is not None and not all(linear)
    lhs = (ctx.attrs["lhs_batch"], ctx.attrs["lhs_contract"])
    rhs = (ctx.attrs["rhs_batch"], ctx.attrs["rhs_contract"])
    x, y = ctx.inputs
    batch = len(lhs[0])
    middle = batch + len(free_axes(x.type.rank, *lhs))
    end = ct[0].type.rank
    if linear[0]:
        return (_pull_back(ct[0], y, lhs, rhs, range(middle, end), x.type.rank), None)
    return (None, _pull_back(ct[0], x, rhs, lhs, range(batch, middle), y.type.rank))


def _pull_back(
    ct: Expr,
    other: Expr,
    mine: tuple[Axes, Axes],
    theirs: tuple[Axes, Axes],
    their_part: Sequence[int],
    rank: int,
) -> Expr:
    """The cotangent of one operand: contract `ct` with the other operand's free axes.

    mine, theirs: batch and contracted axes of this and of the other operand. their_part: the axes
    of `ct` that come from the other operand. rank: of this operand. The product has the batch axes,
    this operand's free axes and the other's contracted axes in increasing order; each is then moved
    to the axis of this operand that it is paired with.
    """
    batch = range(len(mine[0]))
    summed = (tuple(their_part), free_axes(other.type.rank, *theirs))
    result = dot_general(ct, other, summed, (tuple(batch), theirs[0]))
    partner = dict(zip(theirs[1], mine[1]))
    places = (*mine[0], *free_axes(rank, *mine), *(partner[axis] for axis in sorted(partner)))
    return transpose(result, tuple(places.index(axis) for axis in range(rank)))


def _batch(
    ctx: BatchContext, operands: tuple[Expr, ...], batched: tuple[bool, ...], size: Size
) -> tuple[Batched, ...]:
    """A further pair of batch axes where both operands are batched.

    Else the batch is a free axis of its operand, which the other one is read once for; it is moved
    to the front of the result.
    """
    moved = {
        name: tuple(axis + 1 for axis in axes) if batched[name.startswith("rhs")] else axes
        for name, axes in ctx.attrs.items()
    }
    if all(batched):
        moved |= {name: (0, *moved[name]) for name in ("lhs_batch", "rhs_batch")}
    product = ctx.builder.one("dot_general", *operands, **moved)
    if all(batched):
        return ((product, True),)
    place = len(moved["lhs_batch"])
    if batched[1]:
        place += len(free_axes(operands[0].type.rank, moved["lhs_batch"], moved["lhs_contract"]))
    others = [axis for axis in range(product.type.rank) if axis != place]
    return ((transpose(product, (place, *others)), True),)


def _samples(rng: np.random.Generator) -> list[Sample]:
    """Matrix products, inner and outer products, batches at any axis, several contracted axes."""
    cases = (
        ((3, 5), (5, 4), (), (), (1,), (0,)),
        ((5, 3), (4, 5), (), (), (0,), (1,)),
        ((7,), (7,), (), (), (0,), (0,)),
        ((3,), (2, 5), (), (), (), ()),
        ((), (3,), (), (), (), ()),
        ((2, 3, 5), (2, 5, 4), (0,), (0,), (2,), (1,)),
        ((3, 2, 5), (5, 4, 2), (1,), (2,), (2,), (0,)),
        ((3, 2, 5, 4), (4, 6, 2, 3), (1,), (2,), (0, 3), (3, 0)),
        ((2, 3, 4), (3, 2, 4), (0, 1), (1, 0), (), ()),
        ((0, 5), (5, 3), (), (), (1,), (0,)),
        ((3, 0), (0, 2), (), (), (1,), (0,)),
        ((1, 1), (1, 1), (), (), (1,), (0,)),
    )
    names = ("lhs_batch", "rhs_batch", "lhs_contract", "rhs_contract")
    calls = [((x, y), dict(zip(names, axes))) for x, y, *axes in cases]
    return sample_calls(rng, calls, (F32, F64, I32))


OPS: tuple[OpDef, ...] = (
    OpDef(
        "dot_general",
        "contract",
        {"lhs_batch": "ints", "rhs_batch": "ints", "lhs_contract": "ints", "rhs_contract": "ints"},
        infer_dot,
        _evaluate,
        _jvp,
        _transpose,
        _samples,
        batch=_batch,
        flops=2,
        numpy=("dot", "matmul", "tensordot", "vecdot", "inner", "outer"),
    ),
)
