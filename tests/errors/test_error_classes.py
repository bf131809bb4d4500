"""Every public exception: one call that raises it, and what all of them have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.errors as errors
from irgrad.cached import byte_limit
from irgrad.config import Config
from irgrad.interpret import interpret
from irgrad.ir.spec import parse_type
from irgrad.tools.source import load_source

X = np.ones(3)
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.IrgradError)
}


def mistyped_graph() -> Any:
    """Interpret a graph whose inferred type was falsified, which nothing public does."""
    graph = ig.trace(np.sin, X)
    graph.update(graph.outputs[0].node, types=(parse_type("f32[3]"),))
    return interpret(graph, [X])


def negative_check() -> Any:
    ig.check(np.array([True, False]), "negative")


RAISERS: MappingProxyType[str, Callable[[], Any]] = MappingProxyType({
    "TraceError": lambda: ig.jit(lambda x: x if x.sum() > 0 else -x)(X),
    "MissingError": lambda: ig.jit(lambda x: x.cumsum())(X),
    "ShapeError": lambda: ig.jit(lambda x: x[5])(X),
    "DTypeError": lambda: ig.jit(lambda x: x & 1)(X),
    "DimError": lambda: ig.trace(lambda x: x * len(x), "f32[n]"),
    "ParseError": lambda: ig.spec("f33[2]"),
    "VerifyError": lambda: ig.compile(ig.ir.parse("graph (%x: f64[3]) { %y = sin(%x) return %y }")),
    "DifferentiationError": lambda: ig.grad(lambda x: x.sum())(np.arange(3)),
    "ArgumentError": lambda: ig.jit("model"),
    "DonationError": lambda: ig.jit(lambda x: x * 2, donate=0)(np.broadcast_to(1.0, (3,))),
    "CheckError": negative_check,
    "LoweringError": lambda: ig.compile(lambda x: x @ x, "f16[3,3]"),
    "BackendError": lambda: ig.compile(lambda x: x * 2, X, target="abacus"),
    "LimitError": lambda: ig.ir.parse("#" * (64 * 2**20 + 1)),
    "FileError": lambda: load_source("no_such_folder/model.irg"),
    "CacheError": lambda: byte_limit(Config(cache_bytes="much")),
    "NonFiniteError": lambda: ig.jit(np.log, target="reference", debug_nan=True)(-X),
    "InternalError": mistyped_graph,
})


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - {"IrgradError"}))
def test_a_public_call_raises_it(name: str) -> None:
    with pytest.raises(errors.IrgradError, match="expected") as raised:
        RAISERS[name]()
    assert type(raised.value) is CLASSES[name]


def test_classes_are_documented_and_families_are_kept() -> None:
    for name, found in CLASSES.items():
        assert found.__doc__, name
        assert found.__module__ == "irgrad.errors"
    # `except ValueError` and so on go on working where NumPy would have raised them.
    assert issubclass(errors.ShapeError, ValueError)
    assert issubclass(errors.DTypeError, TypeError)
    assert issubclass(errors.ArgumentError, TypeError)
    assert issubclass(errors.FileError, OSError)


def test_parse_errors_carry_their_place() -> None:
    with pytest.raises(errors.ParseError, match=r"line 2, column 8") as raised:
        ig.ir.parse("graph (%x: f64[3]) {\n  %y = 5 return %y }")
    assert (raised.value.line, raised.value.column) == (2, 8)


def test_brief_texts_of_anything() -> None:
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    circle: list[Any] = []
    circle.append(circle)

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

    for value in (nested, circle, Broken(), 10**6000, "x" * 10**6, list(range(10**6)), X):
        assert 0 < len(errors.brief(value)) <= 40
    assert errors.brief("abc") == "'abc'"
