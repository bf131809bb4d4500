"""What a call of a program does in every form of code: which arrays it takes, which it makes, and
how they become the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from irgrad.errors import CheckError
from irgrad.interpret import input_names
from irgrad.ir.dims import as_shape, evaluate
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import DTYPES
from irgrad.kernel.program import CheckSite, LateProgram, Program, Result
from irgrad.runtime.boundary import is_plain

from .door import Input

Leaves = Sequence[np.ndarray]
Call = Callable[[tuple[object, ...]], Leaves | None]
Select = Callable[[tuple[object, ...], tuple[np.ndarray, ...]], Leaves]
Copy = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class BoundArrays:
    """The arrays of a bound call.

    inputs, outputs: what the entry is given. before, after: (target, source) of the copies that
    each run makes before and after it.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    before: tuple[Copy, ...]
    after: tuple[Copy, ...]

    def around(self, run: Callable[[], int]) -> Callable[[], int]:
        """The run with its copies."""
        if not self.before and not self.after:
            return run

        def with_copies() -> int:
            for target, source in self.before:
                np.copyto(target, source)
            status = run()
            if not status:
                self.finish()
            return status

        return with_copies

    def finish(self) -> None:
        """Make the copies that follow a run."""
        for target, source in self.after:
            np.copyto(target, source)


@dataclass(frozen=True, slots=True, eq=False)
class CallPlan:
    """How a program is called, under the numbers behind its named sizes if it has any.

    name: of the function; labels: of its inputs, for messages. captures: the captured arrays in
    order. inputs: what each input has to be; captures that are not plain are
    arguments behind the user's. outputs: shape and dtype of each array to allocate. results: those
    of the program.
    """

    program: Program | LateProgram
    name: str
    labels: tuple[str, ...]
    captures: tuple[np.ndarray, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]
    results: tuple[Result, ...]

    def plain_inputs(self, arguments: tuple[object, ...]) -> list[np.ndarray] | None:
        """The array of each input; None where one is not plain or overlaps a donated one."""
        expected = sum(isinstance(one.source, int) for one in self.inputs)
        if len(arguments) != expected:
            return None
        inputs: list[np.ndarray] = []
        for one in self.inputs:
            array = arguments[one.source] if isinstance(one.source, int) else one.source
            if not is_plain(array, one.dtype, one.donated):
                return None
            assert isinstance(array, np.ndarray)
            if array.shape != one.shape:
                return None
            inputs.append(array)
        for i, one in enumerate(self.inputs):
            others = inputs[:i] + inputs[i + 1 :]
            if one.donated and any(np.shares_memory(inputs[i], other) for other in others):
                return None
        return inputs

    def selection(self) -> Select | None:
        """How the results are made of arguments and outputs; None where they are the outputs."""
        plain = [(result.kind, result.number) for result in self.results]
        if plain == [("output", i) for i in range(len(self.outputs))]:
            return None
        captures = self.captures
        count = len(self.inputs) - len(captures)

        def select(arguments: tuple[object, ...], outputs: tuple[np.ndarray, ...]) -> Leaves:
            leaves: list[np.ndarray] = []
            for kind, number in plain:
                if kind == "output":
                    leaves.append(outputs[number])
                    continue
                array = arguments[number] if number < count else captures[number - count]
                leaves.append(array if kind == "donated" else plain_copy(array))  # type: ignore[arg-type]
            return leaves

        return select

    def bound_arrays(self, arguments: tuple[np.ndarray, ...], leaves: Leaves) -> BoundArrays:
        """What a bound call works on; captures that have to be copied are copied at each run."""
        before: list[Copy] = []
        inputs: list[np.ndarray] = []
        for i, one in enumerate(self.inputs):
            if isinstance(one.source, int) and one.source < len(arguments):
                inputs.append(arguments[one.source])
                continue
            capture = self.captures[i - len(arguments)]
            if one.source is not capture:
                before.append((plain_copy(capture), capture))
            inputs.append(capture if one.source is capture else before[-1][0])
        outputs: dict[int, np.ndarray] = {}
        after: list[Copy] = []
        for result, leaf in zip(self.results, leaves, strict=True):
            if result.kind == "output":
                outputs[result.number] = leaf
            elif result.kind == "input":
                after.append((leaf, inputs[result.number]))
        made = tuple(outputs[i] for i in sorted(outputs))
        return BoundArrays(tuple(inputs), made, tuple(before), tuple(after))

    def failure(self, number: int, position: int) -> CheckError:
        """The error of a failed check: its own message, the flat index, the user's line."""
        return CheckError(failure_text(self.program.checks[number], position))


def failure_text(site: CheckSite, position: int | None) -> str:
    """The message of a failed check: its own, the flat index where it is known, the user's line."""
    at = "" if position is None else f" at flat index {position}"
    text = f"check: {site.message} (expected true everywhere, got false{at})"
    return f"{text}\n{site.line}" if site.line else text


def captured_arrays(graph: Graph) -> tuple[np.ndarray, ...]:
    """The captured arrays of a graph, in the order of its inputs."""
    return tuple(np.asarray(graph.captures[key]) for key in graph.inputs if key in graph.captures)


def with_copied_captures(graph: Graph, inner: Call) -> Call:
    """The call whose callers give the arguments alone, without the captures to be copied."""
    copied = [array for array in captured_arrays(graph) if not is_plain_capture(array)]
    if not copied:
        return inner

    def call(arguments: tuple[object, ...]) -> Leaves | None:
        return inner((*arguments, *map(plain_copy, copied)))

    return call


def call_plan(
    program: Program | LateProgram, graph: Graph, dims: Mapping[str, int] = MappingProxyType({})
) -> CallPlan:
    """How the program of a graph is called, whose named sizes are the numbers `dims`."""
    captures = captured_arrays(graph)
    labels = tuple(input_names(graph))
    inputs = _inputs(graph, captures, dims)
    results = tuple(
        replace(result, shape=tuple(evaluate(size, dims) for size in result.shape))
        for result in program.results
    )
    outputs = _outputs(results)
    for (_, elements), (shape, _) in zip(program.outputs, outputs, strict=True):
        assert math.prod(shape) == evaluate(elements, dims), "a result of another size"
    return CallPlan(program, graph.name, labels, captures, inputs, outputs, results)


def _inputs(
    graph: Graph, captures: Sequence[np.ndarray], dims: Mapping[str, int]
) -> tuple[Input, ...]:
    count = len(graph.inputs) - len(captures)
    next_argument = count
    inputs: list[Input] = []
    for i, key in enumerate(graph.inputs):
        type_ = graph.type(Value(key))
        source: int | np.ndarray = i
        if i >= count:
            source = captures[i - count]
            if not is_plain_capture(source):
                source = next_argument
                next_argument += 1
        shape = tuple(evaluate(size, dims) for size in type_.shape)
        donated = i < count and i in graph.signature.donated
        inputs.append(Input(source, type_.dtype.numpy, shape, donated))
    return tuple(inputs)


def _outputs(results: Sequence[Result]) -> tuple[tuple[tuple[int, ...], np.dtype], ...]:
    """Shape and dtype of each output buffer, as its result has them."""
    found: dict[int, tuple[tuple[int, ...], np.dtype]] = {}
    for result in results:
        if result.kind == "output":
            assert result.number not in found, "two results in one buffer"
            found[result.number] = as_shape(result.shape), DTYPES[result.dtype].numpy
    return tuple(found[i] for i in range(len(found)))


def is_plain_capture(array: np.ndarray) -> bool:
    """Whether compiled code can read a captured array where it lies."""
    return is_plain(array, array.dtype, False) and array.dtype is np.dtype(array.dtype.type)


def plain_copy(array: np.ndarray) -> np.ndarray:
    """A contiguous copy of native byte order, whose dtype is NumPy's own object.

    Unpickled arrays have an equal dtype that is another object, which their copies keep.
    """
    dtype = np.dtype(array.dtype.type)
    return np.array(array, dtype=dtype, order="C").view(dtype)
