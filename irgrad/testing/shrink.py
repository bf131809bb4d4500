"""Making a failing graph small: the same failure from fewer outputs, nodes and elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import IrgradError
from ..interpret import interpret
from ..ir.graph import Graph, Value
from ..ir.signature import flat_signature
from ..ir.types import F32, TensorType
from ..ops.check import verify
from ..ops.registry import REGISTRY, builder
from ..passes.infer import Infer

Fails = Callable[[Graph, Sequence[np.ndarray]], bool]
BUDGET = 2000  # candidates that are tried at most
LARGE = 24  # nodes of a graph that is first cut between its inputs and outputs, by bisection


@dataclass(frozen=True, slots=True)
class _Case:
    graph: Graph
    arguments: tuple[np.ndarray, ...]


def shrink(
    graph: Graph, arguments: Sequence[np.ndarray], fails: Fails, budget: int = BUDGET
) -> tuple[Graph, tuple[np.ndarray, ...]]:
    """A small graph and arguments for which `fails` still holds, found greedily.

    Outputs and effects are dropped; values are replaced by operands, constants or new inputs of
    their type; sizes are made smaller; unread inputs go. `fails` sees valid graphs alone, on which
    the interpreter raises nothing. Donations are kept where they can be. budget: how many
    candidates are tried. The given graph is left alone.
    """
    case = _Case(graph.copy(), tuple(arguments))
    left = budget
    if len(graph) > LARGE and left > 0:
        case, used = _cut_ends(case, fails)
        left -= used
    progress = True
    while progress:
        progress = False
        for steps in (_fewer_outputs, _fewer_effects, _cut_values, _fewer_inputs, _smaller_sizes):
            found = True
            while found and left > 0:
                found = False
                for candidate in steps(case):
                    left -= 1
                    if _is_valid(candidate) and fails(candidate.graph, candidate.arguments):
                        case, found, progress = candidate, True, True
                        break
                    if left <= 0:
                        break
    return case.graph, case.arguments


def _cut_ends(case: _Case, fails: Fails) -> tuple[_Case, int]:
    """Fewer of the last nodes, then fewer of the first ones, as far as bisection finds the same
    failure; and the number of candidates."""
    tried = 0
    for cut in (_first_nodes, _last_nodes):
        low, high = 0, len(case.graph.order()) - len(case.graph.inputs)
        whole = case
        while high - low > 1:
            middle = (low + high) // 2
            candidate = cut(whole, middle)
            tried += 1
            if _is_valid(candidate) and fails(candidate.graph, candidate.arguments):
                case, high = candidate, middle
            else:
                low = middle
    return case, tried


def _first_nodes(case: _Case, count: int) -> _Case:
    """The first nodes, with the values that none of them reads as outputs."""
    graph = case.graph.copy()
    kept = [key for key in graph.order() if graph[key].op != "input"][:count]
    read = {value for key in kept for value in graph[key].operands}
    values = (Value(key, i) for key in kept for i in range(len(graph[key].types)))
    graph.outputs = [value for value in values if value not in read]
    graph.effects = [key for key in graph.effects if key in kept]
    return _Case(_finished(graph, graph.signature.donated), case.arguments)


def _last_nodes(case: _Case, count: int) -> _Case:
    """The last nodes, with what they read of earlier ones as inputs."""
    seen: dict[Value, np.ndarray] = {}

    def watch(key: int, results: Sequence[np.ndarray]) -> None:
        seen.update((Value(key, i), np.asarray(r)) for i, r in enumerate(results))

    interpret(case.graph, case.arguments, watch=watch)
    graph = case.graph.copy()
    order = [key for key in graph.order() if graph[key].op != "input"]
    kept = set(order[len(order) - count :])
    graph.effects = [key for key in graph.effects if key in kept]
    reads = {value for key in kept for value in graph[key].operands} | set(graph.outputs)
    arguments = list(case.arguments)
    for key in order:
        for value in (Value(key, i) for i in range(len(graph[key].types))):
            if key not in kept and value in reads:
                graph.replace(value, _input_like(graph, value), "shrink")
                arguments.append(seen[value])
    return _Case(_finished(graph, graph.signature.donated), tuple(arguments))


def _is_valid(case: _Case) -> bool:
    try:
        verify(case.graph, "traced")
        interpret(case.graph, case.arguments)
    except IrgradError:
        return False
    return True


def _finished(graph: Graph, donated: frozenset[int]) -> Graph:
    """The graph pruned, with a flat signature."""
    graph.prune()
    signature = flat_signature(len(graph.inputs), len(graph.outputs))
    graph.signature = replace(signature, donated=donated)
    return graph


def _fewer_outputs(case: _Case) -> Iterator[_Case]:
    """One half of the outputs, then all but one, then an operand in place of one."""
    outputs = case.graph.outputs
    count = len(outputs)
    halves = [outputs[: count // 2], outputs[count // 2 :]] if count > 2 else []
    singles = [outputs[:i] + outputs[i + 1 :] for i in range(count)] if count > 1 else []
    earlier = [
        [*outputs[:i], operand, *outputs[i + 1 :]]
        for i, output in enumerate(outputs)
        for operand in dict.fromkeys(case.graph[output.node].operands)
    ]
    for kept in (*halves, *singles, *earlier):
        graph = case.graph.copy()
        graph.outputs = kept
        yield _Case(_finished(graph, graph.signature.donated), case.arguments)


def _fewer_effects(case: _Case) -> Iterator[_Case]:
    for key in case.graph.effects:
        graph = case.graph.copy()
        graph.effects.remove(key)
        yield _Case(_finished(graph, graph.signature.donated), case.arguments)


def _cut_values(case: _Case) -> Iterator[_Case]:
    """Each value in turn, the last first: an operand of its type, a constant, or a new input."""
    values: dict[Value, np.ndarray] = {}

    def watch(key: int, results: Sequence[np.ndarray]) -> None:
        values.update((Value(key, i), np.asarray(r)) for i, r in enumerate(results))

    interpret(case.graph, case.arguments, watch=watch)
    for value in reversed(values):
        node = case.graph[value.node]
        type_ = case.graph.type(value)
        for operand in dict.fromkeys(node.operands):
            if case.graph.type(operand) == type_:
                yield _replaced(case, value, operand)
        if node.op != "constant":
            yield _replaced(case, value, None)
            if node.operands:
                yield _with_input(case, value, values[value])


def _replaced(case: _Case, old: Value, new: Value | None) -> _Case:
    """Another value, or the constant 1, in place of one."""
    graph = case.graph.copy()
    if new is None:
        new = builder(graph, graph[old.node].locations).constant(1, graph.type(old)).value
    graph.replace(old, new, "shrink")
    return _Case(_finished(graph, graph.signature.donated), case.arguments)


def _with_input(case: _Case, old: Value, array: np.ndarray) -> _Case:
    graph = case.graph.copy()
    graph.replace(old, _input_like(graph, old), "shrink")
    return _Case(_finished(graph, graph.signature.donated), (*case.arguments, array))


def _input_like(graph: Graph, old: Value) -> Value:
    """A new input of the type and lines of a value."""
    return graph.add_input(graph.type(old), "", graph[old.node].locations)


def _fewer_inputs(case: _Case) -> Iterator[_Case]:
    """Without the inputs that nothing reads."""
    graph = case.graph
    read = {v.node for key in graph for v in graph[key].operands} | {v.node for v in graph.outputs}
    kept = [i for i, key in enumerate(graph.inputs) if key in read]
    if len(kept) == len(graph.inputs):
        return
    new = Graph(graph.name)
    inputs = {
        key: new.add_input(graph.type(Value(key)), graph[key].name)
        for key in graph.inputs
        if key in read
    }
    # Any value will do where none is read.
    unread = next(iter(inputs.values()), None)
    unread = unread or builder(new).constant(0, TensorType(F32, ())).value
    new.outputs = new.inline(graph, [inputs.get(key, unread) for key in graph.inputs])
    new.prune()
    donated = frozenset(kept.index(i) for i in graph.signature.donated if i in kept)
    yield _Case(_finished(new, donated), tuple(case.arguments[i] for i in kept))


def _smaller_sizes(case: _Case) -> Iterator[_Case]:
    """One size that occurs in the inputs or attributes, everywhere replaced by a smaller one."""
    graph = case.graph
    shapes = [s for key in graph for t in graph[key].types if t is not None for s in t.shape]
    for size in sorted({s for s in shapes if isinstance(s, int) and s > 1}, reverse=True):
        for smaller in dict.fromkeys((1, 2, size // 2, size - 1)):
            if smaller < size:
                resized = _resized(case, size, smaller)
                if resized is not None:
                    yield resized


def _resized(case: _Case, size: int, smaller: int) -> _Case | None:
    """The case with one size instead of another; None where the ops do not fit together then, and
    where the size is only one that an op makes."""
    graph = case.graph.copy()

    def changed(sizes: object) -> object:
        if isinstance(sizes, tuple):
            return tuple(smaller if s == size else s for s in sizes)
        return smaller if sizes == size else sizes

    for key in graph:
        node = graph[key]
        if node.op == "input":
            (type_,) = node.types
            assert type_ is not None
            shape = tuple(smaller if s == size else s for s in type_.shape)
            graph.update(key, types=(TensorType(type_.dtype, shape),))
            continue
        kinds = REGISTRY[node.op].attributes
        attrs = tuple(
            (name, changed(value) if kinds[name] in ("size", "sizes") else value)
            for name, value in node.attributes
        )
        graph.update(key, attributes=attrs)
    if all(graph[key] == case.graph[key] for key in graph):
        return None
    try:
        Infer(renew=True).apply(graph)
    except IrgradError:
        return None
    arguments = tuple(
        np.ascontiguousarray(a[tuple(slice(smaller if s == size else None) for s in a.shape)])
        .reshape(tuple(smaller if s == size else s for s in a.shape))
        for a in case.arguments
    )
    return _Case(graph, arguments)
