"""irgrad: numpy-style functions, compiled to fused forward and backward kernels.

    import irgrad as ig
    import irgrad.numpy as np

    step = ig.jit(ig.value_and_grad(loss))

Names that are not listed in `__all__` are not public.
"""

from . import errors, ir, linalg, nn, numpy, optim, random, testing
from .batching import vmap
from .custom_rules import custom_jvp, custom_vjp, linear_call
from .differentiation import (
    grad,
    hvp,
    jvp,
    linearize,
    stop_gradient,
    value_and_grad,
    vjp,
)
from .jacobians import hessian, jacobian
from .jitted import explain_retraces
from .runtime.compiled import Compiled
from .runtime.options import Options
from .tracing.trace import trace
from .transforms import check, compile, jit, spec

__version__ = "0.1.0"

__all__ = [
    "Compiled",
    "Options",
    "check",
    "compile",
    "custom_jvp",
    "custom_vjp",
    "errors",
    "explain_retraces",
    "grad",
    "hessian",
    "hvp",
    "ir",
    "jacobian",
    "jit",
    "jvp",
    "linalg",
    "linear_call",
    "linearize",
    "nn",
    "numpy",
    "optim",
    "random",
    "spec",
    "stop_gradient",
    "testing",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
]
