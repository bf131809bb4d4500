"""Odd functions, containers and calls in every transform: the right answer or a named error."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
import pickle
import threading
import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import optree
import pytest

import irgrad as ig
from irgrad.errors import ArgumentError, IrgradError, LimitError, TraceError

X = np.arange(3.0)
MAX_MESSAGE = 1500
Pair = namedtuple("Pair", "first second")  # noqa: PYI024

jit = functools.partial(ig.jit, target="reference")
build = functools.partial(ig.compile, target="reference")


def outcome(call: Callable[[], Any]) -> Any:
    """The result of a call, or its error, which has to be short, named, and end on a line here."""
    try:
        return call()
    except IrgradError as error:
        message = str(error)
        assert "expected" in message and len(message) < MAX_MESSAGE
        assert __file__.rsplit("/", 1)[-1] in message
        return error


def assert_equal_trees(got: Any, expected: Any) -> None:
    leaves, tree = optree.tree_flatten(got)
    wanted, structure = optree.tree_flatten(expected)
    assert tree == structure
    for a, b in zip(leaves, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


# -- functions of every kind -----------------------------------------------------------------------


class Model:
    """Callables of a class."""

    def method(self, x: Any) -> Any:
        return x * 2

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return x * 2

    @staticmethod
    def plain(x: Any) -> Any:
        return x * 2

    def __call__(self, x: Any) -> Any:
        return x * 2


class Endless:
    """Has every attribute, and is its own value."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, x: Any) -> Any:
        return x * 2


def product(a: Any, b: Any) -> Any:
    return a * b


def generator(x: Any) -> Iterator[Any]:
    yield x


def wrapping_itself(x: Any) -> Any:
    return x * 2


wrapping_itself.__wrapped__ = wrapping_itself  # type: ignore[attr-defined]


def wrapping_nothing(x: Any) -> Any:
    return x * 2


wrapping_nothing.__wrapped__ = None  # type: ignore[attr-defined]
MODEL = Model()
NAMELESS = Model()
NAMELESS.__name__ = None  # type: ignore[attr-defined]
DOUBLES: MappingProxyType[str, Any] = MappingProxyType({
    "method": MODEL.method, "class method": Model.of_class, "static": Model.plain,
    "object": MODEL, "nameless": NAMELESS, "partial": functools.partial(product, 2.0),
    "jitted": jit(MODEL.plain), "jitted twice": jit(jit(MODEL.plain)), "endless": Endless(),
    "itself": wrapping_itself, "wraps": wrapping_nothing,
    "default": lambda x, y=2: x * y, "keyword": lambda x, *, y=2: x * y,
    "any": lambda *xs, **named: xs[0] * 2, "operator": operator.methodcaller("__mul__", 2),
})  # fmt: skip
REFUSED: MappingProxyType[str, Any] = MappingProxyType({
    "unbound": Model.method, "class": Model, "two": product, "none": lambda: 1.0,
    "keyword twice": functools.partial(product, a=2.0), "generator": generator, "string": str,
    "number": float, "type": type, "iterator": iter, "reversed": reversed,
    "compiled": build(lambda x: x, X), "returns text": lambda x: "a", "returns itself": lambda x: x
    if x is None else MODEL, "returns a set": lambda x: {1.0}, "huge": lambda x: 2**70,
    "complex": lambda x: 1j, "len of": lambda x: range(x), "escapes": lambda x: (i for i in [x]),
})  # fmt: skip
TRANSFORMS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType({
    "jit": lambda f: jit(f)(X), "compile": lambda f: build(f, X)(X),
    "grad": lambda f: jit(ig.grad(f))(2.0), "value_and_grad": lambda f: jit(
        ig.value_and_grad(f))(2.0)[1],
    "custom_jvp": lambda f: ig.custom_jvp(f)(X), "custom_vjp": lambda f: ig.custom_vjp(f)(X),
    "vjp": lambda f: jit(lambda x: ig.vjp(f, x)[1](x)[0])(X),
    "jvp": lambda f: jit(lambda x: ig.jvp(f, (x,), (X,))[1])(X),
    "linearize": lambda f: jit(lambda x: ig.linearize(f, x)[1](x))(X),
})  # fmt: skip
ANSWERS = {"jit": 2 * X, "compile": 2 * X, "grad": 2.0, "value_and_grad": 2.0, "custom_jvp": 2 * X,
           "custom_vjp": 2 * X, "vjp": 2 * X, "jvp": 2 * X, "linearize": 2 * X}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_any_callable_is_a_function(name: str) -> None:
    for kind, f in DOUBLES.items():
        np.testing.assert_array_equal(TRANSFORMS[name](f), ANSWERS[name], kind)


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - {"custom_jvp", "custom_vjp"}))
def test_functions_that_do_not_fit_are_named(name: str) -> None:
    for kind, f in REFUSED.items():
        assert isinstance(outcome(lambda f=f: TRANSFORMS[name](f)), IrgradError), kind


def test_errors_of_the_function_itself_pass_through() -> None:
    def raises_type_error(x: Any) -> Any:
        raise TypeError("mine")

    def raises_stop(x: Any) -> Any:
        raise StopIteration

    for call in TRANSFORMS.values():
        with pytest.raises(TypeError, match="^mine$"):
            call(raises_type_error)
        with pytest.raises(StopIteration):
            call(raises_stop)


CALLS: MappingProxyType[str, Callable[[], Any]] = MappingProxyType({
    "jit": lambda: ig.jit(MODEL, X), "trace": ig.trace, "compile": ig.compile, "grad": ig.grad,
    "grad name": lambda: ig.grad(MODEL, wrt=0), "spec": ig.spec, "check": lambda: ig.check(True),
    "vjp": ig.vjp, "jvp": lambda: ig.jvp(MODEL), "linearize": ig.linearize, "hvp": ig.hvp,
    "stop_gradient": ig.stop_gradient, "linear_call": lambda: ig.linear_call(product),
    "check_grads": lambda: ig.testing.check_grads(MODEL), "custom_jvp": ig.custom_jvp,
    "check_grads few": lambda: ig.testing.check_grads(product, (X,)), "custom_vjp": ig.custom_vjp,
    "defvjp": lambda: ig.custom_vjp(MODEL).defvjp(MODEL), "stage": lambda: build(MODEL, X).stage(),
    "diff": lambda: build(MODEL, X).diff("traced"), "many": lambda: jit(MODEL)(X, X),
    "few": lambda: jit(product)(X), "eager": lambda: ig.custom_jvp(MODEL)(X, X),
    "nested": lambda: jit(lambda x: jit(product)(x))(X), "hvp few": lambda: ig.hvp(
        product, (X,), (X,)),
    "pullback": lambda: ig.trace(lambda x: ig.vjp(MODEL, x)[1](), X),
    "jitted trace": lambda: jit(product).trace("f64[]"), "ragged": lambda: ig.check(
        [[True], [True, False]], "m"),
})  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_do_not_fit_the_parameters(name: str) -> None:
    assert isinstance(outcome(CALLS[name]), ArgumentError)


# -- containers ------------------------------------------------------------------------------------

TREES: MappingProxyType[str, Any] = MappingProxyType({
    "named tuple": Pair(X, None), "ordered": OrderedDict(b=X, a=X + 1), "empty": [(), {}, None],
    "default": defaultdict(list, a=X), "deque": deque([X, X + 1], maxlen=4), "shared": [X, (X, X)],
    "integers": {2: X, 10: X + 1, -1: X + 2}, "unsorted": {1: X, "a": X + 1, None: X + 2},
    "alike": {1: X, "1": X + 1, "1_2": X + 2}, "objects": {object(): X, frozenset({1}): X + 1},
    "odd": {"": X, ".": X + 1, "a b\n": X + 2, '"': X + 3, "\ud800": X + 4, "%x: *}": X + 5},
    "bytes": {b"a": X, "b'a'": X + 1}, "nan": {math.nan: X}, "long": {10**5000: X},
    "many": {f"k{i}": X + i for i in range(60)},
})  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_containers_of_any_kind(name: str) -> None:
    tree = TREES[name]
    function = jit(lambda t: optree.tree_map(lambda x: x * 2, t))
    expected = optree.tree_map(lambda x: x * 2, tree)
    for _ in range(2):
        assert_equal_trees(function(tree), expected)
    compiled = build(lambda t: t, tree)
    assert_equal_trees(compiled(t=tree) if optree.tree_leaves(tree) else compiled(tree), tree)
    assert_equal_trees(compiled.bind(tree)(), tree)
    gradient = jit(ig.grad(lambda t: sum((x.sum() for x in optree.tree_leaves(t)), 0.0)))
    assert_equal_trees(gradient(tree), optree.tree_map(np.ones_like, tree))
    assert ig.ir.parse(str(compiled.graph)) == compiled.graph
    for other in (None, X, [tree], (), {"a": 1.0}, {**tree, 0: X} if type(tree) is dict else 0):
        assert isinstance(outcome(lambda other=other: compiled(other)), IrgradError)
        assert isinstance(outcome(lambda other=other: compiled.bind(other)), IrgradError)


def test_a_dict_whose_keys_read_alike_is_told_from_others() -> None:
    compiled = build(lambda t: t, {1: X, "1": X + 1})
    for other in ({"1": X}, {1: X}, {"1": X, "1_2": X, 1: X}, {2: X, "1": X}):
        assert isinstance(outcome(lambda other=other: compiled(other)), ArgumentError)


@pytest.mark.parametrize("make", [
    lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: OrderedDict(a=v), lambda v: [v, v],
])  # fmt: skip
def test_containers_nested_at_any_depth(make: Callable[[Any], Any]) -> None:
    depths = (5, 8) if len(make(0)) > 1 else (62, 64, 400, 900, 5000)
    calls: dict[str, Callable[[Any], Any]] = {
        "jit": lambda t: jit(lambda t: 1.0)(t), "compile": lambda t: build(lambda t: t, t)(t),
        "trace": lambda t: ig.ir.parse(str(ig.trace(lambda t: t, t))),
        "result": lambda t: jit(lambda x: t)(X), "static": lambda t: jit(
            lambda x, s: x, static=1)(X, t),
        "specs": lambda t: jit(lambda t: t, specs=(t,))(X),
        "wrong": lambda t: build(lambda t: t, [X])(t), "names": lambda t: build(
            lambda t: t, t)(t=[t]),
        "grad": lambda t: jit(ig.grad(lambda t: 1.0))(t), "cotangent": lambda t: ig.trace(
            lambda x: ig.vjp(lambda x: x, x)[1](t), X),
    }  # fmt: skip
    for depth in depths:
        tree = X
        for _ in range(depth):
            tree = make(tree)
        for name, call in calls.items():
            got = outcome(lambda call=call, tree=tree: call(tree))
            limited = isinstance(got, (LimitError, ArgumentError))
            assert limited or depth <= 62 or not isinstance(got, IrgradError), (name, depth)
            if name in ("jit", "compile", "trace", "result"):
                assert isinstance(got, LimitError) == (depth > 62), (name, depth)


# -- static and donated arguments ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    """A static argument whose fields Python finds equal where programs differ."""

    n: Any
    rest: Any = dataclasses.field(default=None, hash=False)


def test_static_values_that_python_finds_equal() -> None:
    scale = jit(lambda x, c: x * c.n, static=1)
    whole = np.arange(3)
    for value in (1, 1.0, True, 1, 1.0):
        got = scale(whole, Config(value))
        assert got.dtype == (whole * value).dtype
    assert scale.cache_info().compiles == 3
    assert np.signbit(jit(lambda x, c: x * c.n, static=1)(X, Config(-0.0))).all()
    signed = jit(lambda x, c: x * c.n, static=1)
    assert [np.signbit(signed(X, Config(zero))[1]) for zero in (0.0, -0.0, 0.0)] == [0, 1, 0]
    np.testing.assert_array_equal(scale(X, Config(2, [1])), 2 * X)  # a field without a hash
    same = jit(lambda x, s: x, static=1)
    for _ in range(3):
        same(X, float("nan"))
        same(X, (np.float32("nan"), float("nan")))
    assert same.cache_info().compiles == 2


POSITIONS: MappingProxyType[str, Any] = MappingProxyType({
    "None": None, "true": True, "float": 1.0, "negative": -1, "huge": 2**70, "tuple": ((0,),),
    "arrays": (np.array([1, 2]),), "beyond": 2, "unknown": "z", "set": {0}, "scalar": np.int64(0),
    "mixed": (0, None), "bytes": b"x", "nan": math.nan, "dict": {0: 1}, "iterator": iter((0,)),
})  # fmt: skip


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_that_name_no_argument(name: str) -> None:
    value = POSITIONS[name]
    calls: list[Callable[[], Any]] = [
        lambda: jit(product, static=value)(X, 2), lambda: jit(product, donate=value)(X, X + 1),
        lambda: build(product, X, 2, static=value), lambda: build(product, X, X, donate=value),
        lambda: ig.trace(product, X, X, donate=value),
        lambda: build(ig.trace(product, X, X), donate=value),
    ]  # fmt: skip
    if name != "negative":  # which counts from the end
        calls.append(lambda: jit(ig.grad(product, argnums=value))(1.0, 2.0))
    if isinstance(value, (int, float, bytes, str, type(None))):
        calls.append(lambda: ig.trace(product, X, static={value: 2}))
    for call in calls:
        assert isinstance(outcome(call), IrgradError)


def test_argnums_and_has_aux() -> None:
    for argnums in ((0, -2), (0, 0), (-1, 1), ()):
        call = functools.partial(lambda a: jit(ig.grad(product, argnums=a))(1.0, 2.0), argnums)
        assert isinstance(outcome(call), ArgumentError)
    for junk in ("no", X, 1, None):
        assert isinstance(outcome(lambda junk=junk: ig.grad(product, has_aux=junk)), ArgumentError)


def test_names_of_parameters_that_look_special() -> None:
    def named(x: Any, keywords: Any, *, k: Any) -> Any:
        return x + keywords * k

    def only(self: Any, *, keywords: Any, k: Any) -> Any:
        return self * keywords + k

    np.testing.assert_array_equal(jit(named)(X, X, k=X), X + X * X)
    np.testing.assert_array_equal(jit(only, static="keywords")(self=X, keywords=2, k=X), 3 * X)
    taken = jit(lambda *argument_0, **kw: argument_0[0] + kw["a b"] + kw["keywords"])
    np.testing.assert_array_equal(taken(X, **{"a b": X, "keywords": X}), 3 * X)


def test_wrappers_with_parameters_of_their_own() -> None:
    def inner(x: Any) -> Any:
        return x

    @functools.wraps(inner)
    def outer(key: Any, x: Any) -> Any:
        return inner(x) * key

    for static in ((), 0, "key"):
        np.testing.assert_array_equal(jit(outer, static=static)(2, X), 2 * X)
    np.testing.assert_array_equal(jit(outer)(key=2.0, x=X), 2 * X)


def test_attributes_of_the_function_do_not_reach_its_transform() -> None:
    class Busy(Model):
        def __init__(self) -> None:
            self.compiled = self.trace = self.cache_info = self.specs = self.function = "mine"
            self.rule = self.forward = self.backward = self._plan = 5

    function = jit(Busy())
    function(X)
    assert function.cache_info().compiles == 1
    assert function.compiled(X).target == "reference"
    inner = ig.custom_jvp(Model.plain)
    inner.defjvp(lambda primals, tangents: (inner(*primals), 5 * tangents[0]))
    for outer in (ig.custom_jvp(inner), ig.custom_vjp(inner), ig.custom_vjp(Busy())):
        np.testing.assert_array_equal(outer(X), 2 * X)
        assert isinstance(outcome(lambda outer=outer: ig.trace(outer, X)), IrgradError)


def test_custom_functions_take_names_and_bind_to_instances() -> None:
    scale = ig.custom_jvp(lambda x, n=2: x * n)
    scale.defjvp(lambda primals, tangents: (primals[0] * primals[1], tangents[0] * 7.0))
    np.testing.assert_array_equal(scale(X, n=3), 3 * X)
    assert jit(ig.grad(lambda x: scale(x, n=3)))(2.0) == 7
    assert jit(ig.grad(lambda x: scale(n=3, x=x)))(2.0) == 7
    only = ig.custom_vjp(lambda x, *, n=2: x * n)
    assert isinstance(outcome(lambda: only(X, n=3)), ArgumentError)
    assert isinstance(outcome(lambda: only(X, m=3)), ArgumentError)
    holder = type("Holder", (), {"act": ig.custom_jvp(lambda self, x: x * 2)})()
    np.testing.assert_array_equal(holder.act(X), 2 * X)


# -- types, traced values and threads --------------------------------------------------------------


def test_types_are_no_values() -> None:
    type_ = ig.spec("f64[3]")
    calls: list[Callable[[], Any]] = [
        lambda: ig.vjp(MODEL, type_), lambda: ig.linearize(MODEL, [type_]),
        lambda: ig.jvp(MODEL, (type_,), (X,)), lambda: ig.jvp(MODEL, (X,), (type_,)),
        lambda: ig.hvp(lambda x: x.sum(), (type_,), (X,)),
        lambda: ig.trace(lambda x: ig.vjp(MODEL, x)[1](type_), X), lambda: jit(MODEL)(type_),
        lambda: ig.testing.check_grads(MODEL, (type_,)), lambda: ig.check(type_, "m"),
        lambda: build(MODEL, X)(type_),
    ]  # fmt: skip
    for call in calls:
        assert isinstance(outcome(call), IrgradError)


def test_traced_values_that_escaped() -> None:
    kept: list[Any] = []
    jit(lambda x: kept.append(x) or x)(X)
    (old,) = kept
    function = build(MODEL, X)
    calls: list[Callable[[], Any]] = [
        lambda: jit(MODEL)(old), lambda: jit(product, static=1)(X, old),
        lambda: ig.vjp(MODEL, old), lambda: ig.jvp(MODEL, (X,), (old,)), lambda: ig.check(old, "m"),
        lambda: function(old), lambda: function.bind(old), lambda: function.bind(X, out=old),
        lambda: jit(lambda x: x + old)(X), lambda: jit(lambda x: old)(X),
        lambda: ig.linear_call(product, product, old, X), lambda: ig.custom_jvp(MODEL)(old),
        lambda: ig.spec(old), lambda: ig.grad(MODEL, argnums=old), lambda: jit(old),
        lambda: jit(MODEL, donate=old), lambda: ig.check(True, old), lambda: function.stage(old),
        lambda: function(x=old), lambda: ig.jit(MODEL, target=old)(X),
    ]  # fmt: skip
    for call in calls:
        assert isinstance(outcome(call), (TraceError, ArgumentError))


def test_stop_gradient_refuses_what_it_cannot_look_into() -> None:
    hidden = types.SimpleNamespace
    error = outcome(lambda: ig.trace(lambda x: ig.stop_gradient(hidden(a=x)).a, X))
    assert isinstance(error, ArgumentError)
    assert ig.stop_gradient({"a": ("relu", None, 1.5)}) == {"a": ("relu", None, 1.5)}


def test_a_trace_may_wait_for_a_thread_that_calls_the_same_function() -> None:
    done: list[Any] = []

    @jit
    def function(x: Any) -> Any:
        if not done:
            done.append(None)
            thread = threading.Thread(
                target=lambda: done.append(function(np.ones(2))), daemon=True
            )
            thread.start()
            thread.join(10)
        return x * 2

    np.testing.assert_array_equal(function(X), 2 * X)
    np.testing.assert_array_equal(done[1], [2, 2])
    assert function.cache_info().compiles == 2


def test_deep_arguments_after_a_call_that_was_fine() -> None:
    deep: Any = X
    for _ in range(5000):
        deep = [deep]
    function = jit(lambda t: 1.0)
    function([X])
    for call in (function, build(lambda t: t["a"], {"a": X})):
        assert isinstance(outcome(lambda call=call: call(deep)), LimitError)


# -- copies, pickles, and compiles of jitted functions ---------------------------------------------


@ig.custom_jvp
def kept_custom(x: Any) -> Any:
    return x * 2


@functools.partial(ig.jit, target="reference")
def kept_jitted(x: Any) -> Any:
    return x * 2


def test_transforms_are_copied_and_pickled_as_functions_are() -> None:
    bound = build(MODEL, X).bind(X)
    for one in (kept_custom, kept_jitted, bound, ig.custom_vjp(MODEL.plain)):
        assert copy.deepcopy([one])[0] is one and copy.copy(one) is one
    for kept in (kept_custom, kept_jitted):
        assert pickle.loads(pickle.dumps(kept)) is kept
    for lost in (jit(lambda x: x), ig.custom_jvp(MODEL.plain), bound):
        assert isinstance(outcome(lambda lost=lost: pickle.dumps(lost)), ArgumentError)


def test_a_compile_of_a_jitted_function_keeps_its_settings() -> None:
    options = {"static": 1, "donate": 0, "numerics": "exact", "specs": ("f64[3]", 2)}
    jitted = jit(lambda x, n: x * n, **options)
    for compiled in (build(jitted), build(jitted, X, 2)):
        x = X.copy()
        assert compiled(x) is x
        np.testing.assert_array_equal(x, 2 * X)
        assert compiled.options.numerics == "exact"
    assert build(jitted, numerics="stable").options.numerics == "stable"


@pytest.mark.parametrize("options", [
    {"max_retraces": -(10**5000)}, {"emit": "x" * 10**6}, {"x" * 10**6: 1},
    {"options": {"y" * 10**6: 1}}, {"target": "z" * 10**6}, {"strict": X},
])  # fmt: skip
def test_options_are_quoted_in_short(options: dict[str, Any]) -> None:
    error = outcome(lambda: ig.jit(MODEL, **options)(X))
    assert isinstance(error, IrgradError)
