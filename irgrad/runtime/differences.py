"""How the signature of one call differs from that of another one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import ne
from typing import Any, Literal

from optree import PyTreeKind, PyTreeSpec

from ..errors import brief
from ..tracing.trees import tree_text
from .signatures import Arguments, Position, key_text

MAX_TEXT = 60  # characters of a value that a change quotes
NOTHING = "nothing"
Kind = Literal["dtype", "shape", "type", "static", "structure", "variable"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two calls.

    kind: what differs: the dtype or the shape of an array, its type (both of them, or an array and
    a number), a static argument, the structure of an argument, or a variable that the function
    reads. path: where, such as "params['w']". old, new: as text. leaves: how many arrays or numbers
    it concerns.
    """

    kind: Kind
    path: str
    old: str
    new: str
    leaves: int = 1

    def __str__(self) -> str:
        if self.kind in ("static", "variable"):
            return f"{self.kind} {self.path}: {self.old} -> {self.new}"
        return f"{self.path}: {self.kind} {self.old} -> {self.new}"


def change_of_values(kind: Kind, path: str, old: str, new: str) -> Change:
    """The change of a value, given as text; it is called another one where it reads the same."""
    return Change(kind, path, old, f"another {new}" if old == new else new)


@dataclass(frozen=True, eq=False)
class CallSignature:
    """What a compile depends on in the arguments of a call; it holds no array.

    spec: the structure of the arguments that are not static. kinds: the key of each of their
    leaves. roots: their names. keywords: whether the last one is the dict of those by name alone.
    static: the key of each static argument by name. values: its value.
    """

    spec: PyTreeSpec
    kinds: tuple[Hashable, ...]
    roots: tuple[str, ...]
    keywords: bool
    static: Mapping[str, Hashable]
    values: Mapping[str, Any]

    @cached_property
    def parts(self) -> dict[str, _Part]:
        """Each argument that is not static by its name."""
        given = _children(_Part(self.spec, self.kinds))
        found = dict(zip(self.roots, given.values()))
        if self.keywords:
            named = _children(found.pop(self.roots[-1]))
            found.update((str(key), part) for key, part in named.items())
        return found


def signature_of(
    arguments: Arguments,
    spec: PyTreeSpec,
    kinds: tuple[Hashable, ...],
    static: Sequence[tuple[Position, Hashable]],
) -> CallSignature:
    """The signature of a call, whose leaf keys and static keys are known."""
    names = {
        key: key if isinstance(key, str) else arguments.parameters.root(key)
        for key in arguments.fixed
    }
    return CallSignature(
        spec,
        kinds,
        tuple(arguments.roots),
        arguments.keywords,
        {names[key]: value for key, value in static},
        {names[key]: value for key, value in arguments.fixed.items()},
    )


def distance(old: CallSignature, new: CallSignature) -> int:
    """How many leaves and static arguments differ."""
    if old.spec == new.spec and old.roots == new.roots:
        return sum(map(ne, old.kinds, new.kinds)) + len(_static_names(old, new))
    return sum(change.leaves for change in changes(old, new))


def changes(old: CallSignature, new: CallSignature) -> list[Change]:
    """The differences of two signatures: static arguments, then the others in order."""
    found: list[Change] = []
    for name in _static_names(old, new):
        texts = [
            brief(one.values[name], MAX_TEXT) if name in one.values else NOTHING
            for one in (old, new)
        ]
        found.append(change_of_values("static", name, *texts))
    for name in dict.fromkeys([*old.parts, *new.parts]):
        found += _differences(name, old.parts.get(name), new.parts.get(name))
    return found


def _static_names(old: CallSignature, new: CallSignature) -> list[str]:
    """The names of the static arguments that differ."""
    names = dict.fromkeys([*old.static, *new.static])
    return [name for name in names if old.static.get(name) != new.static.get(name)]


# -- trees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an argument: its structure and the keys of its leaves."""

    spec: PyTreeSpec
    kinds: tuple[Hashable, ...]

    def __str__(self) -> str:
        if self.spec.kind == PyTreeKind.NONE:
            return "None"
        is_leaf = self.spec.kind == PyTreeKind.LEAF
        return key_text(self.kinds[0]) if is_leaf else tree_text(self.spec)


def _children(part: _Part) -> dict[Hashable, _Part]:
    """The parts of a container by their keys."""
    found: dict[Hashable, _Part] = {}
    start = 0
    for key, child in zip(part.spec.entries(), part.spec.children()):
        end = start + child.num_leaves
        found[key] = _Part(child, part.kinds[start:end])
        start = end
    return found


def _suffix(spec: PyTreeSpec, key: Any) -> str:
    """What a path adds for a part of a container."""
    names = getattr(spec.type, "_fields", ()) if spec.kind == PyTreeKind.NAMEDTUPLE else ()
    return f".{names[key]}" if names else f"[{brief(key)}]"


def _differences(path: str, old: _Part | None, new: _Part | None) -> Iterator[Change]:
    """The differences of two parts of arguments, of which one may be missing."""
    if old is None or new is None or not _same_kind(old.spec, new.spec):
        yield _structure_change(path, old, new)
    elif old.spec.kind == PyTreeKind.LEAF:
        if old.kinds != new.kinds:
            yield _leaf_change(path, old.kinds[0], new.kinds[0])
    elif old != new:
        before, after = _children(old), _children(new)
        found = False
        for key in dict.fromkeys([*before, *after]):
            parts = before.get(key), after.get(key)
            if parts[0] != parts[1]:
                found = True
                yield from _differences(path + _suffix(old.spec, key), *parts)
        if not found:  # what is in it is the same: the order of keys, say, or a class's own data
            yield _structure_change(path, old, new)


def _same_kind(old: PyTreeSpec, new: PyTreeSpec) -> bool:
    """Whether two parts are leaves, or containers of the same class."""
    return old.kind == new.kind and old.type is new.type


def _structure_change(path: str, old: _Part | None, new: _Part | None) -> Change:
    before, after = (NOTHING if part is None else str(part) for part in (old, new))
    if before == after:
        assert old is not None and new is not None
        before, after = (f"{part} of {_class_name(part.spec)}" for part in (old, new))
    leaves = max(1, *(part.spec.num_leaves for part in (old, new) if part is not None), 0)
    change = change_of_values("structure", path, before, after)
    return replace(change, leaves=leaves)


def _class_name(spec: PyTreeSpec) -> str:
    return spec.type.__name__ if spec.type is not None else str(spec.kind)


def _leaf_change(path: str, old: Any, new: Any) -> Change:
    """The change of one leaf, given by its keys."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        if old[1] == new[1]:
            return Change("dtype", path, old[0].name, new[0].name)
        if old[0] == new[0]:
            return Change("shape", path, str(list(old[1])), str(list(new[1])))
    return Change("type", path, key_text(old), key_text(new))
