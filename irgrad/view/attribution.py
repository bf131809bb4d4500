"""Which source lines each line of a kernel's texts comes from.

Every text is first brought to lines of the kernel's IR, which have the source lines of the scalars
that they define or use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..ir.graph import Graph
from ..ir.location import Location, merge
from ..kernel.ir import (
    Accumulate,
    Check,
    Contract,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    nested,
    walk,
)
from ..kernel.text import kernel_lines
from ..ops.registry import REGISTRY

_ASSIGNED = re.compile(r"\s*(\w+?)(_lanes|_positions)?(\[.*?\])? = ")
_LOOP = re.compile(r"\s*for (\w+) in range\(")
_COMMENT = re.compile(r"\s*# ")
Origins = tuple[Location, ...]


def ir_lines(kernel: Kernel, region: Graph | None) -> list[tuple[str, Origins]]:
    """The lines of a kernel's IR with their source lines. region: the graph that it computes."""
    whole = _chains(region)
    reduces = _lines_of(region, "reduce")
    contracts = _lines_of(region, "contract")
    defined: dict[str, Statement] = {}
    users: dict[str, list[str]] = {}
    for statement in walk(kernel.body):
        for name in _defines(statement):
            defined[name] = statement
        if isinstance(statement, Let):
            for operand in statement.operands:
                users.setdefault(operand, []).append(statement.name)

    def of(statement: Statement) -> Origins:
        match statement:
            case Let():
                own = statement.origin
                return whole.get(own, (own,) if region is None else ()) if own else ()
            case Load():
                names = users.get(statement.name, ())
                return merge(*(of(defined[name]) for name in names))
            case Store() | Accumulate() | Check():
                source = defined.get(statement.value)
                found = of(source) if source is not None else ()
                return merge(found, reduces) if isinstance(statement, Accumulate) else found
            case Reduce():
                return reduces
            case Contract():
                return contracts
            case For():
                return merge(*(of(inner) for inner in nested(statement)))

    first = kernel.origin[:1]
    return [
        (text, (of(statement) or first) if statement is not None else ())
        for text, statement in kernel_lines(kernel)
    ]


def _chains(region: Graph | None) -> dict[Location, Origins]:
    """All lines of the nodes whose primary line is the given one."""
    found: dict[Location, Origins] = {}
    for key in region.order() if region is not None else ():
        lines = region[key].locations if region is not None else ()
        if lines:
            found[lines[0]] = merge(found.get(lines[0], ()), lines)
    return found


def _lines_of(region: Graph | None, family: str) -> Origins:
    """The lines of the nodes of a family of ops."""
    if region is None:
        return ()
    nodes = [region[key] for key in region.order()]
    return merge(*(n.locations for n in nodes if n.op != "input" and _family(n.op) == family))


def _family(op: str) -> str:
    return REGISTRY[op].family if op in REGISTRY else ""


def _defines(statement: Statement) -> Iterable[str]:
    match statement:
        case Let() | Load():
            return (statement.name,)
        case Reduce():
            return [result.name for result in statement.results]
        case Contract():
            return (statement.result,)
    return ()


def numba_lines(kernel: Kernel, text: str) -> list[tuple[str, int]]:
    """The lines of a Numba source with the lines of the kernel's IR that they compute.

    Both have the same names: an assignment belongs to the statement that defines its name, one to
    an element to the next store into that buffer, a loop to the one over its index.
    """
    names, stores, loops = _numbered(kernel)
    found: list[tuple[str, int]] = []
    inside = False
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("def "):
            inside = line.startswith(f"def {kernel.name}(")
        found.append((line, _at(line, names, stores, loops) if inside else 0))
    return _comments_follow(found)


def _numbered(
    kernel: Kernel,
) -> tuple[dict[str, int], dict[str, list[int]], dict[str, list[int]]]:
    """The IR's line for each name; those of the stores into each buffer; those of loops."""
    names: dict[str, int] = {}
    stores: dict[str, list[int]] = {}
    loops: dict[str, list[int]] = {}
    for number, (_, statement) in enumerate(kernel_lines(kernel), 1):
        if statement is None:
            continue
        names.update((name, number) for name in _defines(statement))
        if isinstance(statement, Store | Accumulate):
            stores.setdefault(statement.buffer, []).append(number)
        elif isinstance(statement, For | Reduce):
            loops.setdefault(statement.index, []).append(number)
        elif isinstance(statement, Contract):
            groups = statement.batch + statement.m + statement.n + statement.k
            for name in [*(i.name for i in groups), statement.row, statement.column]:
                loops.setdefault(name, []).append(number)
    return names, stores, loops


def _at(
    line: str,
    names: Mapping[str, int],
    stores: Mapping[str, list[int]],
    loops: Mapping[str, list[int]],
) -> int:
    """The IR's line of one line; stores and loops of one name come in order."""
    loop = _LOOP.match(line)
    if loop:
        return _next(loops.get(loop[1], []))
    assigned = _ASSIGNED.match(line)
    if not assigned:
        return 0
    if assigned[1] in stores and assigned[3] and not assigned[2]:
        return _next(stores[assigned[1]])
    return names.get(assigned[1], 0)


def _next(numbers: list[int]) -> int:
    """The first number, which goes unless it is the only one."""
    return (numbers.pop(0) if len(numbers) > 1 else numbers[0]) if numbers else 0


def _comments_follow(lines: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The lines, with comments belonging to what follows them."""
    found: list[tuple[str, int]] = []
    following = 0
    for text, number in reversed(lines):
        if _COMMENT.match(text) and following:
            number = following
        following = number
        found.append((text, number))
    return found[::-1]


def listed_lines(text: str) -> list[tuple[str, int]]:
    """The lines of a listing as "llvm-lines", with the lines of the kernel's IR before each."""
    found = []
    for row in text.rstrip("\n").split("\n"):
        number, _, line = row.partition(" | ")
        found.append((line, int(number) if number.strip() else 0))
    return found
