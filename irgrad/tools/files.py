"""Reading and writing files for the command line: all of a file or nothing, and named errors."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, BinaryIO

import numpy as np

from ..errors import ArgumentError, DTypeError, FileError, LimitError, brief
from ..ir.types import dtype_of
from .report import printable

_MAX_HEADER = 10_000  # characters of the header of one array, as in NumPy
_MAX_NAME = 65_000  # bytes of a name in a .zip file, less than its format holds
_MAX_WHY = 200  # characters of what a library says about a file
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes


def check_input(path: str, kind: str, limit: int | None = None) -> None:
    """Raise FileError unless `path` is a regular file that can be read.

    kind: what messages call it. limit: the largest number of bytes; more are a LimitError.
    """
    if not path:
        raise FileError(f"expected the path of {kind}, got ''")
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise _misfit(path, kind, _why(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise _misfit(path, kind, _sort_of(found.st_mode))
    if limit is not None and found.st_size > limit:
        raise LimitError(f"{printable(path)}: expected at most {limit} bytes, got {found.st_size}")


def read_text(path: str, kind: str, limit: int) -> str:
    """The UTF-8 text of a file of at most `limit` bytes; raises FileError or LimitError."""
    check_input(path, kind, limit)
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _misfit(path, kind, _why(error)) from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x} at offset {error.start}"
        raise _misfit(path, f"{kind} in UTF-8", found) from None


# -- arrays ----------------------------------------------------------------------------------------


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name, in its order. Python objects in it are never loaded.

    Raises FileError where the file is not a complete .npz file of plain arrays.
    """
    kind = "a .npz file of arrays"
    check_input(path, kind)
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_memory(path, archive)
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename or name in arrays:
                    raise ValueError(f"the member {info.filename!r} twice or of another kind")
                if info.compress_type not in _PLAIN:
                    raise ValueError(f"{info.filename!r} with compression {info.compress_type}")
                with archive.open(info) as member:
                    _check_header(member, info)
                with archive.open(info) as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):  # this also compares the checksum
                        raise ValueError(f"more bytes in {info.filename!r} than its array has")
    except DTypeError as error:
        raise FileError(f"{printable(path)}: {printable(name)}: {error}") from None
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, tokenize.TokenError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise _misfit(path, kind, _why(error)) from None
    return arrays


def _check_memory(path: str, archive: zipfile.ZipFile) -> None:
    """Raise LimitError where the arrays are larger than all memory of this machine."""
    size = sum(info.file_size for info in archive.infolist())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise LimitError(
            f"{printable(path)}: expected arrays of at most {memory} bytes, got {size}"
        )


def _check_header(member: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Raise ValueError where a header promises more than the member holds, DTypeError for a dtype
    that irgrad does not have, before any memory is asked for."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of format version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise ValueError(f"Python objects in {info.filename!r}, which are never loaded")
    dtype_of(dtype)
    plain = all(type(size) is int and 0 <= size < 2**63 for size in shape)
    if not plain or math.prod(shape) * dtype.itemsize > info.file_size - member.tell():
        raise ValueError(f"{info.file_size} bytes for {info.filename!r} of shape {shape}")


def check_storable(dtypes: Mapping[str, np.dtype]) -> None:
    """Raise ArgumentError where arrays of such names and dtypes would not be read back the same."""
    for name, dtype in dtypes.items():
        if np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) != dtype:
            raise ArgumentError(
                f"{name}: expected a dtype that a .npz file can hold, got {dtype}; convert it with "
                "astype('float32')"
            )
        data = name.encode(errors="surrogatepass")
        if "\0" in name or data != name.encode(errors="replace") or len(data) > _MAX_NAME:
            raise ArgumentError(
                f"output: expected a name that a .npz file can hold, got {brief(name)}"
            )


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a .npz file whose bytes depend on the arrays and their names alone."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write_file(path, write)


# -- whole files and folders -----------------------------------------------------------------------


def check_output(path: str) -> str:
    """The absolute path of a file to write; raises FileError where none can be written."""
    _check_name(path)
    target = _absolute(path, os.path.realpath)
    kind = ""
    if os.path.exists(path) and not os.path.isfile(path):
        kind = _sort_of(os.stat(path).st_mode)
    elif os.path.basename(path) in ("", ".", ".."):
        kind = "the name of a folder"
    elif os.path.islink(target):
        kind = "a symbolic link to itself"
    elif os.path.exists(target) and not os.access(target, os.W_OK):
        kind = "one that is write-protected"
    if kind:
        raise _misfit(path, "the name of a file to write", kind)
    _check_parent(target, path)
    return target


def write_file(path: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by way of a temporary one beside it: a failure leaves what was there before.

    Raises FileError where it cannot be written.
    """
    target = check_output(path)
    temporary = _beside(target)
    try:
        # Not through tempfile, whose files nobody else could read.
        with open(temporary, "xb") as file:
            write(file)
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise _misfit(path, "to write it", _why(error)) from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def check_new_folder(path: str) -> str:
    """The absolute path of a folder to make; raises FileError where none can be made, also where
    anything has this name: nothing is overwritten."""
    _check_name(path)
    if os.path.lexists(path):
        exists = "one that exists; remove it, or choose another name"
        raise _misfit(path, "the name of a new folder", exists)
    target = _absolute(path, os.path.abspath)
    _check_parent(target, path)
    return target


@contextmanager
def new_folder(path: str) -> Iterator[str]:
    """A temporary folder that becomes `path` when the block ends, and vanishes where it fails.

    Raises FileError where it cannot be made.
    """
    target = check_new_folder(path)
    temporary = _beside(target)
    try:
        os.mkdir(temporary)
        yield temporary
        os.rename(temporary, target)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise _misfit(path, "to write it", _why(error)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_name(path: str) -> None:
    if not path or "\0" in path:
        raise ArgumentError(f"output: expected a path, got {path!r}")


def _absolute(path: str, resolve: Callable[[str], str]) -> str:
    try:
        return resolve(path)
    except OSError as error:  # the working directory is gone
        raise _misfit(path, "to write it", _why(error)) from None


def _check_parent(target: str, path: str) -> None:
    parent = os.path.dirname(target)
    if not os.path.isdir(parent):
        raise _misfit(path, "its folder to exist", f"none at {printable(parent)}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _misfit(path, "a folder that can be written", "no permission")


def _beside(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:50]}.{secrets.token_hex(4)}.part")


def _sort_of(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "something that is no regular file"


def _misfit(path: str, expected: str, got: str) -> FileError:
    return FileError(f"{printable(path)}: expected {expected}, got {got}")


def _why(error: BaseException) -> str:
    """The cause in a few words: the system's for a file, else the message's first line."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).splitlines()
    return lines[0][:_MAX_WHY] if lines else type(error).__name__
