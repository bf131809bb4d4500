"""Programs with named sizes at their calls: what a call needs is made once for each set of numbers
behind the names, and found again by the shapes of the arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from irgrad.errors import ArgumentError, LimitError, ShapeError
from irgrad.interpret import bind_dims, input_names
from irgrad.ir.dims import Size, symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import TensorType
from irgrad.kernel.program import LateProgram, Program
from irgrad.ops.size_guards import check_sizes, named_sizes

from .call_plan import Call, Leaves

MAX_INSTANCES = 64


class Callee(Protocol):
    """What is made for one set of numbers."""

    @property
    def call(self) -> Call:
        """As the `call` of an executable, for arguments of these sizes alone."""
        ...


I = TypeVar("I", bound=Callee)  # noqa: E741


class Instances(Generic[I]):
    """The instances of a program by the numbers behind its named sizes, the latest ones kept.

    make: gives the instance for numbers, in the order of the program's names, that fulfil its
    guards; a program without names has one instance. Any number of threads may ask at once.
    """

    def __init__(
        self, program: Program | LateProgram, graph: Graph, make: Callable[[Mapping[str, int]], I]
    ) -> None:
        self.names = named_sizes(graph)
        self._guards = program.size_guards
        self._make = make
        self._known: dict[tuple[int, ...], I] = {}
        keys = [key for key in graph.inputs if key not in graph.captures]
        self._labels = input_names(graph)[: len(keys)]
        self._types: list[TensorType] = [graph.type(Value(key)) for key in keys]
        self._places = _places(self.names, self._types)

    def of(self, arguments: Sequence[object]) -> I | None:
        """The instance that arguments are for; None where their shapes or sizes do not fit."""
        if self._places is None:
            return self._bound(arguments)
        numbers: list[int] = []
        for i, axis in self._places:
            array = arguments[i] if i < len(arguments) else None
            if not isinstance(array, np.ndarray) or array.ndim <= axis:
                return None
            numbers.append(array.shape[axis])
        found = self._known.get(tuple(numbers))
        return self._bound(arguments) if found is None else found

    def call(self) -> Call:
        """The call of whichever instance the arguments are for."""
        if not self.names:
            only = self.of(())
            assert only is not None, "without names nothing has to fit"
            return only.call
        of = self.of

        def call(arguments: tuple[object, ...]) -> Leaves | None:
            instance = of(arguments)
            return None if instance is None else instance.call(arguments)

        return call

    def _bound(self, arguments: Sequence[object]) -> I | None:
        """The instance for the names that the shapes of arguments determine."""
        numbers: dict[str, int] = {}
        if self.names:
            given = arguments[: len(self._types)]
            if not all(isinstance(array, np.ndarray) for array in given):
                return None
            shapes = [array.shape for array in given]  # type: ignore[attr-defined]
            try:
                numbers = bind_dims(self._types, shapes, self._labels)
            except ArgumentError:
                return None
        dims = {name: numbers[name] for name in self.names}
        key = tuple(dims.values())
        found = self._known.get(key)
        if found is None:
            try:
                check_sizes(self._guards, dims)
            except (ShapeError, LimitError):
                return None
            found = self._known[key] = self._make(dims)
            for old in list(self._known)[:-MAX_INSTANCES]:
                self._known.pop(old, None)
        return found


def _places(
    names: Sequence[str], types: Sequence[TensorType]
) -> tuple[tuple[int, int], ...] | None:
    """For each name an argument and the axis of it that is this name; None where one has none."""
    found: dict[Size, tuple[int, int]] = {}
    for i, type_ in enumerate(types):
        for axis, size in enumerate(type_.shape):
            found.setdefault(size, (i, axis))
    places = [found.get(symbol(name)) for name in names]
    return None if None in places else tuple(place for place in places if place is not None)
