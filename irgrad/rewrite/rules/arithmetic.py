"""Identities of sums, products, quotients, powers and extrema."""

from __future__ import annotations

from ...ops.build import Expr
from ..numbers import negated, rounded_product, wrapped
from ..pattern import Const, Var, op
from ..predicates import (
    computed,
    finite,
    floating,
    integer,
    normal_inverse,
    normal_product,
    power_of_two,
    signed,
    single_use,
)
from ..rule import Match, Rule

x, y, c, d = Var("x"), Var("y"), Const(name="c"), Const(name="d")


def _times_negated(m: Match) -> Expr:
    return m["x"] * negated(m.number("c"), m["x"].dtype)


def _over_negated(m: Match) -> Expr:
    return m["x"] / -m.number("c")


def _times_both(m: Match) -> Expr:
    return m["x"] * rounded_product(m["x"].dtype, m.number("c"), m.number("d"))


def _wrapped_sum(m: Match) -> Expr:
    return m["x"] + wrapped(int(m.number("c") + m.number("d")), m["x"].dtype)


ADD_RULES = (
    Rule("add_zero", "x + 0 -> x; -0.0 keeps its sign",
         op("add", x, Const(0.0)), lambda m: m["x"], numerics="stable"),
    Rule("add_negative_zero", "x + -0.0 -> x",
         op("add", x, Const(-0.0)), lambda m: m["x"]),
    Rule("add_self", "x + x -> x * 2",
         op("add", x, x), lambda m: m["x"] * 2),
    Rule("add_neg", "x + -y -> x - y",
         op("add", x, op("neg", y)), lambda m: m["x"] - m["y"]),
    Rule("add_add_constants", "(x + c) + d -> x + (c + d), integers alone: floats could cancel",
         op("add", op("add", x, c), d), _wrapped_sum, (integer("x"),)),
    Rule("sub_zero", "x - 0 -> x",
         op("sub", x, Const(0.0)), lambda m: m["x"]),
    Rule("zero_sub", "0 - x -> -x; the sign of a zero changes",
         op("sub", Const(0.0), x), lambda m: -m["x"], (signed(),), "stable"),
    Rule("sub_self", "x - x -> 0 for finite x",
         op("sub", x, x), lambda m: m["x"].like(0), numerics="stable"),
    Rule("sub_neg", "x - -y -> x + y",
         op("sub", x, op("neg", y)), lambda m: m["x"] + m["y"]),
)  # fmt: skip

NEG_RULES = (
    Rule("neg_neg", "--x -> x",
         op("neg", op("neg", x)), lambda m: m["x"]),
    Rule("neg_sub", "-(x - y) -> y - x; the sign of a zero changes",
         op("neg", op("sub", x, y, name="inner")), lambda m: m["y"] - m["x"],
         (single_use("inner"),), "stable"),
    Rule("neg_mul_constant", "-(x * c) -> x * -c",
         op("neg", op("mul", x, c)), _times_negated),
    Rule("neg_div_constant", "-(x / c) -> x / -c",
         op("neg", op("div", x, c)), _over_negated),
)  # fmt: skip

MUL_RULES = (
    Rule("mul_one", "x * 1 -> x",
         op("mul", x, Const(1)), lambda m: m["x"]),
    Rule("mul_zero", "x * 0 -> 0 for finite x",
         op("mul", x, Const(0.0)), lambda m: m["x"].like(0), numerics="stable"),
    Rule("mul_minus_one", "x * -1 -> -x",
         op("mul", x, Const(-1)), lambda m: -m["x"], (signed(),)),
    Rule("mul_mul_constants", "(x * c) * d -> x * (c * d) where c * d is a normal number",
         op("mul", op("mul", x, c), d), _times_both, (normal_product("c", "d"),), "stable"),
    Rule("mul_neg_neg", "-x * -y -> x * y",
         op("mul", op("neg", x), op("neg", y)), lambda m: m["x"] * m["y"]),
    Rule("mul_neg_constant", "-x * c -> x * -c",
         op("mul", op("neg", x), c), _times_negated),
    Rule("mul_neg", "-x * y -> -(x * y), so that the sign can meet a sum",
         op("mul", op("neg", x, name="inner"), y), lambda m: -(m["x"] * m["y"]),
         (single_use("inner"),)),
    Rule("mul_reciprocal", "x * (1 / y) -> x / y; one rounding less",
         op("mul", x, op("div", Const(1), y, name="inner")), lambda m: m["x"] / m["y"],
         (single_use("inner"),), "stable"),
)  # fmt: skip

DIV_RULES = (
    Rule("div_one", "x / 1 -> x",
         op("div", x, Const(1)), lambda m: m["x"]),
    Rule("div_minus_one", "x / -1 -> -x",
         op("div", x, Const(-1)), lambda m: -m["x"]),
    Rule("div_power_of_two", "x / 2**k -> x * 2**-k",
         op("div", x, c), lambda m: m["x"] * (1.0 / m.number("c")), (power_of_two("c"),)),
    Rule("div_neg_neg", "-x / -y -> x / y",
         op("div", op("neg", x), op("neg", y)), lambda m: m["x"] / m["y"]),
    Rule("div_neg_constant", "-x / c -> x / -c",
         op("div", op("neg", x), c), _over_negated),
    Rule("constant_div_neg", "c / -x -> -c / x",
         op("div", c, op("neg", x)), lambda m: -m.number("c") / m["x"]),
    Rule("div_neg", "-x / y -> -(x / y), so that the sign can meet a sum",
         op("div", op("neg", x, name="inner"), y), lambda m: -(m["x"] / m["y"]),
         (single_use("inner"),)),
    Rule("div_by_neg", "x / -y -> -(x / y), so that the sign can meet a sum",
         op("div", x, op("neg", y, name="inner")), lambda m: -(m["x"] / m["y"]),
         (single_use("inner"),)),
    Rule("div_constant", "x / c -> x * (1 / c); two roundings for one",
         op("div", x, c), lambda m: m["x"] * (1.0 / m.number("c")),
         (normal_inverse("c"),), "approximate"),
    Rule("floor_divide_one", "x // 1 -> x for integers",
         op("floor_divide", x, Const(1)), lambda m: m["x"], (integer("x"),)),
    Rule("remainder_one", "x % 1 -> 0 for integers",
         op("remainder", x, Const(1)), lambda m: m["x"].like(0), (integer("x"),)),
)  # fmt: skip

POWER_RULES = (
    Rule("square_to_mul", "square(x) -> x * x",
         op("square", x), lambda m: m["x"] * m["x"]),
    Rule("reciprocal_to_div", "reciprocal(x) -> 1 / x",
         op("reciprocal", x), lambda m: 1 / m["x"]),
    Rule("power_zero", "x ** 0 -> 1",
         op("power", x, Const(0.0)), lambda m: m["x"].like(1)),
    Rule("power_one", "x ** 1 -> x",
         op("power", x, Const(1)), lambda m: m["x"]),
    Rule("power_two", "x ** 2 -> x * x",
         op("power", x, Const(2)), lambda m: m["x"] * m["x"], numerics="stable"),
    Rule("power_three", "x ** 3 -> x * x * x; two roundings",
         op("power", x, Const(3)), lambda m: m["x"] * m["x"] * m["x"], numerics="stable"),
    Rule("power_half", "x ** 0.5 -> sqrt(x); -0.0 and -inf differ",
         op("power", x, Const(0.5)), lambda m: m["x"].op("sqrt"), numerics="stable"),
    Rule("power_minus_half", "x ** -0.5 -> rsqrt(x); -0.0 and -inf differ",
         op("power", x, Const(-0.5)), lambda m: m["x"].op("rsqrt"), numerics="stable"),
    Rule("power_minus_one", "x ** -1 -> 1 / x for floats",
         op("power", x, Const(-1)), lambda m: 1 / m["x"], (floating(),), "stable"),
)  # fmt: skip

EXTREMUM_RULES = (
    Rule("maximum_self", "maximum(x, x) -> x",
         op("maximum", x, x), lambda m: m["x"]),
    Rule("minimum_self", "minimum(x, x) -> x",
         op("minimum", x, x), lambda m: m["x"]),
    Rule("relu_relu", "relu(relu(x)) -> relu(x)",
         op("relu", op("relu", x, name="inner")), lambda m: m["inner"]),
    Rule("abs_neg", "abs(-x) -> abs(x)",
         op("abs", op("neg", x)), lambda m: m["x"].op("abs")),
    Rule("abs_abs", "abs(abs(x)) -> abs(x)",
         op("abs", op("abs", x, name="inner")), lambda m: m["inner"]),
)  # fmt: skip

SCALE_RULES = (
    Rule("scale_zero", "scale_or_zero(0, s) -> 0",
         op("scale_or_zero", Const(0.0, "c"), x), lambda m: m["x"].like(0)),
    Rule("scale_nonzero", "scale_or_zero(c, s) -> c * s for a number c that is not 0",
         op("scale_or_zero", c, x), lambda m: m["x"].like(m.number("c")) * m["x"],
         (lambda m: m.number("c") != 0,)),
    Rule("scale_one", "scale_or_zero(x, 1) -> x; -0.0 keeps its sign",
         op("scale_or_zero", x, Const(1)), lambda m: m["x"], numerics="stable"),
    Rule("scale_finite", "scale_or_zero(x, s) -> x * s where s is computed and proved finite",
         op("scale_or_zero", x, y), lambda m: m["x"] * m["y"],
         (finite("y"), computed("y")), "stable"),
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    *ADD_RULES, *NEG_RULES, *MUL_RULES, *DIV_RULES, *POWER_RULES, *EXTREMUM_RULES, *SCALE_RULES,
)  # fmt: skip
