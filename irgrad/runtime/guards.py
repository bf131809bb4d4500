"""Guards: whether the variables that a traced function read still have the values of its trace."""

from __future__ import annotations

import dis
import os
import sys
import types
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import optree

from ..errors import brief
from ..tracing.locations import is_user_file
from ..tracing.sizes import SymbolicSize
from ..tracing.trace import unwrapped
from ..tracing.tracer import Tracer
from ..tracing.trees import too_deep, tree_text

MAX_LEAVES = 256  # of a container that is watched element by element
MISSING = object()
_IMMUTABLE = (bool, int, float, complex, str, bytes, type(None), np.generic, np.dtype)
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, np.ufunc, type)


@dataclass(slots=True)
class Guards:
    """The variables of a function and of the user's functions that it calls by name.

    names: (namespace, name, value) of globals, and of the attributes that are read from the user's
    modules and classes; cells: (cell, name, value) of closures. Arrays,
    functions and classes have to stay the same object, numbers and strings the same value, lists,
    tuples and dicts of those the same elements. frozen: names of other objects, whose contents were
    read at the trace and are not watched. traced: whether one of the variables is a traced value of
    a trace that is going on, to which the function then belongs.
    """

    names: list[tuple[Mapping[str, Any], str, Any]] = field(default_factory=list)
    cells: list[tuple[types.CellType, str, Any]] = field(default_factory=list)
    containers: list[tuple[str, Any, tuple[Any, ...], optree.PyTreeSpec]] = field(
        default_factory=list
    )
    frozen: list[str] = field(default_factory=list)
    traced: bool = False

    def hold(self) -> bool:
        """Whether nothing has changed."""
        for namespace, name, value in self.names:
            if namespace.get(name, MISSING) is not value:
                return not self.changes()
        for cell, _, value in self.cells:
            if _contents(cell) is not value:
                return not self.changes()
        return not self.containers or not self.changes()

    def changes(self) -> list[tuple[str, Any, Any]]:
        """What has changed: the name of a variable, or of an element, its old value and its new;
        for a container of other elements the structures."""
        now = [(name, value, space.get(name, MISSING)) for space, name, value in self.names]
        now += [(name, value, _contents(cell)) for cell, name, value in self.cells]
        found = [change for change in now if not _same(change[2], change[1])]
        for name, container, leaves, spec in self.containers:
            new, structure = optree.tree_flatten(container)
            if structure != spec:
                found.append((name, spec, structure))
            elif not all(map(_same, new, leaves)):
                found += _changed_elements(name, spec, leaves, new)
        return found


def _changed_elements(
    name: str, spec: optree.PyTreeSpec, old: Iterable[Any], new: Iterable[Any]
) -> Iterator[tuple[str, Any, Any]]:
    for path, before, after in zip(spec.paths(), old, new):
        if not _same(after, before):
            yield name + "".join(f"[{brief(entry)}]" for entry in path), before, after


def watch(f: Any) -> Guards:
    """The guards of a function as its variables stand now."""
    guards = Guards()
    try:
        _Watcher(guards, _top(unwrapped(f))).visit("function", f)
    except RecursionError:
        raise too_deep() from None
    return guards


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _same(new: Any, old: Any) -> bool:
    """The same object, an immutable of the same type and value, or tuples of those."""
    if new is old:
        return True
    if type(new) is tuple and type(old) is tuple:
        return len(new) == len(old) and all(map(_same, new, old))
    if type(new) is not type(old) or not isinstance(old, _IMMUTABLE):
        return False
    return value_key(new) == value_key(old)


def value_key(value: Any) -> Hashable:
    """What tells plain values apart, inside of tuples and frozensets too.

    1, 1.0 and True differ, and so do 0.0 and -0.0; NaN equals NaN. Dataclasses are equal where they
    say so and their fields are.
    """
    kind = type(value)
    if is_dataclass(kind):
        return kind, value, _fields_key(value)
    if isinstance(value, tuple):
        return kind, tuple(map(value_key, value))
    if isinstance(value, frozenset):
        return kind, frozenset(map(value_key, value))
    if kind is float:
        return kind, value.hex()
    if kind is complex:
        return kind, value.real.hex(), value.imag.hex()
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    return kind, value


def _fields_key(value: Any) -> Hashable:
    """The fields that a dataclass compares; none where its own hash makes do without them."""
    found = tuple(value_key(getattr(value, f.name, None)) for f in fields(value) if f.compare)
    try:
        hash(found)
    except TypeError:
        return ()
    return found


def value_text(value: Any) -> str:
    """The value of a variable in messages."""
    if value is MISSING:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}{list(value.shape)} array"
    if isinstance(value, optree.PyTreeSpec):
        return tree_text(value)
    if isinstance(value, types.FunctionType):
        return f"function {value.__name__}"
    return brief(value)


class _Watcher:
    """Collects guards from a function, its wrapped functions, and the functions that those read."""

    def __init__(self, guards: Guards, package: str) -> None:
        """package: the top package of the function; other installed ones count as fixed."""
        self.guards = guards
        self.package = package
        self.seen: dict[int, Any] = {}  # the values too: an id is only taken while they are alive

    def visit(self, name: str, value: Any) -> None:
        """Guard what lies behind a value that is itself guarded by its name."""
        if isinstance(value, (types.ModuleType, *_IMMUTABLE)) or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, (Tracer, SymbolicSize)):
            self.guards.traced |= value.context.live
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self.visit(name, value.__func__)
            self._frozen(name, value.__self__)
        elif isinstance(value, partial):
            self.visit(name, value.func)
            self.visit(name, (value.args, value.keywords))
        elif isinstance(value, tuple):
            for element in value:
                self.visit(f"an element of {name}", element)
        elif isinstance(value, (list, dict)):
            self._container(name, value)
        elif hasattr(value, "__wrapped__"):
            self.visit(name, value.__wrapped__)
        elif not isinstance(value, (np.ndarray, *_CODE)):
            self._frozen(name, value)

    def _frozen(self, name: str, value: Any) -> None:
        self.guards.frozen.append(f"{name} ({type(value).__name__})")

    def _function(self, f: types.FunctionType) -> None:
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or ()):
            value = _contents(cell)
            self.guards.cells.append((cell, name, value))
            self.visit(name, value)
            self._attributes(name, value, closure_paths(f.__code__).get(name, ()))
        if self._is_own(f.__code__.co_filename, f):
            for name, attributes in global_paths(f.__code__).items():
                self._name(f.__globals__, name, name)
                self._attributes(name, f.__globals__.get(name), attributes)
            for value in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
                self.visit(f"a default of {f.__name__}", value)
        if hasattr(f, "__wrapped__"):
            self.visit(f.__name__, f.__wrapped__)

    def _name(self, space: Mapping[str, Any], name: str, label: str) -> None:
        """Guard what a name stands for in a namespace; modules are taken to stay."""
        value = space.get(name, MISSING)
        if value is not MISSING and not isinstance(value, types.ModuleType):
            self.guards.names.append((space, name, value))
            self.visit(label, value)

    def _attributes(self, name: str, value: Any, paths: Iterable[tuple[str, ...]]) -> None:
        """Guard what is read from a module or class of the user, as `name.a.b`."""
        for path in paths:
            holder, label = value, name
            for attribute in path:
                if not self._has_own_names(holder):
                    break
                label = f"{label}.{attribute}"
                bases = getattr(holder, "__mro__", (holder,))
                space = next((vars(x) for x in bases if attribute in vars(x)), vars(holder))
                self._name(space, attribute, label)
                holder = space.get(attribute)

    def _has_own_names(self, value: Any) -> bool:
        module = sys.modules.get(value.__module__) if isinstance(value, type) else value
        return isinstance(module, types.ModuleType) and self._is_own(
            getattr(module, "__file__", None) or "", module
        )

    def _is_own(self, file: str, value: Any) -> bool:
        """Whether a function or module is the user's: not of the standard library, nor installed,
        except in the package of the watched function."""
        installed = file.startswith(_LIBRARY) or any(part in file for part in _INSTALLED)
        return is_user_file(file) and (not installed or _top(value) == self.package)

    def _container(self, name: str, value: Any) -> None:
        leaves, spec = optree.tree_flatten(value)
        if len(leaves) > MAX_LEAVES:
            self._frozen(name, value)
            return
        self.guards.containers.append((name, value, tuple(leaves), spec))
        for leaf in leaves:
            self.visit(f"an element of {name}", leaf)


def _top(value: Any) -> str:
    """The top package of a function or module."""
    module = isinstance(value, types.ModuleType)
    name = value.__name__ if module else getattr(value, "__module__", None)
    return str(name).partition(".")[0]


Paths = Mapping[str, tuple[tuple[str, ...], ...]]


@lru_cache(maxsize=4096)
def global_paths(code: types.CodeType) -> Paths:
    """The globals that a code object and the code inside of it read, each with the chains of
    attributes that are read from it."""
    return _paths(code, ("LOAD_GLOBAL", "LOAD_NAME"))


@lru_cache(maxsize=4096)
def closure_paths(code: types.CodeType) -> Paths:
    """The same of the variables of closures, which may be those of the code itself."""
    return _paths(code, ("LOAD_DEREF",))


def _paths(code: types.CodeType, operations: tuple[str, ...]) -> Paths:
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for name, path in _reads(code, operations):
        found.setdefault(name, {}).setdefault(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _reads(
    code: types.CodeType, operations: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    name = ""
    path: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if name and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            path = (*path, instruction.argval)
            continue
        if name:
            yield name, path
        name, path = (instruction.argval if instruction.opname in operations else ""), ()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _reads(constant, operations)
