"""How objects show themselves: in one line, and in a notebook.

What draws them lies above all layers whose objects it draws, so it is found by name, when something
is shown.
"""

from __future__ import annotations

from importlib import import_module

from .dims import Size

MAX_SHORT = 80


def short(text: object) -> str:
    """A text in one line, cut to a length that fits into one."""
    plain = "".join(c if c.isprintable() else "?" for c in str(text))
    return plain if len(plain) <= MAX_SHORT else f"{plain[: MAX_SHORT - 3]}..."


def how_many(count: int, what: str) -> str:
    """A number of things, as "1 node" or "2,000 nodes"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size_text(size: Size) -> str:
    """A count that may depend on named sizes."""
    return f"{size:,}" if isinstance(size, int) else str(size)


def shown_html(subject: object) -> str:
    """What a notebook shows of an object: an element of HTML that needs nothing else."""
    found: str = import_module("irgrad.view").notebook_html(subject)
    return found


def shown_text(subject: object) -> str:
    """The text of an object that is worked out when it is shown."""
    found: str = import_module("irgrad.view").plan_text(subject)
    return found
