"""Random kernels: nests of loops, every kind of statement, emitted against their slow meaning."""

from __future__ import annotations

import numpy as np
from kernel_cases import (
    Body,
    Runner,
    assert_same,
    copy_arrays,
    processors,
    random_arrays,
    same_bits,
)

from irgrad.kernel.evaluate import evaluate_kernel
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    For,
    Kernel,
    Reduce,
    Reduction,
    Statement,
    affine,
)

DTYPES = ("f32", "f64", "i32", "i64", "bool")
EXTENTS = (1, 2, 3, 4, 5, 9, 16, 17, 30, 33, 70)
UNARY = {"f": ("neg", "abs", "sqrt", "floor"), "i": ("neg", "abs", "sign"), "b": ("not",)}
BINARY = {
    "f": ("add", "sub", "mul", "div", "maximum", "minimum", "remainder"),
    "i": ("add", "sub", "mul", "maximum", "minimum", "floor_divide", "remainder", "xor"),
    "b": ("and", "or", "xor", "maximum"),
}
KINDS = {
    "f": ("sum", "prod", "max", "min", "argmax", "argmin"),
    "i": ("sum", "prod", "max", "min", "argmax", "argmin"),
    "b": ("any", "all", "max", "min", "argmax", "argmin"),
}


class Maker:
    """Makes one random kernel; buffers are made as large as the accesses need."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.body = Body()
        self.buffers: list[Buffer] = []
        self.budget = 4000

    def pick(self, options: object) -> object:
        """One of the options."""
        options = list(options)  # type: ignore[call-overload]
        return options[self.rng.integers(len(options))]

    def buffer(self, dtype: str, at: Affine, extents: dict[str, int], access: str) -> str:
        """A new buffer that holds all positions of an access."""
        size = at.constant + 1 + sum(c * (extents[n] - 1) for n, c in at.terms if c > 0)
        name = f"{access[0]}{len(self.buffers)}"
        self.buffers.append(Buffer(name, dtype, size, access))
        return name

    def read_at(self, extents: dict[str, int]) -> Affine:
        """Any affine expression that is not negative."""
        terms = {n: int(self.pick((0, 0, 1, 1, 1, -1, 2, 3, 7))) for n in extents}
        low = sum(c * (extents[n] - 1) for n, c in terms.items() if c < 0)
        return affine(int(self.rng.integers(3)) - low, terms)

    def write_at(self, extents: dict[str, int]) -> Affine:
        """A different position for every point, in a random order of the loops."""
        stride, terms, low = int(self.pick((1, 1, 1, 2, 3))), {}, 0
        names = list(extents)
        if self.rng.random() < 0.4:
            self.rng.shuffle(names)
        for name in reversed(names):
            sign = int(self.pick((1, 1, 1, -1)))
            terms[name] = sign * stride
            low += min(0, sign * stride * (extents[name] - 1))
            stride *= extents[name]
        return affine(-low, terms)

    def expression(self, extents: dict[str, int], known: dict[str, str]) -> str:
        """Statements that compute something from a few loads and known scalars."""
        b = self.body
        dtype = str(self.pick(DTYPES))
        values = [x for x, d in known.items() if d == dtype]
        for _ in range(int(self.rng.integers(1, 3))):
            at = self.read_at(extents)
            source = self.buffer(dtype, at, extents, "read")
            values.append(b.load(source, dtype, at.constant, **dict(at.terms)))
        kind = dtype[0]
        if kind != "b" and extents and self.rng.random() < 0.3:
            values.append(b.let("index", str(self.pick(extents)), dtype=dtype))
        for _ in range(int(self.rng.integers(1, 5))):
            x, y = str(self.pick(values)), str(self.pick(values))
            choice = self.rng.random()
            if choice < 0.25:
                values.append(b.let(str(self.pick(UNARY[kind])), x))
            elif choice < 0.75:
                values.append(b.let(str(self.pick(BINARY[kind])), x, y))
            else:
                less = b.let("lt", x, y, dtype="bool")
                values.append(b.let("select", less, y, x))
        value = values[-1]
        if self.rng.random() < 0.2:
            value = b.let("cast", value, dtype=str(self.pick(("f32", "f64", "i32", "bool"))))
        return value

    def statements(self, extents: dict[str, int], known: dict[str, str], inner: bool) -> None:
        """A value, and what is done with it: a store or an accumulation."""
        value = self.expression(extents, known)
        dtype = self.body.dtypes[value]
        if extents and self.rng.random() < 0.35:
            kept = {n: e for n, e in extents.items() if self.rng.random() < 0.6}
            at = self.write_at(kept)
            kind = str(self.pick(k for k in KINDS[dtype[0]] if not k.startswith("arg")))
            self.body.add(Accumulate(kind, self.buffer(dtype, at, extents, "update"), at, value))
            return
        at = self.write_at(extents)
        name = self.buffer(dtype, at, extents, "write")
        self.body.store(name, value, at.constant, **dict(at.terms))

    def nested(self, make: object) -> tuple[Statement, ...]:
        """The statements that `make` adds."""
        outer, self.body.statements = self.body.statements, []
        make()  # type: ignore[operator]
        inner, self.body.statements = self.body.statements, outer
        return tuple(inner)

    def block(self, extents: dict[str, int], known: dict[str, str], depth: int) -> None:
        """A few statements at one level."""
        for _ in range(int(self.rng.integers(1, 3))):
            size = int(np.prod(list(extents.values()) or [1]))
            extent = int(self.pick(EXTENTS))
            choice = self.rng.random()
            if depth == 0 or size * extent > self.budget or choice < 0.2:
                self.statements(extents, known, False)
                continue
            index = f"i{len(extents)}"
            inner = {**extents, index: extent}
            if choice < 0.5:
                self.reduce(index, inner, known)
                continue
            body = self.nested(lambda inner=inner: self.block(inner, dict(known), depth - 1))
            # Accumulations make a loop one whose iterations meet.
            self.body.add(For(index, extent, body, not _accumulates(body)))

    def reduce(self, index: str, extents: dict[str, int], known: dict[str, str]) -> None:
        """A reduction, whose results the statements after it may use."""
        results: list[Reduction] = []

        def make() -> None:
            for _ in range(int(self.rng.integers(1, 3))):
                value = self.expression(extents, known)
                dtype = self.body.dtypes[value]
                kind = str(self.pick(KINDS[dtype[0]]))
                results.append(Reduction(f"r{index}_{len(self.body.dtypes)}", kind, value, dtype))
                self.body.dtypes[results[-1].name] = "i64" if kind.startswith("arg") else dtype
            if self.rng.random() < 0.4:
                self.statements(extents, known, True)

        body = self.nested(make)
        self.body.add(Reduce(index, extents[index], body, tuple(results)))
        for r in results:
            known[r.name] = self.body.dtypes[r.name]

    def kernel(self, name: str) -> Kernel:
        """The kernel."""
        self.block({}, {}, 3)
        return Kernel(name, tuple(self.buffers), self.body.body)


def _accumulates(body: tuple[Statement, ...]) -> bool:
    return any(
        isinstance(s, Accumulate)
        or (isinstance(s, For | Reduce) and _accumulates(s.body))
        for s in body
    )


def test_random_kernels() -> None:
    seeds = [1000 * block + i for block in range(3) for i in range(40)]
    kernels = [Maker(seed).kernel(f"random_{seed}") for seed in seeds]
    given = [random_arrays(k, seed % 1000, seed % 1000 % 3 == 0) for k, seed in zip(kernels, seeds)]
    wanted = [copy_arrays(arrays) for arrays in given]
    for kernel, arrays in zip(kernels, wanted, strict=True):
        evaluate_kernel(kernel, arrays)
    first = None
    for cpu in processors():
        found = [copy_arrays(arrays) for arrays in given]
        Runner(kernels, cpu).run(found)
        for kernel, a, b in zip(kernels, found, wanted, strict=True):
            assert_same(kernel, a, b)
        first = first or found
        for kernel, a, b in zip(kernels, found, first, strict=True):
            assert same_bits(a, b, kernel), f"{kernel.name} at {cpu.vector_bytes} bytes"
