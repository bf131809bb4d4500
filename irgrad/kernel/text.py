"""Kernels as text for readers, one statement a line."""

from __future__ import annotations

from collections.abc import Iterator

from .ir import (
    Accumulate,
    Check,
    Compound,
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
)


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel: its buffers, then its statements, nested ones indented."""
    return "\n".join(line for line, _ in kernel_lines(kernel)) + "\n"


def kernel_lines(kernel: Kernel) -> list[tuple[str, Statement | None]]:
    """The lines of a kernel's text, each with the statement that it shows or begins."""
    buffers = ", ".join(f"{b.access} {b.name}: {b.dtype}[{b.size}]" for b in kernel.buffers)
    dims = f"[{', '.join(kernel.dims)}]" if kernel.dims else ""
    head = f"kernel {kernel.name}{dims}({buffers}) {{"
    return [(head, None), *_lines(kernel.body, "  "), ("}", None)]


def statement_text(statement: Statement) -> str:
    """One line: a statement, of a statement with a body its head."""
    if isinstance(statement, Compound):
        return _head(statement)
    return _simple(statement)


def _lines(
    body: tuple[Statement, ...], indent: str
) -> Iterator[tuple[str, Statement | None]]:
    for statement in body:
        if isinstance(statement, Compound):
            yield f"{indent}{_head(statement)} {{", statement
            yield from _lines(statement.body, indent + "  ")
            yield f"{indent}}}", None
        else:
            yield indent + _simple(statement), statement


def _simple(statement: Let | Load | Store | Accumulate | Check) -> str:
    match statement:
        case Let():
            value = repr(statement.value) if statement.op == "constant" else ""
            inner = ", ".join(statement.operands) or value
            return f"{statement.name} = {statement.op}({inner}): {statement.dtype}"
        case Load():
            return f"{statement.name} = {statement.buffer}[{statement.at}]: {statement.dtype}"
        case Store():
            return f"{statement.buffer}[{statement.at}] = {statement.value}"
        case Accumulate():
            target = f"{statement.buffer}[{statement.at}]"
            return f"{target} = {statement.kind}({target}, {statement.value})"
        case Check():
            return f"check {statement.check} at {statement.at}: {statement.value}"


def _head(statement: Compound) -> str:
    match statement:
        case For():
            kind = "parallel for" if statement.parallel else "for"
            return f"{kind} {statement.index} < {statement.extent}"
        case Every():
            turn = "last" if statement.last else "first"
            return f"in the {turn} of each {statement.block} of {statement.index}"
        case Reduce():
            results = ", ".join(
                f"{r.name} = {r.kind}({r.value}): {r.dtype}" for r in statement.results
            )
            return f"{results} over {statement.index} < {statement.extent}"
        case Contract():
            at = f"{statement.lhs}[{statement.lhs_at}] * {statement.rhs}[{statement.rhs_at}]"
            groups = "; ".join(
                f"{name} {_indices(group)}"
                for name, group in (
                    ("batch", statement.batch),
                    ("rows", statement.m),
                    ("columns", statement.n),
                    ("sum", statement.k),
                )
                if group
            )
            places = f"{statement.row}, {statement.column}"
            return f"{statement.result} = sum({at}): {statement.dtype} at {places} over {groups}"


def _indices(group: tuple[ContractionIndex, ...]) -> str:
    return ", ".join(f"{index.name} < {index.extent}" for index in group)
