"""Random graphs: optimised and plain agree, bit for bit where only exact rules may fire."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from rule_cases import SPECIAL

from irgrad.interpret import interpret
from irgrad.ir.graph import Graph
from irgrad.ir.types import BOOL, F64, I32, I64, DType, TensorType
from irgrad.ops.build import Expr
from irgrad.ops.contract import dot_general
from irgrad.ops.movement import reshape
from irgrad.ops.registry import builder
from irgrad.passes.base import run_passes
from irgrad.passes.fold_constants import FoldConstants
from irgrad.passes.form_fma import FormFma
from irgrad.passes.merge_common import MergeCommon
from irgrad.passes.remove_dead import RemoveDead
from irgrad.passes.simplify import Simplify

SHAPES = ((), (3,), (4,), (3, 4), (4, 3), (1, 4), (4, 1), (3, 1), (2, 3, 4))
CONSTANTS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0)
BOUNDED = ("tanh", "sigmoid", "neg", "abs", "relu", "square", "sin")
EXACT_UNARY = ("neg", "abs", "relu", "square", "floor", "sign", "reciprocal")
Pick = Callable[[DType, tuple[int, ...] | None], Expr]


class Grower:
    """Grows a graph by one random op at a time."""

    def __init__(self, seed: int, exact: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.exact = exact
        self.graph = Graph()
        self.build = builder(self.graph)
        self.values: list[Expr] = []
        for shape in SHAPES:
            for dtype in (F64, I32, BOOL):
                self.values.append(self.build.wrap(self.graph.add_input(TensorType(dtype, shape))))

    def choose(self, options):
        return options[int(self.rng.integers(len(options)))]

    def pick(self, kinds: str = "f", shape: tuple[int, ...] | None = None) -> Expr:
        """A value, late ones more often, or sometimes a constant."""
        fitting = [
            v for v in self.values
            if v.dtype.kind in kinds and (shape is None or v.shape == shape)
        ]  # fmt: skip
        chosen = fitting[max(self.rng.integers(len(fitting), size=2))]
        if self.rng.random() < 0.25:
            return chosen.like(self.choose(CONSTANTS))
        return chosen

    def grow(self) -> None:
        step = self.choose((
            self.unary, self.binary, self.binary, self.extremum, self.movement, self.movement,
            self.spread, self.spread, self.reduce, self.logic, self.select, self.convert, self.dot,
        ))  # fmt: skip
        self.values.append(step())

    def unary(self) -> Expr:
        return self.pick().op(self.choose(EXACT_UNARY if self.exact else BOUNDED))

    def binary(self) -> Expr:
        x = self.pick("if")
        names = ("add", "sub", "mul", "div") if self.exact else ("add", "sub", "mul")
        name = self.choose(names if x.dtype is F64 else ("add", "sub", "mul", "floor_divide"))
        if name != "div" and not self.exact and x.dtype is F64:
            return x.op(name, self.pick("f", x.shape)).op("tanh")
        return x.op(name, self.pick(x.dtype.kind, x.shape))

    def extremum(self) -> Expr:
        x = self.pick("if")
        other = x if self.rng.random() < 0.3 else self.pick(x.dtype.kind, x.shape)
        return x.op(self.choose(("maximum", "minimum")), other)

    def movement(self) -> Expr:
        x = self.pick("ifb", self.choose(SHAPES))
        rank = x.type.rank
        kind = self.choose(("reshape", "transpose", "flip", "slice"))
        if kind == "reshape":
            same = [shape for shape in SHAPES if np.prod(shape) == x.type.size]
            return x.op("reshape", shape=self.choose(same))
        if kind == "transpose":
            moved = x.op("transpose", permutation=tuple(map(int, self.rng.permutation(rank))))
            return moved if moved.shape in SHAPES else x.op("flip", axes=tuple(range(rank)))
        if kind == "flip":
            return x.op("flip", axes=tuple(i for i in range(rank) if self.rng.random() < 0.5))
        return self.window(x)

    def window(self, x: Expr) -> Expr:
        """Pad and cut back, or the other way round."""
        low = tuple(int(self.rng.integers(3)) for _ in x.shape)
        zero = (0,) * len(low)
        padded = x.op("pad", low=low, high=(1,) * len(low), interior=zero)
        start = tuple(int(self.rng.integers(a + 1)) for a in low)
        stop = tuple(a + s for a, s in zip(start, x.shape))
        return padded.op("slice", start=start, stop=stop, step=(1,) * len(low))

    def spread(self) -> Expr:
        x = self.pick("ifb")
        shape = self.choose([s for s in SHAPES if len(s) >= x.type.rank])
        dims: list[int] = []
        for size in x.shape:
            first = dims[-1] + 1 if dims else 0
            fitting = [d for d in range(first, len(shape)) if size in (1, shape[d])]
            if not fitting:
                return x.op("flip", axes=())
            dims.append(fitting[0])
        return self.build.broadcast(x, shape, dims)

    def reduce(self) -> Expr:
        x = self.pick("if")
        axes = tuple(i for i in range(x.type.rank) if self.rng.random() < 0.5)
        kept = tuple(s for i, s in enumerate(x.shape) if i not in axes)
        if kept not in SHAPES:
            axes = tuple(range(x.type.rank))
        sums = ("reduce_sum",) if not self.exact or x.dtype is I32 else ()
        return x.op(self.choose(("reduce_max", "reduce_min", *sums)), axes=axes)

    def logic(self) -> Expr:
        x = self.pick("b")
        if self.rng.random() < 0.3:
            return x.op("logical_not")
        if self.rng.random() < 0.4:
            y = self.pick("i", x.shape)
            other = y if self.rng.random() < 0.3 else self.pick("i", x.shape)
            return y.op(self.choose(("eq", "ne", "lt", "le", "gt", "ge")), other)
        name = self.choose(("logical_and", "logical_or", "logical_xor"))
        return x.op(name, x if self.rng.random() < 0.2 else self.pick("b", x.shape))

    def select(self) -> Expr:
        x = self.pick("if")
        other = x if self.rng.random() < 0.2 else self.pick(x.dtype.kind, x.shape)
        return self.pick("b", x.shape).op("select", x, other)

    def convert(self) -> Expr:
        x = self.pick("ib")
        wide = x.op("cast", dtype=self.choose((I64, F64, x.dtype)))
        return wide.op("cast", dtype=self.choose((F64, I32) if x.dtype is I32 else (BOOL, F64)))

    def dot(self) -> Expr:
        """An integer product where every bit counts; else floats, held within bounds."""
        kind = "i" if self.exact else "f"
        x, y = self.pick(kind, (3, 4)), self.pick(kind, self.choose(((3, 4), (4, 3))))
        if y.shape == (4, 3):
            y = y.op("transpose", permutation=(1, 0))
        product = dot_general(x, y, ((1,), (1,)))
        folded = product.op("reduce_sum", axes=(0,))
        return reshape(folded if self.exact else folded.op("tanh"), (3,))


def grown(seed: int, exact: bool) -> Graph:
    grower = Grower(seed, exact)
    for _ in range(60):
        grower.grow()
    last = grower.values[-12:]
    grower.graph.outputs = [v.value for v in last]
    return grower.graph


def arguments(graph: Graph, seed: int, special: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = []
    for key in graph.inputs:
        type_ = graph[key].types[0]
        if type_.dtype is BOOL:
            arrays.append(np.asarray(rng.random(type_.shape) < 0.5))
        elif type_.dtype is I32:
            arrays.append(rng.integers(-5, 6, type_.shape).astype(np.int32).reshape(type_.shape))
        elif special:
            arrays.append(np.asarray(rng.choice(SPECIAL, type_.shape)))
        else:
            arrays.append(np.asarray(rng.uniform(-2, 2, type_.shape)))
    return arrays


@pytest.mark.parametrize("seed", range(60))
def test_exact_rules_keep_every_bit(seed: int) -> None:
    print(f"seed {seed}")
    graph = grown(seed, exact=True)
    plain = graph.copy()
    passes = (FoldConstants("exact"), Simplify("exact"), MergeCommon(), RemoveDead())
    run_passes(graph, passes)
    assert all("(exact)" in edit.reason for edit in graph.edits)
    arrays = arguments(graph, seed, special=True)
    for before, after in zip(interpret(plain, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_array_equal(before, after)
        if before.dtype == np.float64:
            number = ~np.isnan(before)
            assert (np.signbit(before) == np.signbit(after))[number].all()


@pytest.mark.parametrize("seed", range(60))
def test_stable_rules_stay_within_the_bound(seed: int) -> None:
    print(f"seed {seed}")
    graph = grown(1000 + seed, exact=False)
    plain = graph.copy()
    run_passes(graph, (Simplify(), MergeCommon(), FormFma(), RemoveDead()))
    arrays = arguments(graph, seed, special=False)
    for before, after in zip(interpret(plain, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-9, atol=1e-9)


def test_the_graphs_are_large_enough_to_tell() -> None:
    graph = grown(0, exact=False)
    plain = len(graph.copy().order())
    Simplify().apply(graph)
    assert len(graph.edits) >= 10 and len(graph) < plain
