"""A graph that is interpreted at each call, behind the interface of compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from irgrad.errors import ArgumentError, CheckError, LimitError, ShapeError
from irgrad.interpret import bind_dims, input_names, interpret
from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph, Value
from irgrad.kernel.program import Result
from irgrad.kernel.slots import Workspace
from irgrad.ops.size_guards import check_sizes, size_guards
from irgrad.runtime.backend import BoundRun
from irgrad.runtime.boundary import is_plain


class ReferenceExecutable:
    """Runs a graph with `interpret`; see `irgrad.runtime.backend.Executable` for the methods."""

    def __init__(self, graph: Graph) -> None:
        self.workspace = Workspace((), 0)
        self.origin = "interpreted"
        self.seconds: dict[str, float] = {}
        self._graph = graph
        self._captures = [graph.captures[key] for key in graph.inputs if key in graph.captures]
        count = len(graph.inputs) - len(self._captures)
        self._types = [graph.type(Value(key)) for key in graph.inputs[:count]]
        self._capture_types = [
            graph.type(Value(key)) for key in graph.inputs if key in graph.captures
        ]
        self._labels = input_names(graph)[:count]
        self._guards = size_guards(graph)
        self._donated = sorted(graph.signature.donated)

    def call(self, arguments: tuple[object, ...]) -> Sequence[np.ndarray] | None:
        """Interpret; donated arrays receive the first results of their types."""
        arrays = self._plain(arguments)
        if arrays is None or not self._captures_fit():
            return None
        computed = interpret(self._graph, [*arrays, *self._native_captures()])
        leaves: list[np.ndarray] = []
        for result, value in zip(self.results(arrays), computed):
            if result.kind == "donated":
                leaves.append(arrays[result.number])
            else:
                leaves.append(np.array(value, order="C"))
        self._overwrite(leaves, computed, arrays)
        return leaves

    def _captures_fit(self) -> bool:
        """Whether each capture is there and has the shape and dtype of the trace."""
        return all(
            isinstance(array, np.ndarray)
            and array.shape == type_.shape
            and array.dtype in (type_.dtype.numpy, type_.dtype.numpy.newbyteorder())
            for array, type_ in zip(self._captures, self._capture_types)
        )

    def _native_captures(self) -> list[np.ndarray]:
        return [
            array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
            for array in self._captures
        ]

    def _overwrite(
        self,
        leaves: Sequence[np.ndarray],
        computed: Sequence[np.ndarray],
        arrays: Sequence[np.ndarray],
    ) -> None:
        """Write into donated arrays at last, from copies, as computed values may be their views."""
        chosen = {id(arrays[i]) for i in self._donated}
        pairs = [
            (leaf, np.array(value)) for leaf, value in zip(leaves, computed) if id(leaf) in chosen
        ]
        for leaf, value in pairs:
            np.copyto(leaf, value)

    def _plain(self, arguments: tuple[object, ...]) -> list[np.ndarray] | None:
        """The arguments where they are plain arrays of the expected types and do not overlap."""
        if len(arguments) != len(self._types):
            return None
        arrays: list[np.ndarray] = []
        for i, (value, type_) in enumerate(zip(arguments, self._types)):
            if not is_plain(value, type_.dtype.numpy, i in self._donated):
                return None
            assert isinstance(value, np.ndarray)
            arrays.append(value)
        try:
            dims = bind_dims(self._types, [array.shape for array in arrays], self._labels)
            check_sizes(self._guards, dims)
        except (ArgumentError, ShapeError, LimitError):
            return None
        everything = [*arrays, *self._captures]
        for i in self._donated:
            others = everything[:i] + everything[i + 1 :]
            if any(np.shares_memory(arrays[i], other) for other in others):
                return None
        return arrays

    def results(self, arguments: Sequence[np.ndarray]) -> tuple[Result, ...]:
        """Donated arrays go to the first results of their dtype and shape."""
        dims = bind_dims(self._types, [array.shape for array in arguments], self._labels)
        free = list(self._donated)
        results: list[Result] = []
        for position, value in enumerate(self._graph.outputs):
            type_ = self._graph.type(value)
            shape = tuple(evaluate(size, dims) for size in type_.shape)
            fitting = [
                i for i in free
                if arguments[i].shape == shape and self._types[i].dtype is type_.dtype
            ]
            taken = fitting[0] if fitting else None
            if taken is not None:
                free.remove(taken)
                results.append(Result("donated", taken, shape, type_.dtype.name))
            else:
                results.append(Result("output", position, shape, type_.dtype.name))
        return tuple(results)

    def bind(self, arguments: tuple[np.ndarray, ...], leaves: Sequence[np.ndarray]) -> BoundRun:
        """Interpret and copy the results into the given arrays at each run."""
        failures: list[CheckError] = []

        def run() -> int:
            try:
                computed = interpret(self._graph, [*arguments, *self._native_captures()])
            except CheckError as error:
                failures.append(error)
                return 1
            for leaf, value in zip(leaves, [np.array(value) for value in computed]):
                np.copyto(leaf, value)
            return 0

        def fail() -> NoReturn:
            raise failures.pop()

        return BoundRun(run, fail)

    def object_file(self) -> None:
        """None: no code is made."""

    def source(self, form: str, kernel: str) -> str:
        """Raises ArgumentError: no code is made."""
        raise ArgumentError("source: expected a target that compiles kernels, got 'reference'")

    def divided(self) -> tuple[str, ...]:
        """The names of the kernels that are divided between threads where they have the work."""
        return ()

    def switches(self) -> tuple[tuple[str, str], ...]:
        """None: the interpreter makes none."""
        return ()

    def numba_function(self) -> NoReturn:
        """Raises ArgumentError: jitted code cannot call the interpreter."""
        raise ArgumentError(
            "numba_function: expected a target that compiles kernels, got 'reference'"
        )
