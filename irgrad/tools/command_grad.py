"""`irgrad grad`: the graph of a function's derivative, as IR text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from ..autodiff import gradient_graph, vjp_graph
from ..errors import ArgumentError, DifferentiationError, brief
from ..ir.graph import Graph, Value
from ..ir.location import gradient_of
from ..ir.printer import print_graph
from ..ir.signature import LEAF, Signature, Tree, flat_tree
from ..ops.check import verify
from ..ops.registry import builder
from ..ops.structured import has_tangent
from .command_run import output_beside
from .files import write_file
from .options import SourceArgument, SpecOption, VerboseOption
from .report import UsageError, printable, reported, say
from .source import TEXT, load_source
from .source_graph import argument_names, read_graph

HELP = """Differentiate a function and print the IR text of its gradient.

Examples:

    irgrad grad model.py:loss --spec 'f32[8,784]' --spec 'f32[784,10]' --wrt w --value

    irgrad grad graph.irg --seed ones --output gradient.irg

The result takes the arguments of the function and gives the gradient by each argument that --wrt
names, in that order. A function with one scalar float result needs no --seed. For others, ones
gives the gradient of the sum of all float results; input adds an argument for each float result,
the cotangent that is pulled back.

The text can be given to the other commands, such as irgrad run gradient.irg --inputs a.npz, and to
irgrad grad again.
"""


class Seed(StrEnum):
    """What reverse mode starts from."""

    scalar = "scalar"
    ones = "ones"
    input = "input"


def grad(
    source: SourceArgument,
    wrt: Annotated[
        str | None,
        typer.Option(
            "--wrt",
            metavar="NAME,...",
            help="The arguments to differentiate by; all float ones by default. A name such as "
            "params stands for params.w and params.b too.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        bool, typer.Option("--value", help="Give the function's results first.")
    ] = False,
    seed: Annotated[Seed, typer.Option("--seed", help="What to start from.")] = Seed.scalar,
    spec: SpecOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="B.irg", help="Where to write it; without it it is printed.",
            show_default=False,
        ),
    ] = None,
    locations: Annotated[
        bool, typer.Option("--locations", help="Show the source lines of each node.")
    ] = False,
    verbose: VerboseOption = False,
) -> None:
    """Print the differentiated graph."""
    with reported(verbose):
        file = None if output is None else _check_output(output, source)
        graph = read_graph(load_source(source), spec or ())
        active = _active(graph, wrt)
        found = derived_graph(graph, active, seed.value, value)
        verify(found, "traced")
        text = print_graph(found, locations=locations)
        if file is None:
            say(text)
        else:
            write_file(file, lambda to: to.write(text.encode(errors="backslashreplace")))
            say(f"{printable(output or '')}: {len(found)} nodes\n")


def _check_output(output: str, source: str) -> str:
    if not output.endswith(TEXT):
        raise UsageError(f"--output: expected a file that ends in {TEXT}, got {brief(output)}")
    return output_beside(output, source)


def _active(graph: Graph, wrt: str | None) -> list[int]:
    """The positions of the arguments to differentiate by.

    Raises ArgumentError for names that no argument has, DifferentiationError where none is float.
    """
    names = argument_names(graph)
    floats = [i for i in range(len(names)) if has_tangent(graph.type(Value(graph.inputs[i])))]
    if wrt is None:
        if not floats:
            raise DifferentiationError(f"{graph.name}: expected an argument of float type, got "
                                       "none")
        return floats
    active: list[int] = []
    for name in wrt.split(","):
        under = [i for i, own in enumerate(names) if own.startswith(f"{name}.") and i in floats]
        found = [names.index(name)] if name in names else under
        if not found:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {printable(near[0])}?" if near else ""
            known = printable(", ".join(names))[:200]
            raise ArgumentError(
                f"--wrt: expected names among {known or '(none)'}, got {brief(name)}{hint}"
            )
        active += [i for i in found if i not in active]
    return active


def derived_graph(graph: Graph, active: Sequence[int], seed: str, value: bool) -> Graph:
    """The gradient of a graph by some arguments: of its scalar result, or pulled back from ones or
    from new arguments, which are named ct_0, ct_1, ... where those are free

    Raises DifferentiationError where there is no such gradient.
    """
    if seed == "scalar":
        try:
            return gradient_graph(graph, active, value)
        except DifferentiationError as error:
            if str(error).startswith("gradient: expected"):
                first, *rest = str(error).split("\n")
                hint = f"{first}; give --seed ones or --seed input"
                raise DifferentiationError("\n".join([hint, *rest])) from None
            raise
    work = vjp_graph(graph, active)  # which keeps the keys of the inputs
    captures = list(graph.captures)
    arguments = [key for key in graph.inputs if key not in graph.captures]
    seeds = work.inputs[len(graph.inputs) :]
    if not seeds:
        raise DifferentiationError(f"{graph.name}: expected a float result, got none")
    names = [] if seed == "ones" else _new_names(argument_names(graph), len(seeds))
    if names:
        for key, name in zip(seeds, names):
            work.update(key, name=name)
    else:
        for key in seeds:
            one = builder(work, gradient_of(graph[graph.outputs[0].node].locations))
            work.replace(Value(key), one.constant(1, work.type(Value(key))).value, "seed")
    work.outputs = work.outputs if value else work.outputs[len(graph.outputs) :]
    work.inputs = [*arguments, *(seeds if names else ()), *captures]
    work.captures = dict(graph.captures)
    work.prune()
    for position, key in enumerate(work.inputs):
        work.update(key, attributes=(("index", position),))
    work.signature = _signature(graph, names, len(active), value)
    return work


def _new_names(taken: Sequence[str], wanted: int) -> list[str]:
    """The first names ct_0, ct_1, ... that no argument has."""
    names = (f"ct_{i}" for i in range(len(taken) + wanted))
    return [name for name in names if name not in taken][:wanted]


def _signature(graph: Graph, added: Sequence[str], gradients: int, value: bool) -> Signature:
    """The convention of the function with more arguments, whose result is the gradient, after the
    function's own result where `value` is true."""
    own = graph.signature
    children = own.inputs.children + (LEAF,) * len(added)
    found = LEAF if gradients == 1 else flat_tree(gradients)
    outputs = Tree("tuple", (own.outputs, found)) if value else found
    names = (*own.names, *added) if own.names else ()
    return replace(
        own, inputs=Tree("tuple", children), outputs=outputs, names=names, donated=frozenset()
    )

