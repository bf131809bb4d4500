"""Functions with derivatives of their own: custom_jvp, custom_vjp, linear_call."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from .errors import ArgumentError, DifferentiationError, brief
from .ir.graph import Graph, Value
from .ir.location import Location
from .ir.shown import short
from .ir.types import TensorType
from .ops.registry import builder
from .ops.structured import has_tangent
from .runtime.copies import FunctionObject
from .runtime.signatures import arrange, parameters_of
from .subgraph import TracedFunction, at_call, fail, leaf_type, match_leaves, trace_function
from .tracing.context import Closed, Trace
from .tracing.locations import call_function, ends_at_call
from .tracing.trace import at_user_line, find_trace, require_function
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object, unflatten_object

Function = Callable[..., Any]
_ARRAYS = (np.ndarray, Tracer)
# How deep the rules of a function that calls itself in its rules are nested: derivatives of what a
# rule calls follow the rule up to this order, and the function's own operations beyond it.
MAX_NESTING = 3


class _Nesting(threading.local):
    """How many calls of one custom function this thread is tracing, each inside the one before."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1


class custom_jvp(FunctionObject):  # noqa: N801
    """A function whose forward derivative the user gives; the reverse one follows from it.

    `f.defjvp(rule)` sets it: rule(primals, tangents) -> (output, tangent of the output), where both
    arguments are tuples with an entry for each argument of f; tangents of leaves that are not float
    are None, and the rule may give None for a tangent that is zero. It has to be linear in the
    tangents. It may call f, which has the same rule there, three deep. Called on arrays, f is the
    plain function.

    Raises DifferentiationError where the rule is missing, gives other types than f, or f or the
    rule uses a traced float value that is no argument; differentiating raises it where the rule is
    not linear.
    """

    @ends_at_call
    def __init__(self, f: Function) -> None:
        require_function("custom_jvp", f)
        self.function = f
        self.rule: Function | None = None
        self._nesting = _Nesting()
        functools.update_wrapper(self, f, updated=())

    @ends_at_call
    def defjvp(self, rule: Function) -> Function:
        """Set the rule; returns it, so this works as a decorator."""
        require_function("defjvp", rule)
        self.rule = rule
        return rule

    def __repr__(self) -> str:
        return f"custom_jvp({short(_name(self.function))})"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        args = _positional(self.function, args, kwargs)
        name = f"custom_jvp {_name(self.function)}"
        trace = find_trace(flatten_object(args)[0])
        if trace is None or self._nesting.depth >= MAX_NESTING:
            return at_call(call_function, self.function, args, {})
        if self.rule is None:
            fail(DifferentiationError(f"{name}: expected a rule given by defjvp, got none"))
        with self._nesting:
            return _call_custom_jvp(trace, name, self.function, self.rule, args)


class custom_vjp(FunctionObject):  # noqa: N801
    """A function whose reverse derivative the user gives; the forward one is its transpose.

    `f.defvjp(forward, backward)` sets it: forward(*args) -> (output, residuals) runs in the place
    of f where it is differentiated; backward(residuals, cotangent) -> tuple with a cotangent for
    each argument. Residuals are a tree of arrays; other leaves, such as Python numbers, reach
    backward as they are. Cotangents of leaves that are not float are None, and backward may give
    None for one that is zero. It has to be linear in the cotangent. Both may call f, which has the
    same rule there, three deep. Called on arrays, f is the plain function.

    Raises DifferentiationError where the functions are missing, their types do not fit f, or one of
    them uses a traced float value that is no argument; differentiating raises it where backward is
    not linear.
    """

    @ends_at_call
    def __init__(self, f: Function) -> None:
        require_function("custom_vjp", f)
        self.function = f
        self.forward: Function | None = None
        self.backward: Function | None = None
        self._nesting = _Nesting()
        functools.update_wrapper(self, f, updated=())

    @ends_at_call
    def defvjp(self, forward: Function, backward: Function) -> None:
        """Set the two functions."""
        require_function("defvjp: forward", forward)
        require_function("defvjp: backward", backward)
        self.forward = forward
        self.backward = backward

    def __repr__(self) -> str:
        return f"custom_vjp({short(_name(self.function))})"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        args = _positional(self.function, args, kwargs)
        name = f"custom_vjp {_name(self.function)}"
        trace = find_trace(flatten_object(args)[0])
        if trace is None or self._nesting.depth >= MAX_NESTING:
            return at_call(call_function, self.function, args, {})
        if self.forward is None or self.backward is None:
            fail(DifferentiationError(
                f"{name}: expected two functions given by defvjp, got none"
            ))
        parts = (self.function, self.forward, self.backward)
        with self._nesting:
            return _call_custom_vjp(trace, name, parts, args)


@ends_at_call
def linear_call(forward: Function, backward: Function, residuals: Any, operands: Any) -> Any:
    """Call a linear function that comes with its own transpose.

    forward(residuals, operands) -> results, linear in the operands. backward(residuals, cotangents
    of the results) -> cotangents with the tree of the operands, None standing for zero; it is the
    transpose of forward. Operands and results are trees of float arrays, residuals a tree of any
    arrays. Called on arrays, this is forward(residuals, operands).

    Raises DifferentiationError where an operand or a result is not float, or the results of
    backward do not fit the operands.
    """
    require_function("linear_call: forward", forward)
    require_function("linear_call: backward", backward)
    trace = find_trace(flatten_object((residuals, operands))[0])
    if trace is None:
        return at_call(call_function, forward, (residuals, operands), {})
    return _call_linear(trace, forward, backward, residuals, operands)


def _positional(
    f: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The arguments of a call by position, as rules get them, defaults filling gaps."""
    if not kwargs:
        return args
    arguments = at_call(arrange, parameters_of(f), (), args, kwargs)
    if arguments.keywords:
        fail(ArgumentError(
            f"{_name(f)}: expected arguments with a position, which rules need, got "
            f"{brief(sorted(arguments.dynamic[-1]))} by name alone"
        ))
    dynamic: tuple[Any, ...] = arguments.dynamic
    return dynamic


# -- custom_jvp ------------------------------------------------------------------------------------


def _call_custom_jvp(
    trace: Trace, name: str, function: Function, rule: Function, args: tuple[Any, ...]
) -> Any:
    """Emit a custom_jvp_call on the leaves of the arguments and what both functions close over."""
    body = trace_function(function, args)
    if not _has_derivative(body):
        return function(*args)
    leaves, tree = flatten_object(args)
    floats = [position for position, type_ in enumerate(body.types) if has_tangent(type_)]

    def flat_rule(primals: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        places = dict(zip(floats, tangents))
        moved = unflatten_object(tree, [places.get(i) for i in range(len(leaves))])
        result = call_function(rule, (unflatten_object(tree, primals), moved), {})
        out, tangent = _pair(f"{name}: rule: expected a pair (output, tangent)", result)
        _match_outputs(f"{name}: rule: output", body, out)
        inner = find_trace(tangents)
        return _match_parts(
            inner, f"{name}: rule: tangent", body.outputs, tangent, body.output_types
        )

    tangent = trace_function(flat_rule, (leaves, [body.types[i] for i in floats]))
    closed = _join_closed(name, body, tangent)
    types = [*body.types, *closed.types]
    region = Graph("rule")
    inputs = [region.add_input(type_) for type_ in types]
    seeds = [region.add_input(type_) for type_ in types if has_tangent(type_)]
    own = [*inputs[: len(leaves)], *seeds[: len(floats)]]
    region.outputs = region.inline(
        tangent.graph, own + closed.used_by(tangent, inputs[len(leaves) :])
    )
    attrs = {"body": closed.region("body", body), "rule": region}
    return _emit(trace, "custom_jvp_call", [*leaves, *closed.lifted(trace)], body, attrs)


# -- custom_vjp ------------------------------------------------------------------------------------


def _call_custom_vjp(
    trace: Trace, name: str, functions: tuple[Function, Function, Function], args: tuple[Any, ...]
) -> Any:
    """Emit a custom_vjp_call on the leaves of the arguments and what the functions close over.

    What backward closes over joins the residuals.
    """
    function, forward, backward = functions
    body = trace_function(function, args)
    if not _has_derivative(body):
        return function(*args)
    residuals = _Residuals()

    def flat_forward(*inner: Any) -> list[Any]:
        return residuals.split(name, body, call_function(forward, inner, {}))

    ahead = trace_function(flat_forward, args)
    back = _trace_backward(name, backward, body, residuals, args)
    closed = _join_closed(name, body, ahead, back)
    forward_region = closed.region("forward", ahead)
    inputs = [Value(key) for key in forward_region.inputs[body.leaves :]]
    forward_region.outputs += closed.used_by(back, inputs)
    attrs = {
        "body": closed.region("body", body),
        "forward": forward_region,
        "backward": _backward_region(back, len(residuals.types), closed),
    }
    operands = [*body.arguments[: body.leaves], *closed.lifted(trace)]
    return _emit(trace, "custom_vjp_call", operands, body, attrs)


class _Residuals:
    """The residuals that forward returned: types of the arrays, other leaves, and their tree."""

    def __init__(self) -> None:
        self.types: list[TensorType] = []
        self.leaves: list[Any] = []
        self.tree: optree.PyTreeSpec | None = None

    def split(self, name: str, body: TracedFunction, result: Any) -> list[Any]:
        """Check what forward returned; its outputs and array residuals as one list."""
        out, kept = _pair(f"{name}: forward: expected a pair (output, residuals)", result)
        outputs = _match_outputs(f"{name}: forward: output", body, out)
        self.leaves, self.tree = flatten_object(kept)
        arrays = [x for x in self.leaves if isinstance(x, _ARRAYS)]
        self.types = [leaf_type(x) for x in arrays]
        return [*outputs, *arrays]

    def rebuild(self, arrays: Sequence[Any]) -> Any:
        """The tree of residuals with other arrays in it."""
        assert self.tree is not None
        rest = iter(arrays)
        return unflatten_object(
            self.tree, [next(rest) if isinstance(x, _ARRAYS) else x for x in self.leaves]
        )


def _trace_backward(
    name: str,
    backward: Function,
    body: TracedFunction,
    residuals: _Residuals,
    args: tuple[Any, ...],
) -> TracedFunction:
    """Trace backward as a function of the array residuals and the cotangents of float outputs."""

    def flat_backward(arrays: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        given = (residuals.rebuild(arrays), body.tangent_tree(cotangents))
        result = call_function(backward, given, {})
        if not isinstance(result, tuple) or len(result) != len(args):
            fail(DifferentiationError(
                f"{name}: backward: expected a tuple of {len(args)} cotangents, got "
                f"{brief(result, 60)}"
            ))
        _, tree = flatten_object(args)
        inner = find_trace(cotangents)
        return _match_parts(inner, f"{name}: backward: cotangent", tree, result, body.types)

    cotangents = [type_ for type_ in body.output_types if has_tangent(type_)]
    return trace_function(flat_backward, (residuals.types, cotangents))


def _backward_region(back: TracedFunction, residuals: int, closed: _Closed) -> Graph:
    """Backward, what it closes over being residuals too, and zeros for closed-over arrays."""
    region = Graph("backward")
    first = [region.add_input(type_) for type_ in back.types[:residuals]]
    lifted = [region.add_input(type_) for type_ in map(leaf_type, back.closed)]
    last = [region.add_input(type_) for type_ in back.types[residuals:]]
    region.outputs = region.inline(back.graph, [*first, *last, *lifted])
    zeros = builder(region).zeros
    region.outputs += [zeros(type_).value for type_ in closed.types if has_tangent(type_)]
    return region


# -- linear_call -----------------------------------------------------------------------------------


def _call_linear(
    trace: Trace, forward: Function, backward: Function, residuals: Any, operands: Any
) -> Any:
    """Emit a linear_call; what the functions close over joins the residuals."""
    kept, _ = flatten_object(residuals)
    moved, tree = flatten_object(operands)
    types = [leaf_type(x) for x in moved]
    _require_floats("operands", types)
    ahead = trace_function(forward, (residuals, operands))
    _require_floats("results", ahead.output_types)

    def flat_backward(kept: Any, cotangents: Sequence[Any]) -> list[Any]:
        result = call_function(backward, (kept, unflatten_object(ahead.outputs, cotangents)), {})
        inner = find_trace(cotangents)
        return _match_parts(inner, "linear_call: backward: cotangent", tree, result, types)

    back = trace_function(flat_backward, (residuals, ahead.output_types))
    closed = _join_closed(None, ahead, back)
    attrs: dict[str, Any] = {"residuals": len(kept) + len(closed.values)}
    for name, traced in (("forward", ahead), ("backward", back)):
        region = Graph(name)
        first = [region.add_input(type_) for type_ in traced.types[: len(kept)]]
        lifted = [region.add_input(type_) for type_ in closed.types]
        last = [region.add_input(type_) for type_ in traced.types[len(kept) :]]
        own = [*first, *last, *closed.used_by(traced, lifted)]
        region.outputs = region.inline(traced.graph, own)
        attrs[name] = region
    return _emit(trace, "linear_call", [*kept, *closed.lifted(trace), *moved], ahead, attrs)


def _require_floats(what: str, types: Sequence[TensorType]) -> None:
    if not types:
        fail(DifferentiationError(f"linear_call: expected {what} of float type, got none"))
    for position, type_ in enumerate(types):
        if not has_tangent(type_):
            fail(DifferentiationError(
                f"linear_call: expected {what} of float type, got {type_} at position {position}"
            ))


# -- values closed over ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Closed:
    """What several functions use without having it as an argument, each value once, and the lines
    of its first use."""

    values: tuple[Closed, ...]
    places: tuple[tuple[Location, ...], ...]

    @property
    def types(self) -> list[TensorType]:
        return [leaf_type(x) for x in self.values]

    def lifted(self, trace: Trace) -> list[Tracer]:
        """The values in a trace."""
        return [trace.lift_from(x, at) for x, at in zip(self.values, self.places, strict=True)]

    def used_by(self, traced: TracedFunction, stand_ins: Sequence[Value]) -> list[Value]:
        """Those of the stand-ins for all values that one function needs, in its order."""
        places = {_identity(x): value for x, value in zip(self.values, stand_ins, strict=True)}
        return [places[_identity(x)] for x in traced.closed]

    def region(self, name: str, traced: TracedFunction) -> Graph:
        """The graph of a function with the leaves of its arguments, then all values, as inputs."""
        region = Graph(name)
        own = [region.add_input(type_) for type_ in traced.types]
        lifted = [region.add_input(type_) for type_ in self.types]
        region.outputs = region.inline(traced.graph, own + self.used_by(traced, lifted))
        return region


def _join_closed(name: str | None, *functions: TracedFunction) -> _Closed:
    """The union of what functions close over.

    name: of the function whose rule says nothing of the derivative by such values, so that traced
    floats are refused; None where they may occur.
    """
    found: dict[tuple[Any, ...], tuple[Closed, tuple[Location, ...]]] = {}
    for traced in functions:
        for x, key in zip(traced.closed, traced.graph.inputs[traced.leaves :], strict=True):
            found.setdefault(_identity(x), (x, traced.graph[key].locations))
    for x, _ in found.values():
        if name is not None and isinstance(x, Tracer) and has_tangent(x.type):
            fail(DifferentiationError(
                f"{name}: expected every traced float value to be an argument, got a use of a "
                f"{x.type} of the enclosing function; pass it as an argument"
            ))
    return _Closed(tuple(x for x, _ in found.values()), tuple(at for _, at in found.values()))


def _identity(x: Closed) -> tuple[Any, ...]:
    return (id(x.context), x.value, x.weak) if isinstance(x, Tracer) else (id(x),)


# -- results of the user's functions ---------------------------------------------------------------


def _emit(
    trace: Trace, op: str, operands: Sequence[Any], result: TracedFunction, attrs: dict[str, Any]
) -> Any:
    """Add the node, at the user's line; its results in the tree of the function's result."""
    trace.graph.note_widenings(result.graph.widenings)
    results = at_user_line(trace, lambda t: t.emit(op, operands, **attrs))
    return unflatten_object(result.outputs, results)


def _has_derivative(traced: TracedFunction) -> bool:
    return any(map(has_tangent, traced.types)) and any(map(has_tangent, traced.output_types))


def _pair(what: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        fail(DifferentiationError(f"{what}, got {brief(result, 60)}"))
    return result


def _match_outputs(what: str, body: TracedFunction, given: Any) -> list[Any]:
    """The leaves of an output that must be of the tree and the types of the function's own."""
    types = body.output_types
    return match_leaves(what, body.outputs, given, types, DifferentiationError, tangents=False)


def _match_parts(
    trace: Trace | None,
    what: str,
    tree: optree.PyTreeSpec,
    given: Any,
    types: Sequence[TensorType],
) -> list[Any]:
    """The tangents of the float leaves, None as zeros; types are those of all leaves."""
    assert trace is not None, "a rule is only traced where something float goes in and comes out"
    found = match_leaves(what, tree, given, types, DifferentiationError)
    pairs = [(x, type_) for x, type_ in zip(found, types) if has_tangent(type_)]
    return [trace.wrap(trace.builder.zeros(type_)) if x is None else x for x, type_ in pairs]


def _name(f: Function) -> str:
    return str(getattr(f, "__name__", type(f).__name__))
