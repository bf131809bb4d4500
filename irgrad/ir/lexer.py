"""Tokens of IR text, the limits on it, and errors that show the offending line."""

from __future__ import annotations

import json
import math
import re

from ..errors import ArgumentError, LimitError, ParseError, brief
from .types import DTYPES

MAX_TEXT = 64 * 2**20  # characters
MAX_DEPTH = 64  # of regions, tuples and trees, together
MAX_NODES = 2**17  # of one text, regions included
MAX_NAME = 256  # characters of one name
MAX_NUMBER = 400  # characters of one number
MAX_TERMS = 64  # of one size, and factors of one term
MAX_RANK = 64  # axes of a type, as in NumPy

# Words that mean something inside a size, a shape or an attribute, so no size can be called so.
RESERVED = frozenset({*DTYPES, "true", "false", "nan", "inf", "graph"})

_TOKEN = re.compile(
    r"""(?:[ \t\r\n]++|\#[^\n]*+)*+(?:
    (?P<value>%[A-Za-z0-9_.]+)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<float>[0-9]+(?:\.[0-9]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))
  | (?P<int>[0-9]+)
  | (?P<string>"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*+")
  | (?P<graph_name>@[A-Za-z0-9_.]+)
  | (?P<mark>->|[(){}\[\],;:=*+?-])
  | (?P<end>\Z)
  | (?P<unknown>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {
    "value": "a value such as %x", "name": "a name", "int": "an integer", "string": "a string",
    "end": "the end of the text",
}
_SHOWN = 100  # characters of a line that an error shows


class Lexer:
    """A text and the token at its reading position.

    kind: "value", "name", "float", "int", "string", "graph_name", "end", or the mark itself such as
    "(". word: the token's text; start, stop: its place. last_stop: where the token before ended.
    """

    def __init__(self, text: str, file: str) -> None:
        if not isinstance(text, str):
            raise ArgumentError(f"parse: expected text, got {brief(text)}")
        if len(text) > MAX_TEXT:
            raise LimitError(
                f"parse: expected at most {MAX_TEXT} characters of text, got {len(text)}"
            )
        self.text = text
        self.file = file
        self.stop = 0
        self.last_stop = 0
        self._depth = 0
        self._line = 1
        self._counted = 0
        self.advance()

    def advance(self) -> None:
        """Move to the next token."""
        found = _TOKEN.match(self.text, self.stop)
        assert found is not None and found.lastgroup is not None
        kind = found.lastgroup
        self.last_stop = self.stop
        self.start, self.stop = found.span(kind)
        self.word = found[kind]
        self.kind = self.word if kind == "mark" else kind
        if kind == "unknown":
            raise self.error(self._unknown())
        if self.stop - self.start > MAX_NAME and kind in ("value", "name", "graph_name"):
            raise self.error(f"expected a name of at most {MAX_NAME} characters, got a longer one")

    def jump(self, stop: int) -> None:
        """Go on after the character at `stop - 1`, which ends a part that was read before."""
        self.stop = stop
        self.advance()

    def accept(self, kind: str) -> bool:
        """Whether the token is of a kind; if so, move on."""
        if self.kind != kind:
            return False
        self.advance()
        return True

    def accept_word(self, word: str) -> bool:
        """Whether the token is a name that reads `word`; if so, move on."""
        if self.kind != "name" or self.word != word:
            return False
        self.advance()
        return True

    def expect(self, kind: str, what: str = "") -> str:
        """The text of the token, which must be of a kind; move on."""
        if self.kind != kind:
            raise self.expected(what or _WORDS.get(kind, f"'{kind}'"))
        word = self.word
        self.advance()
        return word

    def expect_word(self, word: str) -> None:
        """Move past the name `word`."""
        if not self.accept_word(word):
            raise self.expected(f"'{word}'")

    def read_int(self) -> int:
        """An integer literal, which has no sign."""
        word, start = self.word, self.start
        self.expect("int")
        if len(word) > MAX_NUMBER or int(word) >= 2**64:
            raise self.error("expected an integer that fits 64 bits, got a larger one", start)
        return int(word)

    def read_float(self) -> float:
        """A finite floating-point literal without sign."""
        word, start = self.word, self.start
        self.expect("float")
        if len(word) > MAX_NUMBER or not math.isfinite(float(word)):
            raise self.error("expected a finite float64 number, got a larger one", start)
        return float(word)

    def read_string(self) -> str:
        """A string literal, decoded."""
        word, start = self.word, self.start
        self.expect("string")
        try:
            return json.loads(word)
        except ValueError as error:
            raise self.error(f"expected a string with JSON escapes, got {error}", start) from None

    def line(self) -> int:
        """The number of the token's line, from 1; asked for at growing positions alone."""
        self._line += self.text.count("\n", self._counted, self.start)
        self._counted = self.start
        return self._line

    def enter(self) -> None:
        """Go one level deeper into regions, tuples or trees; LimitError below MAX_DEPTH."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise LimitError(
                f"parse: expected at most {MAX_DEPTH} levels of nesting, got more\n{self.place()}"
            )

    def leave(self) -> None:
        """Go one level back."""
        self._depth -= 1

    def expected(self, what: str) -> ParseError:
        """The error for a token of the wrong kind."""
        got = _WORDS["end"] if self.kind == "end" else f"'{_clean(self.word[:40])}'"
        return self.error(f"expected {what}, got {got}")

    def error(self, message: str, at: int | None = None) -> ParseError:
        """A ParseError at a position, by default that of the token."""
        line, column = self._position(self.start if at is None else at)
        return ParseError(f"{message}\n{self.place(at)}", line, column)

    def place(self, at: int | None = None) -> str:
        """File, line and column of a position, the text of its line, and a caret below it."""
        position = self.start if at is None else at
        line, column = self._position(position)
        begin = position - column + 1
        end = self.text.find("\n", begin)
        shown = self.text[begin : len(self.text) if end < 0 else end]
        cut = max(0, column - 1 - _SHOWN // 2)
        shown = _clean(shown[cut : cut + _SHOWN]).rstrip()
        caret = " " * (column - 1 - cut) + "^"
        return f'  File "{self.file}", line {line}, column {column}\n    {shown}\n    {caret}'

    def _position(self, at: int) -> tuple[int, int]:
        return self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)

    def _unknown(self) -> str:
        if self.word == '"':
            return "expected a closed string on one line with JSON escapes, got an unclosed one"
        return f"expected a token of the grammar, got {ascii(self.word)}"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
