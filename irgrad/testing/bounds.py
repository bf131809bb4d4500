"""How far a result may be from the interpreter's: a bound that scales with the conditioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..interpret import graph_dims, interpret
from ..ir.graph import Graph, Node, Value
from ..ops.registry import REGISTRY

PAIRS = 3  # each with noise of one sign and of the other, so that one of them crosses any threshold
UNITS = 4.0  # rounding errors, in units in the last place, that a node may make
MARGIN = 32.0
MOVED = frozenset({"elementwise", "reduce", "contract"})
SUMS = frozenset({"reduce_sum", "reduce_prod", "dot_general"})


class _Perturbed:
    """Runs a graph with every float result moved by a few units in the last place.

    A sum is moved by units of the sum of its terms' magnitudes: that is what adding up in another
    order and precision changes, which cancellation makes visible.
    """

    def __init__(self, seed: int, sign: float, dims: Mapping[str, int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.sign = sign
        self.dims = dims

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = {Value(key): np.asarray(a) for key, a in zip(graph.inputs, arguments)}
        for key in graph.order():
            node = graph[key]
            if node.op == "input":
                continue
            results = self._evaluate(node, [values[operand] for operand in node.operands])
            values.update((Value(key, index), array) for index, array in enumerate(results))
        return [values[value] for value in graph.outputs]

    def _evaluate(self, node: Node, operands: list[np.ndarray]) -> list[np.ndarray]:
        record, attrs = REGISTRY[node.op], dict(node.attributes)
        results = [np.asarray(r) for r in record.evaluate(operands, attrs, self)]
        if node.op in SUMS and results[0].dtype.kind == "f":
            return [self._move_sum(results[0], *_magnitude(node.op, attrs, operands))]
        return [self._move(r) for r in results] if record.family in MOVED else results

    def _direction(self, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers from -1 to 1, none of them near 0."""
        side = np.where(self.rng.random(shape) < 0.5, -self.sign, self.sign)
        return np.asarray(side * self.rng.uniform(0.5, 1, shape))

    def _move(self, array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        direction = self._direction(array.shape)
        zero = np.where(direction < 0, -0.0, 0.0)
        moved = array + direction * UNITS * _spacing(array)
        return np.asarray(np.where(array == 0, zero, moved).astype(array.dtype))

    def _move_sum(self, array: np.ndarray, size: np.ndarray, unclear: np.ndarray) -> np.ndarray:
        moved = array + self._direction(array.shape) * _unit(array) * UNITS * size
        moved = np.where(size == 0, self._move(array), moved)
        return np.asarray(np.where(unclear, np.nan, moved).astype(array.dtype))


def _magnitude(
    op: str, attrs: Mapping[str, Any], operands: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the magnitudes of what is added up, and where a partial result of finite operands
    may overflow or vanish. Of a product: its size times the number of factors."""
    sizes = [np.abs(np.where(np.isfinite(x), x, 0)).astype(np.float64) for x in operands]
    limits = np.finfo(operands[0].dtype)
    largest, smallest = float(limits.max) / 2, float(limits.tiny)
    if op == "reduce_prod":
        axes, (x,) = attrs["axes"], sizes
        high = np.prod(np.maximum(x, 1), axis=axes)
        low = np.prod(np.where(x > 0, np.minimum(x, 1), 1), axis=axes)
        count = np.sum(np.ones_like(x), axis=axes)
        return np.prod(x, axis=axes) * count, (high > largest) | (low < smallest)
    if op == "reduce_sum":
        total = np.asarray(np.sum(sizes[0], axis=attrs["axes"]))
    else:
        (total,) = REGISTRY[op].evaluate(sizes, attrs, None)  # type: ignore[arg-type]
    return total, total > largest


def condition_bound(
    graph: Graph, arguments: Sequence[np.ndarray], seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The interpreter's outputs, and for each the largest difference that rounding explains.

    Every float result of every node is moved by up to UNITS units in the last place (a sum: of its
    largest partial result), a zero to either sign, in PAIRS pairs of opposite directions; the bound
    is MARGIN times the spread of the outputs so found, plus UNITS units of the output. An element
    that the movement makes infinite, NaN or (of integer or bool type) different has an infinite
    bound, and so has one behind a sum that could overflow on the way. In a large array movements
    cancel in some elements by chance, so each is allowed at least what half of them are, relative
    to its size.
    """
    exact = interpret(graph, arguments)
    dims = graph_dims(graph, arguments)
    spread = [np.zeros(np.shape(a), np.float64) for a in exact]
    with np.errstate(all="ignore"):
        for pair in range(PAIRS):
            for sign in (1.0, -1.0):
                moved = _Perturbed(seed + pair, sign, dims).run(graph, arguments)
                for total, base, other in zip(spread, exact, moved):
                    np.maximum(total, _distance(base, other), out=total)
        bounds = [
            MARGIN * np.maximum(total, _typical(total, base)) + UNITS * _spacing(base)
            for total, base in zip(spread, exact)
        ]
    return exact, [np.where(np.isnan(b), np.inf, b) for b in bounds]


def _unit(array: np.ndarray) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _spacing(array: np.ndarray) -> np.ndarray:
    """A unit in the last place of each element, in float64; 0 for integers, bools, infinities."""
    if array.dtype.kind != "f":
        return np.zeros(array.shape)
    least = float(np.finfo(array.dtype).smallest_subnormal)
    size = np.where(np.isfinite(array), np.abs(array.astype(np.float64)), 0)
    return np.asarray(size * _unit(array) + least)


def _typical(spread: np.ndarray, base: np.ndarray) -> np.ndarray:
    """For each element the median spread, in units in the last place of the element."""
    finite = np.isfinite(spread)
    if base.dtype.kind != "f" or not finite.any():
        return np.zeros(base.shape)
    spacing = _spacing(base)
    return np.asarray(spacing * np.median(spread[finite] / spacing[finite]))


def _distance(base: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|base - other| as float64; 0 for equal values, infinite where a special value changes or an
    integer or bool does."""
    same = (base == other) | ((base != base) & (other != other))
    if base.dtype.kind != "f":
        return np.where(same, 0.0, np.inf)
    a, b = base.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    return np.where(same, 0.0, np.where(finite, np.abs(a - b), np.inf))


def within(base: np.ndarray, other: np.ndarray, bound: np.ndarray) -> bool:
    """Whether two results agree: equal dtype and shape, and everywhere no further apart than the
    bound; NaN agrees with NaN, an infinity with itself."""
    if base.dtype != other.dtype or base.shape != other.shape:
        return False
    with np.errstate(all="ignore"):
        return bool((_distance(base, other) <= bound).all())
