"""The larger comparison of the forms, for a person to run:

    python tests/forms/survey.py --seeds 300 --ops
    python tests/forms/survey.py --seeds 0 --symbolic 100

Random graphs of seeds 0, 1, ..., and all samples of all ops with their backward graphs, each in
LLVM, jitted source and plain Python: equal bits, and equal dtypes of all locals in the latter two.
Random graphs with named sizes, and products of matrices, are compiled once for all sizes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from both_forms import Case, Dims, NamedCase, differences, named_differences
from named_cases import LARGE, MEDIUM, SMALL, products, random_cases
from op_cases import gradient_cases, op_cases, op_names

from irgrad.ir.graph import Graph
from irgrad.passes.infer import specialise
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.testing.random_graphs import random_graph

CHUNK = 10  # seeds, or ops, that are compiled as one


def seed_case(seed: int) -> Case:
    """The case of a random graph, its named sizes replaced by numbers."""
    drawn = random_graph(seed)
    work: Graph = drawn.graph.copy()
    if drawn.dims:
        specialise(work, drawn.dims)
    for step in pipeline("exact" if drawn.special else "stable"):
        step.apply(work)
    return Case(f"seed {seed}", lower(work), drawn.arguments)


def chunks(seeds: int, ops: bool) -> Iterator[tuple[str, list[Case]]]:
    """What to compare of programs without names, with a label for each part."""
    for first in range(0, seeds, CHUNK):
        last = min(first + CHUNK, seeds)
        yield f"seeds {first}..{last - 1}", [seed_case(seed) for seed in range(first, last)]
    names = op_names() if ops else []
    for first in range(0, len(names), CHUNK):
        some = names[first : first + CHUNK]
        yield f"ops {some[0]}..{some[-1]}", op_cases(some, every=True)
        yield f"gradients of {some[0]}..{some[-1]}", gradient_cases(some, every=True)


def named_chunks(seeds: int) -> Iterator[tuple[str, list[NamedCase], list[Dims]]]:
    """The same of programs with named sizes, and sizes at which they run as compiled alone."""
    for first in range(0, seeds, CHUNK):
        last = min(first + CHUNK, seeds)
        cases = random_cases(range(first, last), SMALL)
        yield f"symbolic seeds {first}..{last - 1}", cases, MEDIUM
    for first in range(0, len(products()) if seeds else 0, CHUNK):
        yield f"products {first}..", products()[first : first + CHUNK], LARGE


def parts(options: argparse.Namespace) -> Iterator[tuple[str, int, Callable[[], list[str]]]]:
    """Each part's label, its number of kernels, and what gives its differences."""
    for label, cases in chunks(options.seeds, options.ops):
        yield label, _kernels(cases), partial(differences, cases) if cases else list
    for label, named, large in named_chunks(options.symbolic):
        yield label, _kernels(named), partial(named_differences, named, [*SMALL, *large], SMALL)


def _kernels(cases: Sequence[Case] | Sequence[NamedCase]) -> int:
    return sum(len(one.program.kernels) for one in cases)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line for each part, and give the number of differences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--ops", action="store_true")
    parser.add_argument("--symbolic", type=int, default=0, metavar="SEEDS")
    options = parser.parse_args(arguments)
    total = 0
    for label, kernels, compare in parts(options):
        begun = time.perf_counter()
        wrong = compare()
        total += len(wrong)
        seconds = time.perf_counter() - begun
        print(f"{label}: {kernels} kernels, {len(wrong)} differences, {seconds:.1f} s", flush=True)
        for line in wrong:
            print(f"  {line:.300}", flush=True)
    print(f"{total} differences")
    return total


if __name__ == "__main__":
    sys.exit(min(main(), 1))
