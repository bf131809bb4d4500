"""How far a result may be from the interpreter's: a bound that scales with the conditioning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..interpret import interpret
from ..ir.graph import Graph, Value
from ..ops.registry import REGISTRY

SAMPLES = 6
UNITS = 4.0  # rounding errors, in units in the last place, that a node may make
MARGIN = 8.0


class _Perturbed:
    """Runs a graph with every float result moved by a few units in the last place."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.dims: dict[str, int] = {}

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = {Value(key): np.asarray(a) for key, a in zip(graph.inputs, arguments)}
        for key in graph.order():
            node = graph[key]
            if node.op == "input":
                continue
            record = REGISTRY[node.op]
            operands = [values[operand] for operand in node.operands]
            results = record.evaluate(operands, dict(node.attributes), self)
            moved = record.family in ("elementwise", "reduce", "contract")
            for index, result in enumerate(results):
                array = np.asarray(result)
                values[Value(key, index)] = self._move(array, operands) if moved else array
        return [values[value] for value in graph.outputs]

    def _move(self, array: np.ndarray, operands: Sequence[np.ndarray]) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        unit = np.finfo(array.dtype).eps * UNITS
        noise = 1 + self.rng.uniform(-1, 1, array.shape) * unit
        zero_sign = self.rng.choice([-1.0, 1.0], array.shape)
        moved = array.astype(np.float64) * np.where(array == 0, zero_sign, noise)
        return np.asarray(moved.astype(array.dtype))


def condition_bound(
    graph: Graph, arguments: Sequence[np.ndarray], seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The interpreter's outputs, and for each the largest difference that rounding explains.

    Every float result of every node is moved by up to UNITS units in the last place, a zero to
    either sign, SAMPLES times; the bound is MARGIN times the spread of the outputs so found, plus
    UNITS units of the output. An element that the movement makes infinite, NaN or (of integer or
    bool type) different has an infinite bound.
    """
    exact = interpret(graph, arguments)
    rng = np.random.default_rng(seed)
    spread = [np.zeros(np.shape(a), np.float64) for a in exact]
    with np.errstate(all="ignore"):
        for _ in range(SAMPLES):
            for total, base, moved in zip(spread, exact, _Perturbed(rng).run(graph, arguments)):
                difference = _distance(base, moved)
                np.maximum(total, difference, out=total)
        bounds = [
            total * MARGIN + _unit(base) * UNITS * np.abs(np.nan_to_num(base.astype(np.float64)))
            for total, base in zip(spread, exact)
        ]
    return exact, [np.where(np.isnan(b), np.inf, b) for b in bounds]


def _unit(array: np.ndarray) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _distance(base: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|base - other| as float64; 0 for equal values, infinite where a special value changes or an
    integer or bool does."""
    a, b = base.astype(np.float64), other.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if base.dtype.kind != "f":
        return np.where(same, 0.0, np.inf)
    difference = np.abs(a - b)
    return np.where(same, 0.0, np.where(np.isfinite(a) & np.isfinite(b), difference, np.inf))


def within(base: np.ndarray, other: np.ndarray, bound: np.ndarray) -> bool:
    """Whether two results agree: equal dtype and shape, and everywhere no further apart than the
    bound; NaN agrees with NaN, an infinity with itself."""
    if base.dtype != other.dtype or base.shape != other.shape:
        return False
    with np.errstate(all="ignore"):
        return bool((_distance(base, other) <= bound).all())
