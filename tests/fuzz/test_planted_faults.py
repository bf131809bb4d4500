"""Random graphs find faults that are planted in fusion, lowering and the memory plan, and
check="all" says where they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numba
import pytest
from graph_survey import FAULTS, check_graph

from irgrad.driver import compile_graph
from irgrad.errors import CheckError
from irgrad.kernel import plan
from irgrad.kernel.ir import Kernel
from irgrad.passes import axes, fusion_groups, lower, views
from irgrad.passes.fusion_groups import Grouping
from irgrad.passes.infer import specialise
from irgrad.runtime.options import Options
from irgrad.testing.random_graphs import random_graph

SEEDS = 400


def always(result: bool) -> Callable[..., bool]:
    return lambda *arguments: result


def shares_equal_sizes(kernel: Kernel, read: str, write: str) -> bool:
    a, b = kernel.buffer(read), kernel.buffer(write)
    return (a.dtype, a.size, b.access) == (b.dtype, b.size, "write")


def merges_by_one_access(domain, axes_, accesses, merge=axes._merge):  # type: ignore[no-untyped-def]
    return merge(domain, axes_, accesses[:1])


PLANTED = {
    "a read along other axes": (fusion_groups, "_runs_along", always(True)),
    "members that read across": (Grouping, "_all_match", always(True)),
    "a third group between": (Grouping, "_would_cycle", always(False)),
    "buffers of equal size shared": (plan, "can_share", shares_equal_sizes),
    "a read after the store": (plan, "_read_after", always(False)),
    "loops merged by one access": (axes, "_merge", merges_by_one_access),
    "values that leave twice": (lower, "_copied", lambda storage, types, steps, origins: storage),
    "reshapes of any strides": (views, "reshape_strides",
                                lambda old, strides, new: views.contiguous_strides(new)),
}  # fmt: skip


KERNEL = r"kernel \w+: expected .*; wrong as (lowered|fused)"
PLAN = r"random for cpu: expected .*; each kernel alone is right, the calls .* are wrong as lowered"
NAMED = {
    "a read along other axes": KERNEL,
    "members that read across": KERNEL,
    "a third group between": "pass fuse: expected a graph, got AssertionError.*form a cycle",
    "buffers of equal size shared": PLAN,
    "a read after the store": PLAN,
    "loops merged by one access": KERNEL,
    "values that leave twice": "random: expected calls and memory that can be planned, got Assert",
    "reshapes of any strides": KERNEL,
}
OPTIONS = Options(check="all", emit="numba")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run as plain Python; a graph that is wrong on its own arguments alone is passed by.
    """
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    monkeypatch.setattr(*PLANTED[name])
    for seed in range(SEEDS):
        drawn = random_graph(seed, style="mixed" if seed % 2 else "fusion")
        try:
            check_graph(drawn, drawn.graph, drawn.arguments, every=True)
            continue
        except FAULTS:
            pass
        sized = drawn.graph.copy()
        specialise(sized, drawn.dims)
        numerics = "exact" if drawn.special else "stable"
        try:
            compile_graph(sized, options=replace(OPTIONS, numerics=numerics))
        except CheckError as error:
            print(f"{name}: found at seed {seed}")
            assert re.match(NAMED[name], str(error))
            return
    raise AssertionError(f"{name}: not found in {SEEDS} graphs")
