"""The typed graph of a source, for given specs or arrays."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ArgumentError, IrgradError, LimitError, TraceError, brief
from ..interpret import bind_dims, input_names
from ..ir.dims import Dim
from ..ir.graph import Graph, Value
from ..ir.location import describe
from ..ir.signature import flat_tree
from ..ir.spec import parse_type
from ..ir.types import TensorType
from ..jitted import Jitted
from ..ops.check import verify
from ..passes.infer import Infer, specialise
from ..runtime.boundary import Boundary, Parameter
from ..tracing.trace import trace
from ..tracing.trees import flatten_object, unflatten_object
from .report import UsageError, printable
from .source import Source, user_code

MAX_BYTES = 2**47  # of one value: what a process can address
MAX_LISTED = 20  # names in a message
MAX_NAME = 80  # characters of each


def read_graph(source: Source, specs: Sequence[str]) -> Graph:
    """The typed and verified graph of a source.

    specs: type texts for the flattened arguments in order; none where the source carries its own.
    Raises ArgumentError where they do not fit, and what tracing or verifying raises.
    """
    types = [_parse_spec(spec) for spec in specs]
    if source.graph is not None:
        return _typed(source.graph.copy(), types)
    own = source.what.specs if isinstance(source.what, Jitted) else None
    if own is not None:
        leaves, tree = flatten_object(tuple(own))
        if types and len(types) != len(leaves):
            raise ArgumentError(
                f"--spec: expected one for each of the {len(leaves)} arrays among the arguments of "
                f"{source.label}, got {len(types)}"
            )
        return _traced(source, unflatten_object(tree, types or leaves))
    required = [] if types else _parameters(source)[0]
    if required:
        raise ArgumentError(
            f"{printable(source.label)}: expected a --spec such as 'f32[n,784]' for each of its "
            f"arguments ({_listed(required)}), got none"
        )
    return _traced(source, types)


def _traced(source: Source, arguments: Sequence[Any]) -> Graph:
    """The graph of a function for such arguments; what its code raises becomes a TraceError."""
    message = f"{printable(source.label)}: expected a function that can be traced"
    with user_code(message, TraceError, source.file):
        if isinstance(source.what, Jitted):
            return source.what.trace(*arguments)
        return trace(source.what, *arguments)


def read_graph_for(source: Source, specs: Sequence[str], arrays: Mapping[str, np.ndarray]) -> Graph:
    """As `read_graph`, where arrays give the types that neither specs nor the source give.

    arrays: by the names of the arguments, or arr_0, arr_1, ... in their order. The sizes of the
    graph are those of the arrays. Raises ArgumentError where the arrays do not fit.
    """
    carries = isinstance(source.what, Jitted) and source.what.specs is not None
    if source.graph is None and not specs and not carries:
        graph = _traced(source, _by_name(_filled(source, arrays), arrays))
    else:
        graph = read_graph(source, specs)
    return _sized(without_captures(graph), arrays)


def admit_arrays(graph: Graph, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The arrays in the order of the arguments, as a compiled function takes them.

    Raises ArgumentError for missing, surplus or unfit ones.
    """
    names = argument_names(graph)
    types = [graph.type(Value(key)) for key in graph.inputs[: len(names)]]
    boundary = Boundary([Parameter(name, type_) for name, type_ in zip(names, types)])
    return boundary.admit(_by_name(names, arrays))


def argument_names(graph: Graph) -> list[str]:
    """The names of the arguments, captures excluded."""
    count = len(graph.inputs) - len(graph.captures)
    return input_names(graph)[:count]


def check_sizes(graph: Graph) -> None:
    """Raise LimitError where a value of a graph could never be stored."""
    for key in graph.order():
        for type_ in graph[key].types:
            sizes = [s for s in type_.shape if isinstance(s, int)] if type_ else []
            if type_ and 0 not in sizes and math.prod(sizes) * type_.dtype.itemsize > MAX_BYTES:
                raise LimitError(
                    f"{graph[key].op}: expected values of at most {MAX_BYTES} bytes, got {type_}"
                    + (f"\n{describe(graph[key].locations[0])}" if graph[key].locations else "")
                )


def _filled(source: Source, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of the parameters that arrays fill: a first part of them, as they are given by
    position. It ends with the last one that needs an array or has one."""
    required, others = _parameters(source)
    names = required + others
    if set(arrays) == set(_numbered(len(arrays))):
        count = max(len(arrays), len(required))
        return names[:count] if names else _numbered(len(arrays))
    last = max((i for i, name in enumerate(names) if name in arrays), default=-1)
    return names[: max(last + 1, len(required))]


def _parameters(source: Source) -> tuple[list[str], list[str]]:
    """The names of the parameters that can be given by position, those without a default first;
    none where they are not known."""
    message = f"{printable(source.label)}: expected a function with a signature"
    with user_code(message, TraceError, source.file):
        try:
            parameters = list(inspect.signature(source.what).parameters.values())
        except (TypeError, ValueError):  # a function in C may have none
            parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [p for p in parameters if p.kind in plain]
    required = [p.name for p in known if p.default is p.empty]
    return required, [p.name for p in known if p.default is not p.empty]


def _parse_spec(spec: str) -> TensorType:
    try:
        return parse_type(spec)
    except IrgradError as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"--spec {brief(spec, 60)}: {line}") from None


def _typed(graph: Graph, types: Sequence[TensorType]) -> Graph:
    """A graph of IR text with types for all nodes; `types` are those of its arguments, or none."""
    names = argument_names(graph)
    if types and len(types) != len(names):
        raise ArgumentError(
            f"--spec: expected one for each of the {len(names)} arguments of {graph.name}, got "
            f"{len(types)}"
        )
    dims: dict[str, int] = {}
    if types:
        keys = graph.inputs[: len(names)]
        known = [(graph[key].types[0], new, name) for key, new, name in zip(keys, types, names)]
        for key, (old, new, name) in zip(keys, known):
            if old is None:
                graph.update(key, types=(new,))
            elif old != new and (
                old.dtype != new.dtype or any(isinstance(size, Dim) for size in new.shape)
            ):
                raise ArgumentError(f"--spec: expected {old} with numbers for {name}, got {new}")
        typed = [(old, new, name) for old, new, name in known if old is not None and old != new]
        if typed:
            olds, news, labels = zip(*typed)
            dims = bind_dims(olds, [new.shape for new in news], labels)
    Infer().apply(graph)
    if dims:
        specialise(graph, dims)
    verify(graph, "traced")
    return graph


def without_captures(graph: Graph) -> Graph:
    """The graph with captures that have no array, as in IR text, made arguments.

    Arguments then are no longer nested: each array is one.
    """
    if all(array is not None for array in graph.captures.values()):
        return graph
    names = tuple(input_names(graph))
    graph = graph.copy()
    graph.captures = {}
    inputs = flat_tree(len(graph.inputs))
    graph.signature = replace(graph.signature, inputs=inputs, names=names)
    return graph


def _sized(graph: Graph, arrays: Mapping[str, np.ndarray]) -> Graph:
    """The graph for the sizes of arrays."""
    types = [graph.type(Value(key)) for key in graph.inputs[: len(argument_names(graph))]]
    given = _by_name(argument_names(graph), arrays)
    dims = bind_dims(types, [array.shape for array in given], argument_names(graph))
    if dims:
        graph = graph.copy()
        specialise(graph, dims)
    return graph


def _by_name(names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    numbered = _numbered(len(names))
    if names and set(arrays) == set(numbered):
        return [arrays[name] for name in numbered]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ArgumentError(
            f"inputs: expected arrays named arr_0, arr_1, ... as {_listed(twice)} names several "
            f"arguments, got {_listed(list(arrays)) or '(none)'}"
        )
    missing = [name for name in names if name not in arrays]
    known = set(names)
    surplus = [name for name in arrays if name not in known]
    if missing or surplus:
        problems = [f"no array {_listed(missing)}"] if missing else []
        problems += [f"also {_listed(surplus)}"] if surplus else []
        raise ArgumentError(
            f"inputs: expected arrays named {_listed(names) or '(none)'}, got "
            + " and ".join(problems)
        )
    return [arrays[name] for name in names]


def _numbered(count: int) -> list[str]:
    return [f"arr_{i}" for i in range(count)]


def _listed(names: Sequence[str]) -> str:
    """Names as messages list them: the first ones, and how many more there are."""
    more = [f"{len(names) - MAX_LISTED} more"] if len(names) > MAX_LISTED else []
    return ", ".join([printable(name)[:MAX_NAME] for name in names[:MAX_LISTED]] + more)
