"""Compiled code as the disk cache keeps it: plain data, checked before use."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..errors import FileError, brief
from ..ir.dims import Dim, Size, names, product
from ..ir.graph import Graph, Value
from ..kernel.program import Result
from ..ops.size_guards import named_sizes

MAGIC = b"IRGCACHE"
FORMAT = 2
MAX_BYTES = 128 << 20  # of an entry
MAX_TABLE = 8 << 20
MAX_ARENA = 1 << 48
# magic, format, sizes of table, text, code and door, key, checksum of the rest
_HEADER = struct.Struct("<8sQQQQQ32s32s")
_CHECKED_FROM = _HEADER.size - 32


@dataclass(frozen=True, slots=True)
class StoredCode:
    """The code of a graph and what a call needs to know of its program.

    inputs, outputs, results, slots: as in `Program`. arena_bytes: scratch memory of a call beside
    the slots; worker_bytes: more of it for each worker but one, 0 where nothing is divided. work:
    flops and bytes of a call. kernels: their number. program: a digest that equal programs share;
    symbol: the entry. text: the optimised graph, without names. data: the object file. door: that
    of the code which calls it from Python.
    """

    inputs: tuple[tuple[str, Size], ...]
    outputs: tuple[tuple[str, Size], ...]
    results: tuple[Result, ...]
    slots: tuple[tuple[Size, ...], ...]
    arena_bytes: int
    worker_bytes: int
    work: Size
    kernels: int
    program: str
    symbol: str
    text: str = field(repr=False)
    data: bytes = field(repr=False)
    door: bytes = field(repr=False)


def pack(key: str, code: StoredCode) -> bytes:
    """The bytes of an entry: a header with a checksum, a table in JSON, text, code and door.

    key: 64 hexadecimal digits.
    """
    fields = {
        "inputs": code.inputs,
        "outputs": code.outputs,
        "results": [(r.kind, r.number, r.shape, r.dtype) for r in code.results],
        "slots": code.slots,
        "arena_bytes": code.arena_bytes,
        "worker_bytes": code.worker_bytes,
        "work": code.work,
        "kernels": code.kernels,
        "program": code.program,
        "symbol": code.symbol,
    }
    table = json.dumps(fields, separators=(",", ":"), default=_terms).encode()
    text = code.text.encode()
    parts = table, text, code.data, code.door
    sizes, body = tuple(map(len, parts)), b"".join(parts)
    start = _HEADER.pack(MAGIC, FORMAT, *sizes, bytes.fromhex(key), bytes(32))[:_CHECKED_FROM]
    return b"".join((start, _checksum(start, body), body))


def unpack(data: bytes, key: str, graph: Graph) -> StoredCode:
    """The code in an entry that was made for `key` and fits the graph.

    Raises FileError for anything else; nothing of a damaged entry is parsed.
    """
    body = memoryview(data)[_HEADER.size :]
    _expect(len(data) >= _HEADER.size, "a header", f"{len(data)} bytes")
    magic, form, *sizes, found, checksum = _HEADER.unpack_from(data)
    _expect(magic == MAGIC and form == FORMAT, f"format {FORMAT}", f"{magic!r} {form}")
    _expect(sum(sizes) == len(body), f"{sum(sizes)} bytes", f"{len(body)}")
    _expect(checksum == _checksum(data[:_CHECKED_FROM], body), "its checksum", "another one")
    _expect(found == bytes.fromhex(key), "its own key", "another one")
    _expect(sizes[0] <= MAX_TABLE, f"a table of at most {MAX_TABLE} bytes", f"{sizes[0]}")
    table, text, compiled, door = (
        bytes(body[end - size : end]) for end, size in zip(accumulate(sizes), sizes)
    )
    try:
        code = _code(json.loads(table), text.decode(), compiled, door)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(f"cache entry: expected the fields of format {FORMAT}, got {brief(error)}"
                        ) from None  # fmt: skip
    _check_fit(code, graph)
    return code


def _checksum(start: bytes, body: bytes | memoryview) -> bytes:
    found = hashlib.blake2b(start, digest_size=32)
    found.update(body)
    return found.digest()


def _expect(holds: bool, expected: str, got: str) -> None:
    if not holds:
        raise FileError(f"cache entry: expected {expected}, got {got}")


# -- fields ----------------------------------------------------------------------------------------


def _code(fields: Any, text: str, data: bytes, door: bytes) -> StoredCode:
    """The record of a table; ValueError, TypeError or KeyError for fields of another kind."""
    code = StoredCode(
        inputs=tuple((_text(dtype), _size(size)) for dtype, size in fields["inputs"]),
        outputs=tuple((_text(dtype), _size(size)) for dtype, size in fields["outputs"]),
        results=tuple(
            Result(_text(kind), _count(number), tuple(map(_size, shape)), _text(dtype))
            for kind, number, shape, dtype in fields["results"]
        ),
        slots=tuple(tuple(map(_size, slot)) for slot in fields["slots"]),
        arena_bytes=_count(fields["arena_bytes"]),
        worker_bytes=_count(fields["worker_bytes"]),
        work=_size(fields["work"]),
        kernels=_count(fields["kernels"]),
        program=_text(fields["program"]),
        symbol=_text(fields["symbol"]),
        text=text,
        data=data,
        door=door,
    )
    if max(code.arena_bytes, code.worker_bytes) > MAX_ARENA:
        raise ValueError(f"an arena of {code.arena_bytes} + {code.worker_bytes} bytes")
    if not all(code.slots):
        raise ValueError("a slot that holds nothing")
    return code


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("no count")
    return value


def _terms(size: Any) -> Any:
    """What JSON keeps of a named size."""
    assert isinstance(size, Dim), f"expected a size, got {size}"
    return size.terms


def _size(value: Any) -> Size:
    """A number of at least 0, or a named size from its terms."""
    if not isinstance(value, list):
        return _count(value)
    terms = tuple(
        (tuple((_text(name), _count(power)) for name, power in monomial), coefficient)
        for monomial, coefficient in value
    )
    if not all(name.isidentifier() and name.isascii() for m, _ in terms for name, _ in m):
        raise ValueError("a size of other names")
    return Dim(terms)


def _check_fit(code: StoredCode, graph: Graph) -> None:
    """Raise FileError unless the code takes the graph's inputs and gives its outputs."""
    inputs = _types(graph, [Value(key) for key in graph.inputs])
    wanted = [(dtype, product(shape)) for dtype, shape in inputs]
    _expect(list(code.inputs) == wanted, f"inputs {brief(wanted)}", brief(code.inputs))
    results = [(result.dtype, result.shape) for result in code.results]
    outputs = _types(graph, graph.outputs)
    _expect(results == outputs, f"results {brief(outputs)}", brief(results))
    written: dict[int, tuple[str, Size]] = {}
    for result in code.results:
        size = result.dtype, product(result.shape)
        if result.kind == "output":
            _expect(result.number not in written, "one result a buffer", "two")
            written[result.number] = size
            continue
        _expect(result.kind in ("donated", "input"), "a kind of result", brief(result.kind))
        _expect(result.number < len(wanted), "the number of an input", f"{result.number}")
        _expect(wanted[result.number] == size, f"an input {size}", f"{result.number}")
        donated = result.kind == "input" or result.number in graph.signature.donated
        _expect(donated, "a donated input", f"{result.number}")
    found = [written.get(i) for i in range(max(len(written), len(code.outputs)))]
    _expect(found == list(code.outputs), f"outputs {brief(found)}", brief(code.outputs))
    sizes = [code.work, *(size for slot in code.slots for size in slot)]
    known = frozenset(named_sizes(graph))
    strange = sorted(name for size in sizes for name in names(size) - known)
    _expect(not strange, "sizes of the names of the inputs", brief(strange))


def _types(graph: Graph, values: Sequence[Value]) -> list[tuple[str, tuple[Any, ...]]]:
    types = [graph.type(value) for value in values]
    return [(str(type_.dtype), tuple(type_.shape)) for type_ in types]
