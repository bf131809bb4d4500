"""What a page shows, as plain data. Every `ident` is the id of an element, unique in the page.

`lines` are always the idents of source lines, the primary one first.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.dims import Size


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of the user's program. links: (ident, text) of what came from it; none: no node."""

    ident: str
    number: int
    text: str
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the user's program, cut down to blocks of neighbouring lines."""

    name: str
    blocks: tuple[tuple[SourceLine, ...], ...]


@dataclass(frozen=True, slots=True)
class ViewNode:
    """A node of a graph. label: its op, or its name. text: its line of IR. places: its source lines
    in words. kernel: the number of the kernel that computes it, None where none does."""

    ident: str
    key: int
    op: str
    label: str
    type: str
    text: str
    places: tuple[str, ...]
    lines: tuple[str, ...]
    kernel: int | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph: nodes in canonical order, edges (from, to) by key, each once."""

    nodes: tuple[ViewNode, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """The graph after a pass; None where it is that of the stage before."""

    ident: str
    name: str
    graph: Drawing | None


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of code. at: the line of the kernel's IR that it computes, 0 where none is known."""

    text: str
    at: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """One text of a kernel."""

    ident: str
    title: str
    lines: tuple[CodeLine, ...]


@dataclass(frozen=True, slots=True)
class ViewKernel:
    """A kernel: what it costs, where it comes from, what it computes, and its texts."""

    ident: str
    name: str
    calls: int
    flops: Size
    bytes: Size
    places: tuple[str, ...]
    lines: tuple[str, ...]
    graph: Drawing
    listings: tuple[Listing, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Arena memory in use from step `first` to step `last`.

    label: the kernel and buffer that write it first. offset: in bytes, in a program with named
    sizes the number of its slot. updates: steps that change it in place.
    """

    label: str
    kernel: int
    kind: str
    offset: int
    bytes: Size
    first: int
    last: int
    updates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """Memory of the caller: a donated input that is overwritten, or a result."""

    label: str
    kind: str
    bytes: Size
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a run, or of a part of it from step `start` on.

    steps: the kernel of each call. live: arena bytes in use at each, none in a program with named
    sizes. workspace: bytes beside the arena that contractions pack their operands into. slots: of a
    program with named sizes, what each is as large as.
    """

    steps: tuple[int, ...]
    spans: tuple[Span, ...]
    outside: tuple[Outside, ...]
    live: tuple[int, ...]
    arena_bytes: int
    workspace: int
    slots: tuple[str, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """All of a page."""

    title: str
    target: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[SourceFile, ...]
    stages: tuple[Stage, ...]
    kernels: tuple[ViewKernel, ...]
    memory: Memory
    report: str
