"""Scalar expressions of kernels: statements by scope, and the builder that ops' records use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir.dims import Dim, Size
from ..ir.graph import Node
from ..ir.location import Location
from ..ir.types import BOOL, DTYPES, I64, DType
from ..kernel.ir import Affine, Let, Load, Statement, literal_text
from ..ops.build import as_scalar
from ..ops.record import OpDef

PREDICATES = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "isnan"})


@dataclass(slots=True)
class Scope:
    """Statements of one body under construction, with the values already computed there."""

    statements: list[Statement] = field(default_factory=list)
    known: dict[object, str] = field(default_factory=dict)


class Names:
    """Fresh names of a kernel's values, with the dtype of each.

    origin: the source line that is being lowered.
    """

    def __init__(self) -> None:
        self.dtypes: dict[str, str] = {}
        self.origin: Location | None = None

    def fresh(self, dtype: str) -> str:
        """A new name of a dtype."""
        name = f"v{len(self.dtypes)}"
        self.dtypes[name] = dtype
        return name


class Scalars:
    """Kernel primitives as methods, for the `scalar` expressions of ops' records.

    `constant(number)` has the dtype of the op's first operand unless it names one; `cast(x, dtype)`
    and `bitcast(x, dtype)` name their own. dtype: that of the first operand.
    Every other attribute is a primitive; a trailing underscore is dropped (`and_`).
    """

    def __init__(self, scope: Scope, names: Names, dtype: DType) -> None:
        self._scope = scope
        self._names = names
        self.dtype = dtype

    def constant(self, value: float | int | bool, dtype: DType | None = None) -> str:
        return constant(self._scope, self._names, value, dtype or self.dtype)

    def cast(self, x: str, dtype: DType | str) -> str:
        name = dtype.name if isinstance(dtype, DType) else dtype
        return let(self._scope, self._names, "cast", (x,), name)

    def bitcast(self, x: str, dtype: DType) -> str:
        return let(self._scope, self._names, "bitcast", (x,), dtype.name)

    def __getattr__(self, primitive: str):  # type: ignore[no-untyped-def]
        op = primitive.rstrip("_")

        def apply(*operands: str) -> str:
            dtype = self._names.dtypes[operands[-1]]
            if op in PREDICATES:
                dtype = BOOL.name
            return let(self._scope, self._names, op, operands, dtype)

        return apply


def let(
    scope: Scope, names: Names, op: str, operands: tuple[str, ...], dtype: str, value: object = None
) -> str:
    """A primitive's result, computed once for each scope."""
    key = (op, operands, dtype, literal_text(value))
    if key not in scope.known:
        name = names.fresh(dtype)
        scope.statements.append(Let(name, op, operands, dtype, value, names.origin))  # type: ignore[arg-type]
        scope.known[key] = name
    return scope.known[key]


def constant(scope: Scope, names: Names, value: float | int | bool, dtype: DType) -> str:
    """A literal."""
    return let(scope, names, "constant", (), dtype.name, as_scalar(value, dtype))


def size_value(scope: Scope, names: Names, size: Size, dtype: DType = I64) -> str:
    """A size as a number of an integer dtype, of which a narrow one keeps the low bits."""
    if isinstance(size, int):
        return constant(scope, names, size, dtype)
    number = let(scope, names, "constant", (), I64.name, size)
    return number if dtype is I64 else let(scope, names, "cast", (number,), dtype.name)


def generated(scope: Scope, names: Names, node: Node, dtype: DType) -> str:
    """The value of a constant or a dim_size, the same at every point."""
    if node.op == "dim_size":
        return size_value(scope, names, node.attribute("size"))
    return constant(scope, names, node.attribute("value"), dtype)


def start_scalar(scope: Scope, names: Names, kind: str, dtype: DType, points: Size) -> str:
    """What an accumulation over so many points starts from (see `start_value`)."""
    start = constant(scope, names, start_value(kind, dtype, points == 0), dtype)
    if not isinstance(points, Dim) or not dtype.is_float or kind != "sum":
        return start
    zero = let(scope, names, "eq", (size_value(scope, names, points),
                                    constant(scope, names, 0, I64)), BOOL.name)
    empty = constant(scope, names, start_value(kind, dtype, True), dtype)
    return let(scope, names, "select", (zero, empty, start), dtype.name)


def start_value(kind: str, dtype: DType, empty: bool) -> bool | int | float:
    """What an accumulation starts from: a value that changes nothing, and the result of an empty
    one.

    A sum of floats starts from -0.0, which keeps the sign of a sum of -0.0.
    """
    if kind in ("any", "all"):
        return kind == "all"
    if kind == "prod":
        return 1
    if kind == "sum":
        return -0.0 if dtype.is_float and not empty else 0
    if dtype.is_float:
        return -math.inf if kind == "max" else math.inf
    if dtype.kind == "b":
        return kind == "min"
    limits = np.iinfo(dtype.numpy)
    return int(limits.min if kind == "max" else limits.max)


def load(scope: Scope, names: Names, buffer: str, at: Affine, dtype: str) -> str:
    """An element of a buffer, loaded once for each scope."""
    key = (buffer, at)
    if key not in scope.known:
        name = names.fresh(dtype)
        scope.statements.append(Load(name, buffer, at, dtype))
        scope.known[key] = name
    return scope.known[key]


def reach(offset: Size, strides: Sequence[Size], extents: Sequence[Size]) -> int | None:
    """A bound of the magnitude of an affine expression; None where that is not known."""
    total = 0
    for factors in ((offset,), *zip(strides, extents)):
        numbers = [abs(x) for x in factors if isinstance(x, int)]
        if len(numbers) < len(factors):
            return None
        total += math.prod(numbers)
    return total


def index_value(scope: Scope, names: Names, at: Affine, dtype: DType, bound: int | None) -> str:
    """An affine expression of loop indices as a number; `bound` is its largest magnitude, None
    where that is not known."""
    short = bound is not None and bound < 2**31
    work = dtype if dtype.is_integer else DTYPES["i32" if short else "i64"]
    total = ""
    for index, coefficient in at.terms:
        term = let(scope, names, "index", (index,), work.name)
        if coefficient != 1:
            factor = size_value(scope, names, coefficient, work)
            term = let(scope, names, "mul", (term, factor), work.name)
        total = let(scope, names, "add", (total, term), work.name) if total else term
    if at.constant or not total:
        base = size_value(scope, names, at.constant, work)
        total = let(scope, names, "add", (total, base), work.name) if total else base
    return total if work is dtype else let(scope, names, "cast", (total,), dtype.name)


def apply_op(scope: Scope, names: Names, op: OpDef, node: Node, operands: list[str]) -> str:
    """The scalar meaning of an elementwise node on scalar operands."""
    (type_,) = node.types
    assert type_ is not None
    names.origin = node.locations[0] if node.locations else None
    if op.scalar is None:
        return let(scope, names, op.name, tuple(operands), type_.dtype.name)
    first = DTYPES[names.dtypes[operands[0]]]
    result: str = op.scalar(Scalars(scope, names, first), *operands)
    return result
