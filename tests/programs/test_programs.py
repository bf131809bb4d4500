"""Plain NumPy programs: compiled, interpreted and run by NumPy itself, they give the same.

Several programs are compiled as one function, which is also what a large program looks like.
"""

from __future__ import annotations

from typing import Any

import array_programs
import model_programs
import number_programs
import numpy as np
import optree
import pytest
from program import Program

import irgrad as ig

PROGRAMS = {
    f"{module.__name__}.{name}": value
    for module in (array_programs, number_programs, model_programs)
    for name, value in vars(module).items()
    if isinstance(value, Program)
}
GROUP = 12  # programs in one compile
NAMES = sorted(PROGRAMS)
GROUPS = [NAMES[i : i + GROUP] for i in range(0, len(NAMES), GROUP)]
TOLERANCE = {4: 1e-4, 8: 1e-10}


def by_numpy(name: str) -> Any:
    with np.errstate(all="ignore"):
        return PROGRAMS[name](*PROGRAMS[name].args)


def assert_equal(name: str, got: Any, expected: Any) -> None:
    """Equal trees, dtypes, shapes and values, and equal signs of zeros of exact results."""
    got_leaves, got_tree = optree.tree_flatten(got)
    leaves, tree = optree.tree_flatten(expected)
    assert got_tree == tree, name
    for position, (x, plain) in enumerate(zip(got_leaves, leaves)):
        where = f"{name}, result {position}"
        y = np.asarray(plain)
        assert type(x) is np.ndarray, where
        assert (x.dtype, x.shape) == (y.dtype, y.shape), where
        if y.dtype.kind in "biu":
            np.testing.assert_array_equal(x, y, where)
            continue
        close = TOLERANCE[min(x.dtype.itemsize, 8)]
        np.testing.assert_allclose(x, y, rtol=close, atol=close, err_msg=where)
        if name.endswith("signs_of_zero"):
            np.testing.assert_array_equal(np.signbit(x), np.signbit(y), where)


@pytest.mark.filterwarnings("ignore:Degrees of freedom")
@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_programs_mean_what_numpy_computes(group: list[str], target: str) -> None:
    def together(args: dict[str, Any]) -> dict[str, Any]:
        return {name: PROGRAMS[name](*args[name]) for name in group}

    args = {name: PROGRAMS[name].args for name in group}
    # Sums in another order, and rewrites that assume finite numbers, are left to other tests.
    function = ig.jit(together, target=target, numerics="exact")
    got = function(args)
    for name in group:
        assert_equal(name, got[name], by_numpy(name))
    again = function(args)
    for x, y in zip(optree.tree_leaves(got), optree.tree_leaves(again)):
        assert x.tobytes() == y.tobytes() and not np.shares_memory(x, y)


def test_default_numerics_on_models() -> None:
    names = [name for name in NAMES if name.startswith("model_programs")]
    got = ig.jit(lambda args: {name: PROGRAMS[name](*args[name]) for name in names})(
        {name: PROGRAMS[name].args for name in names}
    )
    for name in names:
        assert_equal(name, got[name], by_numpy(name))


def test_constants_do_not_depend_on_what_was_compiled_before() -> None:
    """A process-wide cache once took 0.0 for -0.0, as they compare equal."""
    for value in (-0.0, 0.0, -0.0):
        shifted = ig.jit(lambda x, v=value: np.full_like(x, v))(np.ones(3))
        np.testing.assert_array_equal(np.signbit(shifted), np.signbit(np.full(3, value)))


def test_there_are_enough_programs() -> None:
    assert len(PROGRAMS) >= 60
