"""Cases for every op of the registry, and for its derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from both_forms import Case, case

from irgrad.autodiff import vjp_graph
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import TensorType, dtype_of
from irgrad.ops.record import NotDifferentiable, Sample
from irgrad.ops.registry import REGISTRY, builder

FLOATS = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e-39, 1e30, -745.0, 1e-310, 1e6,
    -88.5, 2.5, 1e300,
)  # fmt: skip
STEP = 4  # between the dtypes that an op is tested on, where it has many


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


def few(name: str, samples: Sequence[Sample]) -> list[Sample]:
    """Some of an op's samples.

    Of an elementwise op these are vectors: one of a float dtype, f32 and f64 in turn from op to op,
    and one of another dtype. Of any other op they are two, from the middle of the list.
    """
    if REGISTRY[name].family != "elementwise":
        count = len(samples)
        return [samples[i] for i in sorted({count // 3, 2 * count // 3}) if samples]
    kinds: dict[str, Sample] = {}
    for sample in samples:
        if len(sample.operands[0].shape) == 1 and sample.operands[0].size > 1:
            kinds[f"{[x.dtype.str for x in sample.operands]} {sample.attrs}"] = sample
    floats = [x for x in kinds.values() if any(y.dtype.kind == "f" for y in x.operands)]
    others = [x for x in kinds.values() if all(y.dtype.kind != "f" for y in x.operands)]
    turn = op_names().index(name)
    return [
        x for some in (floats, others) if some for x in some[turn % min(len(some), STEP) :: STEP]
    ]


def op_cases(names: Sequence[str], every: bool = False) -> list[Case]:
    """Cases of some ops; elementwise ones also meet unusual numbers."""
    rng = np.random.default_rng(11)
    cases: list[Case] = []
    for name in names:
        found = list(REGISTRY[name].samples(np.random.default_rng(7)))
        for i, sample in enumerate(found if every else few(name, found)):
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
        found = differentiable(name)
        for i, sample in enumerate(found if every else few(name, found)[:1]):
            graph = op_graph(name, sample)
            pulled = vjp_graph(graph, float_positions(sample))
            cotangents = [
                rng.standard_normal(t.shape).astype(t.dtype.numpy)  # type: ignore[arg-type]
                for t in map(pulled.type, map(Value, pulled.inputs[len(sample.operands) :]))
            ]
            operands = tuple(np.asarray(x) for x in sample.operands)
            cases.append(case(f"grad {name} {i}", pulled, (*operands, *cotangents)))
    return cases


def differentiable(name: str) -> list[Sample]:
    """The samples of an op in which floats depend on floats, where it has a derivative."""
    if isinstance(REGISTRY[name].jvp, NotDifferentiable):
        return []
    samples = REGISTRY[name].samples(np.random.default_rng(7))
    return [x for x in samples if float_positions(x) and _gives_floats(op_graph(name, x))]


def float_positions(sample: Sample) -> list[int]:
    """Which operands of a sample are floats."""
    return [i for i, x in enumerate(sample.operands) if x.dtype.kind == "f"]


def _gives_floats(graph: Graph) -> bool:
    return all(graph.type(value).dtype.is_float for value in graph.outputs)
