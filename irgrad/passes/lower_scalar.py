"""Scalar expressions of kernels: statements by scope, and the builder that ops' records use."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir.graph import Node
from ..ir.location import Location
from ..ir.types import BOOL, DTYPES, DType
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


def load(scope: Scope, names: Names, buffer: str, at: Affine, dtype: str) -> str:
    """An element of a buffer, loaded once for each scope."""
    key = (buffer, at)
    if key not in scope.known:
        name = names.fresh(dtype)
        scope.statements.append(Load(name, buffer, at, dtype))
        scope.known[key] = name
    return scope.known[key]


def index_value(scope: Scope, names: Names, at: Affine, dtype: DType, bound: int) -> str:
    """An affine expression of loop indices as a number; `bound` is its largest magnitude."""
    work = dtype if dtype.is_integer else DTYPES["i32" if bound < 2**31 else "i64"]
    total = ""
    for index, coefficient in at.terms:
        term = let(scope, names, "index", (index,), work.name)
        if coefficient != 1:
            factor = constant(scope, names, coefficient, work)
            term = let(scope, names, "mul", (term, factor), work.name)
        total = let(scope, names, "add", (total, term), work.name) if total else term
    if at.constant or not total:
        base = constant(scope, names, at.constant, work)
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
