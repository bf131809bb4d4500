"""What is told of compiles: what changed, where it was called, in which order."""

from __future__ import annotations

import gc
import inspect
import logging
import random
import sys
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import irgrad as ig
from irgrad.runtime.differences import CallSignature, changes, distance, signature_of
from irgrad.runtime.retraces import Retrace
from irgrad.runtime.signatures import arrange, leaf_key, parameters_of, static_key
from irgrad.tracing.trees import flatten_object

F32 = np.float32
interpreted = partial(ig.jit, target="reference")
RATE = 0.5
SETTINGS: dict[str, Any] = {"rates": [0.5, 2.0], "name": "a"}
W = np.ones((2, 3))
X = np.ones(3)


class Pair(NamedTuple):
    first: Any
    second: Any


def total(params: Any, x: Any = 1.0, *, power: int = 1, scale: Any = 1.0) -> Any:
    """The sum of whatever is given."""
    leaves = [params] if isinstance(params, np.ndarray) else params
    while not hasattr(leaves, "sum") and not isinstance(leaves, float):
        leaves = next(iter(leaves.values() if isinstance(leaves, dict) else leaves))
    return (leaves * 2.0) ** power * scale


CHANGES: dict[str, tuple[Any, Any, str]] = {
    "dtype": (([X],), ([X.astype(F32)],), "params[0]: dtype float64 -> float32"),
    "shape": (({"w": W},), ({"w": W[:1]},), "params['w']: shape [2, 3] -> [1, 3]"),
    "rank": ((X,), (W,), "params: shape [3] -> [2, 3]"),
    "both": ((X,), (W.astype(F32),), "params: type float64[3] -> float32[2, 3]"),
    "number": ((X, X), (X, 1.0), "x: type float64[3] -> float"),
    "kind of number": ((X, 1), (X, 1.0), "x: type int -> float"),
    "named tuple": ((Pair(X, X),), (Pair(X, 2.0),), "params.second: type float64[3] -> float"),
    "more": (({"w": X},), ({"w": X, "b": [X, X]},),
             "params['b']: structure nothing -> [*, *]"),
    "fewer": (([X, X],), ([X],), "params[1]: structure float64[3] -> nothing"),
    "container": (([X, 1.0],), ((X, 1.0),), "params: structure [*, *] -> (*, *)"),
    "container of one text": ((Pair(X, 1.0),), ((X, 1.0),),
                              "params: structure (*, *) of Pair -> (*, *) of tuple"),
    "order": ((OrderedDict(a=X, b=1.0),), (OrderedDict(b=1.0, a=X),), "params: structure {"),
    "none": (([X, None],), ([X, 1.0],), "params[1]: structure None -> float"),
    "argument": ((X,), (X, 2.0), "x: structure nothing -> float"),
    "deep": (({"a": [{"b": (X, 1.0)}]},), ({"a": [{"b": (X, 1)}]},),
             "params['a'][0]['b'][1]: type float -> int"),
    "odd keys": (({3: X, "it's": 1.0},), ({3: X, "it's": 2},),
                 'params["it\'s"]: type float -> int'),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_of_arguments(kind: str) -> None:
    old, new, expected = CHANGES[kind]
    f = interpreted(total)
    f(*old)
    f(*new)
    first, second = f.cache_info().reasons
    assert first == "first call"
    if expected.endswith("{"):
        assert second.startswith(expected)
    else:
        assert second == expected


def test_static_arguments_and_names() -> None:
    f = interpreted(total, static="power")
    f(X)
    f(X, power=2)
    f(X, power=3)
    f(X, power=True)
    f(X, power=3, scale=2.0)
    f(x=2.0, params=X)
    f(params=X, x=2.0, scale=2.0, power=4)
    assert f.cache_info().reasons == (
        "first call",
        "static power: nothing -> 2",
        "static power: 2 -> 3",
        "static power: 3 -> True",
        "scale: structure nothing -> float",
        "x: structure nothing -> float",
        "static power: nothing -> 4, scale: structure nothing -> float",
    )
    nearest = [record.cause.nearest for record in f.cache_info().retraces]
    assert nearest == [1, 2, 3, 3, 1, 6]


def test_the_nearest_compile_is_compared_with() -> None:
    f = interpreted(lambda tree: tree["a"] * 2)
    f({"a": X, "b": X, "c": X})
    f({"a": X, "b": F32(1), "c": F32(1)})
    f({"a": X, "b": X, "c": W})
    f({"a": X, "b": 1, "c": F32(1)})
    f({"a": X, "c": F32(1)})
    causes = [record.cause for record in f.cache_info().retraces]
    assert [cause.nearest for cause in causes] == [1, 1, 2, 4]
    assert [len(cause.changes) for cause in causes] == [2, 1, 1, 1]
    change = causes[1].changes[0]
    assert (change.kind, change.path, change.old, change.new) == (
        "shape", "tree['c']", "[3]", "[2, 3]",
    )
    assert causes[3].changes[0].path == "tree['b']"


def random_tree(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8) if depth else rng.randrange(3)
    if kind < 3:
        return (X, W, None if rng.random() < 0.3 else 1.0)[kind]
    parts = [random_tree(rng, depth - 1) for _ in range(rng.randrange(3))]
    keys = rng.sample(["a", "b", 3, (1, 2)], len(parts))
    if kind == 7:
        return Pair(*(parts + [X, X])[:2])
    return (parts, tuple(parts), dict(zip(keys, parts)), OrderedDict(zip(keys, parts)))[kind - 3]


def a_signature(*args: Any, **kwargs: Any) -> tuple[Any, CallSignature]:
    """What a call is compiled for, as a key and as a signature."""
    arguments = arrange(parameters_of(total), ("power",), args, kwargs)
    leaves, spec = flatten_object(arguments.dynamic)
    kinds, static = tuple(map(leaf_key, leaves)), static_key(arguments.fixed)
    signature = signature_of(arguments, spec, kinds, static)
    return (spec, kinds, static, arguments.keywords), signature


def test_signatures_differ_where_there_are_changes() -> None:
    rng = random.Random(0)
    equal = 0
    for _ in range(1500):
        calls = []
        for _ in range(2):
            args = [random_tree(rng, 2) for _ in range(rng.choice([1, 2]))]
            kwargs = {"power": rng.choice([1, 2])} if rng.random() < 0.3 else {}
            calls.append(a_signature(*args, **kwargs, scale=rng.choice([X, 1.0])))
        (old_key, old), (new_key, new) = calls
        found = changes(old, new)
        assert bool(found) == (old_key != new_key) == bool(distance(old, new))
        assert distance(old, new) == sum(change.leaves for change in found)
        assert distance(old, new) == distance(new, old)
        back = {(c.kind, c.path, c.new, c.old, c.leaves) for c in changes(new, old)}
        assert {(c.kind, c.path, c.old, c.new, c.leaves) for c in found} == back
        assert all(change.path and change.old != change.new for change in found)
        equal += not found
    assert 5 < equal < 500


def test_many_changes_are_counted() -> None:
    f = interpreted(lambda tree: tree[0])
    f([X] * 100)
    f([X.astype(F32)] * 100)
    cause = f.cache_info().retraces[0].cause
    assert len(cause.changes) == 8
    assert cause.more == 92
    assert str(cause).endswith("tree[7]: dtype float64 -> float32 and 92 more")
    assert "    and 92 more\n" in ig.explain_retraces(f)


def test_variables() -> None:
    factor: Any = 2.0
    table = {"k": 1.0}

    def helper(x: Any) -> Any:
        return x * factor

    f = interpreted(lambda x: helper(x) * RATE * SETTINGS["rates"][1] * table["k"])
    f(X)
    factor = X
    f(X)
    factor = np.zeros(3)
    f(X)
    table["k"] = 2.0
    f(X)
    table["extra"] = 1.0
    f(X)
    helper = partial(np.multiply, 2)  # noqa: F811
    f(X)
    assert f.cache_info().reasons == (
        "first call",
        "variable factor: 2.0 -> float64[3] array",
        "variable factor: float64[3] array -> another float64[3] array",
        "variable table['k']: 1.0 -> 2.0",
        "variable table: {k: *} -> {extra: *, k: *}",
        "variable helper: function helper -> functools.partial(<ufunc 'multiply'>, 2)",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "RATE", 0.25)
        f(X)
        patch.delitem(globals(), "RATE")
        with pytest.raises(NameError):
            f(X)
    assert f.cache_info().reasons[6:] == ("variable RATE: 0.5 -> 0.25",)


def test_variables_are_compared_with_the_nearest_compile() -> None:
    a: Any = 1
    b: Any = 1
    f = interpreted(lambda x: x * a * b)
    f(X)
    a = b = 2
    f(X)
    b = 3
    f(X)
    a, b = 1, 4
    f(X)
    records = f.cache_info().retraces
    assert [str(record.cause) for record in records] == [
        "variable a: 1 -> 2, variable b: 1 -> 2", "variable b: 2 -> 3", "variable b: 1 -> 4",
    ]
    assert [record.cause.nearest for record in records] == [1, 2, 1]


def test_objects_that_read_alike_are_called_others() -> None:
    @dataclass(frozen=True)
    class Config:
        rate: float = field(repr=False)

    f = interpreted(lambda x, config: x * config.rate, static=1)
    f(X, Config(1.0))
    f(X, Config(2.0))
    name = f"{Config.__qualname__}()"[:20]
    reason = f.cache_info().reasons[1]
    assert reason.startswith(f"static config: {name}")
    assert "-> another " in reason


# -- lines, times and the log ----------------------------------------------------------------------


def line() -> int:
    frame = sys._getframe(1)
    return frame.f_lineno


def test_records_have_lines_and_seconds(caplog: pytest.LogCaptureFixture) -> None:
    f = interpreted(total)
    with caplog.at_level(logging.DEBUG, logger="irgrad"):
        f(X); at = line()  # noqa: E702
        f(W); again = line()  # noqa: E702
        f(W)
        f.compiled(1.0); ahead = line()  # noqa: E702
    records = f.history.records
    assert [record.location.line for record in records if record.location] == [at, again, ahead]
    assert {record.location.file for record in records if record.location} == {__file__}
    assert [record.number for record in records] == [1, 2, 3]
    assert all(0 < record.seconds < 60 for record in records)
    info = f.cache_info()
    assert info.seconds == pytest.approx(sum(record.seconds for record in records))
    assert info.retraces == tuple(records[1:])
    levels = [(entry.name, entry.levelname) for entry in caplog.records]
    assert levels == [("irgrad", "DEBUG"), ("irgrad", "INFO"), ("irgrad", "INFO")]
    first, second, third = (entry.getMessage() for entry in caplog.records)
    assert first.startswith("total: compile took 0.") and first.endswith(": first call")
    assert second == str(records[1])
    assert f"test_retraces.py:{again}: params: shape [3] -> [2, 3] (compared with" in second
    assert third.startswith("total: retrace 2 took 0.")


def test_the_text() -> None:
    f = interpreted(total)
    assert ig.explain_retraces(f).startswith("total (")
    assert ": 0 compiles, 0.000 s" in ig.explain_retraces(f)
    f(X)
    f(W); at = line()  # noqa: E702
    text = ig.explain_retraces(f).splitlines()
    defined = inspect.getsourcelines(total)[1]
    assert f"test_retraces.py:{defined}): 2 compiles, 0." in text[0]
    assert text[1].startswith("  compile 1: 0.")
    assert text[2] == "    first call"
    assert text[3].startswith("  compile 2: 0.")
    assert text[3].endswith(f"test_retraces.py:{at}: f(W); at = line()  # noqa: E702")
    assert text[4:] == ["    params: shape [3] -> [2, 3]  (compared with compile 1)"]


def test_all_functions_that_are_alive_are_listed() -> None:
    gc.collect()
    kept = interpreted(total)
    once = interpreted(lambda x: x)
    never = interpreted(lambda x: x)
    gone = interpreted(lambda gone: gone)
    for x in (X, W):
        kept(x)
        gone(x)
    once(X)
    text = ig.explain_retraces()
    assert "gone: shape [3] -> [2, 3]" in text
    assert ig.explain_retraces(kept) in text
    assert "compiled once" in text.splitlines()[-1]
    reference = weakref.ref(gone)
    del gone
    assert reference() is None, "a list of functions keeps one alive"
    assert "gone" not in ig.explain_retraces()
    assert never.cache_info().compiles == 0


def test_methods() -> None:
    class Layer:
        @interpreted(static="self")
        def apply(self, x: Any) -> Any:
            return x * 2

    layer = Layer()
    layer.apply(X)
    layer.apply(W)
    Layer().apply(W)
    assert ig.explain_retraces(layer.apply) == ig.explain_retraces(Layer.apply)
    reasons = Layer.apply.cache_info().reasons
    assert reasons[1] == "x: shape [3] -> [2, 3]"
    assert reasons[2].startswith("static self: <")


@pytest.mark.parametrize("value", [3, "f", total, [], np.ones(2), SimpleNamespace(history=1)])
def test_what_is_no_jitted_function_is_refused(value: Any) -> None:
    with pytest.raises(ig.errors.ArgumentError, match="expected a jitted function or None, got"):
        ig.explain_retraces(value)


def test_limit_names_the_change_and_refused_calls_count_for_nothing() -> None:
    f = interpreted(total, max_retraces=1)
    f(X)
    f(W)
    with pytest.raises(ig.errors.LimitError) as caught:
        f(np.ones(4))
    message = str(caught.value).splitlines()
    assert message[0] == (
        "total: expected at most 1 retraces (max_retraces), got one more: params: shape [2, 3] "
        "-> [4]; irgrad.explain_retraces lists them"
    )
    assert message[-1].strip() == "f(np.ones(4))"
    assert f.cache_info().compiles == 2
    with pytest.raises(ig.errors.ArgumentError, match="expected an array or a number"):
        f("no")
    failing = interpreted(lambda x: x @ x, max_retraces=0)
    for _ in range(3):
        with pytest.raises(ig.errors.ShapeError):
            failing(np.ones((2, 3)))
    assert failing(np.ones(3)) == 3
    assert failing.cache_info().reasons == ("first call",)


# -- hostile arguments -----------------------------------------------------------------------------


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Lying:
    def __repr__(self) -> Any:
        return 3


class Endless:
    def __init__(self) -> None:
        self.again = [self]

    def __repr__(self) -> str:
        return f"Endless({self.again!r})"


HOSTILE: dict[str, tuple[Any, Any]] = {
    "no text": (Silent(), Silent()),
    "no string": (Lying(), Lying()),
    "endless": (Endless(), Endless()),
    "huge int": (10**5000, 10**5001),
    "long text": ("a" * 10**6, "b" * 10**6),
    "long tuple": (tuple(range(10**5)), tuple(range(1, 10**5))),
    "nan": (float("nan"), -0.0),
    "class": (int, float),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_static_values_of_any_kind(kind: str) -> None:
    old, new = HOSTILE[kind]
    f = interpreted(lambda x, s: x * 2, static=1)
    f(X, old)
    f(X, new)
    (record,) = f.cache_info().retraces
    assert [change.kind for change in record.cause.changes] == ["static"]
    assert len(str(record)) < 600
    assert len(ig.explain_retraces(f)) < 2000


def test_keys_of_any_kind() -> None:
    f = interpreted(lambda tree: next(iter(tree.values())))
    for key in (10**5000, "k" * 10**6, (1, 2), None, b"\xff", "\n"):
        f({key: X})
    assert all(len(reason) < 400 for reason in f.cache_info().reasons)
    assert f.cache_info().compiles == 6


def test_calls_inside_of_traces_are_no_compiles() -> None:
    inner = interpreted(total)
    outer = interpreted(lambda x: inner(x) + inner(x * 2), specs=("f64[n]",))
    for size in (1, 4):
        assert outer(np.ones(size)).tolist() == [6.0] * size
    ig.trace(inner, "f64[n,3]")
    assert inner.history.records == []
    assert all("x: shape [1] -> [4]" in reason for reason in outer.cache_info().reasons[1:])


def test_failed_compiles_keep_nothing() -> None:
    class Config:
        def __init__(self) -> None:
            self.weights = np.ones(10)

    f = interpreted(lambda x, config: x @ config.weights, static=1)
    references = []
    for size in range(2, 6):
        config = Config()
        references.append(weakref.ref(config))
        with pytest.raises(ig.errors.ShapeError):
            f(np.ones(size), config)
        del config
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


# -- what it costs ---------------------------------------------------------------------------------


def test_calls_that_compile_nothing_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    f = interpreted(total, static="power")
    f(X)
    f([X], 1.0, power=2)

    def refuse(*args: Any) -> Any:
        raise AssertionError("a call that needs no compile asked why")

    for name in ("signature_of", "changes", "distance", "log_compile", "user_locations"):
        monkeypatch.setattr(f"irgrad.jitted.{name}", refuse)
    for _ in range(3):
        f(X)
        f([X], 1.0, power=2)
    assert len(f.history.records) == 2


def test_threads_number_their_compiles() -> None:
    f = interpreted(lambda x: x * 2, max_retraces=23)
    barrier = threading.Barrier(8)
    refused: list[Any] = []

    def work(first: int) -> None:
        barrier.wait()
        for size in range(first, 40, 4):  # each size is met by two threads
            try:
                assert f(np.ones(size)).tolist() == [2.0] * size
            except ig.errors.LimitError as error:
                refused.append(error)

    threads = [threading.Thread(target=work, args=(i % 4,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = f.history.records
    assert [record.number for record in records] == list(range(1, 25))
    assert len(refused) == 2 * 16
    assert all(isinstance(record, Retrace) for record in records)
    assert all(0 < r.cause.nearest < r.number for r in records if str(r.cause) != "first call")


def test_named_sizes_are_proposed_where_sizes_alone_differ() -> None:
    f = interpreted(total)
    f(np.zeros(()))
    f(np.zeros(3))
    assert "jit(specs=" not in ig.explain_retraces(f)
    f(np.zeros(4))
    assert ig.explain_retraces(f).splitlines()[-1].startswith("  sizes with names need one compile")
