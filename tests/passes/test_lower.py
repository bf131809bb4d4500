"""Lowering: values at the edges of types and sizes, the shape of kernels, errors, cost."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable

import numpy as np
import pytest
from fused_programs import bc, check_values, flipped, fuse, graph_of, matmul, total

from irgrad.errors import LoweringError
from irgrad.interpret import interpret
from irgrad.ir.dims import symbol
from irgrad.ir.graph import Graph
from irgrad.ir.types import BOOL, F32, F64, I32, I64, DType
from irgrad.kernel.ir import Accumulate, Contract, For, Kernel, Let, Load, Reduce, Store, walk
from irgrad.ops.build import Expr
from irgrad.ops.contract import dot_general
from irgrad.passes import loop_sites
from irgrad.passes.lower import lower
from irgrad.passes.lower_scalar import start_value
from irgrad.testing.programs import run_program


def only_kernel(graph: Graph) -> Kernel:
    (kernel,) = fuse(graph).program.kernels
    return kernel


def of_type(kernel: Kernel, kind: type) -> list:
    return [s for s in walk(kernel.body) if isinstance(s, kind)]


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (3, 0), (1, 4), (3, 1)])
@pytest.mark.parametrize("dtype", [F32, F64, I32, I64])
def test_reductions_of_every_kind(shape: tuple[int, int], dtype: DType) -> None:
    """At rows, accumulated, and of all, in one graph."""

    def build(x: Expr) -> tuple[Expr, ...]:
        y = x + 1
        results = []
        for axes in ((0,), (1,), (0, 1)):
            results += [y.op(name, axes=axes) for name in ("reduce_sum", "reduce_prod")]
            if all(shape[axis] for axis in axes):
                results += [y.op(name, axes=axes) for name in ("reduce_max", "reduce_min")]
        for axis in (0, 1):
            if shape[axis]:
                results += [y.op(name, axis=axis) for name in ("argmax", "argmin")]
        return tuple(results)

    check_values(fuse(graph_of(f"{dtype.name}[{shape[0]},{shape[1]}]", build)))


def test_reductions_of_truth_values() -> None:
    def build(x: Expr) -> tuple[Expr, ...]:
        y = x.op("logical_not")
        names = ("reduce_any", "reduce_all", "reduce_max", "reduce_min")
        return tuple(y.op(name, axes=axes) for name in names for axes in ((0,), (1,), (0, 1)))

    found = fuse(graph_of("bool[3,4]", build))
    for array in (np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(3, 4, dtype=bool)):
        check_values(found, [array])


SPECIAL = np.array([[np.nan, 1, -0.0], [np.inf, -np.inf, 0.0], [-0.0, -0.0, -0.0]], np.float32)


def test_special_numbers_in_reductions() -> None:
    """NaN spreads, argmax finds the first NaN, and a sum of -0.0 keeps its sign."""

    def build(x: Expr) -> tuple[Expr, ...]:
        y = x * 1.5
        names = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
        sums = [y.op(name, axes=axes) for name in names for axes in ((0,), (1,), (0, 1))]
        return (*sums, y.op("argmax", axis=1), y.op("argmin", axis=0))

    found = fuse(graph_of("f32[3,3]", build), "exact")
    outcome = check_values(found, [SPECIAL])
    assert np.signbit(outcome.results[1][2])
    both = np.full((2, 3), -0.0, np.float32)
    sums = fuse(graph_of("f32[2,3]", lambda x: (total(x * 2, 0), total(x * 2, 1))), "exact")
    for result in run_program(sums.program, [both]).results:
        assert np.signbit(result).all()


@pytest.mark.parametrize(
    "kind, dtype, empty, expected",
    [
        ("sum", F32, False, "-0.0"), ("sum", F32, True, "0"), ("sum", I32, False, "0"),
        ("prod", F64, False, "1"), ("max", F32, False, "-inf"), ("min", F64, False, "inf"),
        ("max", I32, False, str(-(2**31))), ("min", I64, False, str(2**63 - 1)),
        ("max", BOOL, False, "False"), ("min", BOOL, False, "True"),
        ("any", BOOL, False, "False"), ("all", BOOL, False, "True"),
    ],
)  # fmt: skip
def test_what_accumulations_start_from(
    kind: str, dtype: DType, empty: bool, expected: str
) -> None:
    assert str(start_value(kind, dtype, empty)) == expected


@pytest.mark.parametrize("dtype", [F32, F64, I32, I64])
def test_indices_as_numbers(dtype: DType) -> None:
    """Iotas read straight, reversed, with steps and repeated."""

    def build(x: Expr) -> tuple[Expr, ...]:
        def index(axis: int, shape: tuple[int, ...] = (4, 6)) -> Expr:
            return x.builder.one("iota", shape=shape, axis=axis, dtype=dtype)

        cut = index(1, (4, 13)).op("slice", start=(0, 1), stop=(4, 13), step=(1, 2))
        return (
            x + index(0), x + index(1), x - index(1).op("flip", axes=(1,)), x * cut,
            x + flipped(index(1, (6, 4))), index(0).op("flip", axes=(0,)), total(index(0) * x, 0),
        )  # fmt: skip

    check_values(fuse(graph_of(f"{dtype.name}[4,6]", build)))


@pytest.mark.parametrize("interior", [0, 2])
def test_padding_and_joining(interior: int) -> None:
    """Of values, of views of them, of constants and of indices."""

    def build(x: Expr) -> tuple[Expr, ...]:
        t = flipped(x)
        i = x.builder.one("iota", shape=(3, 4), axis=0, dtype=x.dtype)

        def padded(y: Expr) -> Expr:
            return y.op("pad", low=(1, 0), high=(2, 3), interior=(interior, 0))

        joined = t.op("concatenate", t, t.like(2), axis=1)
        mixed = i.op("concatenate", x.op("flip", axes=(0,)), axis=0)
        return padded(x), padded(t), padded(i), padded(x.like(7)), joined, mixed, padded(x) * 2

    check_values(fuse(graph_of("f32[3,4]", build)))


def test_pieces_without_elements() -> None:
    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        grown = y.op("pad", low=(1, 0), high=(1, 2), interior=(0, 0))
        return x.op("concatenate", y, axis=0), grown, y * 2, total(y, 0), matmul(flipped(y), y)

    check_values(fuse(graph_of("f32[2,3] f32[0,3]", build)))


def test_contractions_of_all_layouts() -> None:
    """Batches anywhere, several contracted axes, repeated and reversed operands."""

    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        axes = {"lhs_batch": (1,), "rhs_batch": (2,), "lhs_contract": (2,), "rhs_contract": (0,)}
        c = x.op("dot_general", y, **axes)
        row = bc(total(x, 0, 1, 2), (2, 3, 4))
        spread = bc(total(x, 0, 1), (5, 5), 1)
        return (
            c * 2 + row, x.op("flip", axes=(2,)).op("dot_general", y, **axes),
            matmul(spread, spread), spread.op("dot_general", spread, lhs_batch=(), rhs_batch=(),
                                              lhs_contract=(0, 1), rhs_contract=(1, 0)),
        )  # fmt: skip

    check_values(fuse(graph_of("f32[3,2,5] f32[5,4,2]", build)))


@pytest.mark.parametrize(
    "bias, moved, kernels",
    [("f32[2,3]", lambda b: b, 1), ("f32[3,2]", flipped, 2)],
)
def test_an_epilogue_over_several_free_axes(
    bias: str, moved: Callable[[Expr], Expr], kernels: int
) -> None:
    """What walks rows and columns with one stride each is fused, a transposed bias is not."""

    def build(x: Expr, y: Expr, b: Expr) -> Expr:
        c = dot_general(x, y, ((2,), (0,)))
        return c + bc(moved(b), (2, 3, 4), 0, 1)

    found = fuse(graph_of(f"f32[2,3,5] f32[5,4] {bias}", build))
    assert len(found.kernels()) == kernels
    check_values(found)


# -- the shape of kernels --------------------------------------------------------------------------


def test_elementwise_work_is_one_flat_loop() -> None:
    kernel = only_kernel(graph_of("f32[3,4,5] f32[3,4,5]", lambda a, b: (a * b).op("tanh")))
    (loop,) = kernel.body
    assert isinstance(loop, For) and loop.extent == 60 and loop.parallel
    assert not [s for s in loop.body if isinstance(s, For)]
    assert kernel.flops >= 60 and kernel.bytes == 3 * 60 * 4


def test_what_is_loaded_twice_is_loaded_once() -> None:
    kernel = only_kernel(graph_of("f32[8]", lambda a: a.op("sin") * a + a.op("cos")))
    assert len(of_type(kernel, Load)) == 1


def test_a_softmax_has_three_loops_over_the_row() -> None:
    """Maximum; sum of exponentials; quotient, which reads the exponentials back."""

    def build(x: Expr) -> Expr:
        e = (x - bc(x.op("reduce_max", axes=(1,)), (4, 6), 0)).op("exp")
        return e / bc(total(e, 1), (4, 6), 0)

    found = fuse(graph_of("f32[4,6]", build))
    (kernel,) = found.program.kernels
    assert len(of_type(kernel, Reduce)) == 2
    exponentials = [s for s in of_type(kernel, Let) if s.op == "exp"]
    assert len(exponentials) == 1, "the exponentials are kept, not computed again"
    check_values(found)


def test_a_short_chain_is_computed_again() -> None:
    def build(x: Expr) -> Expr:
        y = x * 2
        return y - bc(total(y, 1), (4, 6), 0) * y

    kernel = only_kernel(graph_of("f32[4,6]", build))
    assert not [b for b in kernel.buffers if b.access == "local"]


def test_rows_too_long_to_keep_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(x: Expr) -> Expr:
        y = x.op("tanh").op("exp").op("sin")
        return y / bc(total(y, 1) + 10, (4, 6), 0)

    graph = graph_of("f32[4,6]", build)
    kept = only_kernel(graph)
    monkeypatch.setattr(loop_sites, "ROW_BUFFER_BYTES", 16)
    again = only_kernel(graph)
    assert [b.size for b in kept.buffers if b.access == "local"] == [6]
    assert not [b for b in again.buffers if b.access == "local"]
    assert len(of_type(again, Let)) > len(of_type(kept, Let))
    check_values(fuse(graph))


def test_an_output_is_its_own_row_buffer() -> None:
    def build(x: Expr) -> tuple[Expr, Expr]:
        y = x.op("tanh").op("exp").op("sin")
        return y, y / bc(total(y, 1) + 10, (4, 6), 0)

    found = fuse(graph_of("f32[4,6]", build))
    (kernel,) = found.program.kernels
    assert not [b for b in kernel.buffers if b.access == "local"]
    assert sorted(b.access for b in kernel.buffers) == ["read", "update", "write"]
    check_values(found)


@pytest.mark.parametrize("axes", [(1, 2), (0, 1, 2), (0, 2), (0, 1)])
def test_reductions_over_axes_that_do_not_merge(axes: tuple[int, ...]) -> None:
    """A transposed operand keeps the row axes apart: partial results meet in a local buffer."""

    def build(x: Expr, y: Expr) -> tuple[Expr, ...]:
        z = x + y.op("transpose", permutation=(0, 2, 1))
        return tuple(z.op(name, axes=axes) for name in ("reduce_sum", "reduce_max", "reduce_prod"))

    check_values(fuse(graph_of("f32[3,4,5] f32[3,5,4]", build)))


@pytest.mark.parametrize("rows", [1, 7, 16, 24, 64, 97])
def test_accumulated_sums_in_blocks(rows: int) -> None:
    """Any number of rows, with blocks or without."""

    def build(x: Expr) -> tuple[Expr, ...]:
        y = x.op("tanh")
        return total(y, 0), y.op("reduce_max", axes=(0,)), y

    found = fuse(graph_of(f"f32[{rows},5]", build))
    check_values(found)
    for statement in of_type(found.program.kernels[0], Accumulate):
        assert statement.kind in ("sum", "max")


def test_an_accumulating_loop_is_not_parallel() -> None:
    kernel = only_kernel(graph_of("f32[4,6]", lambda x: total(x.op("tanh"), 0)))
    around = [s for s in of_type(kernel, For) if any(isinstance(t, Accumulate) for t in walk((s,)))]
    assert around and not any(loop.parallel for loop in around if loop.extent == 4)


def test_a_contraction_stores_after_its_epilogue() -> None:
    kernel = only_kernel(
        graph_of("f32[3,4] f32[4,5] f32[5]", lambda x, w, b: (matmul(x, w) + bc(b, (3, 5), 1)).op(
            "relu")))  # fmt: skip
    (contract,) = of_type(kernel, Contract)
    assert isinstance(contract.body[-1], Store)
    assert [index.extent for index in (*contract.m, *contract.n, *contract.k)] == [3, 5, 4]
    assert kernel.flops == 15 * (2 * 4 + 2)


# -- errors, determinism and cost ------------------------------------------------------------------


def test_names_that_no_input_has_are_refused() -> None:
    size = symbol("n")
    with pytest.raises(LoweringError, match="inputs determine, got n in shape=|in f32"):
        fuse(graph_of("f32[3]", lambda x: bc(x * 2, (size, 3), 1)))


def test_the_same_graph_gives_the_same_program() -> None:
    def build(x: Expr) -> tuple[Expr, ...]:
        y = x.op("tanh")
        return y / bc(total(y, 1), (4, 4), 0), total(y, 0), matmul(y, flipped(y))

    graph = graph_of("f32[4,4]", build)
    assert fuse(graph).program == fuse(graph).program


class CountedNodes(UserDict):
    """The nodes of a graph, counting how often one is looked up."""

    reads = 0

    def __getitem__(self, key: int) -> object:
        self.reads += 1
        return super().__getitem__(key)


def layers(count: int) -> Graph:
    def build(x: Expr, w: Expr) -> Expr:
        for _ in range(count):
            e = (x - bc(x.op("reduce_max", axes=(1,)), (4, 4), 0)).op("tanh")
            x = matmul(e, w) + flipped(x)
        return x

    return graph_of("f32[4,4] f32[4,4]", build)


def chain(count: int) -> Graph:
    def build(x: Expr, y: Expr) -> Expr:
        for _ in range(count):
            x = x.op("tanh") * y
        return x

    return graph_of("f32[4,4] f32[4,4]", build)


@pytest.mark.parametrize("build", [layers, chain])
def test_cost_is_linear(build: Callable[[int], Graph]) -> None:
    """Node reads per node do not grow from 500 to 5,000 nodes."""
    reads = []
    layer = (len(build(30)) - len(build(10))) / 20
    for nodes in (500, 5000):
        graph = build(round(nodes / layer))
        work = fuse(graph).fused
        work._nodes = counted = CountedNodes(work._nodes)  # type: ignore[assignment]
        lower(work)
        reads.append(counted.reads / len(graph))
    assert 0 < reads[1] <= 1.1 * reads[0]


def test_the_interpreter_agrees_on_a_fused_graph() -> None:
    found = fuse(layers(3))
    outcome = check_values(found)
    arrays = list(outcome.inputs)
    np.testing.assert_allclose(
        interpret(found.fused, arrays)[0], outcome.results[0], rtol=1e-4, atol=1e-5
    )
