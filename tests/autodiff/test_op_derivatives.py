"""Every differentiable op of the registry: first and second order, all modes, from its samples."""

from __future__ import annotations

import numpy as np
import pytest
from derivative_checks import assert_derivatives, floats, make_graph

from irgrad.autodiff import jvp_graph, vjp_graph
from irgrad.interpret import interpret
from irgrad.ir.types import DTYPES
from irgrad.ops.record import NotDifferentiable, Sample
from irgrad.ops.registry import REGISTRY

DIFFERENTIABLE = sorted(
    name for name, op in REGISTRY.items() if not isinstance(op.jvp, NotDifferentiable)
)
# Differences do not see these as irgrad does: rounding to f32, and a derivative declared to be 0.
BY_RULE_ONLY = {"cast", "stop_gradient"}
SMOOTH = sorted(set(DIFFERENTIABLE) - BY_RULE_ONLY)


def float_samples(name: str, dtype: str) -> list[Sample]:
    """Samples with float operands, all of one float dtype, and finite values."""
    found = []
    for sample in REGISTRY[name].samples(np.random.default_rng(3)):
        values = [sample.operands[i] for i in floats(sample.operands)]
        if values and all(x.dtype == dtype and np.isfinite(x).all() for x in values):
            found.append(sample)
    return found


@pytest.mark.parametrize("name", SMOOTH)
def test_first_and_second_order(name: str) -> None:
    rng = np.random.default_rng(5)
    for sample in float_samples(name, "f8"):
        arrays = list(sample.operands)
        graph = make_graph(
            lambda *x, attrs=sample.attrs: x[0].builder.emit(name, x, **attrs), arrays
        )
        if not graph.outputs:
            continue
        vjp, more = assert_derivatives(graph, arrays, rng)
        assert_derivatives(vjp, more, rng)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_f32_derivatives_stay_f32(name: str) -> None:
    for sample in float_samples(name, "f4"):
        arrays = list(sample.operands)
        graph = make_graph(
            lambda *x, attrs=sample.attrs: x[0].builder.emit(name, x, **attrs), arrays
        )
        active = floats(arrays)
        pushed = jvp_graph(graph, active)
        pulled = vjp_graph(graph, active)
        outputs = [graph.type(v) for v in graph.outputs]
        tangents = [t for t in outputs if t.dtype.is_float]
        assert [pushed.type(v) for v in pushed.outputs] == outputs + tangents
        inputs = [graph[graph.inputs[i]].types[0] for i in active]
        assert [pulled.type(v) for v in pulled.outputs] == outputs + inputs


def test_cast_passes_tangents_between_floats_alone() -> None:
    x = np.array([0.5, -1.5], np.float32)
    graph = make_graph(lambda x: x.op("cast", dtype=DTYPES["f64"]), [x])
    (out, pulled) = interpret(vjp_graph(graph, [0]), [x, np.array([2.0, 3.0])])
    assert out.dtype == np.float64 and pulled.dtype == np.float32
    np.testing.assert_array_equal(pulled, [2, 3])
    cut = make_graph(
        lambda x: x.op("cast", dtype=DTYPES["i32"]).op("cast", dtype=DTYPES["f32"]), [x]
    )
    np.testing.assert_array_equal(interpret(vjp_graph(cut, [0]), [x, x])[1], [0, 0])


def test_stop_gradient_is_an_identity_without_derivative() -> None:
    x = np.array([2.0, 3.0])
    graph = make_graph(lambda x: x * x.op("stop_gradient"), [x])
    out, pulled = interpret(vjp_graph(graph, [0]), [x, np.ones(2)])
    np.testing.assert_array_equal(out, x * x)
    np.testing.assert_array_equal(pulled, x)

