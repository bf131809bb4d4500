"""How far a compile is: what the callback is told, and when the terminal shows a line."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import irgrad as ig
import irgrad.numpy as inp
from irgrad.errors import ArgumentError
from irgrad.runtime.progress import CLEAR, Progress

Step = tuple[str, int, int]


def model(x: Any, w: Any) -> Any:
    return inp.tanh(x @ w) @ w


class Terminal(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def check_steps(steps: list[Step]) -> None:
    """Each phase goes up to its number, one after the other."""
    assert list(dict.fromkeys(phase for phase, _, _ in steps)) == [
        "passes", "lower", "kernels", "optimise",
    ]
    for phase in ("passes", "kernels"):
        own = [(done, total) for name, done, total in steps if name == phase]
        assert [done for done, _ in own] == list(range(1, own[0][1] + 1))
        assert {total for _, total in own} == {len(own)}
    assert steps[-1] == ("optimise", 1, 1)


def test_the_callback_hears_of_each_step() -> None:
    steps: list[Step] = []
    f = ig.jit(model, progress=lambda *step: steps.append(step))
    x, w = np.ones((3, 5)), np.ones((5, 5))
    f(x, w)
    check_steps(steps)
    assert sum(phase == "kernels" for phase, _, _ in steps) == len(f.compiled(x, w).kernels)
    steps.clear()
    f(x, w)
    assert not steps, "a call that compiles nothing"


def test_a_callback_that_calls_the_function() -> None:
    x, other = np.ones((2, 2)), np.ones((3, 3))
    given = [x]

    def call(phase: str, done: int, total: int) -> None:
        if given:
            f(given[0], given[0])

    f = ig.jit(model, progress=call, target="reference")
    message = "progress: expected a callback that does not call model while it is compiled"
    for _ in range(2):
        with pytest.raises(ArgumentError, match=message):
            f(x, x)
    given[0] = other
    with pytest.raises(ArgumentError, match=message):
        f(x, x)
    given.clear()
    f(other, other)
    given.append(other)
    f(x, x)  # calls what is compiled already
    assert f.cache_info().compiles == 2


def test_what_the_callback_raises_ends_the_compile() -> None:
    stops: list[Step] = [("passes", 4, 11), ("kernels", 1, 2), ("optimise", 0, 1)]

    def stop(*step: Any) -> None:
        if stops and step[:2] == stops[0][:2]:
            raise TimeoutError(stops.pop(0)[0])

    f = ig.jit(lambda x, w: inp.sin(x @ w) @ w, progress=stop)
    x, w = np.ones((3, 5)), np.full((5, 5), 0.1)
    for phase in ("passes", "kernels", "optimise"):
        with pytest.raises(TimeoutError, match=phase):
            f(x, w)
    np.testing.assert_allclose(f(x, w), np.sin(x @ w) @ w, rtol=1e-12)
    assert f.cache_info().compiles == 1


@pytest.mark.parametrize("value", [3, "print", [print], True])
def test_what_is_no_function_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="option progress: expected a function or None, got"):
        ig.jit(model, progress=value)


def test_options_are_equal_whoever_listens() -> None:
    assert ig.Options(progress=print) == ig.Options()
    assert hash(ig.Options(progress=print)) == hash(ig.Options())
    assert "progress" not in repr(ig.Options(progress=print))


def show(stream: Terminal | None, times: list[float], before: float = 0.0) -> Progress:
    clock = iter(times)
    return Progress("model", None, stream, before, lambda: next(clock))


def test_a_terminal_shows_a_line_after_two_seconds_and_loses_it_at_the_end() -> None:
    stream = Terminal(True)
    with show(stream, [0.0, 1.0, 2.5, 30.0]) as progress:
        progress("passes", 1, 11)
        assert stream.getvalue() == ""
        progress("kernels", 1, 12)
        assert stream.getvalue() == CLEAR + "irgrad: compiling model: kernels 1 of 12, 2 s"
        progress("kernels", 2, 12)
    assert stream.getvalue().split(CLEAR) == [
        "",
        "irgrad: compiling model: kernels 1 of 12, 2 s",
        "irgrad: compiling model: kernels 2 of 12, 30 s",
        "",
    ]
    assert "\n" not in stream.getvalue()


def test_the_line_goes_with_an_error_too() -> None:
    stream = Terminal(True)
    with pytest.raises(KeyboardInterrupt), show(stream, [0.0, 9.0]) as progress:
        progress("kernels", 1, 2)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith(CLEAR)


def test_time_before_counts_and_short_compiles_show_nothing() -> None:
    stream = Terminal(True)
    with show(stream, [10.0, 11.0], before=3.0) as progress:
        progress("passes", 1, 11)
    assert stream.getvalue() == f"{CLEAR}irgrad: compiling model: passes 1 of 11, 4 s{CLEAR}"
    stream = Terminal(True)
    with show(stream, [0.0, 0.1, 1.9]) as progress:
        progress("passes", 1, 11)
        progress("kernels", 1, 1)
    assert stream.getvalue() == ""


def test_only_terminals_show_it() -> None:
    file = Terminal(False)
    closed = Terminal(True)
    closed.close()
    for stream in (file, closed, None):
        with show(stream, [0.0, 9.0, 10.0]) as progress:
            progress("passes", 1, 11)
            progress("passes", 2, 11)
    assert file.getvalue() == ""
