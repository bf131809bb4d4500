"""Shape and dtype inference: give nodes their types, or check the ones that they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import networkx as nx

from ..errors import IrgradError, VerifyError
from ..ir.dims import Dim, Size, substitute
from ..ir.excerpt import fault
from ..ir.graph import Graph, Node
from ..ir.types import TensorType
from ..ir.verify import node_problem, type_problem, types_problem
from ..ops.record import OpDef
from ..ops.registry import REGISTRY
from ..ops.structured import has_tangent, output_types


@dataclass(frozen=True)
class Infer:
    """Give every node without types the ones that its op infers, regions included.

    Types that nodes already have are compared with the inferred ones, unless `renew` is set: then
    they are replaced, which is what a graph needs after the types of its inputs were changed.
    Inputs of the whole graph must be typed; those of regions take the types that the operands of
    their node imply, where they have none or `renew` is set.

    Raises VerifyError, or the error of the op's type rule, with the IR around the node and the
    source line of the node.
    """

    renew: bool = False
    ops: Mapping[str, OpDef] = field(default_factory=lambda: REGISTRY, repr=False)
    name: ClassVar[str] = "infer"

    def apply(self, graph: Graph) -> None:
        """Type the nodes of a graph in place."""
        for key in graph.inputs:
            problem = type_problem(graph[key].types[0])
            if problem is not None:
                raise VerifyError(fault(graph, key, f"%{graph[key].name}: {problem}"))
        inputs, effects = set(graph.inputs), set(graph.effects)
        for key in _every_node(graph):
            if key not in inputs:
                self._infer_node(graph, key, key in effects)

    def _infer_node(self, graph: Graph, key: int, is_effect: bool) -> None:
        problem = node_problem(graph[key], is_effect, self.ops)
        if problem is not None:
            raise VerifyError(fault(graph, key, problem))
        operands = tuple(graph.type(value) for value in graph[key].operands)
        self._infer_regions(graph, key, operands)
        node = graph[key]
        try:
            inferred = self.ops[node.op].infer(operands, dict(node.attributes))
        except IrgradError as error:
            raise type(error)(fault(graph, key, str(error))) from None
        for position, type_ in enumerate(inferred):
            problem = type_problem(type_)
            if problem is not None:
                message = f"{node.op}: result {position}: {problem}"
                raise VerifyError(fault(graph, key, message))
        if self.renew and len(inferred) == len(node.types):
            problem = None
        else:
            problem = types_problem(node, inferred)
        if problem is not None:
            raise VerifyError(fault(graph, key, problem))
        if node.types != inferred:
            graph.update(key, types=inferred)

    def _infer_regions(self, graph: Graph, key: int, operands: tuple[TensorType, ...]) -> None:
        """Infer copies of the node's regions and put them in where that changed anything."""
        node = graph[key]
        regions = dict(node.regions())
        changed = False
        for name in sorted(regions, key=lambda name: (name == "backward", name)):
            old = regions[name]
            new = regions[name] = old.copy()
            given = _region_inputs(node, name, operands, regions)
            if len(given) == len(new.inputs):
                for i, type_ in zip(new.inputs, given):
                    if self.renew or new[i].types[0] is None:
                        new.update(i, types=(type_,))
            try:
                self.apply(new)
            except IrgradError as error:
                raise type(error)(f"in region '{name}' of {node.op}: {error}") from None
            changed = changed or any(new[i] is not old[i] for i in old)
        if changed:
            attrs = tuple((name, regions.get(name, value)) for name, value in node.attributes)
            graph.update(key, attributes=attrs)


def specialise(graph: Graph, sizes: Mapping[str, Size]) -> None:
    """Replace names of sizes by numbers or other sizes, in place, and check all types again.

    sizes: the new size for each name that changes. Raises what `Infer` raises where an op does not
    accept the new sizes.
    """
    _replace_sizes(graph, sizes)
    Infer().apply(graph)


def _replace_sizes(graph: Graph, sizes: Mapping[str, Size]) -> None:
    for key in graph:
        node = graph[key]
        types = tuple(_replaced(type_, sizes) for type_ in node.types)
        attrs = tuple((name, _replaced(value, sizes)) for name, value in node.attributes)
        graph.update(key, types=types, attributes=attrs)


def _replaced(value: Any, sizes: Mapping[str, Size]) -> Any:
    """A type or attribute value with names of sizes replaced; a region is copied."""
    if isinstance(value, Dim):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_replaced(item, sizes) for item in value)
    if isinstance(value, TensorType):
        return TensorType(value.dtype, _replaced(value.shape, sizes))
    if isinstance(value, Graph):
        region = value.copy()
        _replace_sizes(region, sizes)
        return region
    return value


def _region_inputs(
    node: Node, name: str, operands: tuple[TensorType, ...], regions: Mapping[str, Graph]
) -> tuple[TensorType, ...]:
    """The input types of a region that its node implies; those read `regions` already inferred."""
    if (node.op, name) == ("custom_jvp_call", "rule"):
        return operands + _tangents(operands)
    if (node.op, name) == ("linear_call", "backward"):
        return operands[: node.attribute("residuals")] + output_types(regions["forward"])
    if (node.op, name) == ("custom_vjp_call", "backward"):
        produced = output_types(regions["forward"])
        results = len(regions["body"].outputs)
        return produced[results:] + _tangents(produced[:results])
    return operands


def _tangents(types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    return tuple(type_ for type_ in types if has_tangent(type_))


def _every_node(graph: Graph) -> list[int]:
    """All nodes after their operands: in canonical order, then those that nothing needs."""
    order = graph.order()
    alive = set(order)
    return order + [key for key in nx.topological_sort(graph.nx) if key not in alive]
