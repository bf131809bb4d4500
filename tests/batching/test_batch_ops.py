"""Every op of the registry: batched, against a loop over its elements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from batch_checks import Axis, assert_near, elements, graph_of_sample, join, loop

from irgrad.autodiff import jvp_graph, vjp_graph
from irgrad.autodiff.batch import batch_graph
from irgrad.batching import vmap
from irgrad.errors import CheckError
from irgrad.interpret import interpret
from irgrad.ir.graph import Graph, Value
from irgrad.ir.verify import verify
from irgrad.ops.record import BatchedByEngine, NeverBatched, NotDifferentiable, Sample
from irgrad.ops.registry import REGISTRY
from irgrad.ops.structured import has_tangent
from irgrad.tracing.trace import trace

SIZE = 3
ALL = sorted(REGISTRY)
WITH_OPERANDS = [name for name in ALL if not isinstance(REGISTRY[name].batch, NeverBatched)]
DIFFERENTIABLE = [
    name for name in WITH_OPERANDS
    if not isinstance(REGISTRY[name].jvp, NotDifferentiable) and not REGISTRY[name].effect
]  # fmt: skip


def samples(name: str) -> list[Sample]:
    return REGISTRY[name].samples(np.random.default_rng(2))


def choices(count: int) -> Iterator[tuple[bool, ...]]:
    """Every choice of some of the operands."""
    yield from (flags for flags in itertools.product((False, True), repeat=count) if any(flags))


def assert_vmap_is_the_loop(
    name: str, sample: Sample, in_axes: Sequence[Axis], out_axis: int, size: int
) -> None:
    rng = np.random.default_rng(4)
    arrays = [elements(rng, x, max(size, 1)) for x in sample.operands]
    given = [
        parts[0] if axis is None else join(parts[:size], axis, parts[0])
        for parts, axis in zip(arrays, in_axes)
    ]

    def call(*operands: Any) -> Any:
        return operands[0].context.emit(name, operands, **sample.attrs)

    mapped = trace(vmap(call, tuple(in_axes), out_axis), *given)
    verify(mapped, "traced", REGISTRY)
    got = interpret(mapped, given)
    plain = graph_of_sample(name, sample)
    like = interpret(plain, sample.operands)
    for found, parts, one in zip(got, loop(plain, arrays, in_axes, size), like, strict=True):
        assert_near(found, join(parts, out_axis, one))


@pytest.mark.parametrize("name", WITH_OPERANDS)
def test_op_is_a_loop_over_its_elements(name: str) -> None:
    """Every sample, every combination of batched operands, each along some axis."""
    rng = np.random.default_rng(3)
    for sample in samples(name):
        graph = graph_of_sample(name, sample)
        rank = min((graph.type(v).rank for v in graph.outputs), default=0)
        for flags in choices(len(sample.operands)):
            axes = [
                int(rng.integers(-x.ndim - 1, x.ndim + 1)) if flag else None
                for x, flag in zip(sample.operands, flags)
            ]
            out = int(rng.integers(-rank - 1, rank + 1))
            assert_vmap_is_the_loop(name, sample, axes, out, SIZE)


@pytest.mark.parametrize("name", WITH_OPERANDS)
def test_every_axis_of_every_operand(name: str) -> None:
    """All in_axes of one sample, with batches of no and of one element among them."""
    sample = max(samples(name), key=lambda call: sum(x.ndim for x in call.operands))
    every = [(None, *range(x.ndim + 1)) for x in sample.operands]
    combinations = [axes for axes in itertools.product(*every) if any(a is not None for a in axes)]
    for number, axes in enumerate(combinations[:: max(1, len(combinations) // 30)]):
        assert_vmap_is_the_loop(name, sample, axes, 0, (SIZE, 0, 1)[number % 3])


@pytest.mark.parametrize("name", sorted(set(ALL) - set(WITH_OPERANDS)))
def test_ops_without_operands_are_computed_once(name: str) -> None:
    sample = samples(name)[-1]

    def call(x: Any) -> Any:
        return x.context.one(name, **sample.attrs)

    (expected,) = interpret(graph_of_sample(name, sample), [])
    graph = trace(vmap(call, out_axes=None), np.zeros(SIZE))
    assert_near(interpret(graph, [np.zeros(SIZE)])[0], expected)
    graph = trace(vmap(call), np.zeros(SIZE))
    assert_near(interpret(graph, [np.zeros(SIZE)])[0], np.stack([expected] * SIZE))


def batched_inputs(sample: Sample, flags: Sequence[bool]) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    parts = [elements(rng, x, SIZE) for x in sample.operands]
    return [np.stack(x) if flag else x[0] for x, flag in zip(parts, flags)]


def float_inputs(graph: Graph) -> list[int]:
    return [i for i, key in enumerate(graph.inputs) if has_tangent(graph.type(Value(key)))]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives_of_the_batch_are_the_batch_of_derivatives(name: str) -> None:
    rng = np.random.default_rng(6)
    fitting = [s for s in samples(name) if s.operands and s.operands[-1].dtype == np.float64]
    for sample in fitting[-1:]:
        plain = graph_of_sample(name, sample)
        active = float_inputs(plain)
        for flags in choices(len(sample.operands)):
            arrays = batched_inputs(sample, flags)
            batched, outs = batch_graph(plain, flags, SIZE)
            assert all(outs)
            moved = tuple(flags[i] for i in active)
            tangents = [rng.uniform(-1, 1, arrays[i].shape) for i in active]
            jvp, _ = batch_graph(jvp_graph(plain, active), flags + moved, SIZE)
            for a, b in zip(
                interpret(jvp_graph(batched, active), [*arrays, *tangents]),
                interpret(jvp, [*arrays, *tangents]),
                strict=True,
            ):
                assert_near(a, np.broadcast_to(b, a.shape))
            floats = [v for v in batched.outputs if has_tangent(batched.type(v))]
            cotangents = [rng.uniform(-1, 1, batched.type(v).shape) for v in floats]
            vjp, each = batch_graph(vjp_graph(plain, active), flags + (True,) * len(floats), SIZE)
            ours = interpret(vjp_graph(batched, active), [*arrays, *cotangents])
            theirs = interpret(vjp, [*arrays, *cotangents])
            for a, b, flag in zip(ours, theirs, each, strict=True):
                summed = b.sum(0) if flag and a.ndim < b.ndim else b
                assert_near(a, np.broadcast_to(summed, a.shape))


def test_ops_with_regions_are_left_to_the_engine() -> None:
    for name, op in REGISTRY.items():
        regions = "graph" in op.attributes.values()
        assert isinstance(op.batch, BatchedByEngine) == regions, name
        assert isinstance(op.batch, NeverBatched) == (not samples(name)[0].operands), name


def test_a_check_fails_for_any_element_and_counts_through_the_batch() -> None:
    sample = Sample((np.ones((2, 3), bool),), {"message": "all positive"})
    graph, _ = batch_graph(graph_of_sample("check", sample), [True], 4)
    flags = np.ones((4, 2, 3), bool)
    assert interpret(graph, [flags]) == []
    flags[2, 1, 0] = False
    with pytest.raises(CheckError, match="all positive.*flat index 15 of 24"):
        interpret(graph, [flags])
