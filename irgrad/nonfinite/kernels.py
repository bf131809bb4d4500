"""The kernel that made a NaN or an infinity which the interpreter does not see.

Kernels sum in another order than the interpreter, which accumulates in float64, and rewrites may
compute another way: a result may overflow in compiled code alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import InternalError
from ..interpret import graph_dims, interpret
from ..ir.graph import Graph, Value
from ..passes.culprit import members
from ..passes.lower import lower
from ..runtime.backend import Backend
from ..runtime.options import Options
from ..self_check import graph_of, with_sizes
from .search import (
    REPLACEMENTS,
    Index,
    Origin,
    Reading,
    extremes,
    first_nonfinite,
    is_inexact,
)

Run = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def find_kernel(
    optimised: Graph,
    backend: Backend,
    options: Options,
    inputs: Sequence[np.ndarray],
    leaves: Sequence[int],
) -> Origin | None:
    """The first kernel that makes a result non-finite of finite operands, run one by one.

    optimised: the graph after all passes. inputs: for all of its inputs. leaves: the results that
    were not finite. None where the kernels, run again, give finite results.
    """
    needed = optimised.copy()
    needed.outputs, needed.effects = [optimised.outputs[leaf] for leaf in leaves], []
    settings = replace(options, check="none", debug_nan=False, progress=None)
    values = dict(zip(map(Value, needed.inputs), inputs, strict=True))
    runs: dict[int, Run] = {}

    def keep(key: int, results: Sequence[np.ndarray]) -> None:
        values.update((Value(key, r), array) for r, array in enumerate(results))

    if not backend.lowers:
        interpret(needed, inputs, watch=keep)
    for key in needed.order() if backend.lowers else ():
        if needed[key].op != "input":
            runs[key] = _runner(needed, key, backend, settings, graph_dims(needed, inputs))
            keep(key, runs[key]([values[v] for v in needed[key].operands]))
    found = _origins(needed, values, runs)
    value = next((Value(key, r) for key in needed.order() for r in found.get(key, ())), None)
    if value is None:
        return None
    node, array = needed[value.node], values[value]
    index = first_nonfinite(array)
    assert index is not None
    readings = [r for v in node.operands for r in _readings(values[v], array, index)]
    op = node.op
    if op == "fused":
        op = f"kernel {node.name}, a {node.attribute('kind')} of {members(node.attribute('body'))}"
    return Origin(
        op, op in ("input", "constant"), index, array[index], str(needed.type(value)),
        tuple(readings), node.locations,
    )  # fmt: skip


def _runner(
    graph: Graph, key: int, backend: Backend, options: Options, dims: Mapping[str, int]
) -> Run:
    """What runs one node: a kernel compiled alone, or the interpreter. dims: of named sizes."""
    node, one = graph[key], graph_of(graph, key)
    if node.op != "fused":
        return lambda operands: interpret(one, with_sizes(one, operands, dims))
    executable = backend.compile(lower(one), one, options)

    def run(operands: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        arrays = [np.array(operand, order="C") for operand in operands]
        results = executable.call(tuple(with_sizes(one, arrays, dims)))
        if results is None:
            raise InternalError(f"kernel {node.name}: expected its own operands to be accepted")
        return results

    return run


def _origins(
    graph: Graph, values: Mapping[Value, np.ndarray], runs: Mapping[int, Run]
) -> dict[int, list[int]]:
    """The nodes, with their results, that outputs which are not finite come from."""
    found: dict[int, list[int]] = {}
    seen: set[Value] = set()
    stack = list(graph.outputs)
    while stack:
        value = stack.pop()
        if value in seen or first_nonfinite(values[value]) is None:
            continue
        seen.add(value)
        operands = graph[value.node].operands
        bad = [v for v in operands if first_nonfinite(values[v]) is not None]
        if bad and value.node in runs:
            results = runs[value.node]([_harmless(values[v]) for v in operands])
            if first_nonfinite(results[value.result]) is not None:
                bad = []
        if not bad:
            found.setdefault(value.node, []).append(value.result)
        stack += bad
    return found


def _harmless(array: np.ndarray) -> np.ndarray:
    """An array with finite numbers in the place of others."""
    if not is_inexact(array):
        return array
    return np.where(np.isfinite(array), array, np.asarray(REPLACEMENTS[0], array.dtype))


def _readings(operand: np.ndarray, result: np.ndarray, index: Index) -> list[Reading]:
    """The element at the same place, or the extremes where an operand has another shape."""
    if not is_inexact(operand):
        return []
    return [(index, operand[index])] if operand.shape == result.shape else extremes(operand)
