"""The invariants of kernels, checked before a backend trusts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

from ..errors import VerifyError
from ..ir.dims import Size, product
from ..ir.types import DTYPES
from .bounds import is_nonnegative
from .independent import private_buffers, shared_buffer, touched_outside
from .ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    Compound,
    Contract,
    ContractionIndex,
    Every,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    kernel_dims,
)
from .text import statement_text

# Primitives by the kinds of dtypes that their operands may have, with the operand count.
_FLOAT_UNARY = (
    "floor ceil round trunc exp exp2 expm1 log log2 log1p log10 sqrt rsqrt cbrt tanh sigmoid "
    "softplus erf erfc sin cos tan asin acos atan sinh cosh"
)
PRIMITIVES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        **{op: (1, "f") for op in _FLOAT_UNARY.split()},
        **{op: (1, "if") for op in ("neg", "abs", "sign")},
        **{op: (2, "iuf") for op in ("add", "sub", "mul", "floor_divide", "remainder")},
        "power": (2, "if"),
        **{op: (2, "f") for op in ("div", "atan2")},
        **{op: (2, "biuf") for op in ("maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge")},
        **{op: (2, "biu") for op in ("and", "or", "xor")},
        "not": (1, "biu"),
        **{op: (2, "u") for op in ("shl", "shr")},
        "fma": (3, "iuf"),
        "isnan": (1, "biuf"),
        "cast": (1, "biuf"),
        "bitcast": (1, "iuf"),
        "select": (3, "biuf"),
        "index": (1, "iuf"),
        "constant": (0, "biuf"),
    }
)
TO_BOOL = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "isnan"})
REDUCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "sum": "iuf", "prod": "iuf", "max": "biuf", "min": "biuf", "any": "b", "all": "b",
        "argmax": "biuf", "argmin": "biuf",
    }
)  # fmt: skip
READABLE = frozenset({"read", "update", "local"})
WRITABLE = frozenset({"write", "update", "local"})


def verify_kernel(kernel: Kernel) -> None:
    """Check a kernel: names, dtypes, accesses within their buffers and allowed, loops well nested,
    iterations of parallel ones independent but for local buffers that each stores before it reads.

    Named sizes are any integers >= 0 for which each access is in a loop that runs at all; an access
    that cannot be proved to lie in its buffer for all of them fails. Raises VerifyError with the
    statement at fault.
    """
    named = [b.name for b in kernel.buffers]
    if len(set(named)) < len(named):
        raise VerifyError(f"kernel {kernel.name}: expected each buffer name once, got {named}")
    dims = kernel_dims(kernel.buffers, kernel.body)
    if dims != kernel.dims:
        raise VerifyError(
            f"kernel {kernel.name}: expected its dims to be {list(dims)}, got {list(kernel.dims)}"
        )
    for buffer in kernel.buffers:
        if buffer.access not in READABLE | WRITABLE or buffer.dtype not in DTYPES:
            raise VerifyError(
                f"kernel {kernel.name}: expected a known access and dtype, got {buffer}"
            )
    verifier = _Verifier(kernel, {b.name: b for b in kernel.buffers})
    verifier.body(kernel.body, {}, {})


Scalars = dict[str, str]
Extents = dict[str, Size]


@dataclass(slots=True)
class _Verifier:
    """Walks the statements; `seen` are all scalars of the kernel, each defined once."""

    kernel: Kernel
    buffers: Mapping[str, Buffer]
    seen: set[str] = field(default_factory=set)

    def body(self, body: tuple[Statement, ...], scalars: Scalars, extents: Extents) -> None:
        """Check statements in order; `scalars` are the known ones by dtype, and grow."""
        for statement in body:
            match statement:
                case Let():
                    self._let(statement, scalars, extents)
                case Load():
                    self._access(statement, statement.dtype, READABLE, extents)
                    self._define(statement, statement.name, statement.dtype, scalars)
                case Store():
                    dtype = self._scalar(statement, statement.value, scalars)
                    self._access(statement, dtype, WRITABLE, extents)
                case Accumulate():
                    dtype = self._scalar(statement, statement.value, scalars)
                    self._access(statement, dtype, READABLE & WRITABLE, extents)
                    self._reduction(statement, statement.kind, dtype)
                    if statement.kind.startswith("arg"):
                        self._fail(statement, "a kind that accumulates", statement.kind)
                case Check():
                    if self._scalar(statement, statement.value, scalars) != "bool":
                        self._fail(statement, "a bool", scalars[statement.value])
                    self._range(statement, statement.at, extents)
                case For() | Reduce():
                    self._loop(statement, scalars, extents)
                case Every():
                    if extents.get(statement.index) != statement.extent or statement.block < 1:
                        self._fail(statement, "the index and extent of a loop around", statement)
                    self.body(statement.body, dict(scalars), extents)
                case Contract():
                    self._contract(statement, scalars, extents)

    def _fail(self, statement: Statement, expected: str, got: object) -> NoReturn:
        raise VerifyError(
            f"kernel {self.kernel.name}: expected {expected}, got {got}\n"
            f"    {statement_text(statement)}"
        )

    def _define(self, statement: Statement, name: str, dtype: str, scalars: Scalars) -> None:
        if name in self.seen:
            self._fail(statement, "a name that is not taken", name)
        if dtype not in DTYPES:
            self._fail(statement, "a known dtype", dtype)
        self.seen.add(name)
        scalars[name] = dtype

    def _scalar(self, statement: Statement, name: str, scalars: Scalars) -> str:
        if name not in scalars:
            self._fail(statement, "a scalar that is known here", name)
        return scalars[name]

    def _let(self, let: Let, scalars: Scalars, extents: Extents) -> None:
        if let.op not in PRIMITIVES:
            self._fail(let, "a kernel primitive", let.op)
        count, kinds = PRIMITIVES[let.op]
        if len(let.operands) != count:
            self._fail(let, f"{count} operands", len(let.operands))
        if (let.value is not None) != (let.op == "constant"):
            self._fail(let, "a value for a constant alone", repr(let.value))
        if let.op == "index":
            if let.operands[0] not in extents:
                self._fail(let, "the index of a loop around", let.operands[0])
        elif let.op != "constant":
            self._operands(let, kinds, [self._scalar(let, x, scalars) for x in let.operands])
        self._define(let, let.name, let.dtype, scalars)
        if DTYPES[let.dtype].kind not in (kinds + "b" if let.op in TO_BOOL else kinds):
            self._fail(let, f"a result of kind {kinds}", let.dtype)

    def _operands(self, let: Let, kinds: str, dtypes: list[str]) -> None:
        if let.op == "select":
            if dtypes[0] != "bool":
                self._fail(let, "a bool to select by", dtypes[0])
            dtypes = dtypes[1:]
        if len(set(dtypes)) > 1:
            self._fail(let, "operands of one dtype", ", ".join(dtypes))
        if DTYPES[dtypes[0]].kind not in kinds:
            self._fail(let, f"operands of kind {kinds}", dtypes[0])
        if let.op == "bitcast":
            if DTYPES[let.dtype].itemsize != DTYPES[dtypes[0]].itemsize:
                self._fail(let, f"a result as wide as {dtypes[0]}", let.dtype)
            return
        result = "bool" if let.op in TO_BOOL else dtypes[0]
        if let.op != "cast" and let.dtype != result:
            self._fail(let, f"the result dtype {result}", let.dtype)

    def _access(
        self,
        statement: Load | Store | Accumulate,
        dtype: str,
        allowed: frozenset[str],
        extents: Extents,
    ) -> None:
        buffer = self.buffers.get(statement.buffer)
        if buffer is None:
            self._fail(statement, "a buffer of the kernel", statement.buffer)
        if buffer.access not in allowed:
            self._fail(statement, f"access {' or '.join(sorted(allowed))}", buffer.access)
        if buffer.dtype != dtype:
            self._fail(statement, f"dtype {buffer.dtype}", dtype)
        self._within(statement, buffer, statement.at, extents)

    def _within(self, statement: Statement, buffer: Buffer, at: Affine, extents: Extents) -> None:
        found = self._range(statement, at, extents)
        if found is None:
            return
        low, high = found
        known = tuple(extents.values())
        if not (is_nonnegative(low, known) and is_nonnegative(buffer.size - 1 - high, known)):
            self._fail(statement, f"positions in 0..{buffer.size - 1}", f"{low}..{high}")

    def _range(
        self, statement: Statement, at: Affine, extents: Extents
    ) -> tuple[Size, Size] | None:
        """(least, largest) value of an affine expression; None where a loop is empty."""
        indices = [name for name, _ in at.terms]
        if indices != sorted(set(indices)) or any(c == 0 for _, c in at.terms):
            self._fail(statement, "sorted terms with coefficients other than 0", at)
        if any(extent == 0 for extent in extents.values()):
            return None
        known = tuple(extents.values())
        low = high = at.constant
        for name, coefficient in at.terms:
            if name not in extents:
                self._fail(statement, "the index of a loop around", name)
            reach = coefficient * (extents[name] - 1)
            if is_nonnegative(coefficient, known):
                high = high + reach
            elif is_nonnegative(coefficient * -1, known):
                low = low + reach
            else:
                self._fail(statement, f"a coefficient of {name} of one sign", coefficient)
        return low, high

    def _loop(self, loop: For | Reduce, scalars: Scalars, extents: Extents) -> None:
        self._new_index(loop, loop.index, loop.extent, extents)
        inner = dict(scalars)
        if isinstance(loop, Reduce) and any(
            isinstance(s, Compound) for s in loop.body
        ):
            self._fail(loop, "no loop within a reduction", "one")
        self.body(loop.body, inner, {**extents, loop.index: loop.extent})
        if isinstance(loop, For) and loop.parallel:
            self._independent(loop)
        for result in loop.results if isinstance(loop, Reduce) else ():
            dtype = self._scalar(loop, result.value, inner)
            if dtype != result.dtype:
                self._fail(loop, f"a reduction of {dtype}", result.dtype)
            self._reduction(loop, result.kind, dtype)
            position = result.kind.startswith("arg")
            self._define(loop, result.name, "i64" if position else dtype, scalars)

    def _independent(self, loop: For) -> None:
        kernel = self.kernel
        private = frozenset(
            name
            for name in private_buffers(loop, kernel.buffers)
            if not touched_outside(kernel.body, loop, name)
        )
        shared = shared_buffer(loop, loop.index, kernel.buffers, private)
        if shared is not None:
            self._fail(loop, "iterations that write what no other touches", shared)

    def _new_index(self, statement: Statement, name: str, extent: Size, extents: Extents) -> None:
        if name in extents:
            self._fail(statement, "an index name that is not taken", name)
        if isinstance(extent, int) and extent < 0:
            self._fail(statement, "an extent of 0 or more", extent)

    def _reduction(self, statement: Statement, kind: str, dtype: str) -> None:
        if kind not in REDUCTIONS:
            self._fail(statement, f"one of {', '.join(REDUCTIONS)}", kind)
        if DTYPES[dtype].kind not in REDUCTIONS[kind]:
            self._fail(statement, f"a value of kind {REDUCTIONS[kind]}", dtype)

    def _contract(self, contract: Contract, scalars: Scalars, extents: Extents) -> None:
        if extents:
            self._fail(contract, "a contraction outside of loops", "one within a loop")
        groups = {"batch": contract.batch, "m": contract.m, "n": contract.n, "k": contract.k}
        known: Extents = {}
        for group in groups.values():
            for index in group:
                self._new_index(contract, index.name, index.extent, known)
                known[index.name] = index.extent
        self._side(contract, contract.lhs, contract.lhs_at, known, contract.n)
        self._side(contract, contract.rhs, contract.rhs_at, known, contract.m)
        inner = {index.name: index.extent for index in contract.batch}
        for name, group in ((contract.row, contract.m), (contract.column, contract.n)):
            self._new_index(contract, name, 1, known)
            inner[name] = product(index.extent for index in group)
        values = dict(scalars)
        self._define(contract, contract.result, contract.dtype, values)
        if any(isinstance(s, Compound) for s in contract.body):
            self._fail(contract, "no loop after a contraction's sum", "one")
        self.body(contract.body, values, inner)

    def _side(
        self,
        contract: Contract,
        name: str,
        at: Affine,
        extents: Extents,
        other: tuple[ContractionIndex, ...],
    ) -> None:
        buffer = self.buffers.get(name)
        if buffer is None or buffer.access not in READABLE:
            self._fail(contract, "buffers that can be read", name)
        if buffer.dtype != contract.dtype or DTYPES[buffer.dtype].kind not in "iuf":
            self._fail(contract, f"operands of {contract.dtype}", buffer.dtype)
        if any(at.coefficient(index.name) for index in other):
            self._fail(contract, "each operand without the other's indices", at)
        self._within(contract, buffer, at, extents)
