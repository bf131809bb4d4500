"""From a compiled function to what its page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..ir.dims import Size
from ..ir.graph import Graph
from ..ir.shown import size_text
from ..kernel.program import Program
from ..passes.lower import lower_steps
from ..runtime.compiled import Compiled, KernelInfo, Parts
from ..runtime.report import arena_text
from .attribution import ir_lines, listed_lines, numba_lines
from .data import CodeLine, Drawing, Listing, Stage, View, ViewKernel
from .graphs import drawing, stages_shown
from .memory import plan_memory
from .sources import Sources

_UNSTEADY = ("compile time:", "copied at the boundary:")  # what differs from run to run


def collect(compiled: Compiled, parts: Parts) -> View:
    """Everything about a compiled function that a page shows."""
    sources = Sources()
    graphs = {name: compiled.stage(name) for name in compiled.stages}
    fused = list(graphs.values())[-1]
    numbers = kernel_numbers(fused, parts.program)
    stages = stages_shown(graphs, numbers, parts.optimised.edits, sources)
    kernels = _kernels(compiled, parts.program, fused, numbers, sources)
    return View(
        compiled.graph.name,
        compiled.target,
        _facts(compiled, kernels),
        sources.files_shown(_links(stages, kernels)),
        stages,
        kernels,
        plan_memory(compiled.plan),
        _steady(compiled.report()),
    )


def kernel_numbers(fused: Graph, program: Program | None) -> dict[int, int]:
    """The number of the kernel of each fused node; none where there is no program."""
    if program is None:
        return {}
    nodes = lower_steps(fused).nodes
    return {key: call.kernel for key, call in zip(nodes, program.calls)}


# -- kernels ---------------------------------------------------------------------------------------


def _kernels(
    compiled: Compiled,
    program: Program | None,
    fused: Graph,
    numbers: Mapping[int, int],
    sources: Sources,
) -> tuple[ViewKernel, ...]:
    if program is None:
        return ()
    first: dict[int, int] = {}
    for node, number in numbers.items():
        first.setdefault(number, node)
    found = []
    for number, info in enumerate(compiled.kernels):
        key = first.get(number)  # none for a copy at the end
        region = fused[key].attribute("body") if key is not None else None
        inner = Drawing((), ())
        if region is not None:
            every = dict.fromkeys((k for k in region if region[k].op != "input"), number)
            inner = drawing(region, f"r{number}", every, sources)
        found.append(
            ViewKernel(
                f"k{number}", info.name, info.calls, info.flops, info.bytes,
                tuple(map(str, info.origin)), sources.idents(info.origin), inner,
                _listings(info, program, number, region, sources),
            )
        )  # fmt: skip
    return tuple(found)


def _listings(
    info: KernelInfo, program: Program, number: int, region: Graph | None, sources: Sources
) -> tuple[Listing, ...]:
    """The texts of a kernel; the first one is its IR, to whose lines the others refer."""
    kernel = program.kernels[number]
    own = [(text, sources.idents(origins)) for text, origins in ir_lines(kernel, region)]
    lines = tuple(CodeLine(text, at, ids) for at, (text, ids) in enumerate(own, 1))
    found = [Listing(f"k{number}-ir", "Kernel IR", lines)]
    texts = {
        "numba": ("Numba source", numba_lines(kernel, info.source("numba"))),
        "llvm": ("LLVM IR", listed_lines(info.source("llvm-lines"))),
        "asm": ("Assembly", listed_lines(info.source("asm-lines"))),
    }
    for form, (title, rows) in texts.items():
        code = tuple(CodeLine(text, at, own[at - 1][1] if at else ()) for text, at in rows)
        found.append(Listing(f"k{number}-{form}", title, code))
    return tuple(found)


# -- links and words -------------------------------------------------------------------------------


def _links(
    stages: Sequence[Stage], kernels: Sequence[ViewKernel]
) -> dict[str, list[tuple[str, str]]]:
    """For each source line its first node as traced, and its kernels at their first line of it."""
    found: dict[str, list[tuple[str, str]]] = {}
    drawn = [stage.graph for stage in stages if stage.graph is not None]
    traced: dict[str, list[str]] = {}
    for node in drawn[0].nodes if drawn else ():
        for line in node.lines:
            traced.setdefault(line, []).append(node.ident)
    for line, idents in traced.items():
        count = len(idents)
        found[line] = [(idents[0], f"{count} node{'s' if count > 1 else ''}")]
    for kernel in kernels:
        for line, ident in _kernel_lines(kernel):
            found.setdefault(line, []).append((ident, kernel.ident))
    return found


def _kernel_lines(kernel: ViewKernel) -> Iterator[tuple[str, str]]:
    """Each source line of a kernel with the ident of what shows it first."""
    ir = kernel.listings[0]
    for line in kernel.lines:
        rows = (code.at for code in ir.lines if line in code.lines)
        row = next(rows, 0)
        yield line, f"{ir.ident}-{row}" if row else kernel.ident


def _facts(compiled: Compiled, kernels: Sequence[ViewKernel]) -> tuple[tuple[str, str], ...]:
    """The numbers at the top of the page."""
    flops: Size = 0
    moved: Size = 0
    for kernel in kernels:
        flops, moved = flops + kernel.flops * kernel.calls, moved + kernel.bytes * kernel.calls
    return (
        ("target", compiled.target),
        ("nodes traced", f"{len(compiled.graph):,}"),
        ("kernels", f"{len(kernels):,}"),
        ("calls", f"{sum(kernel.calls for kernel in kernels):,}"),
        ("flops", size_text(flops)),
        ("bytes moved", size_text(moved)),
        ("of scratch memory", arena_text(compiled.plan.workspace)),
    )


def _steady(report: str) -> str:
    """The report without what differs from run to run."""
    kept: list[str] = []
    keep = True
    for line in report.splitlines():
        if not line.startswith(" "):
            keep = line not in _UNSTEADY
        if keep:
            kept.append(line)
    return "\n".join(kept) + "\n"
