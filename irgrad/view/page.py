"""The page of a compiled function: one file of HTML that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from string import Template

from ..runtime.compiled import Compiled, Parts
from .collect import collect
from .data import Stage, View
from .draw import graph_html, memory_html
from .markup import count, escape, kernel_html, kernel_table, sources_html


def page_text(compiled: Compiled, parts: Parts) -> str:
    """The page as text. Equal programs of equal files give equal text.

    It shows the source, the graph after each pass, kernels in each form, and the memory of a run,
    linked by source lines in both directions. Values of arrays are not in it. Its policy forbids
    every request and every script but its own.
    """
    return render(collect(compiled, parts))


def render(view: View) -> str:
    """The HTML of a view."""
    style, script = _asset("page.css"), _asset("page.js")
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        style=style,
        script=script,
        title=escape(view.title),
        facts="".join(
            f"<li><b>{escape(value)}</b> {escape(name)}</li>" for name, value in view.facts
        ),
        sources=sources_html(view.files),
        stages=_stages_html(view.stages),
        kernels=_kernels_html(view),
        memory=memory_html(view.memory),
        report=escape(view.report),
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """No request of any kind; the page's own style and script, by their hashes."""
    return (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _stages_html(stages: tuple[Stage, ...]) -> str:
    """A tab for each stage; those that change nothing cannot be chosen."""
    parts = []
    last = max(i for i, stage in enumerate(stages) if stage.graph is not None)
    for number, stage in enumerate(stages):
        name = escape(stage.name)
        if stage.graph is None:
            parts.append(f'<span class="same" title="this pass changed nothing">{name}</span>')
            continue
        chosen = " checked" if number == last else ""
        size = count(len(stage.graph.nodes), "node")
        parts.append(
            f'<input type="radio" name="stage" id="{stage.ident}-tab"{chosen}>'
            f'<label for="{stage.ident}-tab">{name} <small>{len(stage.graph.nodes)}</small></label>'
            f'<div class="panel" id="{stage.ident}">'
            f"{graph_html(stage.graph, f'{stage.name}: {size}')}</div>"
        )
    return "\n".join(parts)


def _kernels_html(view: View) -> str:
    if not view.kernels:
        return (
            '<p class="none">There are no kernels: nothing is computed, or the target runs the '
            "graph node by node.</p>"
        )
    details = [
        kernel_html(
            kernel, i, graph_html(kernel.graph, kernel.name) if kernel.graph.nodes else
            '<p class="none">A copy of a result.</p>',
        )
        for i, kernel in enumerate(view.kernels)
    ]  # fmt: skip
    return "\n".join([kernel_table(view.kernels), *details])
