"""HTML from the texts of a page: everything that is not ours passes through `escape`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from ..ir.dims import Size
from ..ir.shown import how_many, size_text
from .data import CodeLine, Listing, SourceFile, SourceLine, ViewKernel

COLOURS = 12


def escape(text: str) -> str:
    """Text for an element or a quoted attribute, without characters that cannot be shown."""
    plain = "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text)
    return html.escape(plain, quote=True)


def colour(kernel: int | None) -> str:
    """The class of a kernel's colour."""
    return "" if kernel is None else f" c{kernel % COLOURS}"


def count(number: Size, what: str) -> str:
    """A number of things, as "1 node", "2,000 nodes" or "4*n nodes"."""
    return how_many(number, what) if isinstance(number, int) else f"{number} {what}s"


# -- the user's source -----------------------------------------------------------------------------


def sources_html(files: Iterable[SourceFile]) -> str:
    """All files, each with its blocks of lines."""
    parts = [_file_html(file) for file in files]
    return "\n".join(parts) or '<p class="none">No node has a source line.</p>'


def _file_html(file: SourceFile) -> str:
    blocks = "\n".join(
        f'<div class="block">{"".join(map(_source_line, block))}</div>' for block in file.blocks
    )
    return f"<h3>{escape(file.name)}</h3>\n{blocks}"


def _source_line(line: SourceLine) -> str:
    links = "".join(
        f' <a class="to{_link_colour(text)}" href="#{ident}">{escape(text)}</a>'
        for ident, text in line.links
    )
    links = f'<span class="links">{links.strip()}</span>' if links else ""
    marked = ' class="s marked" tabindex="0"' if links else ' class="s"'
    ident = escape(line.ident)
    return (
        f'<div{marked} id="{ident}"><a class="no" href="#{ident}">{line.number}</a>'
        f"<code>{escape(line.text)}</code>{links}</div>"
    )


def _link_colour(text: str) -> str:
    number = text[1:]
    return colour(int(number)) if text[:1] == "k" and number.isdigit() else ""


# -- kernels ---------------------------------------------------------------------------------------


def kernel_table(kernels: Sequence[ViewKernel]) -> str:
    """The kernels, one a row."""
    flops: Size = 0
    for kernel in kernels:
        flops = flops + kernel.flops * kernel.calls
    total = max(flops, 1) if isinstance(flops, int) else None
    rows = "\n".join(_kernel_row(kernel, i, total) for i, kernel in enumerate(kernels))
    head = "".join(
        f"<th{kind}>{name}</th>"
        for name, kind in (
            ("kernel", ""), ("calls", ' class="num"'), ("flops", ' class="num"'),
            ("share of flops", ""), ("bytes", ' class="num"'), ("flops per byte", ' class="num"'),
            ("source lines", ""),
        )
    )  # fmt: skip
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _kernel_row(kernel: ViewKernel, number: int, total: int | None) -> str:
    bar = ratio = ""
    if total is not None and isinstance(kernel.flops, int):
        bar = bar_html(kernel.calls * kernel.flops / total, number)
    if isinstance(kernel.flops, int) and isinstance(kernel.bytes, int):
        ratio = f"{kernel.flops / kernel.bytes:.2f}" if kernel.bytes else "-"
    numbers = (f"{kernel.calls:,}", size_text(kernel.flops), bar, size_text(kernel.bytes), ratio)
    cells = "".join(
        f"<td>{text}</td>" if text is bar else f'<td class="num">{escape(text)}</td>'
        for text in numbers
    )
    places = " ".join(
        f'<a href="#{ident}">{escape(place)}</a>'
        for ident, place in zip(kernel.lines, _first_of_each(kernel))
    )
    return (
        f'<tr class="k" data-k="{kernel.ident}" data-l="{" ".join(kernel.lines)}" tabindex="0">'
        f'<td><a class="to{colour(number)}" href="#{kernel.ident}">{kernel.ident}</a> '
        f"{escape(kernel.name)}</td>{cells}<td>{places}</td></tr>"
    )


def bar_html(share: float, number: int) -> str:
    """A part of a whole as a bar in the colour of a kernel."""
    percent = f"{100 * share:.1f}"
    return (
        f'<svg class="bar" width="100" height="10" role="img" aria-label="{percent} %">'
        f'<rect class="c{number % COLOURS}" width="{percent}" height="10"/>'
        f"<title>{percent} %</title></svg>"
    )


def _first_of_each(kernel: ViewKernel) -> list[str]:
    """One place for each source line: the line itself and its gradient are one."""
    return list(dict.fromkeys(place.removeprefix("gradient of ") for place in kernel.places))


def kernel_html(kernel: ViewKernel, number: int, graph: str) -> str:
    """One kernel: its graph, and its four texts side by side. graph: drawn."""
    panes = "\n".join(_listing_html(listing, kernel) for listing in kernel.listings)
    head = (
        f'<summary><span class="to{colour(number)}">{kernel.ident}</span> '
        f"{escape(kernel.name)} <small>{count(kernel.flops, 'flop')}, "
        f"{count(kernel.bytes, 'byte')}</small></summary>"
    )
    return (
        f'<details class="kernel" id="{kernel.ident}">{head}\n'
        f'<div class="panes">\n<div class="pane wide"><h4>What it computes</h4>{graph}</div>\n'
        f"{panes}\n</div></details>"
    )


def _listing_html(listing: Listing, kernel: ViewKernel) -> str:
    first = listing is kernel.listings[0]
    rows: list[str] = []
    before = 0
    for line in listing.lines:
        rows.append(_ir_row(line, kernel) if first else _code_row(line, kernel, before))
        before = line.at
    return (
        f'<div class="pane"><h4>{escape(listing.title)} '
        f"<small>{count(len(listing.lines), 'line')}</small></h4>"
        f'<pre class="scroll" id="{listing.ident}" tabindex="0">{"".join(rows)}</pre></div>'
    )


def _ir_row(line: CodeLine, kernel: ViewKernel) -> str:
    """A line of kernel IR, with a link to its primary source line."""
    ident = f"{kernel.ident}-ir-{line.at}"
    link, data = "", ""
    if line.lines:
        number = line.lines[0].rpartition("-")[2]
        link = f'<a href="#{line.lines[0]}">{number}</a>'
        data = f' data-r="{kernel.ident}:{line.at}" data-l="{" ".join(line.lines)}"'
    return f'<span class="l" id="{ident}"{data}><i>{link}</i>{escape(line.text)}\n</span>'


def _code_row(line: CodeLine, kernel: ViewKernel, before: int) -> str:
    """A line of other code, with a link to the IR where that is another than before."""
    if not line.at:
        return f'<span class="l"><i></i>{escape(line.text)}\n</span>'
    link = ""
    if line.at != before:
        link = f'<a href="#{kernel.ident}-ir-{line.at}">{line.at}</a>'
    data = f' data-r="{kernel.ident}:{line.at}"'
    return f'<span class="l"{data}><i>{link}</i>{escape(line.text)}\n</span>'
