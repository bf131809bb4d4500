"""Machine code of programs with named sizes: compiled once, run at many sizes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np

from irgrad.autodiff import gradient_graph
from irgrad.backends.numba_cpu.llvm.compile import compile_module, load_object
from irgrad.backends.numba_cpu.llvm.cpu import host_cpu
from irgrad.backends.numba_cpu.llvm.entry import arena_bytes, program_module
from irgrad.differentiation import value_and_grad
from irgrad.ir.dims import evaluate
from irgrad.ir.graph import Graph, Value
from irgrad.ir.spec import parse_type
from irgrad.ir.types import DTYPES
from irgrad.kernel.instantiate import instantiate
from irgrad.kernel.ir import Reduce
from irgrad.kernel.program import Program
from irgrad.kernel.run import collect_results
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.bounds import condition_bound, within
from irgrad.tracing.trace import trace


class Code:
    """A program's machine code, called on arrays at given sizes."""

    def __init__(self, program: Program) -> None:
        cpu = host_cpu()
        self.program = program
        self.scratch = arena_bytes(program, cpu.vector_bytes)
        self.loaded = load_object(
            compile_module(program_module(program, "named", cpu.vector_bytes), cpu)
        )
        signature = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)
        self.entry = signature(self.loaded.address("irg_named"))

    def __call__(
        self, arguments: Sequence[np.ndarray], dims: Mapping[str, int]
    ) -> list[np.ndarray]:
        """The results, from outputs and an arena that start as garbage."""
        sized = instantiate(self.program, dims)
        inputs = [np.array(a, order="C").reshape(-1) for a in arguments]
        outputs = [
            np.full(count * DTYPES[d].itemsize, 0xA5, np.uint8).view(DTYPES[d].numpy)
            for d, count in sized.outputs
        ]
        needed = self.program.workspace_bytes(dims) + self.scratch
        arena = np.full(needed + 128, 0xA5, np.uint8)
        start = -arena.ctypes.data % 64
        table = np.array([a.ctypes.data for a in inputs + outputs], np.uint64)
        sizes = np.array([dims[name] for name in self.program.dims], np.int64)
        context = np.zeros(5, np.int64)
        status = self.entry(
            context.ctypes.data, sizes.ctypes.data, table.ctypes.data, arena.ctypes.data + start
        )
        assert status == 0
        assert (arena[:start] == 0xA5).all() and (arena[start + needed:] == 0xA5).all()
        return collect_results(sized, inputs, outputs)


def loss(w, b, v, c, x, y):  # noqa: ANN001, ANN201, PLR0913
    import irgrad.numpy as inp

    hidden = inp.maximum(inp.matmul(x, w) + b, 0)
    z = inp.matmul(hidden, v) + c
    z = z - inp.max(z, axis=1, keepdims=True)
    return -inp.sum((z - inp.log(inp.sum(inp.exp(z), axis=1, keepdims=True))) * y) / 64.0


def centred(x, y):  # noqa: ANN001, ANN201
    """Reductions over named axes, both last and first, and positions."""
    import irgrad.numpy as inp

    z = inp.exp(-inp.abs(x - inp.mean(x, axis=1, keepdims=True))) * y.T
    return inp.sum(z, axis=0), inp.sum(z), inp.argmax(z, axis=1), z @ y


def layer(x, w, b, g, t):  # noqa: ANN001, ANN201
    """A layer, what its gradients need, and products with a pattern of their own."""
    import irgrad.numpy as inp

    hidden = inp.maximum(inp.matmul(x, w) + b, 0)
    into, weights = inp.matmul(g, w.T), inp.matmul(x.T, g)
    blocks = inp.einsum("nhd,nke->hdke", inp.reshape(x, (-1, 3, 7)), inp.reshape(x, (-1, 7, 3)))
    counts = inp.astype(inp.floor(x * 4), "int32")
    column = inp.matmul(x, w[:, 0])
    return hidden, into, w - 0.1 * weights, column, blocks, counts.T @ counts, t.T @ t


def attention(q, k, v):  # noqa: ANN001, ANN201
    """Heads of queries and keys in two named numbers."""
    import irgrad.numpy as inp

    scores = inp.einsum("nhd,mhd->hnm", q, k) * 0.25
    weights = inp.exp(scores - inp.max(scores, axis=2, keepdims=True))
    mixed = inp.einsum("hnm,mhd->nhd", weights, v)
    return mixed / inp.sum(weights, axis=2).T[:, :, None], inp.matmul(scores, scores.swapaxes(1, 2))


def program_of(graph: Graph) -> Program:
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    return lower(work)


def check(
    graph: Graph, sizes: Sequence[Mapping[str, int]], positive: bool = False
) -> None:
    """Results at each size are the interpreter's within its bound, from one compile."""
    program = program_of(graph)
    code, rng = Code(program), np.random.default_rng(3)
    for dims in sizes:
        arguments = []
        for key in graph.inputs:
            type_ = graph.type(Value(key))
            shape = tuple(evaluate(size, dims) for size in type_.shape)
            numbers = rng.normal(size=shape)
            numbers = np.abs(numbers) + 0.1 if positive else numbers
            arguments.append(numbers.astype(type_.dtype.numpy))
        exact, bounds = condition_bound(graph, arguments)
        for i, (a, b, bound) in enumerate(zip(exact, code(arguments, dims), bounds, strict=True)):
            assert a.shape == b.shape and within(a, b, bound), f"{dims}, result {i}: {a} but {b}"


def test_a_training_step_of_every_batch_size_is_one_compile():
    types = ("f32[9,6]", "f32[6]", "f32[6,4]", "f32[4]", "f32[n,9]", "f32[n,4]")
    graph = gradient_graph(trace(loss, *map(parse_type, types)), [0, 1, 2, 3])
    check(graph, [{"n": n} for n in (0, 1, 2, 3, 7, 31, 64, 257, 600)])


def test_reductions_and_products_over_two_named_axes():
    graph = trace(centred, parse_type("f64[n,m]"), parse_type("f64[m,n]"))
    pairs = ((0, 3), (1, 1), (2, 31), (5, 33), (3, 64), (2, 300), (65, 7))
    check(graph, [{"n": n, "m": m} for n, m in pairs])


def test_the_products_of_a_layer_and_of_integers():
    types = ("f32[n,21]", "f32[21,70]", "f32[70]", "f32[n,70]", "i64[n,5]")
    graph = trace(layer, *map(parse_type, types))
    check(graph, [{"n": n} for n in (0, 1, 2, 3, 7, 31, 64, 257, 600)])


def test_attention_over_two_named_numbers():
    graph = trace(attention, *map(parse_type, ("f64[n,2,20]", "f64[m,2,20]", "f64[m,2,20]")))
    pairs = ((0, 3), (1, 1), (2, 1), (1, 40), (3, 2), (16, 16), (31, 64), (65, 9), (20, 260))
    check(graph, [{"n": n, "m": m} for n, m in pairs])


def test_what_a_sum_reads_and_the_same_loop_overwrites():
    def rows(w, x):  # noqa: ANN001, ANN202
        return np.log(x @ w).mean()

    step = value_and_grad(rows)
    graph = trace(step, parse_type("f32[k,2]"), parse_type("f32[n,k]"))
    updates = [k for k in program_of(graph).kernels if any(b.access == "update" for b in k.buffers)]
    assert [any(isinstance(x, Reduce) for x in k.body) for k in updates] == [True]
    check(graph, [{"n": n, "k": 3} for n in (0, 1, 3, 8, 17, 37)], positive=True)
