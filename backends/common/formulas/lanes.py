"""What a formula is written in: lanes of floats with operators, whatever they become.

A backend gives `Lanes`, its operations, and `Vec`, its values; the formulas know no other part of
it. Every operation works lane by lane and in one fixed order, and a product and a sum fuse only
where `fma` is called: so the bits of a lane are those of the formula alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, Self, TypeVar


@dataclass(frozen=True, slots=True)
class Format:
    """One IEEE 754 binary format: `bits` wide, `fraction` stored bits, exponent `bias`."""

    name: str
    bits: int
    fraction: int
    bias: int

    @property
    def sign_mask(self) -> int:
        """The sign bit."""
        return 1 << (self.bits - 1)

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.fraction

    @property
    def smallest_normal(self) -> float:
        """The least positive normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def round_shift(self) -> float:
        """1.5 * 2**fraction: a sum with it is rounded to an integer, held in its low bits."""
        return 1.5 * 2.0**self.fraction


FORMATS: Mapping[str, Format] = MappingProxyType(
    {"f32": Format("f32", 32, 23, 127), "f64": Format("f64", 64, 52, 1023)}
)


class Vec(Protocol):
    """Floats, the words that are their bits, or truth values, one a lane.

    Python numbers in an operation stand in every lane, of the other operand's type. Words have the
    width of the floats and no sign: sums and differences wrap around, shifts bring zeros in.
    """

    def __add__(self, other: Self | float) -> Self: ...
    def __radd__(self, other: float) -> Self: ...
    def __sub__(self, other: Self | float) -> Self: ...
    def __rsub__(self, other: float) -> Self: ...
    def __mul__(self, other: Self | float) -> Self: ...
    def __rmul__(self, other: float) -> Self: ...
    def __truediv__(self, other: Self | float) -> Self: ...
    def __rtruediv__(self, other: float) -> Self: ...
    def __neg__(self) -> Self: ...
    def __and__(self, other: Self | int) -> Self: ...
    def __or__(self, other: Self | int) -> Self: ...
    def __xor__(self, other: Self | int) -> Self: ...
    def __lshift__(self, count: int) -> Self: ...
    def __rshift__(self, count: int) -> Self: ...
    def __lt__(self, other: Self | float) -> Self: ...
    def __le__(self, other: Self | float) -> Self: ...
    def __gt__(self, other: Self | float) -> Self: ...
    def __ge__(self, other: Self | float) -> Self: ...
    def equals(self, other: Self | float) -> Self:
        """Lane-wise equality; false where a float lane is NaN, as every comparison."""


V = TypeVar("V", bound=Vec)


class Lanes(Protocol[V]):
    """The operations on lanes of the format `fmt`."""

    fmt: Format

    def constant(self, x: float) -> V:
        """All lanes the float `x`."""

    def fma(self, a: V | float, b: V | float, c: V | float) -> V:
        """a * b + c, rounded once."""

    def sqrt(self, x: V) -> V:
        """The correctly rounded square root."""

    def floor(self, x: V) -> V:
        """The largest integer not above x, as a float."""

    def select(self, condition: V, a: V | float, b: V | float) -> V:
        """Lane-wise `a` where `condition` holds, else `b`; two Python numbers make floats."""

    def minimum(self, limit: float, x: V) -> V:
        """min(limit, x): NaN where x is NaN, x where they are equal."""

    def maximum(self, limit: float, x: V) -> V:
        """max(limit, x): NaN where x is NaN, x where they are equal."""

    def horner(self, x: V, coefficients: Sequence[float]) -> V:
        """The polynomial with these coefficients, constant term first, by Horner's rule in fma."""

    def even_odd(self, x: V, square: V, coefficients: Sequence[float]) -> V:
        """The same from x and its square: two chains of half the length, as many operations."""

    def bits(self, x: V) -> V:
        """The lanes' bits as words."""

    def real(self, bits: V) -> V:
        """The floats with these bits."""

    def abs(self, x: V) -> V:
        """x with the sign bit cleared, NaN included."""

    def sign(self, x: V) -> V:
        """The sign bits of x as words."""

    def flip_sign(self, x: V, sign: V) -> V:
        """x negated in the lanes whose bit is set in `sign` (as from `sign`)."""

    def negative(self, x: V) -> V:
        """Whether the sign bit of x is set."""

    def odd(self, x: V) -> V:
        """Whether words are odd."""

    def ordered(self, a: V, b: V) -> V:
        """Whether neither lane is NaN."""

    def remainder_above(self, limit: float, x: V, parts: Sequence[V]) -> tuple[V, ...]:
        """`parts`, or the exact remainder of x by pi/2 in the lanes where limit < |x| < inf.

        The remainder is (quadrant, r, low) with x = quadrant * pi/2 + r + low modulo 2*pi, as many
        of them as there are parts; of the quadrant's word two bits mean anything. limit: at least 2
        and such that few lanes lie above it, for the remainder costs much.
        """
