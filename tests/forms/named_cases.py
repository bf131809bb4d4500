"""Cases of programs with named sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from both_forms import NamedCase

import irgrad.numpy as inp
from irgrad.autodiff import gradient_graph
from irgrad.ir.dims import Size, evaluate
from irgrad.ir.graph import Graph, Value
from irgrad.ir.spec import parse_type
from irgrad.ir.types import DType
from irgrad.kernel.ir import Contract, For, Kernel, Reduce, walk
from irgrad.kernel.program import Program
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.random_graphs import random_graph
from irgrad.tracing.trace import trace

Dims = Mapping[str, int]


def pairs(*sizes: tuple[int, int]) -> list[Dims]:
    """Values of n and m."""
    return [{"n": n, "m": m} for n, m in sizes]


SMALL = pairs((0, 0), (0, 2), (3, 0), (1, 1), (2, 3), (7, 2), (1, 31))
MEDIUM = pairs((31, 7), (5, 33), (65, 1))
LARGE = pairs((31, 7), (64, 3), (3, 64), (257, 2), (2, 257), (600, 1))  # too many for 3 axes


def named_case(name: str, graph: Graph, seed: int = 0, tiny: bool = False) -> NamedCase:
    """The case of a graph that has not been optimised; tiny: some products underflow to zero."""
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    types = [graph.type(Value(key)) for key in graph.inputs]

    def arguments(dims: Dims) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        drawn = [_drawn(rng, t.dtype, [evaluate(x, dims) for x in t.shape]) for t in types]
        for array in drawn if tiny else ():
            array[..., :1] *= np.finfo(array.dtype).tiny
        return drawn

    return NamedCase(name, lower(work), arguments)


def _drawn(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> np.ndarray:
    """Normal numbers, some of them zeros of either sign."""
    if dtype.kind != "f":
        return rng.integers(0, 5, shape).astype(dtype.numpy)
    numbers = np.asarray(rng.normal(size=shape))
    zero = np.where(rng.random(shape) < 0.5, 0.0, -0.0)
    return np.where(rng.random(shape) < 0.1, zero, numbers).astype(dtype.numpy)


def is_sound(program: Program, dims: Dims) -> bool:
    """Whether no size is negative."""
    return all(evaluate(size, dims) >= 0 for kernel in program.kernels for size in _sizes(kernel))


def _sizes(kernel: Kernel) -> Iterator[Size]:
    yield from (buffer.size for buffer in kernel.buffers)
    for statement in walk(kernel.body):
        if isinstance(statement, For | Reduce):
            yield statement.extent
        if isinstance(statement, Contract):
            groups = chain(statement.batch, statement.m, statement.n, statement.k)
            yield from (index.extent for index in groups)


# -- written by hand -------------------------------------------------------------------------------


def loss(w: Any, b: Any, v: Any, c: Any, x: Any, y: Any) -> Any:
    """The cross entropy of a network of two layers."""
    hidden = inp.maximum(x @ w + b, 0)
    z = hidden @ v + c
    z = z - inp.max(z, axis=1, keepdims=True)
    return -inp.sum((z - inp.log(inp.sum(inp.exp(z), axis=1, keepdims=True))) * y) / 64.0


def centred(x: Any, y: Any) -> Any:
    """Reductions over named axes, first and last, positions, and products over each name."""
    z = inp.exp(-inp.abs(x - inp.mean(x, axis=1, keepdims=True))) * y.T
    sums = inp.sum(z, axis=0), inp.sum(z), inp.prod(z, axis=1)
    return *sums, inp.sum(x * 0.0, axis=1), z @ y, z.T @ x, y @ z


def extreme(x: Any, y: Any) -> Any:
    """Extremes and their positions over axes that always have an element."""
    both = inp.concatenate([x, y], axis=1)
    columns = inp.argmax(both, axis=1), inp.max(both, axis=1)
    return *columns, inp.any(both > 1, axis=0), inp.all(both > 0, axis=1), inp.min(both, axis=1)


def batched(x: Any, y: Any) -> Any:
    """A sum over two axes at once, one of them named, for each of a named batch."""
    return inp.einsum("bijk,bkjl->bil", x, y) + 1, inp.einsum("bijk,bijk->", x, x)


def few_kernels() -> list[NamedCase]:
    """A training step, and reductions and contractions over every kind of axis."""
    layers = ("f32[9,6]", "f32[6]", "f32[6,4]", "f32[4]", "f32[n,9]", "f32[n,4]")
    return [
        named_case("step", gradient_graph(_traced(loss, *layers), [0, 1, 2, 3])),
        named_case("centred", _traced(centred, "f32[n,m]", "f32[m,n]")),
        named_case("extreme", _traced(extreme, "f32[n,m]", "f32[n,3]")),
        named_case("batched", _traced(batched, "f64[m,2,n,3]", "f64[m,3,n,2]")),
    ]


def other_types() -> list[NamedCase]:
    """Some of that in other dtypes."""
    return [
        named_case("centred f64", _traced(centred, "f64[n,m]", "f64[m,n]")),
        named_case("integers", _traced(lambda x, y: (x @ y, x.sum(0)), "i32[n,m]", "i32[m,4]")),
    ]


PRODUCTS = ("ik,kj->ij", "ki,kj->ij", "ik,jk->ij", "ki,jk->ij", "bik,bkj->bij", "ikl,lkj->ij")
NAMES = ("i=n j=m", "i=n k=m", "j=n k=m", "i=n j=n k=m", "b=n k=m", "k=n l=m")


def products(dtypes: Sequence[str] = ("f32", "f64")) -> list[NamedCase]:
    """Products of matrices laid out in every way, with each axis named and not."""
    cases: list[NamedCase] = []
    for pattern in PRODUCTS:
        for names in NAMES:
            sizes = {"b": "2", "i": "7", "j": "5", "k": "3", "l": "2"}
            sizes |= dict(part.split("=") for part in names.split())
            axes = pattern.partition("->")[0].split(",")
            if not {part[0] for part in names.split()} <= set("".join(axes)):
                continue
            for dtype in dtypes:
                specs = [f"{dtype}[{','.join(sizes[x] for x in part)}]" for part in axes]
                # Every name is that of an axis of an argument.
                graph = _traced(lambda x, y, z, p=pattern: inp.einsum(p, x, y), *specs, "f32[n,m]")
                cases.append(named_case(f"{pattern} {names} {dtype}", graph, len(cases), tiny=True))
    return cases


def random_cases(seeds: Iterable[int], sizes: Sequence[Dims]) -> list[NamedCase]:
    """Those of random graphs whose sizes are never negative; without those that have intermediate
    arrays of fixed sizes alone, which do not join others."""
    cases = [named_case(f"seed {i}", random_graph(i, style="symbolic").graph, i) for i in seeds]
    return [
        one for one in cases
        if not one.program.arena_bytes and all(is_sound(one.program, dims) for dims in sizes)
    ]  # fmt: skip


def _traced(function: Any, *specs: str) -> Graph:
    return trace(function, *map(parse_type, specs))
