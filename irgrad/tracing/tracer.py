"""Traced values: what a user's function computes with while it is traced."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from numbers import Number
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import DimError, DTypeError, IrgradError, MissingError, ShapeError, TraceError
from ..ir.dims import Dim
from ..ir.graph import Value
from ..ir.types import TensorType
from ..ops.build import Expr
from .locations import add_location, user_locations
from .protocols import CREATION, call_function, call_ufunc
from .sizes import SymbolicSize, visible, visible_shape

if TYPE_CHECKING:
    from .context import Trace

_ARRAY_LIKE = (np.ndarray, np.generic, Number, list, tuple, memoryview, SymbolicSize)


def _method(name: str, doc: str) -> Callable[..., Any]:
    """A method that is the traced function of a name: its arguments follow in the same order."""

    def method(self: Tracer, *arguments: Any, **options: Any) -> Any:
        return self.context.functions[name](self, *arguments, **options)

    method.__name__ = name
    method.__doc__ = f"{doc} As numpy.{name}."
    return method


def _in_place(name: str) -> Callable[..., Any]:
    """An operator such as +=: the value that ndarray's would hold, which keeps its shape and dtype.

    A value of rank 0 is replaced by the result, as NumPy's scalars are.
    """

    def method(self: Tracer, other: Any) -> Any:
        result = self.context.functions[name](self, other)
        if not self.ndim:
            return result
        if result.type.shape != self.type.shape:
            self._fail(ShapeError(f"{name}: expected a result of the shape of {self.type}, which "
                                  f"it is written into, got {result.type}; write x = x + y"))
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            self._fail(DTypeError(f"{name}: expected a result that {self.type} holds, which it is "
                                  f"written into, got {result.type}; write x = x + y"))
        return result.astype(self.dtype)

    return method


def _is_operand(x: object) -> bool:
    """Whether == compares with it element by element; with anything else it compares identity."""
    return isinstance(x, (Tracer, *_ARRAY_LIKE)) or hasattr(type(x), "__array__")


class Tracer:
    """A value of the graph that a trace builds; it behaves like an ndarray that is not writable.

    context: the trace that it belongs to. value: its node in that trace's graph. weak: True for
    what a Python number became, which adapts its dtype to other operands as the number would.
    """

    __slots__ = ("context", "value", "weak")
    __array_priority__ = 1000.0

    def __init__(self, context: Trace, value: Value, weak: bool) -> None:
        self.context = context
        self.value = value
        self.weak = weak

    # -- what is known of it -------------------------------------------------------------------

    @property
    def expr(self) -> Expr:
        """The value as an expression of its own trace's graph."""
        return Expr(self.context.builder, self.value)

    @property
    def type(self) -> TensorType:
        """Element type and shape in terms of the IR."""
        return self.context.graph.type(self.value)

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return self.type.dtype.numpy

    @property
    def shape(self) -> tuple[Any, ...]:
        """The sizes: ints, and SymbolicSize where a size is known at run time only."""
        return visible_shape(self.context, self.type.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.type.rank

    @property
    def size(self) -> Any:
        """The number of elements: an int or a SymbolicSize."""
        return visible(self.context, self.type.size)

    def __repr__(self) -> str:
        return f"traced {self.type}"

    # -- attributes and methods of ndarray -----------------------------------------------------

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return self.context.functions[name](*arguments, **options)

    @property
    def T(self) -> Tracer:  # noqa: N802
        """The transpose: all axes in reverse order."""
        return self._call("transpose", self)

    @property
    def mT(self) -> Tracer:  # noqa: N802
        """The matrix transpose: the last two axes exchanged."""
        return self._call("matrix_transpose", self)

    @property
    def real(self) -> Tracer:
        """The real part, which is the value itself."""
        return self._call("real", self)

    @property
    def imag(self) -> Tracer:
        """The imaginary part, which is 0."""
        return self._call("imag", self)

    def reshape(self, *shape: Any, **options: Any) -> Tracer:
        """The elements in row-major order in another shape, of which one size may be -1."""
        return self._call("reshape", self, shape[0] if len(shape) == 1 else shape, **options)

    def transpose(self, *axes: Any, **options: Any) -> Tracer:
        """The axes in another order, reversed where none is given."""
        order = axes[0] if len(axes) == 1 else axes or None
        return self._call("transpose", self, order, **options)

    astype = _method("astype", "Converted to a dtype; floats to integers saturate, NaN becomes 0.")
    conj = _method("conjugate", "The complex conjugate, which is the value itself.")
    conjugate = _method("conjugate", "The complex conjugate, which is the value itself.")
    copy = _method("copy", "The value itself: traced values are never written.")
    swapaxes = _method("swapaxes", "Two axes exchanged.")
    squeeze = _method("squeeze", "Without the axes of size 1.")
    ravel = _method("ravel", "The elements in row-major order along one axis.")
    flatten = _method("ravel", "The elements in row-major order along one axis.")
    sum = _method("sum", "The sum along axes.")
    prod = _method("prod", "The product along axes.")
    mean = _method("mean", "The mean along axes.")
    var = _method("var", "The variance along axes.")
    std = _method("std", "The standard deviation along axes.")
    max = _method("max", "The largest element along axes, NaN where there is one.")
    min = _method("min", "The smallest element along axes, NaN where there is one.")
    any = _method("any", "Whether an element along axes is not 0.")
    all = _method("all", "Whether no element along axes is 0.")
    argmax = _method("argmax", "The first position of the largest element along an axis.")
    argmin = _method("argmin", "The first position of the smallest element along an axis.")
    clip = _method("clip", "The elements held between two bounds.")
    round = _method("round", "The elements rounded to a number of decimals, halves to even.")
    dot = _method("dot", "The product of NumPy's dot.")
    trace = _method("trace", "The sum of a diagonal of two axes.")
    diagonal = _method("diagonal", "A diagonal of two axes, as the last axis of the result.")
    repeat = _method("repeat", "Each element a number of times.")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(f"traced values have no attribute {name!r}")
        offered = [x for x in dir(type(self)) if not x.startswith("_")]
        near = difflib.get_close_matches(name, offered, 3)
        self._fail(MissingError(
            f"traced value {self.type}: expected an attribute of traced values, got {name!r}"
            + (f"; near it are {', '.join(near)}" if near else "")
        ))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in Tracer.__slots__:
            self._refuse(f"an assignment to its attribute {name!r}", "build the new value instead")
        object.__setattr__(self, name, value)

    # -- operators -----------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return self._call("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._call("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._call("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._call("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._call("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._call("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._call("divide", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Any:
        return self._call("remainder", self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._call("remainder", other, self)

    def __divmod__(self, other: Any) -> Any:
        return self._call("divmod", self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return self._call("divmod", other, self)

    def __pow__(self, other: Any, modulus: None = None) -> Any:
        if modulus is not None:
            self._refuse("pow() with a modulus", "write x**y % modulus")
        return self._call("power", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._call("power", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return self._call("matmul", other, self)

    def __and__(self, other: Any) -> Any:
        return self._call("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Any:
        return self._call("bitwise_and", other, self)

    def __or__(self, other: Any) -> Any:
        return self._call("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Any:
        return self._call("bitwise_or", other, self)

    def __xor__(self, other: Any) -> Any:
        return self._call("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Any:
        return self._call("bitwise_xor", other, self)

    def __neg__(self) -> Tracer:
        return self._call("negative", self)

    def __pos__(self) -> Tracer:
        return self._call("positive", self)

    def __abs__(self) -> Tracer:
        return self._call("absolute", self)

    def __invert__(self) -> Tracer:
        return self._call("invert", self)

    def __lt__(self, other: Any) -> Any:
        return self._call("less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._call("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return self._call("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._call("greater_equal", self, other)

    def __eq__(self, other: object) -> Any:
        if not _is_operand(other):
            return NotImplemented
        return self._call("equal", self, other)

    def __ne__(self, other: object) -> Any:
        if not _is_operand(other):
            return NotImplemented
        return self._call("not_equal", self, other)

    __iadd__ = _in_place("add")
    __isub__ = _in_place("subtract")
    __imul__ = _in_place("multiply")
    __itruediv__ = _in_place("divide")
    __ifloordiv__ = _in_place("floor_divide")
    __imod__ = _in_place("remainder")
    __ipow__ = _in_place("power")
    __iand__ = _in_place("bitwise_and")
    __ior__ = _in_place("bitwise_or")
    __ixor__ = _in_place("bitwise_xor")
    __imatmul__ = _in_place("matmul")

    def __lshift__(self, other: Any) -> NoReturn:
        self._refuse("a shift of bits", "multiply or divide by a power of 2")

    __rlshift__ = __rshift__ = __rrshift__ = __ilshift__ = __irshift__ = __lshift__

    # -- elements ------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tracer:
        return self._call("getitem", self, index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        self._refuse(
            "an assignment to elements",
            "build the new value: np.where(mask, new, x), np.concatenate or np.stack",
        )

    def __delitem__(self, index: Any) -> NoReturn:
        self._refuse("a deletion of elements", "take the parts that are kept and concatenate them")

    def __len__(self) -> int:
        if not self.ndim:
            self._fail(ShapeError(f"len: expected an array with axes, got {self.type}"))
        size = self.type.shape[0]
        if isinstance(size, Dim):
            self._fail(DimError(
                f"len: expected a first axis of fixed size, got {self.type}; use x.shape[0], which "
                "may be used in arithmetic and shapes"
            ))
        return size

    def __iter__(self) -> Iterator[Tracer]:
        if not self.ndim or isinstance(self.type.shape[0], Dim):
            self._fail(ShapeError(
                f"iteration: expected a first axis of fixed size, got {self.type}; use sums, "
                "products or ig.vmap, or fix the size in the spec"
            ))
        return iter([self[i] for i in range(len(self))])

    # -- what a trace cannot record ------------------------------------------------------------

    def _fail(self, error: IrgradError) -> NoReturn:
        add_location(error, user_locations())
        raise error

    def _refuse(self, use: str, instead: str) -> NoReturn:
        self._fail(TraceError(
            f"traced value {self.type}: expected a use that holds for every value, got {use}; "
            f"{instead}"
        ))

    def __bool__(self) -> bool:
        self._refuse(
            "bool() (if, while, and, or, not, in)",
            "write np.where(condition, a, b) or np.logical_and(...), or pass what decides as "
            "static=",
        )

    def __float__(self) -> float:
        self._refuse("float()", "use it as it is, or x.astype(float); pass constants as static=")

    def __int__(self) -> int:
        self._refuse("int()", "use it as it is, or x.astype(int); pass constants as static=")

    def __round__(self, digits: Any = None) -> NoReturn:
        self._refuse("round()", "write x.round()")

    def __trunc__(self) -> NoReturn:
        self._refuse("math.trunc()", "write np.trunc(x)")

    def __complex__(self) -> complex:
        self._refuse("complex()", "use it as it is")

    def __index__(self) -> int:
        self._refuse(
            "an index or a size", "write np.where(np.arange(n) == i, ...), or pass i as static="
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._refuse(
            "a conversion to an ndarray (np.array, np.asarray, arr[t] or arr[i] = t)",
            "write np.stack([...]) or irgrad.numpy.asarray, and np.where instead of arr[i] = t",
        )

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse(f"the format {spec!r}", "format the result of the function")
        return repr(self)

    def __copy__(self) -> Tracer:
        return self

    def __deepcopy__(self, memo: object) -> Tracer:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self._refuse("pickle", "return the value from the function and keep the result")

    def __hash__(self) -> int:
        self._refuse("hash() (a dict key or a set member)", "use id(x), or a list")

    def item(self, *place: Any, **options: Any) -> NoReturn:
        """Raises TraceError: the number is known at run time only."""
        self._refuse("item()", "return the value from the function and call item() on the result")

    def tolist(self, *place: Any, **options: Any) -> NoReturn:
        """Raises TraceError: the numbers are known at run time only."""
        self._refuse("tolist()", "return the value from the function and convert the result")

    # -- NumPy's dispatch ----------------------------------------------------------------------

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> Any:
        try:
            found = call_ufunc(self.context.functions, ufunc, method, inputs, options)
            return self.context.strengthen(found)
        except IrgradError as error:
            add_location(error, user_locations())
            raise

    def __array_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any, options: Any
    ) -> Any:
        # NumPy drops like=, through which alone a function that makes arrays can have come here.
        made = function.__name__ in CREATION
        named = {**options, "like": self} if made else options
        try:
            found = call_function(self.context.functions, function, arguments, named)
            return self.context.strengthen(found)
        except IrgradError as error:
            add_location(error, user_locations())
            raise
