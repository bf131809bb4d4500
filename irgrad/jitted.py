"""Functions that compile themselves for each signature of their arguments."""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import update_wrapper
from typing import Any

import numpy as np
import optree

from .errors import ArgumentError, IrgradError, LimitError, TraceError, brief
from .ir.graph import Graph
from .ir.location import Location
from .ir.shown import how_many, short, shown_html
from .runtime.compiled import Compiled
from .runtime.copies import FunctionObject
from .runtime.differences import (
    CallSignature,
    change_of_values,
    changes,
    distance,
    signature_of,
)
from .runtime.guards import Guards, value_text, watch
from .runtime.options import Options
from .runtime.retraces import (
    Cause,
    History,
    Retrace,
    histories_text,
    log_compile,
    make_cause,
)
from .runtime.signatures import (
    Arguments,
    Position,
    admit_specs,
    arrange,
    check_leaves,
    leaf_key,
    parameters_of,
    positions,
    static_key,
    with_keywords,
)
from .tracing.locations import add_location, call_function, ends_at_call, user_locations
from .tracing.sizes import SymbolicSize
from .tracing.trace import Program, trace_program, unwrapped
from .tracing.tracer import Tracer
from .tracing.trees import flatten_object

Function = Callable[..., Any]
MAX_COMPARED = 32  # earlier signatures among which the nearest one is looked for


class Plan:
    """What to compile and how; static and donated arguments as the user named them."""

    def __init__(
        self,
        f: Function,
        donate: int | str | Sequence[Position] = (),
        static: int | str | Sequence[Position] = (),
        target: str = "cpu",
        options: Options | None = None,
    ) -> None:
        self.f = f
        self.donate = positions(donate)
        self.static = positions(static)
        self.target = target
        self.options = options or Options()
        self.parameters = parameters_of(f)

    def arrange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Static arguments apart from the others, names at their positions."""
        return arrange(self.parameters, self.static, args, kwargs)

    def trace(self, arguments: Arguments) -> Program:
        """Trace for arguments, or specs, of this kind."""
        return trace_program(
            with_keywords(self.f, arguments),
            *arguments.dynamic,
            static=arguments.fixed,
            donate=self.donate,
        )

    def compile(
        self,
        arguments: Arguments,
        guards: Guards,
        around: AbstractContextManager[None] | None = None,
    ) -> Compiled:
        """Trace and compile for arguments, or specs, of this kind.

        around: a context of what follows the trace.
        """
        from .cached import compile_cached  # loads the backend, which importing irgrad need not

        start = time.perf_counter()
        program = self.trace(arguments)
        seconds = {"trace": time.perf_counter() - start}
        with around or nullcontext():
            return compile_cached(
                program.graph,
                target=self.target,
                options=self.options,
                trees=(program.inputs, program.outputs),
                seconds=seconds,
                frozen=tuple(guards.frozen),
            )


def _definition(f: Function) -> Location | None:
    """The line where a function is defined; None for objects without Python code."""
    code = getattr(unwrapped(f), "__code__", None)
    if not isinstance(code, types.CodeType):
        return None
    return Location(code.co_filename, code.co_firstlineno, code.co_name)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A compile of one signature: its code, the variables that it depends on, and its number."""

    compiled: Compiled
    guards: Guards
    signature: CallSignature
    number: int


@dataclass(frozen=True, slots=True)
class JitInfo:
    """The compiles of a jitted function.

    compiles: their number. seconds: time spent on them. reasons: why each one was needed, in order.
    retraces: the record of each compile but the first.
    """

    compiles: int
    seconds: float
    reasons: tuple[str, ...] = field(repr=False)
    retraces: tuple[Retrace, ...] = field(repr=False)


class Jitted(FunctionObject):
    """A function that compiles itself for each signature of its arguments; made by `jit`.

    specs: the types that its arguments must have, or None. history: its compiles and their reasons.
    """

    def __init__(self, plan: Plan, specs: tuple[Any, ...] | None = None) -> None:
        update_wrapper(self, plan.f, updated=())
        self.__wrapped__ = plan.f
        self.specs = specs
        self._plan = plan
        self._entries: dict[Any, list[_Entry]] = {}
        self._last: _Entry | None = None
        self._locks: dict[Any, threading.RLock] = {}
        self._compiling: set[tuple[int, Any]] = set()
        self.history = History(plan.parameters.function, _definition(plan.f))

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run, after compiling where this signature is new."""
        last = self._last
        if last is not None and not kwargs and last.guards.hold():
            leaves = last.compiled.attempt(args)
            if leaves is not None:
                return last.compiled.finish(leaves)
        return self._dispatch(args, kwargs)

    def __repr__(self) -> str:
        compiles = how_many(len(self.history.records), "compile")
        return f"Jitted({short(self.history.function)}, {compiles})"

    def _repr_html_(self) -> str:
        """Its compiles and their reasons in a notebook, as `explain_retraces` tells them."""
        return shown_html(self.history)

    def cache_info(self) -> JitInfo:
        """How often this function was compiled, and why."""
        records = tuple(self.history.records)
        reasons = tuple(str(record.cause) for record in records)
        seconds = sum(record.seconds for record in records)
        return JitInfo(len(records), seconds, reasons, records[1:])

    @ends_at_call
    def compiled(self, /, *args: Any, **kwargs: Any) -> Compiled:
        """The compiled function for the signature of these arguments, which is not run."""
        arguments = self._plan.arrange(args, kwargs)
        leaves, spec = flatten_object(arguments.dynamic)
        entry = self._find(arguments, self._admit(arguments, leaves)[1], spec)
        if entry is None:
            raise TraceError(
                f"{self._plan.parameters.function}: expected a function that uses no value of a "
                "trace that is going on, got one that does"
            )
        return entry.compiled

    @ends_at_call
    def trace(self, *specs: Any) -> Graph:
        """The graph for arguments of these types, by default those of `specs`, as `trace` gives it.

        Static arguments are given as their values.
        """
        return self._plan.trace(self._plan.arrange(specs or self.specs or (), {})).graph

    def replan(
        self,
        donate: tuple[Position, ...],
        static: tuple[Position, ...],
        target: str,
        options: Options | None,
    ) -> Plan:
        """A plan for the same function, with this one's settings where none are given."""
        own = self._plan
        options = options or own.options
        return Plan(own.f, donate or own.donate, static or own.static, target, options)

    # -- from a call to an entry -----------------------------------------------------------------

    def _dispatch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call in general: keywords, static arguments, numbers, new signatures, traces."""
        try:
            arguments = self._plan.arrange(args, kwargs)
            leaves, spec = flatten_object(arguments.dynamic)
            if any(isinstance(leaf, (Tracer, SymbolicSize)) for leaf in leaves):
                return call_function(self._plan.f, args, kwargs)
            leaves, kinds = self._admit(arguments, leaves)
            entry = self._find(arguments, kinds, spec)
            if entry is None:
                return call_function(self._plan.f, args, kwargs)
        except IrgradError as error:
            add_location(error, user_locations())
            raise
        plain = not arguments.fixed and not arguments.keywords
        if plain and all(type(leaf) is np.ndarray for leaf in leaves):
            self._last = entry
        return entry.compiled.finish(entry.compiled.call_leaves(leaves))

    def _admit(self, arguments: Arguments, leaves: list[Any]) -> tuple[list[Any], list[Any]]:
        """The leaves of a call, and what to trace for: the same, or the types of the specs."""
        if self.specs is None:
            return leaves, leaves
        return admit_specs(self._plan.parameters.function, self.specs, arguments)

    def _find(
        self, arguments: Arguments, leaves: list[Any], spec: optree.PyTreeSpec
    ) -> _Entry | None:
        """The entry for a signature; compiled if it is new or what it read has changed.

        leaves: those of a call, or types. None where the function uses values of a trace that is
        going on.
        """
        kinds = tuple(map(leaf_key, leaves))
        key = (spec, kinds, static_key(arguments.fixed), arguments.keywords)
        for entry in reversed(self._entries.get(key, ())):
            if entry.guards.hold():
                return entry
        try:
            with self._lock_of(key):  # tracing may run threads that need other signatures
                return self._build(key, arguments, leaves)
        finally:
            self._locks.pop((os.getpid(), key), None)

    def _lock_of(self, key: Any) -> threading.RLock:
        """The lock of a signature; a child process gets one that no thread of its parent holds."""
        return self._locks.setdefault((os.getpid(), key), threading.RLock())

    def _build(self, key: Any, arguments: Arguments, leaves: list[Any]) -> _Entry | None:
        """The entry that another thread has made meanwhile, or a new one."""
        known = self._entries.get(key, [])
        for entry in reversed(known):
            if entry.guards.hold():
                return entry
        guards = watch(self._plan.f)
        if guards.traced:
            return None
        spec, kinds, static, _ = key
        check_leaves(arguments, leaves, spec)
        signature = signature_of(arguments, spec, kinds, static)
        cause = self._cause(signature, known)
        self._check_limit(cause)
        start = time.perf_counter()
        traced = replace(arguments, dynamic=spec.unflatten(leaves))
        compiled = self._plan.compile(traced, guards, self._only_one(key))
        record = self._record(cause, time.perf_counter() - start)
        entry = _Entry(compiled, guards, signature, record.number)
        self._entries[key] = [*known, entry]
        log_compile(record)
        return entry

    @contextmanager
    def _only_one(self, key: Any) -> Iterator[None]:
        """Refuses a compile of a signature in a thread that is about it already: the callback for
        its progress has asked for one, and would do so in that one, too."""
        own = threading.get_ident(), key
        if own in self._compiling:
            raise ArgumentError(
                f"progress: expected a callback that does not call "
                f"{self._plan.parameters.function} while it is compiled, got one that does"
            )
        self._compiling.add(own)
        try:
            yield
        finally:
            self._compiling.discard(own)

    # -- why a compile is needed -----------------------------------------------------------------

    def _cause(self, signature: CallSignature, known: list[_Entry]) -> Cause:
        """Why a signature has to be compiled. known: its entries whose variables have changed."""
        if known:
            found = [(one.guards.changes(), one.number) for one in known]
            changed, number = min(found, key=lambda pair: (len(pair[0]), -pair[1]))
            variables = [
                change_of_values("variable", name, value_text(old), value_text(new))
                for name, old, new in changed
            ]
            return make_cause(variables, number)
        latest = [entries[-1] for entries in list(self._entries.values())[-MAX_COMPARED:]]
        if not latest:
            return Cause()
        nearest = min(latest, key=lambda one: (distance(one.signature, signature), -one.number))
        return make_cause(changes(nearest.signature, signature), nearest.number)

    def _check_limit(self, cause: Cause) -> None:
        """Raise LimitError where a compile more would be one too many."""
        limit = self._plan.options.max_retraces
        if len(self.history.records) > limit:
            raise LimitError(
                f"{self.history.function}: expected at most {limit} retraces (max_retraces), got "
                f"one more: {cause}; irgrad.explain_retraces lists them"
            )

    def _record(self, cause: Cause, seconds: float) -> Retrace:
        """Note a compile. Raises LimitError where other threads have used up what was left."""
        with self._lock_of(None):
            self._check_limit(cause)
            records = self.history.records
            where = user_locations()
            record = Retrace(
                self.history.function,
                len(records) + 1,
                cause,
                where[0] if where else None,
                seconds,
            )
            records.append(record)
        return record


@ends_at_call
def explain_retraces(f: Any = None) -> str:
    """Why jitted functions were compiled more than once, as text.

    f: a jitted function, or None for all that are alive. For each compile: seconds, the line that
    called it, and what differs from the nearest earlier one: dtype, shape or structure of an
    argument, a static value, or a variable that the function reads, old and new. The logger
    "irgrad" gets the same as it happens, at level INFO. Raises ArgumentError for any other `f`.
    """
    if f is None:
        return histories_text()
    function = f.__func__ if isinstance(f, types.MethodType) else f
    if not isinstance(function, Jitted):
        raise ArgumentError(f"explain_retraces: expected a jitted function or None, got {brief(f)}")
    return histories_text(function.history)
