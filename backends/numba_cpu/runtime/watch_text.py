"""The LLVM text of the watched entry, which `watch` describes: one module for all programs."""

from __future__ import annotations

from .frames import WATCH_AT

ENTRY = "irg_watched"
READER = "irg_nonfinite_{}"
NOT_FINITE = 2  # the status of an irg_ctx, beside those of checks
HEADER = 4  # words of a table
RECORD = 3  # and of each array
# The bits of a float, and the lowest one of its exponent: added to a number without its sign it
# gives the sign bit where all bits of the exponent are set, as they are in NaN and infinity alone.
FLOATS = {"f16": (16, 1 << 10), "bf16": (16, 1 << 7), "f32": (32, 1 << 23), "f64": (64, 1 << 52)}
WIDE = 64  # bytes of a vector; a processor with shorter ones uses several


def watch_text() -> str:
    """The entry, and a function for each float dtype that tells whether an array is not finite."""
    entry = _ENTRY.format(
        watch=WATCH_AT, header=8 * HEADER, record=8 * RECORD, not_finite=NOT_FINITE, entry=ENTRY,
    )  # fmt: skip
    return entry + "".join(_reader(name, *parts) for name, parts in FLOATS.items())


def _reader(name: str, bits: int, lowest: int) -> str:
    """The function of one dtype.

    Arrays are read backwards: their ends were written last and are most likely in the cache.
    """
    lanes = 8 * WIDE // bits
    vector = f"<{lanes} x i{bits}>"

    def splat(value: int) -> str:
        return f"<{', '.join([f'i{bits} {value}'] * lanes)}>"

    mask = 2 ** (bits - 1) - 1
    return _READER.format(
        name=READER.format(name), vector=vector, mask=splat(mask), lowest=splat(lowest),
        bits=bits, bytes=bits // 8, one_mask=mask, one_lowest=lowest, wide=WIDE, lanes=lanes,
    )  # fmt: skip


_ENTRY = """
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

define i32 @{entry}(ptr %context, ptr %dims, ptr %buffers, ptr %arena) {{
entry:
  %table = call ptr @pointer(ptr %context, i64 {watch})
  %code = call ptr @pointer(ptr %table, i64 0)
  %copies = call i64 @word(ptr %table, i64 8)
  %arrays = call i64 @word(ptr %table, i64 16)
  %memmove = call ptr @pointer(ptr %table, i64 24)
  %copy_records = getelementptr i8, ptr %table, i64 {header}
  br label %copy
copy:
  %c = phi i64 [ 0, %entry ], [ %c_next, %copy_body ]
  %c_offset = mul i64 %c, {record}
  %c_record = getelementptr i8, ptr %copy_records, i64 %c_offset
  %c_more = icmp slt i64 %c, %copies
  br i1 %c_more, label %copy_body, label %run
copy_body:
  %c_buffer = call i64 @word(ptr %c_record, i64 0)
  %c_bytes = call i64 @word(ptr %c_record, i64 8)
  %c_start = call i64 @word(ptr %c_record, i64 16)
  %from = call ptr @pointer(ptr %buffers, i64 %c_buffer)
  %to = getelementptr i8, ptr %arena, i64 %c_start
  %same = call ptr %memmove(ptr %to, ptr %from, i64 %c_bytes)
  %c_next = add i64 %c, 1
  br label %copy
run:
  %status = call i32 %code(ptr %context, ptr %dims, ptr %buffers, ptr %arena)
  %passed = icmp eq i32 %status, 0
  br i1 %passed, label %read, label %failed
failed:
  ret i32 %status
read:
  %r = phi i64 [ 0, %run ], [ %r_next, %read_body ]
  %r_offset = mul i64 %r, {record}
  %r_record = getelementptr i8, ptr %c_record, i64 %r_offset
  %r_more = icmp slt i64 %r, %arrays
  br i1 %r_more, label %read_body, label %finite
read_body:
  %r_buffer = call i64 @word(ptr %r_record, i64 0)
  %r_bytes = call i64 @word(ptr %r_record, i64 8)
  %reader = call ptr @pointer(ptr %r_record, i64 16)
  %data = call ptr @pointer(ptr %buffers, i64 %r_buffer)
  %bad = call i1 %reader(ptr %data, i64 %r_bytes)
  %r_next = add i64 %r, 1
  br i1 %bad, label %nonfinite, label %read
finite:
  ret i32 0
nonfinite:
  store i64 {not_finite}, ptr %context
  ret i32 {not_finite}
}}
"""

_READER = """
define zeroext i1 @{name}(ptr %data, i64 %bytes) {{
entry:
  br label %wide
wide:
  %w_left = phi i64 [ %bytes, %entry ], [ %w_next, %wide_body ]
  %w_found = phi {vector} [ zeroinitializer, %entry ], [ %w_or, %wide_body ]
  %w_next = sub i64 %w_left, {wide}
  %w_fits = icmp uge i64 %w_left, {wide}
  br i1 %w_fits, label %wide_body, label %rest
wide_body:
  %w_at = getelementptr i8, ptr %data, i64 %w_next
  %w_x = load {vector}, ptr %w_at, align {bytes}
  %w_size = and {vector} %w_x, {mask}
  %w_sum = add {vector} %w_size, {lowest}
  %w_or = or {vector} %w_found, %w_sum
  br label %wide
rest:
  %o_left = phi i64 [ %w_left, %wide ], [ %o_next, %rest_body ]
  %o_found = phi i{bits} [ 0, %wide ], [ %o_or, %rest_body ]
  %o_more = icmp ne i64 %o_left, 0
  br i1 %o_more, label %rest_body, label %done
rest_body:
  %o_next = sub i64 %o_left, {bytes}
  %o_at = getelementptr i8, ptr %data, i64 %o_next
  %o_x = load i{bits}, ptr %o_at, align {bytes}
  %o_size = and i{bits} %o_x, {one_mask}
  %o_sum = add i{bits} %o_size, {one_lowest}
  %o_or = or i{bits} %o_found, %o_sum
  br label %rest
done:
  %signs = icmp slt {vector} %w_found, zeroinitializer
  %sign_bits = bitcast <{lanes} x i1> %signs to i{lanes}
  %some = icmp ne i{lanes} %sign_bits, 0
  %one = icmp slt i{bits} %o_found, 0
  %bad = or i1 %some, %one
  ret i1 %bad
}}
"""
