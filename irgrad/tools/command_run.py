"""`irgrad run`: compile, run on the arrays of a .npz file, write the results to another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import typer

from ..driver import compile_graph
from ..errors import ArgumentError, brief
from ..ir.graph import Graph
from ..ir.types import TensorType, dtype_of
from ..runtime.options import Options
from ..tracing.trees import spec_of
from .files import check_output, check_storable, read_arrays, write_arrays
from .options import (
    Numerics,
    NumericsOption,
    SourceArgument,
    SpecOption,
    TargetOption,
    VerboseOption,
)
from .report import UsageError, printable, reported, say
from .source import load_source, source_file
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
        str | None,
        typer.Option("--inputs", metavar="A.npz", help="The arguments.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="B.npz",
            help="Where to write the results; without it they are printed.",
            show_default=False,
        ),
    ] = None,
    spec: SpecOption = None,
    target: TargetOption = "cpu",
    numerics: NumericsOption = Numerics.stable,
    verbose: VerboseOption = False,
) -> None:
    """Run a source once."""
    with reported(verbose):
        options = Options(numerics=numerics.value)
        target_file = None if output is None else output_beside(output, source)
        arrays = {} if inputs is None else read_arrays(inputs)
        graph = read_graph_for(load_source(source), spec or (), arrays)
        names = _result_names(graph)
        if target_file is not None:
            types = [graph.type(value) for value in graph.outputs]
            check_storable({name: type_.dtype.numpy for name, type_ in zip(names, types)})
        results = run_once(graph, arrays, target, options)
        if target_file is not None:
            write_arrays(target_file, results)
        else:
            for name, array in results.items():
                say(_shown(name, array))


def output_beside(output: str, source: str) -> str:
    """The absolute path of a file to write, taken before the source runs, which may go elsewhere.

    Raises FileError where it cannot be written, UsageError where it is the source's own.
    """
    path = check_output(output)
    file = source_file(source)
    if os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
        raise UsageError(f"--output: expected a file beside the source, got {brief(output)} itself")
    return path


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
    names = [".".join(["result", *map(str, path)]) for path in tree.paths()]
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ArgumentError(
            f"output: expected results of unlike names, got {brief(name)} twice; change the keys "
            "of the dicts that the function returns"
        )
    return tuple(names)


def _shown(name: str, array: np.ndarray) -> str:
    """A line with name and type, then the values as NumPy prints them."""
    return f"{printable(name)}: {TensorType(dtype_of(array.dtype), array.shape)}\n{array}\n"
