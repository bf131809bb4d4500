"""vmap on functions of arrays and trees: axes, nesting, derivatives, own rules, checks, errors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from batch_checks import assert_near, reference

import irgrad.numpy as np
from irgrad.batching import vmap
from irgrad.custom_rules import custom_jvp, custom_vjp, linear_call
from irgrad.differentiation import grad, hvp, jvp, value_and_grad, vjp
from irgrad.errors import (
    ArgumentError,
    CheckError,
    DifferentiationError,
    LimitError,
    ShapeError,
)
from irgrad.interpret import interpret
from irgrad.tracing.trace import trace
from irgrad.transforms import check, jit

RNG = numpy.random.default_rng(0)
A = RNG.normal(size=(4, 3))
B = RNG.normal(size=(3, 5))
V = RNG.normal(size=3)


def run(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return reference(lambda *x, **k: f(*x, **k))(*args, **kwargs)


# -- axes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "arguments", "subscripts"),
    [
        ((0, None), 0, (A, V), "bi,i->b"),
        ((0, 0), 0, (A, A), "bi,bi->b"),
        ((1, -1), 0, (A, A), "ib,ib->b"),
        ((0, 1), 0, (A[:3], A.T[:, :3]), "bi,ib->b"),
        ([None, 1], -1, (V, A.T), "i,ib->b"),
    ],
)
def test_axes_of_arguments(in_axes: Any, out_axes: Any, arguments: Any, subscripts: str) -> None:
    got = run(vmap(lambda x, y: np.sum(x * y), in_axes, out_axes), *arguments)
    assert_near(got, numpy.einsum(subscripts, *arguments))


@pytest.mark.parametrize("out_axes", [0, 1, 2, -1, -2, -3])
def test_axes_of_results(out_axes: int) -> None:
    got = run(vmap(lambda x: x[:, None] * V, 1, out_axes), B)
    expected = numpy.moveaxis(B.T[:, :, None] * V, 0, out_axes)
    assert_near(got, numpy.ascontiguousarray(expected))


def test_trees_of_axes() -> None:
    params = {"w": A, "b": [V, None, numpy.array(2.0)]}
    axes = ({"w": 0, "b": [None, 0, None]}, -1)

    def f(p: Any, x: Any) -> Any:
        v, _, scale = p["b"]
        return {"dot": p["w"] @ v * scale, "x": (x, v), "none": None}

    got = run(vmap(f, axes, {"dot": 0, "x": (1, None), "none": 0}), params, A.T)
    assert_near(got["dot"], A @ V * 2)
    assert_near(got["x"][0], A.T.copy())
    assert_near(got["x"][1], V)
    assert got["none"] is None
    prefix = run(vmap(f, ({"w": 0, "b": None}, 1), 0), params, A.T)
    assert_near(prefix["x"][1], numpy.stack([V] * 4))
    same = run(vmap(lambda p: p["w"] + p["b"][0], ({"w": 0, "b": None},)), params)
    assert_near(same, A + V)


def test_arguments_by_name_are_mapped_along_axis_0() -> None:
    got = run(vmap(lambda x, *, k: x * k["k"], None), V, k={"k": numpy.arange(4.0)})
    assert_near(got, numpy.arange(4.0)[:, None] * V)


def test_axes_are_found_by_key_whatever_the_order_of_the_keys() -> None:
    """Of an OrderedDict the order of the keys is that of its leaves."""
    given = {"a": A[:3], "b": A[:3] * 2}
    expected = A[:3] + 2 * A[:3].T
    for tree in (given, OrderedDict(b=given["b"], a=given["a"])):
        for axes in ({"a": 0, "b": 1}, OrderedDict(b=1, a=0)):
            got = run(vmap(lambda d: (d["a"] + d["b"], d), (axes,), (0, axes)), tree)
            assert_near(got[0], numpy.ascontiguousarray(expected))
            assert list(got[1]) == list(tree)
            assert_near(got[1]["a"], given["a"])
            assert_near(got[1]["b"], given["b"])


def test_names_count_at_their_positions_in_and_out_of_a_trace() -> None:
    def f(x: Any, scale: Any = 2.0, k: Any = 1.0) -> Any:
        return x * scale + k

    square, steps = A[:3], numpy.arange(3.0)
    across = vmap(f, 1)
    for call in (across, jit(across, target="reference"), lambda *x, **k: run(across, *x, **k)):
        got = call(square, scale=square, k=numpy.arange(9.0).reshape(3, 3))
        expected = square * square + numpy.arange(9.0).reshape(3, 3)
        assert_near(got, numpy.ascontiguousarray(expected.T))
    shared = vmap(f, (0, None, 0))
    for call in (shared, lambda *x, **k: run(shared, *x, **k)):
        assert_near(call(square, k=steps), square * 2 + steps[:, None])
        assert_near(call(k=steps, x=square, scale=3.0), square * 3 + steps[:, None])


def test_numbers_that_all_elements_share_adapt_their_dtype() -> None:
    x = A.astype("f4")
    got = run(vmap(lambda x, k, n: x * k + n, (0, None, None)), x, 2.5, 3)
    assert_near(got, x * numpy.float32(2.5) + 3)


def test_batches_of_one_and_of_no_element() -> None:
    f = vmap(lambda x, y: (np.tanh(x) @ y, np.max(x), 1.0), (0, None))
    for size in (1, 0):
        product, largest, one = run(f, A[:size], B)
        assert_near(product, numpy.tanh(A[:size]) @ B)
        assert_near(largest, A[:size].max(1))
        assert one.shape == (size,)
    gradient = run(grad(lambda v: np.sum(vmap(lambda x: np.sum(x * v))(A[:0]))), V)
    assert_near(gradient, numpy.zeros(3))


# -- with other transforms -------------------------------------------------------------------------


def test_nested() -> None:
    def dot(x: Any, y: Any) -> Any:
        return np.sum(x * y)

    matmul = vmap(vmap(dot, (None, 1)), (0, None))
    assert_near(run(matmul, A, B), A @ B)
    assert_near(run(vmap(vmap(dot, (None, 1), 0), (0, None), 1), A, B), (A @ B).T.copy())
    stacks = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(3, 5, 2))
    thrice = vmap(matmul, (0, 2), 1)
    expected = numpy.einsum("bij,jkb->ibk", *stacks)
    assert_near(run(thrice, *stacks), expected)


def test_gradient_of_vmap_and_vmap_of_gradient() -> None:
    def f(w: Any, x: Any) -> Any:
        return np.sum(np.tanh(w @ x) ** 2)

    def total(w: Any, x: Any) -> Any:
        return np.sum(vmap(f, (None, 0))(w, x))

    x = RNG.normal(size=(6, 3))
    each = run(vmap(grad(f), (None, 0)), A, x)
    expected = numpy.stack([run(grad(f), A, row) for row in x])
    assert_near(each, expected)
    assert_near(run(grad(total), A, x), expected.sum(0))
    values, gradients = run(vmap(value_and_grad(f, (0, 1)), (None, 0), (0, (0, 1))), A, x)
    assert_near(values, numpy.array([run(f, A, row) for row in x]))
    assert_near(gradients[1].T.copy(), numpy.stack([run(grad(f, 1), A, row) for row in x]))
    twice = run(vmap(lambda x, v: hvp(lambda x: f(A, x), (x,), (v,)), (0, None)), x, V)
    assert_near(twice, numpy.stack([run(lambda x: hvp(lambda x: f(A, x), (x,), (V,)), r)
                                    for r in x]))  # fmt: skip


def test_derivatives_along_a_batch_of_directions() -> None:
    """A vmap of a pushforward or a pullback is a Jacobian."""
    eye = numpy.eye(3)
    slope = 1 - numpy.tanh(A @ V) ** 2
    pushed = run(vmap(lambda d: jvp(lambda x: np.tanh(A @ x), (V,), (d,))[1], out_axes=1), eye)
    assert_near(pushed, slope[:, None] * A)

    def pull(x: Any, basis: Any) -> Any:
        return vmap(vjp(lambda x: np.tanh(A @ x), x)[1])(basis)[0]

    assert_near(run(pull, V, numpy.eye(4)), slope[:, None] * A)


def test_values_of_an_enclosing_trace_are_shared_by_all_elements() -> None:
    def f(x: Any, y: Any) -> Any:
        doubled = 2 * x
        return vmap(lambda row: row + doubled + V)(y)

    assert_near(run(f, V, A), A + 3 * V)
    captured = trace(lambda x: vmap(lambda v: v * A[0])(x), A)
    assert len(captured.captures) == 1
    assert_near(run(vmap(lambda x: vmap(lambda k: k * x)(V)), A), A[:, None, :] * V[:, None])


def test_arrays_may_be_mapped_inside_of_a_trace() -> None:
    assert_near(run(lambda x: vmap(lambda row: row * x)(A), V), A * V)


def test_called_on_arrays_it_is_jitted() -> None:
    mapped = vmap(lambda x, y: x * y, (0, None))
    assert_near(mapped(A, V), A * V)
    assert_near(mapped(A[1:] * 1, V), A[1:] * V)
    assert_near(mapped(A, V), A * V)
    assert mapped.cache_info().compiles == 2
    assert mapped.__name__ == "<lambda>"
    assert_near(jit(mapped, target="reference")(A, V), A * V)


# -- functions with own derivatives ----------------------------------------------------------------


def test_custom_backward_is_used_under_vmap() -> None:
    """The backward is wrong by a factor on purpose, so that its use shows."""

    @custom_vjp
    def f(x: Any, w: Any) -> Any:
        return np.sin(x) * w

    f.defvjp(
        lambda x, w: (np.sin(x) * w, (x, w)),
        lambda kept, ct: (10 * ct * np.cos(kept[0]) * kept[1], 100 * ct * np.sin(kept[0])),
    )

    def total(x: Any, w: Any) -> Any:
        return np.sum(vmap(f, (0, None))(x, w) * np.arange(1.0, 5.0)[:, None])

    weight = numpy.arange(1.0, 5.0)[:, None]
    by_x, by_w = run(grad(total, (0, 1)), A, V)
    assert_near(by_x, 10 * weight * numpy.cos(A) * V)
    assert_near(by_w, (100 * weight * numpy.sin(A)).sum(0))
    each = run(vmap(grad(lambda x, w: np.sum(f(x, w)), (0, 1)), (0, None)), A, V)
    assert_near(each[0], 10 * numpy.cos(A) * V)
    assert_near(each[1], 100 * numpy.sin(A))
    assert_near(run(vmap(f, (0, None)), A, V), numpy.sin(A) * V)
    pushed = run(lambda x, w: jvp(vmap(f, (0, None)), (x, w), (x, w))[1], A, V)
    assert_near(pushed, 10 * A * numpy.cos(A) * V + 100 * V * numpy.sin(A))


def test_custom_backward_of_a_function_that_ignores_its_operand() -> None:
    """Each element has a cotangent of its own, though its value is the same for all."""

    @custom_vjp
    def ones(x: Any) -> Any:
        return np.ones_like(x)

    ones.defvjp(lambda x: (np.ones_like(x), ()), lambda kept, ct: (ct,))
    weight = numpy.arange(1.0, 13.0).reshape(4, 3)
    assert_near(run(grad(lambda x: np.sum(vmap(ones)(x) * weight)), A), weight)


def test_custom_backward_with_mapped_and_shared_results() -> None:
    @custom_vjp
    def f(x: Any, k: Any) -> Any:
        return 2 * x, x * k

    f.defvjp(lambda x, k: ((2 * x, x * k), k), lambda k, ct: (2 * ct[0] + k * ct[1], None))
    k = numpy.array([1, 2, 5])

    def total(x: Any) -> Any:
        double, product = vmap(f, (None, 0))(x, k)
        return np.sum(double) + np.sum(product)

    assert_near(run(grad(total), numpy.array(3.0)), numpy.array(2.0 * 3 + 8))


def test_custom_forward_rule_is_used_under_vmap() -> None:
    @custom_jvp
    def f(x: Any, w: Any) -> Any:
        return np.sin(x) * w, w

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, w), (dx, dw) = primals, tangents
        return f(x, w), (10 * dx * np.cos(x) * w, dw + 0 * dx)

    pushed = run(
        lambda x, w: jvp(vmap(f, (0, None)), (x, w), (np.ones_like(x), w))[1], A, V
    )
    assert_near(pushed[0], 10 * numpy.cos(A) * V)
    assert_near(pushed[1], numpy.broadcast_to(V, A.shape).copy())
    total = run(grad(lambda x: np.sum(vmap(f, (0, None))(x, V)[0])), A)
    assert_near(total, 10 * numpy.cos(A) * V)


def test_linear_call_keeps_its_backward() -> None:
    def scale(r: Any, x: Any) -> Any:
        return linear_call(lambda r, x: r * x, lambda r, ct: 10 * r * ct, r, x)

    def total(x: Any) -> Any:
        return np.sum(vmap(scale, (0, None))(A, x))

    assert_near(run(total, V), (A * V).sum())
    assert_near(run(grad(total), V), 10 * A.sum(0))
    assert_near(run(vmap(grad(lambda x, r: np.sum(scale(r, x))), (None, 0)), V, A), 10 * A)


def test_a_rule_that_is_not_linear_is_still_refused() -> None:
    @custom_vjp
    def f(x: Any) -> Any:
        return x * x

    f.defvjp(lambda x: (x * x, x), lambda x, ct: (ct * ct,))
    with pytest.raises(DifferentiationError, match="to be linear in its cotangents"):
        run(grad(lambda x: np.sum(vmap(f)(x))), A)


# -- checks ----------------------------------------------------------------------------------------


def test_a_check_fails_where_any_element_does() -> None:
    def root(x: Any) -> Any:
        check(x >= 0, "a square root of negative numbers")
        return np.sqrt(x)

    x = numpy.abs(A)
    assert_near(run(vmap(root, 1, 1), x), numpy.sqrt(x))
    x[2, 1] = -1
    with pytest.raises(CheckError, match="of negative numbers .*flat index 7 of 12"):
        run(vmap(root), x)
    with pytest.raises(CheckError, match="flat index 6 of 12"):
        run(vmap(root, 1), x)

    def shared(x: Any, limit: Any) -> Any:
        check(limit > 0, "limit")
        return x

    with pytest.raises(CheckError, match="limit .*flat index 0 of 1"):
        run(vmap(shared, (0, None)), x, -1.0)


# -- errors ----------------------------------------------------------------------------------------

ENDLESS: list[Any] = [0]
ENDLESS.append(ENDLESS)
ERRORS: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (ShapeError, r"equal size, got 4 \(axis 0 of argument 0, f64\[4,3\]\) and 3 \(axis 0 of "
     r"argument 1\['v'\], f64\[3\]\)", lambda: vmap(lambda x, y: x)(A, {"v": V})),
    (ShapeError, r"argument 1 to have an axis 0, got f64\[\]; give it the axis None",
     lambda: vmap(lambda x, y: x)(A, 2.0)),
    (ShapeError, r"argument 0 to have an axis 2, got f64\[4,3\]",
     lambda: vmap(lambda x: x, 2)(A)),
    (ShapeError, r"argument 0 to have an axis -3, got f64\[4,3\]",
     lambda: vmap(lambda x: x, -3)(A)),
    (ShapeError, r"argument 'k' to have an axis 0", lambda: vmap(lambda x, k: x)(A, k=1)),
    (ArgumentError, "at least one array to map over", lambda: vmap(lambda x: x, None)(A)),
    (ArgumentError, "at least one array to map over", lambda: vmap(lambda: 1.0)()),
    (ArgumentError, "an entry for each of 1 positional arguments, got 2",
     lambda: vmap(lambda x: x, (0, 0))(A)),
    (ArgumentError, r"in_axes of argument 0 as a tree that begins .*, got \{'a': 0\}",
     lambda: vmap(lambda x: x, ({"a": 0},))([A])),
    (LimitError, "nested at most .* one that holds itself", lambda: vmap(lambda x: x, ENDLESS)),
    (LimitError, "nested at most .* one that holds itself",
     lambda: vmap(lambda x: x, 0, {"a": ENDLESS})),
    (ArgumentError, "in_axes as an int, None or a tuple", lambda: vmap(lambda x: x, {"a": 0})),
    (ArgumentError, "in_axes of ints and None, got True", lambda: vmap(lambda x: x, True)),
    (ArgumentError, "out_axes of ints and None, got 'x'",
     lambda: vmap(lambda x: x, 0, {"a": "x"})),
    (ArgumentError, r"out_axes as a tree that begins", lambda: vmap(lambda x: x, 0, (0, 0))(A)),
    (ShapeError, r"the result\['a'\] to be the same for all elements, as out_axes is None",
     lambda: vmap(lambda x: {"a": x}, 0, None)(A)),
    (ShapeError, r"an axis of the 2 of the result in out_axes, got 2",
     lambda: vmap(lambda x: x, 0, 2)(A)),
    (ArgumentError, "vmap: expected a function", lambda: vmap(3)),  # type: ignore[arg-type]
    (ArgumentError, "expected an array or a number", lambda: vmap(lambda x: x)("text")),
]


@pytest.mark.parametrize(("kind", "message", "call"), ERRORS)
def test_errors_name_the_argument_and_the_line(
    kind: type[Exception], message: str, call: Callable[[], Any]
) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "test_vmap.py" in str(caught.value)


def test_errors_of_the_function_name_its_line() -> None:
    with pytest.raises(ShapeError, match="test_vmap.py"):
        vmap(lambda x: x @ x[:2])(A)


def test_random_batch_of_a_batched_product_equals_numpy() -> None:
    """All kinds of one-sided and two-sided contractions that a product of matrices gives."""
    stack = RNG.normal(size=(2, 4, 3))
    for axes in ((0, None), (None, 0), (0, 0)):
        x = RNG.normal(size=(2, 5, 4)) if axes[0] == 0 else RNG.normal(size=(5, 4))
        y = stack if axes[1] == 0 else stack[0]
        graph = trace(vmap(lambda x, y: x @ y, axes), x, y)
        assert_near(interpret(graph, [x, y])[0], x @ y)
