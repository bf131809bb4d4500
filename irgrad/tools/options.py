"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Numerics(StrEnum):
    """Classes of rewrites, as in `Options.numerics`."""

    exact = "exact"
    stable = "stable"
    approximate = "approximate"


class Emit(StrEnum):
    """Forms that kernels are compiled from, as in `Options.emit`."""

    llvm = "llvm"
    numba = "numba"


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="file.py:function, or a file of IR text that ends in .irg.",
        show_default=False,
    ),
]
SpecOption = Annotated[
    list[str] | None,
    typer.Option(
        "--spec",
        metavar="TYPE",
        help="The type of an argument, such as 'f32[128,784]' or 'f32[n,784]'. Once for each array "
        "among the arguments, in order. Not needed where the source has types: IR text, or "
        "jit(specs=...).",
        show_default=False,
    ),
]
TargetOption = Annotated[
    str,
    typer.Option("--target", metavar="NAME", help="What runs it: cpu, or reference (NumPy, slow)."),
]
NumericsOption = Annotated[
    Numerics, typer.Option("--numerics", help="The highest class of rewrites that may be used.")
]
EmitOption = Annotated[
    Emit,
    typer.Option("--emit", help="The form that kernels are compiled from: LLVM, or Python for "
                 "Numba."),
]  # fmt: skip
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print all lines of an error.")
]
