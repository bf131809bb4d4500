"""What the door from jitted code is made of: checks and views of arguments, and the native call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload, register_jitable
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from irgrad.errors import ArgumentError
from irgrad.kernel.slots import ALIGNMENT

from .door import FRAME_HEADER
from .jitted_plan import JittedInput

Function = Callable[..., Any]
BYTE, WORD = ir.IntType(8), ir.IntType(64)
POINTER = BYTE.as_pointer()


# -- arguments -------------------------------------------------------------------------------------


def admission(one: JittedInput, label: str) -> tuple[Function, Function, Function]:
    """(fits, view, size) of an input: whether an argument has a shape, given as a tuple, and is
    contiguous, the flat array of it, and its size along an axis. For a rank of 0 a number is an
    argument too.

    Arguments of another dtype or rank are a TypingError.
    """
    rank, dtype = one.type.rank, one.type.dtype.numpy

    def fits(x: Any, shape: Any) -> bool:
        raise NotImplementedError

    def view(x: Any) -> np.ndarray:
        raise NotImplementedError

    def size(x: Any, axis: int) -> int:
        raise NotImplementedError

    @overload(fits, strict=False)
    def fits_type(x: types.Type, shape: types.Type) -> Function:
        if isinstance(x, types.Array):
            _require(_is_array(x, one), x, one, label)
            return _array_check(rank, dtype.itemsize, x.layout == "C")
        _require(_is_number(x, one), x, one, label)
        return lambda x, shape: True

    @overload(view, strict=False)
    def view_type(x: types.Type) -> Function:
        if isinstance(x, types.Array):
            return lambda x: flat(x)  # type: ignore[call-arg]
        scalar = dtype.type
        return lambda x: np.full(1, scalar(x))

    @overload(size, strict=False)
    def size_type(x: types.Type, axis: types.Type) -> Function:
        _require(isinstance(x, types.Array) and _is_array(x, one), x, one, label)
        return lambda x, axis: x.shape[axis]

    return fits, view, size


def _require(holds: bool, x: types.Type, one: JittedInput, label: str) -> None:
    if not holds:
        kind = "a writeable array" if one.donated else "an array"
        raise errors.TypingError(f"{label}: expected {kind} {one.type}, got {x}")


def _is_array(x: types.Array, one: JittedInput) -> bool:
    same = x.dtype == from_dtype(one.type.dtype.numpy) and x.ndim == one.type.rank and x.aligned
    return same and (x.mutable or not one.donated)


def _is_number(x: types.Type, one: JittedInput) -> bool:
    """Whether a number may stand for an input: one of its kind, or an integer for a float."""
    kinds = {"b": types.Boolean, "i": types.Integer, "u": types.Integer}
    accepted = kinds.get(one.type.dtype.kind, types.Integer | types.Float)
    return not one.type.shape and not one.donated and isinstance(x, accepted)


def _array_check(rank: int, itemsize: int, contiguous: bool) -> Function:
    """Whether an array has a shape, and the distances of a contiguous one where they matter."""

    def has_shape(x: Any, shape: Any) -> bool:
        return x.shape == shape

    def lies_close(x: Any, shape: Any) -> bool:
        if x.shape != shape:
            return False
        step = itemsize
        for axis in range(rank - 1, -1, -1):
            if x.size > 0 and x.shape[axis] > 1 and x.strides[axis] != step:
                return False
            step *= x.shape[axis]
        return True

    if rank == 0:
        return lambda x, shape: True
    return has_shape if contiguous else lies_close


@register_jitable
def quotient(a: int, b: int) -> int:
    """a / b where that is a whole number of at least 0, else -1."""
    if b == 0 or a % b != 0:
        return -1
    return max(a // b, -1)


def captured(label: str, one: JittedInput) -> Function:
    """A function of jitted code that gives a captured array, flat, as its memory stands.

    Raises ArgumentError for one that has to be copied at each call.
    """
    array = one.capture
    if array is None:
        raise ArgumentError(
            f"{label}: expected a captured array that is contiguous, aligned and of "
            "native byte order to call from jitted code; pass it as an argument"
        )
    kind = types.Array(from_dtype(array.dtype), 1, "C")
    address = array.__array_interface__["data"][0]

    @intrinsic
    def give(_context: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            result = make_array(kind)(context, builder)
            item, size = (ir.Constant(WORD, n) for n in (array.itemsize, array.size))
            data = builder.inttoptr(ir.Constant(WORD, address), result.data.type)
            populate_array(result, data, [size], [item], item, None)
            return result._getvalue()

        return kind(), codegen

    return give


@intrinsic
def flat(_context: Any, x: Any) -> Any:
    """All elements of a contiguous array in one row, writeable for code that writes donated ones
    alone."""
    kind = types.Array(x.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = make_array(signature.args[0])(context, builder, args[0])
        result = make_array(kind)(context, builder)
        populate_array(
            result, source.data, [source.nitems], [source.itemsize], source.itemsize,
            source.meminfo, source.parent,
        )  # fmt: skip
        return impl_ret_borrowed(context, builder, kind, result._getvalue())

    return kind(x), codegen


@register_jitable
def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two flat arrays share memory."""
    first, second = a.ctypes.data, b.ctypes.data
    if a.size == 0 or b.size == 0:
        return False
    return first < second + b.size * b.itemsize and second < first + a.size * a.itemsize


# -- the native call -------------------------------------------------------------------------------


def native_entry(symbol: str, address: int) -> Function:
    """A function of jitted code `(buffers, frame, dims) -> (status, check)` that calls an entry.

    buffers: a tuple of arrays; frame: bytes for the irg_ctx, the arena and their alignment; dims: a
    tuple of the numbers behind named sizes. The code at the address must stay.
    """
    llvm.add_symbol(symbol, address)

    @intrinsic
    def run(_context: Any, buffers: Any, frame: Any, dims: Any) -> Any:
        result = types.UniTuple(types.int64, 2)

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            kinds = signature.args[0].types
            table = cgutils.alloca_once(builder, POINTER, len(kinds) + 1)
            for i, kind in enumerate(kinds):
                array = make_array(kind)(context, builder, builder.extract_value(args[0], i))
                place = builder.gep(table, [ir.Constant(WORD, i)])
                builder.store(builder.bitcast(array.data, POINTER), place)
            sizes = cgutils.alloca_once(builder, WORD, len(signature.args[2]) + 1)
            for i in range(len(signature.args[2])):
                number = builder.extract_value(args[2], i)
                builder.store(number, builder.gep(sizes, [ir.Constant(WORD, i)]))
            memory = make_array(signature.args[1])(context, builder, args[1]).data
            start = builder.ptrtoint(memory, WORD)
            start = builder.add(start, ir.Constant(WORD, ALIGNMENT - 1))
            start = builder.and_(start, ir.Constant(WORD, -ALIGNMENT))
            words = builder.inttoptr(start, WORD.as_pointer())
            for i in range(FRAME_HEADER // 8):
                builder.store(ir.Constant(WORD, 0), builder.gep(words, [ir.Constant(WORD, i)]))
            arena = builder.add(start, ir.Constant(WORD, FRAME_HEADER))
            entry = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), [POINTER] * 4), symbol
            )
            status = builder.call(entry, [
                builder.bitcast(words, POINTER), builder.bitcast(sizes, POINTER),
                builder.bitcast(table, POINTER), builder.inttoptr(arena, POINTER),
            ])  # fmt: skip
            check = builder.load(builder.gep(words, [ir.Constant(WORD, 1)]))
            return context.make_tuple(builder, result, [builder.sext(status, WORD), check])

        return result(buffers, frame, dims), codegen

    return run
