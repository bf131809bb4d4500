"""Programs of one kernel each as one program of one kernel, which is far quicker to compile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from irgrad.kernel.ir import (
    Accumulate,
    Affine,
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
    kernel_dims,
)
from irgrad.kernel.program import Call, Program


def is_mergeable(program: Program) -> bool:
    """Whether a program is one kernel on its own inputs and outputs."""
    alone = len(program.calls) == len(program.kernels) == 1
    return alone and program.arena_bytes == 0 and not program.slots


def merge_kernels(joined: Program, count: int, size: int) -> Program:
    """A joined program with its first `count` kernels, of a mergeable program each, in groups of
    `size` that are one kernel each."""
    kernels: list[Kernel] = []
    calls: list[Call] = []
    for first in range(0, count, size):
        some = range(first, min(first + size, count))
        parts = [_prefixed_kernel(joined.kernels[i], f"k{i}_") for i in some]
        calls.append(Call(len(kernels), tuple(x for i in some for x in joined.calls[i].slots)))
        buffers = tuple(buffer for part in parts for buffer in part.buffers)
        body = tuple(statement for part in parts for statement in part.body)
        name, dims = f"kernels_{first}_to_{some[-1]}", kernel_dims(buffers, body)
        kernels.append(Kernel(name, buffers, body, dims=dims))
    shift = len(kernels) - count
    calls += [replace(call, kernel=call.kernel + shift) for call in joined.calls[count:]]
    return replace(joined, kernels=(*kernels, *joined.kernels[count:]), calls=tuple(calls))


def _prefixed_kernel(kernel: Kernel, prefix: str) -> Kernel:
    buffers = tuple(replace(b, name=prefix + b.name) for b in kernel.buffers)
    return replace(kernel, buffers=buffers, body=_prefixed_body(kernel.body, prefix))


def _prefixed_body(body: Sequence[Statement], prefix: str) -> tuple[Statement, ...]:
    return tuple(_prefixed(statement, prefix) for statement in body)


def _prefixed(one: Statement, prefix: str) -> Statement:
    """A statement with every name prefixed; the order of the names stays."""

    def at(place: Affine) -> Affine:
        return Affine(place.constant, tuple((prefix + name, c) for name, c in place.terms))

    def changed(statement: Any, *fields: str, **others: Any) -> Any:
        names = {field: prefix + getattr(statement, field) for field in fields}
        return replace(statement, **names, **others)

    match one:
        case Let():
            return changed(one, "name", operands=tuple(prefix + x for x in one.operands))
        case Load():
            return changed(one, "name", "buffer", at=at(one.at))
        case Store() | Accumulate():
            return changed(one, "buffer", "value", at=at(one.at))
        case Check():
            return changed(one, "value", at=at(one.at))
        case For():
            return changed(one, "index", body=_prefixed_body(one.body, prefix))
        case Reduce():
            results: tuple[Reduction, ...] = tuple(changed(r, "name", "value") for r in one.results)
            body = _prefixed_body(one.body, prefix)
            return changed(one, "index", body=body, results=results)
        case Contract():
            groups: dict[str, tuple[ContractionIndex, ...]] = {
                group: tuple(changed(i, "name") for i in getattr(one, group))
                for group in ("batch", "m", "n", "k")
            }
            body = _prefixed_body(one.body, prefix)
            return changed(
                one, "result", "lhs", "rhs", "row", "column", body=body,
                lhs_at=at(one.lhs_at), rhs_at=at(one.rhs_at), **groups,
            )  # fmt: skip
