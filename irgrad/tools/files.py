"""Reading and writing files for the command line: all of a file or nothing, and named errors."""

from __future__ import annotations

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

from ..errors import ArgumentError, DTypeError, FileError, LimitError
from ..ir.types import dtype_of

_MAX_HEADER = 10_000  # characters of the header of one array, as in NumPy


def check_input(path: str, kind: str, limit: int | None = None) -> None:
    """Raise FileError unless `path` is a regular file that can be read.

    kind: what messages call it. limit: the largest number of bytes; more are a LimitError.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: expected {kind}, got {_why(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path}: expected {kind}, got {_sort_of(found.st_mode)}")
    if limit is not None and found.st_size > limit:
        raise LimitError(f"{path}: expected at most {limit} bytes, got {found.st_size}")


def read_text(path: str, kind: str, limit: int) -> str:
    """The UTF-8 text of a file of at most `limit` bytes; raises FileError or LimitError."""
    check_input(path, kind, limit)
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{path}: expected {kind}, got {_why(error)}") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: expected {kind} in UTF-8, got the byte 0x{data[error.start]:02x} at offset "
            f"{error.start}"
        ) from None


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
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name == info.filename or name in arrays:
                    raise ValueError(f"the member {info.filename!r} twice or of another kind")
                with archive.open(info) as member:
                    _check_header(member, info)
                with archive.open(info) as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):  # this also compares the checksum
                        raise ValueError(f"more bytes in {info.filename!r} than its array has")
                dtype_of(arrays[name].dtype)
    except DTypeError as error:
        raise FileError(f"{path}: {info.filename.removesuffix('.npy')}: {error}") from None
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, tokenize.TokenError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise FileError(f"{path}: expected {kind}, got {_why(error)}") from None
    return arrays


def _check_header(member: IO[bytes], info: zipfile.ZipInfo) -> None:
    """Raise ValueError where a header promises more than the member holds, before any memory is
    asked for."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of format version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else (
        np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise ValueError(f"Python objects in {info.filename!r}, which are never loaded")
    count = 1
    for size in shape:
        count *= size
    if count < 0 or count * dtype.itemsize > info.file_size - member.tell():
        raise ValueError(f"{info.file_size} bytes for {info.filename!r} of shape {shape}")


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a .npz file whose bytes depend on the arrays and their names alone."""

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write_file(path, write)


# -- whole files and folders -----------------------------------------------------------------------


def check_output(path: str) -> None:
    """Raise FileError where no file can be written at `path`."""
    _check_name(path)
    if os.path.exists(path) and not os.path.isfile(path):
        kind = _sort_of(os.stat(path).st_mode)
        raise FileError(f"{path}: expected the name of a file to write, got {kind}")
    _check_parent(os.path.realpath(path), path)


def write_file(path: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by way of a temporary one beside it: a failure leaves what was there before.

    Raises FileError where it cannot be written.
    """
    check_output(path)
    target = os.path.realpath(path)
    temporary = _beside(target)
    try:
        # Not through tempfile, whose files nobody else could read.
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, target)
    except OSError as error:
        raise FileError(f"{path}: expected to write it, got {_why(error)}") from None
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def check_new_folder(path: str) -> None:
    """Raise FileError where no folder can be made at `path`; nothing that exists is overwritten."""
    _check_name(path)
    if os.path.lexists(path):
        raise FileError(
            f"{path}: expected the name of a new folder, got one that exists; remove it, or choose "
            "another name"
        )
    _check_parent(os.path.abspath(path), path)


@contextmanager
def new_folder(path: str) -> Iterator[str]:
    """A temporary folder that becomes `path` when the block ends, and vanishes where it fails.

    Raises FileError where it cannot be made.
    """
    check_new_folder(path)
    target = os.path.abspath(path)
    temporary = _beside(target)
    try:
        os.mkdir(temporary)
        yield temporary
        os.rename(temporary, target)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: expected to write it, got {_why(error)}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_name(path: str) -> None:
    if not path or "\0" in path:
        raise ArgumentError(f"output: expected a path, got {path!r}")


def _check_parent(target: str, path: str) -> None:
    parent = os.path.dirname(target)
    if not os.path.isdir(parent):
        raise FileError(f"{path}: expected its folder to exist, got none at {parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise FileError(f"{path}: expected a folder that can be written, got no permission")


def _beside(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.{secrets.token_hex(4)}.part")


def _sort_of(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "something that is no regular file"


def _why(error: BaseException) -> str:
    """The cause in a few words: the system's for a file, else the message's first line."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
