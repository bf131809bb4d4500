"""Whole graphs, batched: random ones, with names for sizes, and what is not computed anew."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from batch_checks import Arrays, assert_near, element, elements, graph_of, loop

import irgrad.numpy as np
from irgrad.autodiff import jvp_graph, vjp_graph
from irgrad.autodiff.batch import batch_graph
from irgrad.batching import vmap
from irgrad.differentiation import grad
from irgrad.errors import ShapeError
from irgrad.interpret import interpret
from irgrad.ir.dims import symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.parser import parse
from irgrad.ir.verify import verify
from irgrad.jacobians import hessian, jacobian
from irgrad.ops.registry import REGISTRY
from irgrad.ops.structured import has_tangent
from irgrad.passes.inline_calls import InlineCalls
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.random_graphs import random_graph
from irgrad.tracing.trace import trace
from irgrad.transforms import check

SEEDS = range(7000, 7150)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graph_is_a_loop_over_its_elements(seed: int) -> None:
    """Within what the conditioning of each element allows, some batches of no element."""
    print(f"seed {seed}")
    drawn = random_graph(seed)
    rng = numpy.random.default_rng(seed)
    size = int(rng.choice((0, 1, 2, 3), p=(0.1, 0.1, 0.4, 0.4)))
    flags = tuple(bool(x) for x in rng.random(len(drawn.arguments)) < 0.6)
    parts = [elements(rng, x, max(size, 1)) for x in drawn.arguments]
    named = seed % 4 == 0 and any(flags)
    batched, outs = batch_graph(drawn.graph, flags, symbol("batch") if named else size)
    verify(batched, "traced", REGISTRY)
    given = [
        numpy.stack(x)[:size] if flag else x[0] for x, flag in zip(parts, flags, strict=True)
    ]
    got = interpret(batched, given)
    axes = [0 if flag else None for flag in flags]
    for i in range(size):
        exact, bounds = condition_bound(drawn.graph, element(parts, axes, i))
        for x, flag, want, bound in zip(got, outs, exact, bounds, strict=True):
            found = x[i] if flag else x
            assert within(want, found, bound), f"element {i}: expected {want}, got {found}"
    assert all(x.shape[0] == size for x, flag in zip(got, outs) if flag)


@pytest.mark.parametrize("seed", range(8000, 8020))
def test_derivatives_of_a_random_batch_are_the_batch_of_derivatives(seed: int) -> None:
    print(f"seed {seed}")
    drawn = random_graph(seed, steps=5, style="fusion")
    graph = drawn.graph
    active = [i for i, key in enumerate(graph.inputs) if has_tangent(graph.type(Value(key)))]
    rng = numpy.random.default_rng(seed)
    count = len(graph.inputs)
    batched, _ = batch_graph(graph, (True,) * count, 2)
    given = [numpy.stack(elements(rng, x, 2)) for x in drawn.arguments]
    tangents = [numpy.asarray(rng.uniform(-1, 1, given[i].shape), given[i].dtype) for i in active]
    derived, outs = batch_graph(jvp_graph(graph, active), (True,) * (count + len(active)), 2)
    ours = interpret(jvp_graph(batched, active), [*given, *tangents])
    theirs = interpret(derived, [*given, *tangents])
    for a, b, flag in zip(ours, theirs, outs, strict=True):
        b = b if flag else numpy.broadcast_to(b, a.shape)
        numpy.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * (1 + abs(b).max(initial=0)))


# -- how much is computed --------------------------------------------------------------------------


def network(w: Any, x: Any, y: Any) -> Any:
    return np.sum((np.tanh(w["first"] @ x + w["bias"]) @ w["last"] - y) ** 2)


def weights() -> dict[str, numpy.ndarray]:
    rng = numpy.random.default_rng(0)
    shapes = {"first": (5, 3), "bias": (5,), "last": (5,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def count_nodes(f: Any, *args: Any) -> int:
    return len(trace(f, *args))


def test_node_counts_do_not_depend_on_sizes() -> None:
    w, one = weights(), numpy.ones
    per_sample = vmap(grad(network), (None, 0, 0))
    counts = {count_nodes(per_sample, w, one((n, 3)), one(n)) for n in (1, 2, 7, 300)}
    assert len(counts) == 1
    assert counts.pop() < 1.5 * count_nodes(grad(network), w, one(3), one(()))
    scalar = {count_nodes(hessian(lambda x: np.sum(np.sin(x) ** 3)), one(n)) for n in (2, 7, 300)}
    assert len(scalar) == 1
    for mode in ("forward", "reverse"):
        outer = jacobian(lambda x: np.sin(x)[:, None] * x, mode=mode)
        assert len({count_nodes(outer, one(n)) for n in (2, 7, 300)}) == 1


def test_what_elements_share_is_computed_once() -> None:
    w, x = numpy.ones((4, 4)), numpy.ones((6, 4))
    graph = trace(vmap(lambda w, x: np.exp(w @ w) @ x, (None, 0)), w, x)
    types = [str(graph[key].types[0]) for key in graph.order() if graph[key].op == "exp"]
    assert types == ["f64[4,4]"]
    shapes = {op: [] for op in ("exp", "sin")}
    pushed = trace(jacobian(lambda x: np.exp(np.sin(x)) * x), numpy.ones(9))
    for key in pushed.order():
        shapes.get(pushed[key].op, []).append(pushed[key].types[0].shape)
    assert shapes == {"exp": [(9,)], "sin": [(9,)]}


def test_constants_take_the_batch_without_being_repeated() -> None:
    graph = graph_of(lambda x: x * x.like(2) + 1, [numpy.ones(3)])
    batched, _ = batch_graph(graph, [True], 5)
    shapes = [batched[key].types[0].shape for key in batched.order()]
    assert set(shapes) == {(5, 3)} and len(shapes) == len(graph)


def test_locations_and_names_of_inputs_stay() -> None:
    graph = graph_of(lambda x, y: x.op("exp") * y, [numpy.ones(3), numpy.ones(3)])
    graph.update(graph.inputs[0], name="speed")
    batched, _ = batch_graph(graph, [True, False], 2)
    assert batched[batched.inputs[0]].name == "speed"
    traced = trace(vmap(lambda x: np.exp(x)), numpy.ones((2, 3)))
    (key,) = (k for k in traced.order() if traced[k].op == "exp")
    assert traced[key].locations[0].file == __file__


# -- sizes with names ------------------------------------------------------------------------------


def test_sizes_may_have_names() -> None:
    per_sample = vmap(grad(lambda w, x: np.sum(np.tanh(w @ x)) + x.shape[0]), (None, 0))
    graph = trace(per_sample, "f64[k,n]", "f64[batch,n]")
    assert [str(graph.type(v)) for v in graph.outputs] == ["f64[batch,k,n]"]
    assert parse(str(graph)) == graph
    rng = numpy.random.default_rng(1)
    w, x = rng.normal(size=(2, 3)), rng.normal(size=(4, 3))
    for size in (4, 1, 0):
        (got,) = interpret(graph, [w, x[:size]])
        slope = 1 - numpy.tanh(x[:size] @ w.T) ** 2
        assert_near(got, slope[:, :, None] * x[:size, None, :])
    nested = trace(vmap(vmap(lambda a, b: a * b, (0, None)), (0, 1)), "f32[m,n]", "f32[n,m]")
    assert str(nested.type(nested.outputs[0])) == "f32[m,n,n]"
    with pytest.raises(ShapeError, match=r"got m \(axis 0 of argument 0, f32\[m,n\]\) and n"):
        trace(vmap(lambda a, b: a), "f32[m,n]", "f32[n,m]")


@pytest.mark.parametrize("mode", ["forward", "reverse", None])
def test_jacobians_of_sizes_with_names(mode: Any) -> None:
    def f(p: Any) -> Any:
        return np.tanh(p["w"]) * p["b"][0], np.sum(p["b"])

    rng = numpy.random.default_rng(2)
    p = {"w": rng.normal(size=4), "b": rng.normal(size=2)}
    graph = trace(jacobian(f, mode=mode), {"w": "f64[n]", "b": "f64[m+1]"})
    expected = interpret(trace(jacobian(f, mode="forward"), p), [p["b"], p["w"]])
    for a, b in zip(interpret(graph, [p["b"], p["w"]]), expected, strict=True):
        assert_near(a, b)


# -- regions ---------------------------------------------------------------------------------------


def region_graph(name: str) -> tuple[Graph, Arrays]:
    (sample,) = REGISTRY[name].samples(numpy.random.default_rng(5))
    graph = graph_of(lambda *x: x[0].builder.emit(name, x, **sample.attrs), sample.operands)
    return graph, list(sample.operands)


@pytest.mark.parametrize("name", ["custom_jvp_call", "custom_vjp_call", "linear_call"])
def test_regions_are_batched_twice_and_inlined(name: str) -> None:
    graph, arrays = region_graph(name)
    flags = (True,) + (False,) * (len(arrays) - 1)
    once, _ = batch_graph(graph, flags, 3)
    twice, _ = batch_graph(once, flags[::-1], 2)
    rng = numpy.random.default_rng(7)
    first = elements(rng, arrays[0], 3)
    last = elements(rng, arrays[-1], 2)
    given = [numpy.stack(first), *arrays[1:]]
    given[-1] = numpy.stack([given[-1]] * 2) if len(arrays) == 1 else numpy.stack(last)
    verify(twice, "traced", REGISTRY)
    got = interpret(twice, given)
    inlined = twice.copy()
    InlineCalls().apply(inlined)
    for a, b in zip(interpret(inlined, given), got, strict=True):
        assert_near(a, b)
    if len(arrays) > 1:
        for j in range(2):
            at = [[x] for x in arrays]
            at[0], at[-1] = first, [last[j]]
            axes = [0] + [None] * (len(arrays) - 1)
            for a, b in zip(got, loop(graph, at, axes, 3), strict=True):
                assert_near(a[j], numpy.stack(b))
    active = range(len(arrays))
    verify(vjp_graph(twice, active), "traced", REGISTRY)


def test_cotangents_of_shared_operands_are_summed_in_the_region() -> None:
    graph, arrays = region_graph("linear_call")
    batched, _ = batch_graph(graph, [True, False, False], 3)
    residual = numpy.stack(elements(numpy.random.default_rng(8), arrays[0], 3))
    both = [numpy.ones((3, 4)), numpy.full((3, 4), 2.0)]
    pulled = interpret(vjp_graph(batched, [1, 2]), [residual, *arrays[1:], *both])[2:]
    assert_near(pulled[0], residual.sum(0))
    assert_near(pulled[1], numpy.full(4, 9.0))


def test_effects_keep_their_order() -> None:
    def f(x: Any) -> Any:
        check(np.all(x > -1), "first")
        check(np.sum(x) > -1, "second")
        return x

    graph = trace(vmap(vmap(f)), numpy.ones((2, 3, 4)))
    assert [graph[key].attribute("message") for key in graph.effects] == ["first", "second"]
    assert [str(graph.type(graph[key].operands[0])) for key in graph.effects] == ["bool[2,3]"] * 2
