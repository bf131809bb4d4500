"""Numbers that a contraction computes with: known ones, or i64 values with Python's arithmetic.

The same formula then folds where sizes are numbers and builds code where they are named.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_emit import integer


@dataclass(frozen=True, slots=True)
class Count:
    """An i64 value; what it is combined with may be a number too."""

    builder: ir.IRBuilder
    value: ir.Value

    def __add__(self, other: Number) -> Count:
        return Count(self.builder, self.builder.add(self.value, as_value(other)))

    __radd__ = __add__

    def __sub__(self, other: Number) -> Count:
        return Count(self.builder, self.builder.sub(self.value, as_value(other)))

    def __rsub__(self, other: int) -> Count:
        return Count(self.builder, self.builder.sub(integer(other), self.value))

    def __mul__(self, other: Number) -> Count:
        return Count(self.builder, self.builder.mul(self.value, as_value(other)))

    __rmul__ = __mul__

    def __floordiv__(self, other: Number) -> Count:
        """The quotient of a number that is not negative."""
        return Count(self.builder, self.builder.udiv(self.value, as_value(other)))

    def __rfloordiv__(self, other: int) -> Count:
        return Count(self.builder, self.builder.udiv(integer(other), self.value))

    def __mod__(self, other: int) -> Count:
        """The rest of a number that is not negative."""
        return Count(self.builder, self.builder.urem(self.value, integer(other)))

    def __rlshift__(self, other: int) -> Count:
        return Count(self.builder, self.builder.shl(integer(other), self.value))

    def __lt__(self, other: Number) -> Condition:
        return self._compare("<", other)

    def __le__(self, other: Number) -> Condition:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Condition:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Condition:
        return self._compare(">=", other)

    def _compare(self, relation: str, other: Number) -> Condition:
        return Condition(
            self.builder, self.builder.icmp_signed(relation, self.value, as_value(other))
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """An i1 value."""

    builder: ir.IRBuilder
    value: ir.Value

    def __and__(self, other: Truth) -> Truth:
        if isinstance(other, bool):
            return self if other else False
        return Condition(self.builder, self.builder.and_(self.value, other.value))

    __rand__ = __and__


Number = int | Count
Truth = bool | Condition


def as_value(number: Number) -> ir.Value:
    """A number as an i64 value."""
    return integer(number) if isinstance(number, int) else number.value


def choose(truth: Truth, yes: Number, no: Number) -> Number:
    """`yes` where it holds, else `no`."""
    if isinstance(truth, bool):
        return yes if truth else no
    value = truth.builder.select(truth.value, as_value(yes), as_value(no))
    return Count(truth.builder, value)


def tiles_of(size: Number, length: Number) -> Number:
    """How many tiles of a length cover a size; 1 of one and the same number."""
    return 1 if size is length else (size + length - 1) // length


def times(builder: ir.IRBuilder, value: ir.Value, factor: Number) -> ir.Value:
    """`value * factor`."""
    return value if factor == 1 else builder.mul(value, as_value(factor))


def select(truth: Truth, yes: ir.Value, no: ir.Value) -> ir.Value:
    """A value by a condition."""
    if isinstance(truth, bool):
        return yes if truth else no
    return truth.builder.select(truth.value, yes, no)
