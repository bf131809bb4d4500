"""In words: what the code of a contraction of named sizes decides when it is called."""

from __future__ import annotations

from irgrad.backends.numba_cpu.llvm.contraction_plan import (
    DEEP,
    ContractionSpec,
    Plan,
    is_thin,
    make_plans,
)
from irgrad.ir.dims import Dim


def contraction_switches(
    spec: ContractionSpec, vector_bytes: int, epilogue: bool
) -> tuple[str, ...]:
    """A sentence for each switch by size; none where all sizes are numbers.

    The switches are those of `best_plan`, `packs_b` and the choice of micro-kernels.
    """
    plans = make_plans(spec, vector_bytes, epilogue)
    found: list[str] = []
    for swapped in dict.fromkeys(plan.swapped for plan in plans):
        same = [plan for plan in plans if plan.swapped == swapped]
        roles = "columns x rows" if swapped else "rows x columns"
        if swapped != plans[0].swapped:
            found.append(f"roles of the operands: swapped where {plans[0].k} >= {DEEP}")
        if len(same) > 1:
            tiles = ", ".join(f"{plan.rows} x {plan.columns}" for plan in same)
            size = " by ".join(str(x) for x in (same[0].m, same[0].n))
            found.append(
                f"tile for {size} ({roles}): {tiles}; the least estimated time of those with no "
                "more rows than there are"
            )
        found += dict.fromkeys(text for plan in same if (text := _packing(plan)))
    if isinstance(plans[0].k, Dim):
        found.append(f"sum over {plans[0].k}: zeros where it is 0")
    return tuple(found)


def _packing(plan: Plan) -> str:
    """When the second operand is packed, where that depends on sizes."""
    operand = "first operand" if plan.swapped else "second operand"
    if plan.direct_tiles:
        limits = []
        if isinstance(plan.m, Dim):
            limits.append(f"{plan.m} > {plan.direct_tiles * plan.rows}")
        if isinstance(plan.n, Dim):
            limits.append(f"{plan.n} >= {plan.columns}")
        tile = f"{plan.rows} x {plan.columns}"
        return f"{operand} with tiles of {tile}: packed where {' and '.join(limits)}"
    if is_thin(plan) and plan.b_k.linear:
        return f"{operand}: packed where {plan.n} > 1"
    return ""
