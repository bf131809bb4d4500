"""Batching: a graph applied to each element of a batch, as one graph of about as many nodes.

Each value is batched, then its axis 0 counts the elements, or it is the same for all of them and is
computed once. Nodes are rewritten by the `batch` rule of their op, those of regions as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from ..ir.dims import Size
from ..ir.graph import Graph, Node, Value
from ..ir.types import TensorType
from ..ops.batching import with_batch
from ..ops.build import Builder
from ..ops.record import BatchContext, Batched, BatchedByEngine, NeverBatched
from ..ops.registry import builder as registry_builder
from ..ops.structured import has_tangent
from .common import finish

Flags = tuple[bool, ...]


def batch_graph(graph: Graph, batched: Sequence[bool], size: Size) -> tuple[Graph, Flags]:
    """The graph for a batch of `size` elements, and which of its outputs are batched.

    batched: which inputs get the size as a new axis 0; captures become inputs like any other. An
    output that depends on none of them stays as it is.
    """
    work, flags = _Batching(size).region(graph, tuple(batched))
    return finish(work, work.outputs), flags


def batch_in_place(
    builder: Builder, graph: Graph, operands: Sequence[Batched], size: Size
) -> list[Batched]:
    """Add the nodes of a graph for a batch of `size` elements to the builder's graph.

    operands: for all inputs of the graph. Returns its outputs.
    """
    return _Batching(size).run(builder, graph, operands)


class _Batching:
    """The batching of one graph with its regions, which are kept as they may occur again."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._regions: dict[tuple[int, Flags, Flags | None], tuple[Graph, Graph, Flags]] = {}

    def run(self, builder: Builder, graph: Graph, operands: Sequence[Batched]) -> list[Batched]:
        """Add the nodes of a graph, operands first; each is visited once."""
        inputs, effects = set(graph.inputs), set(graph.effects)
        values = dict(zip(map(Value, graph.inputs), operands, strict=True))
        around = builder.locations
        for key in graph.order():
            if key in inputs:
                continue
            node = graph[key]
            given = [values[operand] for operand in node.operands]
            builder.locations = node.locations or around
            if any(flag for _, flag in given):
                results = self._apply(builder, node, given)
            else:
                results = _copy(builder, node, given, key in effects)
            values.update((Value(key, i), result) for i, result in enumerate(results))
        builder.locations = around
        return [values[value] for value in graph.outputs]

    def region(
        self, graph: Graph, batched: Flags, wanted: Flags | None = None
    ) -> tuple[Graph, Flags]:
        """A graph of its own for a batch, and which of its outputs are batched.

        wanted: which of them shall be: others are repeated, or summed over the batch, which is what
        the cotangent of a value is that all elements share. None leaves them as they are.
        """
        found = self._regions.get((id(graph), batched, wanted))
        if found is None:
            new, flags = self._make_region(graph, batched, wanted)
            found = self._regions[id(graph), batched, wanted] = (graph, new, flags)
        return found[1:]

    def _make_region(
        self, graph: Graph, batched: Flags, wanted: Flags | None
    ) -> tuple[Graph, Flags]:
        new = Graph(graph.name)
        builder = registry_builder(new)
        operands: list[Batched] = []
        for key, flag in zip(graph.inputs, batched, strict=True):
            node, type_ = graph[key], graph.type(Value(key))
            if flag:
                type_ = TensorType(type_.dtype, (self.size, *type_.shape))
            value = new.add_input(type_, node.name, node.locations)
            operands.append((builder.wrap(value), flag))
        results = self.run(builder, graph, operands)
        if wanted is not None:
            results = [self._fit(x, want) for x, want in zip(results, wanted, strict=True)]
        new.outputs = [x.value for x, _ in results]
        new.widenings = list(graph.widenings)
        return new, tuple(flag for _, flag in results)

    def _fit(self, result: Batched, wanted: bool) -> Batched:
        x, flag = result
        if flag and not wanted:
            return x.op("reduce_sum", axes=(0,)), False
        return (with_batch(x, flag, self.size), True) if wanted else result

    def _apply(
        self, builder: Builder, node: Node, given: Sequence[Batched]
    ) -> Sequence[Batched]:
        """The results of a node of which an operand is batched."""
        rule = builder.registry[node.op].batch
        assert not isinstance(rule, NeverBatched), f"{node.op}: expected no operands"
        if isinstance(rule, BatchedByEngine):
            return ENGINE_RULES[node.op](self, builder, node, given)
        operands = tuple(x for x, _ in given)
        flags = tuple(flag for _, flag in given)
        context = BatchContext(builder, node.op, dict(node.attributes))
        return rule(context, operands, flags, self.size)


def _copy(
    builder: Builder, node: Node, given: Sequence[Batched], is_effect: bool
) -> list[Batched]:
    """A node that all elements share."""
    graph = builder.graph
    key = graph.add(
        node.op, [x.value for x, _ in given], node.types, node.attributes, node.name,
        builder.locations,
    )  # fmt: skip
    if is_effect:
        graph.effects.append(key)
    return [(builder.wrap(Value(key, i)), False) for i in range(len(node.types))]


# -- ops with regions ------------------------------------------------------------------------------


class EngineRule(Protocol):
    """How the results of a region op are batched, given its operands."""

    def __call__(
        self, batching: _Batching, builder: Builder, node: Node, given: Sequence[Batched]
    ) -> Sequence[Batched]: ...


def _emit(
    builder: Builder, node: Node, given: Sequence[Batched], flags: Flags, regions: dict[str, Graph]
) -> list[Batched]:
    """The node with other regions, whose results are batched as the flags say."""
    attrs = {**dict(node.attributes), **regions}
    results = builder.emit(node.op, [x for x, _ in given], **attrs)
    return list(zip(results, flags, strict=True))


def _batch_custom_jvp(
    batching: _Batching, builder: Builder, node: Node, given: Sequence[Batched]
) -> list[Batched]:
    """Both regions; a result is batched where it or its tangent is."""
    body, rule = node.attribute("body"), node.attribute("rule")
    primal = tuple(flag for _, flag in given)
    moved = primal + tuple(flag for x, flag in given if has_tangent(x.type))
    flags = batching.region(body, primal)[1]
    tangents = iter(batching.region(rule, moved)[1])
    floats = [has_tangent(body.type(value)) for value in body.outputs]
    flags = tuple(
        flag or next_flag
        for flag, next_flag in zip(flags, (next(tangents) if f else False for f in floats))
    )
    regions = {
        "body": batching.region(body, primal, flags)[0],
        "rule": batching.region(rule, moved, _chosen(flags, floats))[0],
    }
    return _emit(builder, node, given, flags, regions)


def _batch_custom_vjp(
    batching: _Batching, builder: Builder, node: Node, given: Sequence[Batched]
) -> list[Batched]:
    """All regions, float results batched, so that each element has a cotangent of its own.

    The cotangent of an operand that all elements share is summed over them.
    """
    body, forward = node.attribute("body"), node.attribute("forward")
    backward = node.attribute("backward")
    primal = tuple(flag for _, flag in given)
    plain, ahead = batching.region(body, primal)[1], batching.region(forward, primal)[1]
    floats = [has_tangent(body.type(value)) for value in body.outputs]
    flags = tuple(a or b or c for a, b, c in zip(plain, ahead, floats))
    residuals = ahead[len(flags) :]
    arriving = residuals + _chosen(flags, floats)
    wanted = tuple(flag for x, flag in given if has_tangent(x.type))
    regions = {
        "body": batching.region(body, primal, flags)[0],
        "forward": batching.region(forward, primal, flags + residuals)[0],
        "backward": batching.region(backward, arriving, wanted)[0],
    }
    return _emit(builder, node, given, flags, regions)


def _batch_linear_call(
    batching: _Batching, builder: Builder, node: Node, given: Sequence[Batched]
) -> list[Batched]:
    """Both regions, all results batched; see `_batch_custom_vjp`."""
    count = node.attribute("residuals")
    flags = tuple(flag for _, flag in given)
    results = (True,) * len(node.types)
    forward, backward = node.attribute("forward"), node.attribute("backward")
    regions = {
        "forward": batching.region(forward, flags, results)[0],
        "backward": batching.region(backward, flags[:count] + results, flags[count:])[0],
    }
    return _emit(builder, node, given, results, regions)


def _batch_fused(
    batching: _Batching, builder: Builder, node: Node, given: Sequence[Batched]
) -> list[Batched]:
    """The nodes of the region, as the batched ones may belong to several kernels."""
    return batching.run(builder, node.attribute("body"), given)


def _chosen(flags: Sequence[bool], chosen: Sequence[bool]) -> Flags:
    return tuple(flag for flag, choose in zip(flags, chosen, strict=True) if choose)


ENGINE_RULES: Mapping[str, EngineRule] = MappingProxyType(
    {
        "custom_jvp_call": _batch_custom_jvp,
        "custom_vjp_call": _batch_custom_vjp,
        "linear_call": _batch_linear_call,
        "fused": _batch_fused,
    }
)
