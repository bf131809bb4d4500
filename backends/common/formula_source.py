"""The mathematical functions as Python source: one function of one scalar for each formula.

`function_text("exp", "f32")` is the text of `exp_f32(x)`. It needs the scalar types and a backend's
helpers by name (`fma`, `select`, `bits_f32`, `pi_2_remainder_f32`, ...), runs in plain Python over
NumPy scalars as well as compiled, and every local has the same dtype in both.

A formula is run once on `SourceLanes`, whose values are terms of a graph; equal terms are one. Then
the terms become statements in the order in which the formula made them: a term with one use is
folded into its user while the line stays short, any other is named t0, t1, ...; polynomials are
written coefficient by coefficient as p0, p1, ...
"""

from __future__ import annotations

import inspect
import math
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from .formula_terms import REMAINDER, SourceLanes, Term
from .formulas.lanes import FORMATS
from .formulas.table import FORMULAS, FUNCTIONS

__all__ = ["FUNCTIONS", "function_text"]

INDENT = "    "
MAX_EXPRESSION = 76  # characters of an expression into which terms were folded
MAX_PARENTHESES = 6  # in it
# Operators by precedence; ATOM is that of names and calls.
PRECEDENCE: Mapping[str, int] = MappingProxyType(
    {
        "<": 1, "<=": 1, ">": 1, ">=": 1, "==": 1, "!=": 1, "|": 2, "^": 3, "&": 4, "<<": 5,
        ">>": 5, "+": 6, "-": 6, "*": 7, "/": 7, "neg": 8,
    }
)  # fmt: skip
UNARY, ATOM = 8, 9
BITWISE = frozenset({"|", "^", "&", "<<", ">>"})


def function_text(name: str, scalar: str) -> str:
    """The source of the function `<name>_<scalar>` for a name of FORMULAS, "f32" or "f64"."""
    formula = FORMULAS[name]
    lanes = SourceLanes(FORMATS[scalar])
    parameters = list(inspect.signature(formula).parameters)[1:]
    arguments = [lanes.term("real", x) for x in parameters]
    writer = _Writer(lanes, formula(lanes, *arguments))
    doc = textwrap.indent(f'"""{inspect.getdoc(formula)}', INDENT)
    doc += f'\n{INDENT}"""' if "\n" in doc else '"""'
    signature = ", ".join(f"{x}: {scalar}" for x in parameters)
    head = f"def {name}_{scalar}({signature}) -> {scalar}:"
    return "\n".join([head, doc, *(INDENT + line for line in writer.lines()), ""])


@dataclass(slots=True)
class _Writer:
    """Makes statements of the terms that a result needs."""

    lanes: SourceLanes
    result: Term
    statements: list[str] = field(default_factory=list)
    # The expression of a term met so far and its precedence; a name where it has one.
    texts: dict[int, tuple[str, int]] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """The statements of the function's body."""
        uses = self._uses()
        for term in self.lanes.terms[: self.result.index + 1]:
            if not uses[term.index]:
                continue
            match term.op:
                case "horner":
                    self._polynomial(term)
                case "remainder":
                    self._remainder(term)
                case name if not term.operands or name in REMAINDER:
                    self.texts[term.index] = name, ATOM
                case _:
                    self.texts[term.index] = self._expression(term)
                    if uses[term.index] > 1 and not self._is_short(term):
                        self._name(term)
        return [*self.statements, f"return {self._typed(self.result)}"]

    def _uses(self) -> Counter[int]:
        """How often each term that the result needs is an operand."""
        uses = Counter({self.result.index: 1})
        for term in reversed(self.lanes.terms):
            if uses[term.index]:
                uses.update(x.index for x in term.operands if isinstance(x, Term))
        return uses

    def _name(self, term: Term, prefix: str = "t") -> None:
        """Make a statement of a term that was an expression."""
        name = f"{prefix}{self.names[prefix]}"
        self.names[prefix] += 1
        self.statements.append(f"{name} = {self._typed(term)}")
        self.texts[term.index] = name, ATOM

    def _expression(self, term: Term) -> tuple[str, int]:
        """The expression of a term, its longest operands named first while it is too long."""
        while True:
            text, precedence = self._compose(term)
            folded = [x for x in term.operands if isinstance(x, Term) and self._is_folded(x)]
            if not folded or (len(text) <= MAX_EXPRESSION and text.count("(") <= MAX_PARENTHESES):
                return text, precedence
            self._name(max(folded, key=lambda x: len(self.texts[x.index][0])))

    def _is_short(self, term: Term) -> bool:
        """Whether a term is written as often as it is used: a number, or a name with a sign."""
        text, _ = self.texts[term.index]
        return term.op == "constant" or (term.op == "neg" and text[1:].isidentifier())

    def _is_folded(self, term: Term) -> bool:
        return term.op != "constant" and not self.texts[term.index][0].isidentifier()

    def _compose(self, term: Term) -> tuple[str, int]:
        op = term.op
        if op == "constant":
            (number,) = term.operands
            assert not isinstance(number, Term)
            return self._number(number, "real"), ATOM
        if op == "neg":
            return f"-{self._operand(term, 0, UNARY)}", UNARY
        if op not in PRECEDENCE:
            operands = (self._argument(term, i) for i in range(len(term.operands)))
            return f"{op}({', '.join(operands)})", ATOM
        precedence = PRECEDENCE[op]
        left, right = self._operand(term, 0, precedence), self._operand(term, 1, precedence + 1)
        return f"{left} {op} {right}", precedence

    def _operand(self, term: Term, position: int, precedence: int) -> str:
        """An operand of an operator, in parentheses where it binds less or bits make it unclear."""
        operand = term.operands[position]
        if not isinstance(operand, Term):
            return self._number(operand, self._number_kind(term))
        text, own = self.texts[operand.index]
        if term.op == ">>" and self._typed(operand) != text:
            return self._typed(operand)
        chain = operand.op == term.op and position == 0
        mixed = operand.op in BITWISE or term.op in BITWISE
        bare = own >= UNARY or (own >= precedence and (chain or not mixed))
        return text if bare else f"({text})"

    def _argument(self, term: Term, position: int) -> str:
        operand = term.operands[position]
        if isinstance(operand, Term):
            return self._typed(operand)
        return self._number(operand, self._number_kind(term))

    def _number_kind(self, term: Term) -> str:
        """The kind of the Python numbers among the operands of a term."""
        if term.kind != "condition":
            return term.kind
        return next(x.kind for x in term.operands if isinstance(x, Term))

    def _number(self, x: float, kind: str) -> str:
        """A typed constant."""
        fmt = self.lanes.fmt
        if kind == "word":
            assert isinstance(x, int)
            digits = str(x) if x < 256 else f"0x{x:X}"
            return f"u{fmt.bits}({digits})"
        if not math.isfinite(x):
            return f"{fmt.name}({x})"
        number = np.dtype(f"f{fmt.bits // 8}").type(x)
        whole = float(number).is_integer() and abs(number) < 1e16
        text = repr(float(number)) if whole else str(number)
        assert number.dtype.type(float(text)) == number, f"{number!r} needs more digits"
        return f"{fmt.name}({text})"

    def _typed(self, term: Term) -> str:
        """The text of a term with the dtype of its kind: compilers widen words of 32 bits."""
        text, _ = self.texts[term.index]
        widened = term.kind == "word" and self.lanes.fmt.bits < 64 and term.op in PRECEDENCE
        return f"u{self.lanes.fmt.bits}({text})" if widened and not text.isidentifier() else text

    def _polynomial(self, term: Term) -> None:
        """Horner's rule, one coefficient a line."""
        x = term.operands[0]
        assert isinstance(x, Term)
        if self._is_folded(x):
            self._name(x)
        argument = self.texts[x.index][0]
        numbers = [self._number(c, "real") for c in term.operands[1:] if not isinstance(c, Term)]
        name = f"p{self.names['p']}"
        self.names["p"] += 1
        total = numbers[-1]
        for number in reversed(numbers[:-1]):
            self.statements.append(f"{name} = fma({total}, {argument}, {number})")
            total = name
        self.texts[term.index] = name, ATOM

    def _remainder(self, term: Term) -> None:
        """The moderate parts under their names, and a branch that replaces them."""
        x, large, *parts = (x for x in term.operands if isinstance(x, Term))
        names = [*REMAINDER[: len(parts)], *"_" * (len(REMAINDER) - len(parts))]
        for name, part in zip(names, parts, strict=False):
            self.statements.append(f"{name} = {self._typed(part)}")
        self.statements.append(f"if {self.texts[large.index][0]}:")
        call = f"pi_2_remainder_{self.lanes.fmt.name}({self.texts[x.index][0]})"
        self.statements.append(f"{INDENT}{', '.join(names)} = {call}")
