"""Programs with named sizes: lowered once, run at many sizes, against the interpreter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from irgrad.autodiff import gradient_graph
from irgrad.errors import DimError, LimitError, ShapeError, VerifyError
from irgrad.interpret import interpret
from irgrad.ir.dims import Size, evaluate, symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.parser import parse
from irgrad.ir.spec import parse_type
from irgrad.kernel.bounds import is_nonnegative
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.ir import Affine, Buffer, For, Kernel, Let, Load, Store
from irgrad.kernel.program import Program
from irgrad.kernel.run import run_program
from irgrad.kernel.slots import assign_slots, slot_offsets
from irgrad.kernel.text import print_kernel
from irgrad.kernel.verify import verify_kernel
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.bounds import condition_bound, within
from irgrad.testing.random_graphs import random_graph
from irgrad.tracing.trace import trace

N, M = symbol("n"), symbol("m")
SIZES = ((0, 2), (1, 1), (1, 3), (3, 2), (2, 7), (31, 1))
SEEDS = range(25)


def lowered(graph: Graph) -> Program:
    """The program of a graph, whose kernels are sound for every size."""
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    program = lower(work)
    for kernel in program.kernels:
        verify_kernel(kernel)
    return program


def drawn(graph: Graph, dims: Mapping[str, int], seed: int) -> list[np.ndarray]:
    """Arguments of a graph at some sizes."""
    rng = np.random.default_rng(seed)
    arrays = []
    for key in graph.inputs:
        type_ = graph.type(Value(key))
        shape = tuple(evaluate(size, dims) for size in type_.shape)
        numbers = rng.integers(0, 5, shape) if type_.dtype.kind != "f" else rng.normal(size=shape)
        arrays.append(np.asarray(numbers).astype(type_.dtype.numpy))
    return arrays


def check_at(graph: Graph, program: Program, dims: Mapping[str, int], seed: int = 0) -> None:
    """The program's results at some sizes are the interpreter's, within its bound."""
    arguments = drawn(graph, dims, seed)
    for kernel in instantiate(program, dims).kernels:
        verify_kernel(kernel)
    outcome = run_program(program, arguments, dims)
    exact, bounds = condition_bound(graph, arguments)
    for i, (a, b, bound) in enumerate(zip(exact, outcome.results, bounds, strict=True)):
        assert a.shape == b.shape and within(a, b, bound), f"{dims}, output {i}: {a} but {b}"


def test_random_graphs_at_every_size_from_one_program():
    ran = refused = 0
    for seed in SEEDS:
        graph = random_graph(seed, style="symbolic").graph
        program = lowered(graph)
        for n, m in SIZES:
            dims = {"n": n, "m": m}
            try:
                interpret(graph, drawn(graph, dims, seed))
            except (ShapeError, ValueError):
                refused += 1  # the largest element of nothing, or a size below 0
                continue
            check_at(graph, program, dims, seed)
            ran += 1
    assert ran > 4 * refused


def loss(w, b, v, c, x, y):  # noqa: ANN001, ANN201, PLR0913
    import irgrad.numpy as inp

    hidden = inp.maximum(inp.matmul(x, w) + b, 0)
    z = inp.matmul(hidden, v) + c
    z = z - inp.max(z, axis=1, keepdims=True)
    return -inp.sum((z - inp.log(inp.sum(inp.exp(z), axis=1, keepdims=True))) * y) / 64.0


def test_a_training_step_at_every_batch_size():
    types = ("f32[9,6]", "f32[6]", "f32[6,4]", "f32[4]", "f32[n,9]", "f32[n,4]")
    graph = gradient_graph(trace(loss, *map(parse_type, types)), [0, 1, 2, 3])
    program = lowered(graph)
    assert program.dims == ("n",) and program.slots
    for n in (0, 1, 2, 3, 7, 31):
        check_at(graph, program, {"n": n})


@pytest.mark.parametrize("n", [0, 1, 3])
def test_sums_over_a_named_axis_keep_the_sign_of_zero_and_are_0_where_empty(n):
    graph = parse(
        "graph(%x: f32[n,2]) {\n  %0 = reduce_sum(%x) {axes=(0,)}\n  return %0\n}\n"
    )
    result = run_program(lowered(graph), [np.full((n, 2), -0.0, np.float32)], {"n": n}).results[0]
    assert np.signbit(result).tolist() == [n > 0, n > 0]


# -- kernels ---------------------------------------------------------------------------------------


def copy_kernel(size: Size, extent: Size, at: Affine) -> Kernel:
    body = (Let("v", "constant", (), "i64", N), Store("r", at, "v"))
    loop = For("i", N, (For("j", extent, body),))
    return Kernel("k", (Buffer("r", "i64", size, "write"),), (loop,), dims=("m", "n"))


def test_kernels_print_their_dims_and_sizes():
    at = Affine(0, (("i", M + 1), ("j", 1)))
    kernel = copy_kernel(N * M + N, M + 1, at)
    verify_kernel(kernel)
    assert print_kernel(kernel) == (
        "kernel k[m, n](write r: i64[m*n+n]) {\n"
        "  parallel for i < n {\n"
        "    parallel for j < m+1 {\n"
        "      v = constant(n): i64\n"
        "      r[(m+1)*i + j] = v\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


@pytest.mark.parametrize(
    ("size", "extent", "at", "message"),
    [
        (N * M, M, Affine(1, (("i", M), ("j", 1))), r"positions in 0\.\.m\*n-1, got 1\.\.m\*n"),
        (N * M, M, Affine(0, (("i", M), ("j", N))), "positions in"),
        (N * M, M, Affine(M - N, (("i", M),)), "positions in"),
        (N * M, M, Affine(0, (("i", M - N),)), "a coefficient of i of one sign"),
    ],
)
def test_accesses_that_may_leave_their_buffer_fail(size, extent, at, message):
    with pytest.raises(VerifyError, match=message):
        verify_kernel(copy_kernel(size, extent, at))


def test_kernels_list_the_names_that_they_depend_on():
    body = (Load("v", "a", Affine(), "f32"),)
    kernel = Kernel("k", (Buffer("a", "f32", N + 1, "read"),), body)
    with pytest.raises(VerifyError, match=r"expected its dims to be \['n'\], got \[\]"):
        verify_kernel(kernel)


@pytest.mark.parametrize(
    ("size", "extents", "expected"),
    [
        (N - 1, [N], True),
        (N - 1, [N * M], True),
        (N - 1, [N + M], False),
        (N + M - 1, [N + M], True),
        (2 * N + 2 * M - 2, [N + M], True),
        (N - 4, [N - 3], True),
        (N - 5, [N - 3], False),
        (M * N - M - N + 1, [M * N - M - N + 1], True),
    ],
)
def test_what_is_known_of_sizes_within_loops(size, extents, expected):
    assert is_nonnegative(size, extents) is expected


# -- slots -----------------------------------------------------------------------------------------


def test_buffers_of_disjoint_lifetimes_share_a_slot():
    spans = {"a": (0, 1, 4 * N), "b": (1, 2, 8 * N), "c": (2, 3, 4 * N), "d": (3, 3, 4 * M)}
    found, slots = assign_slots(spans)
    assert found == {"a": 0, "b": 1, "c": 0, "d": 1}
    assert slots == ((4 * N,), (8 * N, 4 * M))
    assert slot_offsets(slots, {"n": 17, "m": 1}) == ((0, 128), 320)
    assert slot_offsets(slots, {"n": 0, "m": 100}) == ((0, 64), 512)
    with pytest.raises(DimError, match="expected a value for 'm'"):
        slot_offsets(slots, {"n": 1})
    with pytest.raises(LimitError, match="intermediate arrays of at most"):
        slot_offsets(slots, {"n": 2**61, "m": 1})
