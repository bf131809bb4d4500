"""`irgrad bench`: its commands, and how they print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..accuracy import command as accuracy_command
from ..files import check_output, write_file
from ..options import VerboseOption
from ..report import UsageError, reported, say
from . import calls as call_bench
from . import functions as function_bench
from . import hessians as hessian_bench
from . import matmul as matmul_bench
from . import nan as nan_bench
from . import peers as peer_bench
from . import sizes as size_bench
from . import start as start_bench
from .process import Process, measuring_core, processor
from .rounds import Clock
from .worker import PEERS
from .works import Work, all_works, find_works

WIDTH = 124
MAX_ROUNDS = 10**6
MAX_SIZE = 2**14  # 2 GiB a matrix
HELP = "Measure irgrad beside other libraries, in interleaved rounds on one core."
PEERS_HELP = """Time the same functions in irgrad, JAX and PyTorch.

Example:

    pip install "irgrad[peers]"

    irgrad bench peers --work softmax --rounds 5

For each work every library runs in a process of its own, on the same core with one thread, and all
have a turn in each round. Results are checked against float64. `irgrad / it` is the median of the
ratios by round: below 1, irgrad is faster. Libraries that are not installed are listed as missing.
"""
FUNCTIONS_HELP = """Time mathematical functions of 4 million elements in irgrad and JAX.

Example:

    pip install "irgrad[peers]"

    irgrad bench functions --function tanh --dtype f32

As `bench peers`: a process each, on the same core with one thread, a turn in each round.
`negative` takes what a pass over memory takes, fresh memory for the result included; with a size of
256 all stays in the cache.
"""
HESSIANS_HELP = """Time Hessians of functions of 200 parameters in irgrad and JAX.

Example:

    pip install "irgrad[peers]"

    irgrad bench hessians --function network

As `bench peers`: a process each, on the same core with one thread, a turn in each round. Each is
one compiled call, checked against the second derivatives written out in float64.
"""
MATMUL_HELP = """Time products of square matrices beside NumPy's, on one thread.

Example:

    irgrad bench matmul --dtype f32 --size 256 --size 333

NN is a @ b, NT a @ b.T, TN a.T @ b and TT a.T @ b.T.
"""
CALLS_HELP = """Time what a call costs beside its work.

Example:

    irgrad bench calls

A jitted call is measured in flattenings of its arguments by optree, a bound call in calls of an
empty C function.
"""
SIZES_HELP = """Time code for all batch sizes beside code for each of them.

Example:

    irgrad bench sizes --function step --batch 64 --batch 57

layer is tanh(x @ w + b), slope and weights are products of its backward pass, step is a training
step of two layers. `all / this` is the median of the ratios by round: above 1, code that is
compiled once for all sizes is slower than code for this size.
"""
NAN_HELP = """Time calls with `debug_nan` beside calls without it.

Example:

    irgrad bench nan --work softmax

Both run the same kernels; with the option results are read once more, and donated arrays copied.
"""
START_HELP = """Time the way from `import irgrad` to the first result of a training step.

Example:

    irgrad bench start --processes 3

Each sample is a fresh process without the disk cache and one that finds its code in a cache; the
step is that of a small network on 8x8 images.
"""

JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", help="Also write all measurements to a file.", show_default=False
    ),
]
ClockOption = Annotated[
    Clock,
    typer.Option(
        "--clock",
        help="wall: time that passes. cpu: time that the processor works for the contender: "
        "steadier on a machine that others use.",
    ),
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, max=MAX_ROUNDS, help="How many rounds.")
]
CallsOption = Annotated[
    int,
    typer.Option("--calls", min=1, max=MAX_ROUNDS, help="Calls of which a round is the median."),
]


def bench_app() -> typer.Typer:
    """The commands of `irgrad bench`."""
    app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="markdown")
    app.command("peers", help=PEERS_HELP)(peers)
    app.command("functions", help=FUNCTIONS_HELP)(functions)
    app.command("hessians", help=HESSIANS_HELP)(hessians)
    app.command("matmul", help=MATMUL_HELP)(matmul)
    app.command("calls", help=CALLS_HELP)(calls)
    app.command("nan", help=NAN_HELP)(nan)
    app.command("sizes", help=SIZES_HELP)(sizes)
    app.command("start", help=START_HELP)(start)
    app.command("accuracy", help=accuracy_command.HELP)(accuracy_command.accuracy)
    return app


def peers(
    work: Annotated[
        list[str] | None,
        typer.Option(
            "--work", metavar="NAME", help=f"One of {', '.join(all_works())}; all by default.",
            show_default=False,
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer", metavar="NAME", help=f"One of {', '.join(list(PEERS)[1:])}; all by default.",
            show_default=False,
        ),
    ] = None,
    rounds: RoundsOption = 15,
    calls: CallsOption = 5,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the works and print a table."""
    with reported(verbose):
        _check_json(json_file)
        works = find_works(work)
        names = [peer_bench.OURS, *find_peers(peer)]
        with _compared(works, names, rounds, calls, clock, json_file) as report:
            _print_table("peers", peer_bench.COLUMNS, peer_bench.peer_rows(report))
            for one in works:
                say(f"{one.name}: {one.what}, {one.shape[0]}x{one.shape[1]} float32\n")


def find_peers(names: list[str] | None) -> list[str]:
    """The other libraries of such names, all where there are none; UsageError for others."""
    known = [name for name in PEERS if name != peer_bench.OURS]
    for name in names or ():
        if name not in known:
            raise UsageError(f"--peer: expected one of {', '.join(known)}, got {name!r}")
    return list(dict.fromkeys(names or known))


def functions(
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function", metavar="NAME", show_default=False,
            help=f"One of {', '.join(function_bench.RANGES)}; all by default.",
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", help="f32 or f64; both by default.", show_default=False),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", min=1, max=MAX_SIZE, help="Rows and columns.")
    ] = function_bench.SIZE,
    rounds: RoundsOption = 15,
    calls: CallsOption = 5,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the functions and print a table."""
    with reported(verbose):
        _check_json(json_file)
        works = function_bench.function_works(function, dtype, size)
        names = [peer_bench.OURS, function_bench.JAX]
        with _compared(works, names, rounds, calls, clock, json_file) as report:
            _print_table("functions", function_bench.COLUMNS, function_bench.function_rows(report))
            for line in function_bench.function_summary(report):
                say(f"{line}\n")


def hessians(
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function", metavar="NAME", show_default=False,
            help="One of rosenbrock, logistic, network; all by default.",
        ),
    ] = None,
    rounds: RoundsOption = 15,
    calls: CallsOption = 25,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the Hessians and print a table."""
    with reported(verbose):
        _check_json(json_file)
        works = hessian_bench.hessian_works(function)
        names = [peer_bench.OURS, hessian_bench.JAX]
        with _compared(works, names, rounds, calls, clock, json_file) as report:
            _print_table("hessians", hessian_bench.COLUMNS, hessian_bench.hessian_rows(report))
            for one in works:
                say(f"{one.name}: {one.what}\n")


def matmul(
    size: Annotated[
        list[int] | None,
        typer.Option(
            "--size", min=1, max=MAX_SIZE, help="Rows and columns; a range by default.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option("--dtype", help="f32 or f64; both by default.", show_default=False),
    ] = None,
    rounds: RoundsOption = 9,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the products and print a table."""
    with reported(verbose):
        _check_json(json_file)
        products = matmul_bench.run_matmul(
            size or matmul_bench.SIZES, dtype or matmul_bench.DTYPES, rounds, clock
        )
        _write_json(json_file, matmul_bench.matmul_json(products))
        _print_table("matmul", matmul_bench.COLUMNS, matmul_bench.matmul_rows(products))
        for line in matmul_bench.matmul_summary(products):
            say(f"{line}\n")
        say(f"{rounds} rounds, {clock} time, {processor()}; NumPy {version('numpy')}\n")


def calls(
    rounds: RoundsOption = 25,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the calls and print a table."""
    with reported(verbose):
        _check_json(json_file)
        costs = call_bench.run_calls(rounds, call_bench.CALLS, clock)
        _write_json(json_file, call_bench.call_json(costs))
        _print_table("calls", call_bench.COLUMNS, call_bench.call_rows(costs))
        say(f"{rounds} rounds of {call_bench.CALLS} calls, {clock} time, {processor()}\n")


def nan(
    work: Annotated[
        list[str] | None,
        typer.Option(
            "--work", metavar="NAME", show_default=False,
            help=f"One of {', '.join(nan_bench.WHAT)}; all by default.",
        ),
    ] = None,
    rounds: RoundsOption = 15,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the works and print a table."""
    with reported(verbose):
        _check_json(json_file)
        works = nan_bench.find_nan_works(work)
        costs = nan_bench.run_nan(works, rounds, clock)
        _write_json(json_file, nan_bench.nan_json(costs))
        _print_table("nan", nan_bench.COLUMNS, nan_bench.nan_rows(costs))
        for name in works:
            say(f"{name}: {nan_bench.WHAT[name]}\n")
        say(f"{rounds} rounds, {clock} time, {processor()}\n")


def sizes(
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function", metavar="NAME", show_default=False,
            help="One of layer, slope, weights, softmax, step; all by default.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch", min=1, max=MAX_SIZE, show_default=False,
            help="Rows of a call; a range by default.",
        ),
    ] = None,
    rounds: RoundsOption = 9,
    clock: ClockOption = Clock.wall,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the functions and print a table."""
    with reported(verbose):
        _check_json(json_file)
        found = size_bench.run_sizes(function, batch or size_bench.BATCHES, rounds, clock)
        _write_json(json_file, size_bench.size_json(found))
        _print_table("sizes", size_bench.COLUMNS, size_bench.size_rows(found))
        for line in size_bench.size_summary(found):
            say(f"{line}\n")
        say(f"{rounds} rounds, {clock} time, {processor()}\n")


def start(
    processes: Annotated[
        int,
        typer.Option(
            "--processes", min=1, max=MAX_ROUNDS, help="How many fresh processes."
        ),
    ] = 9,
    json_file: JsonOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the processes and print a table."""
    with reported(verbose):
        _check_json(json_file)
        samples = start_bench.run_start(processes, start_bench.measure_once)
        _write_json(json_file, start_bench.start_json(samples))
        _print_table("start", start_bench.COLUMNS, start_bench.start_rows(samples))
        say(f"{processes} processes on {processor()}\n")


@contextmanager
def _compared(
    works: Sequence[Work],
    names: Sequence[str],
    rounds: int,
    calls: int,
    clock: Clock,
    json_file: str | None,
) -> Iterator[peer_bench.PeerReport]:
    """Run works in some libraries on one core; the body prints the report, then follows where."""
    core = measuring_core()
    report = peer_bench.run_peers(
        works, names, lambda name: Process(name, core), rounds=rounds, calls=calls, clock=clock
    )
    _write_json(json_file, peer_bench.peer_json(report))
    yield report
    _say_circumstances(report, rounds, clock, core)


def _say_circumstances(
    report: peer_bench.PeerReport, rounds: int, clock: Clock, core: int
) -> None:
    listed = ", ".join(f"{k} {v}" for k, v in report.versions.items())
    say(f"{rounds} rounds, {clock} time, core {core} of {processor()}; {listed}\n")
    for name, why in report.missing.items():
        say(f"missing: {name} ({why})\n")


def _print_table(title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    say(captured.get())


def _check_json(path: str | None) -> None:
    """Raise FileError at once where the report could not be written in the end."""
    if path is not None:
        check_output(path)


def _write_json(path: str | None, data: dict[str, Any]) -> None:
    if path is not None:
        text = json.dumps({"processor": processor(), **data}, indent=1) + "\n"
        write_file(path, lambda file: file.write(text.encode()))
