"""`irgrad view`: all that the compiler makes of a function as one HTML page."""

from __future__ import annotations

import os
import re
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ..driver import compile_graph
from ..errors import FileError, brief
from ..runtime.options import Options
from .files import check_output, write_file
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
from .source_graph import check_sizes, read_graph, without_captures

HELP = """Show what is inside of a compiled function: write one HTML page about it.

Examples:

    irgrad view model.py:loss --spec 'f32[128,784]' --spec 'f32[784,10]' --open

    irgrad view graph.irg --output graph.html

The page needs no other file and no network. It shows the source, the graph as traced and after each
pass, each kernel as kernel IR, Numba source, LLVM and assembly, and the memory of a run; a click on
a line or a node marks what belongs to it everywhere else. Numbers in arrays are not in the page.
"""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def view(
    source: SourceArgument,
    spec: SpecOption = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="PAGE.html",
            help="The file to write; by default the function's name with .html.",
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Show the page in the browser.")
    ] = False,
    target: TargetOption = "cpu",
    numerics: NumericsOption = Numerics.stable,
    emit: EmitOption = Emit.llvm,
    verbose: VerboseOption = False,
) -> None:
    """Compile a source and write its page."""
    with reported(verbose):
        options = Options(numerics=numerics.value, emit=emit.value)
        name = _default_name(source) if output is None else output
        path = _check_page(name, source)  # before the source runs, which may go elsewhere
        graph = without_captures(read_graph(load_source(source), spec or ()))
        check_sizes(graph)
        compiled = compile_graph(graph, target=target, options=options)
        page = compiled.report(html=True).encode(errors="backslashreplace")
        write_file(path, lambda file: file.write(page))
        say(f"{printable(name)}: {len(page):,} bytes, {len(compiled.kernels)} kernels\n")
        if open_page and not webbrowser.open(Path(path).as_uri()):
            raise FileError(f"--open: expected a browser, got none; the page is {printable(name)}")


def _default_name(source: str) -> str:
    """The function's name, or that of the file of IR text, in the present folder."""
    file, _, function = source.rpartition(":")
    stem = os.path.splitext(os.path.basename(source))[0] if source == source_file(source) else (
        function if file else "page"
    )
    return f"{_NOT_IN_NAMES.sub('_', stem) or 'page'}.html"


def _check_page(output: str, source: str) -> str:
    """The absolute path of the page, which is no file that the command reads."""
    path = check_output(output)
    file = source_file(source)
    if os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
        raise UsageError(f"--output: expected a file beside the source, got {brief(output)} itself")
    return path
