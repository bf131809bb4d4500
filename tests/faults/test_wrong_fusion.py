"""check="all" names the kernel that was fused wrongly, its members, and their lines.

Kernels run in their form of Python source as plain Python, so that nothing has to be compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

import irgrad as ig
from irgrad.errors import CheckError
from irgrad.passes import axes, fuse, fusion_groups
from irgrad.passes.fusion_groups import Grouping

SPECS = ("f64[3,3]", "f64[3,3]")


def always(result: bool) -> Callable[..., bool]:
    return lambda *arguments: result


def mirrored(x: Any, y: Any) -> Any:
    a = np.tanh(x)
    return a + np.tanh(x).T * y


def centred(x: Any, y: Any) -> Any:
    mean = x.sum(axis=1, keepdims=True)
    return (x - mean).T * y


def flipped(x: Any, y: Any) -> Any:
    total = (x * y).sum(axis=0)
    return total[::-1] * x + total


def merged_by_one_access(domain: Any, order: Any, accesses: Any, merge: Any = axes._merge) -> Any:
    return merge(domain, order, accesses[:1])


def operands_exchanged(body: Any, key: int) -> None:
    """A member of a kernel that reads its operands in the other order."""
    node = body.graph[key]
    operands = [body.read(operand) for operand in node.operands]
    body._copy(key, operands[::-1] if node.op == "sub" else operands)


def last_member_lost(body: Any, key: int, member: Any = fuse._Body.member) -> None:
    """A product in a kernel that is taken for its first operand."""
    member(body, key)
    node = body.graph[key]
    if node.op == "mul":
        body.inside[ig.ir.graph.Value(key)] = body.read(node.operands[0])


# What is planted, the function, the kernel that is wrong, what is said of it, and lines of members.
WRONG: dict[str, tuple[Any, Callable[..., Any], str, str, tuple[int, ...]]] = {
    "a read along other axes": (
        (fusion_groups, "_runs_along", always(True)), mirrored,
        "kernel tanh_fma", "wrong as lowered, before it is compiled: a loop of", (1, 2)),
    "members that read across": (
        (Grouping, "_all_match", always(True)), centred,
        "kernel reduce_sum_sub_mul", "wrong as lowered, before it is compiled: a loop of",
        (1, 2)),
    "members that find no value": (
        (Grouping, "_all_match", always(True)), flipped,
        "kernel mul_reduce_sum_fma", "can be lowered, got KeyError: 3; wrong as fused: a loop of",
        (1, 2)),
    "loops merged by one access": (
        (axes, "_merge", merged_by_one_access), centred,
        "kernel mul", "wrong as lowered, before it is compiled: a loop of", (2,)),
    "operands exchanged": (
        (fuse._Body, "member", operands_exchanged), centred,
        "pass fuse", "'fuse': sub (f64[3,3]) became kernel", (1, 2)),
    "a member lost": (
        (fuse._Body, "member", last_member_lost), flipped,
        "pass fuse", "'fuse': ", (1,)),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_fusion_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, f, what, said, lines = WRONG[fault]
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    ig.compile(f, *SPECS, check="all", emit="numba")
    monkeypatch.setattr(*place)
    with pytest.raises(CheckError) as found:
        ig.compile(f, *SPECS, check="all", emit="numba")
    text = str(found.value)
    assert re.match(rf"{what}\b", text)
    assert said in text
    first = f.__code__.co_firstlineno
    for line in lines:
        assert re.search(rf"\w+ \S*test_wrong_fusion.py:{first + line}\b", text)
    assert re.search(rf'\n  File ".*test_wrong_fusion.py", line \d+, in {f.__name__}\n', text)
