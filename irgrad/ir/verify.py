"""Checking that a graph keeps the invariants of its level."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import networkx as nx

from ..errors import ArgumentError, IrgradError, VerifyError, brief
from .dims import Dim, names
from .excerpt import fault
from .fields import graph_problem
from .graph import Graph, Node, Value
from .lexer import MAX_RANK, MAX_TERMS, RESERVED
from .linear import verify_linear
from .printer import brief_text, calling_convention
from .spec import INT_MAX
from .types import DType, TensorType


class OpRecord(Protocol):
    """What verification asks of the record of an op."""

    @property
    def attributes(self) -> Mapping[str, str]: ...

    @property
    def infer(self) -> Callable[..., tuple[TensorType, ...]]: ...

    @property
    def transpose(self) -> Any: ...

    @property
    def effect(self) -> bool: ...


Ops = Mapping[str, OpRecord]


@dataclass(frozen=True, slots=True)
class Level:
    """What a graph may hold at a level: forbidden ops, and the level of the regions inside it."""

    forbidden: frozenset[str]
    regions: str


_SHOWN = 80  # characters of the name of an op
_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "linear_call", "stop_gradient"})
_FUSED = frozenset({"fused"})
LEVELS: Mapping[str, Level] = MappingProxyType(
    {
        "traced": Level(_FUSED, "traced"),
        "linear": Level(_FUSED, "traced"),
        "optimised": Level(_CALLS | _FUSED, "optimised"),
        "fused": Level(_CALLS, "optimised"),
    }
)


def verify(
    graph: Graph, level: str, ops: Ops, linear_inputs: Iterable[int] | None = None
) -> None:
    """Raise VerifyError unless the graph keeps the invariants of a level.

    At every level: operands exist and come before their readers, the derived edges agree with them,
    inputs are typed nodes of op "input", ops are known and allowed, attributes are those that the
    ops declare, of the declared kinds, result types are the ones that the ops infer, effects are
    listed once and in order of dependency, regions are valid and closed, and the calling
    convention fits. Level "linear" adds that the outputs are linear in the inputs at the positions
    `linear_inputs` (by default, in all of float type). Raises ArgumentError for an unknown level.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"verify: expected a graph, got {brief(graph)}")
    if not isinstance(level, str) or level not in LEVELS:
        raise ArgumentError(f"verify: expected a level of {', '.join(LEVELS)}, got {brief(level)}")
    _verify_structure(graph)
    _verify_convention(graph)
    inputs, effects = frozenset(graph.inputs), frozenset(graph.effects)
    for key in graph:
        if graph[key].op == "input" and key not in inputs:
            raise VerifyError(fault(graph, key, "input: expected to be listed in the inputs"))
        _verify_types(graph, key)
        if key not in inputs:
            _verify_node(graph, key, key in effects, LEVELS[level], ops)
    if level == "linear":
        if linear_inputs is None:
            types = [graph.type(Value(key)) for key in graph.inputs]
            linear_inputs = [i for i, type_ in enumerate(types) if type_.dtype.kind in "fc"]
        verify_linear(graph, linear_inputs, ops)


# -- the graph -------------------------------------------------------------------------------------


def _verify_structure(graph: Graph) -> None:
    """Fields, operands, edges, inputs, outputs, effects, and that there is no cycle."""
    problem = graph_problem(vars(graph))
    if problem is not None:
        raise VerifyError(f"graph: {problem}")
    if not isinstance(graph.nx, nx.DiGraph):
        raise VerifyError(f"graph: expected a networkx.DiGraph, got {brief(graph.nx)}")
    if set(graph.nx) != set(graph):
        raise VerifyError(fault(graph, None, "graph: expected an entry in nx for each node"))
    for key in graph:
        node = graph[key]
        for value in node.operands:
            if value.node not in graph or not 0 <= value.result < len(graph[value.node].types):
                message = f"{node.op}: expected operands that exist, got {tuple(value)}"
                raise VerifyError(fault(graph, key, message))
        uses = {source: data.get("uses") for source, _, data in graph.nx.in_edges(key, data=True)}
        expected = Counter(value.node for value in node.operands)
        if uses != expected:
            message = f"{node.op}: expected edges {dict(expected)} as in its operands, got {uses}"
            raise VerifyError(fault(graph, key, message))
    for value in graph.outputs:
        if value.node not in graph or not 0 <= value.result < len(graph[value.node].types):
            message = f"return: expected values that exist, got {tuple(value)}"
            raise VerifyError(fault(graph, None, message))
    _verify_inputs(graph)
    if not nx.is_directed_acyclic_graph(graph.nx):
        key = nx.find_cycle(graph.nx)[0][0]
        raise VerifyError(fault(graph, key, f"{graph[key].op}: expected no cycle, got one"))
    _verify_effects(graph)


def _verify_inputs(graph: Graph) -> None:
    for position, key in enumerate(graph.inputs):
        if key not in graph or graph[key].op != "input":
            got = f"'{graph[key].op}'" if key in graph else "a missing node"
            message = f"graph: expected input {position} to be a node of op 'input', got {got}"
            raise VerifyError(fault(graph, None, message))
        node = graph[key]
        well_formed = not node.operands and len(node.types) == 1
        if not well_formed or node.attributes != (("index", position),):
            message = (
                f"input: expected no operands, one type and the attribute index={position}, got "
                f"{len(node.operands)}, {len(node.types)} and {dict(node.attributes)}"
            )
            raise VerifyError(fault(graph, key, message))


def _verify_effects(graph: Graph) -> None:
    """Effects exist, each once, none before one that it depends on."""
    for key in graph.effects:
        if key not in graph:
            message = f"graph: expected effects that exist, got node {key}"
            raise VerifyError(fault(graph, None, message))
    if len(set(graph.effects)) != len(graph.effects):
        raise VerifyError(fault(graph, None, "graph: expected each effect once, got one again"))
    seen = set(graph.inputs)
    waiting = set(graph.effects)
    for key in graph.effects:
        waiting.discard(key)
        stack = [key]
        while stack:
            below = stack.pop()
            if below in waiting:
                message = f"{graph[key].op}: expected effects after those they depend on"
                raise VerifyError(fault(graph, key, f"{message}, got one before"))
            if below not in seen:
                seen.add(below)
                stack += [value.node for value in graph[below].operands]


def _verify_convention(graph: Graph) -> None:
    """Captures are the last inputs, and the signature's leaves match inputs and outputs."""
    count = len(graph.captures)
    arguments = len(graph.inputs) - count
    if set(graph.inputs[arguments:]) != set(graph.captures):
        raise VerifyError(fault(graph, None, "graph: expected the captures to be the last inputs"))
    signature = calling_convention(graph)
    for what, tree, number in (
        ("arguments", signature.inputs, arguments),
        ("results", signature.outputs, len(graph.outputs)),
    ):
        if tree.leaves != number:
            message = f"signature: expected a tree of {number} {what}, got {tree.leaves} leaves"
            raise VerifyError(fault(graph, None, message))
    if signature.names and len(signature.names) != arguments:
        message = f"signature: expected {arguments} names, got {len(signature.names)}"
        raise VerifyError(fault(graph, None, message))
    for position in sorted(signature.donated):
        if not 0 <= position < arguments:
            message = f"signature: expected donated positions below {arguments}, got {position}"
            raise VerifyError(fault(graph, None, message))


# -- nodes -----------------------------------------------------------------------------------------


def _verify_node(graph: Graph, key: int, is_effect: bool, level: Level, ops: Ops) -> None:
    node = graph[key]
    problem = node_problem(node, is_effect, ops)
    if problem is None and node.op in level.forbidden:
        problem = f"{node.op}: expected an op of this level, got one that it excludes"
    if problem is not None:
        raise VerifyError(fault(graph, key, problem))
    for name, region in node.regions():
        if region.captures:
            message = f"{node.op}: expected region '{name}' to have no captures, got some"
            raise VerifyError(fault(graph, key, message))
        verify(region, level.regions, ops)
    try:
        inferred = ops[node.op].infer(
            tuple(graph.type(value) for value in node.operands), dict(node.attributes)
        )
    except IrgradError as error:
        raise VerifyError(fault(graph, key, str(error))) from error
    problem = types_problem(node, inferred)
    if problem is not None:
        raise VerifyError(fault(graph, key, problem))


def node_problem(node: Node, is_effect: bool, ops: Ops) -> str | None:
    """What is wrong with a node's op or attributes, apart from types; None where nothing is."""
    if node.op not in ops:
        op = node.op[:_SHOWN]
        near = difflib.get_close_matches(op, ops, 1)
        hint = f" (is '{near[0]}' meant?)" if near else ""
        return f"{op}: expected the name of an op, got an unknown one{hint}"
    record = ops[node.op]
    # A kernel has the effects of its region.
    effect = record.effect or (node.op in _FUSED and any(r.effects for _, r in node.regions()))
    if effect != is_effect:
        return (f"{node.op}: expected to be listed as an effect, got a plain node"
                if effect else f"{node.op}: expected no effect, got it listed as one")
    found = [name for name, _ in node.attributes]
    expected = sorted(record.attributes)
    if found != expected:
        return (f"{node.op}: expected the attributes ({', '.join(expected)}), "
                f"got ({', '.join(found)})")
    for name, value in node.attributes:
        words, test = _KINDS[record.attributes[name]]
        if not test(value):
            return f"{node.op}: expected '{name}' to be {words}, got {_shown(value)}"
    return None


def types_problem(node: Node, inferred: tuple[TensorType, ...]) -> str | None:
    """How the annotated types differ from those that the op infers; None where they agree."""
    if len(inferred) != len(node.types):
        return f"{node.op}: expected {len(inferred)} results, got {len(node.types)}"
    for position, (expected, got) in enumerate(zip(inferred, node.types)):
        if got is not None and got != expected:
            return f"{node.op}: expected result {position} of type {expected}, got {got}"
    return None


def type_problem(type_: Any) -> str | None:
    """Why something cannot be a type of a value; None where it can."""
    if not isinstance(type_, TensorType) or not isinstance(type_.dtype, DType):
        return f"expected a type, got {'none' if type_ is None else type(type_).__name__}"
    if len(type_.shape) > MAX_RANK:
        return f"expected at most {MAX_RANK} axes, got {len(type_.shape)}"
    for size in type_.shape:
        if not _is_size(size) or (isinstance(size, int) and size < 0):
            return f"expected sizes that are integers >= 0 or made of names, got {brief(size)}"
    return None


def _verify_types(graph: Graph, key: int) -> None:
    for position, type_ in enumerate(graph[key].types):
        problem = type_problem(type_)
        if problem is not None:
            message = f"{graph[key].op}: result {position}: {problem}"
            raise VerifyError(fault(graph, key, message))


# -- attribute kinds -------------------------------------------------------------------------------


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    if isinstance(value, Dim):
        legal = all(name.isidentifier() and name.isascii() for name in names(value))
        return legal and RESERVED.isdisjoint(names(value)) and _has_text(value)
    return _is_int(value) and _fits(value)


def _fits(number: int) -> bool:
    return -INT_MAX - 1 <= number <= INT_MAX


def _has_text(size: Dim) -> bool:
    """Whether the parser would read a size of names back."""
    factors = [
        (abs(coefficient) != 1) + sum(power for _, power in monomial)
        for monomial, coefficient in size.terms
    ]
    numbers = all(_fits(coefficient) for _, coefficient in size.terms)
    return numbers and len(factors) <= MAX_TERMS and max(factors) <= MAX_TERMS


def _tuple_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(map(test, value))


def _shown(value: Any) -> str:
    text = brief_text(value)
    return text if len(text) <= 60 else f"a longer {type(value).__name__}"


_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "bool": ("true or false", lambda value: isinstance(value, bool)),
        "int": ("an integer of 64 bits", lambda value: _is_int(value) and _is_size(value)),
        "ints": ("a tuple of integers", _tuple_of(lambda item: _is_int(item) and _is_size(item))),
        "size": ("a size", _is_size),
        "sizes": ("a tuple of sizes", _tuple_of(_is_size)),
        "dtype": ("a dtype", lambda value: isinstance(value, DType)),
        "scalar": ("a bool or a number", lambda value: isinstance(value, bool | int | float)),
        "str": ("a string", lambda value: isinstance(value, str)),
        "graph": ("a region", lambda value: isinstance(value, Graph)),
        "slices": ("a tuple of tuples of sizes", _tuple_of(_tuple_of(_is_size))),
    }
)
