"""The verifier accepts a sound kernel and names what is wrong with each broken one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from irgrad.errors import VerifyError
from irgrad.kernel.ir import (
    Accumulate,
    Affine,
    Buffer,
    Check,
    Contract,
    ContractionIndex,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Reduction,
    Statement,
    Store,
    affine,
)
from irgrad.kernel.text import print_kernel, statement_text
from irgrad.kernel.verify import verify_kernel

AT = affine(0, {"i": 1})
BUFFERS = (
    Buffer("x", "f32", 8, "read"),
    Buffer("k", "i64", 8, "read"),
    Buffer("o", "f32", 8, "write"),
    Buffer("u", "f32", 4, "update"),
)
LOAD = Load("a", "x", AT, "f32")
HEAD = (LOAD, Let("n", "index", ("i",), "i64"), Let("t", "isnan", ("a",), "bool"))


def loop(*statements: Statement, parallel: bool = False) -> tuple[Statement, ...]:
    """The statements in a loop over 8 elements, after a few that define scalars."""
    return (For("i", 8, HEAD + statements, parallel),)


def contract(**changes: object) -> tuple[Statement, ...]:
    """A product of two 2x2 matrices, changed."""
    sound = Contract(
        "c", "f32", (), (ContractionIndex("m", 2),), (ContractionIndex("n", 2),),
        (ContractionIndex("k", 2),), "x", affine(0, {"k": 1, "m": 2}), "x",
        affine(4, {"k": 2, "n": 1}), "row", "column",
        (Store("o", affine(0, {"column": 1, "row": 2}), "c"),),
    )  # fmt: skip
    return (replace(sound, **changes),)  # type: ignore[arg-type]


SOUND = (
    loop(Store("o", AT, "a"), Accumulate("sum", "u", Affine(), "a"), Check("t", 0, AT)),
    (Reduce("i", 8, HEAD, (Reduction("s", "argmax", "a", "f32"),)), Let("y", "neg", ("s",), "i64")),
    (For("i", 0, (Load("a", "x", affine(99, {}), "f32"),)),),
    contract(),
)
BROKEN = {
    "expected a scalar that is known here, got b": loop(Store("o", AT, "b")),
    "expected a name that is not taken, got a": loop(LOAD),
    "expected a kernel primitive, got frob": loop(Let("b", "frob", ("a",), "f32")),
    "expected 2 operands, got 1": loop(Let("b", "add", ("a",), "f32")),
    "expected operands of one dtype, got f32, i64": loop(Let("b", "add", ("a", "n"), "f32")),
    "expected operands of kind f, got i64": loop(Let("b", "exp", ("n",), "i64")),
    "expected the result dtype bool, got f32": loop(Let("b", "lt", ("a", "a"), "f32")),
    "expected a bool to select by, got f32": loop(Let("b", "select", ("a", "a", "a"), "f32")),
    "expected a value for a constant alone, got None": loop(Let("b", "constant", (), "f32")),
    "expected the index of a loop around, got z": loop(Let("b", "index", ("z",), "i64")),
    "expected positions in 0..7, got 1..8": loop(Store("o", affine(1, {"i": 1}), "a")),
    "expected positions in 0..7, got -1..6": loop(Store("o", affine(-1, {"i": 1}), "a")),
    "expected access local or update or write, got read": loop(Store("x", AT, "a")),
    "expected access local or update, got write": loop(Accumulate("sum", "o", AT, "a")),
    "expected access local or read or update, got write": loop(Load("b", "o", AT, "f32")),
    "expected a buffer of the kernel, got q": loop(Store("q", AT, "a")),
    "expected dtype f32, got i64": loop(Store("o", AT, "n")),
    "expected a bool, got f32": loop(Check("a", 0, AT)),
    "expected a kind that accumulates, got argmax": loop(
        Accumulate("argmax", "u", Affine(), "a")
    ),
    "expected a value of kind b, got f32": (
        Reduce("i", 8, HEAD, (Reduction("s", "any", "a", "f32"),)),
    ),
    "expected a reduction of f32, got f64": (
        Reduce("i", 8, HEAD, (Reduction("s", "sum", "a", "f64"),)),
    ),
    "expected no loop within a reduction, got one": (
        Reduce("j", 2, loop(), (Reduction("s", "sum", "a", "f32"),)),
    ),
    "expected an index name that is not taken, got i": loop(For("i", 2, ())),
    "expected an extent of 0 or more, got -1": (For("i", -1, ()),),
    "expected sorted terms with coefficients other than 0, got i + i": loop(
        Store("o", Affine(0, (("i", 1), ("i", 1))), "a")
    ),
    "expected operands of f64, got f32": contract(dtype="f64"),
    "expected each operand without the other's indices": contract(lhs_at=affine(0, {"n": 1})),
    "expected buffers that can be read, got o": contract(lhs="o"),
    "expected a contraction outside of loops": (For("i", 2, contract()),),
    "expected no loop after a contraction's sum": contract(body=(For("i", 2, ()),)),
    "expected iterations that write what no other touches, got u": loop(
        Accumulate("sum", "u", Affine(), "a"), parallel=True
    ),
}


@pytest.mark.parametrize("body", SOUND)
def test_sound_kernels(body: tuple[Statement, ...]) -> None:
    verify_kernel(Kernel("sound", BUFFERS, body))


@pytest.mark.parametrize("message", BROKEN)
def test_broken_kernels(message: str) -> None:
    with pytest.raises(VerifyError) as error:
        verify_kernel(Kernel("broken", BUFFERS, BROKEN[message]))
    text = str(error.value)
    assert text.startswith("kernel broken: ") and message in text
    assert len(text.splitlines()) == 2, "the statement at fault follows"


def test_broken_buffers() -> None:
    with pytest.raises(VerifyError, match="each buffer name once"):
        verify_kernel(Kernel("broken", (BUFFERS[0], BUFFERS[0]), ()))
    with pytest.raises(VerifyError, match="known access and dtype"):
        verify_kernel(Kernel("broken", (Buffer("x", "f32", 1, "borrow"),), ()))


def test_text_of_kernels() -> None:
    kernel = Kernel("sound", BUFFERS, SOUND[0] + SOUND[1][:1] + contract())
    text = print_kernel(kernel)
    assert text == print_kernel(Kernel("sound", BUFFERS, SOUND[0] + SOUND[1][:1] + contract()))
    for statement in kernel.body:
        assert statement_text(statement) in text
    assert "o[i] = a" in text and "u[0] = sum(u[0], a)" in text
