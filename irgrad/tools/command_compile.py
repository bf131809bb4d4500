"""`irgrad compile`: a folder with all that the compiler makes of a function."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from ..driver import compile_graph
from ..ir.graph import Graph
from ..runtime.compiled import Compiled
from ..runtime.options import Options
from .files import check_new_folder, new_folder
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
from .report import printable, reported, say
from .source import load_source
from .source_graph import check_sizes, read_graph, without_captures

HELP = """Compile a function and write a folder with every step of it.

Example:

    irgrad compile model.py:loss out --spec 'f32[128,784]' --spec 'f32[784,10]'

The folder must not exist yet. It receives stages/ (the graph as traced and after each pass,
numbered), kernels/ (each kernel as kernel IR, as a Python file that runs by itself, as LLVM and
assembly), report.txt (kernels, memory and compile times), rewrites.txt (how often each rule fired)
and the object file, where LLVM made one. All sizes must be numbers.
"""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


def compile_source(
    source: SourceArgument,
    folder: Annotated[
        str,
        typer.Argument(metavar="OUTDIR", help="The folder to make.", show_default=False),
    ],
    spec: SpecOption = None,
    target: TargetOption = "cpu",
    numerics: NumericsOption = Numerics.stable,
    emit: EmitOption = Emit.llvm,
    verbose: VerboseOption = False,
) -> None:
    """Compile a source and describe the result in files."""
    with reported(verbose):
        options = Options(numerics=numerics.value, emit=emit.value)
        target_folder = check_new_folder(folder)  # before the source runs, which may go elsewhere
        graph = without_captures(read_graph(load_source(source), spec or ()))
        compiled = _compile(graph, target, options)
        with new_folder(target_folder) as path:
            count = write_compiled(compiled, path)
        say(f"{printable(folder)}: {count} files, {len(compiled.kernels)} kernels\n")


def _compile(graph: Graph, target: str, options: Options) -> Compiled:
    check_sizes(graph)
    return compile_graph(graph, target=target, options=options)


def write_compiled(compiled: Compiled, folder: str) -> int:
    """Write all files about a compiled function into a folder; give their number."""
    files: dict[str, str | bytes] = {}
    for number, name in enumerate(compiled.stages):
        files[f"stages/{number:02}_{_file_name(name)}.irg"] = compiled.ir(name)
    for kernel in compiled.kernels:
        name = _file_name(kernel.name)
        files[f"kernels/{name}.txt"] = kernel.text
        files[f"kernels/{name}.py"] = kernel.source("numba")
        files[f"kernels/{name}.ll"] = kernel.source("llvm")
        files[f"kernels/{name}.s"] = kernel.source("asm")
    files["report.txt"] = compiled.report()
    files["rewrites.txt"] = compiled.explain()
    data = compiled.object_file()
    if data is not None:
        files[f"{_file_name(compiled.graph.name)}.o"] = data
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            if isinstance(content, str):  # names of files may not be text of any encoding
                content = content.encode(errors="backslashreplace")
            file.write(content)
    return len(files)


def _file_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:100]
