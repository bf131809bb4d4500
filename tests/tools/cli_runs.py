"""Running the command line inside the test process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from irgrad.tools.cli import make_app

MODEL = """
import irgrad as ig
import irgrad.numpy as np

TABLE = np.asarray([1.0, 2.0, 3.0, 4.0])


def f(x, y):
    return np.tanh(x) @ y


def tree(params, x=2.0):
    return {"sum": params["w"].sum() * x, "pair": (params["w"] + params["b"], params["b"])}


def captures(x):
    return x * TABLE


def checked(x):
    ig.check(x > 0, "x must be positive")
    return np.log(x)


def broken(x):
    return x / undefined_name


def endless(x):
    return endless(x + 1)


def loud(x):
    print("loud")
    return x + x


def misfit(x):
    return x @ x


sized = ig.jit(f, specs=("f32[n,4]", "f32[4]"))
nested = ig.jit(tree, specs=({"w": "f32[n]", "b": "f32[n]"},), donate=0)
slope = ig.grad(lambda x: np.sum(x * x))
ready = ig.compile(f, "f32[2,4]", "f32[4]")
graph = ig.trace(f, "f32[n,4]", "f32[4]")
NUMBER = 3
"""


def run(*arguments: str) -> Result:
    """The result of a command line: exit_code, stdout, stderr."""
    return CliRunner().invoke(make_app(), list(arguments), prog_name="irgrad")


def run_well(*arguments: str) -> str:
    """The output of a command line that has to succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def error_of(*arguments: str, code: int = 1) -> str:
    """The one line that a command line fails with, after its prefix."""
    result = run(*arguments)
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    prefix = "irgrad: error: "
    assert lines[0].startswith(prefix)
    return lines[0].removeprefix(prefix)
