"""From an LLVM module to an object file, and from an object file to addresses."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from irgrad.backends.numba_cpu.llvm.cpu import Cpu, host_cpu
from irgrad.backends.numba_cpu.llvm.fork import let_forks_wait
from irgrad.errors import InternalError

if TYPE_CHECKING:
    import llvmlite.binding as llvm
    from llvmlite import ir

SPEED_LEVEL = 1


@cache
def _initialise_targets() -> None:
    import llvmlite.binding as llvm

    let_forks_wait()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _initialise_all_targets() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def target_machine(cpu: Cpu) -> llvm.TargetMachine:
    """A new target machine; an engine that is given one owns it."""
    import llvmlite.binding as llvm

    _initialise_targets()
    triple = cpu.triple or llvm.get_default_triple()
    if cpu.triple:
        _initialise_all_targets()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(
        cpu=cpu.name, features=cpu.features, opt=2, jit=False, reloc="pic", codemodel="small"
    )


def _optimised(
    module: ir.Module, cpu: Cpu
) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    machine = target_machine(cpu)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return _parse_and_run_passes(str(module), machine), machine


def _parse_and_run_passes(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    import llvmlite.binding as llvm

    try:
        parsed = llvm.parse_assembly(text)
        parsed.verify()
    except RuntimeError as error:
        raise InternalError(f"cpu kernel: expected valid LLVM IR, got {error}") from error
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    options = llvm.create_pipeline_tuning_options(speed_level=SPEED_LEVEL)
    passes.run(parsed, llvm.create_pass_builder(machine, options))
    return parsed


def compile_module(module: ir.Module, cpu: Cpu | None = None) -> bytes:
    """The object file of a module for a processor, by default this machine's.

    A short pipeline and no vectoriser: vectors are explicit. Raises InternalError where LLVM
    refuses the module, or where the code would call anything outside of it.
    """
    return _emit_object(*_optimised(module, cpu or host_cpu()))


def compile_text(text: str) -> bytes:
    """The object file of a module that is written as text, for this machine's processor."""
    machine = target_machine(host_cpu())
    return _emit_object(_parse_and_run_passes(text, machine), machine)


def _emit_object(parsed: llvm.ModuleRef, machine: llvm.TargetMachine) -> bytes:
    data = machine.emit_object(parsed)
    undefined = undefined_symbols(data)
    if undefined:
        raise InternalError(f"object file: expected no undefined symbols, got {sorted(undefined)}")
    return data


def assembly(module: ir.Module, cpu: Cpu | None = None) -> str:
    """The assembly text of a module for a processor, by default this machine's."""
    parsed, machine = _optimised(module, cpu or host_cpu())
    return machine.emit_assembly(parsed)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedObject:
    """An object file in executable memory, which lives as long as this value."""

    engine: llvm.ExecutionEngine

    def keep(self) -> None:
        """Leave the code in memory as long as the process runs; no address can be asked for then.
        """
        self.engine.detach()

    def address(self, symbol: str) -> int:
        """The address of a function; raises InternalError where there is none of that name."""
        address = self.engine.get_function_address(symbol)
        if not address:
            raise InternalError(f"object file: expected a function {symbol}, got none")
        return address


def load_object(data: bytes) -> LoadedObject:
    """Map an object file without undefined symbols into executable memory."""
    import llvmlite.binding as llvm

    # llvmlite's memory manager keeps the sections within the reach of the small code model.
    engine = llvm.create_mcjit_compiler(
        llvm.parse_assembly(""), target_machine(_native()), use_lmm=True
    )
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return LoadedObject(engine)


def _native() -> Cpu:
    """Enough of a processor to link for; the code is already there."""
    return Cpu("", "", "", 16)


# -- symbols ---------------------------------------------------------------------------------------


class _Elf64Header(ctypes.LittleEndianStructure):
    _fields_ = [
        ("ident", ctypes.c_ubyte * 16), ("type", ctypes.c_uint16), ("machine", ctypes.c_uint16),
        ("version", ctypes.c_uint32), ("entry", ctypes.c_uint64), ("phoff", ctypes.c_uint64),
        ("shoff", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("ehsize", ctypes.c_uint16),
        ("phentsize", ctypes.c_uint16), ("phnum", ctypes.c_uint16), ("shentsize", ctypes.c_uint16),
        ("shnum", ctypes.c_uint16), ("shstrndx", ctypes.c_uint16),
    ]  # fmt: skip


class _Elf64Section(ctypes.LittleEndianStructure):
    _fields_ = [
        ("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("flags", ctypes.c_uint64),
        ("addr", ctypes.c_uint64), ("offset", ctypes.c_uint64), ("size", ctypes.c_uint64),
        ("link", ctypes.c_uint32), ("info", ctypes.c_uint32), ("addralign", ctypes.c_uint64),
        ("entsize", ctypes.c_uint64),
    ]  # fmt: skip


class _Elf64Symbol(ctypes.LittleEndianStructure):
    _fields_ = [
        ("name", ctypes.c_uint32), ("info", ctypes.c_ubyte), ("other", ctypes.c_ubyte),
        ("section", ctypes.c_uint16), ("value", ctypes.c_uint64), ("size", ctypes.c_uint64),
    ]  # fmt: skip


SYMBOL_TABLE = 2


def undefined_symbols(data: bytes) -> set[str]:
    """The names that an ELF object file expects from elsewhere.

    Raises InternalError for anything else than a 64-bit ELF file.
    """
    if data[:5] != b"\x7fELF\x02":
        raise InternalError(f"object file: expected a 64-bit ELF file, got {data[:5]!r}")
    header = _Elf64Header.from_buffer_copy(data)
    sections = [
        _Elf64Section.from_buffer_copy(data, header.shoff + i * header.shentsize)
        for i in range(header.shnum)
    ]
    names: set[str] = set()
    for table in sections:
        if table.type != SYMBOL_TABLE:
            continue
        strings = sections[table.link].offset
        # Local symbols come first; `info` is the number of the first other one.
        first = table.offset + table.info * table.entsize
        for at in range(first, table.offset + table.size, table.entsize):
            symbol = _Elf64Symbol.from_buffer_copy(data, at)
            if symbol.section == 0 and symbol.name:
                start = strings + symbol.name
                names.add(data[start : data.index(b"\0", start)].decode())
    return names
