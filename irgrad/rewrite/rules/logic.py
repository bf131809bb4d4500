"""Identities of truth values, comparisons, selection and casts."""

from __future__ import annotations

from ...ir.types import DType
from ...ops.build import Expr
from ..pattern import Const, Var, op
from ..predicates import boolean, integer, integer_range, not_infinite
from ..rule import Match, Predicate, Rule

x, y, z, c = Var("x"), Var("y"), Var("z"), Var("c")
MANTISSA = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def _not(value: Expr) -> Expr:
    return value.op("logical_not")


LOGIC_RULES = (
    Rule("not_not", "not not x -> x",
         op("logical_not", op("logical_not", x)), lambda m: m["x"]),
    Rule("and_true", "x and True -> x",
         op("logical_and", x, Const(True)), lambda m: m["x"]),
    Rule("and_false", "x and False -> False",
         op("logical_and", x, Const(False, "c")), lambda m: m["c"]),
    Rule("and_self", "x and x -> x",
         op("logical_and", x, x), lambda m: m["x"]),
    Rule("or_true", "x or True -> True",
         op("logical_or", x, Const(True, "c")), lambda m: m["c"]),
    Rule("or_false", "x or False -> x",
         op("logical_or", x, Const(False)), lambda m: m["x"]),
    Rule("or_self", "x or x -> x",
         op("logical_or", x, x), lambda m: m["x"]),
    Rule("xor_true", "x xor True -> not x",
         op("logical_xor", x, Const(True)), lambda m: _not(m["x"])),
    Rule("xor_false", "x xor False -> x",
         op("logical_xor", x, Const(False)), lambda m: m["x"]),
    Rule("xor_self", "x xor x -> False",
         op("logical_xor", x, x), lambda m: m["x"].like(False)),
)  # fmt: skip


def decide(name: str, a: tuple[int, int], b: tuple[int, int]) -> bool | None:
    """The answer of a comparison that all numbers of two ranges share; None where they differ."""
    if name in ("gt", "ge"):
        return decide({"gt": "lt", "ge": "le"}[name], b, a)
    if name == "ne":
        equal = decide("eq", a, b)
        return None if equal is None else not equal
    if name == "eq":
        if a[0] == a[1] == b[0] == b[1]:
            return True
        return False if a[1] < b[0] or b[1] < a[0] else None
    if name == "lt":
        return True if a[1] < b[0] else False if a[0] >= b[1] else None
    return True if a[1] <= b[0] else False if a[0] > b[1] else None


def _decided(m: Match) -> bool | None:
    first, second = map(integer_range, m.operands("root"))
    if first is None or second is None:
        return None
    return decide(m["root"].node.op, first, second)


def _answer(m: Match) -> Expr:
    decided = _decided(m)
    assert decided is not None
    return m["root"].like(decided)


COMPARE_RULES = (
    Rule("not_eq", "not x == y -> x != y",
         op("logical_not", op("eq", x, y)), lambda m: m["x"].op("ne", m["y"])),
    Rule("not_ne", "not x != y -> x == y",
         op("logical_not", op("ne", x, y)), lambda m: m["x"].op("eq", m["y"])),
    Rule("reflexive_true", "x == x, x <= x, x >= x -> True for integers (NaN is not NaN)",
         op(("eq", "le", "ge"), x, x), lambda m: m["root"].like(True), (integer("x"),)),
    Rule("reflexive_false", "x < x, x > x -> False",
         op(("lt", "gt"), x, x), lambda m: m["root"].like(False)),
    Rule("unequal_self", "x != x -> False for integers (NaN is not NaN)",
         op("ne", x, x), lambda m: m["root"].like(False), (integer("x"),)),
    Rule("compare_ranges", "a comparison of iotas and constants that never varies -> its answer",
         op(COMPARISONS), _answer, (lambda m: _decided(m) is not None,)),
)  # fmt: skip


def _select_or_zero(m: Match) -> Expr:
    return m["c"].op("select", m["x"], m["x"].like(0))


def _zero_or_select(m: Match) -> Expr:
    return m["c"].op("select", m["x"].like(0), m["x"])


SELECT_RULES = (
    Rule("select_true", "select(True, x, y) -> x",
         op("select", Const(True), x, y), lambda m: m["x"]),
    Rule("select_false", "select(False, x, y) -> y",
         op("select", Const(False), x, y), lambda m: m["y"]),
    Rule("select_same", "select(c, x, x) -> x",
         op("select", c, x, x), lambda m: m["x"]),
    Rule("select_truth", "select(c, True, False) -> c",
         op("select", c, Const(True), Const(False)), lambda m: m["c"]),
    Rule("select_untruth", "select(c, False, True) -> not c",
         op("select", c, Const(False), Const(True)), lambda m: _not(m["c"])),
    Rule("select_not", "select(not c, x, y) -> select(c, y, x)",
         op("select", op("logical_not", c), x, y),
         lambda m: m["c"].op("select", m["y"], m["x"])),
    Rule("select_select_taken", "select(c, select(c, x, y), z) -> select(c, x, z)",
         op("select", c, op("select", c, x, y), z),
         lambda m: m["c"].op("select", m["x"], m["z"])),
    Rule("select_select_other", "select(c, x, select(c, y, z)) -> select(c, x, z)",
         op("select", c, x, op("select", c, y, z)),
         lambda m: m["c"].op("select", m["x"], m["z"])),
    Rule("mul_mask", "x * select(c, 1, 0) -> select(c, x, 0) for finite x",
         op("mul", x, op("select", c, Const(1), Const(0.0))), _select_or_zero,
         (not_infinite("x"),), "stable"),
    Rule("mul_unmask", "x * select(c, 0, 1) -> select(c, 0, x) for finite x",
         op("mul", x, op("select", c, Const(0.0), Const(1))), _zero_or_select,
         (not_infinite("x"),), "stable"),
    Rule("mul_cast_mask", "x * cast(c: bool) -> select(c, x, 0) for finite x",
         op("mul", x, op("cast", c)), _select_or_zero,
         (boolean("c"), not_infinite("x")), "stable"),
)  # fmt: skip


def lossless(source: DType, target: DType) -> bool:
    """True where every value of `source` is a value of `target`."""
    if source is target or source.kind == "b":
        return True
    if source.is_integer:
        bits = source.itemsize * 8 - (source.kind == "i")
        if target.is_float:
            return bits <= MANTISSA[target.name]
        target_bits = target.itemsize * 8 - (target.kind == "i")
        return target.is_integer and bits <= target_bits and (
            source.kind == "u" or target.kind == "i"
        )
    if not source.is_float or not target.is_float:
        return False
    same_range = target.itemsize > source.itemsize or source.name == target.name
    return same_range and MANTISSA[source.name] <= MANTISSA[target.name]


def _inner_lossless(m: Match) -> bool:
    """Integers on their way through a float to integers saturate, where directly they wrap."""
    first, between, last = m["x"].dtype, m["inner"].dtype, m["root"].dtype
    saturates = first.is_integer and between.is_float and last.is_integer
    return lossless(first, between) and (not saturates or lossless(first, last))


_changes_nothing: Predicate = lambda m: m["x"].dtype is m["root"].dtype

CAST_RULES = (
    Rule("cast_same", "cast(x, dtype of x) -> x",
         op("cast", x), lambda m: m["x"], (_changes_nothing,)),
    Rule("cast_cast", "cast(cast(x)) -> cast(x) where the inner cast loses nothing",
         op("cast", op("cast", x, name="inner")),
         lambda m: m["x"].op("cast", dtype=m["root"].dtype), (_inner_lossless,)),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*LOGIC_RULES, *COMPARE_RULES, *SELECT_RULES, *CAST_RULES)
