"""Random graphs find faults that are planted in fusion, lowering and the memory plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graph_survey import FAULTS, check_graph

from irgrad.kernel import plan
from irgrad.kernel.ir import Kernel
from irgrad.passes import axes, fusion_groups, lower, views
from irgrad.passes.fusion_groups import Grouping
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
    "values that leave twice": (lower, "_copied", lambda storage, types, steps: storage),
    "reshapes of any strides": (views, "reshape_strides",
                                lambda old, strides, new: views.contiguous_strides(new)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PLANTED[name])
    for seed in range(SEEDS):
        drawn = random_graph(seed, style="mixed" if seed % 2 else "fusion")
        try:
            check_graph(drawn, drawn.graph, drawn.arguments, every=True)
        except FAULTS:
            print(f"{name}: found at seed {seed}")
            return
    raise AssertionError(f"{name}: not found in {SEEDS} graphs")
