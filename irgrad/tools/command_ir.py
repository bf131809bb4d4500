"""`irgrad ir`: the text of a graph, as traced or after passes, and of its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from ..driver import stage_graphs
from ..errors import ArgumentError
from ..ir.graph import Graph
from ..ir.printer import print_graph
from ..kernel.text import print_kernel
from ..passes.lower import lower
from ..runtime.options import Options
from .options import Numerics, NumericsOption, SourceArgument, SpecOption, VerboseOption
from .report import UsageError, reported, say
from .source import load_source
from .source_graph import read_graph

HELP = """Print the IR of a function: the graph that irgrad makes of it.

Examples:

    irgrad ir model.py:loss --spec 'f32[n,784]' --spec 'f32[784,10]'

    irgrad ir model.py:loss --spec 'f32[8,784]' --spec 'f32[784,10]' --stage fuse

    irgrad ir graph.irg --kernels

The text can be saved to a file that ends in .irg and given back as SOURCE.
"""


def ir(
    source: SourceArgument,
    spec: SpecOption = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            metavar="NAME",
            help="Print the graph after this pass, not as traced; see --all for names.",
            show_default=False,
        ),
    ] = None,
    all_stages: Annotated[
        bool, typer.Option("--all", help="Print the graph as traced and after each pass.")
    ] = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Print the kernels instead of the graph.")
    ] = False,
    locations: Annotated[
        bool, typer.Option("--locations", help="Show the source lines of each node.")
    ] = False,
    numerics: NumericsOption = Numerics.stable,
    verbose: VerboseOption = False,
) -> None:
    """Print the text that was asked for; the graph as traced by default."""
    with reported(verbose):
        options = Options(numerics=numerics.value)
        _check_alone({"--stage": stage is not None, "--all": all_stages, "--kernels": kernels})
        _check_alone({"--locations": locations, "--kernels": kernels})
        graph = read_graph(load_source(source), spec or ())
        if all_stages:
            say(_all_text(graph, options, locations))
        elif kernels:
            say(kernel_text(list(stage_graphs(graph, options).values())[-1]))
        else:
            name = "traced" if stage is None else stage
            say(print_graph(_stage(graph, name, options), locations=locations))


def _check_alone(options: Mapping[str, bool]) -> None:
    """Raise UsageError where several options are given that exclude each other."""
    given = [name for name, present in options.items() if present]
    if len(given) > 1:
        raise UsageError(f"expected one of {', '.join(options)}, got {' and '.join(given)}")


def _stage(graph: Graph, name: str, options: Options) -> Graph:
    if name == "traced":
        return graph
    stages = stage_graphs(graph, options)
    if name not in stages:
        raise ArgumentError(f"--stage: expected one of {', '.join(stages)}, got {name!r}")
    return stages[name]


def _all_text(graph: Graph, options: Options, locations: bool) -> str:
    """Each stage after a comment with its name."""
    return "\n".join(
        f"# {name}\n{print_graph(at, locations=locations)}"
        for name, at in stage_graphs(graph, options).items()
    )


def kernel_text(fused: Graph) -> str:
    """The kernels of a fused graph, each once, in order of their first call."""
    return "\n".join(print_kernel(kernel) for kernel in lower(fused).kernels)
