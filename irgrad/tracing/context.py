"""A trace: the graph under construction and the rules by which values enter it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, TraceError, brief
from ..ir.dims import Dim, Size
from ..ir.graph import Graph, Value
from ..ir.location import Location
from ..ir.types import BOOL, F64, I64, DType, TensorType, dtype_of
from ..ops.build import Builder, Expr
from ..ops.registry import builder
from .promotion import Widening
from .sizes import SymbolicSize
from .tracer import Tracer

Closed = Tracer | np.ndarray


class Trace:
    """One run of a user's function on traced values.

    graph, builder: what is being built. functions: the traced functions by NumPy name, which
    operators and NumPy's protocols call. begun: when the trace began; of two live traces the later
    one is inside the other. live: False once the function has returned. closed: the values that the
    function uses without having them as arguments (ndarrays, and values of an outer trace), in the
    order of the graph's inputs after the arguments.
    """

    def __init__(self, name: str, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.graph = Graph(name)
        self.builder: Builder = builder(self.graph)
        self.functions = functions
        self.begun = time.perf_counter_ns()
        self.live = True
        self.closed: list[Closed] = []
        self._inputs_of_closed: dict[tuple[Any, ...], Tracer] = {}

    # -- values that enter -----------------------------------------------------------------------

    def argument(
        self, type_: TensorType, name: str, locations: tuple[Location, ...], weak: bool
    ) -> Tracer:
        """Append an argument. All arguments come before the first closed-over value."""
        assert not self.closed
        return Tracer(self, self.graph.add_input(type_, name, locations), weak)

    def lift(self, x: Any) -> Tracer:
        """Any array-like as a value of this trace.

        Values of an outer trace and ndarrays become inputs, one for each; numbers become constants:
        Python's are weak, NumPy's keep their dtype. Lists and tuples are converted to an ndarray,
        or stacked where they hold traced values.
        Raises TraceError for anything else, DTypeError for an element type that irgrad lacks.
        """
        if isinstance(x, Tracer):
            return x if x.context is self else self._close_over(x)
        if isinstance(x, SymbolicSize):
            return Tracer(self, self.builder.one("dim_size", size=x.size).value, True)
        if isinstance(x, np.ndarray):
            if type(x) not in (np.ndarray, np.memmap):
                raise TraceError(
                    f"irgrad.numpy: expected a plain ndarray, got {type(x).__name__}; convert it "
                    "with np.asarray outside the function"
                )
            return self._capture(x)
        if isinstance(x, (np.generic, bool, int, float)):
            type_, weak = scalar_type(x)
            return self.wrap(self.constant(x, type_), weak)
        if isinstance(x, (list, tuple)):
            if _holds_traced(x):
                return self.functions["asarray"](x)
            return self._capture(np.asarray(x))
        raise TraceError(
            f"irgrad.numpy: expected an array, a traced value or a number, got {_describe(x)}"
        )

    def lift_from(self, x: Any, locations: tuple[Location, ...]) -> Tracer:
        """As `lift`; a new input has the locations where an inner trace met the value first."""
        builder, before = self.builder, self.builder.locations
        builder.locations = locations or before
        try:
            return self.lift(x)
        finally:
            builder.locations = before

    def _capture(self, array: np.ndarray) -> Tracer:
        key = ("array", id(array))
        found = self._inputs_of_closed.get(key)
        if found is None:
            type_ = TensorType(dtype_of(array.dtype), array.shape)
            found = self._new_input(key, array, type_, weak=False)
        return found

    def _close_over(self, x: Tracer) -> Tracer:
        if not x.context.live:
            raise TraceError(escaped(x))
        key = ("tracer", id(x.context), x.value, x.weak)
        found = self._inputs_of_closed.get(key)
        return self._new_input(key, x, x.type, x.weak) if found is None else found

    def _new_input(self, key: tuple[Any, ...], x: Closed, type_: TensorType, weak: bool) -> Tracer:
        tracer = Tracer(self, self.graph.add_input(type_, "", self.builder.locations), weak)
        self.closed.append(x)
        self._inputs_of_closed[key] = tracer
        return tracer

    # -- building --------------------------------------------------------------------------------

    def constant(self, value: Any, type_: TensorType) -> Expr:
        """A tensor of one number; DTypeError where an integer does not fit the dtype."""
        try:
            return self.builder.constant(value, type_)
        except OverflowError:
            raise DTypeError(
                f"constant: expected a number in the range of {type_.dtype}, got {value}"
            ) from None

    def wrap(self, x: Expr, weak: bool = False) -> Tracer:
        """An expression of this trace's graph as a traced value."""
        assert x.builder is self.builder
        return Tracer(self, x.value, weak)

    def values(self, values: Iterable[Value]) -> list[Tracer]:
        """Values of this trace's graph as traced values."""
        return [Tracer(self, value, False) for value in values]

    def emit(self, op: str, operands: Sequence[Any], **attrs: Any) -> list[Tracer]:
        """Add a node of any op; operands are array-likes, converted but not promoted."""
        exprs = [self.lift(operand).expr for operand in operands]
        return [self.wrap(result) for result in self.builder.emit(op, exprs, **attrs)]

    def one(self, op: str, *operands: Any, **attrs: Any) -> Tracer:
        """Add a node that has a single result and return that."""
        (result,) = self.emit(op, operands, **attrs)
        return result

    def convert(self, x: Tracer, dtype: DType) -> Expr:
        """`x` in the dtype that promotion found; a float array that gets wider is written down."""
        expr = x.expr
        source = expr.dtype
        if source is dtype:
            return expr
        if not x.weak and source.is_float and dtype.is_float and dtype.itemsize > source.itemsize:
            where = self.builder.locations
            widening = Widening(where[0] if where else None, source, dtype)
            self.graph.note_widenings((widening,))
        return expr.op("cast", dtype=dtype)

    def strengthen(self, result: Any) -> Any:
        """What NumPy's own function gives: it makes Python's numbers values of fixed dtype."""
        if isinstance(result, (list, tuple)):
            return type(result)([self.strengthen(part) for part in result])
        if isinstance(result, Tracer) and result.weak:
            return Tracer(result.context, result.value, False)
        return result

    def size(self, value: Any, function: str) -> Size:
        """A size as the user wrote it: an int or a symbolic size.

        Raises TraceError for a traced value, DTypeError for what is no integer.
        """
        if isinstance(value, SymbolicSize):
            return value.size
        if isinstance(value, Dim):
            return value
        if isinstance(value, Tracer):
            raise TraceError(
                f"{function}: expected a size that does not depend on array data, got a traced "
                f"value of type {value.type}; use x.shape, or pass the number as static="
            )
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return int(value)
        raise DTypeError(f"{function}: expected an integer as size, got {_describe(value)}")

    def shape(self, value: Any, function: str) -> tuple[Size, ...]:
        """A shape as the user wrote it: a size or a sequence of sizes."""
        if isinstance(value, (list, tuple)):
            return tuple(self.size(size, function) for size in value)
        return (self.size(value, function),)


def scalar_type(x: Any) -> tuple[TensorType, bool]:
    """The type of a number as an array of rank 0, and whether it adapts to other operands."""
    if isinstance(x, np.generic):
        dtype = dtype_of(x.dtype)
        if dtype.kind == "c":
            raise DTypeError(f"constant: expected a real number, got {x!r} of dtype {dtype}")
        return TensorType(dtype, ()), False
    if isinstance(x, bool):
        return TensorType(BOOL, ()), False
    return TensorType(I64 if isinstance(x, int) else F64, ()), True


def escaped(x: Tracer) -> str:
    """The message for a traced value that outlived its trace."""
    return (
        f"traced value {x.type}: expected to be used while its function is traced, got a use after "
        "the trace has ended; return it from the function instead of storing it outside"
    )


def _holds_traced(values: Sequence[Any]) -> bool:
    return any(
        isinstance(x, (Tracer, SymbolicSize))
        or (isinstance(x, (list, tuple)) and _holds_traced(x))
        for x in values
    )


def _describe(x: object) -> str:
    return f"{brief(x, 60)} of type {type(x).__name__}"
