"""numpy.einsum: its notation, and its reduction to contractions of labelled arrays."""

from __future__ import annotations

import string
from typing import Any, NamedTuple

import numpy as np

from ...errors import ArgumentError, ShapeError
from ...ir.dims import Size
from ...ops.build import Expr
from ...ops.movement import broadcast
from ...ops.rules import unequal_sizes
from ..context import Trace
from ..dispatch import refuse, traced
from ..tracer import Tracer
from .labelled import Label, contract, from_sums, in_sums, label, without_axes_of_1
from .operands import common_dtype, fit, operands

LETTERS = frozenset(string.ascii_letters)


class Notation(NamedTuple):
    """Labels for each operand's axes and for the result's; ints label the axes of an ellipsis,
    counted back from the last one, so that they line up."""

    inputs: tuple[tuple[Label, ...], ...]
    output: tuple[Label, ...]


def parse_notation(subscripts: str, ranks: list[int]) -> Notation:
    """Read "ij,jk->ik", with implicit output and ellipsis as numpy.einsum defines them.

    Raises ArgumentError for text that is no such notation, ShapeError where it does not fit ranks.
    """
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ArgumentError(
            f"einsum: expected {len(terms)} operands for {subscripts!r}, got {len(ranks)}"
        )
    inputs = []
    widest = 0
    for position, (term, rank) in enumerate(zip(terms, ranks)):
        width = rank - len(_letters(term, subscripts))
        if width < 0 or (width and "..." not in term):
            raise ShapeError(
                f"einsum: expected operand {position} of rank {len(term.replace('.', ''))} for "
                f"{term!r}, got rank {rank}"
            )
        inputs.append(_labels(term, width))
        widest = max(widest, width) if "..." in term else widest
    if arrow:
        wanted = _letters(right, subscripts)
        known = set("".join(terms))
        if len(set(wanted)) != len(wanted) or not set(wanted) <= known:
            raise ArgumentError(
                f"einsum: expected output labels that occur once each and in an operand, got "
                f"{right!r} in {subscripts!r}"
            )
        if widest and "..." not in right:
            raise ArgumentError(f"einsum: expected '...' in the output of {subscripts!r}")
        return Notation(tuple(inputs), _labels(right, widest))
    letters = [c for c in left if c in LETTERS]
    once = sorted(c for c in set(letters) if letters.count(c) == 1)
    return Notation(tuple(inputs), (*range(-widest, 0), *once))


def _letters(term: str, subscripts: str) -> str:
    """The letters of a term; ArgumentError for anything else than those and one ellipsis."""
    letters = term.replace("...", "", 1)
    if not set(letters) <= LETTERS:
        raise ArgumentError(
            f"einsum: expected letters, commas, '...' and one '->', got {subscripts!r}"
        )
    return letters


def _labels(term: str, width: int) -> tuple[Label, ...]:
    before, dots, after = term.partition("...")
    return (*before, *(range(-width, 0) if dots else ()), *after)


def _sizes(notation: Notation, xs: list[Expr]) -> dict[Label, Size]:
    """The size of each label; a size 1 gives way to another one.

    Raises ShapeError where two operands disagree.
    """
    sizes: dict[Label, Size] = {}
    places: dict[Label, tuple[Expr, int]] = {}
    for labels, x in zip(notation.inputs, xs):
        for axis, (name, size) in enumerate(zip(labels, x.shape)):
            known = sizes.setdefault(name, size)
            other, where = places.setdefault(name, (x, axis))
            if known == 1:
                sizes[name], places[name] = size, (x, axis)
            elif size not in (1, known):
                raise ShapeError(
                    f"einsum: expected one size for the label {name!r}, got {other.type} and "
                    f"{x.type} (axis {where} against axis {axis}: {unequal_sizes(known, size)})"
                )
    return sizes


@traced(np.einsum)
def einsum(
    t: Trace, subscripts: Any, /, *arrays: Any, out: None = None, optimize: Any = None
) -> Tracer:
    """Sums of products by labels: diagonals, sums, transposes and contractions in one notation.

    Several operands are contracted pairwise, cheapest pair first; `optimize` is ignored.
    """
    refuse("einsum", out=out)
    if not isinstance(subscripts, str):
        got = type(subscripts).__name__
        raise ArgumentError(f"einsum: expected the labels as text such as 'ij,jk->ik', got {got}")
    given = operands(t, *arrays)
    dtype, _ = common_dtype("einsum", given)
    xs = [fit(t, x, dtype, x.type.shape) for x in given]
    notation = parse_notation(subscripts, [x.type.rank for x in xs])
    sizes = _sizes(notation, xs)
    labelled = [
        without_axes_of_1(label(in_sums(x), labels), sizes)
        for x, labels in zip(xs, notation.inputs)
    ]
    result = contract(labelled, notation.output)
    shape = [sizes[name] for name in notation.output]
    spread = broadcast(result, shape, range(len(shape)))
    return t.wrap(from_sums(spread, dtype))
