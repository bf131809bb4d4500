"""A page as elements: tags, attributes and texts, with all tags closed in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"meta", "input", "br", "link", "img", "rect", "path", "line", "circle"})


@dataclass(slots=True)
class Element:
    """An element with the text of all that is in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""

    @property
    def ident(self) -> str:
        return self.attributes.get("id", "")

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def lines(self) -> list[str]:
        return self.attributes.get("data-l", "").split()


@dataclass(slots=True)
class _Reader(HTMLParser):
    found: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, attrs)
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:  # an SVG shape with a tooltip
            return
        assert self.open and self.open[-1].tag == tag, (tag, self.open[-1:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def elements(page: str) -> list[Element]:
    """The elements of a page in order; asserts that each one is closed where it should be."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open, reader.open
    return reader.found
