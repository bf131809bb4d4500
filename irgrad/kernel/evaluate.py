"""The slow meaning of a kernel: plain Python loops over NumPy scalars, the oracle for emitted code.

Primitives mean what the op of the same name means, and reductions and accumulations combine in the
order that the kernel IR fixes. Elementary functions and `fma` of f64 are those of NumPy and may
differ from a backend's in the last bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..ir.dims import as_number
from ..ir.types import DTYPES
from ..ops.registry import REGISTRY
from ..ops.steps import shift_left, shift_right
from .ir import (
    IDENTITY,
    PANEL_LENGTH,
    Accumulate,
    Affine,
    Check,
    Contract,
    Every,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
    lanes,
)

BITS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "not": np.bitwise_not,
        "shl": shift_left,
        "shr": shift_right,
    }
)


def evaluate_kernel(kernel: Kernel, arrays: Mapping[str, np.ndarray]) -> None:
    """Run a kernel on flat arrays by buffer name, locals included, in place.

    Raises nothing for a failed check: see `failed_checks`.
    """
    failed_checks(kernel, arrays)


def failed_checks(kernel: Kernel, arrays: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
    """Run a kernel as `evaluate_kernel` does and return the (check, position) of every failure."""
    run = _Run(arrays)
    with np.errstate(all="ignore"):
        run.body(kernel.body, {}, {})
    return run.failures


Scalars = dict[str, Any]
Indices = dict[str, int]


def _position(at: Affine, indices: Indices) -> int:
    constant = as_number(at.constant)
    return constant + sum(as_number(c) * indices[name] for name, c in at.terms)


@dataclass(slots=True)
class _Run:
    arrays: Mapping[str, np.ndarray]
    failures: list[tuple[int, int]] = field(default_factory=list)

    def body(self, body: tuple[Statement, ...], scalars: Scalars, indices: Indices) -> None:
        """Run statements; the scalars that they define go into `scalars`."""
        for statement in body:
            match statement:
                case Let():
                    scalars[statement.name] = _primitive(statement, scalars, indices)
                case Load():
                    at = self._at(statement.buffer, statement.at, indices)
                    scalars[statement.name] = self.arrays[statement.buffer][at]
                case Store():
                    at = self._at(statement.buffer, statement.at, indices)
                    self.arrays[statement.buffer][at] = scalars[statement.value]
                case Accumulate():
                    at = self._at(statement.buffer, statement.at, indices)
                    array, value = self.arrays[statement.buffer], scalars[statement.value]
                    array[at] = _combine(statement.kind, array[at], value)
                case Check():
                    if not scalars[statement.value]:
                        place = _position(statement.at, indices)
                        self.failures.append((statement.check, place))
                case For():
                    for i in range(as_number(statement.extent)):
                        self.body(statement.body, dict(scalars), {**indices, statement.index: i})
                case Every():
                    if statement.runs_at(indices[statement.index], as_number(statement.extent)):
                        self.body(statement.body, dict(scalars), indices)
                case Reduce():
                    self._reduce(statement, scalars, indices)
                case Contract():
                    self._contract(statement, scalars, indices)

    def _at(self, buffer: str, at: Affine, indices: Indices) -> int:
        place = _position(at, indices)
        size = self.arrays[buffer].size
        assert 0 <= place < size, f"{buffer}: expected an index below {size}, got {place}"
        return place

    def _reduce(self, loop: Reduce, scalars: Scalars, indices: Indices) -> None:
        values: list[list[Any]] = [[] for _ in loop.results]
        for i in range(as_number(loop.extent)):
            inner = dict(scalars)
            self.body(loop.body, inner, {**indices, loop.index: i})
            for column, result in zip(values, loop.results, strict=True):
                column.append(inner[result.value])
        for column, result in zip(values, loop.results, strict=True):
            scalars[result.name] = reduce_values(result, column)

    def _contract(self, contract: Contract, scalars: Scalars, indices: Indices) -> None:
        zero = DTYPES[contract.dtype].numpy.type(0)
        groups = (contract.batch, contract.m, contract.n)
        for b, m, n in itertools.product(*(_points(group) for group in groups)):
            inner = {**indices, **b, **m, **n}
            panels = [zero]
            for step, k in enumerate(_points(contract.k)):
                if step and step % PANEL_LENGTH == 0:
                    panels.append(zero)
                at = {**inner, **k}
                left = self.arrays[contract.lhs][_position(contract.lhs_at, at)]
                right = self.arrays[contract.rhs][_position(contract.rhs_at, at)]
                panels[-1] = _op("fma", (left, right, panels[-1]), {}, contract.dtype)
            inner[contract.row] = _flat(contract.m, m)
            inner[contract.column] = _flat(contract.n, n)
            result = sum(panels[1:], panels[0])
            self.body(contract.body, {**scalars, contract.result: result}, inner)


def _points(group: tuple[Any, ...]) -> list[Indices]:
    names = [index.name for index in group]
    ranges = [range(index.extent) for index in group]
    return [dict(zip(names, point)) for point in itertools.product(*ranges)]


def _flat(group: tuple[Any, ...], point: Indices) -> int:
    flat = 0
    for index in group:
        flat = flat * index.extent + point[index.name]
    return flat


def _primitive(let: Let, scalars: Scalars, indices: Indices) -> Any:
    dtype = DTYPES[let.dtype].numpy
    if let.op == "constant":
        return np.asarray(let.value).astype(dtype)[()]
    if let.op == "index":
        return dtype.type(indices[let.operands[0]])
    operands = tuple(scalars[x] for x in let.operands)
    return _op(let.op, operands, {"dtype": DTYPES[let.dtype]}, let.dtype)


def _op(op: str, operands: tuple[Any, ...], attributes: Mapping[str, Any], dtype: str) -> Any:
    if op in BITS:
        return BITS[op](*operands)
    if op in ("maximum", "minimum"):
        return _extremum(op == "maximum", *operands)
    arrays = [np.asarray(x) for x in operands]
    (result,) = REGISTRY[op].evaluate(arrays, attributes, None)  # type: ignore[arg-type]
    return np.asarray(result).astype(DTYPES[dtype].numpy)[()]


def _extremum(largest: bool, a: Any, b: Any) -> Any:
    """NaN where either is NaN, and `a` where they are equal."""
    if a != a or b != b:
        return a if a != a else b
    return a if (a >= b if largest else a <= b) else b


def _combine(kind: str, a: Any, b: Any) -> Any:
    match kind:
        case "sum":
            return a + b
        case "prod":
            return a * b
        case "max" | "min":
            return _extremum(kind == "max", a, b)
        case "any":
            return a | b
    return a & b


def reduce_values(result: Reduction, values: list[Any]) -> Any:
    """The reduction of a list of values in the order that the kernel IR fixes."""
    positions = result.kind.startswith("arg")
    dtype = DTYPES[result.dtype].numpy
    if not values:
        assert result.kind in IDENTITY, f"{result.kind}: expected at least 1 element"
        return dtype.type(IDENTITY[result.kind])
    items = [(x, i) for i, x in enumerate(values)] if positions else values
    merge = _nearer if positions else _combine
    count = lanes(DTYPES[result.dtype].itemsize)
    found: list[Any] = items[:count]
    for i, item in enumerate(items[count:]):
        found[i % count] = merge(result.kind, found[i % count], item)
    width = count // 2
    while width:
        for lane in range(width):
            if lane + width < len(found):
                found[lane] = merge(result.kind, found[lane], found[lane + width])
        found = found[:width]
        width //= 2
    return np.int64(found[0][1]) if positions else found[0]


def _nearer(kind: str, a: tuple[Any, int], b: tuple[Any, int]) -> tuple[Any, int]:
    """The more extreme of two (value, index) pairs, then the smaller index."""

    def beats(x: Any, y: Any) -> bool:
        if x != x or y != y:
            return x != x and y == y
        return bool(x > y if kind == "argmax" else x < y)

    if beats(b[0], a[0]):
        return b
    if beats(a[0], b[0]):
        return a
    return a if a[1] < b[1] else b
