"""Kernel IR: loops over index spaces, affine loads and stores, scalar expressions, reductions and
contractions, with no vector width and no notion of threads. Each backend schedules it.

A kernel is a sequence of statements over named buffers, all flat and contiguous. Scalar values are
named once (SSA) and live in the body that defines them and the bodies nested in it. The results of
a Reduce live after it, in the body that holds the Reduce.

Meaning of a reduction, the same in every backend: lane l of L (64 lanes for types of up to 4 bytes,
32 for 8 bytes) combines elements l, l+L, l+2L, ... in order, starting from its first element; then
lanes are combined pairwise, lane l with lane l + w for w = L/2, L/4, ..., 1, skipping lanes that
have no element. An empty reduction gives its identity (0, 1, False, True).
Meaning of an Accumulate: combine in the order of the loops that hold it; the buffer's elements are
set before by an explicit Store.

Sizes, extents, offsets and coefficients are integers or polynomials of named sizes (`ir.dims`), the
numbers behind which a call gives. A symbolic extent may be 0 or 1, and a symbolic coefficient 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..ir.dims import Dim, Size, names
from ..ir.floats import exact_text
from ..ir.location import Location
from ..ir.shown import how_many, short, shown_html


@dataclass(frozen=True, slots=True)
class Affine:
    """An element offset: constant + sum of coefficient * index; terms have coefficients other than
    the number 0 and are sorted by index name."""

    constant: Size = 0
    terms: tuple[tuple[str, Size], ...] = ()

    def coefficient(self, index: str) -> Size:
        """The coefficient of an index, 0 where it does not occur."""
        return next((c for name, c in self.terms if name == index), 0)

    def __str__(self) -> str:
        parts = [name if c == 1 else f"{factor_text(c)}*{name}" for name, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


def factor_text(size: Size) -> str:
    """A size as a factor of a product."""
    plain = isinstance(size, int) or len(size.terms) == 1
    return str(size) if plain else f"({size})"


def affine(constant: Size, coefficients: dict[str, Size]) -> Affine:
    """The canonical affine expression."""
    return Affine(constant, tuple(sorted((n, c) for n, c in coefficients.items() if c != 0)))


@dataclass(frozen=True, slots=True)
class Buffer:
    """A parameter or local array of a kernel.

    access: "read", "write", "update" (read and written) or "local" (scratch that the caller of the
    kernel provides, undefined at entry). size: in elements.
    """

    name: str
    dtype: str
    size: Size
    access: str


def literal_text(value: object) -> str:
    """A text that constants of one dtype share if they have the same bits."""
    return exact_text(value) if isinstance(value, float) and math.isnan(value) else repr(value)


@dataclass(frozen=True, slots=True)
class Let:
    """name = op(operands): a kernel primitive, with the dtype of the result.

    op "constant" has the attribute value, which may be a named size, and no operands; op "index"
    gives a loop's index as dtype (its one operand is the index name); op "cast" converts to dtype
    (float to int saturates, NaN gives 0; to bool is x != 0). literal: the value as text, by which
    two of them are equal: 0.0 and -0.0 differ, and so do NaNs of other bits. origin: the source
    line that it computes, which is no part of its meaning.
    """

    name: str
    op: str
    operands: tuple[str, ...]
    dtype: str
    value: bool | int | float | Dim | None = field(default=None, compare=False)
    literal: str = field(init=False, repr=False)
    origin: Location | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "literal", literal_text(self.value))


def literal_of(let: Let) -> bool | int | float:
    """The value of a constant of a kernel without named sizes."""
    assert let.value is not None and not isinstance(let.value, Dim), f"a named size: {let}"
    return let.value


@dataclass(frozen=True, slots=True)
class Load:
    """name = buffer[at]."""

    name: str
    buffer: str
    at: Affine
    dtype: str


@dataclass(frozen=True, slots=True)
class Store:
    """buffer[at] = value."""

    buffer: str
    at: Affine
    value: str


@dataclass(frozen=True, slots=True)
class Accumulate:
    """buffer[at] = combine(buffer[at], value); kind: "sum", "prod", "max", "min", "any", "all"."""

    kind: str
    buffer: str
    at: Affine
    value: str


@dataclass(frozen=True, slots=True)
class Check:
    """Record a failure of check number `check` at flat position `at` where value is false; the
    smallest (check, position) wins and later statements still run."""

    value: str
    check: int
    at: Affine


@dataclass(frozen=True, slots=True)
class Reduction:
    """One result of a Reduce: name = combination over the loop of the body's value.

    kind: as in Accumulate, or "argmax", "argmin" (i64 index of the first extreme element, a NaN
    counts as extreme). dtype: of the value that is combined; argmax and argmin give i64.
    """

    name: str
    kind: str
    value: str
    dtype: str


@dataclass(frozen=True, slots=True)
class For:
    """Run body for index = 0 .. extent-1. parallel: no iteration touches what another writes."""

    index: str
    extent: Size
    body: tuple[Statement, ...]
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Every:
    """Run body in the first iteration of each block of the loop over index, or in the last one.

    Blocks are `block` iterations long, the last one shorter where `extent`, which is that of the
    loop, is no multiple.
    """

    index: str
    extent: Size
    block: int
    last: bool
    body: tuple[Statement, ...]

    def runs_at(self, index: int, extent: int) -> bool:
        """Whether the body runs in an iteration of so many."""
        if self.last:
            return index % self.block == self.block - 1 or index == extent - 1
        return index % self.block == 0


@dataclass(frozen=True, slots=True)
class Reduce:
    """Run body for index = 0 .. extent-1 and combine values; the body may also store."""

    index: str
    extent: Size
    body: tuple[Statement, ...]
    results: tuple[Reduction, ...]


@dataclass(frozen=True, slots=True)
class ContractionIndex:
    """An index of a contraction with its extent."""

    name: str
    extent: Size


@dataclass(frozen=True, slots=True)
class Contract:
    """For every batch, m and n point: result = sum over k of lhs[lhs_at] * rhs[rhs_at], then body.

    Each group of indices is row-major. lhs_at uses batch, m and k indices, rhs_at batch, n and k.
    Body statements use `result`, the batch indices, and `row` and `column`: the flattened m and n
    positions. Sums over k are in order, in panels of 256 that each start from 0 and are added up
    from the first on, each step one fused multiply-add for floats.
    """

    result: str
    dtype: str
    batch: tuple[ContractionIndex, ...]
    m: tuple[ContractionIndex, ...]
    n: tuple[ContractionIndex, ...]
    k: tuple[ContractionIndex, ...]
    lhs: str
    lhs_at: Affine
    rhs: str
    rhs_at: Affine
    row: str
    column: str
    body: tuple[Statement, ...]


Compound = For | Every | Reduce | Contract
Statement = Let | Load | Store | Accumulate | Check | Compound


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled unit of work.

    buffers: parameters in order, then locals. name: unique in its program. origin: source lines of
    the operations inside. flops and bytes: static counts of floating-point operations and of bytes
    read and written at least once. dims: the names that its sizes depend on, in order. text of
    `body` alone (names canonical) identifies equal kernels.
    """

    name: str
    buffers: tuple[Buffer, ...]
    body: tuple[Statement, ...]
    origin: tuple[Location, ...] = ()
    flops: Size = 0
    bytes: Size = 0
    dims: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Kernel({short(self.name)}, {how_many(len(self.buffers), 'buffer')})"

    def __str__(self) -> str:
        from .text import print_kernel  # the text needs this module's types

        return print_kernel(self)

    def _repr_html_(self) -> str:
        """Its text in a notebook, with source lines."""
        return shown_html(self)

    def buffer(self, name: str) -> Buffer:
        """The buffer of a name."""
        return next(b for b in self.buffers if b.name == name)


def nested(statement: Statement) -> tuple[Statement, ...]:
    """The body of a statement that has one, else ()."""
    return statement.body if isinstance(statement, Compound) else ()


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """All statements, outer before inner, in order."""
    for statement in body:
        yield statement
        yield from walk(nested(statement))


def kernel_dims(buffers: tuple[Buffer, ...], body: tuple[Statement, ...]) -> tuple[str, ...]:
    """The names that the sizes of a kernel depend on, sorted."""
    found = set[str]()
    for size in (*(b.size for b in buffers), *(s for x in walk(body) for s in _sizes(x))):
        found |= names(size)
    return tuple(sorted(found))


def _sizes(statement: Statement) -> Iterator[Size]:
    """The sizes that a statement holds itself."""
    match statement:
        case Let():
            if isinstance(statement.value, Dim):
                yield statement.value
        case For() | Every() | Reduce():
            yield statement.extent
        case Contract():
            groups = (statement.batch, statement.m, statement.n, statement.k)
            yield from (index.extent for group in groups for index in group)
            yield from _affine_sizes(statement.lhs_at)
            yield from _affine_sizes(statement.rhs_at)
        case Load() | Store() | Accumulate() | Check():
            yield from _affine_sizes(statement.at)


def _affine_sizes(at: Affine) -> Iterator[Size]:
    yield at.constant
    yield from (coefficient for _, coefficient in at.terms)


IDENTITY = {"sum": 0, "prod": 1, "any": False, "all": True}


PANEL_LENGTH = 256  # terms of a contraction's sum that are added up before they join the others


def lanes(dtype_bytes: int) -> int:
    """Number of logical lanes of a reduction over elements of that size."""
    return 64 if dtype_bytes <= 4 else 32
