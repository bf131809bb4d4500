"""Strided views against NumPy's strides, and loops over merged axes against plain ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from fused_programs import bc, flipped, graph_of, matmul

from irgrad.interpret import interpret
from irgrad.ir.dims import symbol
from irgrad.ir.graph import Graph, Value
from irgrad.ir.types import F64, TensorType
from irgrad.ops.build import Expr
from irgrad.ops.registry import builder
from irgrad.passes.axes import index_space
from irgrad.passes.views import (
    View,
    collect_views,
    contiguous_strides,
    merged_stride,
    reshape_strides,
    view_of,
)

SHAPES = ((), (1,), (6,), (2, 3), (3, 4), (2, 3, 4), (2, 1, 6), (4, 1), (0, 3), (3, 3))


def moved(rng: np.random.Generator, x: Expr) -> Expr:
    """One random movement op."""
    rank = x.type.rank
    shape = tuple(int(s) for s in x.shape)  # type: ignore[arg-type]
    kind = ("transpose", "reshape", "broadcast", "slice", "flip")[int(rng.integers(5))]
    if kind == "transpose":
        return x.op("transpose", permutation=tuple(map(int, rng.permutation(rank))))
    if kind == "flip":
        return x.op("flip", axes=tuple(i for i in range(rank) if rng.random() < 0.5))
    if kind == "slice":
        start = tuple(int(rng.integers(s + 1)) for s in shape)
        stop = tuple(int(rng.integers(a, s + 1)) for a, s in zip(start, shape))
        return x.op("slice", start=start, stop=stop, step=tuple(map(int, rng.integers(1, 3, rank))))
    if kind == "broadcast":
        at = int(rng.integers(rank + 1))
        grown = tuple(int(rng.integers(1, 4)) if s == 1 else s for s in shape)
        dims = [i for i in range(rank + 1) if i != at]
        return bc(x, (*grown[:at], int(rng.integers(1, 3)), *grown[at:]), *dims)
    return x.op("reshape", shape=split(rng, math.prod(shape)))


def split(rng: np.random.Generator, count: int) -> tuple[int, ...]:
    """A random shape of so many elements."""
    shape: list[int] = []
    while count > 1 and rng.random() < 0.8:
        divisors = [d for d in range(2, count + 1) if count % d == 0]
        shape.append(divisors[int(rng.integers(len(divisors)))])
        count //= shape[-1]
    if rng.random() < 0.3:
        shape.append(1)
    return (*shape, count) if count != 1 else tuple(shape)


def read_through(view: View, memory: np.ndarray) -> np.ndarray:
    """What a view shows of flat memory, element by element."""
    shape = tuple(int(s) for s in view.shape)  # type: ignore[arg-type]
    result = np.empty(shape, memory.dtype)
    for point in itertools.product(*map(range, shape)):
        at = int(view.offset) + sum(i * int(s) for i, s in zip(point, view.strides))  # type: ignore[arg-type]
        assert 0 <= at < memory.size
        result[point] = memory[at]
    return result


@pytest.mark.parametrize("seed", range(40))
def test_chains_of_movement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = Graph()
    b = builder(graph)
    x = b.wrap(graph.add_input(TensorType(F64, SHAPES[seed % len(SHAPES)]), "x"))
    values = [x]
    for _ in range(12):
        made = moved(rng, values[-1] if rng.random() < 0.7 else values[rng.integers(len(values))])
        if made.type.size <= 300:
            values.append(made)
    graph.outputs = [v.value for v in values[1:]] or [x.value]
    graph.outputs.append(b.one("neg", values[-1]).value)
    array = rng.standard_normal(x.shape)
    arrays = dict(zip(graph.outputs, interpret(graph, [array])))
    arrays[x.value] = array
    views, copies = collect_views(graph, graph.order())
    assert x.value.node not in copies
    for value in values:
        view = view_of(graph, views, value.value)
        assert view.shape == value.shape
        assert view.source == x.value or view.source.node in copies
        source = np.ascontiguousarray(arrays[view.source])
        np.testing.assert_array_equal(read_through(view, source.reshape(-1)), arrays[value.value])
        check_axes(view, graph.type(view.source).shape)


def check_axes(view: View, source: tuple[object, ...]) -> None:
    """An axis that runs along one of the source has its size and stride."""
    if view.axes is None:
        return
    strides = contiguous_strides(source)  # type: ignore[arg-type]
    assert view.offset == 0
    for axis, size, stride in zip(view.axes, view.shape, view.strides):
        if size == 1:
            continue
        if axis is None:
            assert stride == 0
        else:
            assert (size, stride) == (source[axis], strides[axis])


@pytest.mark.parametrize("seed", range(60))
def test_reshapes_without_a_copy_are_those_of_numpy(seed: int) -> None:
    """The same strides as NumPy's, and None exactly where NumPy would have to copy."""
    rng = np.random.default_rng(seed)
    base = np.arange(48.0).reshape(split(rng, 48))
    array = base.transpose(rng.permutation(base.ndim))
    array = array[tuple(slice(None, None, int(rng.integers(1, 3))) for _ in array.shape)]
    if rng.random() < 0.4:
        array = np.broadcast_to(array[..., None], (*array.shape, 2))
    new = split(rng, array.size)
    strides = [s // array.itemsize for s in array.strides]
    found = reshape_strides(array.shape, strides, new)
    try:
        other = np.reshape(array, new, copy=False)
    except ValueError:
        assert found is None
        return
    assert found is not None
    view = View(Value(0), 0, new, found, None)
    moved_to = np.lib.stride_tricks.as_strided(array, new, [int(s) * 8 for s in view.strides])
    np.testing.assert_array_equal(moved_to, other)


def test_reshapes_of_named_sizes() -> None:
    n, m = symbol("n"), symbol("m")
    assert reshape_strides((n, m), contiguous_strides((n, m)), (n * m,)) == (1,)
    assert reshape_strides((n * m,), (1,), (n, m)) == (m, 1)
    assert reshape_strides((n, m, 4), contiguous_strides((n, m, 4)), (n, 4 * m)) == (4 * m, 1)
    assert reshape_strides((m, n), (1, m), (n * m,)) is None
    assert reshape_strides((n, 1, m), contiguous_strides((n, 1, m)), (n, m, 1)) == (m, 1, 0)


def test_generators_are_views_until_memory_is_read() -> None:
    def build(x: Expr) -> tuple[Expr, ...]:
        i = x.builder.one("iota", shape=(3, 4), axis=1, dtype=x.dtype)
        t = flipped(i)
        return x + i, matmul(t, x)

    graph = graph_of("f64[3,4]", build)
    views, copies = collect_views(graph, graph.order())
    iota = next(key for key in graph if graph[key].op == "iota")
    moved_ = next(key for key in graph if graph[key].op == "transpose")
    assert copies == {moved_} and views[moved_].source == Value(moved_)
    assert views[iota].strides == (0, 1) and views[iota].axes is None


def test_a_value_of_several_results_is_its_own_view() -> None:
    def build(a: Expr, b: Expr) -> Expr:
        return a + b

    graph = graph_of("f64[3] f64[3]", build)
    value = graph.outputs[0]
    assert view_of(graph, {}, value) == View(value, 0, (3,), (1,), (0,))


@pytest.mark.parametrize(
    "extents, strides, expected",
    [
        ((), (), 0),
        ((5,), (3,), 3),
        ((2, 3), (3, 1), 1),
        ((2, 3), (1, 2), None),
        ((2, 3), (0, 0), 0),
        ((2, 3), (0, 1), None),
        ((1, 3), (7, 2), 2),
        ((3, 1), (2, 9), 2),
        ((2, 3, 4), (12, 4, 1), 1),
        ((2, 3, 4), (-12, -4, -1), -1),
        ((1, 1), (4, 5), 0),
    ],
)
def test_merged_strides(
    extents: tuple[int, ...], strides: tuple[int, ...], expected: int | None
) -> None:
    assert merged_stride(extents, strides) == expected
    if expected is not None:
        addresses = [
            sum(i * s for i, s in zip(point, strides))
            for point in itertools.product(*map(range, extents))
        ]
        assert addresses == [i * expected for i in range(len(addresses))]


# -- loops over merged axes ------------------------------------------------------------------------


def random_strides(rng: np.random.Generator, domain: tuple[int, ...]) -> tuple[int, ...]:
    """Contiguous, permuted, or with repeated or reversed axes."""
    order = rng.permutation(len(domain)) if rng.random() < 0.4 else range(len(domain))
    strides, stride = [0] * len(domain), 1
    for axis in reversed(list(order)):
        strides[axis] = stride
        stride *= domain[axis]
    return tuple(
        0 if rng.random() < 0.2 else -s if rng.random() < 0.1 else s for s in strides
    )


@pytest.mark.parametrize("seed", range(60))
def test_merged_loops_visit_what_plain_loops_do(seed: int) -> None:
    """In row-major order, for every access, for any number of row axes."""
    rng = np.random.default_rng(seed)
    domain = tuple(int(rng.integers(1, 4)) for _ in range(int(rng.integers(0, 5))))
    rows = int(rng.integers(0, len(domain) + 1))
    accesses = [random_strides(rng, domain) for _ in range(int(rng.integers(1, 4)))]
    space = index_space(domain, rows, accesses)
    loops = space.outer + space.inner
    assert math.prod(axis.extent for axis in loops) == math.prod(domain)
    assert len({axis.index for axis in loops}) == len(loops) and space.inner
    for strides in accesses:
        at = space.at(5, strides)
        found = []
        for point in itertools.product(*(range(axis.extent) for axis in loops)):
            indices = dict(zip((axis.index for axis in loops), point))
            found.append(at.constant + sum(c * indices[name] for name, c in at.terms))
        expected = [
            5 + sum(i * s for i, s in zip(point, strides))
            for point in itertools.product(*map(range, domain))
        ]
        assert found == expected


def test_contiguous_accesses_make_one_loop() -> None:
    domain = (4, 5, 6)
    whole = contiguous_strides(domain)
    assert [axis.extent for axis in index_space(domain, 0, [whole, whole]).inner] == [120]
    space = index_space(domain, 1, [whole, (1, 0, 0)])
    assert [axis.extent for axis in space.outer] == [4, 5]
    assert [axis.extent for axis in space.inner] == [6]


def test_blocks_cut_the_one_outer_loop() -> None:
    space = index_space((12, 5), 1, [(5, 1)]).blocked(4)
    assert [(axis.extent, axis.scale) for axis in space.outer] == [(3, 4), (4, 1)]
    at = space.at(0, (5, 1))
    assert [at.coefficient(axis.index) for axis in space.outer + space.inner] == [20, 5, 1]
