"""Reverse mode: the transpose of the linear part of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import DifferentiationError
from ..ir.graph import Graph, Value
from ..ir.location import gradient_of, merge
from ..ops.build import Builder, Expr
from ..ops.record import NotLinear, RuleContext
from ..ops.registry import builder as registry_builder
from .common import dependent_nodes, finish, located, remove_inputs


def transpose_linear(
    builder: Builder,
    linear: Sequence[int],
    inputs: Sequence[Value],
    cotangents: Iterable[tuple[Value, Expr]],
) -> tuple[Expr | None, ...]:
    """Add the cotangents of linear inputs, given those of linear values; None where it is zero.

    linear: the nodes that depend on `inputs`, operands first. The nodes are walked backward once,
    each by the `transpose` rule of its op. Contributions to one value are added in pairs, in the
    order in which the walk meets them.

    Raises DifferentiationError at an op that is not linear.
    """
    graph = builder.graph
    members = {*linear, *(value.node for value in inputs)}
    parts: dict[Value, list[Expr]] = {}
    for value, cotangent in cotangents:
        parts.setdefault(value, []).append(cotangent)
    for key in reversed(linear):
        node = graph[key]
        builder.locations = gradient_of(node.locations)
        results = (Value(key, i) for i in range(len(node.types)))
        arriving = tuple(_sum(parts.pop(value, ())) for value in results)
        if all(cotangent is None for cotangent in arriving):
            continue
        mask = tuple(operand.node in members for operand in node.operands)
        for operand, part in zip(node.operands, _pull(builder, key, arriving, mask), strict=True):
            if part is not None:
                assert part.type == graph.type(operand), f"{node.op}: cotangent {part.type}"
                parts.setdefault(operand, []).append(part)
    totals = []
    for value in inputs:
        found = parts.get(value, [])
        places = graph[value.node].locations  # which arguments do not have
        places = places or merge(*(graph[part.value.node].locations for part in found))
        builder.locations = merge(gradient_of(places))
        totals.append(_sum(found))
    return tuple(totals)


def transpose_graph(graph: Graph, linear_inputs: Sequence[int]) -> Graph:
    """The transpose of a graph that is linear in some of its inputs.

    Inputs: the other inputs of `graph`, then cotangents of its outputs. Outputs: cotangents of the
    linear inputs, zeros included.

    Raises DifferentiationError where a linear input reaches an op that is not linear.
    """
    work = graph.copy()
    builder = registry_builder(work)
    inputs = [Value(work.inputs[position]) for position in linear_inputs]
    linear = dependent_nodes(work, work.order(), inputs)
    members = {*linear, *(value.node for value in inputs)}
    remove_inputs(work, inputs)
    cotangents = [(v, builder.wrap(work.add_input(work.type(v)))) for v in work.outputs]
    results = transpose_linear(
        builder, linear, inputs, [(v, ct) for v, ct in cotangents if v.node in members]
    )
    return finish(work, [or_zeros(builder, r, v).value for r, v in zip(results, inputs)])


def or_zeros(builder: Builder, part: Expr | None, value: Value) -> Expr:
    """A tangent or cotangent of `value`, as a node also where it is zero."""
    if part is not None:
        return part
    builder.locations = gradient_of(builder.graph[value.node].locations) or builder.locations
    return builder.zeros(builder.graph.type(value))


def _pull(
    builder: Builder, key: int, arriving: tuple[Expr | None, ...], mask: tuple[bool, ...]
) -> tuple[Expr | None, ...]:
    """Apply the transpose rule of one node; a cotangent or None for each operand."""
    node = builder.graph[key]
    rule = builder.registry[node.op].transpose
    if isinstance(rule, NotLinear):
        raise DifferentiationError(
            located(f"{node.op}: expected a linear operation to transpose, got this one", node)
        )
    context = RuleContext(
        builder,
        tuple(builder.wrap(operand) for operand in node.operands),
        tuple(builder.wrap(Value(key, i)) for i in range(len(node.types))),
        dict(node.attributes),
    )
    return rule(context, arriving, mask)


def _sum(parts: Sequence[Expr]) -> Expr | None:
    """The sum by pairs, so that rounding and depth grow with the logarithm of the count."""
    while len(parts) > 1:
        paired = [a + b for a, b in zip(parts[::2], parts[1::2])]
        parts = paired + list(parts[len(paired) * 2 :])
    return parts[0] if parts else None
