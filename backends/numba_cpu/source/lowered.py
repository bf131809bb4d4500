"""Plain functions of NumPy scalars for which Numba emits LLVM instructions of our choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba.core import types
from numba.extending import lower_builtin, type_callable

F = TypeVar("F", bound=Callable[..., Any])
Typing = Callable[..., types.Type | None]


def lowered(typing: Typing, emit: Callable[..., ir.Value]) -> Callable[[F], F]:
    """Decorate a function that Python runs as it is written and Numba emits by `emit`.

    typing: the result's type from those of the operands, named as the function's parameters; None
    where they are none of its own. emit: (builder, type of the last operand, *values) to a value.
    """

    def decorate(function: F) -> F:
        def implementation(_context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            return emit(builder, signature.args[-1], *args)

        type_callable(function)(lambda _context: typing)
        lower_builtin(function, types.VarArg(types.Any))(implementation)
        return function

    return decorate


def one_float(x: types.Type) -> types.Type | None:
    """The type of x where it is a float."""
    return x if isinstance(x, types.Float) else None


def one_number(x: types.Type) -> types.Type | None:
    """The type of x where it is a float or an integer."""
    return x if isinstance(x, types.Float | types.Integer) else None


def two_numbers(a: types.Type, b: types.Type) -> types.Type | None:
    """The type of two numbers of one type."""
    return one_number(a) if a == b else None


def three_floats(a: types.Type, b: types.Type, c: types.Type) -> types.Type | None:
    """The type of three floats of one type."""
    return one_float(a) if a == b == c else None


def chosen(condition: types.Type, a: types.Type, b: types.Type) -> types.Type | None:
    """The type of two values of one type between which a boolean chooses."""
    return a if isinstance(condition, types.Boolean) and a == b else None


def conversion(source: types.Type, target: types.Type) -> Typing:
    """The typing of a conversion between two types."""
    return lambda x: target if x == source else None


def intrinsic(name: str) -> Callable[..., ir.Value]:
    """An emitter that calls an LLVM intrinsic of one type."""

    def emit(builder: ir.IRBuilder, _: types.Type, *values: ir.Value) -> ir.Value:
        kind = values[0].type
        signature = ir.FunctionType(kind, [kind] * len(values))
        return builder.call(builder.module.declare_intrinsic(name, (kind,), signature), values)

    return emit


def bitcast(kind: ir.Type) -> Callable[..., ir.Value]:
    """An emitter that reads the bits of a value as another type."""
    return lambda builder, _, x: builder.bitcast(x, kind)


def select(
    builder: ir.IRBuilder, _: types.Type, condition: ir.Value, a: ir.Value, b: ir.Value
) -> ir.Value:
    """`a` where the condition holds, else `b`."""
    return builder.select(condition, a, b)


def _has_negatives(kind: types.Type) -> bool:
    if not isinstance(kind, types.Integer):
        return isinstance(kind, types.Float)
    return kind.signed  # type: ignore[attr-defined]


def compare(
    builder: ir.IRBuilder, kind: types.Type, relation: str, a: ir.Value, b: ir.Value
) -> ir.Value:
    """A comparison of two numbers of one type, false where a float is NaN."""
    if isinstance(kind, types.Float):
        return builder.fcmp_ordered(relation, a, b)
    method = builder.icmp_signed if _has_negatives(kind) else builder.icmp_unsigned
    return method(relation, a, b)


def extremum(first_wins: str) -> Callable[..., ir.Value]:
    """An emitter of `a` where it wins or equals, NaN where either operand is NaN."""

    def emit(builder: ir.IRBuilder, kind: types.Type, a: ir.Value, b: ir.Value) -> ir.Value:
        if not isinstance(kind, types.Float):
            return builder.select(compare(builder, kind, first_wins, a, b), a, b)
        # One min or max instruction gives `a` where the operands are equal or either is NaN.
        result = builder.select(builder.fcmp_ordered(first_wins, b, a), b, a)
        return builder.select(builder.fcmp_unordered("uno", b, b), b, result)

    return emit


def sign(builder: ir.IRBuilder, kind: types.Type, x: ir.Value) -> ir.Value:
    """-1, 0 or 1 by the sign of x; NaN passes."""
    zero, one = ir.Constant(x.type, 0), ir.Constant(x.type, 1)
    result = builder.select(compare(builder, kind, ">", x, zero), one, zero)
    if _has_negatives(kind):
        negative = compare(builder, kind, "<", x, zero)
        result = builder.select(negative, ir.Constant(x.type, -1), result)
    if isinstance(kind, types.Float):
        return builder.select(builder.fcmp_unordered("uno", x, x), x, result)
    return result
