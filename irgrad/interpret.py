"""The slow NumPy meaning of a graph: the oracle that passes and backends are compared with."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .errors import ArgumentError, CheckError, InternalError, LimitError, VerifyError, brief
from .ir.dims import Dim, Size, divide_exact, evaluate, names
from .ir.graph import Graph, Node, Value
from .ir.location import describe
from .ir.types import TensorType
from .ops.registry import REGISTRY
from .ops.size_guards import check_sizes, size_guards

Watch = Callable[[int, Sequence[np.ndarray]], None]


def interpret(
    graph: Graph, arguments: Sequence[np.ndarray], *, watch: Watch | None = None
) -> list[np.ndarray]:
    """Run a graph on arrays with NumPy and return its outputs.

    arguments: for `graph.inputs` in order; the captures at the end may be left out together, then
    they are taken from `graph.captures`. watch: called with the key and the results of each node
    of the graph itself (inputs and nodes of regions excepted) when it has been computed.
    Raises ArgumentError where an argument does not have its input's dtype and shape, CheckError
    where a check of the graph fails, LimitError where a result does not fit in memory,
    InternalError where a result differs from its inferred type.
    """
    if not isinstance(graph, Graph):
        raise ArgumentError(f"interpret: expected a graph, got {brief(graph)}")
    arrays = [np.asarray(array) for array in arguments]
    missing = graph.inputs[len(arrays) :]
    if missing and all(key in graph.captures for key in missing):
        arrays += [np.asarray(graph.captures[key]) for key in missing]
    if len(arrays) != len(graph.inputs):
        raise ArgumentError(
            f"{graph.name}: expected {len(graph.inputs)} arguments, got {len(arrays)}"
        )
    types = [graph.type(Value(key)) for key in graph.inputs]
    for label, type_, array in zip(input_names(graph), types, arrays):
        if array.dtype != type_.dtype.numpy:
            raise ArgumentError(
                f"{label}: expected {type_}, got {array.dtype.name}{list(array.shape)}"
            )
    dims = graph_dims(graph, arrays)
    if dims:
        check_sizes(size_guards(graph), dims)
    with np.errstate(all="ignore"):
        return _Run(dims).run(graph, arrays, watch)


def require_array(what: str, shape: Sequence[int], itemsize: int) -> None:
    """Raise LimitError, starting with `what`, for a shape of which NumPy makes no array.

    Axes of size 0 do not help: NumPy counts the bytes without them.
    """
    if math.prod(size or 1 for size in shape) * itemsize > sys.maxsize:
        raise LimitError(f"{what}: expected an array of fewer than 2**63 bytes, got {shape}")


def input_names(graph: Graph) -> list[str]:
    """A name for each input: the node's, else the signature's, else "argument <i>"."""
    given = graph.signature.names
    return [
        graph[key].name or (given[i] if i < len(given) and given[i] else f"argument {i}")
        for i, key in enumerate(graph.inputs)
    ]


def graph_dims(graph: Graph, arguments: Sequence[np.ndarray]) -> dict[str, int]:
    """The value of each dim name of a graph; see `bind_dims`.

    arguments: for all of its inputs, or without the captures at the end, whose sizes are numbers.
    """
    count = len(arguments)
    types = [graph.type(Value(key)) for key in graph.inputs[:count]]
    return bind_dims(types, [np.shape(array) for array in arguments], input_names(graph)[:count])


def bind_dims(
    types: Sequence[TensorType], shapes: Sequence[Sequence[int]], labels: Sequence[str]
) -> dict[str, int]:
    """The value of each dim name that makes the shapes of `types` equal to `shapes`.

    Axes that are a single name are solved first, then sizes with one unknown name that occurs
    linearly (such as 2*n+1); at last every axis is checked.
    Raises ArgumentError naming the argument (from `labels`) where ranks or sizes do not agree, or
    where no size determines a name.
    """
    axes: list[tuple[Size, int]] = []
    for type_, shape, label in zip(types, shapes, labels, strict=True):
        if len(shape) != type_.rank:
            raise ArgumentError(
                f"{label}: expected {type_}, got shape {tuple(shape)} (rank {len(shape)})"
            )
        axes.extend(zip(type_.shape, shape))
    dims = _solve(axes)
    for type_, shape, label in zip(types, shapes, labels):
        _check_shape(type_, shape, label, dims)
    return dims


def _solve(axes: Sequence[tuple[Size, int]]) -> dict[str, int]:
    """Values for the names that axes determine one by one; the first axis wins."""
    dims: dict[str, int] = {}
    pending = [(size, got) for size, got in axes if isinstance(size, Dim)]
    for size, got in pending:
        if isinstance(size, Dim) and len(size.terms) == 1 and size.terms[0][1] == 1:
            monomial = size.terms[0][0]
            if len(monomial) == 1 and monomial[0][1] == 1:
                dims.setdefault(monomial[0][0], got)
    progress = True
    while progress:
        progress = False
        for size, got in pending:
            unknown = names(size) - dims.keys()
            if len(unknown) == 1:
                found = _solve_linear(size, got, next(iter(unknown)), dims)
                if found is not None:
                    dims[next(iter(unknown))] = found
                    progress = True
    return dims


def _solve_linear(size: Size, got: int, name: str, dims: Mapping[str, int]) -> int | None:
    """The value of `name` for which `size` is `got`; None where there is none or not just one, and
    for one that no axis could have."""
    at_zero = evaluate(size, {**dims, name: 0})
    slope = evaluate(size, {**dims, name: 1}) - at_zero
    if slope == 0 or evaluate(size, {**dims, name: 2}) != at_zero + 2 * slope:
        return None
    found = divide_exact(got - at_zero, slope)
    return found if isinstance(found, int) and 0 <= found <= sys.maxsize else None


def _check_shape(
    type_: TensorType, shape: Sequence[int], label: str, dims: Mapping[str, int]
) -> None:
    """Raise ArgumentError unless `shape` is the shape of `type_` under `dims`."""
    for axis, (size, got) in enumerate(zip(type_.shape, shape)):
        unknown = sorted(names(size) - dims.keys())
        if unknown:
            raise ArgumentError(
                f"{label}: expected sizes that determine {', '.join(unknown)} in axis {axis} of "
                f"{type_}, got shape {tuple(shape)}"
            )
        expected = evaluate(size, dims)
        if got != expected:
            known = ", ".join(f"{name}={dims[name]}" for name in sorted(names(size)))
            why = f"{size} is {expected}"
            if str(size) in dims:
                why += " by another axis"
            elif known:
                why += f" for {known}"
            else:
                why = str(expected)
            raise ArgumentError(
                f"{label}: expected {type_}, got shape {tuple(shape)} (axis {axis}: {why}, "
                f"got {got})"
            )


class _Run:
    """One run: the values of the dim names, shared by all regions."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        self.dims = dims

    def run(
        self, graph: Graph, arguments: Sequence[np.ndarray], watch: Watch | None = None
    ) -> list[np.ndarray]:
        """Evaluate the nodes in order; each value is dropped after its last reader."""
        assert len(arguments) == len(graph.inputs), f"region {graph.name}: wrong argument count"
        order = graph.order()
        reads = _count_reads(graph, order)
        values = {
            Value(key): array for key, array in zip(graph.inputs, arguments) if Value(key) in reads
        }
        for key in order:
            node = graph[key]
            if node.op == "input":
                continue
            results = self._evaluate(graph, node, [values[value] for value in node.operands])
            if watch is not None:
                watch(key, results)
            for index, array in enumerate(results):
                if Value(key, index) in reads:
                    values[Value(key, index)] = array
            for value in node.operands:
                reads[value] -= 1
                if reads[value] == 0:
                    del values[value]
        return [values[value] for value in graph.outputs]

    def _evaluate(
        self, graph: Graph, node: Node, operands: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        if node.op not in REGISTRY:
            raise VerifyError(f"{node.op}: expected the name of an op, got an unknown one")
        for type_ in node.types:
            if type_ is not None:
                require_array(node.op, self._shape(type_), type_.dtype.itemsize)
        try:
            results = REGISTRY[node.op].evaluate(operands, dict(node.attributes), self)
        except CheckError as error:
            if node.op != "check" or not node.locations:
                raise
            raise CheckError(f"{error}\n{describe(node.locations[0])}") from None
        except MemoryError:
            got = ", ".join(map(str, node.types))
            raise LimitError(
                f"{node.op}: expected results that fit in memory, got {got}"
            ) from None
        self._check_results(graph, node, results)
        return results

    def _shape(self, type_: TensorType) -> tuple[int, ...]:
        return tuple(evaluate(size, self.dims) for size in type_.shape)

    def _check_results(self, graph: Graph, node: Node, results: Sequence[np.ndarray]) -> None:
        """Raise InternalError where the results are not of the node's inferred types."""
        agree = len(results) == len(node.types) and all(
            type_ is not None
            and isinstance(array, np.ndarray)
            and array.dtype == type_.dtype.numpy
            and array.shape == self._shape(type_)
            for array, type_ in zip(results, node.types)
        )
        if not agree:
            got = ", ".join(
                f"{type(x).__name__} {np.asarray(x).dtype.name}{list(np.shape(x))}" for x in results
            )
            expected = ", ".join(map(str, node.types))
            raise InternalError(
                f"{node.op}: expected results ({expected}) in graph {graph.name} with "
                f"{dict(self.dims)}, got ({got})"
            )


def _count_reads(graph: Graph, order: Sequence[int]) -> dict[Value, int]:
    """How often each value is read; outputs count as a read that never ends."""
    reads: dict[Value, int] = {}
    for key in order:
        for value in graph[key].operands:
            reads[value] = reads.get(value, 0) + 1
    for value in graph.outputs:
        reads[value] = reads.get(value, 0) + 1
    return reads
