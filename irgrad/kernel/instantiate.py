"""Kernels and programs with named sizes as those of one call, whose sizes are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir.dims import Dim, evaluate
from .ir import (
    Accumulate,
    Affine,
    Check,
    Contract,
    ContractionIndex,
    Every,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    affine,
)
from .program import Program, Result, Slot
from .slots import slot_offsets

Dims = Mapping[str, int]


def instantiate_kernel(kernel: Kernel, dims: Dims) -> Kernel:
    """The kernel with every size as the number that it is under `dims`.

    Raises DimError for a name without a value.
    """
    if not kernel.dims:
        return kernel
    return replace(
        kernel,
        buffers=tuple(replace(b, size=evaluate(b.size, dims)) for b in kernel.buffers),
        body=_body(kernel.body, dims),
        flops=evaluate(kernel.flops, dims),
        bytes=evaluate(kernel.bytes, dims),
        dims=(),
    )


def instantiate(program: Program, dims: Dims) -> Program:
    """The program with every size as the number that it is under `dims`, slots as byte offsets.

    Raises DimError for a name without a value, LimitError for more scratch memory than can be.
    """
    if not program.dims:
        return program
    offsets, _ = slot_offsets(program.slots, dims)

    def place(slot: Slot) -> Slot:
        return Slot("arena", offsets[slot.number]) if slot.kind == "slot" else slot

    def shaped(result: Result) -> Result:
        return replace(result, shape=tuple(evaluate(size, dims) for size in result.shape))

    return replace(
        program,
        kernels=tuple(instantiate_kernel(kernel, dims) for kernel in program.kernels),
        calls=tuple(replace(c, slots=tuple(map(place, c.slots))) for c in program.calls),
        inputs=tuple((dtype, evaluate(size, dims)) for dtype, size in program.inputs),
        outputs=tuple((dtype, evaluate(size, dims)) for dtype, size in program.outputs),
        results=tuple(map(shaped, program.results)),
        arena_bytes=program.workspace_bytes(dims),
        dims=(),
        slots=(),
    )


def _body(body: tuple[Statement, ...], dims: Dims) -> tuple[Statement, ...]:
    return tuple(_statement(statement, dims) for statement in body)


def _statement(statement: Statement, dims: Dims) -> Statement:
    match statement:
        case Let():
            if isinstance(statement.value, Dim):
                return replace(statement, value=evaluate(statement.value, dims))
            return statement
        case Load() | Store() | Accumulate() | Check():
            return replace(statement, at=_affine(statement.at, dims))
        case For() | Every() | Reduce():
            extent = evaluate(statement.extent, dims)
            return replace(statement, extent=extent, body=_body(statement.body, dims))
        case Contract():
            return replace(
                statement,
                batch=_group(statement.batch, dims),
                m=_group(statement.m, dims),
                n=_group(statement.n, dims),
                k=_group(statement.k, dims),
                lhs_at=_affine(statement.lhs_at, dims),
                rhs_at=_affine(statement.rhs_at, dims),
                body=_body(statement.body, dims),
            )


def _affine(at: Affine, dims: Dims) -> Affine:
    return affine(evaluate(at.constant, dims), {i: evaluate(c, dims) for i, c in at.terms})


def _group(group: tuple[ContractionIndex, ...], dims: Dims) -> tuple[ContractionIndex, ...]:
    return tuple(ContractionIndex(index.name, evaluate(index.extent, dims)) for index in group)
