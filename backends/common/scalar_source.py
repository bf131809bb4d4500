"""One scalar statement of a kernel as a Python expression, shared by all forms printed as Python.

Every expression has the kernel's dtype both under a compiler that widens integers and in plain
Python over NumPy scalars: integer arithmetic is wrapped back into its type, constants are typed.
Helpers are called by the names of the primitives; functions of the mathematics carry the dtype,
as in `exp_f32`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from irgrad.errors import LoweringError
from irgrad.ir.types import DTYPES
from irgrad.kernel.ir import Affine, Let, literal_of

ARITHMETIC: Mapping[str, str] = MappingProxyType({"add": "+", "sub": "-", "mul": "*"})
BITWISE: Mapping[str, str] = MappingProxyType({"and": "&", "or": "|", "xor": "^"})
SHIFTS: Mapping[str, str] = MappingProxyType({"shl": "<<", "shr": ">>"})
COMPARISONS: Mapping[str, str] = MappingProxyType(
    {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
)
BOOLEAN: Mapping[str, str] = MappingProxyType(
    {"add": "|", "mul": "&", "maximum": "|", "minimum": "&"}
)
ROUNDING = frozenset({"floor", "ceil", "round", "trunc", "sqrt"})
HELPERS = frozenset({"maximum", "minimum", "sign", "floor_divide", "remainder", "select"})
MATH_NAMES: Mapping[str, str] = MappingProxyType({"power": "pow"})


def type_name(dtype: str) -> str:
    """The name that generated source has for a scalar type."""
    return "boolean" if dtype == "bool" else dtype


def literal(value: bool | int | float, dtype: str) -> str:
    """A typed constant; NaN and infinity by name, floats by the shortest text that gives them."""
    name = type_name(dtype)
    if DTYPES[dtype].is_float:
        number = float(value)
        if math.isnan(number):
            return _nan(number, dtype)
        if math.isinf(number):
            return f"{name}({'inf' if number > 0 else '-inf'})"
        return f"{name}({_digits(number, dtype)})"
    return f"{name}({value!r})"


def _nan(number: float, dtype: str) -> str:
    """NaN by name, or by its bits where they are not the usual ones."""
    kind = DTYPES[dtype].numpy.type
    word = f"u{8 * DTYPES[dtype].itemsize}"
    bits, usual = (int(kind(x).view(DTYPES[word].numpy)) for x in (number, math.nan))
    return f"{dtype}(nan)" if bits == usual else f"real_{dtype}({word}({bits}))"


def _digits(number: float, dtype: str) -> str:
    """The shortest text of a finite number that gives its bits in the dtype."""
    kind = DTYPES[dtype].numpy.type
    with np.errstate(over="ignore"):
        short = str(kind(number))
        return short if kind(float(short)) == kind(number) else repr(number)


def place(at: Affine) -> str:
    """An element offset as source."""
    return str(at)


def expression(
    let: Let, dtypes: Mapping[str, str], functions: frozenset[str], use: Callable[[str], None]
) -> str:
    """The expression of a Let over the names of its operands.

    dtypes: of the kernel's scalars. functions: mathematical functions that exist as
    `<name>_<dtype>`. use: told of every helper and function that the expression calls.

    Raises LoweringError for a primitive that the dtype does not have.
    """
    if let.op == "constant":
        return literal(literal_of(let), let.dtype)
    if let.op == "index":
        # A small NumPy integer takes no larger Python int, but wraps a larger NumPy one around.
        small = DTYPES[let.dtype].is_integer and DTYPES[let.dtype].itemsize < 4
        index = f"i64({let.operands[0]})" if small else let.operands[0]
        return f"{type_name(let.dtype)}({index})"
    source = dtypes[let.operands[-1]]
    if let.op == "cast":
        return _cast(let.operands[0], source, let.dtype, use)
    if let.op == "bitcast":
        return _bitcast(let.operands[0], source, let.dtype, use)
    found = _operator(let, source)
    if found is not None:
        return found
    name = _called(let.op, source, functions)
    if name is None:
        raise LoweringError(f"kernel source: expected a primitive of {source}, got {let.op}")
    use(name)
    return f"{name}({', '.join(let.operands)})"


def _operator(let: Let, source: str) -> str | None:
    """A primitive that Python spells as an operator."""
    op, operands, kind = let.op, let.operands, DTYPES[source].kind
    if op in COMPARISONS:
        return f"{operands[0]} {COMPARISONS[op]} {operands[1]}"
    if kind == "b" and op in BOOLEAN:
        return f"{operands[0]} {BOOLEAN[op]} {operands[1]}"
    if op in BITWISE:
        return _wrapped(f"{operands[0]} {BITWISE[op]} {operands[1]}", source)
    if op in SHIFTS:
        count = f"({operands[1]} & {literal(8 * DTYPES[source].itemsize - 1, source)})"
        return _wrapped(f"{operands[0]} {SHIFTS[op]} {count}", source)
    if op == "not":
        return f"boolean(not {operands[0]})" if kind == "b" else _wrapped(f"~{operands[0]}", source)
    if kind != "b" and op in ARITHMETIC:
        return _wrapped(f"{operands[0]} {ARITHMETIC[op]} {operands[1]}", source)
    if kind == "f" and op == "div":
        return f"{operands[0]} / {operands[1]}"
    if kind != "b" and op == "neg":
        return _wrapped(f"-{operands[0]}", source)
    if kind in "iu" and op == "fma":
        return _wrapped(f"{operands[0]} * {operands[1]} + {operands[2]}", source)
    if op == "isnan":
        return f"{operands[0]} != {operands[0]}"
    if op == "abs" and kind in "bu":
        return operands[0]
    return None


def _bitcast(operand: str, source: str, target: str, use: Callable[[str], None]) -> str:
    """The same bits as another dtype of that width: integers wrap, floats go through words."""
    width = 8 * DTYPES[source].itemsize
    if DTYPES[source].is_float:
        if DTYPES[target].is_float:
            return operand
        use(f"bits_{source}")
        return _wrapped(f"bits_{source}({operand})", target)
    if not DTYPES[target].is_float:
        return operand if source == target else f"{target}({operand})"
    use(f"real_{target}")
    return f"real_{target}(u{width}({operand}))"


def _wrapped(text: str, dtype: str) -> str:
    """Integer arithmetic back in its own type."""
    return f"{dtype}({text})" if DTYPES[dtype].is_integer else text


def _called(op: str, source: str, functions: frozenset[str]) -> str | None:
    """The helper or function that a primitive calls."""
    kind = DTYPES[source].kind
    if op == "select":
        return op
    if kind == "f":
        name = MATH_NAMES.get(op, op)
        if name in functions:
            return f"{name}_{source}"
        return {"abs": "fabs", "fma": "fma"}.get(op, op if op in ROUNDING | HELPERS else None)
    if kind in "iu" and op == "power":
        return "integer_power"
    if kind == "i" and op == "abs":
        return "integer_abs"
    return op if kind in "iu" and op in HELPERS else None


def _cast(operand: str, source: str, target: str, use: Callable[[str], None]) -> str:
    """A conversion: to bool is x != 0, float to int saturates with NaN as 0, ints wrap."""
    if source == target:
        return operand
    if target == "bool":
        return f"{operand} != {literal(0, source)}"
    if DTYPES[source].is_float and DTYPES[target].is_integer:
        use(f"saturate_{target}")
        return f"saturate_{target}({operand})"
    return f"{type_name(target)}({operand})"
