"""A graph that grows node by node together with the arrays that its values have on one input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from ..errors import IrgradError
from ..interpret import interpret
from ..ir.dims import Size, evaluate
from ..ir.graph import Graph, Value
from ..ir.types import BOOL, F32, F64, I32, I64, U8, U32, U64, TensorType, dtype_of
from ..ops.build import Builder, Expr, as_scalar
from ..ops.registry import REGISTRY, builder

MAX_ELEMENTS = 400
MAX_INPUTS = 8
LARGEST = 1e6  # of the finite values that are kept
SIZES, SIZE_WEIGHTS = (0, 1, 2, 3, 5, 8, 17), (0.03, 0.12, 0.2, 0.25, 0.2, 0.1, 0.1)
DTYPES = (F32, F32, F32, F64, I32, I64, BOOL)
WORDS = (U8, U32, U64)  # which only ops on bits take from their samples
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 3e38, -3e38)
SOFT = frozenset({"constant", "iota", "broadcast"})  # ops whose readers other rules rewrite first
Item = TypeVar("Item")


class Dropped(Exception):
    """A value would be too large or not finite, or there is none of the kind asked for."""


class _Evaluation:
    """What the ops' NumPy meanings ask of an interpreter."""

    def __init__(self, dims: Mapping[str, int]) -> None:
        self.dims = dims

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        return interpret(graph, arguments)


class Growth:
    """The graph, its arguments so far, and what each value is on them.

    rng: the only source of chance. special: whether NaN, infinities and extreme numbers occur in
    inputs; otherwise a value that is not finite, or above LARGEST, is never offered again.
    dims: the numbers behind the names of sizes. taken: values that are not offered to other
    readers, so that rules which ask for a single use can fire. roots: values to leave the graph.
    """

    def __init__(
        self, rng: np.random.Generator, special: bool, dims: Mapping[str, int] | None = None
    ) -> None:
        self.rng = rng
        self.special = special
        self.graph = Graph("random")
        self.builder: Builder = builder(self.graph)
        self.values: dict[Value, np.ndarray] = {}
        self.arguments: list[np.ndarray] = []
        self.taken: set[Value] = set()
        self.roots: list[Value] = []
        self._environment = _Evaluation(dims or {})
        self._evaluated = 0

    # -- chance ----------------------------------------------------------------------------------

    def choose(self, items: Sequence[Item]) -> Item:
        """One of some items, all equally likely."""
        return items[int(self.rng.integers(len(items)))]

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self.rng.random() < probability)

    def size(self, least: int = 0) -> int:
        """A random size."""
        while True:
            size = int(self.rng.choice(SIZES, p=SIZE_WEIGHTS))
            if size >= least:
                return size

    def shape(self, rank: int, least: int = 0) -> tuple[int, ...]:
        """A random shape of at most MAX_ELEMENTS elements."""
        while True:
            shape = tuple(self.size(least) for _ in range(rank))
            if math.prod(shape) <= MAX_ELEMENTS:
                return shape

    def array(self, type_: TensorType) -> np.ndarray:
        """A random argument of a type."""
        shape = tuple(evaluate(size, self._environment.dims) for size in type_.shape)
        if type_.dtype.kind == "b":
            return np.asarray(self.rng.random(shape) < 0.5)
        if type_.dtype.is_integer:
            return np.asarray(self.rng.integers(-6, 7, shape), type_.dtype.numpy)
        array = np.asarray(self.rng.standard_normal(shape), type_.dtype.numpy)
        if self.special and array.size:
            where = self.rng.random(shape) < 0.15
            with np.errstate(all="ignore"):
                chosen = self.rng.choice(SPECIAL, shape).astype(array.dtype)
            array = np.where(where, chosen, array)
        return array

    # -- nodes -----------------------------------------------------------------------------------

    def input(self, type_: TensorType) -> Expr:
        """A new input; raises Dropped where there are enough."""
        if len(self.arguments) >= MAX_INPUTS:
            raise Dropped
        array = self.array(type_)
        value = self.graph.add_input(type_, f"x{len(self.arguments)}")
        self.arguments.append(array)
        self.values[value] = array
        return self.builder.wrap(value)

    def emit(self, op: str, operands: Sequence[Expr], **attrs: Any) -> tuple[Expr, ...]:
        """Add a node and compute its values."""
        made = self.builder.emit(op, operands, **attrs)
        self.adopt()
        return made

    def one(self, op: str, *operands: Expr, **attrs: Any) -> Expr:
        """Add a node of one result and compute it."""
        (made,) = self.emit(op, operands, **attrs)
        return made

    def constant(self, value: float | bool, type_: TensorType) -> Expr:
        """A constant, computed."""
        made = self.builder.constant(as_scalar(value, type_.dtype), type_)
        self.adopt()
        return made

    def adopt(self) -> None:
        """Compute the nodes that were added by other means; raises Dropped at a bad value."""
        new = list(itertools.islice(self.graph, self._evaluated, None))
        self._evaluated = len(self.graph)
        for key in new:
            node = self.graph[key]
            if node.op == "input" or REGISTRY[node.op].effect:
                continue
            with np.errstate(all="ignore"):
                results = REGISTRY[node.op].evaluate(
                    [self.values[v] for v in node.operands], dict(node.attributes),
                    self._environment,
                )  # fmt: skip
            if not all(self._is_good(np.asarray(result)) for result in results):
                raise Dropped
            self.values.update((Value(key, i), np.asarray(r)) for i, r in enumerate(results))

    def _is_good(self, array: np.ndarray) -> bool:
        if array.size > MAX_ELEMENTS:
            return False
        if self.special or array.dtype.kind != "f":
            return True
        return bool(np.isfinite(array).all() and (np.abs(array) < LARGEST).all())

    # -- operands --------------------------------------------------------------------------------

    def pick(self) -> Expr:
        """A value that is there, late ones more often."""
        free = [value for value in self.values if value not in self.taken]
        recent = free[-6:] if self.chance(0.7) else free
        return self.builder.wrap(self.choose(recent))

    def find(
        self,
        kinds: str = "if",
        rank: int | None = None,
        least: int = 0,
        where: Callable[[tuple[Size, ...]], bool] = lambda shape: True,
    ) -> Expr:
        """A value of given dtype kinds and rank, or a new input; see `SOFT` for what is avoided.

        least: of every size. where: what else the shape of an existing value must fulfil.
        """
        fitting = [
            v
            for v in self.values
            if v not in self.taken and self._fits(self.graph.type(v), kinds, rank, least)
            and self.graph[v.node].op not in SOFT and where(self.graph.type(v).shape)
        ]  # fmt: skip
        if fitting and self.chance(0.85):
            return self.builder.wrap(self.choose(fitting[-8:] if self.chance(0.6) else fitting))
        dtype = self.choose([d for d in DTYPES if d.kind in kinds])
        for _ in range(8):
            shape = self.shape(int(self.rng.integers(0, 4)) if rank is None else rank, least)
            if where(shape):
                return self.input(TensorType(dtype, shape))
        raise Dropped

    def _fits(self, type_: TensorType, kinds: str, rank: int | None, least: int) -> bool:
        return (
            type_.dtype.kind in kinds
            and rank in (None, type_.rank)
            and all(isinstance(size, int) and size >= least for size in type_.shape)
        )

    def of_type(self, type_: TensorType) -> Expr:
        """A value of a type: one that is there, another one moved and cast, or a new input."""
        ready = [v for v in self.values if v not in self.taken and self.graph.type(v) == type_]
        firm = [v for v in ready if self.graph[v.node].op not in SOFT]
        if ready and self.chance(0.75):
            return self.builder.wrap(self.choose(firm if firm and self.chance(0.8) else ready))
        if self.chance(0.1):
            number = float(np.round(self.rng.normal(), 2))
            return self.constant(abs(number) if type_.dtype.kind == "u" else number, type_)
        if self.chance(0.3) and len(self.arguments) < MAX_INPUTS:
            return self.input(type_)
        x = self.fit(self.pick(), type_.shape)
        return x if x.dtype is type_.dtype else self.one("cast", x, dtype=type_.dtype)

    def fit(self, x: Expr, shape: tuple[Size, ...]) -> Expr:
        """`x` as a value of another shape, through a movement that leads there."""
        old = x.shape
        if old == shape:
            return x
        if x.type.size == TensorType(x.dtype, shape).size:
            return self.one("reshape", x, shape=shape)
        numbers = all(isinstance(size, int) for size in (*old, *shape))
        zeros, ones = (0,) * len(shape), (1,) * len(shape)
        if numbers and len(old) == len(shape):
            if all(a >= b for a, b in zip(old, shape)):  # type: ignore[operator]
                return self.one("slice", x, start=zeros, stop=shape, step=ones)
            if all(a <= b for a, b in zip(old, shape)):  # type: ignore[operator]
                high = tuple(b - a for a, b in zip(old, shape))
                return self.one("pad", x, low=zeros, high=high, interior=zeros)
        if old and all(isinstance(size, int) and size for size in old):
            name = "reduce_any" if x.dtype.kind == "b" else "reduce_max"
            x = self.one(name, x, axes=tuple(range(len(old))))
        elif old:
            x = self.constant(1.0, TensorType(x.dtype, ()))
        return self.one("broadcast", x, shape=shape, dims=())

    def positive(self, x: Expr) -> Expr:
        """abs(x) / 2 + 1/2."""
        half = self.constant(0.5, x.type)
        return self.one("add", self.one("mul", self.one("abs", x), half), half)

    def unit(self, x: Expr) -> Expr:
        """A value between 0 and 0.9."""
        return self.one("mul", self.one("sigmoid", x), self.constant(0.9, x.type))

    def sample(self, name: str) -> tuple[list[TensorType], dict[str, Any]]:
        """Operand types and attributes of a call that the record of an op lists."""
        samples = REGISTRY[name].samples(self.rng)
        for _ in range(8):
            call = self.choose(samples)
            kinds = {array.dtype.name for array in call.operands}
            small = all(array.size <= MAX_ELEMENTS for array in call.operands)
            if small and kinds <= {dtype.numpy.name for dtype in (*DTYPES, *WORDS)}:
                return [TensorType(dtype_of(a.dtype), a.shape) for a in call.operands], {
                    **call.attrs
                }
        raise Dropped

    def attempt(self, make: Callable[[], Expr]) -> Expr | None:
        """What `make` builds; None where an op refuses its operands or a value is bad."""
        try:
            made = make()
            self.adopt()
        except (IrgradError, Dropped):
            self._evaluated = len(self.graph)
            return None
        return made if made.value in self.values else None
