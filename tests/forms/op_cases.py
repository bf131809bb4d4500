"""Cases for every op of the registry, and for its derivative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from both_forms import Case, case

from irgrad.autodiff import vjp_graph
from irgrad.ir.graph import Graph
from irgrad.ir.types import TensorType, dtype_of
from irgrad.ops.record import NotDifferentiable, Sample
from irgrad.ops.registry import REGISTRY, builder

FLOATS = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e-39, 1e30, -745.0, 1e-310, 1e6,
    -88.5, 2.5, 1e300,
)  # fmt: skip
FEW = 4  # samples of an op that is not elementwise


def op_graph(name: str, sample: Sample) -> Graph:
    """The graph of one op on a sample's types."""
    graph = Graph(name)
    b = builder(graph)
    types = [TensorType(dtype_of(x.dtype), x.shape) for x in sample.operands]
    results = b.emit(name, [b.wrap(graph.add_input(t)) for t in types], **sample.attrs)
    graph.outputs = [x.value for x in results]
    if REGISTRY[name].effect:
        graph.effects.append(max(graph))
    return graph


def special(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The arrays with some of their numbers replaced by unusual ones of their dtype."""
    return tuple(_special(array, rng) for array in arrays)


def _special(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    values: np.ndarray
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = np.array(FLOATS).astype(array.dtype)
    elif array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        values = np.array([info.min, info.max, 0, 1, info.max // 2], array.dtype)
    else:
        return array
    mixed = np.array(array)
    where = rng.random(array.shape) < 0.6
    mixed[where] = rng.choice(values, int(where.sum()))
    return mixed


def op_names() -> list[str]:
    """The ops that lower to kernels by themselves or as what they are made of."""
    return sorted(name for name in REGISTRY if name != "fused")


def samples_of(name: str, every: bool) -> Iterator[Sample]:
    """The samples of an op: all of them, or of an elementwise op the longest of each dtype, of
    another a few."""
    found = REGISTRY[name].samples(np.random.default_rng(7))
    if every:
        yield from found
    elif REGISTRY[name].family == "elementwise":
        for sample in found:
            if len(sample.operands[0].shape) == 1 and sample.operands[0].size > 1:
                yield sample
    else:
        yield from found[:: max(1, len(found) // FEW)]


def op_cases(names: Sequence[str], every: bool = False) -> list[Case]:
    """Cases of some ops; elementwise ones also meet unusual numbers."""
    rng = np.random.default_rng(11)
    cases: list[Case] = []
    for name in names:
        for i, sample in enumerate(samples_of(name, every)):
            operands = tuple(np.asarray(x) for x in sample.operands)
            if REGISTRY[name].family == "elementwise":
                operands = special(operands, rng)
            kinds = ",".join(str(x.dtype) for x in operands)
            cases.append(case(f"{name} {i} {kinds}", op_graph(name, sample), operands, "exact"))
    return cases


def gradient_cases(names: Sequence[str], every: bool = False) -> list[Case]:
    """Cases of the backward graphs of some ops."""
    rng = np.random.default_rng(13)
    cases: list[Case] = []
    for name in names:
        if isinstance(REGISTRY[name].jvp, NotDifferentiable):
            continue
        for i, sample in enumerate(samples_of(name, every)):
            active = [n for n, x in enumerate(sample.operands) if x.dtype.kind == "f"]
            graph = op_graph(name, sample)
            outputs = [graph.type(v) for v in graph.outputs]
            if not active or not all(t.dtype.is_float for t in outputs):
                continue
            pulled = vjp_graph(graph, active)
            types = [pulled.type(pulled_input) for pulled_input in _inputs(pulled)]
            cotangents = [
                rng.standard_normal(t.shape).astype(t.dtype.numpy)  # type: ignore[arg-type]
                for t in types[len(sample.operands) :]
            ]
            operands = tuple(np.asarray(x) for x in sample.operands)
            cases.append(case(f"grad {name} {i}", pulled, (*operands, *cotangents)))
    return cases


def _inputs(graph: Graph) -> list:
    from irgrad.ir.graph import Value

    return [Value(key) for key in graph.inputs]
