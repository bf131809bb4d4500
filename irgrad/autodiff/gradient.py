"""Reverse-mode graphs: vector-Jacobian products, gradients, and a function split for later use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DifferentiationError
from ..ir.graph import Graph, Value
from ..ir.location import gradient_of
from ..ir.signature import LEAF, Signature, Tree, flat_tree
from ..ops.build import Builder, Expr
from ..ops.registry import builder as registry_builder
from ..ops.structured import has_tangent
from .common import finish, located, remove_inputs
from .linearize import Linearization, add_tangent_inputs, linearize_in_place, output_tangents
from .transpose import or_zeros, transpose_linear


@dataclass(frozen=True, slots=True)
class SplitGraph:
    """A function cut where its derivative begins.

    forward: inputs -> outputs, then `residuals` values that the derivative needs. linear: those
    residuals, then tangents of the active inputs -> tangents of the float outputs.
    """

    forward: Graph
    linear: Graph
    residuals: int


def vjp_graph(graph: Graph, active: Sequence[int]) -> Graph:
    """The graph of a function and of its vector-Jacobian product, forward and backward in one.

    active: positions of the float inputs to differentiate by. Inputs: those of `graph`, then
    cotangents of its float outputs; captures become plain inputs. Outputs: those of `graph`, then
    cotangents of the active inputs, zeros included.

    Raises DifferentiationError for an active input that is not float, or an op without derivative.
    """
    work = graph.copy()
    builder = registry_builder(work)
    primals, result, seeds = _linearize(builder, active)
    cotangents = [
        (value, builder.wrap(work.add_input(work.type(value))))
        for value in work.outputs
        if has_tangent(work.type(value))
    ]
    pulled = _transpose(builder, primals, seeds, result, cotangents)
    return finish(work, [*work.outputs, *pulled])


def gradient_graph(
    graph: Graph, active: Sequence[int], value: bool = True, has_aux: bool = False
) -> Graph:
    """The graph of the gradient of a scalar function.

    active: positions of the float inputs to differentiate by. The first output of `graph` is the
    scalar; with has_aux others may follow it and are passed on. Inputs: those of `graph`. Outputs:
    the scalar where `value` is true, the auxiliary outputs, then the gradients.

    Raises DifferentiationError where the output is not a float scalar, an active input is not
    float, or an op has no derivative.
    """
    _require_scalar(graph, has_aux)
    work = graph.copy()
    captures, inputs = work.captures, work.signature
    builder = registry_builder(work)
    primals, result, seeds = _linearize(builder, active)
    target = work.outputs[0]
    builder.locations = gradient_of(work[target.node].locations)
    one = builder.constant(1, work.type(target))
    pulled = _transpose(builder, primals, seeds, result, [(target, one)])
    kept = work.outputs if value else work.outputs[1:]
    trees = (LEAF,) * len(kept) + ((LEAF,) if len(pulled) == 1 else (flat_tree(len(pulled)),))
    finish(work, [*kept, *pulled])
    work.captures = captures
    outputs = trees[0] if len(trees) == 1 else Tree("tuple", trees)
    work.signature = Signature(inputs.inputs, outputs, inputs.names, frozenset(), inputs.static)
    return work


def split_graph(graph: Graph, active: Sequence[int]) -> SplitGraph:
    """Cut a function into its outputs with residuals, and its derivative as a linear function.

    active: positions of the float inputs to differentiate by. Residuals are the values that the
    linear part reads, each once; constants and other nodes without operands are repeated instead.

    Raises DifferentiationError for an active input that is not float, or an op without derivative.
    """
    work = graph.copy()
    builder = registry_builder(work)
    primals, result, seeds = _linearize(builder, active)
    outputs = list(work.outputs)
    targets = output_tangents(builder, result.tangents)
    linear, residuals = _copy_linear(work, seeds, result, targets)
    forward = finish(work, [*outputs, *residuals])
    return SplitGraph(forward, linear, len(residuals))


def _require_scalar(graph: Graph, has_aux: bool) -> None:
    if len(graph.outputs) != 1 and not has_aux:
        raise DifferentiationError(
            f"gradient: expected one output, a scalar float, got {len(graph.outputs)} outputs"
        )
    if not graph.outputs:
        raise DifferentiationError("gradient: expected a scalar float output, got none")
    type_ = graph.type(graph.outputs[0])
    if type_.shape != () or not type_.dtype.is_float:
        raise DifferentiationError(located(
            f"gradient: expected a scalar float output, got {type_}",
            graph[graph.outputs[0].node],
        ))


def _linearize(
    builder: Builder, active: Sequence[int]
) -> tuple[list[Value], Linearization, list[Expr]]:
    """Linearize; the active inputs, what was added, and tangents that are no inputs any more."""
    seeds = add_tangent_inputs(builder, active)
    result = linearize_in_place(builder, seeds)
    remove_inputs(builder.graph, [seed.value for seed in seeds.values()])
    return list(seeds), result, list(seeds.values())


def _transpose(
    builder: Builder,
    primals: Sequence[Value],
    seeds: Sequence[Expr],
    result: Linearization,
    cotangents: Sequence[tuple[Value, Expr]],
) -> list[Value]:
    """The cotangents of the primals, given those of primal outputs."""
    arriving = [
        (result.tangents[value].value, ct) for value, ct in cotangents if value in result.tangents
    ]
    around = builder.locations
    pulled = transpose_linear(builder, result.linear, [s.value for s in seeds], arriving)
    builder.locations = around
    return [or_zeros(builder, part, primal).value for part, primal in zip(pulled, primals)]


def _copy_linear(
    work: Graph, seeds: Sequence[Expr], result: Linearization, targets: Sequence[Value]
) -> tuple[Graph, list[Value]]:
    """The linear nodes that the targets need, as a graph of their own, and its residuals."""
    needed = _needed(work, result.linear, targets)
    own = {*needed, *(seed.value.node for seed in seeds)}
    reads = dict.fromkeys(
        operand for key in needed for operand in work[key].operands if operand.node not in own
    )
    reads.update((value, None) for value in targets if value.node not in own)
    residuals = [value for value in reads if not _is_free(work, value)]
    linear = Graph("linear")
    mapping: dict[Value, Value] = {}
    for value in (*residuals, *(seed.value for seed in seeds)):
        mapping[value] = linear.add_input(work.type(value), "", work[value.node].locations)
    for key in (*(v.node for v in reads if v not in mapping), *needed):
        node = work[key]
        new = linear.add(
            node.op, [mapping[v] for v in node.operands], node.types, node.attributes,
            node.name, node.locations,
        )
        mapping.update((Value(key, i), Value(new, i)) for i in range(len(node.types)))
    return finish(linear, [mapping[value] for value in targets]), residuals


def _needed(work: Graph, linear: Sequence[int], targets: Sequence[Value]) -> list[int]:
    """The linear nodes that the targets depend on, operands first."""
    alive = {value.node for value in targets}
    kept = []
    for key in reversed(linear):
        if key in alive:
            kept.append(key)
            alive.update(operand.node for operand in work[key].operands)
    return kept[::-1]


def _is_free(work: Graph, value: Value) -> bool:
    """Whether a value costs nothing to make again: a node that reads nothing."""
    node = work[value.node]
    return node.op != "input" and not node.operands

