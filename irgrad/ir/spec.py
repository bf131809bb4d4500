"""Types and sizes in text: `f32[n,784]`, `2*n*m+n-1`."""

from __future__ import annotations

from .dims import Size, product, symbol
from .lexer import MAX_RANK, MAX_TERMS, RESERVED, Lexer
from .types import DTYPES, TensorType

INT_MAX = 2**63 - 1


def parse_type(text: str) -> TensorType:
    """The type that `text` spells, such as "f32[n,784]" or "i64[]".

    Raises ParseError for other text.
    """
    lexer = Lexer(text, "<type>")
    type_ = read_type(lexer)
    lexer.expect("end", "the end of the type")
    return type_


def read_type(lexer: Lexer) -> TensorType:
    """Read `dtype "[" [size {"," size}] "]"`, sizes not negative where they are numbers."""
    if lexer.kind != "name" or lexer.word not in DTYPES:
        same = [name for name, dtype in DTYPES.items() if dtype.numpy.name == lexer.word]
        raise lexer.expected(*same or ["a type such as f32[n,784]"])
    dtype = DTYPES[lexer.word]
    lexer.advance()
    lexer.expect("[", "'[' and the sizes of the axes")
    shape: list[Size] = []
    while lexer.kind != "]":
        start = lexer.start
        size = read_size(lexer)
        if isinstance(size, int) and size < 0:
            raise lexer.error(f"expected a size >= 0, got {size}", start)
        shape.append(size)
        if len(shape) > MAX_RANK:
            raise lexer.error(f"expected at most {MAX_RANK} axes, got more", start)
        if lexer.kind != "]":
            lexer.expect(",", "',' or ']'")
    lexer.advance()
    return TensorType(dtype, tuple(shape))


def read_size(lexer: Lexer, largest: int = INT_MAX) -> Size:
    """Read `["-"] term {("+" | "-") term}`, a term being numbers and names joined by `*`.

    largest: the largest number that the whole may be.
    """
    start = lexer.start
    negative = lexer.accept("-")
    total: Size = 0
    terms = 0
    while True:
        term = _read_term(lexer)
        total = total - term if negative else total + term
        terms += 1
        if terms > MAX_TERMS:
            raise lexer.error(f"expected a size of at most {MAX_TERMS} terms, got more", start)
        if lexer.kind not in ("+", "-"):
            break
        negative = lexer.kind == "-"
        lexer.advance()
    if isinstance(total, int):
        fits = -INT_MAX - 1 <= total <= largest
    else:
        fits = all(-INT_MAX - 1 <= coefficient <= INT_MAX for _, coefficient in total.terms)
    if not fits:
        raise lexer.error("expected a number that fits 64 bits, got a larger one", start)
    return total


def _read_term(lexer: Lexer) -> Size:
    start = lexer.start
    factors: list[Size] = []
    while True:
        if lexer.kind == "int":
            factors.append(lexer.read_int())
        elif lexer.kind == "name" and lexer.word not in RESERVED:
            factors.append(symbol(lexer.word))
            lexer.advance()
        else:
            raise lexer.expected("a number or the name of a size")
        if len(factors) > MAX_TERMS:
            raise lexer.error(f"expected at most {MAX_TERMS} factors, got more", start)
        if not lexer.accept("*"):
            return product(factors)
