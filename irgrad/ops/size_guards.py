"""What the numbers behind a graph's named sizes have to fulfil, found once and checked for each new
set of them: sizes that exist, bounds of slices, elements to choose the largest of."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import LimitError, ShapeError
from ..ir.dims import Dim, Size, divide_exact, evaluate, lower_bound, names, substitute, symbol
from ..ir.graph import Graph, Node, Value
from ..ir.location import Location, describe
from .registry import REGISTRY


@dataclass(frozen=True, slots=True)
class SizeGuard:
    """A size that has to be at least 0, or the number of bytes of an array, which has a limit.

    op: whose size it is. meaning: what it is, as in "at least 1 element along axis 0 of f32[n]".
    size: what has to be >= 0; where it is None, `factors` are the sizes and the bytes of an element
    of an array of fewer than 2**63 bytes. location: the user's line.
    """

    op: str
    meaning: str
    size: Size | None
    factors: tuple[Size, ...]
    location: Location | None

    def _names(self) -> frozenset[str]:
        sizes = self.factors if self.size is None else (self.size,)
        return frozenset(name for size in sizes for name in names(size))

    def check(self, dims: Mapping[str, int]) -> None:
        """Raise ShapeError, or LimitError for bytes, where the numbers `dims` do not fulfil it."""
        if self.size is not None:
            if evaluate(self.size, dims) < 0:
                raise ShapeError(self._text(dims))
            return
        # NumPy counts the bytes of an array without its axes of size 0.
        if math.prod(evaluate(size, dims) or 1 for size in self.factors) > sys.maxsize:
            raise LimitError(self._text(dims))

    def _text(self, dims: Mapping[str, int]) -> str:
        values = ", ".join(f"{name}={dims[name]}" for name in sorted(self._names()))
        line = f"\n{describe(self.location)}" if self.location else ""
        return f"{self.op}: expected {self.meaning}, got {values}{line}"


def size_guards(graph: Graph) -> tuple[SizeGuard, ...]:
    """The guards of a graph and its regions, in order, each once; none where all sizes are numbers.
    """
    if not named_sizes(graph):
        return ()
    found: dict[object, SizeGuard] = {}
    for guard in _guards(graph):
        found.setdefault((guard.size, guard.factors, guard.meaning), guard)
    return tuple(found.values())


def check_sizes(guards: tuple[SizeGuard, ...], dims: Mapping[str, int]) -> None:
    """Raise ShapeError or LimitError for the first guard that numbers do not fulfil."""
    for guard in guards:
        guard.check(dims)


def first_new_guard(guards: Sequence[SizeGuard], known: Sequence[SizeGuard]) -> SizeGuard | None:
    """The first guard of a size that `known` ones do not imply; None where they imply all."""
    sizes = [_lowest_terms(guard.size) for guard in known if guard.size is not None]
    least: dict[str, int] = {}
    for size in sizes:
        for name, number in _least_numbers(size):
            least[name] = max(number, least.get(name, 0))
    shifts = {name: symbol(name) + number for name, number in least.items()}
    for guard in guards:
        if guard.size is None or _is_known(substitute(guard.size, shifts)):
            continue
        wanted = _lowest_terms(guard.size)
        if not any(_is_known(wanted - size) for size in sizes):
            return guard
    return None


def _lowest_terms(size: Size) -> Size:
    """A size that is >= 0 for the same numbers, its coefficients without a common divisor."""
    terms = size.terms if isinstance(size, Dim) else ()
    divisor = math.gcd(*(coefficient for monomial, coefficient in terms if monomial))
    if divisor <= 1:
        return size
    constant = dict(terms).get((), 0)
    found = divide_exact(size - constant, divisor)
    assert found is not None, "a divisor of all coefficients"
    return found + constant // divisor


def _least_numbers(size: Size) -> Iterator[tuple[str, int]]:
    """Names with the least number that each must be for a size to be >= 0, as far as this is seen:
    n - 3 tells it of n, n*n + n*m - 1 that n, without which nothing is added, is at least 1."""
    terms = dict(size.terms) if isinstance(size, Dim) else {}
    constant = terms.get((), 0)
    added = [monomial for monomial, coefficient in terms.items() if coefficient > 0]
    if constant >= 0 or not added:
        return
    for name, _ in added[0]:
        if added == [((name, 1),)]:
            yield name, -(constant // terms[added[0]])
        elif all(name in dict(monomial) for monomial in added):
            yield name, 1


def _guards(graph: Graph) -> Iterator[SizeGuard]:
    for key in graph.order():
        node = graph[key]
        for _, region in node.regions():
            yield from _guards(region)
        if node.op != "input":
            yield from _bounds(graph, node)
        yield from _existing(node)


def _bounds(graph: Graph, node: Node) -> Iterator[SizeGuard]:
    operands = tuple(map(graph.type, node.operands))
    op = REGISTRY[node.op]
    attributes = dict(node.attributes)
    for axis, meaning, size in op.bounds(operands, attributes):
        if names(size) and not _is_known(size):
            text = f"{meaning} along axis {axis} of {operands[0]}"
            yield SizeGuard(node.op, text, size, (), _line(node))
    for name, kind in op.attributes.items():
        if kind == "size" and names(attributes[name]):
            text = f"a size of 64 bits, {attributes[name]}"
            yield SizeGuard(node.op, text, None, (attributes[name],), _line(node))


def _existing(node: Node) -> Iterator[SizeGuard]:
    """That the arrays of a node's results exist."""
    for type_ in node.types:
        assert type_ is not None, "guards are those of a graph with types"
        if not any(map(names, type_.shape)):
            continue
        for axis, size in enumerate(type_.shape):
            if not _is_known(size):
                text = f"sizes of at least 0 in axis {axis} of {type_}"
                yield SizeGuard(node.op, text, size, (), _line(node))
        factors = (*type_.shape, type_.dtype.itemsize)
        text = f"an array {type_} of fewer than 2**63 bytes"
        yield SizeGuard(node.op, text, None, factors, _line(node))


def _is_known(size: Size) -> bool:
    """Whether a size is >= 0 whatever its names are."""
    low = lower_bound(size)
    return low is not None and low >= 0


def _line(node: Node) -> Location | None:
    return node.locations[0] if node.locations else None


def named_sizes(graph: Graph) -> tuple[str, ...]:
    """The names that the inputs of a graph depend on, sorted."""
    found = {
        name
        for key in graph.inputs
        for size in graph.type(Value(key)).shape
        for name in names(size)
    }
    return tuple(sorted(found))
