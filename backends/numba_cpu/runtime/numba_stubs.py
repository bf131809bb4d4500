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
from irgrad.ir.types import TensorType, dtype_of

from .door import FRAME_HEADER, Input
from .frames import ALIGNMENT

Function = Callable[..., Any]
BYTE, WORD = ir.IntType(8), ir.IntType(64)
POINTER = BYTE.as_pointer()


def type_text(one: Input) -> str:
    """The type of an input as messages have it."""
    return str(TensorType(dtype_of(one.dtype), one.shape))


# -- arguments -------------------------------------------------------------------------------------


def admission(one: Input, label: str) -> tuple[Function, Function]:
    """(fits, view) of an input: whether an argument has its shape and is contiguous, and the flat
    array of it. For a rank of 0 a number is an argument too.

    Arguments of another dtype or rank are a TypingError.
    """

    def fits(x: Any) -> bool:
        raise NotImplementedError

    def view(x: Any) -> np.ndarray:
        raise NotImplementedError

    @overload(fits, strict=False)
    def fits_type(x: types.Type) -> Function:
        if isinstance(x, types.Array):
            _require(_is_array(x, one), x, one, label)
            return _array_check(one, x.layout == "C")
        _require(_is_number(x, one), x, one, label)
        return lambda x: True

    @overload(view, strict=False)
    def view_type(x: types.Type) -> Function:
        if isinstance(x, types.Array):
            return lambda x: flat(x)  # type: ignore[call-arg]
        scalar = one.dtype.type
        return lambda x: np.full(1, scalar(x))

    return fits, view


def _require(holds: bool, x: types.Type, one: Input, label: str) -> None:
    if not holds:
        kind = "a writeable array" if one.donated else "an array"
        raise errors.TypingError(f"{label}: expected {kind} {type_text(one)}, got {x}")


def _is_array(x: types.Array, one: Input) -> bool:
    same = x.dtype == from_dtype(one.dtype) and x.ndim == len(one.shape) and x.aligned
    return same and (x.mutable or not one.donated)


def _is_number(x: types.Type, one: Input) -> bool:
    """Whether a number may stand for an input: one of its kind, or an integer for a float."""
    kinds = {"b": types.Boolean, "i": types.Integer, "u": types.Integer}
    accepted = kinds.get(one.dtype.kind, types.Integer | types.Float)
    return not one.shape and not one.donated and isinstance(x, accepted)


def _array_check(one: Input, contiguous: bool) -> Function:
    """Whether an array has the shape, and the distances of a contiguous one where they matter."""
    shape, rank = one.shape, len(one.shape)
    strides = tuple(int(np.prod(shape[axis + 1 :])) * one.dtype.itemsize for axis in range(rank))

    def has_shape(x: Any) -> bool:
        return x.shape == shape

    def lies_close(x: Any) -> bool:
        if x.shape != shape:
            return False
        for axis in range(rank):
            if shape[axis] > 1 and x.strides[axis] != strides[axis]:
                return False
        return True

    if rank == 0:
        return lambda x: True
    return has_shape if contiguous or 0 in shape else lies_close


def captured(function: str, label: str, one: Input) -> Function:
    """A function of jitted code that gives a captured array, flat, as its memory stands.

    Raises ArgumentError for one that has to be copied at each call.
    """
    array = one.source
    if not isinstance(array, np.ndarray):
        raise ArgumentError(
            f"{function}: {label}: expected a captured array that is contiguous, aligned and of "
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
    """A function of jitted code `(buffers, frame) -> (status, check)` that calls an entry.

    buffers: a tuple of arrays; frame: bytes for the irg_ctx, the arena and their alignment. The
    code at the address must stay.
    """
    llvm.add_symbol(symbol, address)

    @intrinsic
    def run(_context: Any, buffers: Any, frame: Any) -> Any:
        result = types.UniTuple(types.int64, 2)

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            kinds = signature.args[0].types
            table = cgutils.alloca_once(builder, POINTER, len(kinds) + 1)
            for i, kind in enumerate(kinds):
                array = make_array(kind)(context, builder, builder.extract_value(args[0], i))
                place = builder.gep(table, [ir.Constant(WORD, i)])
                builder.store(builder.bitcast(array.data, POINTER), place)
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
                builder.bitcast(words, POINTER), ir.Constant(POINTER, None),
                builder.bitcast(table, POINTER), builder.inttoptr(arena, POINTER),
            ])  # fmt: skip
            check = builder.load(builder.gep(words, [ir.Constant(WORD, 1)]))
            return context.make_tuple(builder, result, [builder.sext(status, WORD), check])

        return result(buffers, frame), codegen

    return run
