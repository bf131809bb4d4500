"""Own mathematical functions over vectors, written into an LLVM module without any call of libm.

`math_function` gives an internal function `irg_<name>_v<width><scalar>` that is inlined where it is
called. Errors are at most 2 ulp over all floats; NaN, infinities, signed zeros and denormal numbers
behave as in NumPy; the bits of a lane depend neither on the lane count nor on the other lanes. The
target needs fused multiply-add instructions (x86-64-v3, NEON).
"""

from __future__ import annotations

import llvmlite.ir as ir

from irgrad.backends.common.formulas.lanes import FORMATS
from irgrad.backends.common.formulas.table import ARITY, FORMULAS
from irgrad.backends.numba_cpu.llvm.vector_math_builder import Lanes, Vec, vector_types


def math_function(module: ir.Module, name: str, scalar: str, width: int) -> ir.Function:
    """The function `name` of FORMULAS over `<width x scalar>` vectors, made once a module.

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
    result = FORMULAS[name](lanes, *(Vec(lanes, a) for a in function.args))
    lanes.builder.ret(result.value)
    return function
