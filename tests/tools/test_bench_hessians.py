"""The Hessians of the benchmark: right, and reported."""

from __future__ import annotations

import numpy as np
import pytest
from cli_runs import error_of

import irgrad.numpy as inp
from irgrad.jacobians import hessian
from irgrad.nn import softplus
from irgrad.tools.bench import hessians, peers
from irgrad.tools.report import UsageError
from irgrad.transforms import jit


@pytest.mark.parametrize("work", hessians.hessian_works(None), ids=lambda work: work.name)
def test_written_out_derivatives_are_those_of_irgrad(work: peers.Work) -> None:
    arrays = [x.astype(np.float64) for x in work.inputs(work.shape)]
    derived = hessians.find_hessian(work.name, inp, softplus, hessian)
    (expected,) = work.reference(arrays)
    found = jit(derived, target="reference")(*arrays)
    assert found.shape == (hessians.PARAMETERS,) * 2
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_other_works_are_none_of_them() -> None:
    assert hessians.find_hessian("softmax", inp, softplus, hessian) is None


def test_rows_with_and_without_jax() -> None:
    ours, theirs = peers.Timing([1e-5, 2e-5], 0.5, 1e-7), peers.Timing([2e-5, 4e-5], 0.25, 0.0)
    report = peers.PeerReport()
    report.timings = {
        "hessian network": {"irgrad": ours, "jax": theirs}, "hessian logistic": {"irgrad": ours},
    }  # fmt: skip
    both, alone = hessians.hessian_rows(report)
    assert both == ("network", "15.0", "30.0", "0.50", "0.50", "2 of 2", "0.50", "0.25", "1.0e-07")
    assert len(both) == len(alone) == len(hessians.COLUMNS)
    assert alone[2:6] == ("", "", "", "")


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="expected one of rosenbrock, logistic, network"):
        hessians.hessian_works(["nothing"])
    assert "got 'nothing'" in error_of("bench", "hessians", "--function", "nothing", code=2)
