"""Checks of the derivative rules of single ops, which name the op and its rule.

The `jvp` of an op is compared with differences of its NumPy meaning, the `transpose` of a linear op
with the op itself by the dot test <y, A x> = <A' y, x>, both in float64 along random directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from .autodiff import jvp_graph, split_graph, transpose_graph, vjp_graph
from .autodiff.common import dependent_nodes
from .errors import CheckError, DifferentiationError
from .interpret import interpret
from .ir.graph import Graph, Node, Value
from .ir.location import describe
from .ir.signature import flat_signature
from .ir.types import TensorType, dtype_of
from .ops import registry
from .ops.record import OpDef
from .ops.registry import builder

STEP = 1e-5  # of the differences, which are of fourth order
RTOL, ATOL = 2e-6, 2e-7
ROUNDING = 1e-13  # of a value, relative to it
LARGE = 1e4  # operands beyond it lose too much of the step
# Differences do not see these as irgrad does: they declare derivatives to be 0, or jump.
BY_RULE_ONLY = frozenset(("cast", "stop_gradient"))
USERS = frozenset(("custom_jvp_call", "custom_vjp_call", "linear_call"))  # with the user's rules
DOMAINS = {"gumbel_quantile": (0.0, 1.0)}  # outside of it the derivative is declared to be 0
Arrays = Sequence[np.ndarray]


def check_op_rules(op: OpDef, seed: int = 0) -> None:
    """Check the jvp of an op, and the transposes of what it leads to, on its float64 samples.

    Raises CheckError that starts with the op and its rule, as in "sin: jvp: expected ...".
    """
    rng = np.random.default_rng(seed)
    for graph, operands in op_cases(op):
        check_graph_rules(graph, operands, rng)


def op_cases(op: OpDef) -> Iterator[tuple[Graph, tuple[np.ndarray, ...]]]:
    """The op alone as a graph, with operands, for each of its samples of finite float64 values."""
    for sample in op.samples(np.random.default_rng(3)):
        floats = [x for x in sample.operands if x.dtype.kind == "f"]
        if not floats or any(x.dtype != np.float64 or not np.isfinite(x).all() for x in floats):
            continue
        graph = Graph(op.name)
        b = builder(graph)
        types = [TensorType(dtype_of(x.dtype), x.shape) for x in sample.operands]
        operands = [b.wrap(graph.add_input(type_)) for type_ in types]
        graph.outputs = [x.value for x in b.emit(op.name, operands, **dict(sample.attrs))]
        graph.signature = flat_signature(len(types), len(graph.outputs))
        yield graph, tuple(sample.operands)


def check_rules_behind(graph: Graph) -> None:
    """Check the rules of all ops where a graph holds derivatives: it no longer holds the ops that
    they are derivatives of.

    Raises CheckError as `check_op_rules` does.
    """
    if any(line.role for key in graph for line in graph[key].locations):
        for op in registry.REGISTRY.values():
            check_op_rules(op)


def check_graph_rules(
    graph: Graph, arguments: Arrays, rng: np.random.Generator, users: bool = True
) -> None:
    """Check the derivative rules of the nodes of a graph, at the values that they have there.

    First the jvp of each node in order, then the transpose of each node of the graph's linear part.
    Passed over is a node without derivative, and one of which an operand is infinite, NaN, very
    large or outside of the op's domain. users: whether rules that the user gave are checked too.
    Raises CheckError that names the op, the rule and the user's line.
    """
    seen = _values(graph, arguments)
    passed_over = BY_RULE_ONLY if users else BY_RULE_ONLY | USERS
    for key in graph.order():
        node = graph[key]
        if node.op != "input" and node.op not in passed_over:
            _check_jvp(node, [seen[value] for value in node.operands], rng)
    active = [
        i for i, x in enumerate(graph.inputs) if graph.type(Value(x)).dtype.is_float
    ]
    try:
        split = split_graph(graph, active)
    except DifferentiationError:
        return
    residuals = interpret(split.forward, _with_captures(graph, arguments))[len(graph.outputs) :]
    linear = split.linear
    seeds = [Value(key) for key in linear.inputs[split.residuals :]]
    tangents = [rng.standard_normal(_shape(linear, seed)) for seed in seeds]
    typed = [x.astype(linear.type(v).dtype.numpy) for x, v in zip(tangents, seeds)]
    seen = _values(linear, [*residuals, *typed])
    moving = dependent_nodes(linear, linear.order(), seeds)
    moved = {*seeds, *(Value(key, r) for key in moving for r in range(len(linear[key].types)))}
    for key in moving:
        node = linear[key]
        flags = [value in moved for value in node.operands]
        if users or node.op not in USERS:
            _check_transpose(node, [seen[value] for value in node.operands], flags, rng)


def derivative_graph(
    graph: Graph, arguments: Arrays, mode: str, rng: np.random.Generator
) -> tuple[Graph, list[np.ndarray]]:
    """The graph of a function and its derivative by all float inputs, and arrays to run that on.

    mode: "fwd" for the jvp along a random direction, "rev" for the vjp.
    Raises DifferentiationError where an op has no derivative.
    """
    active = [i for i, x in enumerate(graph.inputs) if graph.type(Value(x)).dtype.is_float]
    derived = (jvp_graph if mode == "fwd" else vjp_graph)(graph, active)
    given = [np.asarray(x) for x in _with_captures(graph, arguments)]
    added = [Value(key) for key in derived.inputs[len(given) :]]
    more = [
        rng.standard_normal(_shape(derived, v)).astype(derived.type(v).dtype.numpy) for v in added
    ]
    return derived, [*given, *more]


def _with_captures(graph: Graph, arguments: Arrays) -> list[np.ndarray]:
    return [*arguments, *(graph.captures[key] for key in graph.inputs[len(arguments) :])]


def _shape(graph: Graph, value: Value) -> tuple[int, ...]:
    return tuple(int(size) for size in graph.type(value).shape)  # type: ignore[arg-type]


def _values(graph: Graph, arguments: Arrays) -> Mapping[Value, np.ndarray]:
    """All values of a graph as the interpreter computes them."""
    given = _with_captures(graph, arguments)
    seen = {Value(key): np.asarray(x) for key, x in zip(graph.inputs, given, strict=True)}

    def watch(key: int, results: Arrays) -> None:
        seen.update((Value(key, r), x) for r, x in enumerate(results))

    interpret(graph, given, watch=watch)
    return seen


def _alone(node: Node, operands: Arrays, order: Sequence[int]) -> Graph:
    """A graph of one node whose inputs are its operands, those of `order` in that order."""
    graph = Graph(node.op)
    inputs = {
        i: graph.add_input(TensorType(dtype_of(operands[i].dtype), operands[i].shape))
        for i in order
    }
    values = [inputs[i] for i in range(len(operands))]
    key = graph.add(node.op, values, node.types, node.attributes, node.name, node.locations)
    graph.outputs = [Value(key, r) for r in range(len(node.types))]
    graph.signature = flat_signature(len(operands), len(node.types))
    return graph


def _is_smooth(arrays: Arrays) -> bool:
    """Whether there are floats, all of them of float64 and finite."""
    floats = [x for x in arrays if x.dtype.kind == "f"]
    return bool(floats) and all(x.dtype == np.float64 and np.isfinite(x).all() for x in floats)


def _is_inside(op: str, operands: Arrays) -> bool:
    """Whether floats are where differences can be taken of an op."""
    low, high = DOMAINS.get(op, (-LARGE, LARGE))
    return all(((low < x) & (x < high)).all() for x in operands if x.dtype.kind == "f")


def _check_jvp(node: Node, operands: Arrays, rng: np.random.Generator) -> None:
    if not _is_smooth(operands) or not _is_inside(node.op, operands):
        return
    graph = _alone(node, operands, range(len(operands)))
    active = [i for i, x in enumerate(operands) if x.dtype.kind == "f"]
    try:
        pushed = jvp_graph(graph, active)
    except DifferentiationError:
        return
    direction = [rng.uniform(-1, 1, operands[i].shape) for i in active]

    def moved(scale: float) -> list[np.ndarray]:
        at = list(operands)
        for i, d in zip(active, direction):
            at[i] = operands[i] + scale * STEP * d
        return [x for x in interpret(graph, at) if x.dtype.kind == "f"]

    expected = [_differences(*at) for at in zip(*map(moved, (0, 1, -1, 2, -2)))]
    got = interpret(pushed, [*operands, *direction])[len(graph.outputs) :]
    for position, ((want, doubt), have) in enumerate(zip(expected, got, strict=True)):
        what = f"tangent of result {position} equal to differences"
        _compare(node, "jvp", what, want, have, doubt)


def _differences(
    here: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A derivative from values in steps of 0, 1, -1, 2, -2, and how far it may be off.

    In doubt is what differences of fourth and second order do not share, how the slopes on both
    sides differ, and the rounding of the values; all of it where these differ as they do at a kink
    or a jump, or close to a pole.
    """
    with np.errstate(all="ignore"):
        fourth = (8 * (a - b) - (c - d)) / (12 * STEP)
        curved = np.abs(fourth - (a - b) / (2 * STEP))
        after, before = (a - here) / STEP, (here - b) / STEP
        jump = np.abs(after - before)
        steep = 0.1 * np.maximum(np.abs(after), np.abs(before))
        rough = (jump > np.maximum(steep, 100 * STEP)) | (
            curved > np.maximum(0.05 * np.abs(fourth), 100 * STEP)
        )
        doubt = 2 * curved + jump + ROUNDING * np.abs(here) / STEP
        doubt = np.where(rough, np.inf, doubt)
    return fourth, np.where(np.isfinite(doubt), doubt, np.inf)


def _check_transpose(
    node: Node, operands: Arrays, linear: Sequence[bool], rng: np.random.Generator
) -> None:
    widths = {type_.dtype.name for type_ in node.types if type_ is not None}
    if not _is_smooth(operands) or widths != {"f64"}:
        return
    order = sorted(range(len(operands)), key=lambda i: linear[i])
    graph = _alone(node, operands, order)
    count = linear.count(True)
    positions = range(len(operands) - count, len(operands))
    transposed = transpose_graph(graph, positions)
    fixed = [operands[i] for i in order[: positions.start]]
    moving = [rng.standard_normal(operands[i].shape) for i in order[positions.start :]]
    image = interpret(graph, [*fixed, *moving])
    weights = [rng.standard_normal(x.shape) for x in image]
    pulled = interpret(transposed, [*fixed, *weights])
    what = "cotangents of the transpose test <y, A x> = <A' y, x>"
    doubt = ROUNDING * _dot(map(np.abs, weights), map(np.abs, image))
    _compare(node, "transpose", what, _dot(weights, image), _dot(pulled, moving), doubt)


def _dot(left: Iterable[np.ndarray], right: Iterable[np.ndarray]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(sum(float(np.sum(a * b)) for a, b in zip(left, right, strict=True)))


def _compare(
    node: Node, rule: str, what: str, want: np.ndarray, have: np.ndarray, doubt: np.ndarray
) -> None:
    """Raise CheckError unless a derivative agrees; where differences are not finite it may be any.

    doubt: how far what is wanted may be off itself.
    """
    want, have = np.asarray(want, np.float64), np.asarray(have, np.float64)
    known = np.isfinite(want) & np.isfinite(doubt)
    scale = max(1.0, float(np.max(np.abs(want), where=known, initial=0.0)))
    with np.errstate(all="ignore"):
        error = np.where(known, np.abs(have - want), 0.0)
        near = ATOL * scale + RTOL * np.where(known, np.abs(want), 0.0) + doubt
        wrong = ~(error <= near)
    if not wrong.any():
        return
    at = int(np.flatnonzero(wrong)[0])
    text = (
        f"{node.op}: {rule}: expected {what}, got {have.flat[at]} instead of {want.flat[at]} at "
        f"flat index {at}"
    )
    raise CheckError(f"{text}\n{describe(node.locations[0])}" if node.locations else text)
