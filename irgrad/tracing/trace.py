"""Tracing: from a Python function to a graph.

For transforms and control flow, which work inside a trace as well as at its top:

    find_trace(values) -> Trace | None
        the innermost live trace among traced values (lists and tuples are looked into).
    trace_flat(function, types, ...) -> FlatTrace
        run `function(*tracers)` in a new trace. `FlatTrace.graph` has one input for each type, then
        one for each of `FlatTrace.closed`: the ndarrays and the traced values of outer traces that
        the function used without having them as arguments. `FlatTrace.outputs` is the optree
        description of what it returned. Where a transform is called on arrays, its function may
        still use values of an enclosing trace: `find_trace([*arguments, *flat.closed])` decides.
    inline_graph(trace, graph, operands) -> list[Tracer]
        add the nodes of a graph to a trace; operands are array-likes for all inputs of the graph,
        so those of a traced function are `[*arguments, *flat.closed]`.
    trace.emit(op, operands, **attrs), trace.one(op, *operands, **attrs) -> tracers
        add a node of any op, region ops included; operands as above.
    trace.lift(x) -> Tracer; tracer.type, tracer.expr, tracer.weak, tracer.context
        an array-like as a value of a trace; what a traced value is.
    at_user_line(trace, body, *args) (of dispatch: run_traced)
        call `body(trace, *args)` so that new nodes and errors carry the user's line.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count as count_from
from itertools import islice
from typing import Any

import numpy as np
from optree import PyTreeSpec

from ..errors import ArgumentError, ShapeError, TraceError, brief
from ..ir.graph import Graph
from ..ir.location import Location, describe
from ..ir.signature import Signature
from ..ir.spec import parse_type
from ..ir.types import TensorType, dtype_of
from .context import Closed, Trace, scalar_type
from .dispatch import find_trace, run_traced
from .functions.namespace import FUNCTIONS
from .locations import add_location, call_function, ends_at_call, user_locations
from .sizes import SymbolicSize
from .tracer import Tracer
from .trees import flatten_object, leaf_names, tree_of, unflatten_object

at_user_line = run_traced


@dataclass(frozen=True, slots=True)
class FlatTrace:
    """What `trace_flat` gives.

    graph: inputs are the arguments, then `closed`. outputs: structure of what the function
    returned. closed: values used without being arguments. weak: for each output, whether it is a
    Python number that adapts its dtype.
    """

    graph: Graph
    outputs: PyTreeSpec
    closed: list[Closed]
    weak: tuple[bool, ...]


def trace_flat(
    function: Callable[..., Any],
    types: Sequence[TensorType],
    names: Sequence[str] = (),
    locations: tuple[Location, ...] = (),
    *,
    weak: Sequence[bool] = (),
    name: str = "main",
) -> FlatTrace:
    """Run a function of traced values in a new trace.

    types: of its arguments. names: for the inputs, none by default. locations: of the inputs. weak:
    which arguments stand for Python numbers. name: of the graph.
    Raises TraceError where the function does what cannot be recorded or returns what is no array.
    """
    trace = Trace(name, FUNCTIONS)
    arguments = [
        trace.argument(
            type_,
            names[i] if i < len(names) else "",
            locations,
            bool(weak[i]) if i < len(weak) else False,
        )
        for i, type_ in enumerate(types)
    ]
    try:
        leaves, spec = flatten_object(function(*arguments))
        results = [_result(trace, leaf, i, spec, locations) for i, leaf in enumerate(leaves)]
    finally:
        trace.live = False
    trace.graph.outputs = [result.value for result in results]
    return FlatTrace(trace.graph, spec, trace.closed, tuple(result.weak for result in results))


def _result(
    trace: Trace, leaf: Any, position: int, spec: PyTreeSpec, locations: tuple[Location, ...]
) -> Tracer:
    trace.builder.locations = locations
    if isinstance(leaf, (Tracer, SymbolicSize, np.ndarray, np.generic, bool, int, float)):
        return trace.lift(leaf)
    path = "".join(f"[{brief(entry)}]" for entry in spec.paths()[position])
    where = f"\n{describe(locations[0])}" if locations else ""
    raise TraceError(
        f"output{path}: expected arrays, numbers, or tuples, lists and dicts of them, got "
        f"{brief(leaf)} of type {type(leaf).__name__}{where}"
    )


def inline_graph(trace: Trace, graph: Graph, operands: Sequence[Any]) -> list[Tracer]:
    """Add the nodes of a graph to a trace, its inputs bound to array-likes; return its outputs.

    Raises ShapeError where an operand does not have the type of its input.
    """
    if len(operands) != len(graph.inputs):
        raise ArgumentError(
            f"{graph.name}: expected {len(graph.inputs)} operands, got {len(operands)}"
        )
    tracers = [
        trace.lift_from(operand, graph[key].locations)
        for operand, key in zip(operands, graph.inputs)
    ]
    for i, (tracer, key) in enumerate(zip(tracers, graph.inputs)):
        if tracer.type != graph[key].types[0]:
            raise ShapeError(
                f"{graph.name}: expected {graph[key].types[0]} as operand {i}, got {tracer.type}"
            )
    values = trace.graph.inline(graph, [tracer.value for tracer in tracers])
    return trace.values(values)


# -- the whole call --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Program:
    """A traced function with the structures of its arguments and its result.

    graph: inputs are the leaves of the arguments, then the captured arrays. inputs: the structure
    of the tuple of arguments that are not static. outputs: the structure of the result.
    """

    graph: Graph
    inputs: PyTreeSpec
    outputs: PyTreeSpec


@dataclass(frozen=True, slots=True)
class _Call:
    """How a function is called: its plain arguments around the traced ones.

    names: of the positional arguments that are traced. positions: where they stand. total: the
    number of positional arguments. fixed: static arguments by position. keywords: those by name.
    """

    names: tuple[str, ...]
    positions: tuple[int, ...]
    total: int
    fixed: Mapping[int, Any] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def run(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        """Call the function with the traced arguments in their places."""
        merged = dict(self.fixed) | dict(zip(self.positions, arguments))
        positional = [merged[i] for i in range(self.total)]
        return call_function(function, positional, self.keywords)


@ends_at_call
def trace(
    f: Callable[..., Any],
    *specs: Any,
    static: Mapping[int | str, Any] | None = None,
    donate: int | str | Sequence[int | str] = (),
) -> Graph:
    """The graph of a function for arguments of the given kinds.

    specs: one for each argument that is not static: nested tuples, lists and dicts of types (text
    such as "f32[n,784]" or TensorType), arrays, or Python numbers, which become weak scalar
    arguments. A size name means the same number in all specs. static: plain values by position or
    by parameter name. donate: positions or names of arguments whose memory may be overwritten.
    Raises TraceError for what a trace cannot record; ArgumentError for specs that do not fit `f`.
    """
    return trace_program(f, *specs, static=static, donate=donate).graph


def trace_program(
    f: Callable[..., Any],
    *specs: Any,
    static: Mapping[int | str, Any] | None = None,
    donate: int | str | Sequence[int | str] = (),
) -> Program:
    """As `trace`, with the optree structures of arguments and result, named tuples included."""
    require_function("trace", f)
    if not isinstance(static, (Mapping, type(None))):
        raise ArgumentError(
            f"static: expected a dict of values by position or name, got {brief(static)}"
        )
    call = _plan_call(f, len(specs), static or {})
    leaves, inputs = flatten_object(tuple(specs))
    names = leaf_names(inputs, call.names)
    types, weak = zip(*map(_leaf_type, leaves, names)) if leaves else ((), ())
    where = _definition(f)
    flat = trace_flat(
        lambda *tracers: call.run(f, unflatten_object(inputs, tracers)),
        types,
        names,
        where,
        weak=weak,
        name=_graph_name(f),
    )
    graph = flat.graph
    for key, value in zip(graph.inputs[len(types) :], flat.closed):
        if isinstance(value, Tracer):
            raise TraceError(
                f"{graph.name}: expected a function that uses no value of another trace, got one "
                f"that uses a traced {value.type}; pass it as an argument"
            )
        graph.captures[key] = value
    _name_captures(graph, f)
    graph.signature = Signature(
        tree_of(inputs),
        tree_of(flat.outputs),
        names,
        _donated(inputs, call, donate),
        tuple(f"{key}={_static_text(value)}" for key, value in (static or {}).items()),
    )
    return Program(graph, inputs, flat.outputs)


def require_function(what: str, f: Any) -> None:
    """Raise ArgumentError, starting with `what`, for what cannot be called."""
    if not callable(f):
        error = ArgumentError(f"{what}: expected a function, got {brief(f)}")
        add_location(error, user_locations())
        raise error


def _leaf_type(leaf: Any, name: str) -> tuple[TensorType, bool]:
    """The type of one argument leaf and whether it stands for a Python number."""
    if isinstance(leaf, TensorType):
        return leaf, False
    if isinstance(leaf, Tracer):
        return leaf.type, leaf.weak
    if isinstance(leaf, str):
        return parse_type(leaf), False
    if isinstance(leaf, np.ndarray):
        return TensorType(dtype_of(leaf.dtype), leaf.shape), False
    if isinstance(leaf, (np.generic, bool, int, float)):
        return scalar_type(leaf)
    raise ArgumentError(
        f"{name}: expected a type such as 'f32[n,784]', an array or a number, got {brief(leaf)} of "
        f"type {type(leaf).__name__}"
    )


def _plan_call(f: Callable[..., Any], count: int, static: Mapping[int | str, Any]) -> _Call:
    """Place `count` traced arguments among the static ones, as the signature of `f` has them."""
    parameters = parameters_of(f)
    by_position = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    by_name = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    fixed: dict[int, Any] = {}
    keywords: dict[str, Any] = {}
    for key, value in static.items():
        if not is_position(key):
            raise ArgumentError(
                f"static: expected positions from 0 on, or names, of arguments, got {brief(key)}"
            )
        if isinstance(key, str) and key in by_name:
            keywords[key] = value
        elif isinstance(key, str) and key not in by_position:
            raise ArgumentError(f"static: expected the name of a parameter of f, got {key!r}")
        else:
            fixed[by_position.index(key) if isinstance(key, str) else key] = value
    positions = list(islice((i for i in count_from() if i not in fixed), count))
    total = max([-1, *positions, *fixed]) + 1
    if len(positions) + len(fixed) != total:
        raise ArgumentError(
            f"{_graph_name(f)}: expected a spec for each argument before the static ones, got "
            f"{count} specs"
        )
    names = tuple(by_position[i] if i < len(by_position) else f"arg{i}" for i in positions)
    return _Call(names, tuple(positions), total, fixed, keywords)


def _donated(
    inputs: PyTreeSpec, call: _Call, donate: int | str | Sequence[int | str]
) -> frozenset[int]:
    """The leaf positions of donated arguments."""
    chosen = set()
    for entry in donate if isinstance(donate, (tuple, list)) else (donate,):
        keys = call.names if isinstance(entry, str) else call.positions
        if not is_position(entry) or entry not in keys:
            known = ", ".join(map(str, keys)) or "no arguments"
            raise ArgumentError(f"donate: expected one of {known}, got {brief(entry)}")
        chosen.add(keys.index(entry))  # type: ignore[arg-type]
    return frozenset(i for i, path in enumerate(inputs.paths()) if path[0] in chosen)


def is_position(x: Any) -> bool:
    """Whether a value can name an argument: its position, counted from 0, or its name."""
    return isinstance(x, str) or (isinstance(x, int) and not isinstance(x, bool) and x >= 0)


def parameters_of(f: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, or of the one that it wraps where it passes all arguments on;
    none where they cannot be found out."""
    found: list[inspect.Parameter] = []
    for follow_wrapped in (False, True):
        try:
            signature = inspect.signature(f, follow_wrapped=follow_wrapped)
        except (TypeError, ValueError):
            continue
        found = list(signature.parameters.values())
        if not all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
            break
    return found


def unwrapped(f: Any) -> Any:
    """The innermost function that decorators have wrapped; `f` itself where there is no end."""
    try:
        return inspect.unwrap(f)
    except ValueError:
        return f


def _static_text(value: Any) -> str:
    """A static argument in the text of the graph, the same in every process."""
    if isinstance(value, (bool, int, float, str, type(None))):
        try:
            return repr(value)[:60]
        except ValueError:  # Python refuses to write integers of thousands of digits
            return brief(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_static_text, value))})"[:60]
    return str(getattr(value, "__name__", type(value).__name__))


def _graph_name(f: Callable[..., Any]) -> str:
    name = getattr(f, "__name__", "main")
    return name if isinstance(name, str) and name.isidentifier() else "main"


def _definition(f: Callable[..., Any]) -> tuple[Location, ...]:
    """The line where a function is defined; none for objects without Python code."""
    code = getattr(unwrapped(f), "__code__", None)
    if not isinstance(code, types.CodeType):
        return ()
    return (Location(code.co_filename, code.co_firstlineno, code.co_name),)


def _name_captures(graph: Graph, f: Callable[..., Any]) -> None:
    """Give captures the names that they have in the closure or the module of `f`."""
    plain = unwrapped(f)
    if not isinstance(plain, types.FunctionType) or not graph.captures:
        return
    code, scope = plain.__code__, plain.__globals__
    known = {id(scope[name]): name for name in code.co_names if name in scope}
    for name, cell in zip(code.co_freevars, plain.__closure__ or ()):
        try:
            known[id(cell.cell_contents)] = name
        except ValueError:
            continue  # a cell that is not filled yet
    for key, array in graph.captures.items():
        if id(array) in known:
            graph.update(key, name=known[id(array)])


__all__ = ["Closed", "FlatTrace", "Program", "Trace", "Tracer", "at_user_line", "find_trace",
           "inline_graph", "require_function", "trace", "trace_flat", "trace_program"]
