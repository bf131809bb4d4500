"""What is provable of named sizes, of which an extent that is run through is over 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..ir.dims import Size, divide_exact, lower_bound, names, substitute, symbol


def least_values(extents: Iterable[Size]) -> Mapping[str, int]:
    """The least value of each name that is known to be over 0, given that no extent is 0.

    A product of names is positive where each of them is; n - k is where n > k.
    """
    known: dict[str, int] = {}
    for extent in extents:
        if isinstance(extent, int):
            continue
        constant = dict(extent.terms).get((), 0)
        if constant > 0:
            continue
        inner = [monomial for monomial, _ in extent.terms if monomial]
        if constant == 0:  # a factor of every monomial is not 0
            shared = frozenset.intersection(*(frozenset(n for n, _ in m) for m in inner))
            for name in shared:
                known[name] = max(known.get(name, 1), 1)
        elif len(inner) == 1 and len(inner[0]) == 1 and inner[0][0][1] == 1:
            slope = extent.terms[0][1]
            if slope > 0:
                name = inner[0][0][0]
                known[name] = max(known.get(name, 1), -(-(1 - constant) // slope))
    return known


def is_nonnegative(size: Size, extents: Sequence[Size], depth: int = 2) -> bool:
    """Whether a size is provably 0 or more where each extent is over 0.

    It is where the least values of its names show it, or where it is a multiple of an extent, or of
    one less 1, or more by as much than a size that is.
    """
    known = least_values(extents)
    shifts: dict[str, Size] = {name: symbol(name) + known.get(name, 0) for name in names(size)}
    bound = lower_bound(substitute(size, shifts))
    if bound is not None and bound >= 0:
        return True
    if depth == 0:
        return False
    for extent in extents:
        if isinstance(extent, int):
            continue
        for factor in (extent, extent - 1):
            quotient = divide_exact(size, factor)
            if quotient is not None and is_nonnegative(quotient, extents, depth - 1):
                return True
        if is_nonnegative(size - (extent - 1), extents, depth - 1):
            return True
    return False
