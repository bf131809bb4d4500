"""Random graphs over the whole registry, drawn from a seed, for round trips and comparisons.

Nodes come from two sources: the samples in the records of the ops, with operands coerced from
values that the graph already has, and the patterns of the rewrite rules, so that each rule has
something to fire at. Every value is computed along the way; those that are not finite are dropped,
unless the seed asks for special values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import IrgradError
from ..interpret import interpret
from ..ir.graph import Graph, Value
from ..ir.signature import flat_signature
from ..ir.types import BOOL, F32, F64, I32, I64, DType, TensorType, dtype_of
from ..ops.build import Builder, Expr, as_scalar
from ..ops.registry import REGISTRY, builder
from ..rewrite.pattern import Const, OpPattern, Pattern, Var
from ..rewrite.rule import Rule
from ..rewrite.rules import RULES

MAX_ELEMENTS = 400
SIZES, SIZE_WEIGHTS = (0, 1, 2, 3, 5, 8, 17), (0.03, 0.12, 0.2, 0.25, 0.2, 0.1, 0.1)
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 3e38, -3e38)


@dataclass(frozen=True, slots=True)
class RandomGraph:
    """A graph with arrays to call it on. special: whether NaN and infinities may occur."""

    seed: int
    graph: Graph
    arguments: tuple[np.ndarray, ...]
    special: bool


class _Evaluation:
    """The interpreter behind the ops' NumPy meanings, for graphs without symbolic sizes."""

    dims: dict[str, int] = {}

    def run(self, graph: Graph, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        return interpret(graph, arguments)


def random_graph(seed: int, steps: int = 12, rules: Sequence[Rule] = RULES) -> RandomGraph:
    """The graph of a seed: about `steps` ops and rule patterns over one to four inputs."""
    return _Generator(seed, rules).generate(steps)


class _Generator:
    def __init__(self, seed: int, rules: Sequence[Rule]) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.special = bool(self.rng.random() < 0.2)
        self.graph = Graph("random")
        self.builder: Builder = builder(self.graph)
        self.rules = rules
        self.values: dict[Value, np.ndarray] = {}
        self.arguments: list[np.ndarray] = []

    def generate(self, steps: int) -> RandomGraph:
        """Draw inputs, then ops and patterns, then outputs."""
        for _ in range(int(self.rng.integers(1, 5))):
            self._input()
        names = sorted(name for name, op in REGISTRY.items() if name != "fused" and not op.effect)
        effects = sorted(name for name, op in REGISTRY.items() if op.effect)
        for _ in range(steps):
            if self.rng.random() < 0.45 and self.rules:
                self._pattern(self.rules[int(self.rng.integers(len(self.rules)))].pattern)
            elif self.rng.random() < 0.02:
                self._check(effects)
            else:
                self._sample(names[int(self.rng.integers(len(names)))])
        self._outputs()
        return RandomGraph(self.seed, self.graph, tuple(self.arguments), self.special)

    # -- values ----------------------------------------------------------------------------------

    def _input(self) -> None:
        rank = int(self.rng.integers(0, 4))
        shape = tuple(int(self.rng.choice(SIZES, p=SIZE_WEIGHTS)) for _ in range(rank))
        dtype = (F32, F32, F32, F64, I32, I64, BOOL)[int(self.rng.integers(7))]
        array = self._draw(TensorType(dtype, shape))
        value = self.graph.add_input(TensorType(dtype, shape), f"x{len(self.arguments)}")
        self.arguments.append(array)
        self.values[value] = array

    def _draw(self, type_: TensorType) -> np.ndarray:
        shape = tuple(int(s) for s in type_.shape)  # type: ignore[arg-type]
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

    def _any(self) -> Expr:
        keys = list(self.values)
        recent = keys[-6:] if self.rng.random() < 0.7 else keys
        return self.builder.wrap(recent[int(self.rng.integers(len(recent)))])

    def _emit(self, op: str, operands: Sequence[Expr], **attrs: object) -> tuple[Expr, ...] | None:
        """Add a node and its values; None where its values may not occur."""
        arrays = [self.values[x.value] for x in operands]
        record = REGISTRY[op]
        record.infer(tuple(x.type for x in operands), attrs)
        with np.errstate(all="ignore"):
            results = record.evaluate(arrays, attrs, _Evaluation())
        for result in results:
            if result.size > MAX_ELEMENTS or not (self.special or _finite(result)):
                return None
        made = self.builder.emit(op, operands, **attrs)
        self.values.update((x.value, np.asarray(r)) for x, r in zip(made, results))
        return made

    def _one(self, op: str, *operands: Expr, **attrs: object) -> Expr:
        made = self._emit(op, operands, **attrs)
        if made is None:
            raise _Dropped
        return made[0]

    def _constant(self, value: float, type_: TensorType) -> Expr:
        number = as_scalar(value, type_.dtype)
        return self._one("constant", value=number, dtype=type_.dtype, shape=type_.shape)

    # -- coercion --------------------------------------------------------------------------------

    def _of_type(self, type_: TensorType) -> Expr:
        """A value of a type: one that is there, or another one moved and cast."""
        ready = [v for v in self.values if self.graph.type(v) == type_]
        if ready and self.rng.random() < 0.75:
            return self.builder.wrap(ready[int(self.rng.integers(len(ready)))])
        if self.rng.random() < 0.1:
            return self._constant(float(np.round(self.rng.normal(), 2)), type_)
        x = self._fit(self._any(), tuple(int(s) for s in type_.shape))  # type: ignore[arg-type]
        return x if x.dtype is type_.dtype else self._one("cast", x, dtype=type_.dtype)

    def _fit(self, x: Expr, shape: tuple[int, ...]) -> Expr:
        """`x` as a value of another shape, through a random movement that leads there."""
        old = tuple(int(s) for s in x.shape)  # type: ignore[arg-type]
        if old == shape:
            return x
        if math.prod(old) == math.prod(shape):
            return self._one("reshape", x, shape=shape)
        if len(old) == len(shape) and all(a >= b for a, b in zip(old, shape)):
            zeros, ones = (0,) * len(shape), (1,) * len(shape)
            return self._one("slice", x, start=zeros, stop=shape, step=ones)
        if len(old) == len(shape) and all(a <= b for a, b in zip(old, shape)):
            high = tuple(b - a for a, b in zip(old, shape))
            zeros = (0,) * len(shape)
            return self._one("pad", x, low=zeros, high=high, interior=zeros)
        if len(old) and math.prod(old):
            axes = tuple(range(len(old)))
            if x.dtype.kind == "b":
                x = self._one("reduce_any", x, axes=axes)
            else:
                x = self._one("reduce_max", x, axes=axes)
        elif len(old):
            x = self._constant(1.0, TensorType(x.dtype, ()))
        return self._one("broadcast", x, shape=shape, dims=())

    # -- nodes -----------------------------------------------------------------------------------

    def _sample(self, name: str) -> None:
        samples = REGISTRY[name].samples(self.rng)
        call = samples[int(self.rng.integers(len(samples)))]
        if any(op.size > MAX_ELEMENTS or op.dtype.kind == "c" for op in call.operands):
            return
        for prepare in (None, "positive", "unit"):
            try:
                operands = [self._operand(array, prepare) for array in call.operands]
                if self._emit(name, operands, **call.attrs) is not None:
                    return
            except (IrgradError, _Dropped):
                continue

    def _operand(self, array: np.ndarray, prepare: str | None) -> Expr:
        type_ = TensorType(dtype_of(array.dtype), array.shape)
        if type_.dtype not in (BOOL, I32, I64, F32, F64):
            raise _Dropped
        x = self._of_type(type_)
        if prepare is None or not type_.dtype.is_float:
            return x
        if prepare == "positive":
            half = self._constant(0.5, type_)
            return self._one("add", self._one("mul", self._one("abs", x), half), half)
        return self._one("mul", self._one("sigmoid", x), self._constant(0.9, type_))

    def _check(self, effects: Sequence[str]) -> None:
        for name in effects:
            x = self._any()
            same = self._one("eq", x, x)
            other = self._one("ne", x, x)
            holds = self._one("logical_or", same, other)
            self.graph.effects.append(
                self.graph.add(name, [holds.value], (), (("message", "always true"),))
            )

    def _pattern(self, pattern: Pattern) -> None:
        """Emit what a rule looks for."""
        bound: dict[str, Expr] = {}
        x = self._any()
        try:
            self._instance(pattern, x.type, bound)
        except (IrgradError, _Dropped):
            return

    def _instance(self, pattern: Pattern, type_: TensorType, bound: dict[str, Expr]) -> Expr:
        name = getattr(pattern, "name", "")
        if name and name in bound:
            return bound[name]
        if isinstance(pattern, Var):
            made = self._of_type(type_)
        elif isinstance(pattern, Const):
            choices = (0.5, 2.0, -3.0, 1.0, 0.0, 4.0)
            value = pattern.value
            if value is None:
                value = choices[int(self.rng.integers(len(choices)))]
            made = self._constant(value, type_)
        else:
            made = self._node(pattern, type_, bound)
        if name:
            bound[name] = made
        return made

    def _node(self, pattern: OpPattern, type_: TensorType, bound: dict[str, Expr]) -> Expr:
        """A node of the pattern's op: attributes from a sample, operands from below."""
        name = pattern.ops[int(self.rng.integers(len(pattern.ops)))]
        calls = REGISTRY[name].samples(self.rng)
        call = calls[int(self.rng.integers(len(calls)))]
        if pattern.operands is None:
            operands = [self._operand(array, None) for array in call.operands]
            return self._one(name, *operands, **call.attrs)
        if REGISTRY[name].family == "elementwise" and name not in ("select", "cast"):
            types = [self._accepted(name, type_)] * len(pattern.operands)
        else:
            types = [TensorType(dtype_of(a.dtype), a.shape) for a in call.operands]
        operands = [self._instance(p, t, bound) for p, t in zip(pattern.operands, types)]
        return self._one(name, *operands, **call.attrs)

    def _accepted(self, name: str, type_: TensorType) -> TensorType:
        """The type, with a dtype that the op takes."""
        count = len(REGISTRY[name].samples(self.rng)[0].operands)
        for dtype in (type_.dtype, *_shuffled(self.rng, (F32, I32, BOOL))):
            candidate = TensorType(dtype, type_.shape)
            try:
                REGISTRY[name].infer((candidate,) * count, {})
            except IrgradError:
                continue
            return candidate
        raise _Dropped

    def _outputs(self) -> None:
        read = {v for key in self.graph for v in self.graph[key].operands}
        unread = [v for v in self.values if v not in read and self.graph[v.node].op != "input"]
        chosen = unread[-4:] or list(self.values)[-1:]
        extra = list(self.values)[int(self.rng.integers(len(self.values)))]
        self.graph.outputs = [*chosen, extra] if self.rng.random() < 0.3 else chosen
        self.graph.signature = flat_signature(len(self.graph.inputs), len(self.graph.outputs))
        self.graph.prune()


class _Dropped(Exception):
    """The value would be too large or not finite."""


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all() and (np.abs(array) < 1e6).all())


def _shuffled(rng: np.random.Generator, items: Sequence[DType]) -> list[DType]:
    return [items[int(i)] for i in rng.permutation(len(items))]
