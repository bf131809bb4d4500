"""Compare the derivatives of a function with differences of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from ..differentiation import jvp, vjp
from ..errors import ArgumentError, CheckError, DifferentiationError, brief
from ..op_rules import check_graph_rules, derivative_graph
from ..subgraph import leaf_type, require_values
from ..tracing.locations import call_function, ends_at_call
from ..tracing.trace import require_function, trace
from ..tracing.trees import flatten_object

Function = Callable[..., Any]
# Relative and absolute tolerance by size in bytes of the coarsest float dtype that takes part.
TOLERANCES = {2: (5e-2, 5e-2), 4: (2e-3, 2e-3), 8: (1e-6, 1e-6)}
MODES = ("fwd", "rev")
MAX_ORDER = 8  # each order takes the derivatives of twice as many functions as the one before


@dataclass(frozen=True, slots=True)
class _Check:
    """The settings of one call of `check_grads`."""

    modes: tuple[str, ...]
    step: float
    rtol: float
    atol: float
    rng: np.random.Generator


@ends_at_call
def check_grads(
    f: Function,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = MODES,
    eps: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Check the derivatives of `f` at `args`, along one random direction, up to an order.

    f: a function of arrays or trees of arrays that is differentiable near `args`; it also has to
    accept float64 arrays, as differences are taken of its float64 values. args: its arguments; only
    their float leaves are moved. modes: "fwd" compares jvp with differences, "rev" compares vjp
    with them by the dot test; higher orders check all derivatives of each mode's derivative. eps:
    the step of the differences. rtol, atol: tolerances; their default follows the coarsest float
    dtype among the arguments.

    Raises CheckError that names the order and mode that failed, ArgumentError for unknown modes,
    orders above 8, and arguments or results without a float leaf.
    """
    require_function("check_grads", f)
    if not isinstance(args, (tuple, list)):
        raise ArgumentError(f"check_grads: expected a tuple of arguments, got {brief(args)}")
    if not isinstance(modes, (tuple, list)) or not modes or not all(
        isinstance(mode, str) and mode in MODES for mode in modes
    ):
        raise ArgumentError(f"check_grads: expected modes among {MODES}, got {brief(modes)}")
    if not isinstance(order, int) or not 1 <= order <= MAX_ORDER:
        raise ArgumentError(f"check_grads: expected an order in 1..{MAX_ORDER}, got {brief(order)}")
    for name, number in (("eps", eps), ("rtol", rtol), ("atol", atol)):
        if number is not None and not (isinstance(number, (int, float)) and 0 < number < 1e30):
            raise ArgumentError(
                f"check_grads: expected {name} as a number > 0, got {brief(number)}"
            )
    require_values("check_grads", args)
    sizes = [leaf_type(x).dtype.itemsize for x in _floats(tuple(args))]
    if not sizes:
        raise ArgumentError("check_grads: expected an argument with a float leaf, got none")
    default_rtol, default_atol = TOLERANCES[min(sizes)]
    check = _Check(
        tuple(modes),
        1e-4 if eps is None else eps,
        default_rtol if rtol is None else rtol,
        default_atol if atol is None else atol,
        np.random.default_rng(0),
    )
    try:
        _check_order(check, f, tuple(args), order, "")
    except CheckError as error:
        raise CheckError(f"{error}{_wrong_rule(check, f, tuple(args), order)}") from None


def _wrong_rule(check: _Check, f: Function, args: tuple[Any, ...], order: int) -> str:
    """What to add to a message: the op whose derivative rule is wrong, where one is found.

    Looked for in the graph of `f` for float64 arguments, then in those of its derivatives.
    """
    given = _map(lambda x: np.asarray(x, np.float64 if _is_float(x) else None), args)
    level = [(trace(f, *given), [np.asarray(x) for x in flatten_object(given)[0]])]
    try:
        for _ in range(order):
            for graph, arrays in level:
                check_graph_rules(graph, arrays, check.rng)
            level = [
                derivative_graph(graph, arrays, mode, check.rng)
                for graph, arrays in level
                for mode in check.modes
            ]
    except CheckError as error:
        return f"\nfrom the rule of {error}"
    except DifferentiationError:  # of a derivative that the check does not take
        return ""
    return ""


def _check_order(check: _Check, f: Function, args: tuple[Any, ...], order: int, path: str) -> None:
    """Check the first derivatives of `f`, then those of its derivatives, `order` deep.

    path: the modes by which `f` came from the user's function.
    """
    direction = _random_like(check.rng, args)
    expected = _differences(check, f, args, direction)
    if not expected:
        raise ArgumentError("check_grads: expected a function with a float output, got none")
    if "fwd" in check.modes:
        got = [np.asarray(x) for x in _floats(_push(f, direction)(*args))]
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            _compare(check, f"{path}jvp against differences, output {i}", a, b)
    weights = [check.rng.standard_normal(x.shape) for x in expected]
    if "rev" in check.modes:
        pulled = _floats(_pull(f, weights)(*args))
        along = _dot(pulled, _floats(direction))
        against = _dot(weights, expected)
        _compare(check, f"{path}vjp against the directional derivative", along, against)
    if order > 1 and "fwd" in check.modes:
        _check_order(check, _push(f, direction), args, order - 1, path + "jvp, then ")
    if order > 1 and "rev" in check.modes:
        _check_order(check, _pull(f, weights), args, order - 1, path + "vjp, then ")


def _push(f: Function, direction: Any) -> Function:
    """The derivative of `f` in a direction, as a function of the arguments."""

    def pushed(*args: Any) -> Any:
        tangents = _map(_cast_like, args, direction)
        return jvp(f, args, tangents)[1]

    return pushed


def _pull(f: Function, weights: Sequence[np.ndarray]) -> Function:
    """The gradient of the weighted sum of the float outputs, as a function of the arguments."""

    def pulled(*args: Any) -> Any:
        out, pullback = vjp(f, *args)
        left = iter(weights)
        return pullback(_map(lambda x: _cast_like(x, next(left)) if _is_float(x) else None, out))

    return pulled


def _differences(
    check: _Check, f: Function, args: tuple[Any, ...], direction: Any
) -> list[np.ndarray]:
    """Central differences of fourth order of the float outputs, in float64."""

    def moved(scale: float) -> list[np.ndarray]:
        step = scale * check.step
        at = _map(lambda x, d: x if d is None else np.asarray(x, np.float64) + step * d,
                  args, direction)
        return [np.asarray(x, np.float64) for x in _floats(call_function(f, at, {}))]

    parts = zip(moved(1), moved(-1), moved(2), moved(-2), strict=True)
    return [(8 * (a - b) - (c - d)) / (12 * check.step) for a, b, c, d in parts]


def _compare(check: _Check, what: str, got: Any, expected: Any) -> None:
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    error = np.abs(got - expected)
    # Written so that NaN on either side fails.
    if not np.all(error <= check.atol * scale + check.rtol * np.abs(expected)):
        worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
        raise CheckError(
            f"check_grads: {what}: expected {expected.flat[worst]}, got {got.flat[worst]} at "
            f"flat index {worst} (rtol {check.rtol}, atol {check.atol})"
        )


def _is_float(x: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    return (dtype if isinstance(dtype, np.dtype) else np.asarray(x).dtype).kind == "f"


def _floats(tree: Any) -> list[Any]:
    return [x for x in flatten_object(tree)[0] if _is_float(x)]


def _map(function: Function, tree: Any, *rest: Any) -> Any:
    """The tree with other leaves; trees in `rest` may have None in the place of a leaf."""
    return optree.tree_map(function, tree, *rest)


def _random_like(rng: np.random.Generator, args: tuple[Any, ...]) -> Any:
    """A direction: normal numbers for float leaves, None for the others."""
    return _map(lambda x: rng.standard_normal(np.shape(x)) if _is_float(x) else None, args)


def _cast_like(x: Any, d: np.ndarray | None) -> np.ndarray | None:
    return None if d is None else d.astype(x.dtype if hasattr(x, "dtype") else np.float64)


def _dot(left: Sequence[Any], right: Sequence[Any]) -> float:
    pairs = zip(left, right, strict=True)
    return float(sum(np.sum(np.asarray(a, np.float64) * np.asarray(b)) for a, b in pairs))
