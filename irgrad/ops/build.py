"""Building typed nodes: the handle that derivative rules, rewrites and tracing all use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DTypeError, LimitError
from ..ir.dims import Size
from ..ir.graph import Graph, Node, Value, attributes
from ..ir.location import Location
from ..ir.spec import INT_MAX
from ..ir.types import DType, TensorType
from .record import OpDef


class Builder:
    """Adds nodes to a graph with inferred types.

    locations: given to each new node; set it before emitting what belongs to one source line.
    """

    def __init__(
        self, graph: Graph, registry: Mapping[str, OpDef], locations: tuple[Location, ...] = ()
    ) -> None:
        self.graph = graph
        self.registry = registry
        self.locations = locations

    def emit(self, op: str, operands: Sequence[Expr], **attrs: Any) -> tuple[Expr, ...]:
        """Add one node; returns an expression for each result.

        Raises ShapeError or DTypeError where the op refuses its operands, LimitError where a size
        of a result does not fit 64 bits.
        """
        types = self.registry[op].infer(tuple(x.type for x in operands), attrs)
        for type_ in types:
            if any(isinstance(size, int) and size > INT_MAX for size in type_.shape):
                raise LimitError(f"{op}: expected a result whose sizes fit 64 bits, got {type_}")
        key = self.graph.add(
            op, [x.value for x in operands], types, attributes(attrs), "", self.locations
        )
        return tuple(Expr(self, Value(key, i)) for i in range(len(types)))

    def one(self, op: str, *operands: Expr, **attrs: Any) -> Expr:
        """Add a node that has a single result and return that."""
        (result,) = self.emit(op, operands, **attrs)
        return result

    def wrap(self, value: Value) -> Expr:
        """The expression for a value of the graph."""
        return Expr(self, value)

    def constant(self, value: float | int | bool, type_: TensorType) -> Expr:
        """A tensor of which every element is `value`, converted to the dtype of `type_`."""
        return self.one(
            "constant", value=as_scalar(value, type_.dtype), dtype=type_.dtype, shape=type_.shape
        )

    def zeros(self, type_: TensorType) -> Expr:
        """The zero of a type."""
        return self.constant(0, type_)

    def broadcast(self, x: Expr, shape: Sequence[Size], dims: Sequence[int]) -> Expr:
        """`x` with its axis i placed at axis `dims[i]` of `shape`, repeated along the others."""
        return self.one("broadcast", x, shape=tuple(shape), dims=tuple(dims))


def as_scalar(value: Any, dtype: DType) -> bool | int | float:
    """A Python number as the canonical attribute of a constant of `dtype` (rounded to it).

    Raises DTypeError for a complex dtype, of which there are no constants.
    """
    if dtype.kind == "c":
        raise DTypeError(f"constant: expected a bool, integer or float dtype, got {dtype}")
    number = dtype.numpy.type(value)
    if dtype.kind == "b":
        return bool(number)
    return int(number) if dtype.is_integer else float(number)


@dataclass(frozen=True, slots=True, eq=False)
class Expr:
    """A value of a graph under construction, with operators between equal types.

    A Python number as the other operand becomes a constant of this expression's type.
    """

    builder: Builder
    value: Value

    @property
    def type(self) -> TensorType:
        return self.builder.graph.type(self.value)

    @property
    def shape(self) -> tuple[Size, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def node(self) -> Node:
        return self.builder.graph[self.value.node]

    def like(self, value: float | int | bool) -> Expr:
        """A constant of this expression's type."""
        return self.builder.constant(value, self.type)

    def _with(self, op: str, other: Expr | float, swap: bool = False) -> Expr:
        right = other if isinstance(other, Expr) else self.like(other)
        return self.builder.one(op, right, self) if swap else self.builder.one(op, self, right)

    def __add__(self, other: Expr | float) -> Expr:
        return self._with("add", other)

    __radd__ = __add__

    def __sub__(self, other: Expr | float) -> Expr:
        return self._with("sub", other)

    def __rsub__(self, other: Expr | float) -> Expr:
        return self._with("sub", other, swap=True)

    def __mul__(self, other: Expr | float) -> Expr:
        return self._with("mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Expr | float) -> Expr:
        return self._with("div", other)

    def __rtruediv__(self, other: Expr | float) -> Expr:
        return self._with("div", other, swap=True)

    def __neg__(self) -> Expr:
        return self.builder.one("neg", self)

    def eq(self, other: Expr | float) -> Expr:
        return self._with("eq", other)

    def gt(self, other: Expr | float) -> Expr:
        return self._with("gt", other)

    def lt(self, other: Expr | float) -> Expr:
        return self._with("lt", other)

    def op(self, name: str, *others: Expr, **attrs: Any) -> Expr:
        """The op `name` applied to this expression and others."""
        return self.builder.one(name, self, *others, **attrs)
