"""What the function of jitted code does with its arguments: which sizes they must have, which of
them determine the numbers behind named sizes, and which arrays it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from irgrad.errors import ArgumentError
from irgrad.interpret import input_names
from irgrad.ir.dims import Dim, Size, names, substitute, symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import DTYPES, TensorType
from irgrad.kernel.program import CheckSite, LateProgram, Program, Result
from irgrad.ops.size_guards import SizeGuard, named_sizes

from .call_plan import captured_arrays, is_plain_capture


@dataclass(frozen=True, slots=True)
class JittedInput:
    """What an input has to be.

    capture: the captured array that it is, None for an argument and for one to be copied.
    """

    type: TensorType
    donated: bool
    capture: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Determined:
    """A named size as it follows from an axis of an argument: (size - rest) / slope.

    A single name that is an axis has slope 1 and rest 0.
    """

    input: int
    axis: int
    rest: Size
    slope: Size


@dataclass(frozen=True, slots=True, eq=False)
class JittedPlan:
    """How jitted code calls a program.

    name: of the function; labels: of its inputs, for messages. arguments: how many inputs are
    arguments, which come first. dims: for each named size, in an order in which each needs those
    before it alone, the axes that may determine it. names: the order of the program. outputs: the
    shape and dtype of each array to allocate.
    """

    program: Program | LateProgram
    name: str
    labels: tuple[str, ...]
    inputs: tuple[JittedInput, ...]
    arguments: int
    dims: Mapping[str, tuple[Determined, ...]]
    names: tuple[str, ...]
    outputs: tuple[tuple[tuple[Size, ...], np.dtype], ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """Where each result comes from."""
        return self.program.results

    @property
    def checks(self) -> tuple[CheckSite, ...]:
        """The run-time checks by number."""
        return self.program.checks

    @property
    def guards(self) -> tuple[SizeGuard, ...]:
        """What the numbers behind named sizes have to fulfil."""
        return self.program.size_guards

    @property
    def types(self) -> list[TensorType]:
        """The types of the arguments."""
        return [one.type for one in self.inputs[: self.arguments]]


def jitted_plan(program: Program | LateProgram, graph: Graph) -> JittedPlan:
    """How jitted code calls the program of a graph."""
    captures = captured_arrays(graph)
    count = len(graph.inputs) - len(captures)
    inputs = [
        JittedInput(graph.type(Value(key)), i in graph.signature.donated, None)
        for i, key in enumerate(graph.inputs[:count])
    ]
    for key, array in zip(graph.inputs[count:], captures, strict=True):
        kept = array if is_plain_capture(array) else None
        inputs.append(JittedInput(graph.type(Value(key)), False, kept))
    outputs = {
        result.number: (result.shape, DTYPES[result.dtype].numpy)
        for result in program.results
        if result.kind == "output"
    }
    wanted = named_sizes(graph)
    dims = determined([one.type for one in inputs[:count]])
    if set(dims) != set(wanted):
        raise ArgumentError(
            f"{graph.name}: expected sizes of arguments that determine "
            f"{', '.join(sorted(set(wanted) - set(dims)))} to call from jitted code"
        )
    return JittedPlan(
        program,
        graph.name,
        tuple(input_names(graph)),
        tuple(inputs),
        count,
        dims,
        wanted,
        tuple(outputs[i] for i in range(len(outputs))),
    )


def determined(types: Sequence[TensorType]) -> dict[str, tuple[Determined, ...]]:
    """The axes that determine each name of some types, as `interpret.bind_dims` has it: single
    names first, then sizes with one unknown name that occurs linearly."""
    axes = [
        (i, axis, size)
        for i, type_ in enumerate(types)
        for axis, size in enumerate(type_.shape)
        if isinstance(size, Dim)
    ]
    found: dict[str, tuple[Determined, ...]] = {}
    for i, axis, size in axes:
        for name in names(size):
            if size == symbol(name):
                found.setdefault(name, (Determined(i, axis, 0, 1),))
    progress = True
    while progress:
        unknown = [(i, axis, size, names(size) - found.keys()) for i, axis, size in axes]
        new: dict[str, list[Determined]] = {}
        for i, axis, size, left in unknown:
            if len(left) == 1:
                (name,) = left
                new.setdefault(name, []).extend(_solved(i, axis, size, name))
        progress = any(new.values())
        found |= {name: tuple(ways) for name, ways in new.items() if ways}
    return found


def _solved(i: int, axis: int, size: Dim, name: str) -> Iterator[Determined]:
    """The name as it follows from a size that is linear in it."""
    if all(power == 1 for monomial, _ in size.terms for n, power in monomial if n == name):
        rest = substitute(size, {name: 0})
        yield Determined(i, axis, rest, substitute(size, {name: 1}) - rest)
