"""The rule sets; within one op the first rule that fits is the one that fires."""

from __future__ import annotations

from ..rule import Rule
from . import (
    arithmetic,
    constants,
    contract,
    diagonal,
    elementary,
    hoist,
    logic,
    movement,
    reduce,
)

RULES: tuple[Rule, ...] = (
    *constants.RULES,
    *arithmetic.RULES,
    *elementary.RULES,
    *logic.RULES,
    *diagonal.RULES,
    *movement.RULES,
    *reduce.RULES,
    *contract.RULES,
    *hoist.RULES,
)
