"""`irgrad bench accuracy`: the command, and how it prints."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ...errors import CheckError
from ..options import VerboseOption
from ..report import UsageError, printable, reported, say
from .errors import BOUNDS
from .functions import Function, all_functions
from .measure import (
    DTYPES,
    PATTERNS,
    Job,
    Progress,
    Reference,
    code_of,
    compile_function,
    make_jobs,
    run_job,
)
from .progress import ProgressFile, open_progress

MAX_ULP = 2.0
SAVE_SECONDS = 5.0
INTERRUPTED = 130  # the exit code that shells give for ^C
WIDTH = 150
HELP = """Measure the errors of the mathematical functions in ulp.

Example:

    pip install "irgrad[accuracy]"

    irgrad bench accuracy --function erf --function pow

A function of one f32 argument is compared with float64 at all of its 4294967296 arguments, in 1 to
3 minutes on an idle core; pow and atan2 at 2**30 pairs, a quarter of them beside hard values, a
quarter of any bits, half where the function moves. f64 is compared with long double and, by way of
gmpy2, with MPFR, at points that lie densely where functions are hard. Stop it with ^C: the same
command goes on where it stopped. An error above 2 ulp ends in exit code 1.
"""
COLUMNS = ("function", "dtype", "reference", "points", "max ulp", "at",
           *(f"> {bound:g}" for bound in BOUNDS), "wrong", "its error")


def accuracy(
    function: Annotated[
        list[str] | None,
        typer.Option("--function", metavar="NAME", show_default=False,
                     help=f"One of {', '.join(all_functions())}; all by default."),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", help="f32 or f64; both by default.", show_default=False),
    ] = None,
    reference: Annotated[
        list[Reference] | None,
        typer.Option("--reference", show_default=False,
                     help="float64 for f32, mpfr and longdouble for f64; all by default."),
    ] = None,
    points: Annotated[
        int | None,
        typer.Option("--points", min=1, max=PATTERNS, show_default=False,
                     help="How many, instead of all arguments for f32 (2**30 pairs), 1e6 for mpfr "
                     "and 1e8 for longdouble."),
    ] = None,
    progress: Annotated[
        str, typer.Option("--progress", metavar="FILE", help="What is measured so far.")
    ] = "accuracy.json",
    verbose: VerboseOption = False,
) -> None:
    """Measure, print a table, and fail where an error is above MAX_ULP."""
    with reported(verbose):
        jobs = make_jobs(
            find_functions(function), find_dtypes(dtype), reference or list(Reference), points
        )
        if not jobs:
            raise UsageError("--reference: expected float64 for f32, mpfr or longdouble for f64 "
                             "(which has no erf and no erfc)")  # fmt: skip
        file = open_progress(progress)
        try:
            run_jobs(jobs, file)
        except KeyboardInterrupt:
            print_table(jobs, file)
            say(f"stopped; the same command goes on from {printable(progress)}\n")
            raise typer.Exit(INTERRUPTED) from None
        print_table(jobs, file)
        check_errors(jobs, file)


def find_functions(names: list[str] | None) -> list[Function]:
    """The functions of such names, all where there are none; UsageError for an unknown one."""
    known = all_functions()
    for name in names or ():
        if name not in known:
            raise UsageError(f"--function: expected one of {', '.join(known)}, got {name!r}")
    return [known[name] for name in dict.fromkeys(names or known)]


def find_dtypes(names: list[str] | None) -> list[str]:
    """The dtypes of such names, all where there are none; UsageError for an unknown one."""
    for name in names or ():
        if name not in DTYPES:
            raise UsageError(f"--dtype: expected one of {', '.join(DTYPES)}, got {name!r}")
    return list(dict.fromkeys(names or DTYPES))


def run_jobs(jobs: list[Job], file: ProgressFile) -> None:
    """Bring every job to its end; the file is saved on the way, and however this ends."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    try:
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            saved = time.monotonic()
            for job in jobs:
                task = bar.add_task(job.key, total=job.points)
                compiled = compile_function(job.function, job.dtype)
                start = start_of(job, file, code_of(compiled))
                for now in run_job(job, compiled, start):
                    file.jobs[job.key] = now
                    bar.update(task, completed=now.done)
                    if time.monotonic() > saved + SAVE_SECONDS:
                        file.save()
                        saved = time.monotonic()
                bar.remove_task(task)
    finally:
        file.save()


def start_of(job: Job, file: ProgressFile, code: str) -> Progress:
    """Where a job begins: at what the file holds, or anew where that is of other machine code."""
    found = file.jobs.get(job.key)
    return found if found is not None and found.code == code else Progress(code)


def check_errors(jobs: list[Job], file: ProgressFile) -> None:
    """Raise CheckError where a measured error is above MAX_ULP."""
    for job in jobs:
        tally = file.jobs[job.key].tally
        if not tally.worst <= MAX_ULP:
            raise CheckError(
                f"{job.function.name} {job.dtype}: expected errors of at most {MAX_ULP:g} ulp, got "
                f"{tally.worst:.4g} at {', '.join(tally.at)}: {tally.got} in place of "
                f"{tally.wanted}"
            )


# -- the table -------------------------------------------------------------------------------------


def print_table(jobs: list[Job], file: ProgressFile) -> None:
    """Print what is known of the jobs."""
    table = Table(title="accuracy", title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number < 3 else "right", no_wrap=True)
    for row in table_rows(jobs, file):
        table.add_row(*row)
    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    say(captured.get())
    say("> 0.5 to > 2: the share of points with a larger error, in ulp. its error: the largest of "
        "the reference itself at a sample, in ulp of the function's dtype.\n")  # fmt: skip


def table_rows(jobs: list[Job], file: ProgressFile) -> list[tuple[str, ...]]:
    """The rows of the jobs that have begun."""
    rows = []
    for job in jobs:
        found = file.jobs.get(job.key)
        if found is None:
            continue
        tally = found.tally
        known = "" if found.reference_error is None else f"{found.reference_error:.1e}"
        rows.append(
            (job.function.name, job.dtype, job.reference.value, _points(job, found),
             f"{tally.worst:.3f}", " ".join(_decimal(x, job.dtype) for x in tally.at),
             *(_share(count, tally.points) for count in tally.over), str(tally.wrong or ""), known)
        )  # fmt: skip
    return rows


def _points(job: Job, progress: Progress) -> str:
    if progress.done == job.points:
        return "all 2**32" if job.exhaustive else f"{job.points:.4g}"
    return f"{progress.done:.3g} of {job.points:.3g}"


def _decimal(text: str, dtype: str) -> str:
    """The shortest decimal number that is this hexadecimal one in the dtype."""
    return str(DTYPES[dtype].type(float.fromhex(text)))


def _share(count: int, points: int) -> str:
    return f"{count / points:.1e}" if count else ""
