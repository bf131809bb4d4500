"""Formulas as terms: what their values are while a printer collects them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .formulas.lanes import Format

REMAINDER = ("quadrant", "r", "low")


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One value: a "real", a "word" of bits or a "condition"; numbers stand for themselves."""

    lanes: SourceLanes
    index: int
    kind: str
    op: str
    operands: tuple[Term | float, ...]

    def _apply(self, op: str, other: Term | float, swap: bool = False) -> Term:
        operands = (other, self) if swap else (self, other)
        return self.lanes.term(self.kind, op, *operands)

    def _compare(self, op: str, other: Term | float) -> Term:
        return self.lanes.term("condition", op, self, other)

    def __add__(self, other: Term | float) -> Term:
        return self._apply("+", other)

    def __radd__(self, other: float) -> Term:
        return self._apply("+", other, swap=True)

    def __sub__(self, other: Term | float) -> Term:
        return self._apply("-", other)

    def __rsub__(self, other: float) -> Term:
        return self._apply("-", other, swap=True)

    def __mul__(self, other: Term | float) -> Term:
        return self._apply("*", other)

    def __rmul__(self, other: float) -> Term:
        return self._apply("*", other, swap=True)

    def __truediv__(self, other: Term | float) -> Term:
        return self._apply("/", other)

    def __rtruediv__(self, other: float) -> Term:
        return self._apply("/", other, swap=True)

    def __neg__(self) -> Term:
        return self.lanes.term(self.kind, "neg", self)

    def __and__(self, other: Term | int) -> Term:
        return self._apply("&", other)

    def __or__(self, other: Term | int) -> Term:
        return self._apply("|", other)

    def __xor__(self, other: Term | int) -> Term:
        return self._apply("^", other)

    def __lshift__(self, count: int) -> Term:
        return self._apply("<<", count)

    def __rshift__(self, count: int) -> Term:
        """Zeros come in from the left."""
        return self._apply(">>", count)

    def __lt__(self, other: Term | float) -> Term:
        return self._compare("<", other)

    def __le__(self, other: Term | float) -> Term:
        return self._compare("<=", other)

    def __gt__(self, other: Term | float) -> Term:
        return self._compare(">", other)

    def __ge__(self, other: Term | float) -> Term:
        return self._compare(">=", other)

    def equals(self, other: Term | float) -> Term:
        """Equality; false where a float is NaN."""
        return self._compare("==", other)


@dataclass(slots=True)
class SourceLanes:
    """Collects the terms of a formula over one scalar of the format `fmt`."""

    fmt: Format
    terms: list[Term] = field(default_factory=list)
    known: dict[tuple[object, ...], Term] = field(default_factory=dict)

    def term(self, kind: str, op: str, *operands: Term | float) -> Term:
        """The term of these operands, the same one each time."""
        # By repr, which keeps 0.0 and -0.0 apart.
        key = (kind, op, *(x.index if isinstance(x, Term) else repr(x) for x in operands))
        if key not in self.known:
            self.known[key] = Term(self, len(self.terms), kind, op, operands)
            self.terms.append(self.known[key])
        return self.known[key]

    def constant(self, x: float) -> Term:
        """The float `x`."""
        return self.term("real", "constant", float(x))

    def fma(self, a: Term | float, b: Term | float, c: Term | float) -> Term:
        """a * b + c, rounded once."""
        return self.term("real", "fma", a, b, c)

    def sqrt(self, x: Term) -> Term:
        """The correctly rounded square root."""
        return self.term("real", "sqrt", x)

    def floor(self, x: Term) -> Term:
        """The largest integer not above x, as a float."""
        return self.term("real", "floor", x)

    def select(self, condition: Term, a: Term | float, b: Term | float) -> Term:
        """`a` where `condition` holds, else `b`; two Python numbers make floats."""
        kind = next((x.kind for x in (a, b) if isinstance(x, Term)), "real")
        return self.term(kind, "select", condition, a, b)

    def minimum(self, limit: float, x: Term) -> Term:
        """min(limit, x): x, the first operand of the helper, where they are equal."""
        return self.term("real", "minimum", x, float(limit))

    def maximum(self, limit: float, x: Term) -> Term:
        """max(limit, x): x, the first operand of the helper, where they are equal."""
        return self.term("real", "maximum", x, float(limit))

    def horner(self, x: Term, coefficients: Sequence[float]) -> Term:
        """The polynomial with these coefficients, constant term first."""
        return self.term("real", "horner", x, *coefficients)

    def even_odd(self, x: Term, square: Term, coefficients: Sequence[float]) -> Term:
        """The same from x and its square, the odd terms first."""
        odd, even = self.horner(square, coefficients[1::2]), self.horner(square, coefficients[::2])
        return self.fma(odd, x, even)

    def bits(self, x: Term) -> Term:
        """The bits as a word."""
        return self.term("word", f"bits_{self.fmt.name}", x)

    def real(self, bits: Term) -> Term:
        """The float with these bits."""
        return self.term("real", f"real_{self.fmt.name}", bits)

    def abs(self, x: Term) -> Term:
        """x with the sign bit cleared, NaN included."""
        return self.term("real", "fabs", x)

    def sign(self, x: Term) -> Term:
        """The sign bit of x as a word."""
        return self.bits(x) & self.fmt.sign_mask

    def flip_sign(self, x: Term, sign: Term) -> Term:
        """x negated where the bit is set in `sign` (as from `sign`)."""
        return self.real(self.bits(x) ^ sign)

    def negative(self, x: Term) -> Term:
        """Whether the sign bit of x is set."""
        return self.term("condition", "!=", self.sign(x), 0)

    def odd(self, x: Term) -> Term:
        """Whether a word is odd."""
        return self.term("condition", "!=", x & 1, 0)

    def ordered(self, a: Term, b: Term) -> Term:
        """Whether neither is NaN."""
        return a.equals(a) & b.equals(b)

    def remainder_above(self, limit: float, x: Term, parts: Sequence[Term]) -> tuple[Term, ...]:
        """`parts`, or the exact remainder of x by pi/2 where limit < |x| < inf."""
        large = (self.abs(x) > limit) & (self.abs(x) < math.inf)
        whole = self.term("parts", "remainder", x, large, *parts)
        return tuple(
            self.term(part.kind, name, whole) for name, part in zip(REMAINDER, parts, strict=False)
        )
