"""The command line `irgrad`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from . import (
    command_bisect,
    command_compile,
    command_diff,
    command_doctor,
    command_grad,
    command_ir,
    command_passes,
    command_profile,
    command_run,
    command_view,
)
from .bench.command import bench_app
from .report import FAILED, complain, not_written, reported, say

HELP = """irgrad compiles numpy-style functions to fused kernels, and shows every step of it.

A first look, with a file model.py that holds a function f of two arrays:

    irgrad ir model.py:f --spec 'f32[8,4]' --spec 'f32[4]'

Each command explains itself with --help.
"""


def main() -> None:
    """Run the command line and leave Python with its exit code.

    0: done. 1: the input or the program is at fault; one line on stderr says how. 2: wrong use.
    """
    try:
        make_app()()
    except OSError as error:  # commands report theirs: typer could not print its help
        complain(str(not_written(error)))
        sys.exit(FAILED)


def make_app() -> typer.Typer:
    """The command line as an application of typer."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_irgrad)
    app.command("ir", help=command_ir.HELP)(command_ir.ir)
    app.command("run", help=command_run.HELP)(command_run.run)
    app.command("passes", help=command_passes.HELP)(command_passes.passes)
    app.command("diff", help=command_diff.HELP)(command_diff.diff)
    app.command("grad", help=command_grad.HELP)(command_grad.grad)
    app.command("compile", help=command_compile.HELP)(command_compile.compile_source)
    app.command("view", help=command_view.HELP)(command_view.view)
    app.command("profile", help=command_profile.HELP)(command_profile.profile)
    app.command("bisect", help=command_bisect.HELP)(command_bisect.bisect)
    app.add_typer(bench_app(), name="bench")
    app.command("doctor", help=command_doctor.HELP)(command_doctor.doctor)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        with reported(verbose=False):
            say(f"irgrad {version('irgrad')}\n")
        raise typer.Exit()


def _irgrad(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


if __name__ == "__main__":
    main()
