"""Every op of the registry, its derivative, and random graphs: LLVM, jitted source and plain Python
give the same bits, and the two runs of the source the same dtypes of all locals.

`survey.py` compares all samples and 300 random graphs.
"""

from __future__ import annotations

import pytest
import survey
from both_forms import differences
from op_cases import differentiable, gradient_cases, op_cases, op_names
from survey import seed_case

from irgrad.ops.registry import REGISTRY

SEEDS = (3, 77, 196)  # most of them small


def test_ops_derivatives_and_random_graphs() -> None:
    cases = [*op_cases(op_names()), *gradient_cases(op_names()), *map(seed_case, SEEDS)]
    assert differences(cases) == []


def test_all_ops_are_among_the_cases() -> None:
    assert {one.name.split()[0] for one in op_cases(op_names())} == set(REGISTRY) - {"fused"}
    linear = {name for name in op_names() if differentiable(name)}
    assert {one.name.split()[1] for one in gradient_cases(op_names())} == linear
    assert len(linear) > 50


def test_the_command_counts_differences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "differences", lambda cases: [one.name for one in cases[1:]])
    assert survey.main(["--seeds", "12"]) == 10
    printed = capsys.readouterr().out
    assert printed.startswith("seeds 0..9: ") and "\n  seed 11\n" in printed
    assert printed.endswith("10 differences\n")
