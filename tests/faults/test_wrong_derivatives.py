"""A wrong jvp or transpose of an op is named: by the registry's checks and by check_grads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy
import pytest

import irgrad as ig
import irgrad.numpy as np
from irgrad import differentiation
from irgrad.errors import CheckError
from irgrad.interpret import interpret
from irgrad.op_rules import check_graph_rules, check_op_rules
from irgrad.ops import registry
from irgrad.ops.record import OpDef, RuleContext
from irgrad.testing import check_grads

RIGHT = registry.REGISTRY
X = numpy.array([[0.3, -0.8, 1.2], [0.1, 0.7, 0.4]])


def sine(context: RuleContext, tangents: Any) -> Any:
    """t * sin(x) for the tangent of sin(x)."""
    return (tangents[0] * context.outputs[0],)


def one_factor(context: RuleContext, tangents: Any) -> Any:
    """The product rule without its second term."""
    return RIGHT["mul"].jvp(context, (tangents[0], None))


def negated(name: str, rule: str) -> Callable[..., Any]:
    right = getattr(RIGHT[name], rule)
    return lambda *given: tuple(None if part is None else -part for part in right(*given))


def doubled_first(name: str, rule: str) -> Callable[..., Any]:
    """Twice what belongs to the first operand or result, the others as they should be."""
    right = getattr(RIGHT[name], rule)

    def wrong(*given: Any) -> Any:
        first, *rest = right(*given)
        return (None if first is None else first * 2, *rest)

    return wrong


def unpermuted(context: RuleContext, cotangents: Any, linear: Any) -> Any:
    """The transpose of a transposition by its own permutation in place of the inverse."""
    (given,) = cotangents
    shape = context.inputs[0].type.shape
    return (given.op("reshape", shape=shape),)


# The op and the field that is wrong, what it is, and a function whose gradient shows it.
WRONG: dict[str, tuple[str, str, Callable[..., Any], Callable[..., Any]]] = {
    "sin.jvp": ("sin", "jvp", sine, lambda x: np.exp(np.sin(x)).sum(axis=1)),
    "mul.jvp": ("mul", "jvp", one_factor, lambda x: (x * np.tanh(x)).sum()),
    "div.jvp": ("div", "jvp", doubled_first("div", "jvp"), lambda x: (1 + x * x) / (2 + x)),
    "reduce_prod.jvp": (
        "reduce_prod", "jvp", negated("reduce_prod", "jvp"), lambda x: x.prod(axis=0)),
    "reduce_sum.transpose": (
        "reduce_sum", "transpose", doubled_first("reduce_sum", "transpose"),
        lambda x: np.tanh(x).sum(axis=0)),
    "transpose.transpose": (
        "transpose", "transpose", unpermuted, lambda x: np.sin(x).T @ np.ones((2, 2))),
    "dot_general.transpose": (
        "dot_general", "transpose", negated("dot_general", "transpose"),
        lambda x: np.sin(x) @ x.T),
    "pad.transpose": (
        "pad", "transpose", doubled_first("pad", "transpose"),
        lambda x: np.pad(x * x, ((1, 0), (0, 2))).sum(axis=1)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _by_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differentiation, "_execute", interpret)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OpDef]]:
    """Puts another record in the place of an op's in the registry."""

    def planted(name: str, **fields: Any) -> OpDef:
        wrong = replace(RIGHT[name], **fields)
        monkeypatch.setattr(registry, "REGISTRY", {**RIGHT, name: wrong})
        return wrong

    yield planted


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_the_rules_of_the_registry_pass(name: str) -> None:
    check_op_rules(RIGHT[name])


@pytest.mark.parametrize("case", WRONG)
def test_the_check_of_an_op_names_its_rule(case: str, plant: Callable[..., OpDef]) -> None:
    name, rule, wrong, _ = WRONG[case]
    record = plant(name, **{rule: wrong})
    with pytest.raises(CheckError, match=rf"^{name}: {rule}: expected .* at flat index \d+$"):
        check_op_rules(record)


@pytest.mark.parametrize("case", WRONG)
def test_check_grads_names_the_rule_and_the_line(case: str, plant: Callable[..., OpDef]) -> None:
    name, rule, wrong, f = WRONG[case]
    check_grads(f, (X,))
    plant(name, **{rule: wrong})
    with pytest.raises(CheckError) as found:
        check_grads(f, (X,))
    first, second, *rest = str(found.value).splitlines()
    assert first.startswith("check_grads: ")
    assert second.startswith(f"from the rule of {name}: {rule}: expected ")
    assert "test_wrong_derivatives.py" in rest[0] and len(rest) == 2


def test_kinks_poles_and_large_values_are_no_faults() -> None:
    x = numpy.array([0.0, -0.0, 1e-9, 3e-6, 2e-5, 1e-4, 0.7, 9e3])

    def f(x: Any, y: Any) -> Any:
        near = y / (abs(x) + 1e-8) + np.sqrt(x * x + 1e-16) * np.maximum(x, y)
        return near, np.where(x > y, x, y), (np.exp(x / 1e5) * 1e9).sum(), np.log(abs(x) + 1e-8)

    graph = ig.trace(f, x, x)
    for y in (x, x[::-1].copy(), numpy.zeros_like(x)):
        check_graph_rules(graph, [x, y], numpy.random.default_rng(0))


def test_a_rule_that_second_order_alone_needs_is_named(plant: Callable[..., OpDef]) -> None:
    check_grads(np.cos, (X,))
    plant("sin", jvp=sine)
    check_grads(np.cos, (X,), order=1)
    with pytest.raises(CheckError, match=r"\nfrom the rule of sin: jvp: expected tangent"):
        check_grads(np.cos, (X,))


@pytest.mark.parametrize("case", ["sin.jvp", "mul.jvp", "pad.transpose"])
def test_the_check_of_a_compile_names_the_rule_behind_a_gradient(
    case: str, plant: Callable[..., OpDef]
) -> None:
    name, rule, wrong, f = WRONG[case]
    slope = ig.grad(lambda x: f(x).sum())
    ig.compile(slope, "f64[2,3]", target="reference", check="all")
    plant(name, **{rule: wrong})
    with pytest.raises(CheckError, match=rf"^{name}: {rule}: expected "):
        ig.compile(slope, "f64[2,3]", target="reference", check="all")
    ig.compile(f, "f64[2,3]", target="reference", check="all")


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_each_mode_names_what_it_uses(mode: str, plant: Callable[..., OpDef]) -> None:
    plant("reduce_sum", transpose=doubled_first("reduce_sum", "transpose"))
    if mode == "fwd":
        check_grads(lambda x: np.tanh(x).sum(), (X,), modes=("fwd",))
    else:
        with pytest.raises(CheckError, match="from the rule of reduce_sum: transpose"):
            check_grads(lambda x: np.tanh(x).sum(), (X,), modes=("rev",))


def test_a_fault_outside_of_the_rules_is_not_blamed_on_one() -> None:
    calls = []

    def changing(x: Any) -> Any:
        calls.append(x)
        return x * len(calls)

    with pytest.raises(CheckError) as found:
        check_grads(changing, (X,))
    assert "from the rule" not in str(found.value)
