"""Reading IR text.

    text       = ["irgrad" INT] graph
    graph      = "graph" [GRAPH_NAME] "(" [inputs] [";" "captures" inputs] ")"
                 ["->" "(" [annotation {"," annotation}] ")"] block
    inputs     = input {"," input}
    input      = VALUE [":" annotation] [locations]
    annotation = type | "?"                                  (? stands for: not inferred yet)
    block      = "{" [signature] {statement} "return" [VALUE {"," VALUE}] "}"
    statement  = [VALUE {"," VALUE} "="] ["effect"] NAME "(" [VALUE {"," VALUE}] ")"
                 ["{" [attribute {"," attribute} [","]] "}"]
                 [":" annotation {"," annotation}] [locations]
    attribute  = NAME "=" (value | region)
    region     = "graph" ...                                 (a graph without name and signature)
    value      = "true" | "false" | STRING | DTYPE | ["-"] (FLOAT | "inf") | "nan" | size
               | "(" ")" | "(" value "," ")" | "(" value "," value {"," value} [","] ")"
    type       = DTYPE "[" [size {"," size}] "]"
    size       = ["-"] term {("+" | "-") term}
    term       = (INT | NAME) {"*" (INT | NAME)}
    locations  = "loc" "(" location {"," location} ")"
    location   = STRING ":" INT ["in" (NAME | STRING)] ["as" STRING]
    signature  = "signature" tree "->" tree ["donated" "[" [INT {"," INT}] "]"]
                 ["names" strings] ["static" strings]
    tree       = "*" | "-" | "(" [trees] ")" | "[" [trees] "]" | "{" [keyed {"," keyed}] "}"
    keyed      = (NAME | STRING) ":" tree

VALUE is `%` and letters, digits, `_` or `.`; GRAPH_NAME the same after `@`; STRING has JSON's
escapes; DTYPE is a name such as f32; an INT has no point or exponent, a FLOAT has one. White space
and comments (`#` to the end of the line) separate tokens and mean nothing else.

A region reads its inputs alone: names inside are its own. The types after `->` are annotations of
the returned values. Without `signature`, arguments and results are flat tuples. A node without
`loc` is located at its own line of the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ArgumentError, LimitError, brief
from .graph import Attributes, Graph, Value, attributes
from .lexer import MAX_NODES, RESERVED, Lexer
from .location import Location
from .signature import LEAF, Signature, Tree, flat_tree
from .spec import read_size, read_type
from .types import DTYPES, TensorType

VERSION = 1
KEYWORDS = frozenset({"return", "effect", "signature", "graph"})  # no op is called so
_MAX_CACHED = 200  # characters of a type or attribute list that is worth remembering
T = TypeVar("T")


def parse(text: str, file: str = "<text>") -> Graph:
    """The graph that a text describes; types are None where the text leaves them out.

    file: the name of the text in errors and locations. Raises ParseError with line and column where
    the text breaks the grammar, reads or returns an undefined value or defines one twice, and
    LimitError where it is larger or deeper than the limits in `lexer`. Ops are not looked up here.
    """
    if not isinstance(file, str):
        raise ArgumentError(f"parse: expected file as a string, got {brief(file)}")
    lexer = Lexer(text, file)
    if lexer.accept_word("irgrad"):
        start = lexer.start
        version = lexer.read_int()
        if version != VERSION:
            raise lexer.error(f"expected version {VERSION} of the text, got {version}", start)
    graph = _Parser(lexer).graph(region=False)
    lexer.expect("end", "the end of the text")
    return graph


class _Parser:
    """One reading of a text; graph, statement and so on are productions of the grammar."""

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self.types: dict[str, TensorType] = {}
        self.attribute_lists: dict[str, Attributes] = {}
        self.nodes = 0

    # -- graphs ----------------------------------------------------------------------------------

    def graph(self, region: bool) -> Graph:
        lexer = self.lexer
        lexer.enter()
        lexer.expect_word("graph")
        graph = Graph("region" if region else "main")
        if not region and lexer.kind == "graph_name":
            graph.name = lexer.expect("graph_name")[1:]
        values: dict[str, Value] = {}
        self.inputs(graph, values, region)
        annotations = self.result_annotations()
        lexer.expect("{")
        names = tuple(graph[key].name for key in graph.inputs if key not in graph.captures)
        if not region and lexer.accept_word("signature"):
            graph.signature = self.signature(names)
            signed = True
        else:
            signed = False
        while not (lexer.kind == "name" and lexer.word == "return"):
            self.statement(graph, values)
        start = lexer.start
        lexer.advance()
        graph.outputs = [] if lexer.kind == "}" else self.several(lambda: self.use(values))
        if annotations is not None:
            self.annotate_outputs(graph, annotations, start)
        lexer.expect("}", "',' or '}'" if graph.outputs else "'%' or '}'")
        if not signed:
            inputs, outputs = flat_tree(len(names)), flat_tree(len(graph.outputs))
            graph.signature = Signature(inputs, outputs, names)
        lexer.leave()
        return graph

    def inputs(self, graph: Graph, values: dict[str, Value], region: bool) -> None:
        """Read the inputs of a graph, arguments and captures."""
        lexer = self.lexer
        lexer.expect("(")
        captures = False
        while lexer.kind != ")":
            if lexer.kind == ";" and not captures and not region:
                lexer.advance()
                lexer.expect_word("captures")
                captures = True
            self.count()
            line = lexer.line()
            name = self.define(values)
            type_ = self.annotation() if lexer.accept(":") else None
            value = graph.add_input(type_, name, self.locations(line))
            values[name] = value
            if captures:
                graph.captures[value.node] = None
            if lexer.kind not in (")", ";"):
                lexer.expect(",", "',' or ')'")
        lexer.advance()

    def result_annotations(self) -> list[TensorType | None] | None:
        lexer = self.lexer
        if not lexer.accept("->"):
            return None
        lexer.expect("(")
        found = [] if lexer.kind == ")" else self.several(self.annotation)
        lexer.expect(")", "',' or ')'")
        return found

    def annotate_outputs(
        self, graph: Graph, annotations: list[TensorType | None], start: int
    ) -> None:
        """Give the types after `->` to returned values that have none; others must agree."""
        if len(annotations) != len(graph.outputs):
            raise self.lexer.error(
                f"return: expected {len(annotations)} values as after '->', "
                f"got {len(graph.outputs)}", start
            )
        for position, (value, type_) in enumerate(zip(graph.outputs, annotations)):
            types = graph[value.node].types
            known = types[value.result]
            if type_ is None or type_ == known:
                continue
            if known is not None:
                raise self.lexer.error(
                    f"return: expected value {position} of type {type_} as after '->', got {known}",
                    start,
                )
            before, after = types[: value.result], types[value.result + 1 :]
            graph.update(value.node, types=(*before, type_, *after))

    # -- statements ------------------------------------------------------------------------------

    def statement(self, graph: Graph, values: dict[str, Value]) -> None:
        lexer = self.lexer
        self.count()
        line = lexer.line()
        results: list[str] = []
        while lexer.kind == "value":
            start = lexer.start
            name = self.define(values)
            if name in results:
                raise lexer.error(f"%{name}: expected each result once, got it again", start)
            results.append(name)
            if not lexer.accept(","):
                lexer.expect("=", "',' or '='")
                break
        effect = lexer.accept_word("effect")
        start = lexer.start
        op = lexer.expect("name", "an op" if results or effect else "a statement or 'return'")
        if op in KEYWORDS:
            raise lexer.error(f"expected an op, got the keyword '{op}'", start)
        lexer.expect("(")
        operands = [] if lexer.kind == ")" else self.several(lambda: self.use(values))
        lexer.expect(")", "',' or ')'")
        attrs = self.attribute_list()
        types = self.several(self.annotation) if lexer.accept(":") else [None] * len(results)
        if len(types) != len(results):
            raise lexer.error(
                f"{op}: expected a type for each of {len(results)} results, got {len(types)}", start
            )
        name = results[0] if len(results) == 1 and not results[0].isdecimal() else ""
        key = graph.add(op, operands, types, attrs, name, self.locations(line))
        if effect:
            graph.effects.append(key)
        for position, result in enumerate(results):
            values[result] = Value(key, position)

    def define(self, values: dict[str, Value]) -> str:
        """The name of a new value, without its `%`."""
        lexer = self.lexer
        start = lexer.start
        name = lexer.expect("value")[1:]
        if name in values:
            message = f"%{name}: expected a name not used before, got a second definition"
            raise lexer.error(message, start)
        return name

    def use(self, values: dict[str, Value]) -> Value:
        lexer = self.lexer
        if lexer.kind == "value" and lexer.word[1:] not in values:
            raise lexer.error(f"{lexer.word}: expected a value defined above, got an undefined one")
        return values[lexer.expect("value")[1:]]

    def count(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise LimitError(
                f"parse: expected at most {MAX_NODES} nodes, got more\n{self.lexer.place()}"
            )

    # -- types, attributes, locations ------------------------------------------------------------

    def annotation(self) -> TensorType | None:
        if self.lexer.accept("?"):
            return None
        return self.remember(self.types, "]", lambda: read_type(self.lexer))

    def remember(self, known: dict[str, T], close: str, read: Callable[[], T]) -> T:
        """The part that starts here and ends with its first `close`, read once for equal texts."""
        lexer = self.lexer
        stop = lexer.text.find(close, lexer.start, lexer.start + _MAX_CACHED) + 1
        part = lexer.text[lexer.start : stop]
        if part in known:
            lexer.jump(stop)
            return known[part]
        found = read()
        if part and lexer.last_stop == stop:
            known[part] = found
        return found

    def attribute_list(self) -> Attributes:
        if self.lexer.kind != "{":
            return ()
        return self.remember(self.attribute_lists, "}", self.new_attribute_list)

    def new_attribute_list(self) -> Attributes:
        lexer = self.lexer
        lexer.advance()
        found: dict[str, Any] = {}
        while lexer.kind != "}":
            start = lexer.start
            name = lexer.expect("name", "the name of an attribute")
            if name in found:
                raise lexer.error(f"{name}: expected each attribute once, got it again", start)
            lexer.expect("=")
            is_region = lexer.kind == "name" and lexer.word == "graph"
            found[name] = self.graph(region=True) if is_region else self.value()
            if lexer.kind != "}":
                lexer.expect(",", "',' or '}'")
        lexer.advance()
        return attributes(found)

    def value(self) -> Any:
        lexer = self.lexer
        if lexer.kind == "string":
            return lexer.read_string()
        if lexer.kind == "(":
            return self.tuple_value()
        if lexer.kind == "name" and lexer.word in RESERVED:
            return self.word()
        if lexer.kind == "float":
            return lexer.read_float()
        if lexer.kind == "-" and (number := self.negative_float()) is not None:
            return number
        if lexer.kind not in ("name", "int", "-"):
            raise lexer.expected("a value")
        return read_size(lexer, largest=2**64 - 1)

    def negative_float(self) -> float | None:
        """The float after a minus; None, with nothing read, where it is a size."""
        lexer = self.lexer
        start = lexer.start
        lexer.advance()
        if lexer.kind == "float":
            return -lexer.read_float()
        if lexer.accept_word("inf"):
            return -math.inf
        lexer.jump(start)
        return None

    def word(self) -> Any:
        lexer = self.lexer
        known = {"true": True, "false": False, "nan": math.nan, "inf": math.inf, **DTYPES}
        if lexer.word not in known:
            raise lexer.expected("a value")
        word = lexer.word
        lexer.advance()
        return known[word]

    def tuple_value(self) -> tuple[Any, ...]:
        lexer = self.lexer
        lexer.enter()
        lexer.advance()
        found: list[Any] = []
        while lexer.kind != ")":
            found.append(self.value())
            if len(found) == 1 or lexer.kind != ")":
                lexer.expect(",", "',' (a tuple of one is written (1,))" if len(found) == 1
                             else "',' or ')'")
        lexer.advance()
        lexer.leave()
        return tuple(found)

    def locations(self, line: int) -> tuple[Location, ...]:
        """The locations that are written, else the one of the text's line."""
        lexer = self.lexer
        if not lexer.accept_word("loc"):
            return (Location(lexer.file, line),)
        lexer.expect("(")
        found = self.several(self.location)
        lexer.expect(")", "',' or ')'")
        return tuple(found)

    def location(self) -> Location:
        lexer = self.lexer
        file = lexer.read_string()
        lexer.expect(":")
        line = lexer.read_int()
        function = self.name_or_string() if lexer.accept_word("in") else ""
        role = lexer.read_string() if lexer.accept_word("as") else ""
        return Location(file, line, function, role)

    # -- signature -------------------------------------------------------------------------------

    def signature(self, names: tuple[str, ...]) -> Signature:
        lexer = self.lexer
        start = lexer.start
        inputs = self.tree()
        if inputs.kind != "tuple":
            raise lexer.error(f"signature: expected a tuple of arguments, got {inputs}", start)
        lexer.expect("->")
        outputs = self.tree()
        donated: list[int] = []
        static: list[str] = []
        if lexer.accept_word("donated"):
            donated = self.list_of(lexer.read_int)
        if lexer.accept_word("names"):
            names = tuple(self.list_of(lexer.read_string))
        if lexer.accept_word("static"):
            static = self.list_of(lexer.read_string)
        return Signature(inputs, outputs, names, frozenset(donated), tuple(static))

    def tree(self) -> Tree:
        lexer = self.lexer
        if lexer.accept("*"):
            return LEAF
        if lexer.accept("-"):
            return Tree("none")
        kinds = {"(": ("tuple", ")"), "[": ("list", "]"), "{": ("dict", "}")}
        if lexer.kind not in kinds:
            raise lexer.expected("a tree: '*', '-', '(', '[' or '{'")
        kind, close = kinds[lexer.kind]
        lexer.enter()
        lexer.advance()
        children: list[Tree] = []
        keys: list[str] = []
        while lexer.kind != close:
            if kind == "dict":
                start = lexer.start
                key = self.name_or_string()
                if key in keys:
                    raise lexer.error("expected each key of a dict once, got it again", start)
                keys.append(key)
                lexer.expect(":")
            children.append(self.tree())
            if lexer.kind != close:
                lexer.expect(",", f"',' or '{close}'")
        lexer.advance()
        lexer.leave()
        return Tree(kind, tuple(children), tuple(keys))

    def name_or_string(self) -> str:
        if self.lexer.kind == "string":
            return self.lexer.read_string()
        return self.lexer.expect("name", "a name or a string")

    def list_of(self, read: Callable[[], T]) -> list[T]:
        """The items between `[` and `]`."""
        lexer = self.lexer
        lexer.expect("[")
        found = [] if lexer.kind == "]" else self.several(read)
        lexer.expect("]", "',' or ']'")
        return found

    def several(self, read: Callable[[], T]) -> list[T]:
        """One or more items with commas between them."""
        found = [read()]
        while self.lexer.accept(","):
            found.append(read())
        return found
