"""Faulty programs: shapes, axes and indices that do not fit.

Each function is a whole program as a user would write it, wrong at the line marked `# BAD`. The
decorator says which error it must meet and what its message has to name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faulty import faulty

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import ArgumentError, DimError, ShapeError

X = np.ones((3, 4))


@faulty(ShapeError, "add", "f64[3,4]", "f64[5]", "axis 1: 4 against 5")
def broadcast_clash() -> None:
    def model(x: Any, b: Any) -> Any:
        hidden = x * 2
        return hidden + b  # BAD

    ig.jit(model)(X, np.ones(5))


@faulty(ShapeError, "matmul", "f64[3,4]", "f64[3,2]", "axis 1 against axis 0: 4 against 3")
def matmul_clash() -> None:
    def layer(x: Any, w: Any) -> Any:
        return np.tanh(x @ w)  # BAD

    def model(x: Any, w: Any) -> Any:
        return layer(x, w).sum()

    ig.jit(ig.grad(model))(X, np.ones((3, 2)))


@faulty(ShapeError, "matmul", "f64[2,3,4]", "f64[5,4,2]", "axis -3: 2 against 5")
def matmul_batches_clash() -> None:
    def model(x: Any, w: Any) -> Any:
        return np.matmul(x, w)  # BAD

    ig.jit(model)(np.ones((2, 3, 4)), np.ones((5, 4, 2)))


@faulty(ShapeError, "concatenate", "f64[3,4]", "f64[3,5]", "axis 1")
def concatenate_clash() -> None:
    def model(x: Any, y: Any) -> Any:
        return np.concatenate([x, y])  # BAD

    ig.jit(model)(X, np.ones((3, 5)))


@faulty(ShapeError, "stack", "f64[3,4]", "f64[4,3]", "operand 1")
def stack_clash() -> None:
    def model(x: Any) -> Any:
        return np.stack([x, x.T])  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "reshape", "12", "f64[3,4]", "(5, 2)")
def reshape_to_other_size() -> None:
    def model(x: Any) -> Any:
        return x.reshape(5, 2)  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "reshape", "12 elements", "f64[3,4]", "(-1, 5)")
def reshape_that_leaves_a_rest() -> None:
    def model(x: Any) -> Any:
        return x.reshape(-1, 5)  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "einsum", "'j'", "f64[3,4]", "f64[5,2]", "axis 1 against axis 0: 4 against 5")
def einsum_sizes_clash() -> None:
    def model(x: Any, w: Any) -> Any:
        return np.einsum("ij,jk->ik", x, w)  # BAD

    ig.jit(model)(X, np.ones((5, 2)))


@faulty(ShapeError, "einsum", "operand 0", "'ijk'", "rank 2")
def einsum_rank() -> None:
    def model(x: Any) -> Any:
        return np.einsum("ijk->k", x)  # BAD

    ig.jit(model)(X)


@faulty(ArgumentError, "einsum", "'z'", "'ij->z'")
def einsum_unknown_label() -> None:
    def model(x: Any) -> Any:
        return np.einsum("ij->z", x)  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "sum", "-2..1", "2", "rank 2")
def reduction_axis() -> None:
    def model(x: Any) -> Any:
        return np.exp(x).sum(axis=2)  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "max", "axis 0", "f64[0,3]")
def maximum_of_nothing() -> None:
    def model(x: Any) -> Any:
        return x.max(axis=0)  # BAD

    ig.jit(model)(np.ones((0, 3)))


@faulty(ShapeError, "mean", "once", "(0, 0)")
def axis_twice() -> None:
    def model(x: Any) -> Any:
        return np.mean(x, axis=(0, 0))  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "index", "-3..2", "axis 0", "f64[3,4]", "got 3")
def index_out_of_range() -> None:
    def model(x: Any) -> Any:
        return x[3] + x[0]  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "index", "at most 2", "f64[3,4]", "got 3")
def too_many_indices() -> None:
    def model(x: Any) -> Any:
        return x[0, :, 1]  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "index", "step", "0")
def slice_without_step() -> None:
    def model(x: Any) -> Any:
        return x[::0]  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "transpose", "2 axes", "f64[3,4]", "(0, 0)")
def transpose_no_permutation() -> None:
    def model(x: Any) -> Any:
        return np.transpose(x, (0, 0))  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "broadcast_to", "f64[3,4]", "(3, 5)")
def broadcast_to_other_size() -> None:
    def model(x: Any) -> Any:
        return np.broadcast_to(x, (3, 5))  # BAD

    ig.jit(model)(X)


@faulty(ShapeError, "split", "3 parts", "4")
def split_unevenly() -> None:
    def model(x: Any) -> Any:
        first, *_ = np.split(x, 3, axis=1)  # BAD
        return first

    ig.jit(model)(X)


@faulty(DimError, "size n", "n == m")
def symbolic_sizes_compared() -> None:
    def model(x: Any, y: Any) -> Any:
        if x.shape[0] == y.shape[0]:  # BAD
            return x
        return x.sum() * y

    ig.trace(model, "f32[n]", "f32[m]")


@faulty(ShapeError, "add", "f32[n]", "f32[m]", "axis 0: n == m cannot be proved")
def symbolic_sizes_added() -> None:
    def model(x: Any, y: Any) -> Any:
        return x + y  # BAD

    ig.trace(model, "f32[n]", "f32[m]")


@faulty(DimError, "size n", "range()")
def loop_over_symbolic_size() -> None:
    def model(x: Any) -> Any:
        total = 0.0
        for i in range(x.shape[0]):  # BAD
            total = total + x[i]
        return total

    ig.trace(model, "f32[n]")


@faulty(DimError, "len", "f32[n]")
def len_of_symbolic_size() -> None:
    def model(x: Any) -> Any:
        return x.sum() / len(x)  # BAD

    ig.trace(model, "f32[n]")


@faulty(DimError, "size n", "int()")
def int_of_symbolic_size() -> None:
    def model(x: Any) -> Any:
        half = int(x.shape[0]) // 2  # BAD
        return x[:half]

    ig.trace(model, "f32[n]")


@faulty(ShapeError, "cross_entropy", "(3, 4)", "(4,)")
def labels_of_other_shape() -> None:
    def loss(logits: Any, labels: Any) -> Any:
        return ig.nn.cross_entropy(logits, labels)  # BAD

    ig.jit(ig.grad(loss))(X, np.zeros(4, np.int64))


@faulty(ShapeError, "add", "f64[3,4]", "f64[2]", "axis 1: 4 against 2")
def in_nested_jit() -> None:
    bias = np.ones(2)

    @ig.jit
    def inner(x: Any) -> Any:
        return inp.add(x, bias)  # BAD

    ig.jit(lambda x: inner(x) * 2)(X)
