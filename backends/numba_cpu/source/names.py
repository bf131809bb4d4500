"""Names in generated sources: those of the kernel, made into Python's where they are not, and the
modules that the others come from."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Iterable

PACKAGE = "irgrad.backends.numba_cpu.source"
SHARED = frozenset(
    [
        "bits_f32", "bits_f64", "boolean", "ceil", "f32", "f64", "fabs", "floor", "fma",
        "i16", "i32", "i64", "i8", "inf", "maximum", "minimum", "nan", "pi_2_remainder_f32",
        "pi_2_remainder_f64", "real_f32", "real_f64", "round", "select", "sign", "sqrt",
        "trunc", "u16", "u32", "u64", "u8",
    ]
)  # fmt: skip
OF_KERNELS = frozenset(
    [
        "aligned", "all_of_lanes", "any_of_lanes", "argmax_of_lanes", "argmin_of_lanes",
        "floor_divide", "inner", "integer_abs", "integer_power", "is_larger", "is_smaller",
        "max_of_lanes", "min_of_lanes", "prod_of_lanes", "record_failure", "remainder",
        "saturate_i16", "saturate_i32", "saturate_i64", "saturate_i8", "saturate_u16",
        "saturate_u32", "saturate_u64", "saturate_u8", "sum_of_lanes",
    ]
)  # fmt: skip
MODULES = {f"{PACKAGE}.functions": SHARED, f"{PACKAGE}.kernel_functions": OF_KERNELS}
_OWN = frozenset(
    ["arena", "clock", "entry", "failures", "lane", "laps", "main", "njit", "np", "start"]
)
_RESERVED = SHARED | OF_KERNELS | _OWN | frozenset(dir(builtins))
_FORMULA = re.compile(r"\w+_f(32|64)")
_NO_IDENTIFIER = re.compile(r"\W", re.ASCII)


class Identifiers:
    """Python names for the names of one kernel: the same wherever they can be."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._names: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The identifier of a name of the kernel."""
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = self.fresh(name)
        return found

    def rename(self, name: str, to: str) -> None:
        """Let a name of the kernel be an identifier that is there already."""
        self._names[name] = to

    def fresh(self, wanted: str) -> str:
        """An identifier that nothing else has, as close to the wanted one as can be."""
        name = identifier(wanted)
        number = 2
        while name in self._taken:
            name, number = f"{identifier(wanted)}_{number}", number + 1
        self._taken.add(name)
        return name


def identifier(wanted: str) -> str:
    """A Python identifier that hides no keyword, builtin or helper."""
    name = _NO_IDENTIFIER.sub("_", wanted)
    if not name or name[0].isdigit():
        name = f"_{name}"
    if name in _RESERVED or keyword.iskeyword(name) or _FORMULA.fullmatch(name):
        name += "_"
    return name


def free_names(text: str) -> set[str]:
    """Every name that a text of Python reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def import_lines(used: Iterable[str]) -> list[str]:
    """Import statements for the helpers among some names, one or more lines for each module."""
    wanted = set(used)
    lines: list[str] = []
    for module, names in MODULES.items():
        found = sorted(wanted & names)
        one = f"from {module} import {', '.join(found)}"
        if len(one) <= 100:
            lines += [one] if found else []
            continue
        lines += [f"from {module} import (", *_wrapped(found), ")"]
    return lines


def _wrapped(names: list[str]) -> list[str]:
    lines = ["   "]
    for name in names:
        if len(lines[-1]) + len(name) + 2 > 100:
            lines.append("   ")
        lines[-1] += f" {name},"
    return lines
