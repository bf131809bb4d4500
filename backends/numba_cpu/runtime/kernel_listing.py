"""LLVM and assembly of a kernel, each line with the line of the kernel's text that it computes.

The kernel's text is the source file of LLVM's debug information: an instruction carries the line of
its statement through the optimiser. Functions that have no such line serve the kernel's contraction
where it has a single one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llvmlite import ir

from irgrad.kernel.ir import Contract, Kernel, Statement
from irgrad.kernel.text import kernel_lines

from ..llvm.compile import assembly
from ..llvm.cpu import host_cpu
from ..llvm.emit import Mark
from ..llvm.function import kernel_function

_DEBUG = re.compile(r" !dbg !(\d+)$")
_METADATA = re.compile(r"!(\d+) = (.*)$|!llvm\.[\w.]+ = ")
_LINE = re.compile(r"line: (\d+)")
_LOCATION = re.compile(r"\s*\.loc\s+\d+ (\d+)")
_NOISE = re.compile(r"\s*\.(file\s+\d+ |cfi_)|\.L(tmp|func_begin)\d+:")
_BEGIN = {"llvm": re.compile(r"define "), "asm": re.compile(r"\s*\.type\s+\S+,@function")}
_END = {"llvm": re.compile(r"\}"), "asm": re.compile(r"\.Lfunc_end\d+:")}
Line = tuple[int, str]  # 0 where no line of the kernel is known


def listing(kernel: Kernel, form: str) -> str:
    """The text of one kernel as "llvm-lines" or "asm-lines"; see `kernel_texts.kernel_text`."""
    lines = kernel_lines(kernel)
    numbers = {id(statement): i for i, (_, statement) in enumerate(lines, 1) if statement}
    module = ir.Module(name=kernel.name)
    emit_alone(module, kernel, _Marker(module, numbers).mark)
    name = form.removesuffix("-lines")
    if name == "llvm":
        plain = ir.Module(name=kernel.name)
        emit_alone(plain, kernel)
        found = _llvm_lines(str(module), str(plain))
    else:
        found = _asm_lines(assembly(module))
    contracts = [numbers[id(s)] for _, s in lines if isinstance(s, Contract)]
    if len(contracts) == 1:
        found = _given(found, name, contracts[0])
    return "".join(f"{number or '':>4} | {text}\n" for number, text in found)


def emit_alone(module: ir.Module, kernel: Kernel, mark: Mark | None = None) -> None:
    """Emit one kernel into a module of its own; mark: as in `KernelEmitter`."""
    function = kernel_function(module, kernel, host_cpu().vector_bytes, mark, kernel.dims)
    function.linkage = "external"  # else LLVM drops it, as nothing calls it


class _Marker:
    """Gives the instructions of each statement the line of its statement."""

    def __init__(self, module: ir.Module, numbers: dict[int, int]) -> None:
        self.module = module
        self.numbers = numbers
        self.file = module.add_debug_info("DIFile", {"filename": module.name, "directory": ""})
        unit = {
            "language": ir.DIToken("DW_LANG_C"), "file": self.file, "producer": "irgrad",
            "runtimeVersion": 0, "isOptimized": True,
            "emissionKind": ir.DIToken("DebugDirectivesOnly"),
        }  # fmt: skip
        self.unit = module.add_debug_info("DICompileUnit", unit, is_distinct=True)
        module.add_named_metadata("llvm.dbg.cu", self.unit)
        integer = ir.IntType(32)
        version = [integer(2), "Debug Info Version", integer(3)]
        module.add_named_metadata("llvm.module.flags", version)

    def mark(self, builder: ir.IRBuilder, statement: Statement) -> None:
        """Let what the builder emits next belong to a statement."""
        number = self.numbers.get(id(statement))
        if number is None:
            return
        function = builder.function
        if "dbg" not in function.metadata:
            function.set_metadata("dbg", self._subprogram(function.name))
        place = {"line": number, "column": 0, "scope": function.metadata["dbg"]}
        builder.debug_metadata = self.module.add_debug_info("DILocation", place)

    def _subprogram(self, name: str) -> ir.DIValue:
        kind = self.module.add_debug_info("DISubroutineType", {"types": None})
        fields = {
            "name": name, "file": self.file, "line": 1, "type": kind, "unit": self.unit,
            "isDefinition": True, "isOptimized": True,
        }  # fmt: skip
        return self.module.add_debug_info("DISubprogram", fields, is_distinct=True)


def _llvm_lines(marked: str, plain: str) -> list[Line]:
    """The lines of a module, with the numbers that its form with debug information has there."""
    rows = marked.rstrip("\n").split("\n")
    lines = {m[1]: _LINE.search(m[2]) for row in rows if (m := _METADATA.match(row)) and m[1]}
    numbers: list[int] = []
    for row in rows:
        debug = _DEBUG.search(row)
        line = lines[debug[1]] if debug and not row.startswith("define") else None
        if not _METADATA.match(row):
            numbers.append(int(line[1]) if line else 0)
    texts = plain.rstrip("\n").split("\n")
    numbers += [0] * (len(texts) - len(numbers))  # its own metadata at the end
    return list(zip(numbers, texts))


def _asm_lines(text: str) -> list[Line]:
    """The lines of an assembly text without its debug directives."""
    found: list[Line] = []
    number = 0
    for row in text.rstrip("\n").split("\n"):
        place = _LOCATION.match(row)
        if place:
            number = int(place[1])
        elif _END["asm"].match(row):
            number = 0
            found.append((0, row))
        elif not _NOISE.match(row):
            found.append((number, row))
    return found


def _given(lines: Iterable[Line], form: str, number: int) -> list[Line]:
    """The lines with `number` for those of functions that have none."""
    found: list[Line] = []
    for part in _functions(lines, form):
        inside = bool(part) and bool(_BEGIN[form].match(part[0][1]))
        own = any(line for line, _ in part)
        found += [(number, text) for _, text in part] if inside and not own else part
    return found


def _functions(lines: Iterable[Line], form: str) -> Iterator[list[Line]]:
    """Lines in parts: each function one, and what lies between."""
    part: list[Line] = []
    for line in lines:
        if _BEGIN[form].match(line[1]):
            yield part
            part = []
        part.append(line)
        if _END[form].match(line[1]):
            yield part
            part = []
    yield part
