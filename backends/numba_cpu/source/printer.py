"""One kernel as one Python function over flat arrays.

Loops are Python loops over ints, scalars carry the names of the kernel IR and its dtypes, constants
stand where they are used. A reduction keeps the logical lanes that the kernel IR fixes in an array
and combines them by the fixed tree; a contraction adds panels of 256 products. Named sizes are
further parameters, ints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from irgrad.backends.common.formulas.table import FUNCTIONS
from irgrad.backends.common.neutral import neutral_value
from irgrad.backends.common.scalar_source import expression, literal, type_name
from irgrad.ir.dims import Dim, Size, lower_bound, product
from irgrad.ir.location import Location
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import (
    IDENTITY,
    PANEL_LENGTH,
    Accumulate,
    Affine,
    Check,
    Contract,
    ContractionIndex,
    Every,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
    kernel_dims,
    literal_of,
    walk,
)
from irgrad.kernel.ir import lanes as logical_lanes

from .names import Identifiers
from .sizes import SizeTexts

COMBINE: Mapping[str, str] = {
    "sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or", "all": "and",
}  # fmt: skip
FAILURES = "failures"
ORIGIN_LENGTH = 88


@dataclass(frozen=True, slots=True)
class KernelSource:
    """A kernel as source.

    text: the function, without a decorator. parameters: the buffers in order, the record of failed
    checks where `checks`, the named sizes; dtypes: of the buffers. dims: the names of those sizes,
    all that the function itself depends on.
    """

    name: str
    text: str
    parameters: tuple[str, ...]
    dtypes: tuple[str, ...]
    checks: bool
    dims: tuple[str, ...]


def kernel_source(kernel: Kernel, name: str) -> KernelSource:
    """The function `name` of a kernel: `(buffers..., [failures], sizes...)`, flat arrays and ints.

    Raises LoweringError for a primitive that a dtype does not have.
    """
    names = Identifiers((name,))
    parameters = [names.of(buffer.name) for buffer in kernel.buffers]
    checks = any(isinstance(s, Check) for s in walk(kernel.body))
    dims = kernel_dims((), kernel.body)
    identifiers = {dim: names.fresh(dim) for dim in dims}
    parameters += [*([FAILURES] if checks else []), *identifiers.values()]
    printer = _Printer(kernel, names, SizeTexts(identifiers))
    printer.body(kernel.body)
    dtypes = tuple(buffer.dtype for buffer in kernel.buffers)
    inside = [*_docstring(kernel), *printer.scratch, *printer.lines] or ["    pass"]
    text = "\n".join([f"def {name}({', '.join(parameters)}):", *inside])
    return KernelSource(name, text, tuple(parameters), dtypes, checks, dims)


def _docstring(kernel: Kernel) -> list[str]:
    """The source lines that a kernel computes, the main one first."""
    origins = (_origin(location) for location in kernel.origin)
    lines = [text.replace("\\", "\\\\").replace('"', "'") for text in origins]
    if len(lines) <= 1:
        return [f'    """{line}"""' for line in lines]
    return [f'    """{lines[0]}', *(f"    {line}" for line in lines[1:]), '    """']


def _origin(location: Location) -> str:
    """A location and its line, as one line without characters that could end a comment."""
    source = location.source()
    text = f"{location}: {source}" if source else str(location)
    if len(text) > ORIGIN_LENGTH:
        text = f"{text[: ORIGIN_LENGTH - 3]}..."
    return "".join(c if c.isprintable() else " " for c in text)


class _Printer:
    """Prints the statements of one kernel; `scratch` are lines that come first."""

    def __init__(self, kernel: Kernel, names: Identifiers, sizes: SizeTexts) -> None:
        self.names = names
        self.sizes = sizes
        self.lines: list[str] = []
        self.scratch: list[str] = []
        self.depth = 1
        self.dtypes: dict[str, str] = {}
        self.buffers = {buffer.name: buffer.dtype for buffer in kernel.buffers}
        # Constants and indices by what stands for them.
        self.texts: dict[str, str] = {}
        self.origin = kernel.origin[0] if len(kernel.origin) == 1 else None

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A line that ends in a colon and what is printed below it; no line where it is empty."""
        if not head:
            yield
            return
        self.line(head)
        before = len(self.lines)
        self.depth += 1
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1

    def body(self, body: tuple[Statement, ...]) -> None:
        """Print statements in order."""
        for statement in body:
            match statement:
                case Let():
                    self._let(statement)
                case Load():
                    self.dtypes[statement.name] = statement.dtype
                    place = self._element(statement.buffer, statement.at)
                    self.line(f"{self.names.of(statement.name)} = {place}")
                case Store():
                    place = self._element(statement.buffer, statement.at)
                    self.line(f"{place} = {self._value(statement.value)}")
                case Accumulate():
                    place = self._element(statement.buffer, statement.at)
                    dtype = self.buffers[statement.buffer]
                    value = self._value(statement.value)
                    self.line(f"{place} = {self._combined(statement.kind, dtype, place, value)}")
                case Check():
                    at = self._offset(statement.at)
                    with self.block(f"if not {self._value(statement.value)}:"):
                        self.line(f"record_failure({FAILURES}, {statement.check}, {at})")
                case For():
                    with self._loop(statement.index, statement.extent):
                        self.body(statement.body)
                case Every():
                    with self.block(f"if {self._turn(statement)}:"):
                        self.body(statement.body)
                case Reduce():
                    self._reduce(statement)
                case Contract():
                    self._contract(statement)

    def _turn(self, every: Every) -> str:
        """Whether an iteration is the first, or the last, of a block."""
        index = self.names.of(every.index)
        if not every.last:
            return f"{index} % {every.block} == 0"
        end = self.sizes.of(every.extent - 1)
        return f"{index} % {every.block} == {every.block - 1} or {index} == {end}"

    def _loop(self, index: str, extent: Size) -> AbstractContextManager[None]:
        return self.block(f"for {self.names.of(index)} in range({self.sizes.of(extent)}):")

    # -- scalars ---------------------------------------------------------------------------------

    def _value(self, name: str) -> str:
        return self.texts.get(name) or self.names.of(name)

    def _expression(self, op: str, operands: tuple[str, ...], source: str, dtype: str) -> str:
        """The expression of a primitive on texts of one dtype."""
        dtypes = dict.fromkeys(operands, source)
        return expression(Let("", op, operands, dtype), dtypes, FUNCTIONS, _ignore)

    def _combined(self, kind: str, dtype: str, a: str, b: str) -> str:
        return self._expression(COMBINE[kind], (a, b), dtype, dtype)

    def _let(self, let: Let) -> None:
        self.dtypes[let.name] = let.dtype
        if let.op == "constant":
            self.texts[let.name] = self._constant(let)
            return
        if let.origin is not None and let.origin != self.origin:
            self.origin = let.origin
            self.line(f"# {_origin(let.origin)}")
        operands = tuple(map(self._value, let.operands))
        dtypes = {
            text: self.dtypes.get(name, "i64")
            for text, name in zip(operands, let.operands, strict=True)
        }
        text = Let("", let.op, operands, let.dtype)
        self.line(f"{self.names.of(let.name)} = {expression(text, dtypes, FUNCTIONS, _ignore)}")

    def _constant(self, let: Let) -> str:
        if isinstance(let.value, Dim):
            return f"{type_name(let.dtype)}({self.sizes.of(let.value)})"
        return literal(literal_of(let), let.dtype)

    def _offset(self, at: Affine) -> str:
        named = Affine(at.constant, tuple((self.names.of(n), c) for n, c in at.terms))
        return self.sizes.offset(named)

    def _element(self, buffer: str, at: Affine) -> str:
        return f"{self.names.of(buffer)}[{self._offset(at)}]"

    # -- reductions ------------------------------------------------------------------------------

    def _reduce(self, loop: Reduce) -> None:
        """Lanes of a length that the loop fills, each lane in its own place of an array."""
        for result in loop.results:
            self.dtypes[result.name] = "i64" if _is_position(result) else result.dtype
        if loop.extent == 0:
            for result in loop.results:
                self.line(f"{self.names.of(result.name)} = {_empty(result)}")
            return
        arrays = [self._lane_arrays(result, loop.extent) for result in loop.results]
        for result, (values, *_) in zip(loop.results, arrays, strict=True):
            if not _fits(loop.extent, result) and not _is_position(result):
                start = literal(neutral_value(result.kind, result.dtype), result.dtype)
                self.line(f"{values}[:] = {start}")
        with self._loop(loop.index, loop.extent):
            self.body(loop.body)
            for result, names in zip(loop.results, arrays, strict=True):
                self._take_in(loop, result, names)
        for result, names in zip(loop.results, arrays, strict=True):
            self.line(f"{self.names.of(result.name)} = {self._over_lanes(loop, result, names)}")

    def _over_lanes(self, loop: Reduce, result: Reduction, names: tuple[str, ...]) -> str:
        """The tree over the lanes that have an element, and what nothing gives."""
        function, extent = f"{_bool_kind(result)}_of_lanes", self.sizes.of(loop.extent)
        if isinstance(loop.extent, int):
            return f"{function}({', '.join(names)})"
        value = f"{function}({', '.join(f'{name}[:{extent}]' for name in names)})"
        if (lower_bound(loop.extent) or 0) > 0:
            return value
        return f"{value} if {extent} > 0 else {_empty(result)}"

    def _lane_arrays(self, result: Reduction, extent: Size) -> tuple[str, ...]:
        """The arrays of a reduction: its lanes, and where they came from."""
        count = extent if _fits(extent, result) else _lane_count(result)
        names = [(f"{result.name}_lanes", result.dtype)]
        if _is_position(result):
            names.append((f"{result.name}_positions", "i64"))
        found = []
        for wanted, dtype in names:
            name = self.names.fresh(wanted)
            self.scratch.append(f"    {name} = np.empty({count}, {type_name(dtype)})")
            found.append(name)
        return tuple(found)

    def _take_in(self, loop: Reduce, result: Reduction, names: tuple[str, ...]) -> None:
        """Combine the value of an iteration into its lane."""
        index, count = self.names.of(loop.index), _lane_count(result)
        fits = _fits(loop.extent, result)
        lane = index if fits else f"{index} % {count}"
        place, value = f"{names[0]}[{lane}]", self._value(result.value)
        if not _is_position(result):
            combined = self._combined(result.kind, result.dtype, place, value)
            self.line(f"{place} = {value if fits else combined}")
            return
        better = "is_larger" if result.kind == "argmax" else "is_smaller"
        wins = f"if {index} < {count} or {better}({value}, {place}):"
        with self.block("" if fits else wins):
            self.line(f"{place} = {value}")
            self.line(f"{names[1]}[{lane}] = {index}")

    # -- contractions ----------------------------------------------------------------------------

    def _contract(self, contract: Contract) -> None:
        """Loops over batches, rows and columns around one sum and what follows it."""
        self.dtypes[contract.result] = contract.dtype
        if any(i.extent == 0 for i in contract.batch + contract.m + contract.n):
            return
        with ExitStack() as loops:
            for index in contract.batch:
                loops.enter_context(self._loop(index.name, index.extent))
            loops.enter_context(self._loop(contract.row, _size(contract.m)))
            self._split(self.names.of(contract.row), contract.m)
            loops.enter_context(self._loop(contract.column, _size(contract.n)))
            self._split(self.names.of(contract.column), contract.n)
            self._panels(contract)
            self.body(contract.body)

    def _split(self, flat: str, group: tuple[ContractionIndex, ...]) -> None:
        """The indices of a group from their flattened position."""
        if len(group) == 1:
            self.names.rename(group[0].name, flat)
            return
        for position, index in enumerate(group):
            within, step = _size(group[position:]), _size(group[position + 1 :])
            text = f"{flat} % {self.sizes.operand(within)}" if position else flat
            text += f" // {self.sizes.operand(step)}" if step != 1 else ""
            self.line(f"{self.names.of(index.name)} = {text}")

    def _panels(self, contract: Contract) -> None:
        """The sum over k: of each panel in order from 0, then of the panels from the first."""
        size, dtype = _size(contract.k), contract.dtype
        result, zero = self.names.of(contract.result), literal(0, dtype)
        k = self.names.fresh(contract.k[0].name if len(contract.k) == 1 else "k")
        panel = self.names.fresh("panel")
        self.line(f"{result} = {zero}")
        if size == 0:
            return
        if isinstance(size, int) and size <= PANEL_LENGTH:
            with self.block(f"for {k} in range({size}):"):
                self._product(contract, k, result)
            return
        end = self.sizes.of(size)
        with self.block(f"for start in range(0, {end}, {PANEL_LENGTH}):"):
            self.line(f"{panel} = {zero}")
            stop = f"min(start + {PANEL_LENGTH}, {end})"
            with self.block(f"for {k} in range(start, {stop}):"):
                self._product(contract, k, panel)
            total = self._combined("sum", dtype, result, panel)
            self.line(f"{result} = {panel} if start == 0 else {total}")

    def _product(self, contract: Contract, k: str, total: str) -> None:
        self._split(k, contract.k)
        left = self._element(contract.lhs, contract.lhs_at)
        right = self._element(contract.rhs, contract.rhs_at)
        dtype = contract.dtype
        self.line(f"{total} = {self._expression('fma', (left, right, total), dtype, dtype)}")


def _ignore(name: str) -> None:
    """Names are found in the finished text."""


def _is_position(result: Reduction) -> bool:
    return result.kind.startswith("arg")


def _bool_kind(result: Reduction) -> str:
    """The kind of a reduction; of booleans the largest is any, the least all."""
    if result.dtype == "bool":
        return {"max": "any", "min": "all"}.get(result.kind, result.kind)
    return result.kind


def _lane_count(result: Reduction) -> int:
    return logical_lanes(DTYPES[result.dtype].itemsize)


def _fits(extent: Size, result: Reduction) -> bool:
    """Whether each lane of a reduction has one element at most."""
    return isinstance(extent, int) and extent <= _lane_count(result)


def _empty(result: Reduction) -> str:
    """What a reduction of no element gives."""
    if _is_position(result):
        return literal(0, "i64")
    empty = IDENTITY.get(result.kind, neutral_value(result.kind, result.dtype))
    return literal(empty, result.dtype)


def _size(group: tuple[ContractionIndex, ...]) -> Size:
    return product(index.extent for index in group)
