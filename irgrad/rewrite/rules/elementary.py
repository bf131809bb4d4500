"""Compositions of elementary functions that have a function of their own.

They fire only where the inner function is read once: otherwise two functions would be evaluated
where there was one.
"""

from __future__ import annotations

from ..pattern import Const, Var, op
from ..predicates import single_use
from ..rule import Rule

x = Var("x")
_once = (single_use("inner"),)

RULES: tuple[Rule, ...] = (
    Rule("log_exp", "log(exp(x)) -> x; finite where exp overflows",
         op("log", op("exp", x)), lambda m: m["x"], numerics="stable"),
    Rule("log_one_plus_exp", "log(1 + exp(x)) -> softplus(x); finite where exp overflows",
         op("log", op("add", Const(1), op("exp", x, name="inner"), name="sum")),
         lambda m: m["x"].op("softplus"), (*_once, single_use("sum")), "stable"),
    Rule("log_one_plus", "log(1 + x) -> log1p(x); keeps the digits of a small x",
         op("log", op("add", Const(1), x, name="inner")), lambda m: m["x"].op("log1p"),
         _once, "stable"),
    Rule("log1p_exp", "log1p(exp(x)) -> softplus(x); finite where exp overflows",
         op("log1p", op("exp", x, name="inner")), lambda m: m["x"].op("softplus"),
         _once, "stable"),
    Rule("exp_minus_one", "exp(x) - 1 -> expm1(x); keeps the digits of a small x",
         op("sub", op("exp", x, name="inner"), Const(1)), lambda m: m["x"].op("expm1"),
         _once, "stable"),
    Rule("one_over_one_plus_exp", "1 / (1 + exp(-x)) -> sigmoid(x)",
         op("div", Const(1),
            op("add", Const(1), op("exp", op("neg", x), name="inner"), name="sum")),
         lambda m: m["x"].op("sigmoid"), (*_once, single_use("sum")), "stable"),
)  # fmt: skip
