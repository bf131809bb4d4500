"""Faulty programs: Python on traced values, and what a trace cannot record; see `faulty_shapes`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from faulty import faulty

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import ArgumentError, DTypeError, LimitError, ShapeError, TraceError

X = np.ones((3, 4))


@faulty(TraceError, "bool[]", "bool()", "np.where")
def branch_on_a_value() -> None:
    def model(x: Any) -> Any:
        if x.sum() > 0:  # BAD
            return x
        return -x

    ig.jit(model)(X)


@faulty(TraceError, "bool[]", "bool()", "np.logical_and")
def and_of_values() -> None:
    def model(x: Any) -> Any:
        inside = x.min() > 0 and x.max() < 1  # BAD
        return np.where(inside, x, 0)

    ig.jit(model)(X)


@faulty(TraceError, "bool[]", "bool()")
def loop_until_small() -> None:
    def model(x: Any) -> Any:
        while np.abs(x).max() > 1e-3:  # BAD
            x = x / 2
        return x

    ig.jit(model)(X)


@faulty(TraceError, "f64[]", "float()", "static=")
def float_of_a_value() -> None:
    def model(x: Any) -> Any:
        scale = float(x.max())  # BAD
        return x / scale

    ig.jit(model)(X)


@faulty(TraceError, "f64[]", "float()")
def math_of_a_value() -> None:
    def model(x: Any) -> Any:
        return x * math.sqrt(x.sum())  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "i64[]", "an index or a size")
def range_of_a_value() -> None:
    def model(x: Any, n: Any) -> Any:
        for _ in range(n):  # BAD
            x = x * 2
        return x

    ig.jit(model)(X, 3)


@faulty(TraceError, "i64[]", "int()")
def int_of_a_value() -> None:
    def model(x: Any) -> Any:
        best = int(x[0].argmax())  # BAD
        return x[:, best]

    ig.jit(model)(X)


@faulty(TraceError, "item()", "f64[]")
def item_of_a_value() -> None:
    def model(x: Any) -> Any:
        print(x.sum().item())  # BAD
        return x

    ig.jit(model)(X)


@faulty(TraceError, "f64[3,4]", "an assignment to elements", "np.where")
def write_to_an_element() -> None:
    def model(x: Any) -> Any:
        x[0] = 0  # BAD
        return x.sum()

    ig.jit(model)(X)


@faulty(TraceError, "add", "in-place operator on an ndarray")
def add_into_an_array() -> None:
    def model(x: Any) -> Any:
        total = np.zeros(4)
        for row in x:
            total += row  # BAD
        return total

    ig.jit(model)(X)


@faulty(TraceError, "f64[4]", "conversion to an ndarray")
def write_into_an_array() -> None:
    def model(x: Any) -> Any:
        table = np.zeros((3, 4))
        for i in range(3):
            table[i] = x[i] * i  # BAD
        return table

    ig.jit(model)(X)


@faulty(TraceError, "f64[]", "conversion to an ndarray", "np.stack")
def array_of_values() -> None:
    def model(x: Any) -> Any:
        return np.array([x.min(), x.max()])  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "sort", "can be traced")
def unsupported_function() -> None:
    def model(x: Any) -> Any:
        return np.sort(x, axis=0)[1]  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "numpy.linalg.inv")
def unsupported_factorisation() -> None:
    def model(x: Any) -> Any:
        return np.linalg.inv(x @ x.T)  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "nonzero", "depends on the data")
def shape_by_data() -> None:
    def model(x: Any) -> Any:
        (rows,) = np.nonzero(x[0] > 0)  # BAD
        return rows

    ig.jit(model)(X)


@faulty(TraceError, "index", "bool[3,4]", "np.where")
def index_by_a_mask() -> None:
    def model(x: Any) -> Any:
        return x[x > 0].sum()  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "index", "i64[]", "known while tracing")
def index_by_a_value() -> None:
    def model(x: Any, i: Any) -> Any:
        return x[i]  # BAD

    ig.jit(model)(X, np.int64(1))


@faulty(TraceError, "index", "an array of positions")
def index_by_an_array() -> None:
    def model(x: Any) -> Any:
        return x[np.array([0, 2])]  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "index", "parts of a slice", "'2'")
def slice_by_text() -> None:
    def model(x: Any) -> Any:
        return x["2":]  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "f64[]", "after the trace has ended")
def escaped_value() -> None:
    seen: list[Any] = []

    def model(x: Any) -> Any:
        seen.append(x.sum())
        return x * 2

    ig.trace(model, X)
    np.exp(seen[0])  # BAD


@faulty(TraceError, "f64[3,4]", "after the trace has ended")
def escaped_into_another_trace() -> None:
    cache: dict[str, Any] = {}

    def model(x: Any) -> Any:
        cache.setdefault("x", x)
        return x + cache["x"]  # BAD

    ig.trace(model, X)
    ig.trace(model, X)


@faulty(TraceError, "the format '.3f'", "f64[]")
def formatted_value() -> None:
    def model(x: Any) -> Any:
        loss = x.sum()
        print(f"loss {loss:.3f}")  # BAD
        return loss

    ig.jit(model)(X)


@faulty(TraceError, "hash()", "f64[]")
def value_as_a_key() -> None:
    def model(x: Any) -> Any:
        return {x.sum(): 1}  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "output['note']", "'trained'", "str")
def text_as_a_result() -> None:
    def model(x: Any) -> Any:  # BAD
        return {"loss": x.sum(), "note": "trained"}

    ig.jit(model)(X)


@faulty(TraceError, "irgrad.numpy", "'scale'", "str")
def text_as_an_operand() -> None:
    def model(x: Any) -> Any:
        return x * "scale"  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "irgrad.numpy", "plain ndarray", "matrix")
def matrix_as_an_operand() -> None:
    weights = np.ones((4, 4)).view(np.matrix)

    def model(x: Any) -> Any:
        return x @ weights  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "irgrad.numpy", "plain ndarray", "MaskedArray")
def masked_operand() -> None:
    known = np.ma.masked_invalid(X)

    def model(x: Any) -> Any:
        return inp.add(x, known)  # BAD

    ig.jit(model)(X)


@faulty(DTypeError, "dtype", "dtype('O')")
def objects_as_an_operand() -> None:
    costs = np.array([1, None, 2, 3], dtype=object)

    def model(x: Any) -> Any:
        return x * costs  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "iteration", "f64[]")
def iterate_over_a_number() -> None:
    def model(x: Any) -> Any:
        low, high = x.sum()  # BAD
        return low - high

    ig.jit(model)(X)


@faulty(ArgumentError, "sum", "(a, axis, dtype, out, keepdims)", "'where'")
def unknown_argument() -> None:
    def model(x: Any) -> Any:
        return inp.sum(x, where=x > 0)  # BAD

    ig.jit(model)(X)


@faulty(TraceError, "exp", "expected no array to write into")
def result_written_into_an_array() -> None:
    def model(x: Any) -> Any:
        buffer = np.empty((3, 4))
        np.exp(x, out=buffer)  # BAD
        return buffer

    ig.jit(model)(X)


@faulty(TraceError, "add.accumulate", "method that cannot be traced")
def method_of_a_function() -> None:
    def model(x: Any) -> Any:
        return np.add.accumulate(x)  # BAD

    ig.jit(model)(X)


@faulty(LimitError, "split", "at most", "4611686018427387904")
def split_without_end() -> None:
    def model(x: Any) -> Any:
        return np.array_split(x, 2**62)  # BAD

    ig.jit(model)(X)
