"""Named sizes in generated sources: polynomials as expressions of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from irgrad.ir.dims import Size, substitute, symbol
from irgrad.kernel.ir import Affine


class SizeTexts:
    """Sizes as text, given the identifier of each name."""

    def __init__(self, identifiers: Mapping[str, str]) -> None:
        self._symbols = {name: symbol(found) for name, found in identifiers.items()}

    def of(self, size: Size) -> str:
        """The expression of a size."""
        return str(substitute(size, self._symbols))

    def operand(self, size: Size) -> str:
        """The expression of a size beside any operator."""
        text = self.of(size)
        return text if text.isidentifier() or text.isdigit() else f"({text})"

    def offset(self, at: Affine) -> str:
        """The expression of an element offset whose indices are identifiers."""
        constant = substitute(at.constant, self._symbols)
        terms = tuple((name, substitute(size, self._symbols)) for name, size in at.terms)
        return str(Affine(constant, terms)).replace("+ -", "- ")

    def largest(self, sizes: Sequence[Size]) -> str:
        """The expression of the largest of some sizes and 1."""
        numbers = [size for size in sizes if isinstance(size, int)]
        others = [self.of(size) for size in sizes if not isinstance(size, int)]
        least = max([1, *numbers])
        return f"max({', '.join([str(least), *others])})" if others else str(least)

    def slot_lines(self, slots: Sequence[Sequence[Size]]) -> list[str]:
        """Statements that set `slot_0`, `slot_1`, ... to the byte offsets of slots of an arena, and
        one more to the bytes of all: the closed form of `slot_offsets`."""
        lines = ["slot_0 = 0"]
        for number, sizes in enumerate(slots):
            lines.append(f"slot_{number + 1} = slot_{number} + aligned({self.largest(sizes)})")
        return lines
