"""Own mathematical functions over vectors, written into an LLVM module without any call of libm.

`math_function` gives an internal function `irg_<name>_v<width><scalar>` that is inlined where it is
called. Errors are at most 2 ulp over all floats; NaN, infinities, signed zeros and denormal numbers
behave as in NumPy; the bits of a lane depend neither on the lane count nor on the other lanes. The
target needs fused multiply-add instructions (x86-64-v3, NEON).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import llvmlite.ir as ir

from irgrad.backends.numba_cpu.llvm import vector_math_erf as error_functions
from irgrad.backends.numba_cpu.llvm import vector_math_exp as exponentials
from irgrad.backends.numba_cpu.llvm import vector_math_inverse as inverses
from irgrad.backends.numba_cpu.llvm import vector_math_log as logarithms
from irgrad.backends.numba_cpu.llvm import vector_math_power as powers
from irgrad.backends.numba_cpu.llvm import vector_math_trig as trigonometry
from irgrad.backends.numba_cpu.llvm.vector_math_builder import FORMATS, Lanes, Vec, vector_types

EMITTERS: MappingProxyType[str, Callable[..., Vec]] = MappingProxyType(
    {
        "acos": inverses.acos,
        "asin": inverses.asin,
        "atan": inverses.atan,
        "atan2": inverses.atan2,
        "cbrt": powers.cbrt,
        "cos": trigonometry.cos,
        "cosh": exponentials.cosh,
        "erf": error_functions.erf,
        "erfc": error_functions.erfc,
        "exp": exponentials.exp,
        "exp2": exponentials.exp2,
        "expm1": exponentials.expm1,
        "log": logarithms.log,
        "log10": logarithms.log10,
        "log1p": logarithms.log1p,
        "log2": logarithms.log2,
        "pow": powers.power,
        "rsqrt": powers.rsqrt,
        "sigmoid": exponentials.sigmoid,
        "sin": trigonometry.sin,
        "sinh": exponentials.sinh,
        "softplus": logarithms.softplus,
        "tan": trigonometry.tan,
        "tanh": exponentials.tanh,
    }
)
ARITY: MappingProxyType[str, int] = MappingProxyType({"atan2": 2, "pow": 2})

FUNCTIONS: frozenset[str] = frozenset(EMITTERS)


def math_function(module: ir.Module, name: str, scalar: str, width: int) -> ir.Function:
    """The function `name` of FUNCTIONS over `<width x scalar>` vectors, made once a module.

    `scalar` is "f32" or "f64", `width` a power of two >= 1 (a vector of one lane at 1). The
    function is internal, alwaysinline and nounwind; it takes one vector (atan2 and pow two) and
    returns one.
    """
    assert width >= 1 and width & (width - 1) == 0, f"width {width} is no power of two"
    symbol = f"irg_{name}_v{width}{scalar}"
    existing = module.globals.get(symbol)
    if existing is not None:
        return existing
    fmt = FORMATS[scalar]
    vector = vector_types(fmt, width)[0]
    function = ir.Function(module, ir.FunctionType(vector, [vector] * ARITY.get(name, 1)), symbol)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    function.attributes.add("nounwind")
    lanes = Lanes(module, ir.IRBuilder(function.append_basic_block("entry")), fmt, width)
    result = EMITTERS[name](lanes, *(Vec(lanes, a) for a in function.args))
    lanes.builder.ret(result.value)
    return function
