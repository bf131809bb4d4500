"""Bad arguments to everything public in `irgrad.ir`, and hostile texts that were once a fault."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import irgrad as ig
from irgrad.autodiff import vjp_graph
from irgrad.errors import (
    ArgumentError,
    CheckError,
    DimError,
    DTypeError,
    InternalError,
    IrgradError,
    LimitError,
    LoweringError,
    ParseError,
    VerifyError,
)
from irgrad.interpret import interpret
from irgrad.ir import (
    Dim,
    Graph,
    Node,
    TensorType,
    Value,
    diff,
    equal,
    parse,
    parse_type,
    print_graph,
    symbol,
)
from irgrad.ir.location import Location
from irgrad.ir.signature import Signature, Tree, flat_tree
from irgrad.ir.types import BF16, F32
from irgrad.ops.check import verify
from irgrad.passes.infer import Infer
from irgrad.passes.lower import lower
from irgrad.passes.pipeline import pipeline
from irgrad.runtime.compare import random_inputs

TEXT = "graph @g(%x: f32[3], %y: f32[3]) { %0 = add(%x, %y) return %0 }"
ADD = Value(2)
X = TensorType(F32, (3,))


def typed(text: str) -> Graph:
    """The graph of a text, inferred."""
    graph = parse(text)
    Infer().apply(graph)
    return graph


def one(statements: str, type_: str = "f32[3]") -> str:
    """A text of one input %x whose result is %0."""
    return f"graph(%x: {type_}) {{ {statements} return %0 }}"


class Unshowable:
    """A value whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def nested(depth: int) -> tuple[Any, ...]:
    """A tuple in a tuple and so on."""
    found: tuple[Any, ...] = ()
    for _ in range(depth):
        found = (found,)
    return found


ITSELF: list[Any] = []
ITSELF.append(ITSELF)
ESCAPED: list[Any] = []
ig.trace(lambda x: (ESCAPED.append(x), x)[1], "f32[3]")
BAD: list[Any] = [
    None, "", "abc", "\ud800", "\0", "(" * 100_000, b"graph", object(), float("nan"), float("inf"),
    -1, 2**70, True, 1.5, 1j, [], [1], {}, {1: 2}, set(), frozenset({1}), (), ((1,), 2), range(3),
    np.array(1.0), np.zeros(0), np.zeros(3, np.float32), np.array([None]), np.array(["a"]),
    np.zeros(2, [("a", "i4")]), np.ma.array([1.0]), np.datetime64("2020"),
    np.int64(1), np.float32(1), np.str_("f32[3]"), lambda: 0, (i for i in range(2)), int,
    ESCAPED[0], ITSELF, nested(300), nested(5000), Unshowable(), Path("x"), symbol("n"), F32, X,
    Value(0), Value(99), Value(0, -1), Value(0, 5), Value("a", "b"),  # type: ignore[arg-type]
    typed(TEXT),
]  # fmt: skip


def compiled(graph: Graph) -> object:
    """Compile, print and call a graph."""
    found = ig.compile(graph, target="reference")
    assert found.report() and str(graph)
    return found


def update(key: int, field: str) -> Callable[[Any], object]:
    """Give a field of a node the bad value, and compile the graph."""

    def call(bad: Any) -> object:
        graph = typed(TEXT)
        graph.update(key, **{field: bad})
        return compiled(graph)

    return call


def assign(field: str, listed: bool = False) -> Callable[[Any], object]:
    """Set a field of a graph; print, compare and compile it."""

    def call(bad: Any) -> object:
        graph = typed(TEXT)
        setattr(graph, field, [bad] if listed else bad)
        compiled(graph)
        return graph == typed(TEXT)

    return call


FIELDS = ("op", "operands", "types", "attributes", "name", "locations")
LISTS = ("inputs", "outputs", "effects")
PARTS = ("name", "signature", "captures", "widenings", "edits", "nx")
CALLS: dict[str, Callable[[Any], object]] = {
    "parse": parse,
    "parse file": lambda bad: print_graph(parse(TEXT, bad), locations=True),
    "parse_type": parse_type,
    "spec": ig.spec,
    "print_graph": print_graph,
    "print_graph locations": lambda bad: print_graph(typed(TEXT), locations=bad),
    "print_graph names": lambda bad: print_graph(typed(TEXT), names=bad),
    "equal": lambda bad: equal(typed(TEXT), bad),
    "equal first": lambda bad: equal(bad, typed(TEXT)),
    "==": lambda bad: typed(TEXT) == bad,
    "== swapped": lambda bad: bad == typed(TEXT),
    "diff": lambda bad: diff(typed(TEXT), bad),
    "diff first": lambda bad: diff(bad, typed(TEXT)),
    "diff context": lambda bad: diff(typed(TEXT), typed(one("%0 = neg(%x)")), bad),
    "symbol": symbol,
    "Dim": Dim,
    "Dim +": lambda bad: symbol("n") + bad,
    "TensorType": lambda bad: TensorType(bad, ()),
    "TensorType shape": lambda bad: TensorType(F32, bad),
    "TensorType size": lambda bad: TensorType(F32, (bad,)),
    "Node": lambda bad: Node(bad, (), ()),
    "Node operands": lambda bad: Node("neg", bad, ()),
    "Node types": lambda bad: Node("neg", (), bad),
    "Node attributes": lambda bad: Node("neg", (), (), bad),
    "Node attribute": lambda bad: Node("neg", (), ()).attribute(bad),
    "Graph": lambda bad: str(Graph(bad)),
    "graph[]": lambda bad: typed(TEXT)[bad],
    "in": lambda bad: bad in typed(TEXT),
    "type": lambda bad: typed(TEXT).type(bad),
    "users": lambda bad: typed(TEXT).users(bad),
    "use_count": lambda bad: typed(TEXT).use_count(bad),
    "add": lambda bad: typed(TEXT).add(bad),
    "add operands": lambda bad: typed(TEXT).add("neg", bad),
    "add operand": lambda bad: typed(TEXT).add("neg", [bad]),
    "add types": lambda bad: typed(TEXT).add("neg", [Value(0)], bad),
    "add attributes": lambda bad: typed(TEXT).add("neg", [Value(0)], [X], bad),
    "add_input": lambda bad: typed(TEXT).add_input(bad),
    "replace": lambda bad: typed(TEXT).replace(bad, Value(0), "test"),
    "replace new": lambda bad: typed(TEXT).replace(Value(0), bad, "test"),
    "update": lambda bad: typed(TEXT).update(bad, name="a"),
    "inline": lambda bad: typed(TEXT).inline(bad, [Value(0), Value(1)]),
    "inline arguments": lambda bad: typed(TEXT).inline(typed(TEXT), bad),
    "Tree": lambda bad: Tree(bad),
    "Tree children": lambda bad: Tree("tuple", bad),
    "Tree keys": lambda bad: Tree("dict", (flat_tree(1),), bad),
    "Signature": lambda bad: Signature(bad, flat_tree(1)),
    "Signature donated": lambda bad: Signature(flat_tree(1), flat_tree(1), (), bad),
    "verify": verify,
    "verify level": lambda bad: verify(typed(TEXT), bad),
    "interpret": lambda bad: interpret(bad, []),
    "compile target": lambda bad: ig.compile(typed(TEXT), target=bad),
    "compile donate": lambda bad: ig.compile(typed(TEXT), target="reference", donate=bad),
    "compile numerics": lambda bad: ig.compile(typed(TEXT), target="reference", numerics=bad),
    **{f"update {field}": update(2, field) for field in FIELDS},
    **{f"update input {field}": update(0, field) for field in FIELDS},
    **{f"set {field}": assign(field) for field in (*LISTS, *PARTS)},
    **{f"set {field} to a list": assign(field, True) for field in LISTS},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments(name: str) -> None:
    """Each call takes a value or refuses it by a short named error."""
    refused = 0
    for bad in BAD:
        try:
            CALLS[name](bad)
        except InternalError:
            raise
        except IrgradError as error:
            refused += 1
            assert len(str(error)) < 1000
            assert "expected" in str(error).split("\n")[0]
    assert refused > len(BAD) // 2 or name in ("==", "== swapped", "in")


def test_refused_edits_change_nothing() -> None:
    """A graph stays as it was where an edit of it is refused."""
    graph = typed(TEXT)
    edits: list[Callable[[], object]] = [
        lambda: graph.add("neg", [Value(9)], [X]),
        lambda: graph.add("neg", [Value(0, 1)], [X]),
        lambda: graph.add("neg", [Value(0)], ["f32[3]"]),  # type: ignore[list-item]
        lambda: graph.replace(ADD, Value(9), "test"),
        lambda: graph.update(2, operands=(Value(0), Value(9))),
        lambda: graph.update(2, colour="red"),
        lambda: graph.inline(typed(TEXT), [Value(0)]),
        lambda: graph.inline(typed(TEXT), [Value(0), Value(9)]),
    ]
    for edit in edits:
        with pytest.raises(ArgumentError, match="expected"):
            edit()
        verify(graph)
        assert list(graph) == [0, 1, 2] and str(graph) == str(typed(TEXT))


def test_cycles_are_named_wherever_a_graph_is_walked() -> None:
    """Order, text, comparison and compile all meet the cycle."""
    graph = typed(one("%1 = neg(%x) %0 = exp(%1)"))
    graph.update(1, operands=(Value(2),))
    for call in (graph.order, graph.__str__, lambda: graph == typed(TEXT), lambda: verify(graph)):
        with pytest.raises(VerifyError, match="expected no cycle"):
            call()


@pytest.mark.parametrize("bad", ["3", "", 1.5, None, F32, np.array([1, 2])])
def test_sizes_are_never_rounded(bad: Any) -> None:
    """What is no integer is no part of a size; n + 1.5 was n + 1."""
    for build in (lambda: symbol("n") + bad, lambda: symbol("n") * bad, lambda: symbol("n") - bad):
        with pytest.raises(ArgumentError, match="size: expected an integer or a Dim"):
            build()
    assert str(symbol("n") + np.int64(2)) == "n+2"


HEADERS = [
    ("(*, *) -> {a: *, a: -}", ParseError, "expected each key of a dict once"),
    ("({a: *, a: *}) -> *", ParseError, "expected each key of a dict once"),
    ("* -> *", ParseError, "signature: expected a tuple of arguments"),
    ("[*, *] -> *", ParseError, "signature: expected a tuple of arguments"),
    ("(*, *, *) -> *", VerifyError, "signature: expected a tree of 2 arguments"),
    ("(*, *) -> (*, *)", VerifyError, "signature: expected a tree of 1 results"),
    ("(*, *) -> * donated [2]", VerifyError, "signature: expected donated positions"),
    ('(*, *) -> * names ["x"]', VerifyError, "signature: expected 2 names"),
]


@pytest.mark.parametrize(("header", "error", "message"), HEADERS)
def test_contradicting_signatures(header: str, error: type[IrgradError], message: str) -> None:
    """A header that says other than the body is refused, at the latest when compiled."""
    with pytest.raises(error, match=message):
        ig.compile(typed(TEXT.replace("{ ", f"{{ signature {header} ", 1)), target="reference")


def test_arguments_may_have_any_name() -> None:
    """Also the names of the parameters of the call itself."""
    text = TEXT.replace("{ ", '{ signature (*, *) -> * names ["self", "args"] ', 1)
    call = ig.compile(typed(text), target="reference")
    ones = np.ones(3, np.float32)
    assert call(self=ones, args=ones).tolist() == [2, 2, 2]


HUGE = [
    "%0 = constant() {value=1.0, dtype=f32, shape=(0, 4611686018427387904, 4611686018427387904)}",
    "%1 = constant() {value=1.0, dtype=f32, shape=(9223372036854775807,)} "
    "%0 = reduce_sum(%1) {axes=(0,)}",
    "%1 = broadcast(%x) {shape=(4611686018427387904, 3), dims=(1,)} "
    "%0 = reduce_sum(%1) {axes=(0,)}",
    "%0 = iota() {shape=(9223372036854775807, 0), axis=0, dtype=i64}",
    "%0 = iota() {shape=(0, 9223372036854775807), axis=1, dtype=i64}",
    "%0 = pad(%x) {low=(4611686018427387904,), high=(0,), interior=(0,)}",
]


@pytest.mark.parametrize("statements", HUGE)
def test_arrays_beyond_all_memory(statements: str) -> None:
    """No array has 2**63 bytes, not even an empty one or, interpreted, one that is summed."""
    graph = typed(one(statements))
    with pytest.raises(LimitError, match=r"expected (an array|arrays) of fewer than 2\*\*63"):
        interpret(graph, [np.zeros(3, np.float32)])


@pytest.mark.parametrize("shape", [2**61, f"{2**61}, 0", f"0, {2**61}", f"{2**31}, {2**30}"])
def test_arguments_beyond_all_memory(shape: object) -> None:
    """Inputs and results are refused when compiled, and as samples."""
    graph = typed(one("%0 = neg(%x)", f"f32[{shape}]"))
    for call in (
        lambda: ig.compile(graph, target="reference"),
        lambda: random_inputs(graph, 1, 0.0),
    ):
        with pytest.raises(LimitError, match=r"expected (an array|arrays) of fewer than 2\*\*63"):
            call()


def test_arrays_beyond_this_memory() -> None:
    """What this machine cannot hold is a named error of the call, and of the binding."""
    graph = typed(one("%0 = broadcast(%x) {shape=(562949953421312, 3), dims=(1,)}"))
    call = ig.compile(graph, target="reference")
    for run in (call, call.bind):
        with pytest.raises(LimitError, match="expected (a result|results) that"):
            run(np.zeros(3, np.float32))


def test_plans_beyond_all_memory() -> None:
    """Intermediate arrays that overflow the offsets of a plan."""
    graph = typed(
        'graph(%x: f32[2305843009213693952]) { %0 = ne(%x, %x) effect check(%0) {message="a"} '
        '%1 = le(%x, %x) effect check(%1) {message="b"} return }'
    )
    work = graph.copy()
    for step in pipeline():
        step.apply(work)
    with pytest.raises(LimitError, match="plan: expected intermediate arrays"):
        lower(work)


@pytest.mark.parametrize("statements", [
    "%0 = slice(%x) {start=(n,), stop=(n+1,), step=(1,)}",
    "%0 = pad(%x) {low=(n,), high=(-n,), interior=(0,)}",
])  # fmt: skip
def test_symbols_in_attributes_alone(statements: str) -> None:
    """A name that only an attribute has: no kernel, and no value when interpreted."""
    graph = typed(one(statements))
    call = ig.compile(graph, target="reference")
    with pytest.raises(DimError, match="expected a value for 'n'"):
        call(np.zeros(3, np.float32))
    with pytest.raises(LoweringError, match="expected sizes that the inputs determine, got n"):
        ig.compile(graph)


def test_sizes_that_text_cannot_hold() -> None:
    """An inferred size whose coefficients need more than 64 bits is refused."""
    text = one("%0 = pad(%x) {low=(0,), high=(0,), interior=(9223372036854775807,)}", "f32[2*n]")
    with pytest.raises(VerifyError, match="pad: result 0: expected sizes"):
        typed(text)


@pytest.mark.parametrize("size", ["n-5", "n*n-20", "60-n", "n-m"])
def test_samples_of_sizes_that_may_be_negative(size: str) -> None:
    """The compile with check="all" finds names for which the inputs exist."""
    graph = typed(one("%0 = neg(%x)", f"f32[{size},n]"))
    assert len(random_inputs(graph, 1, 0.0)) == 1


def test_samples_of_sizes_that_are_always_negative() -> None:
    graph = typed(
        "graph(%x: f32[n-5], %y: f32[4-n]) { %0 = neg(%x) %1 = neg(%y) return %0, %1 }"
    )
    with pytest.raises(DimError, match="expected small n for which"):
        ig.compile(graph, target="reference", check="all")


def test_derivatives_of_complex_values() -> None:
    """No warning comes before the error."""
    graph = typed("graph(%x: c64[3]) { %0 = stop_gradient(%x) return %0 }")
    with pytest.raises(DTypeError, match="constant: expected a bool, integer or float dtype"):
        vjp_graph(graph, [0])


@pytest.mark.parametrize("file", ["/dev/zero", "/", "\\u0000", "\\ud800", "", "/no/such/file"])
def test_lines_of_files_that_are_none(file: str) -> None:
    """IR text names any path; only regular files are read for messages."""
    graph = parse(one(f'%0 = neg(%x) loc("{file}":1)').replace("neg", "negg"))
    with pytest.raises(VerifyError, match="negg: expected the name of an op"):
        Infer().apply(graph)


def test_lines_of_large_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    with open(path, "wb") as file:
        file.truncate(2**40)
    assert Location(str(path), 1).source() == ""
    assert str(path) not in linecache.cache


def test_checks_still_fail_by_name() -> None:
    graph = typed(one('%1 = lt(%x, %x) effect check(%1) {message="no"} %0 = neg(%x)'))
    with pytest.raises(CheckError, match="check: no"):
        ig.compile(graph, target="reference")(np.zeros(3, np.float32))


def test_floats_of_two_bytes_are_floats() -> None:
    """Division by zero and powers of bf16, which NumPy does not count among the floats."""
    graph = typed(
        "graph(%x: bf16[2], %y: bf16[2]) { %0 = remainder(%x, %y) %1 = power(%x, %y) "
        "return %0, %1 }"
    )
    x, y = (np.array(values).astype(BF16.numpy) for values in ([3, 2], [0, 2]))
    rest, power = (result.astype(np.float32) for result in interpret(graph, [x, y]))
    np.testing.assert_array_equal(rest, [np.nan, 0])
    np.testing.assert_array_equal(power, [1, 4])
    ig.compile(graph, target="reference", check="all")
