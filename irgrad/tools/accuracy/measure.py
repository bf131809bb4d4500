"""Measuring the errors of compiled functions, block by block, so that it can stop and go on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ...driver import compile_graph
from ...errors import BackendError
from ...ir.parser import parse
from ...runtime.compiled import Compiled
from .errors import Tally, tally_of, ulp_errors
from .exact import EXACT_ERROR, exact_values
from .functions import Array, Function
from .points import PATTERNS, pattern_points, random_points

DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
CHUNK = 1 << 14  # points whose arrays stay in the cache


class Reference(StrEnum):
    """What results are compared with."""

    float64 = "float64"
    longdouble = "longdouble"
    mpfr = "mpfr"


BLOCKS = {Reference.float64: 1 << 22, Reference.longdouble: 1 << 20, Reference.mpfr: 1 << 14}
DEFAULT_POINTS = {
    Reference.float64: PATTERNS,
    Reference.longdouble: 100_000_000,
    Reference.mpfr: 1_000_000,
}
DEFAULT_PAIRS = 1 << 30  # of f32


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement: a function in one dtype against one reference at a number of points."""

    function: Function
    dtype: str
    reference: Reference
    points: int

    @property
    def key(self) -> str:
        """Its name in the progress file."""
        return f"{self.function.name} {self.dtype} {self.reference} {self.points}"

    @property
    def exhaustive(self) -> bool:
        """Whether it covers every argument there is."""
        return self.by_patterns and self.points == PATTERNS

    @property
    def by_patterns(self) -> bool:
        """Whether it walks through the bit patterns of f32, else points are drawn."""
        return self.function.arity == 1 and self.dtype == "f32"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.

    code: identifies the machine code that is measured. done: how many points. reference_error: the
    largest error of the reference itself, in ulp of the job's dtype, at a sample of points; None
    where it is not known.
    """

    code: str
    done: int = 0
    tally: Tally = Tally()
    reference_error: float | None = None


def make_jobs(
    functions: list[Function], dtypes: list[str], references: list[Reference], points: int | None
) -> list[Job]:
    """The measurements of some functions: float64 serves f32, MPFR f64, and so does long double
    where NumPy has the function in it. points: of each, by default DEFAULT_POINTS and
    DEFAULT_PAIRS."""
    jobs = []
    for function in functions:
        for dtype in dtypes:
            for reference in references:
                fits = (reference is Reference.float64) == (dtype == "f32")
                lacks = reference is Reference.longdouble and not function.long_double
                if fits and not lacks:
                    default = DEFAULT_POINTS[reference]
                    if dtype == "f32" and function.arity == 2:
                        default = DEFAULT_PAIRS
                    jobs.append(Job(function, dtype, reference, points or default))
    return jobs


def compile_function(function: Function, dtype: str) -> Compiled:
    """The compiled function over vectors of CHUNK elements."""
    names = "xy"[: function.arity]
    inputs = ", ".join(f"%{name}: {dtype}[{CHUNK}]" for name in names)
    operands = ", ".join(f"%{name}" for name in names)
    return compile_graph(
        parse(
            f"irgrad 1\ngraph @{function.name}({inputs}) {{\n"
            f"  %0 = {function.op}({operands}) : {dtype}[{CHUNK}]\n  return %0\n}}\n"
        )
    )


def code_of(compiled: Compiled) -> str:
    """A hash of the machine code."""
    return hashlib.sha256(compiled.object_file() or b"").hexdigest()


def run_job(job: Job, compiled: Compiled, start: Progress) -> Iterator[Progress]:
    """The progress after each block, from `start` to the end.

    Raises BackendError where the reference is not there.
    """
    if job.reference is Reference.longdouble and np.finfo(np.longdouble).nmant < 63:
        raise BackendError("accuracy: expected long double to be wider than double, got as wide")
    now = start
    if now.done == 0:
        now = Progress(now.code, 0, now.tally, reference_error(job))
    evaluate = _evaluator(job, compiled)
    while now.done < job.points:
        count = min(BLOCKS[job.reference], job.points - now.done)
        tally = _tally_block(job, evaluate, now.done, count)
        now = Progress(now.code, now.done + count, now.tally.joined(tally), now.reference_error)
        yield now


def _tally_block(
    job: Job, evaluate: Callable[[list[Array]], Array], first: int, count: int
) -> Tally:
    tally = Tally()
    for begin in range(first, first + count, CHUNK):
        arguments = job_points(job, begin, min(CHUNK, first + count - begin))
        tally = tally.joined(
            tally_of(arguments, evaluate(arguments), _reference_values(job, arguments))
        )
    return tally


def job_points(job: Job, first: int, count: int) -> list[Array]:
    """`count` points of a job from number `first` on; `first` is a multiple of CHUNK."""
    if not job.by_patterns:
        points = random_points(job.function, job.dtype, first // CHUNK, CHUNK)
        return [x[:count] for x in points]
    stride = max(1, PATTERNS // job.points) | 1
    return [pattern_points(first * stride, count, stride)]


def _reference_values(job: Job, arguments: list[Array]) -> Array:
    if job.reference is Reference.mpfr:
        return exact_values(job.function.name, *arguments)
    wide = np.float64 if job.reference is Reference.float64 else np.longdouble
    with np.errstate(all="ignore"):
        return job.function.reference(*(a.astype(wide) for a in arguments))


def _evaluator(job: Job, compiled: Compiled) -> Callable[[list[Array]], Array]:
    """The compiled function on arrays of CHUNK points at most, in buffers of its own."""
    dtype = DTYPES[job.dtype]
    inputs = [np.ones(CHUNK, dtype) for _ in range(job.function.arity)]
    bound = compiled.bind(*inputs)

    def evaluate(arguments: list[Array]) -> Array:
        for buffer, argument in zip(inputs, arguments, strict=True):
            buffer[: argument.size] = argument
        return bound()[0][: arguments[0].size]

    return evaluate


def reference_error(job: Job) -> float | None:
    """The largest error of a job's reference at a sample of its points, in ulp of its dtype; None
    where it cannot be known without gmpy2."""
    if job.reference is Reference.mpfr:
        return EXACT_ERROR
    arguments = random_points(job.function, job.dtype, 0, CHUNK)
    try:
        exact = exact_values(job.function.name, *arguments)
    except BackendError:
        return None
    values = _reference_values(job, arguments).astype(np.longdouble)
    return float(ulp_errors(values, exact, DTYPES[job.dtype]).max())
