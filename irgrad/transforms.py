"""jit, compile, spec and check: from a Python function to compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .errors import ArgumentError, CheckError, brief
from .ir.graph import Graph, attributes
from .ir.spec import parse_type
from .ir.types import TensorType
from .jitted import Jitted, Plan
from .runtime.boundary import describe_value
from .runtime.compiled import Compiled
from .runtime.guards import watch
from .runtime.options import Options, make_options
from .runtime.signatures import Position, positions
from .tracing.context import Trace
from .tracing.dispatch import find_trace, run_traced
from .tracing.locations import ends_at_call

Function = Callable[..., Any]


@ends_at_call
def jit(
    f: Function | None = None,
    *,
    specs: Sequence[Any] | None = None,
    donate: int | str | Sequence[Position] = (),
    static: int | str | Sequence[Position] = (),
    target: str = "cpu",
    **options: Any,
) -> Any:
    """A function compiled at its first call for each signature of its arguments.

    f: a function of arrays, numbers, and nested tuples, lists and dicts of them; left out, jit is a
    decorator with arguments. specs: types that the arguments must have, one for each argument
    that is not static, in the argument's own tree: `({"w": "f32[784,10]"}, "f32[n,784]")`; arrays
    stand for their types; where sizes are names, one compile serves all sizes. donate: positions
    or names of arguments whose memory results may take over. static: positions or names of
    arguments that are plain hashable values; each value is compiled for itself. options: the
    fields of `Options`.

    Called inside a trace, the function becomes part of it. Globals and closure cells that `f` and
    the functions it calls read are watched: where one of them has changed, `f` is compiled anew.
    Calls raise ArgumentError, DonationError and CheckError as those of a Compiled do, and
    LimitError after `max_retraces` further compiles.
    """
    if f is None:
        return partial(jit, specs=specs, donate=donate, static=static, target=target, **options)
    if not callable(f):
        raise ArgumentError(f"jit: expected a function, got {describe_value(f)}")
    plan = Plan(f, donate, static, target, make_options("jit", options))
    if not isinstance(specs, (tuple, list, type(None))):
        raise ArgumentError(
            f"jit: expected specs as a tuple, one for each argument, got {describe_value(specs)}"
        )
    return Jitted(plan, None if specs is None else tuple(specs))


@ends_at_call
def compile(  # noqa: A001
    f_or_graph: Function | Graph | Jitted,
    *specs: Any,
    donate: int | str | Sequence[Position] = (),
    static: int | str | Sequence[Position] = (),
    target: str = "cpu",
    **options: Any,
) -> Compiled:
    """Compile ahead of time.

    f_or_graph: a function, or a graph, which needs no specs. specs: one for each argument: types
    such as "f32[8,784]", arrays or numbers, in nested tuples, lists and dicts; at the positions of
    static arguments their values. Sizes may be names, as in "f32[n,784]"; see `spec`. donate,
    static, options: as for `jit`. Where a jitted function is given, its specs, donated and static
    arguments and options hold unless others are given.
    """
    settings = make_options("compile", options)
    if isinstance(f_or_graph, Graph):
        return _compile_graph(f_or_graph, specs, positions(donate), static, target, settings)
    f = f_or_graph
    if not callable(f):
        raise ArgumentError(f"compile: expected a function or a graph, got {describe_value(f)}")
    if isinstance(f, Jitted):
        specs = specs or f.specs or ()
        given = settings if options else None
        plan = f.replan(positions(donate), positions(static), target, given)
    else:
        plan = Plan(f, donate, static, target, settings)
    return plan.compile(plan.arrange(specs, {}), watch(plan.f))


def _compile_graph(
    graph: Graph,
    specs: tuple[Any, ...],
    donate: tuple[Position, ...],
    static: Any,
    target: str,
    options: Options,
) -> Compiled:
    from .cached import compile_cached

    if specs or positions(static):
        raise ArgumentError(
            f"compile: expected a graph alone, as its inputs have types, got {len(specs)} specs"
        )
    if not donate:
        return compile_cached(graph, target=target, options=options)
    children = graph.signature.inputs.children
    if any(not isinstance(one, int) or not 0 <= one < len(children) for one in donate):
        raise ArgumentError(
            f"donate: expected positions below {len(children)}, got {brief(donate)}"
        )
    starts = [sum(child.leaves for child in children[:i]) for i in range(len(children))]
    leaves = [
        leaf
        for i in donate
        for leaf in range(starts[i], starts[i] + children[i].leaves)  # type: ignore[index]
    ]
    return compile_cached(graph, target=target, options=options, donate=leaves)


@ends_at_call
def spec(text: str) -> TensorType:
    """The type that a text such as "f32[n,784]" spells.

    It is bool, i8 to i64, u8 to u64, f16, bf16, f32, f64, c64 or c128 with the sizes of the axes in
    brackets, none for a scalar: "f32[]". A size is a number, a name, which stands for any number
    from 0 on, or made of those by +, - and *: "f32[2*n,m+1]".
    Raises ParseError for other text.
    """
    return parse_type(text)


@ends_at_call
def check(pred: Any, message: str) -> None:
    """Raise CheckError with `message` when the function runs, unless `pred` is true everywhere.

    pred: a bool or an array of bools. Outside of a trace it is looked at at once.
    """
    if not isinstance(message, str):
        raise ArgumentError(f"check: expected a message, got {describe_value(message)}")
    trace = find_trace((pred,))
    if trace is not None:
        run_traced(trace, _record_check, pred, message)
        return
    try:
        array = np.asarray(pred)
    except (ValueError, TypeError):  # lists of unequal lengths, or deeper than NumPy can follow
        array = None
    if array is None or array.dtype != np.bool_:
        raise ArgumentError(f"check: expected bools, got {describe_value(pred)}")
    failing = np.flatnonzero(~array)
    if failing.size:
        raise CheckError(
            f"check: {message} (expected true everywhere, got false at flat index {failing[0]})"
        )


def _record_check(trace: Trace, pred: Any, message: str) -> None:
    value = trace.lift(pred)
    if value.dtype != np.bool_:
        raise ArgumentError(f"check: expected bools, got {value.type}")
    graph, builder = trace.graph, trace.builder
    attrs = attributes({"message": message})
    graph.effects.append(graph.add("check", [value.value], (), attrs, "", builder.locations))
