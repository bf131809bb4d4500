"""Small helpers over llvmlite.ir that the parts of the contraction emitter share.

All memory is addressed through i8 pointers and byte offsets; types appear at loads and stores only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from llvmlite import ir

from irgrad.backends.numba_cpu.llvm.contraction_plan import ITEM_BYTES

I1 = ir.IntType(1)
I8 = ir.IntType(8)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
VOID = ir.VoidType()
BYTES = I8.as_pointer()
INTEGERS = I64.as_pointer()


def element_type(dtype: str) -> ir.Type:
    """The LLVM type of one element of "f32" or "f64"."""
    return {"f32": ir.FloatType(), "f64": ir.DoubleType()}[dtype]


def vector_type(dtype: str, width: int) -> ir.Type:
    """A vector of `width` elements; the element type itself for width 1."""
    element = element_type(dtype)
    return element if width == 1 else ir.VectorType(element, width)


def integer(value: int) -> ir.Constant:
    """An i64 constant."""
    return ir.Constant(I64, value)


def times(builder: ir.IRBuilder, value: ir.Value, factor: int) -> ir.Value:
    """`value * factor`."""
    return value if factor == 1 else builder.mul(value, integer(factor))


def advance(builder: ir.IRBuilder, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
    """`pointer` plus offsets in units of its element type."""
    for offset in offsets:
        if isinstance(offset, int):
            if offset == 0:
                continue
            offset = integer(offset)
        pointer = builder.gep(pointer, [offset])
    return pointer


def minimum(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """The smaller of two signed integers."""
    return builder.select(builder.icmp_signed("<", left, right), left, right)


@contextmanager
def counted_loop(builder: ir.IRBuilder, count: int) -> Iterator[ir.Value]:
    """Emit `for index in range(count)`, count >= 1; the body is what is built inside the `with`."""
    with turning_loop(builder, 1) as turns:
        turns.limits = [(integer(count), integer(1))]
        yield turns.indices[0]


@dataclass(slots=True)
class Turns:
    """A loop over several indices at once, the last the fastest.

    `limits` holds (stop, step) of every index; the body sets it, from values of the current turn.
    """

    indices: list[ir.Value]
    limits: list[tuple[ir.Value, ir.Value]]


@contextmanager
def turning_loop(builder: ir.IRBuilder, count: int) -> Iterator[Turns]:
    """Emit one loop that stands for `count` nested ones, each of which turns at least once.

    LLVM's passes take time for every loop, and more for nested ones, whatever they do.
    """
    before = builder.block
    body = builder.append_basic_block("turn")
    builder.branch(body)
    builder.position_at_end(body)
    turns = Turns([builder.phi(I64) for _ in range(count)], [])
    yield turns
    end = builder.block
    moving: ir.Value | None = None
    for index, (stop, step) in zip(reversed(turns.indices), reversed(turns.limits)):
        after = builder.add(index, step)
        wraps = builder.icmp_signed(">=", after, stop)
        after = builder.select(wraps, integer(0), after)
        if moving is not None:
            after = builder.select(moving, after, index)
            wraps = builder.and_(moving, wraps)
        index.add_incoming(integer(0), before)
        index.add_incoming(after, end)
        moving = wraps
    done = builder.append_basic_block("turned")
    keep_rolled(builder.cbranch(moving, done, body))
    builder.position_at_end(done)


def keep_rolled(branch: ir.Instruction) -> None:
    """Forbid unrolling of the loop that a back edge closes; bodies are unrolled where it pays."""
    module = branch.parent.function.module
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([option, integer(len(module.metadata))])
    loop.operands = (loop, option)
    branch.set_metadata("llvm.loop", loop)


def internal_function(
    module: ir.Module,
    name: str,
    arguments: list[ir.Type],
    emit: Callable[[ir.IRBuilder, list[ir.Value]], None],
    noalias: bool = True,
) -> ir.Function:
    """The module's internal function `name`, emitted at first use.

    With `noalias`, what it writes through one pointer argument it reads through no other.
    """
    found = module.globals.get(name)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
    function.linkage = "internal"
    for attribute in ("noinline", "noduplicate", "nounwind"):
        function.attributes.add(attribute)
    for argument in function.args:
        if noalias and isinstance(argument.type, ir.PointerType):
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit(builder, list(function.args))
    builder.ret_void()
    return function


def intrinsic(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Value:
    """Declare an LLVM intrinsic once per module."""
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def vector_suffix(dtype: str, width: int) -> str:
    """The type suffix of an overloaded intrinsic, such as v16f32 or f32."""
    return dtype if width == 1 else f"v{width}{dtype}"


def fma(builder: ir.IRBuilder, dtype: str, width: int, operands: list[ir.Value]) -> ir.Value:
    """One correctly rounded `x * y + z`."""
    kind = vector_type(dtype, width)
    name = f"llvm.fma.{vector_suffix(dtype, width)}"
    return builder.call(intrinsic(builder.module, name, kind, [kind] * 3), operands)


def zero(builder: ir.IRBuilder, dtype: str, width: int) -> ir.Value:
    """Zero in every lane, as one instruction that folds away: references to it stay short text."""
    bits = ir.Constant(ir.IntType(8 * ITEM_BYTES[dtype] * width), 0)
    return builder.bitcast(bits, vector_type(dtype, width))


@cache
def _first_lane(width: int) -> ir.Constant:
    """The shuffle mask that repeats lane 0."""
    return ir.Constant(ir.VectorType(I32, width), [0] * width)


def broadcast(builder: ir.IRBuilder, scalar: ir.Value, width: int) -> ir.Value:
    """A vector with `scalar` in every lane; the scalar itself for width 1."""
    if width == 1:
        return scalar
    blank = ir.Constant(ir.VectorType(scalar.type, width), ir.Undefined)
    first = builder.insert_element(blank, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, first, _first_lane(width))


def lane_mask(builder: ir.IRBuilder, bits: ir.Value, width: int) -> ir.Value:
    """A mask of `width` lanes from the low bits of an i64."""
    narrow = builder.trunc(bits, ir.IntType(width))
    return builder.bitcast(narrow, ir.VectorType(I1, width))


def load(
    builder: ir.IRBuilder,
    dtype: str,
    place: ir.Value,
    width: int,
    mask: ir.Value | None = None,
) -> ir.Value:
    """Load `width` elements, only the lanes of `mask` where one is given (the others are 0)."""
    kind = vector_type(dtype, width)
    item = ITEM_BYTES[dtype]
    typed = builder.bitcast(place, kind.as_pointer())
    if mask is None:
        return builder.load(typed, align=item)
    name = f"llvm.masked.load.{vector_suffix(dtype, width)}.p0"
    arguments = [kind.as_pointer(), I32, mask.type, kind]
    function = intrinsic(builder.module, name, kind, arguments)
    blank = zero(builder, dtype, width)
    return builder.call(function, [typed, ir.Constant(I32, item), mask, blank])


def store(
    builder: ir.IRBuilder,
    dtype: str,
    value: ir.Value,
    place: ir.Value,
    width: int,
    mask: ir.Value | None = None,
) -> None:
    """Store `width` elements, only the lanes of `mask` where one is given."""
    kind = vector_type(dtype, width)
    item = ITEM_BYTES[dtype]
    typed = builder.bitcast(place, kind.as_pointer())
    if mask is None:
        builder.store(value, typed, align=item)
        return
    name = f"llvm.masked.store.{vector_suffix(dtype, width)}.p0"
    arguments = [kind, kind.as_pointer(), I32, mask.type]
    function = intrinsic(builder.module, name, VOID, arguments)
    builder.call(function, [value, typed, ir.Constant(I32, item), mask])


def prefetch(builder: ir.IRBuilder, place: ir.Value) -> None:
    """Ask for a cache line that is read soon; harmless wherever it points."""
    arguments = [BYTES, I32, I32, I32]
    function = intrinsic(builder.module, "llvm.prefetch.p0", VOID, arguments)
    read, keep, data = (ir.Constant(I32, value) for value in (0, 2, 1))
    builder.call(function, [place, read, keep, data])


def copy_bytes(builder: ir.IRBuilder, source: ir.Value, target: ir.Value, count: int) -> None:
    """Copy memory that does not overlap, without a call."""
    arguments = [BYTES, BYTES, I64, I1]
    function = intrinsic(builder.module, "llvm.memcpy.inline.p0.p0.i64", VOID, arguments)
    places = (builder.bitcast(pointer, BYTES) for pointer in (target, source))
    builder.call(function, [*places, integer(count), I1(0)])
