"""The door: native code between a tuple of Python arguments and a compiled entry.

One function for the whole process, driven by a table of 64-bit words for each compiled graph. With
the interpreter's lock held it checks every argument against the table and collects the addresses of
the data; then it calls the entry, without the lock where the work is long enough to pay for that.

A table is `HEADER` words, then `RECORD` words for each input of the graph, then the sizes that the
records point to.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import layout
from .pool_text import POOL_FUNCTIONS, pool_text

HEADER = 8
RECORD = 8
OK = 0
CHECK_FAILED = 1
NOT_PLAIN = 2
FRAME_HEADER = 64  # bytes of a frame before its arena; they hold the irg_ctx

DoorCall = Callable[[int, int, tuple[object, ...], tuple[np.ndarray, ...]], int]


@dataclass(frozen=True, slots=True)
class Door:
    """The native function.

    call: takes the addresses of a table and of a frame, the arguments and the outputs; gives OK,
    CHECK_FAILED, or NOT_PLAIN where nothing was run because an argument has to be looked at in
    Python. addresses: of all functions by name, those of the pool among them. They stay in memory
    to the end of the process, as threads of the pool are in them.
    """

    call: DoorCall
    addresses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Input:
    """What the door demands of one input.

    source: the position of the argument that it is, or the array of a capture, whose object is read
    at each call. donated: it must be writeable and share no memory with another input.
    """

    source: int | np.ndarray
    dtype: np.dtype
    shape: tuple[int, ...]
    donated: bool = False


def make_table(
    entry: int, inputs: Sequence[Input], outputs: int, release: bool, dims: int = 0
) -> np.ndarray:
    """The table of a compiled graph; captured arrays, dtypes and dims must outlive it.

    entry: its address. outputs: number of arrays that receive results. release: whether the
    interpreter's lock is released during the work. dims: the address of the numbers behind named
    sizes.
    """
    ranks = sum(len(one.shape) for one in inputs)
    table = np.zeros(HEADER + RECORD * len(inputs) + ranks, dtype=np.int64)
    start = table.__array_interface__["data"][0]
    save, restore = lock_functions() if release else (0, 0)
    arguments = sum(isinstance(one.source, int) for one in inputs)
    table[:HEADER] = entry, arguments, len(inputs), outputs, save, restore, id(np.ndarray), dims
    sizes = HEADER + RECORD * len(inputs)
    for i, one in enumerate(inputs):
        table[sizes : sizes + len(one.shape)] = one.shape
        flags = layout.C_CONTIGUOUS | layout.ALIGNED | (layout.WRITEABLE if one.donated else 0)
        is_argument = isinstance(one.source, int)
        at = HEADER + RECORD * i
        table[at : at + RECORD] = (
            0 if is_argument else id(one.source),
            id(one.dtype),
            len(one.shape),
            start + 8 * sizes,
            flags,
            math.prod(one.shape) * one.dtype.itemsize,
            one.donated,
            8 * one.source if is_argument else 0,
        )
        sizes += len(one.shape)
    return table


def lock_functions() -> tuple[int, int]:
    """The addresses of the functions that release and take the interpreter's lock."""
    api = ctypes.pythonapi
    return tuple(  # type: ignore[return-value]
        ctypes.cast(function, ctypes.c_void_p).value or 0
        for function in (api.PyEval_SaveThread, api.PyEval_RestoreThread)
    )


@cache
def door_object() -> bytes:
    """The object file of the door, the same in each process; compiled at the first call."""
    from ..llvm.compile import compile_text

    return compile_text(door_text())


@cache
def load_door(data: bytes) -> Door:
    """The door in an object file, loaded once in a process."""
    return new_door(data)


def new_door(data: bytes) -> Door:
    """The same loaded anew, with a pool of its own."""
    from ..llvm.compile import load_object

    loaded = load_object(data)
    names = ["irg_door", *(POOL_FUNCTIONS if pool_text() else ())]
    addresses = {name: loaded.address(name) for name in names}
    loaded.keep()
    prototype = ctypes.PYFUNCTYPE(
        ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.py_object, ctypes.py_object
    )
    return Door(prototype(addresses["irg_door"]), addresses)


def door_text() -> str:
    """The LLVM text of the door, and of the pool."""
    return pool_text() + _TEXT.format(
        type=layout.OB_TYPE,
        count=layout.TUPLE_SIZE,
        items=layout.TUPLE_ITEMS,
        data=layout.ARRAY_DATA,
        ndim=layout.ARRAY_NDIM,
        shape=layout.ARRAY_SHAPE,
        descr=layout.ARRAY_DESCR,
        flags=layout.ARRAY_FLAGS,
        header=8 * HEADER,
        record=8 * RECORD,
        arena=FRAME_HEADER,
        not_plain=NOT_PLAIN,
        check_failed=CHECK_FAILED,
    )


_TEXT = """
define i64 @word(ptr %base, i64 %offset) alwaysinline {{
  %at = getelementptr i8, ptr %base, i64 %offset
  %value = load i64, ptr %at
  ret i64 %value
}}

define ptr @pointer(ptr %base, i64 %offset) alwaysinline {{
  %at = getelementptr i8, ptr %base, i64 %offset
  %value = load ptr, ptr %at
  ret ptr %value
}}

define i1 @is_plain(ptr %object, ptr %record, i64 %class) alwaysinline {{
  %type = call i64 @word(ptr %object, i64 {type})
  %type_fits = icmp eq i64 %type, %class
  br i1 %type_fits, label %array, label %no
array:
  %descr = call i64 @word(ptr %object, i64 {descr})
  %descr_asked = call i64 @word(ptr %record, i64 8)
  %descr_fits = icmp eq i64 %descr, %descr_asked
  %ndim_at = getelementptr i8, ptr %object, i64 {ndim}
  %ndim_short = load i32, ptr %ndim_at
  %ndim = sext i32 %ndim_short to i64
  %ndim_asked = call i64 @word(ptr %record, i64 16)
  %ndim_fits = icmp eq i64 %ndim, %ndim_asked
  %flags_at = getelementptr i8, ptr %object, i64 {flags}
  %flags_short = load i32, ptr %flags_at
  %flags = zext i32 %flags_short to i64
  %flags_asked = call i64 @word(ptr %record, i64 32)
  %flags_common = and i64 %flags, %flags_asked
  %flags_fit = icmp eq i64 %flags_common, %flags_asked
  %both = and i1 %descr_fits, %ndim_fits
  %all = and i1 %both, %flags_fit
  br i1 %all, label %sizes, label %no
sizes:
  %shape = call ptr @pointer(ptr %object, i64 {shape})
  %shape_asked = call ptr @pointer(ptr %record, i64 24)
  br label %axis
axis:
  %i = phi i64 [ 0, %sizes ], [ %next, %compare ]
  %more = icmp slt i64 %i, %ndim
  br i1 %more, label %compare, label %yes
compare:
  %offset = shl i64 %i, 3
  %size = call i64 @word(ptr %shape, i64 %offset)
  %size_asked = call i64 @word(ptr %shape_asked, i64 %offset)
  %size_fits = icmp eq i64 %size, %size_asked
  %next = add i64 %i, 1
  br i1 %size_fits, label %axis, label %no
yes:
  ret i1 true
no:
  ret i1 false
}}

; Whether the memory of input %i, which is donated, is also that of another input.
define i1 @overlaps(ptr %records, ptr %buffers, i64 %i, i64 %inputs) {{
entry:
  %record_offset = mul i64 %i, {record}
  %record = getelementptr i8, ptr %records, i64 %record_offset
  %bytes = call i64 @word(ptr %record, i64 40)
  %buffer_offset = shl i64 %i, 3
  %low = call i64 @word(ptr %buffers, i64 %buffer_offset)
  %high = add i64 %low, %bytes
  br label %loop
loop:
  %j = phi i64 [ 0, %entry ], [ %j_next, %step ]
  %more = icmp slt i64 %j, %inputs
  br i1 %more, label %body, label %no
body:
  %other_offset = mul i64 %j, {record}
  %other_record = getelementptr i8, ptr %records, i64 %other_offset
  %other_bytes = call i64 @word(ptr %other_record, i64 40)
  %other_buffer = shl i64 %j, 3
  %other_low = call i64 @word(ptr %buffers, i64 %other_buffer)
  %other_high = add i64 %other_low, %other_bytes
  %starts_below = icmp ult i64 %low, %other_high
  %ends_above = icmp ult i64 %other_low, %high
  %another = icmp ne i64 %i, %j
  %meet = and i1 %starts_below, %ends_above
  %some = icmp ne i64 %bytes, 0
  %other_some = icmp ne i64 %other_bytes, 0
  %both_some = and i1 %some, %other_some
  %others_meet = and i1 %meet, %another
  %clash = and i1 %others_meet, %both_some
  br i1 %clash, label %yes, label %step
step:
  %j_next = add i64 %j, 1
  br label %loop
yes:
  ret i1 true
no:
  ret i1 false
}}

define i32 @irg_door(ptr %table, ptr %frame, ptr %arguments, ptr %outputs) {{
entry:
  %expected = call i64 @word(ptr %table, i64 8)
  %inputs = call i64 @word(ptr %table, i64 16)
  %results = call i64 @word(ptr %table, i64 24)
  %class = call i64 @word(ptr %table, i64 48)
  %given = call i64 @word(ptr %arguments, i64 {count})
  %count_fits = icmp eq i64 %given, %expected
  br i1 %count_fits, label %begin, label %not_plain
begin:
  %total = add i64 %inputs, %results
  %buffers = alloca i64, i64 %total
  %items = getelementptr i8, ptr %arguments, i64 {items}
  %records = getelementptr i8, ptr %table, i64 {header}
  br label %input
input:
  %i = phi i64 [ 0, %begin ], [ %i_next, %collect ]
  %more_inputs = icmp slt i64 %i, %inputs
  br i1 %more_inputs, label %find, label %donations
find:
  %offset = shl i64 %i, 3
  %record_offset = mul i64 %i, {record}
  %record = getelementptr i8, ptr %records, i64 %record_offset
  %captured = call i64 @word(ptr %record, i64 0)
  %is_argument = icmp eq i64 %captured, 0
  %position = call i64 @word(ptr %record, i64 56)
  %item = getelementptr i8, ptr %items, i64 %position
  %source = select i1 %is_argument, ptr %item, ptr %record
  %object = load ptr, ptr %source
  %plain = call i1 @is_plain(ptr %object, ptr %record, i64 %class)
  br i1 %plain, label %collect, label %not_plain
collect:
  %data = call i64 @word(ptr %object, i64 {data})
  %slot = getelementptr i8, ptr %buffers, i64 %offset
  store i64 %data, ptr %slot
  %i_next = add i64 %i, 1
  br label %input
donations:
  %d = phi i64 [ 0, %input ], [ %d_next, %kept ]
  %more_donations = icmp slt i64 %d, %inputs
  br i1 %more_donations, label %donation, label %output
donation:
  %d_offset = mul i64 %d, {record}
  %d_record = getelementptr i8, ptr %records, i64 %d_offset
  %donated_word = call i64 @word(ptr %d_record, i64 48)
  %donated = icmp ne i64 %donated_word, 0
  br i1 %donated, label %compare, label %kept
compare:
  %clash = call i1 @overlaps(ptr %records, ptr %buffers, i64 %d, i64 %inputs)
  br i1 %clash, label %not_plain, label %kept
kept:
  %d_next = add i64 %d, 1
  br label %donations
output:
  %o = phi i64 [ 0, %donations ], [ %o_next, %place ]
  %more_outputs = icmp slt i64 %o, %results
  br i1 %more_outputs, label %place, label %run
place:
  %o_offset = shl i64 %o, 3
  %o_items = getelementptr i8, ptr %outputs, i64 {items}
  %o_item = getelementptr i8, ptr %o_items, i64 %o_offset
  %o_object = load ptr, ptr %o_item
  %o_data = call i64 @word(ptr %o_object, i64 {data})
  %o_index = add i64 %inputs, %o
  %o_slot_offset = shl i64 %o_index, 3
  %o_slot = getelementptr i8, ptr %buffers, i64 %o_slot_offset
  store i64 %o_data, ptr %o_slot
  %o_next = add i64 %o, 1
  br label %output
run:
  %code = call ptr @pointer(ptr %table, i64 0)
  %save = call ptr @pointer(ptr %table, i64 32)
  %restore = call ptr @pointer(ptr %table, i64 40)
  %dims = call ptr @pointer(ptr %table, i64 56)
  %arena = getelementptr i8, ptr %frame, i64 {arena}
  %keeps_lock = icmp eq ptr %save, null
  br i1 %keeps_lock, label %short, label %long
short:
  %short_status = call i32 %code(ptr %frame, ptr %dims, ptr %buffers, ptr %arena)
  br label %done
long:
  %thread = call ptr %save()
  %long_status = call i32 %code(ptr %frame, ptr %dims, ptr %buffers, ptr %arena)
  call void %restore(ptr %thread)
  br label %done
done:
  %status = phi i32 [ %short_status, %short ], [ %long_status, %long ]
  %passed = icmp eq i32 %status, 0
  %answer = select i1 %passed, i32 0, i32 {check_failed}
  ret i32 %answer
not_plain:
  ret i32 {not_plain}
}}
"""
