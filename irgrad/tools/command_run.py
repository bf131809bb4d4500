"""`irgrad run`: compile, run on the arrays of a .npz file, write the results to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import typer

from ..driver import compile_graph
from ..ir.graph import Graph
from ..ir.types import TensorType, dtype_of
from ..runtime.options import Options
from ..tracing.trees import spec_of
from .files import check_output, read_arrays, write_arrays
from .options import (
    Numerics,
    NumericsOption,
    SourceArgument,
    SpecOption,
    TargetOption,
    VerboseOption,
)
from .report import printable, reported
from .source import load_source
from .source_graph import admit_arrays, check_sizes, read_graph_for

HELP = """Compile a function and run it on arrays from a .npz file.

Example:

    python -c "import numpy as np; np.savez('a.npz', x=np.ones((3, 4)), y=np.ones(4))"

    irgrad run model.py:f --inputs a.npz --output b.npz

The arrays of the file have the names of the function's arguments (nested ones as in params.w), or
are numbered arr_0, arr_1, ... as np.savez does it. Without --spec their types are those of the
arguments. Results are named result, or result.0, result.loss, ... where there are several.
"""


def run(
    source: SourceArgument,
    inputs: Annotated[
        str, typer.Option("--inputs", metavar="A.npz", help="The arguments.", show_default=False)
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="B.npz",
            help="Where to write the results; without it they are printed.",
            show_default=False,
        ),
    ] = "",
    spec: SpecOption = None,
    target: TargetOption = "cpu",
    numerics: NumericsOption = Numerics.stable,
    verbose: VerboseOption = False,
) -> None:
    """Run a source once."""
    with reported(verbose):
        options = Options(numerics=numerics.value)
        if output:
            check_output(output)
        arrays = read_arrays(inputs) if inputs else {}
        graph = read_graph_for(load_source(source), spec or (), arrays)
        results = run_once(graph, arrays, target, options)
        if output:
            write_arrays(output, results)
        else:
            for name, array in results.items():
                typer.echo(_shown(name, array))


def run_once(
    graph: Graph, arrays: Mapping[str, np.ndarray], target: str, options: Options
) -> dict[str, np.ndarray]:
    """The results of a graph by name, for arrays by the names of its arguments."""
    check_sizes(graph)
    leaves = admit_arrays(graph, arrays)
    compiled = compile_graph(graph, target=target, options=options)
    results = compiled.call_leaves(leaves)
    return dict(zip(_result_names(graph), results, strict=True))


def _result_names(graph: Graph) -> tuple[str, ...]:
    tree = spec_of(graph.signature.outputs)
    return tuple(".".join(["result", *map(str, path)]) for path in tree.paths())


def _shown(name: str, array: np.ndarray) -> str:
    """A line with name and type, then the values as NumPy prints them."""
    return f"{printable(name)}: {TensorType(dtype_of(array.dtype), array.shape)}\n{array}"
