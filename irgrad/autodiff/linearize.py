"""Forward mode: a graph together with the tangents of its values.

Tangent nodes are added to a working graph by the `jvp` rule of each op, in IR ops, so that what
comes out can be transposed, differentiated again and optimised like any other graph. A tangent that
is known to be zero has no node; only float values have tangents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ..errors import DifferentiationError, VerifyError
from ..ir.graph import Graph, Node, Value
from ..ir.linear import verify_linear
from ..ir.location import gradient_of
from ..ops.build import Builder, Expr
from ..ops.record import DifferentiatedByEngine, NotDifferentiable, RuleContext
from ..ops.registry import builder as registry_builder
from ..ops.structured import has_tangent
from .common import dependent_nodes, finish, located
from .transpose import or_zeros, transpose_graph

# A value that stands for a result from now on, and its tangent.
Result = tuple[Value, Expr | None]


@dataclass(frozen=True, slots=True)
class Linearization:
    """What linearizing added to a working graph.

    tangents: by value; a value without an entry has a zero tangent. linear: the nodes that depend
    on the tangents it started from, operands first.
    """

    tangents: Mapping[Value, Expr]
    linear: tuple[int, ...]


def linearize_in_place(builder: Builder, seeds: Mapping[Value, Expr]) -> Linearization:
    """Add the tangents of all values that depend on `seeds`, given tangents of some values.

    Nodes are visited once, in canonical order. A `custom_vjp_call` through which a tangent flows is
    replaced by its forward region, so the values that are outputs of the graph may change.

    Raises DifferentiationError where a tangent reaches an op that has no derivative.
    """
    graph = builder.graph
    order = graph.order()
    first = len(graph)
    tangents = dict(seeds)
    for key in order:
        node = graph[key]
        incoming = tuple(tangents.get(operand) for operand in node.operands)
        if all(tangent is None for tangent in incoming):
            continue
        outputs = [Value(key, i) for i in range(len(node.types))]
        if not any(has_tangent(graph.type(value)) for value in outputs):
            continue
        builder.locations = gradient_of(node.locations)
        for old, (value, tangent) in zip(outputs, _push(builder, key, incoming), strict=True):
            graph.replace(old, value, "custom_vjp forward")
            if tangent is not None and has_tangent(graph.type(value)):
                assert tangent.type == graph.type(value), f"{node.op}: tangent {tangent.type}"
                tangents[value] = tangent
    added = islice(iter(graph), first, None)
    linear = dependent_nodes(graph, added, [seed.value for seed in seeds.values()])
    return Linearization(tangents, linear)


def add_tangent_inputs(builder: Builder, active: Sequence[int]) -> dict[Value, Expr]:
    """Append an input for the tangent of each active input; returns them by primal value.

    Raises DifferentiationError for an active input that is not float.
    """
    graph = builder.graph
    seeds: dict[Value, Expr] = {}
    for position in active:
        primal = Value(graph.inputs[position])
        type_ = graph.type(primal)
        if not has_tangent(type_):
            raise DifferentiationError(
                f"input {position}: expected a float type to differentiate by, got {type_}"
            )
        seeds[primal] = builder.wrap(graph.add_input(type_))
    return seeds


def jvp_graph(graph: Graph, active: Sequence[int]) -> Graph:
    """The graph of a function and of its derivative in one direction.

    active: positions of the float inputs that get tangents. Inputs: those of `graph`, then the
    tangents of the active ones; captures become plain inputs. Outputs: those of `graph`, then the
    tangents of the float ones, zeros included.

    Raises DifferentiationError for an active input that is not float, or an op without derivative.
    """
    work = graph.copy()
    builder = registry_builder(work)
    tangents = linearize_in_place(builder, add_tangent_inputs(builder, active)).tangents
    return finish(work, [*work.outputs, *output_tangents(builder, tangents)])


def output_tangents(builder: Builder, tangents: Mapping[Value, Expr]) -> list[Value]:
    """The tangents of the graph's float outputs, zeros included."""
    return [
        or_zeros(builder, tangents.get(value), value).value
        for value in builder.graph.outputs
        if has_tangent(builder.graph.type(value))
    ]


def _push(builder: Builder, key: int, incoming: tuple[Expr | None, ...]) -> Sequence[Result]:
    """Apply the tangent rule of one node; what each of its results becomes."""
    node = builder.graph[key]
    rule = builder.registry[node.op].jvp
    if isinstance(rule, NotDifferentiable):
        message = f"{node.op}: expected an operation with a derivative, got one without: "
        raise DifferentiationError(located(message + rule.reason, node))
    outputs = tuple(Value(key, i) for i in range(len(node.types)))
    context = RuleContext(
        builder,
        tuple(builder.wrap(operand) for operand in node.operands),
        tuple(builder.wrap(output) for output in outputs),
        dict(node.attributes),
    )
    if isinstance(rule, DifferentiatedByEngine):
        if node.op == "custom_vjp_call":
            residuals = len(node.attribute("forward").outputs) - len(outputs)
            _require_linear(builder, node, "backward", residuals)
        return ENGINE_RULES[node.op](context, incoming)
    if node.op == "custom_jvp_call":
        _require_linear(builder, node, "rule", len(node.operands))
    return list(zip(outputs, rule(context, incoming), strict=True))


def _require_linear(builder: Builder, node: Node, region: str, first: int) -> None:
    """Raise DifferentiationError unless a region is linear in its inputs from position `first`."""
    graph: Graph = node.attribute(region)
    try:
        verify_linear(graph, range(first, len(graph.inputs)), builder.registry)
    except VerifyError as error:
        what = "tangents" if region == "rule" else "cotangents"
        message = f"{node.op}: expected region '{region}' to be linear in its {what}, got {error}"
        raise DifferentiationError(located(message, node)) from error


def _push_custom_vjp(context: RuleContext, incoming: tuple[Expr | None, ...]) -> list[Result]:
    """Inline the forward region; tangents go through the transpose of the backward region.

    The forward's outputs stand for the results as well, so nothing is computed twice.
    """
    builder, backward = context.builder, context.attrs["backward"]
    node = builder.graph[context.outputs[0].value.node]
    operands = [x.value for x in context.inputs]
    values = builder.graph.inline(
        context.attrs["forward"], operands, lambda found: found or node.locations
    )
    builder.graph.note_widenings(backward.widenings)
    count = len(context.outputs)
    outputs = _distinct(builder, values[:count], context)
    residuals = [builder.wrap(value) for value in values[count:]]
    transposed = transpose_graph(backward, range(len(residuals), len(backward.inputs)))
    tangents = [
        or_zeros(builder, part, x.value)
        for part, x in zip(incoming, context.inputs)
        if has_tangent(x.type)
    ]
    moved = iter(builder.emit(
        "linear_call",
        (*residuals, *tangents),
        forward=transposed,
        backward=backward,
        residuals=len(residuals),
    ))
    return [(v, next(moved) if has_tangent(builder.graph.type(v)) else None) for v in outputs]


def _distinct(builder: Builder, values: Sequence[Value], context: RuleContext) -> list[Value]:
    """Values that are no operand and occur once, so that each can have a tangent of its own."""
    seen = {x.value for x in context.inputs}
    result = []
    for value in values:
        if value in seen:
            x = builder.wrap(value)
            value = x.op("reshape", shape=x.shape).value
        seen.add(value)
        result.append(value)
    return result


def _push_linear_call(context: RuleContext, incoming: tuple[Expr | None, ...]) -> list[Result]:
    """d(L(r) x) = L(r) dx + dL(r)[dr] x, the second term by differentiating the forward region."""
    builder, attrs = context.builder, context.attrs
    count: int = attrs["residuals"]
    terms: list[list[Expr]] = []
    if any(part is not None for part in incoming[count:]):
        moved = [
            or_zeros(builder, part, x.value)
            for part, x in zip(incoming[count:], context.inputs[count:])
        ]
        terms.append(list(builder.emit("linear_call", (*context.inputs[:count], *moved), **attrs)))
    active = [position for position in range(count) if incoming[position] is not None]
    if active:
        product = jvp_graph(attrs["forward"], active)
        finish(product, product.outputs[len(context.outputs) :])
        operands = [x.value for x in context.inputs]
        operands += [part.value for part in incoming[:count] if part is not None]
        here = builder.locations
        values = builder.graph.inline(product, operands, lambda found: gradient_of(found) or here)
        terms.append([builder.wrap(value) for value in values])
    totals = terms[0] if len(terms) == 1 else [a + b for a, b in zip(*terms, strict=True)]
    return [(out.value, total) for out, total in zip(context.outputs, totals, strict=True)]


ENGINE_RULES = {"custom_vjp_call": _push_custom_vjp, "linear_call": _push_linear_call}
