"""`irgrad bisect`: the pass, rule or kernel that makes a case wrong, and a small case of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ..ir.types import dtype_of
from ..passes.pipeline import pipeline
from ..runtime.options import Options
from ..testing.bisection import BUDGET, SMALL, Bisection, bisect_graph
from ..testing.fault_search import CHECKS, Search
from .command_run import output_beside
from .files import check_output, check_storable, read_arrays, write_arrays, write_file
from .options import (
    Emit,
    EmitOption,
    Numerics,
    NumericsOption,
    SourceArgument,
    SpecOption,
    VerboseOption,
)
from .report import FAILED, UsageError, printable, reported, say
from .source import TEXT, load_source
from .source_graph import admit_arrays, check_sizes, read_graph, read_graph_for, without_captures

HELP = """Find the pass, rewrite rule or kernel that makes a function wrong, and a small case of it.

Examples:

    irgrad bisect model.py:loss --spec 'f32[8,784]' --spec 'f32[784,10]' --output small.irg

    irgrad bisect model.py:loss --inputs a.npz --check passes

    irgrad bisect small.irg

Each pass and each kernel is compared with the interpreter, which runs the function with NumPy; the
derivative rules of its ops are compared with differences. Of the first difference it prints what
makes it: the pass with the number of its edit and the rule, the kernel with its ops, whether its
code or its kernel IR is wrong, or the op with its rule; and the lines of the source. The case is
then made small while the same fault shows. The small case is IR text: it goes to --output, else it
is printed.

Without --inputs the arrays are random, and named sizes are small numbers. A small case that needs
its arrays gets a .npz file beside it, for --inputs.

The exit code is 0 where nothing is wrong, and 1 where something is.
"""


class Check(StrEnum):
    """What is looked at."""

    all = "all"
    passes = "passes"
    kernels = "kernels"
    gradients = "gradients"


def bisect(
    source: SourceArgument,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="A.npz", help="The arguments.", show_default=False),
    ] = None,
    spec: SpecOption = None,
    check: Annotated[Check, typer.Option("--check", help="What to look at.")] = Check.all,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="SMALL.irg",
            help="Where to write the small case; without it it is printed.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", min=0, max=10**6, help="Smaller cases to try at most.")
    ] = BUDGET,
    numerics: NumericsOption = Numerics.stable,
    emit: EmitOption = Emit.llvm,
    verbose: VerboseOption = False,
) -> None:
    """Print what is wrong, or what was checked."""
    with reported(verbose):
        options = Options(numerics=numerics.value, emit=emit.value)
        file = None if output is None else _check_files(output, source)
        search = Search(
            CHECKS if check == Check.all else (check.value,),
            options,
            tuple(pipeline(options.numerics)),
        )
        found = _bisect(source, inputs, spec or (), search, budget)
        say("\n".join(map(printable, str(found).splitlines())) + "\n")
        if found.found:
            say(_write(found, file, output) if file and output else f"\n{found.ir}")
            raise typer.Exit(FAILED)


def _bisect(
    source: str, inputs: str | None, spec: list[str] | tuple[()], search: Search, budget: int
) -> Bisection:
    if inputs is None:
        graph = read_graph(load_source(source), spec)
        check_sizes(graph)
        whole = all(array is not None for array in graph.captures.values())
        return bisect_graph(graph if whole else without_captures(graph), None, search, budget)
    arrays = read_arrays(inputs)
    graph = read_graph_for(load_source(source), spec, arrays)
    check_sizes(graph)
    return bisect_graph(graph, admit_arrays(graph, arrays), search, budget)


def _check_files(output: str, source: str) -> str:
    """The absolute path of the small case; the file of its arrays must be writable too."""
    if not output.endswith(TEXT):
        raise UsageError(f"--output: expected a file that ends in {TEXT}, got {output!r}")
    check_output(_beside(output))
    return output_beside(output, source)


def _beside(path: str) -> str:
    """The file of arrays that belongs to a file of IR text."""
    return path.removesuffix(TEXT) + ".npz"


def _write(found: Bisection, file: str, shown: str) -> str:
    """Write the small case and say how to look at it again."""
    assert found.graph is not None, "a fault comes with a case"
    command = f"irgrad bisect {shown}"
    if not found.random:
        arrays = {f"arr_{i}": array for i, array in enumerate(found.arguments)}
        check_storable({name: dtype_of(x.dtype).numpy for name, x in arrays.items()})
        write_arrays(_beside(file), arrays)
        command += f" --inputs {_beside(shown)}"
    write_file(file, lambda to: to.write(found.ir.encode(errors="backslashreplace")))
    count = len(found.graph)
    more = f"; more than {SMALL}: try a larger --budget" if count > SMALL else ""
    return f"{printable(shown)}: {count} nodes{more}; again: {printable(command)}\n"
