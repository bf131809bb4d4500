"""Values of the wrong kind in every argument of the public functions: named errors alone."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import IrgradError

MAX_LINES = 12
X = np.arange(3.0)


class Subclass(np.ndarray):
    """An ndarray with rules of its own."""


class Converts:
    """Something that NumPy would convert."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return X


JUNK: MappingProxyType[str, Any] = MappingProxyType({
    "None": None, "text": "abc", "bytes": b"abc", "object": object(), "negative": -1, "huge": 2**62,
    "endless": 10**400, "float": 5.5, "nan": float("nan"), "true": True, "complex": 1 + 2j,
    "set": {1}, "empty list": [], "empty dict": {}, "list": [1, 2], "mixed list": [1, "a"],
    "nested None": (None,), "ellipsis": ..., "slice": slice(1),
    "text array": np.array("a"), "object array": np.array([None]),
    "string dtype": np.array(["a"], dtype=np.dtypes.StringDType()),
    "complex array": np.array([1 + 2j]), "long double": np.zeros(3, np.longdouble),
    "dates": np.zeros(3, "M8[s]"), "records": np.zeros(3, [("a", "f8")]),
    "eight bits": np.zeros(3, ml_dtypes.float8_e4m3fn), "date": np.datetime64("2020"),
    "masked": np.ma.masked_invalid(X), "matrix": np.ones((1, 3)).view(np.matrix),
    "subclass": X.view(Subclass), "convertible": Converts(), "memory": memoryview(X),
    "iterator": iter(()),
})  # fmt: skip
NUMBERS = frozenset({"negative", "huge", "float", "nan", "true"})
TREES = frozenset({"None", "empty list", "empty dict", "nested None"})
ANY = frozenset(JUNK)


def square(x: Any) -> Any:
    return x * x


def total(*xs: Any) -> Any:
    return sum(inp.sum(x * x) for x in xs if hasattr(x, "shape"))


def nothing(*_: Any) -> float:
    return 1.0


def by_rule(rule: Any) -> Any:
    f = ig.custom_jvp(square)
    f.defjvp(rule)
    return ig.trace(ig.grad(lambda x: f(x).sum()), X)


def by_backward(forward: Any, backward: Any) -> Any:
    f = ig.custom_vjp(square)
    f.defvjp(forward, backward)
    return ig.trace(ig.grad(lambda x: f(x).sum()), X)


def linear(*parts: Any) -> Any:
    return ig.trace(lambda x: ig.linear_call(*parts, x), X)


def jit(f: Any, **options: Any) -> Any:
    return ig.jit(f, target="reference", **options)


COMPILED = ig.compile(square, X, target="reference")
ADAM = ig.optim.adam()
Call = tuple[Callable[[Any], Any], frozenset[str]]
CALLS: MappingProxyType[str, Call] = MappingProxyType({
    "jit": (lambda v: jit(v)(X), frozenset({"None"})),  # without a function jit is a decorator
    "jit call": (jit(nothing), NUMBERS | TREES | {"complex array"}),
    "jit specs": (lambda v: jit(nothing, specs=v)(X), frozenset({"None"})),
    "jit donate": (lambda v: jit(square, donate=v)(X), frozenset({"empty list"})),
    "jit static": (lambda v: jit(square, static=v)(X), frozenset({"empty list"})),
    "jit static value": (lambda v: jit(nothing, static=1)(X, v), ANY),
    "jit target": (lambda v: ig.jit(square, target=v)(X), frozenset()),
    "jit options": (lambda v: jit(square, options=v)(X), frozenset({"None"})),
    "options": (lambda v: [getattr(ig.Options(**{n: v}), n) for n in ig.Options.__slots__],
                frozenset()),
    "max_retraces": (lambda v: ig.Options(max_retraces=v), frozenset({"huge", "endless"})),
    "compile": (ig.compile, frozenset()),
    "compile specs": (lambda v: ig.compile(nothing, v, target="reference"),
                      NUMBERS | TREES | frozenset({"masked", "matrix", "subclass",
                                                   "complex array", "endless", "list"})),
    "compile donate": (lambda v: ig.compile(square, X, target="reference", donate=v),
                       frozenset({"empty list"})),
    "trace": (ig.trace, frozenset()),
    "trace specs": (lambda v: ig.trace(nothing, v),
                    NUMBERS | TREES | frozenset({"masked", "matrix", "subclass", "complex array",
                                                 "endless", "list"})),
    "trace static": (lambda v: ig.trace(nothing, X, static=v), frozenset({"None", "empty dict"})),
    "trace donate": (lambda v: ig.trace(square, X, donate=v), frozenset({"empty list"})),
    "spec": (ig.spec, frozenset()),
    "parse": (ig.ir.parse, frozenset()),
    "check": (lambda v: ig.check(v, "message"), frozenset({"true", "empty list"})),
    "check message": (lambda v: ig.check(True, v), frozenset({"text"})),
    "traced check": (lambda v: ig.trace(lambda x: ig.check(v, "message") or x, X),
                     frozenset({"true", "empty list"})),
    "grad": (lambda v: ig.grad(v), frozenset()),
    "value_and_grad": (lambda v: ig.value_and_grad(v), frozenset()),
    "grad call": (lambda v: jit(ig.grad(total))(v), frozenset({"float", "nan"})),
    "grad argnums": (lambda v: jit(ig.grad(total, argnums=v))(X), frozenset({"negative"})),
    "jvp": (lambda v: ig.jvp(v, (X,), (X,)), frozenset()),
    "jvp primals": (lambda v: ig.jvp(total, v, (1.0,)), frozenset()),
    "jvp primal": (lambda v: ig.jvp(nothing, (v,), (v,)),
                   TREES | {"float", "nan", "complex array"}),
    "jvp tangent": (lambda v: ig.jvp(square, (X,), (v,)), frozenset({"None"})),
    "vjp": (lambda v: ig.vjp(v, X), frozenset()),
    "vjp cotangent": (lambda v: ig.vjp(square, X)[1](v), frozenset({"None"})),
    "linearize": (lambda v: ig.linearize(v, X), frozenset()),
    "linearize tangent": (lambda v: ig.linearize(square, X)[1](v), frozenset({"None"})),
    "hvp": (lambda v: ig.hvp(v, (X,), (X,)), frozenset()),
    "hvp primals": (lambda v: ig.hvp(total, v, (X,)), frozenset()),
    "hvp tangents": (lambda v: ig.hvp(total, (X,), v), frozenset({"nested None"})),
    "stop_gradient": (ig.stop_gradient,
                      ANY - {"object", "set", "ellipsis", "slice", "convertible", "memory",
                             "iterator"}),
    "custom_jvp": (ig.custom_jvp, frozenset()),
    "custom_vjp": (ig.custom_vjp, frozenset()),
    "defjvp": (by_rule, frozenset()),
    "defjvp result": (lambda v: by_rule(lambda primals, tangents: v), frozenset()),
    "defjvp tangent": (lambda v: by_rule(lambda primals, tangents: (primals[0], v)),
                       frozenset({"None"})),
    "defvjp forward": (lambda v: by_backward(v, lambda kept, ct: (ct,)), frozenset()),
    "defvjp backward": (lambda v: by_backward(lambda x: (x, x), v), frozenset()),
    "defvjp forward result": (lambda v: by_backward(lambda x: v, lambda kept, ct: (ct,)),
                              frozenset()),
    "defvjp backward result": (lambda v: by_backward(lambda x: (x, x), lambda kept, ct: v),
                               frozenset({"nested None"})),
    "linear_call": (lambda v: linear(v, lambda r, ct: ct, None), frozenset()),
    "linear_call backward": (lambda v: linear(lambda r, x: x, v, None), frozenset()),
    "linear_call residuals": (lambda v: linear(lambda r, x: x, lambda r, ct: ct, v),
                              NUMBERS | TREES | frozenset({"complex array", "list", "endless"})),
    "linear_call result": (lambda v: linear(lambda r, x: v, lambda r, ct: ct, None), frozenset()),
    "result": (lambda v: ig.trace(lambda x: v, X),
               NUMBERS | TREES | frozenset({"complex array", "list"})),
    "compiled call": (COMPILED, frozenset()),
    "bind": (COMPILED.bind, frozenset()),
    "bind out": (lambda v: COMPILED.bind(X, out=v), frozenset({"None"})),
    "stage": (COMPILED.stage, frozenset()),
    "ir": (COMPILED.ir, frozenset({"None"})),
    "diff": (lambda v: COMPILED.diff(v, "traced"), frozenset()),
    "check_grads": (lambda v: ig.testing.check_grads(v, (X,)), frozenset()),
    "check_grads args": (lambda v: ig.testing.check_grads(nothing, v), frozenset()),
    "check_grads order": (lambda v: ig.testing.check_grads(nothing, (X,), order=v),
                          frozenset({"true"})),
    "check_grads modes": (lambda v: ig.testing.check_grads(square, (X,), modes=v), frozenset()),
    "check_grads eps": (lambda v: ig.testing.check_grads(nothing, (X,), eps=v),
                        frozenset({"None", "float", "true", "huge"})),
    "sgd": (ig.optim.sgd, frozenset({"float", "true", "huge", "endless"})),
    "momentum": (lambda v: ig.optim.momentum(0.1, v), frozenset()),
    "adam": (lambda v: ig.optim.adam(0.1, v), frozenset()),
    "update": (lambda v: ADAM.update(v, ADAM.init(X), X),
               frozenset({"float", "nan", "complex array"})),
    "index": (lambda v: ig.trace(lambda x: x[v], X), frozenset({"None", "negative", "ellipsis",
                                                               "slice", "nested None"})),
    "slice": (lambda v: ig.trace(lambda x: x[v:], X),
              frozenset({"None", "negative", "huge", "true", "endless"})),
    "product": (lambda v: ig.trace(lambda x: x * v, X), NUMBERS | {"empty list"}),
    "sum axis": (lambda v: ig.trace(lambda x: inp.sum(x, axis=v), X),
                 frozenset({"None", "negative", "empty list"})),
    "reshape": (lambda v: ig.trace(lambda x: inp.reshape(x, v), X), frozenset({"negative"})),
    "astype": (lambda v: ig.trace(lambda x: x.astype(v), X), frozenset({"None"})),
    "einsum": (lambda v: ig.trace(lambda x: inp.einsum(v, x), X), frozenset()),
    "pad": (lambda v: ig.trace(lambda x: inp.pad(x, v), X),
            frozenset({"huge", "empty dict", "list"})),
    "concatenate": (lambda v: ig.trace(lambda x: inp.concatenate([x, v]), X),
                    frozenset({"empty list", "list", "complex array"})),
    "where": (lambda v: ig.trace(lambda x: inp.where(x > 0, x, v), X), NUMBERS | {"complex array"}),
})  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_bad_values_meet_named_errors_alone(name: str) -> None:
    call, fine = CALLS[name]
    accepted, long = [], []
    for kind, value in JUNK.items():
        try:
            call(value)
        except IrgradError as error:
            message = str(error)
            if len(message.splitlines()) > MAX_LINES or "expected" not in message:
                long.append((kind, message))
        else:
            if kind not in fine:
                accepted.append(kind)
    assert not accepted
    assert not long
