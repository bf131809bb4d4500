"""Sizes of traced arrays as the user's program sees them: plain ints, and symbolic sizes."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import DimError, brief
from ..ir.dims import Dim, Size, divide_exact, lower_bound
from .locations import add_location, user_locations
from .protocols import call_ufunc

if TYPE_CHECKING:
    from .context import Trace

_DIVISIONS = frozenset({"divide", "floor_divide", "remainder"})


class SymbolicSize:
    """A size that is known at run time only, such as the n of f32[n,784].

    Sums, differences and products with ints and other sizes are sizes again. In any other
    arithmetic, and together with arrays, it is a number: an i64 scalar of the graph that adapts to
    the other operand as a Python int does. Comparisons are a bool where they hold (or fail) for
    every n >= 0, else DimError.
    """

    __slots__ = ("context", "size")
    __array_priority__ = 1000.0

    def __init__(self, context: Trace, size: Dim) -> None:
        self.context = context
        self.size = size

    def __repr__(self) -> str:
        return str(self.size)

    # -- sizes ---------------------------------------------------------------------------------

    def _size(self, other: object) -> Size | None:
        """The other operand as a size, None where it is none."""
        if isinstance(other, SymbolicSize):
            return other.size
        if isinstance(other, (int, np.integer)) and not isinstance(other, bool):
            return int(other)
        return None

    def __add__(self, other: Any) -> Any:
        size = self._size(other)
        if size is None:
            return self._number("add", other)
        return visible(self.context, self.size + size)

    def __radd__(self, other: Any) -> Any:
        return self.__add__(other)

    def __sub__(self, other: Any) -> Any:
        size = self._size(other)
        if size is None:
            return self._number("subtract", other)
        return visible(self.context, self.size - size)

    def __rsub__(self, other: Any) -> Any:
        size = self._size(other)
        if size is None:
            return self._number("subtract", other, swap=True)
        return visible(self.context, size - self.size)

    def __mul__(self, other: Any) -> Any:
        size = self._size(other)
        if size is None:
            return self._number("multiply", other)
        return visible(self.context, self.size * size)

    def __rmul__(self, other: Any) -> Any:
        return self.__mul__(other)

    def __neg__(self) -> Any:
        return visible(self.context, -self.size)

    def __floordiv__(self, other: Any) -> Any:
        """A size where the division leaves no remainder for any value, else a number."""
        size = self._size(other)
        quotient = None if size is None else divide_exact(self.size, size)
        if quotient is None:
            return self._number("floor_divide", other)
        return visible(self.context, quotient)

    # -- numbers -------------------------------------------------------------------------------

    def _number(self, name: str, other: Any, swap: bool = False) -> Any:
        if isinstance(other, (list, tuple)):
            self._fail(f"size {self}: expected a number or an array as the other operand, got "
                       f"{brief(other)}; repeat or join lists by a number that is known")
        if name in _DIVISIONS and not swap and isinstance(other, int) and other == 0:
            self._fail(f"size {self}: expected a divisor other than 0, got 0")
        operands = (other, self) if swap else (self, other)
        return self.context.functions[name](*operands)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._number("floor_divide", other, swap=True)

    def __truediv__(self, other: Any) -> Any:
        return self._number("divide", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._number("divide", other, swap=True)

    def __mod__(self, other: Any) -> Any:
        return self._number("remainder", other)

    def __rmod__(self, other: Any) -> Any:
        return self._number("remainder", other, swap=True)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any, modulus: None = None) -> Any:
        if modulus is not None:
            self._refuse("pow() with a modulus", "write n**y % modulus")
        return self._number("power", other)

    def __rpow__(self, other: Any) -> Any:
        return self._number("power", other, swap=True)

    def __pos__(self) -> SymbolicSize:
        return self

    def __abs__(self) -> Any:
        return self.context.functions["absolute"](self)

    def __and__(self, other: Any) -> Any:
        return self._number("bitwise_and", other)

    def __or__(self, other: Any) -> Any:
        return self._number("bitwise_or", other)

    def __xor__(self, other: Any) -> Any:
        return self._number("bitwise_xor", other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> Any:
        found = call_ufunc(self.context.functions, ufunc, method, inputs, options)
        return self.context.strengthen(found)

    # -- comparisons ---------------------------------------------------------------------------

    def __hash__(self) -> int:
        self._refuse("hash() (a dict key or a set member)", "use str(n), or compare it with ==")

    def _fail(self, message: str) -> NoReturn:
        error = DimError(message)
        add_location(error, user_locations())
        raise error

    def _undecided(self, sign: str, other: object) -> NoReturn:
        self._fail(
            f"size {self}: expected a comparison that is the same for every size, got "
            f"{self} {sign} {other}; give the axis a fixed size in the spec where the program "
            "depends on it"
        )

    def __eq__(self, other: object) -> Any:
        size = self._size(other)
        if size is None:
            return self._number("equal", other) if _is_number(other) else NotImplemented
        difference = self.size - size
        if isinstance(difference, int):
            return difference == 0
        if _is_positive(difference) or _is_positive(difference * -1):
            return False
        return self._undecided("==", other)

    def __ne__(self, other: object) -> Any:
        if self._size(other) is None:
            return self._number("not_equal", other) if _is_number(other) else NotImplemented
        return not self.__eq__(other)

    def _less(self, other: Any, name: str, sign: str, offset: int, flip: bool) -> Any:
        """Whether other - self - offset >= 0 (self and other exchanged where `flip`)."""
        size = self._size(other)
        if size is None:
            return self._number(name, other)
        margin = (self.size - size if flip else size - self.size) - offset
        low = lower_bound(margin)
        if low is not None and low >= 0:
            return True
        if _is_positive(margin * -1):
            return False
        return self._undecided(sign, other)

    def __lt__(self, other: Any) -> Any:
        return self._less(other, "less", "<", 1, flip=False)

    def __le__(self, other: Any) -> Any:
        return self._less(other, "less_equal", "<=", 0, flip=False)

    def __gt__(self, other: Any) -> Any:
        return self._less(other, "greater", ">", 1, flip=True)

    def __ge__(self, other: Any) -> Any:
        return self._less(other, "greater_equal", ">=", 0, flip=True)

    # -- what needs the number itself ----------------------------------------------------------

    def _refuse(self, use: str, instead: str) -> NoReturn:
        self._fail(
            f"size {self}: expected a use that holds for every size, got {use}, which needs the "
            f"number; {instead}"
        )

    def __bool__(self) -> bool:
        self._refuse("bool()", "compare it with a size, or give the axis a fixed size in the spec")

    def __int__(self) -> int:
        self._refuse("int()", "use it as it is in arithmetic with traced arrays")

    def __float__(self) -> float:
        self._refuse("float()", "use it as it is in arithmetic with traced arrays")

    def __index__(self) -> int:
        self._refuse(
            "range(), an index or a shape of NumPy itself",
            "use irgrad.numpy's arange, zeros or full, a slice, or ig.vmap",
        )

    def __len__(self) -> int:
        self._refuse("len()", "it is a number")

    def __iter__(self) -> NoReturn:
        self._refuse("iteration", "it is a number")

    def __round__(self, digits: Any = None) -> NoReturn:
        self._refuse("round()", "it is a whole number")

    def __trunc__(self) -> NoReturn:
        self._refuse("math.trunc()", "it is a whole number")

    def __complex__(self) -> complex:
        self._refuse("complex()", "use it as it is in arithmetic with traced arrays")

    def __invert__(self) -> NoReturn:
        self._refuse("~", "write -n - 1")

    def __matmul__(self, other: Any) -> NoReturn:
        self._refuse("@", "write * for a product with a number")

    def __lshift__(self, other: Any) -> NoReturn:
        self._refuse("a shift of bits", "multiply or divide by a power of 2")

    __rmatmul__ = __matmul__
    __rlshift__ = __rshift__ = __rrshift__ = __lshift__

    def __format__(self, spec: str) -> str:
        if spec:
            self._refuse(f"the format {spec!r}", "write it without a format")
        return repr(self)

    def __copy__(self) -> SymbolicSize:
        return self

    def __deepcopy__(self, memo: object) -> SymbolicSize:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        self._refuse("pickle", "return it from the function and keep the result")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._refuse("a conversion to an ndarray", "use irgrad.numpy functions on it")


def _is_number(x: object) -> bool:
    """Whether == compares with it as numbers; with anything else it compares identity."""
    return isinstance(x, (Number, np.ndarray, np.generic)) or hasattr(type(x), "__array__")


def _is_positive(size: Size) -> bool:
    low = lower_bound(size)
    return low is not None and low > 0


def visible(context: Trace, size: Size) -> int | SymbolicSize:
    """A size as the user's program sees it."""
    return SymbolicSize(context, size) if isinstance(size, Dim) else size


def visible_shape(context: Trace, shape: Iterable[Size]) -> tuple[Any, ...]:
    """A shape as the user's program sees it."""
    return tuple(visible(context, size) for size in shape)
