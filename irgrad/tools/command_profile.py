"""`irgrad profile`: where the time of a function goes, by kernel or by source line."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import numpy as np
import optree
import typer

from ..driver import compile_graph
from ..errors import ArgumentError, brief
from ..ir.graph import Graph, Value
from ..ir.types import TensorType
from ..runtime.options import Options
from ..runtime.profiling import MAX_ROUNDS
from ..tracing.trees import spec_of
from .files import check_output, read_arrays, write_file
from .options import (
    Emit,
    EmitOption,
    Numerics,
    NumericsOption,
    SourceArgument,
    SpecOption,
    TargetOption,
    VerboseOption,
)
from .report import UsageError, printable, reported, say
from .source import load_source, source_file
from .source_graph import (
    admit_arrays,
    argument_names,
    check_sizes,
    read_graph,
    read_graph_for,
    without_captures,
)

HELP = """Time each kernel of a compiled function, and name the source lines that it computes.

Examples:

    irgrad profile model.py:loss --spec 'f32[128,784]' --spec 'f32[784,10]' --by line

    irgrad profile model.py:f --inputs a.npz --rounds 100 --output trace.json

The table has the least and the median time over the rounds, and flops and bytes for each kernel
call. A fused kernel computes several lines and is timed as a whole: by line, a line takes at least
the time of the kernels that it has alone, at most that and the time of those it shares. The file
of --output is for Perfetto or chrome://tracing. Without --inputs the arguments are random: floats
from 0.5 to 2, integers 0 or 1.
"""


class View(StrEnum):
    """What a row of the table stands for."""

    kernel = "kernel"
    line = "line"


def profile(
    source: SourceArgument,
    spec: SpecOption = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="A.npz",
            help="The arguments, as for `irgrad run`.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="TRACE.json",
            help="Where to write the compile and the first rounds as a trace.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="How often it runs.")] = 20,
    by: Annotated[View, typer.Option("--by", help="What the rows are.")] = View.kernel,
    target: TargetOption = "cpu",
    numerics: NumericsOption = Numerics.stable,
    emit: EmitOption = Emit.llvm,
    verbose: VerboseOption = False,
) -> None:
    """Compile a source, run it some times and tell of it."""
    with reported(verbose):
        if not 1 <= rounds <= MAX_ROUNDS:
            raise UsageError(f"--rounds: expected 1 to {MAX_ROUNDS:,}, got {brief(rounds)}")
        options = Options(numerics=numerics.value, emit=emit.value)
        path = None if output is None else _check_output(output, source, inputs)
        graph, leaves = _graph_and_arrays(source, spec or [], inputs)
        compiled = compile_graph(graph, target=target, options=options)
        arguments = optree.tree_unflatten(spec_of(graph.signature.inputs), leaves)
        found = compiled.profile(*arguments, rounds=rounds)
        if path is not None:
            trace = found.chrome_trace().encode()
            write_file(path, lambda file: file.write(trace))
        say("".join(f"{printable(line)}\n" for line in found.text(by.value).splitlines()))


def _check_output(output: str, source: str, inputs: str | None) -> str:
    """The absolute path of the trace, which is no file that the command reads."""
    path = check_output(output)
    for file in (source_file(source), inputs):
        if file and os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
            raise UsageError(
                f"--output: expected a file beside what is read, got {brief(output)} itself"
            )
    return path


def _graph_and_arrays(
    source: str, specs: list[str], inputs: str | None
) -> tuple[Graph, tuple[np.ndarray, ...]]:
    if inputs is not None:
        arrays = read_arrays(inputs)
        graph = read_graph_for(load_source(source), specs, arrays)
        check_sizes(graph)
        return graph, admit_arrays(graph, arrays)
    graph = without_captures(read_graph(load_source(source), specs))
    check_sizes(graph)
    return graph, random_arrays(graph)


def random_arrays(graph: Graph) -> tuple[np.ndarray, ...]:
    """Arguments of a graph from a fixed seed: floats from 0.5 to 2, integers and bools 0 or 1.

    Raises ArgumentError where a size is not a number.
    """
    random = np.random.default_rng(0)
    names = argument_names(graph)
    types = [graph.type(Value(key)) for key in graph.inputs[: len(names)]]
    return tuple(_random_array(random, name, type_) for name, type_ in zip(names, types))


def _random_array(random: np.random.Generator, name: str, type_: TensorType) -> np.ndarray:
    sizes = tuple(size for size in type_.shape if isinstance(size, int))
    if len(sizes) != type_.rank:
        raise ArgumentError(
            f"{printable(name)}: expected a type with numbers, or --inputs, got {type_}"
        )
    if type_.dtype.is_float:
        return random.uniform(0.5, 2.0, sizes).astype(type_.dtype.numpy)
    return random.integers(0, 2, sizes).astype(type_.dtype.numpy)
