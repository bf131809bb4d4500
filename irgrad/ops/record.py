"""The record that says everything about one op, and the values that stand for "there is none"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from ..ir.dims import Size
from ..ir.types import TensorType

if TYPE_CHECKING:
    from ..ir.graph import Graph
    from .build import Builder, Expr

Types = tuple[TensorType, ...]
Attrs = Mapping[str, Any]


class Evaluation(Protocol):
    """What an op's NumPy meaning may ask of the interpreter that runs it."""

    dims: Mapping[str, int]

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a region on arrays."""
        ...


@dataclass(frozen=True, slots=True)
class NotDifferentiable:
    """Declares that an op has no derivative; asking for one raises an error with `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class DifferentiatedByEngine:
    """Declares that the differentiation engine treats an op itself, by name.

    Its derivative needs whole regions differentiated or transposed, which no rule over single nodes
    can do.
    """


@dataclass(frozen=True, slots=True)
class NotLinear:
    """Declares that an op never occurs in the linear part of a program."""


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a derivative rule sees of the node that it is applied to.

    inputs: the operands; in a transpose, those that are linear may be used for their type alone.
    outputs: the results (primal values, in a jvp). attrs: the node's attributes.
    """

    builder: Builder
    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]
    attrs: Attrs


@dataclass(frozen=True, slots=True)
class BatchedByEngine:
    """Declares that the batching engine treats an op itself, by name.

    It holds regions, which are batched as whole graphs.
    """


@dataclass(frozen=True, slots=True)
class NeverBatched:
    """Declares that an op has no operands, so that there is nothing to batch it by."""


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a batching rule sees of the node that it is applied to: its op and its attributes.

    builder: adds to the graph of the batched values.
    """

    builder: Builder
    op: str
    attrs: Attrs


class Bound(NamedTuple):
    """A size that must be >= 0 for an op to be defined: the axis, what it is, and the size."""

    axis: int
    meaning: str
    size: Size


def no_bounds(types: Types, attrs: Attrs) -> Sequence[Bound]:
    """The bounds of an op that takes operands of any size."""
    return ()


# A value, and whether its axis 0 counts the elements of a batch.
Batched = tuple["Expr", bool]
Infer = Callable[[Types, Attrs], Types]
Evaluate = Callable[[Sequence[np.ndarray], Attrs, Evaluation], Sequence[np.ndarray]]
# Tangents and cotangents are None where they are zero.
Jvp = Callable[[RuleContext, "tuple[Expr | None, ...]"], "tuple[Expr | None, ...]"]
Transpose = Callable[
    [RuleContext, "tuple[Expr | None, ...]", tuple[bool, ...]], "tuple[Expr | None, ...]"
]
# The results, given the operands, which of them are batched (one at least), and the batch's size.
Batch = Callable[
    [BatchContext, "tuple[Expr, ...]", tuple[bool, ...], Size], "tuple[Batched, ...]"
]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of an op for generated tests: operand arrays and attributes."""

    operands: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


Samples = Callable[[np.random.Generator], list[Sample]]
Bounds = Callable[[Types, Attrs], Sequence[Bound]]


@dataclass(frozen=True, slots=True)
class OpDef:
    """Everything about one op.

    name: in IR text. family: "elementwise", "movement", "reduce", "contract", "structured".
    attributes: name -> kind, one of bool int ints size sizes dtype scalar str graph slices.
    infer: result types from operand types and attributes; raises ShapeError or DTypeError.
    evaluate: the NumPy meaning. jvp: tangents of the results from tangents of the operands, in IR
    ops. transpose: cotangents of the linear operands from those of the results. batch: the op on
    each element of a batch at once, in IR ops. scalar: for elementwise ops, the kernel expression
    over kernel primitives; None where the op itself is one. flops: floating-point operations for
    each element of the result (of the operand, for a reduction). samples: calls for the generated
    tests. numpy: names in NumPy and the array API. effect: True for an op that is kept for what it
    does. bounds: what must be >= 0 of the sizes of operands and attributes, where these are names;
    `infer` refuses numbers that are not.
    """

    name: str
    family: str
    attributes: Mapping[str, str]
    infer: Infer
    evaluate: Evaluate
    jvp: Jvp | NotDifferentiable | DifferentiatedByEngine
    transpose: Transpose | NotLinear
    samples: Samples
    batch: Batch | BatchedByEngine | NeverBatched = field(kw_only=True)
    scalar: Callable[..., Any] | None = None
    flops: int = 1
    numpy: tuple[str, ...] = ()
    effect: bool = False
    bounds: Bounds = no_bounds
