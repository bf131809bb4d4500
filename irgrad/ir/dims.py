"""Symbolic sizes: integer polynomials over named sizes, each name standing for an integer >= 0."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import ArgumentError, DimError, brief

Monomial = tuple[tuple[str, int], ...]  # (("n", 2), ("m", 1)) is n*n*m; () is the constant term


@dataclass(frozen=True, slots=True)
class Dim:
    """A polynomial that is not a constant; constants are plain ints.

    terms: (monomial, coefficient) pairs, sorted, coefficients non-zero. Equality is equality of
    polynomials, so two dims that compare unequal may still agree for some sizes.

    Arithmetic takes integers and dims, and raises ArgumentError for anything else.
    """

    terms: tuple[tuple[Monomial, int], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.terms, tuple) or not all(map(_is_term, self.terms)):
            raise ArgumentError(
                "size: expected terms as pairs of a monomial and a coefficient, got "
                f"{brief(self.terms)}"
            )
        monomials = [monomial for monomial, _ in self.terms]
        ordered = list(self.terms) == sorted(self.terms, key=_order)
        if not any(monomials) or len(set(monomials)) < len(monomials) or not ordered:
            raise ArgumentError(
                f"size: expected sorted terms with a name in one of them, got {brief(self.terms)}"
            )

    def __add__(self, other: Size) -> Size:
        return _make(list(self.terms) + _terms(other))

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return _make([*self.terms, *((m, -c) for m, c in _terms(other))])

    def __rsub__(self, other: Size) -> Size:
        return (self * -1) + other

    def __mul__(self, other: Size) -> Size:
        return _make(
            [(_join(a, b), p * q) for a, p in self.terms for b, q in _terms(other)]
        )

    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            factors = [name for name, power in monomial for _ in range(power)]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            sign = "-" if coefficient < 0 else ("+" if text else "")
            text += sign + "*".join(factors)
        return text

    __repr__ = __str__


Size = int | Dim


def symbol(name: str) -> Dim:
    """The dim that consists of the single name `name`; ArgumentError for what is no name."""
    if not isinstance(name, str) or not (name.isidentifier() and name.isascii()):
        raise ArgumentError(f"symbol: expected a name of letters and digits, got {brief(name)}")
    return Dim(((((name, 1),), 1),))


def _terms(size: Size) -> list[tuple[Monomial, int]]:
    if isinstance(size, Dim):
        return list(size.terms)
    try:
        return [((), operator.index(size))]
    except TypeError:
        raise ArgumentError(f"size: expected an integer or a Dim, got {brief(size)}") from None


def _is_term(term: object) -> bool:
    """Whether something is a pair of ((name, power), ...), sorted, and a coefficient."""
    if type(term) is not tuple or len(term) != 2:
        return False
    monomial, coefficient = term
    if type(coefficient) is not int or coefficient == 0 or type(monomial) is not tuple:
        return False
    factors = all(
        type(factor) is tuple and len(factor) == 2 and isinstance(factor[0], str)
        and type(factor[1]) is int and factor[1] > 0
        for factor in monomial
    )
    return factors and all(a[0] < b[0] for a, b in zip(monomial, monomial[1:]))


def _join(a: Monomial, b: Monomial) -> Monomial:
    powers = dict(a)
    for name, power in b:
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted(powers.items()))


def _order(item: tuple[Monomial, int]) -> tuple[int, Monomial]:
    """Graded lexicographic, largest first: the order that exact division needs."""
    return (-sum(power for _, power in item[0]), tuple((n, -p) for n, p in item[0]))


def _make(terms: Iterable[tuple[Monomial, int]]) -> Size:
    total: dict[Monomial, int] = {}
    for monomial, coefficient in terms:
        total[monomial] = total.get(monomial, 0) + coefficient
    kept = {m: c for m, c in total.items() if c != 0}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    return Dim(tuple(sorted(kept.items(), key=_order)))


def as_number(size: Size) -> int:
    """A size of a kernel or program without named sizes."""
    assert isinstance(size, int), f"expected a number, got {size}"
    return size


def as_shape(sizes: Iterable[Size]) -> tuple[int, ...]:
    """The sizes of a value of a program without named sizes."""
    return tuple(map(as_number, sizes))


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def names(size: Size) -> frozenset[str]:
    """The names that a size depends on."""
    if isinstance(size, int):
        return frozenset()
    return frozenset(name for monomial, _ in size.terms for name, _ in monomial)


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number that a size is, given each name's value.

    Raises DimError for a name without a value.
    """
    if isinstance(size, int):
        return size
    total = 0
    for monomial, coefficient in size.terms:
        for name, power in monomial:
            if name not in values:
                raise DimError(f"size {size}: expected a value for {name!r}, got none")
            coefficient *= values[name] ** power
        total += coefficient
    return total


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """The size with some of its names replaced by other sizes."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for monomial, coefficient in size.terms:
        factors = [values.get(name, symbol(name)) for name, power in monomial for _ in range(power)]
        total = total + coefficient * product(factors)
    return total


def lower_bound(size: Size) -> int | None:
    """The smallest value where it is known from names >= 0 alone; None where it is not."""
    if isinstance(size, int):
        return size
    if any(coefficient < 0 and monomial for monomial, coefficient in size.terms):
        return None
    return dict(size.terms).get((), 0)


def divide_exact(a: Size, b: Size) -> Size | None:
    """The polynomial q with q*b == a, or None where there is none (polynomial long division)."""
    if b == 0:
        return None
    quotient: Size = 0
    lead_monomial, lead_coefficient = _terms(b)[0]
    while a != 0:
        monomial, coefficient = _terms(a)[0]
        powers = dict(monomial)
        for name, power in lead_monomial:
            powers[name] = powers.get(name, 0) - power
        if coefficient % lead_coefficient or any(p < 0 for p in powers.values()):
            return None
        monomial = tuple(sorted((n, p) for n, p in powers.items() if p))
        part = _make([(monomial, coefficient // lead_coefficient)])
        quotient = quotient + part
        a = a - part * b
    return quotient
