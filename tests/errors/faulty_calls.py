"""Faulty programs: dtypes, derivatives, rules of the user's own, donation and arguments; see
`faulty_shapes`."""

from __future__ import annotations

from typing import Any

import numpy as np
from faulty import faulty

import irgrad as ig
from irgrad.errors import (
    ArgumentError,
    BackendError,
    CheckError,
    DifferentiationError,
    DonationError,
    DTypeError,
    LoweringError,
    ShapeError,
)

X = np.ones((3, 4))


# -- dtypes ----------------------------------------------------------------------------------------


@faulty(DTypeError, "bitwise_and", "f64", "i64")
def bits_of_a_float() -> None:
    def model(x: Any, mask: Any) -> Any:
        return x & mask  # BAD

    ig.jit(model)(X, np.ones(4, np.int64))


@faulty(DTypeError, "subtract", "bool")
def difference_of_truths() -> None:
    def model(x: Any) -> Any:
        return (x > 0) - (x < 1)  # BAD

    ig.jit(model)(X)


@faulty(DTypeError, "power", "-1", "astype(float)")
def integer_to_a_negative_power() -> None:
    def model(x: Any) -> Any:
        return x**-1  # BAD

    ig.jit(model)(np.arange(4))


@faulty(DTypeError, "1099511627776", "i32")
def constant_out_of_range() -> None:
    def model(x: Any) -> Any:
        return x + 2**40  # BAD

    ig.jit(model)(np.arange(4, dtype=np.int32))


@faulty(DTypeError, "model", "strict=True", "f32 is widened to f64")
def widened_float() -> None:
    table = np.ones(4)

    def model(x: Any) -> Any:
        return x * table  # BAD

    ig.compile(model, "f32[4]", strict=True)


@faulty(DTypeError, "cross_entropy", "integer labels", "float64")
def float_labels() -> None:
    def loss(logits: Any, labels: Any) -> Any:
        return ig.nn.cross_entropy(logits, labels)  # BAD

    ig.jit(loss)(X, np.zeros(3))


# -- derivatives -----------------------------------------------------------------------------------


@faulty(DifferentiationError, "grad", "argument 0", "i64[4]")
def gradient_by_integers() -> None:
    def loss(counts: Any) -> Any:
        return (counts * 2).sum()

    ig.grad(loss)(np.arange(4))  # BAD


@faulty(DifferentiationError, "grad", "argument 0['step']", "i64[]")
def gradient_by_a_tree_with_an_integer() -> None:
    def loss(params: Any) -> Any:
        return (params["w"] ** 2).sum()

    ig.jit(ig.grad(loss))({"w": X, "step": np.array(3)})  # BAD


@faulty(DifferentiationError, "gradient", "scalar", "f64[3,4]")
def gradient_of_an_array() -> None:
    def loss(x: Any) -> Any:
        return x**2  # BAD

    ig.grad(loss)(X)


@faulty(DifferentiationError, "gradient", "scalar float", "i64[]")
def gradient_of_an_integer() -> None:
    def loss(x: Any) -> Any:
        return x.argmax()  # BAD

    ig.grad(loss)(X)


@faulty(DifferentiationError, "value_and_grad", "2 values", "has_aux=True")
def gradient_of_two_results() -> None:
    def loss(x: Any) -> Any:
        return x.sum(), x

    ig.value_and_grad(loss)(X)  # BAD


@faulty(ArgumentError, "grad", "argnums", "2")
def gradient_by_a_missing_argument() -> None:
    def loss(x: Any, y: Any) -> Any:
        return (x * y).sum()

    ig.grad(loss, argnums=2)(X, X)  # BAD


@faulty(ArgumentError, "sgd", "{b: *, w: *}", "{w: *}")
def gradients_of_another_tree() -> None:
    params = {"w": X, "b": X[0]}
    optimiser = ig.optim.sgd(0.1)
    optimiser.update({"w": X}, optimiser.init(params), params)  # BAD


@faulty(ArgumentError, "check_grads", "a float output", "none")
def check_of_a_function_without_derivatives() -> None:
    ig.testing.check_grads(lambda x: x > 0, (X,))  # BAD


@faulty(ArgumentError, "jvp: tangent 0", "f64[3,4]", "f32[3,4]")
def tangent_of_another_dtype() -> None:
    ig.jvp(np.sin, (X,), (X.astype(np.float32),))  # BAD


@faulty(ArgumentError, "vjp: cotangent 0", "f64[3,4]", "f64[4]")
def cotangent_of_another_shape() -> None:
    _, pullback = ig.vjp(np.sin, X)
    pullback(np.ones(4))  # BAD


# -- rules of the user's own -----------------------------------------------------------------------


@faulty(DifferentiationError, "custom_jvp cube", "tangent 0", "f64[3,4]", "f64[]")
def rule_with_a_tangent_of_another_shape() -> None:
    @ig.custom_jvp
    def cube(x: Any) -> Any:
        return x**3

    def rule(primals: Any, tangents: Any) -> Any:
        return cube(*primals), tangents[0].sum()  # BAD

    cube.defjvp(rule)

    def loss(x: Any) -> Any:
        return cube(x).sum()

    ig.jit(ig.grad(loss))(X)


@faulty(DifferentiationError, "custom_jvp_call", "linear in its tangents", "square")
def rule_that_is_not_linear() -> None:
    @ig.custom_jvp
    def cube(x: Any) -> Any:
        return x**3

    def rule(primals: Any, tangents: Any) -> Any:
        return cube(*primals), tangents[0] ** 2  # BAD

    cube.defjvp(rule)
    ig.jit(ig.grad(lambda x: cube(x).sum()))(X)


@faulty(DifferentiationError, "custom_vjp cube", "tuple of 1", "f64[3,4]")
def backward_without_a_tuple() -> None:
    @ig.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, ct: ct * 3 * x**2)

    def loss(x: Any) -> Any:
        return cube(x).sum()  # BAD

    ig.jit(ig.grad(loss))(X)


@faulty(DifferentiationError, "custom_vjp cube", "defvjp")
def rule_that_was_not_given() -> None:
    @ig.custom_vjp
    def cube(x: Any) -> Any:
        return x**3

    def loss(x: Any) -> Any:
        return cube(x).sum()  # BAD

    ig.jit(ig.grad(loss))(X)


@faulty(DifferentiationError, "custom_vjp scaled", "f64[]", "pass it as an argument")
def rule_over_a_traced_value() -> None:
    def loss(x: Any, scale: Any) -> Any:
        @ig.custom_vjp
        def scaled(x: Any) -> Any:
            return x * scale

        scaled.defvjp(lambda x: (x * scale, ()), lambda _, ct: (ct * scale,))
        return scaled(x).sum()  # BAD

    ig.jit(ig.grad(loss))(X, 2.0)


@faulty(DifferentiationError, "linear_call", "operands of float type", "i64[4]")
def linear_call_on_integers() -> None:
    def model(counts: Any) -> Any:
        return ig.linear_call(lambda _, x: x * 2, lambda _, ct: ct * 2, None, counts)  # BAD

    ig.jit(model)(np.arange(4))


# -- donation --------------------------------------------------------------------------------------


@faulty(DonationError, "params", "read-only")
def donate_a_read_only_array() -> None:
    params = np.ones(4)
    params.flags.writeable = False
    step = ig.jit(lambda params: params * 2, donate="params")
    step(params)  # BAD


@faulty(DonationError, "w", "not C-contiguous")
def donate_a_transpose() -> None:
    step = ig.jit(lambda w: w * 2, donate=0, target="reference")
    step(X.T)  # BAD


@faulty(DonationError, "w", "overlaps", "x")
def donate_what_is_read() -> None:
    step = ig.jit(lambda w, x: w + x, donate=0)
    data = np.ones(8)
    step(data[:6], data[2:])  # BAD


@faulty(DonationError, "w", "captured")
def donate_what_is_captured() -> None:
    start = np.ones(4)
    step = ig.jit(lambda w: w + start, donate=0)
    step(start)  # BAD


@faulty(DonationError, "lr", "ndarray to donate", "Python float 0.1")
def donate_a_number() -> None:
    step = ig.jit(lambda lr: lr * 2, donate=0, target="reference")
    step(0.1)  # BAD


@faulty(ArgumentError, "donate", "params, x", "'weights'")
def donate_an_unknown_name() -> None:
    step = ig.jit(lambda params, x: params * x, donate="weights")
    step(X, X)  # BAD


# -- arguments -------------------------------------------------------------------------------------


@faulty(ArgumentError, "x", "f32[4]", "f64[4]", "astype('float32')")
def argument_of_another_dtype() -> None:
    model = ig.compile(lambda x: x * 2, "f32[4]", target="reference")
    model(np.ones(4))  # BAD


@faulty(ArgumentError, "params", "dict", "['b', 'w']", "['w']")
def argument_of_another_structure() -> None:
    specs = {"w": "f64[4]", "b": "f64[4]"}
    model = ig.compile(lambda params: params["w"] + params["b"], specs, target="reference")
    model({"w": np.ones(4)})  # BAD


@faulty(ArgumentError, "2 arguments (x, y)", "got 1")
def missing_argument() -> None:
    model = ig.compile(lambda x, y: x + y, "f64[4]", "f64[4]", target="reference")
    model(np.ones(4))  # BAD


@faulty(ArgumentError, "x", "list of numbers", "numpy.asarray")
def list_as_an_array() -> None:
    model = ig.jit(lambda x: x[0] * 2)
    model([1.0, 2.0])  # BAD


@faulty(ArgumentError, "mode", "'train'", "static=")
def text_as_an_argument() -> None:
    model = ig.jit(lambda x, mode: x * 2 if mode == "train" else x)
    model(X, "train")  # BAD


@faulty(ArgumentError, "static argument 1", "hashable", "[1, 2]")
def list_as_a_static_argument() -> None:
    model = ig.jit(lambda x, sizes: x * len(sizes), static=1)
    model(X, [1, 2])  # BAD


@faulty(ArgumentError, "x", "plain ndarray", "MaskedArray")
def masked_argument() -> None:
    model = ig.jit(lambda x: x * 2)
    model(np.ma.masked_invalid(X))  # BAD


@faulty(ArgumentError, "captured array table", "f64[2,2]", "f64[4]")
def captured_array_of_another_shape() -> None:
    table = np.ones((2, 2))
    model = ig.compile(lambda x: x + table, "f64[]", target="reference")
    table.shape = (4,)
    model(np.float64(1))  # BAD


@faulty(CheckError, "check: negative input", "flat index 5")
def check_that_fails() -> None:
    def model(x: Any) -> Any:
        ig.check(x > 0, "negative input")  # BAD
        return np.log(x)

    x = X.copy()
    x[1, 1] = -1
    ig.jit(model)(x)


@faulty(ShapeError, "reduce_max", "at least 1 element along axis 0 of f64[n]", "n=0")
def no_element_of_a_named_size() -> None:
    def model(x: Any) -> Any:
        return np.max(x)  # BAD

    ig.jit(model, specs=("f64[n]",))(np.zeros(0))


@faulty(LoweringError, "cpu kernel", "f32 or f64", "got f16")
def product_of_half_floats() -> None:
    half = X.astype(np.float16)
    ig.jit(lambda x: x @ x.T)(half)  # BAD


@faulty(BackendError, "target", "'gpu'", "installed: cpu")
def unknown_target() -> None:
    ig.jit(lambda x: x * 2, target="gpu")(X)  # BAD


@faulty(ArgumentError, "jit", "'max_retrace'", "did you mean max_retraces?")
def misspelt_option() -> None:
    ig.jit(lambda x: x * 2, max_retrace=3)  # BAD
