"""How a whole derivative is laid out: its directions, and the blocks that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import optree

from .differentiation import ActivePart
from .errors import DifferentiationError, brief
from .ir.dims import Size, lower_bound
from .ir.types import DType, TensorType
from .ops.build import Expr
from .ops.movement import reshape, slice_axes, transpose
from .subgraph import fail, leaf_type
from .tracing.trees import flatten_object, unflatten_object

Name = Literal["jacobian", "hessian"]
Mode = Literal["forward", "reverse"]
Types = Sequence[TensorType]


@dataclass(frozen=True, slots=True)
class Layout:
    """The directions of a derivative, and the trees of its blocks.

    parts: the arguments to differentiate by. columns: the types of their leaves. outputs: the tree
    of the function's result. rows: the types of its leaves. forward: the mode. leading: whether
    directions come before what they become, in the axes of a block and in the order of the blocks;
    that is so for the rows of a reverse jacobian, and for a hessian, which is symmetric.
    """

    parts: list[ActivePart]
    columns: Types
    outputs: optree.PyTreeSpec
    rows: Types
    forward: bool
    leading: bool

    @property
    def active(self) -> list[int]:
        """The positions of the leaves to differentiate by."""
        return [position for part in self.parts for position in part.positions]

    @property
    def basis(self) -> Types:
        """The types of the values whose elements are the directions."""
        return self.columns if self.forward else self.rows

    @property
    def other(self) -> Types:
        """The types of what the directions become."""
        return self.rows if self.forward else self.columns

    @property
    def count(self) -> Size:
        """The number of directions."""
        return _total(self.basis)

    def blocks(self, results: Sequence[Any], cut: Cut) -> list[Any]:
        """The blocks by row and then by column, from what the directions became."""
        found = {}
        offset: Size = 0
        for i, one in enumerate(self.basis):
            for j, (other, result) in enumerate(zip(self.other, results, strict=True)):
                dtype = (other if self.forward else one).dtype
                block = Block(offset, one.size, one.shape, other.shape, self.leading, dtype)
                found[(i, j) if self.leading else (j, i)] = cut(result, block)
            offset = offset + one.size
        return [found[key] for key in sorted(found)]

    def tree(self, blocks: Sequence[Any], single: bool) -> Any:
        """Blocks, by row and then by column, as the user's trees.

        single: whether there is one argument, whose tree is not put into a tuple.
        """
        rest = iter(blocks)
        rows = []
        for _ in self.rows:
            trees = tuple(
                unflatten_object(part.tree, [next(rest) for _ in part.positions])
                for part in self.parts
            )
            rows.append(trees[0] if single else trees)
        return unflatten_object(self.outputs, rows)


def make_layout(
    name: Name,
    parts: list[ActivePart],
    args: tuple[Any, ...],
    outputs: optree.PyTreeSpec,
    rows: Types,
    mode: Mode | None,
) -> Layout:
    """The layout of derivatives by parts of arguments; DifferentiationError for other than reals.

    outputs, rows: the tree of the result and the types of its leaves.
    """
    leaves = flatten_object(args)[0]
    columns = [leaf_type(leaves[position]) for part in parts for position in part.positions]
    for type_ in columns:
        if not type_.dtype.is_float:
            fail(DifferentiationError(
                f"{name}: expected arguments of float type to differentiate by, got {type_}"
            ))
    for type_, path in zip(rows, outputs.paths()):
        if not type_.dtype.is_float:
            entries = "".join(f"[{brief(entry)}]" for entry in path)
            fail(DifferentiationError(
                f"{name}: expected outputs of float type, got {type_} as the result{entries}"
            ))
    fewer_rows = lower_bound(_total(columns) - _total(rows) - 1)
    forward = mode == "forward" or (mode is None and (fewer_rows is None or fewer_rows < 0))
    return Layout(parts, columns, outputs, rows, forward, name == "hessian" or not forward)


def _total(types: Types) -> Size:
    """The number of elements of several values."""
    total: Size = 0
    for type_ in types:
        total = total + type_.size
    return total


class Block(NamedTuple):
    """Where a block lies among the directions, and how it is to be laid out.

    offset, size: its directions. axes: what they are the elements of. shape: of what a direction
    becomes. leading: whether `axes` come first. dtype: of the block.
    """

    offset: Size
    size: Size
    axes: tuple[Size, ...]
    shape: tuple[Size, ...]
    leading: bool
    dtype: DType


Cut = Callable[[Any, Block], Any]


def cut_expr(x: Expr, block: Block) -> Expr:
    """A block of a value whose axis 0 counts directions."""
    none = (0,) * len(block.shape)
    first, last = block.offset, block.offset + block.size
    if block.leading:
        part = slice_axes(x, (first, *none), (last, *block.shape))
        shape = (*block.axes, *block.shape)
    else:
        moved = transpose(x, (*range(1, x.type.rank), 0))
        part = slice_axes(moved, (*none, first), (*block.shape, last))
        shape = (*block.shape, *block.axes)
    part = reshape(part, shape)
    return part if part.dtype is block.dtype else part.op("cast", dtype=block.dtype)


def cut_array(x: np.ndarray, block: Block) -> np.ndarray:
    """A block of an array whose axis 0 counts directions."""
    part = x[block.offset : block.offset + block.size]  # type: ignore[misc]
    shape: tuple[Any, ...] = (*block.axes, *block.shape)
    if not block.leading:
        part = np.moveaxis(part, 0, -1)
        shape = (*block.shape, *block.axes)
    return np.array(part, block.dtype.numpy, order="C").reshape(shape)
