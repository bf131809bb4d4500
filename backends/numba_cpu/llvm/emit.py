"""One kernel as one LLVM function.

`KernelEmitter` walks the statements. A `Scope` says where it is: which scalars are known, what the
loop indices are, and, inside of a vector loop, which iterations the lanes stand for. In a vector
loop a value that is the same in all iterations stays a scalar, is computed before the loop
(`Scope.hoist`), and is repeated in every lane where a vector needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.checks import emit_check
from irgrad.backends.numba_cpu.llvm.scalars import combine, emit_primitive
from irgrad.backends.numba_cpu.llvm.schedule import substitute
from irgrad.backends.numba_cpu.llvm.sizes import Sizes, as_value
from irgrad.backends.numba_cpu.llvm.vectors import (
    I32,
    POINTER,
    constant,
    element_pointer,
    gather,
    integer,
    load_lanes,
    load_strided,
    ramp,
    reverse,
    scatter,
    splat,
    store_lanes,
)
from irgrad.ir.dims import Dim, Size, as_number
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    Contract,
    Every,
    For,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    literal_of,
    walk,
)

SMALL_STRIDE = 4


class Scalar(NamedTuple):
    """A scalar of the kernel: its LLVM value and lane count, 1 where all iterations share it."""

    value: ir.Value
    lanes: int


@dataclass(frozen=True, slots=True)
class Group:
    """The iterations that lanes stand for: `start`, `start + 1`, ... of loop index `index`.

    active: how many lanes stand for an iteration, `lanes` where no mask is needed, None where only
    the mask knows.
    """

    index: str
    lanes: int
    start: ir.Value | int
    mask: ir.Value | None = None
    active: int | None = None


@dataclass(slots=True)
class Scope:
    """Where statements are emitted.

    shared: scalars that all iterations of a vector loop have in common, and those of enclosing
    bodies. own: scalars of the present lanes. hoist: the place before the vector loop.
    """

    builder: ir.IRBuilder
    shared: dict[str, Scalar]
    indices: dict[str, ir.Value | int]
    own: dict[str, Scalar] = field(default_factory=dict)
    group: Group | None = None
    hoist: ir.IRBuilder | None = None
    cache: dict[object, ir.Value] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """Lanes of a varying value."""
        return 1 if self.group is None else self.group.lanes

    @property
    def mask(self) -> ir.Value | None:
        """The active lanes, None for all."""
        return None if self.group is None else self.group.mask

    def find(self, name: str) -> Scalar:
        """The scalar of a name."""
        found = self.own.get(name)
        return self.shared[name] if found is None else found

    def define(self, name: str, value: ir.Value, lanes: int) -> None:
        """Record a scalar: with the lanes' own, or with what they share."""
        target = self.own if lanes > 1 else self.shared
        target[name] = Scalar(value, lanes)

    def child(self) -> Scope:
        """The scope of a nested body: what it defines stays in it."""
        return Scope(
            self.builder, dict(self.shared), dict(self.indices), dict(self.own), self.group,
            self.hoist, self.cache,
        )  # fmt: skip

    def with_group(self, group: Group) -> Scope:
        """The scope of other iterations of the same vector loop: shares what is common to all."""
        return Scope(
            self.builder, self.shared, self.indices, {}, group, self.hoist, self.cache
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the range of loop index `index`: from `start` to below `stop`, which is more."""

    index: str
    start: ir.Value
    stop: ir.Value


LoopEmitter = Callable[["KernelEmitter", Scope, For | Every | Reduce], None]
Mark = Callable[[ir.IRBuilder, Statement], None]


class KernelEmitter:
    """Emits the statements of one kernel into one function.

    pointers: of each buffer by name. context: pointer to the irg_ctx where the kernel has checks.
    stack: builds in the function's first block, where stack arrays belong. mark: is called with
    each builder of a statement before it is emitted, to set the builder's debug metadata.
    sizes: the values of named sizes. part: the part of a loop that is emitted instead of all of it.
    """

    def __init__(
        self,
        buffers: Mapping[str, Buffer],
        pointers: Mapping[str, ir.Value],
        dtypes: Mapping[str, str],
        vector_bytes: int,
        context: ir.Value | None,
        emit_loop: LoopEmitter,
        stack: ir.IRBuilder | None = None,
        mark: Mark | None = None,
        sizes: Sizes | None = None,
        part: Part | None = None,
    ) -> None:
        self.buffers = buffers
        self.pointers = pointers
        self.dtypes = dtypes
        self.vector_bytes = vector_bytes
        self.context = context
        self.emit_loop = emit_loop
        self.stack = stack
        self.mark = mark
        self.sizes = sizes
        self.part = part

    def part_of(self, loop: For) -> Part | None:
        """The part of a loop that is emitted, None for all of it."""
        return self.part if self.part is not None and self.part.index == loop.index else None

    def size(self, size: Size) -> ir.Value | int:
        """The value of a size: an int where it is a number."""
        if isinstance(size, int):
            return size
        assert self.sizes is not None, "a named size"
        return self.sizes.value(size)

    def stack_array(self, element: ir.Type, count: int) -> ir.Value:
        """A stack array that lives as long as the function runs."""
        assert self.stack is not None
        pointer = self.stack.alloca(ir.ArrayType(element, count))
        pointer.align = 64
        pointer.type = POINTER  # llvmlite types it by its element
        return pointer

    def emit(self, scope: Scope, body: tuple[Statement, ...]) -> None:
        """Emit statements in order."""
        around = scope.builder.debug_metadata
        for statement in body:
            if self.mark is not None:
                for builder in filter(None, (scope.builder, scope.hoist)):
                    self.mark(builder, statement)
            if isinstance(statement, Let):
                self._let(scope, statement)
            elif isinstance(statement, Load):
                self._load(scope, statement)
            elif isinstance(statement, Store):
                value = self.vector(scope, statement.value)
                dtype = self.buffers[statement.buffer].dtype
                self._write(scope, statement.buffer, dtype, statement.at, value)
            elif isinstance(statement, Accumulate):
                self._accumulate(scope, statement)
            elif isinstance(statement, Check):
                self._check(scope, statement)
            else:
                assert not isinstance(statement, Contract), "a contraction within a statement"
                self.emit_loop(self, scope, statement)
        scope.builder.debug_metadata = around

    def vector(self, scope: Scope, name: str) -> ir.Value:
        """A scalar of the kernel in the lanes of the scope."""
        value, lanes = scope.find(name)
        if lanes == scope.lanes:
            return value
        if isinstance(value, ir.Constant):
            return splat(scope.builder, value, scope.lanes)
        key = ("splat", value.get_reference())
        if key not in scope.cache:
            assert scope.hoist is not None
            scope.cache[key] = splat(scope.hoist, value, scope.lanes)
        return scope.cache[key]

    # -- scalars ---------------------------------------------------------------------------------

    def _let(self, scope: Scope, let: Let) -> None:
        if let.name in scope.shared:
            return
        if let.op == "constant":
            if isinstance(let.value, Dim):
                scope.define(let.name, as_value(self.size(let.value)), 1)
            else:
                scope.define(let.name, constant(let.dtype, literal_of(let), 1), 1)
            return
        if let.op == "index":
            self._index(scope, let)
            return
        lanes = max(scope.find(x).lanes for x in let.operands)
        if lanes == 1:
            builder = scope.hoist or scope.builder
            operands = [scope.find(x).value for x in let.operands]
        else:
            builder = scope.builder
            operands = [self.vector(scope, x) for x in let.operands]
        source = self.dtypes[let.operands[-1]]
        value = emit_primitive(builder, let.op, operands, source, let.dtype, lanes)
        scope.define(let.name, value, lanes)

    def _index(self, scope: Scope, let: Let) -> None:
        (index,) = let.operands
        integral = let.dtype if DTYPES[let.dtype].is_integer else "i64"
        bits = 8 * DTYPES[integral].itemsize
        group = scope.group
        varies = group is not None and group.index == index
        builder = scope.builder if varies or scope.hoist is None else scope.hoist
        lanes = scope.lanes if varies else 1
        place = group.start if varies and group is not None else scope.indices[index]
        if isinstance(place, int):
            value: ir.Value = constant(integral, place, 1)
        else:
            value = place if bits == 64 else builder.trunc(place, ir.IntType(bits))
        if lanes > 1:
            value = builder.add(splat(builder, value, lanes), ramp(bits, lanes))
        if integral != let.dtype:
            value = emit_primitive(builder, "cast", [value], integral, let.dtype, lanes)
        scope.define(let.name, value, lanes)

    # -- memory ----------------------------------------------------------------------------------

    def offset(self, builder: ir.IRBuilder, scope: Scope, at: Affine) -> ir.Value | int:
        """The value of an affine expression, the group's index left out."""
        group = scope.group
        total = self.size(at.constant)
        for name, coefficient in at.terms:
            if group is not None and group.index == name:
                continue
            place = scope.indices[name]
            assert not isinstance(place, int)
            factor = as_value(self.size(coefficient))
            term = place if coefficient == 1 else builder.mul(place, factor)
            if isinstance(total, int):
                total = builder.add(term, integer(total)) if total else term
            else:
                total = builder.add(total, term)
        return total

    def _base(self, scope: Scope, buffer: str, at: Affine) -> ir.Value:
        """The address of an access where the group's index is 0, known before the vector loop."""
        key = (buffer, at)
        found = scope.cache.get(key)
        if found is None:
            builder = scope.hoist or scope.builder
            offset = self.offset(builder, scope, at)
            dtype = self.buffers[buffer].dtype
            found = element_pointer(builder, dtype, self.pointers[buffer], offset)
            if scope.hoist is not None:
                scope.cache[key] = found
        return found

    def _address(self, scope: Scope, buffer: str, at: Affine) -> tuple[ir.Value, int]:
        """(address of lane 0's element, distance from lane to lane)."""
        base = self._base(scope, buffer, at)
        group = scope.group
        stride = 0 if group is None else as_number(at.coefficient(group.index))
        if group is None or not stride:
            return base, stride
        if isinstance(group.start, int):
            offset: ir.Value | int = stride * group.start
        elif stride == 1:
            offset = group.start
        else:
            offset = scope.builder.mul(group.start, integer(stride))
        return element_pointer(scope.builder, self.buffers[buffer].dtype, base, offset), stride

    def _load(self, scope: Scope, load: Load) -> None:
        if load.name in scope.shared:
            return
        at = substitute(load.at, scope.indices)
        value, lanes = self._read(scope, load.buffer, load.dtype, at)
        scope.define(load.name, value, lanes)

    def _read(
        self, scope: Scope, buffer: str, dtype: str, at: Affine
    ) -> tuple[ir.Value, int]:
        """The elements of an access, or the one element where all lanes read the same."""
        group = scope.group
        if group is None or not as_number(at.coefficient(group.index)):
            builder = scope.hoist or scope.builder
            return load_lanes(builder, dtype, self._base(scope, buffer, at), 1, None), 1
        builder, lanes, mask = scope.builder, scope.lanes, group.mask
        pointer, stride = self._address(scope, buffer, at)
        if stride == 1:
            return load_lanes(builder, dtype, pointer, lanes, mask), lanes
        if stride == -1:
            pointer = element_pointer(builder, dtype, pointer, 1 - lanes)
            mask = None if mask is None else reverse(builder, mask, lanes)
            value = load_lanes(builder, dtype, pointer, lanes, mask)
            return reverse(builder, value, lanes), lanes
        if mask is None and 2 <= abs(stride) <= SMALL_STRIDE:
            if stride > 0:
                return load_strided(builder, dtype, pointer, lanes, stride), lanes
            pointer = element_pointer(builder, dtype, pointer, (lanes - 1) * stride)
            value = load_strided(builder, dtype, pointer, lanes, -stride)
            return reverse(builder, value, lanes), lanes
        return gather(builder, dtype, pointer, lanes, stride, mask), lanes

    def _write(
        self, scope: Scope, buffer: str, dtype: str, at: Affine, value: ir.Value
    ) -> None:
        at = substitute(at, scope.indices)
        builder, lanes, mask = scope.builder, scope.lanes, scope.mask
        pointer, stride = self._address(scope, buffer, at)
        if lanes == 1 or stride == 1:
            store_lanes(builder, dtype, value, pointer, lanes, mask)
        elif stride == -1:
            pointer = element_pointer(builder, dtype, pointer, 1 - lanes)
            mask = None if mask is None else reverse(builder, mask, lanes)
            store_lanes(builder, dtype, reverse(builder, value, lanes), pointer, lanes, mask)
        else:
            assert stride, "lanes that write one element"
            scatter(builder, dtype, value, pointer, lanes, stride, mask)

    def _accumulate(self, scope: Scope, statement: Accumulate) -> None:
        dtype = self.buffers[statement.buffer].dtype
        value = self.vector(scope, statement.value)
        group = scope.group
        if group is not None and not as_number(statement.at.coefficient(group.index)):
            self._accumulate_lanes(scope, statement, dtype, value)
            return
        at = substitute(statement.at, scope.indices)
        before, _ = self._read(scope, statement.buffer, dtype, at)
        after = combine(scope.builder, statement.kind, dtype, scope.lanes, before, value)
        self._write(scope, statement.buffer, dtype, at, after)

    def _accumulate_lanes(
        self, scope: Scope, statement: Accumulate, dtype: str, value: ir.Value
    ) -> None:
        """Combine lane after lane into one element."""
        builder, group = scope.builder, scope.group
        assert group is not None
        pointer = self._base(scope, statement.buffer, substitute(statement.at, scope.indices))
        total = load_lanes(builder, dtype, pointer, 1, None)
        active = group.lanes if group.active is None else group.active
        for lane in range(active):
            position = ir.Constant(I32, lane)
            element = builder.extract_element(value, position)
            following = combine(builder, statement.kind, dtype, 1, total, element)
            if group.active is None:
                assert group.mask is not None
                valid = builder.extract_element(group.mask, position)
                following = builder.select(valid, following, total)
            total = following
        store_lanes(builder, dtype, total, pointer, 1, None)

    # -- checks ----------------------------------------------------------------------------------

    def _check(self, scope: Scope, check: Check) -> None:
        builder, lanes = scope.builder, scope.lanes
        assert self.context is not None
        failed = builder.not_(self.vector(scope, check.value))
        if scope.mask is not None:
            failed = builder.and_(failed, scope.mask)
        at = substitute(check.at, scope.indices)
        group = scope.group
        first = self.offset(builder, scope, at)
        stride = 0 if group is None else as_number(at.coefficient(group.index))
        if group is not None and stride:
            start = integer(group.start) if isinstance(group.start, int) else group.start
            moved = builder.mul(start, integer(stride))
            first = builder.add(moved, integer(first) if isinstance(first, int) else first)
        position = integer(first) if isinstance(first, int) else first
        emit_check(builder, self.context, check.check, failed, (position, stride, lanes))


def scalar_dtypes(body: tuple[Statement, ...]) -> dict[str, str]:
    """The dtype of every scalar that a kernel defines."""
    found: dict[str, str] = {}
    for statement in walk(body):
        if isinstance(statement, Let | Load):
            found[statement.name] = statement.dtype
        elif isinstance(statement, Contract):
            found[statement.result] = statement.dtype
        elif isinstance(statement, Reduce):
            for r in statement.results:
                found[r.name] = "i64" if r.kind.startswith("arg") else r.dtype
    return found
