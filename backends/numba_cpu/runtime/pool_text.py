"""The LLVM text of the pool: `parallel_for` of an irg_ctx, and the threads that help with it.

One job is under way at a time. `@owner` holds the id of the process that has one; whoever finds its
own there runs alone, at once. The id of another process was left by the parent of a fork, which had
threads that this process has not: then all begins anew. No thread is made before the first job.

`@ticket` is the number of the job and how many of its parts nobody has taken; a part is taken by
counting down with a compare-and-swap. As the number is part of the ticket, what a thread has read
of the job before it takes a part belongs to that job: it cannot end while a part is left. `@left`
counts the parts that are not done. The owner takes parts as well and waits for those that others
took, never for a thread to wake up. Waiting is a few microseconds of looking, then a futex.

Helpers compute with the floating-point modes of the thread that they help, and get no signals.
"""

from __future__ import annotations

import platform

FUTEX_CALLS = {"x86_64": 202, "aarch64": 98}
POOL_FUNCTIONS = ("irg_pool_configure", "irg_pool_helpers", "irg_parallel_for")
LOOKS = 128  # pauses before a thread sleeps
_ALL_SIGNALS = (1 << 64) - 1
_FAULTS = (4, 5, 7, 8, 11, 31)  # signals of an instruction, which cannot be blocked


def pool_text() -> str:
    """The text for this machine; "" where there is no pool."""
    machine = platform.machine()
    if machine not in FUTEX_CALLS:
        return ""
    blocked = _ALL_SIGNALS - sum(1 << (signal - 1) for signal in _FAULTS)
    special = _X86 if machine == "x86_64" else _ARM
    return special + _TEXT.format(looks=LOOKS, blocked=blocked, futex=FUTEX_CALLS[machine])


_X86 = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse2.pause()

define internal i64 @float_modes() {
  %place = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %place)
  %all = load i32, ptr %place
  %modes = and i32 %all, -64
  %wide = zext i32 %modes to i64
  ret i64 %wide
}

define internal void @set_float_modes(i64 %modes) {
  %place = alloca i32
  %narrow = trunc i64 %modes to i32
  store i32 %narrow, ptr %place
  call void @llvm.x86.sse.ldmxcsr(ptr %place)
  ret void
}

define internal void @pause() alwaysinline {
  call void @llvm.x86.sse2.pause()
  ret void
}
"""

_ARM = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare void @llvm.aarch64.isb(i32)

define internal i64 @float_modes() {
  %modes = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %modes
}

define internal void @set_float_modes(i64 %modes) {
  call void @llvm.aarch64.set.fpcr(i64 %modes)
  ret void
}

define internal void @pause() alwaysinline {
  call void @llvm.aarch64.isb(i32 15)
  ret void
}
"""

_TEXT = """
@owner = internal global i64 0, align 128
@home = internal global i64 0
@helpers = internal global i64 0
@wanted = internal global i64 0
@create_thread = internal global ptr null
@set_mask = internal global ptr null
@system_call = internal global ptr null
@process_id = internal global ptr null

@job_body = internal global ptr null, align 128
@job_data = internal global ptr null
@job_parts = internal global i64 0
@job_modes = internal global i64 0

@ticket = internal global i64 0, align 128
@call = internal global i32 0, align 128
@sleepers = internal global i32 0, align 128
@left = internal global i32 0, align 128
@owner_sleeps = internal global i32 0, align 128

define void @irg_pool_configure(
    i64 %helpers, ptr %create_thread, ptr %set_mask, ptr %system_call, ptr %process_id
) {{
  store ptr %create_thread, ptr @create_thread
  store ptr %set_mask, ptr @set_mask
  store ptr %system_call, ptr @system_call
  store ptr %process_id, ptr @process_id
  store i64 %helpers, ptr @wanted
  ret void
}}

; How many helper threads this process has.
define i64 @irg_pool_helpers() {{
  %process_id = load ptr, ptr @process_id
  %id = call i32 %process_id()
  %here = sext i32 %id to i64
  %home = load i64, ptr @home
  %own = icmp eq i64 %home, %here
  %helpers = load i64, ptr @helpers
  %count = select i1 %own, i64 %helpers, i64 0
  ret i64 %count
}}

; FUTEX_WAIT and FUTEX_WAKE are 0 and 1; 128 says that no other process waits.
define internal void @wait(ptr %word, i32 %value) {{
  %system_call = load ptr, ptr @system_call
  %wide = zext i32 %value to i64
  %ignored = call i64 (i64, ...) %system_call(
      i64 {futex}, ptr %word, i64 128, i64 %wide, ptr null, ptr null, i64 0)
  ret void
}}

define internal void @wake(ptr %word, i64 %count) {{
  %system_call = load ptr, ptr @system_call
  %ignored = call i64 (i64, ...) %system_call(
      i64 {futex}, ptr %word, i64 129, i64 %count, ptr null, ptr null, i64 0)
  ret void
}}

; Take parts and run them until none is left to take. The owner is worker 0.
define internal void @take_parts(i64 %worker) {{
entry:
  %helps = icmp ne i64 %worker, 0
  br label %look
look:
  %seen = load atomic i64, ptr @ticket acquire, align 8
  %open = and i64 %seen, 4294967295
  %none = icmp eq i64 %open, 0
  br i1 %none, label %over, label %read
read:
  %body = load atomic ptr, ptr @job_body monotonic, align 8
  %data = load atomic ptr, ptr @job_data monotonic, align 8
  %parts = load atomic i64, ptr @job_parts monotonic, align 8
  %modes = load atomic i64, ptr @job_modes monotonic, align 8
  %fewer = sub i64 %seen, 1
  %swap = cmpxchg ptr @ticket, i64 %seen, i64 %fewer acq_rel monotonic
  %taken = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %taken, label %prepare, label %look
prepare:
  %part = sub i64 %parts, %open
  br i1 %helps, label %adopt, label %run
adopt:
  call void @set_float_modes(i64 %modes)
  br label %run
run:
  call void %body(ptr %data, i64 %part, i64 %worker)
  %before = atomicrmw sub ptr @left, i32 1 seq_cst
  %last = icmp eq i32 %before, 1
  %tell = and i1 %last, %helps
  br i1 %tell, label %ask, label %look
ask:
  %sleeps = load atomic i32, ptr @owner_sleeps seq_cst, align 4
  %asleep = icmp ne i32 %sleeps, 0
  br i1 %asleep, label %rouse, label %look
rouse:
  call void @wake(ptr @left, i64 1)
  br label %look
over:
  ret void
}}

; A helper thread, which runs as long as the process.
define internal ptr @help(ptr %number) {{
entry:
  %worker = ptrtoint ptr %number to i64
  br label %turn
turn:
  %call = load atomic i32, ptr @call acquire, align 4
  call void @take_parts(i64 %worker)
  br label %watch
watch:
  %look = phi i64 [ 0, %turn ], [ %next, %again ]
  %seen = load atomic i64, ptr @ticket monotonic, align 8
  %open = and i64 %seen, 4294967295
  %none = icmp eq i64 %open, 0
  br i1 %none, label %idle, label %turn
idle:
  call void @pause()
  %next = add i64 %look, 1
  %tired = icmp ugt i64 %next, {looks}
  br i1 %tired, label %sleep, label %again
again:
  br label %watch
sleep:
  %more = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @wait(ptr @call, i32 %call)
  %less = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %turn
}}

; Make the threads that are missing; where the system refuses one, no more are wanted.
define internal void @make_helpers() {{
entry:
  %blocked = alloca [16 x i64]
  %before = alloca [16 x i64]
  %thread = alloca i64
  call void @llvm.memset.p0.i64(ptr %blocked, i8 -1, i64 128, i1 false)
  store i64 {blocked}, ptr %blocked
  %set_mask = load ptr, ptr @set_mask
  %create_thread = load ptr, ptr @create_thread
  %wanted = load i64, ptr @wanted
  %set = call i32 %set_mask(i32 2, ptr %blocked, ptr %before)
  br label %check
check:
  %made = load i64, ptr @helpers
  %more = icmp slt i64 %made, %wanted
  br i1 %more, label %make, label %done
make:
  %number = add i64 %made, 1
  %argument = inttoptr i64 %number to ptr
  %status = call i32 %create_thread(ptr %thread, ptr null, ptr @help, ptr %argument)
  %refused = icmp ne i32 %status, 0
  br i1 %refused, label %give_up, label %count
count:
  store i64 %number, ptr @helpers
  br label %check
give_up:
  store i64 %made, ptr @wanted
  br label %done
done:
  %reset = call i32 %set_mask(i32 2, ptr %before, ptr null)
  ret void
}}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define void @irg_parallel_for(ptr %pool, ptr %body, ptr %data, i64 %parts) {{
entry:
  %single = icmp slt i64 %parts, 2
  br i1 %single, label %alone, label %identify
identify:
  %process_id = load ptr, ptr @process_id
  %id = call i32 %process_id()
  %here = sext i32 %id to i64
  %owner = load atomic i64, ptr @owner monotonic, align 8
  %busy = icmp eq i64 %owner, %here
  br i1 %busy, label %alone, label %claim
claim:
  %swap = cmpxchg ptr @owner, i64 %owner, i64 %here acq_rel monotonic
  %owned = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %owned, label %settle, label %alone
settle:
  %home = load i64, ptr @home
  %known = icmp eq i64 %home, %here
  br i1 %known, label %staff, label %renew
renew:
  store i64 %here, ptr @home
  store i64 0, ptr @helpers
  store atomic i64 0, ptr @ticket seq_cst, align 8
  store atomic i32 0, ptr @sleepers seq_cst, align 4
  br label %staff
staff:
  %helpers = load i64, ptr @helpers
  %wanted = load i64, ptr @wanted
  %short = icmp slt i64 %helpers, %wanted
  br i1 %short, label %hire, label %publish
hire:
  call void @make_helpers()
  br label %publish
publish:
  %modes = call i64 @float_modes()
  store atomic ptr %body, ptr @job_body monotonic, align 8
  store atomic ptr %data, ptr @job_data monotonic, align 8
  store atomic i64 %parts, ptr @job_parts monotonic, align 8
  store atomic i64 %modes, ptr @job_modes monotonic, align 8
  %count = trunc i64 %parts to i32
  store atomic i32 %count, ptr @left monotonic, align 4
  store atomic i32 0, ptr @owner_sleeps monotonic, align 4
  %call = load atomic i32, ptr @call monotonic, align 4
  %call_next = add i32 %call, 1
  %call_wide = zext i32 %call_next to i64
  %high = shl i64 %call_wide, 32
  %ticket = or i64 %high, %parts
  store atomic i64 %ticket, ptr @ticket seq_cst, align 8
  %call_before = atomicrmw add ptr @call, i32 1 seq_cst
  %sleepers = load atomic i32, ptr @sleepers seq_cst, align 4
  %some = icmp ne i32 %sleepers, 0
  br i1 %some, label %rouse, label %work
rouse:
  %others = sub i64 %parts, 1
  call void @wake(ptr @call, i64 %others)
  br label %work
work:
  call void @take_parts(i64 0)
  br label %watch
watch:
  %look = phi i64 [ 0, %work ], [ %next, %unfinished ]
  %left = load atomic i32, ptr @left acquire, align 4
  %finished = icmp eq i32 %left, 0
  br i1 %finished, label %done, label %unfinished
unfinished:
  call void @pause()
  %next = add i64 %look, 1
  %tired = icmp ugt i64 %next, {looks}
  br i1 %tired, label %sleep, label %watch
sleep:
  store atomic i32 1, ptr @owner_sleeps seq_cst, align 4
  %still = load atomic i32, ptr @left seq_cst, align 4
  %over = icmp eq i32 %still, 0
  br i1 %over, label %done, label %doze
doze:
  call void @wait(ptr @left, i32 %still)
  br label %sleep
done:
  store atomic i64 0, ptr @owner release, align 8
  ret void
alone:
  %any = icmp sgt i64 %parts, 0
  br i1 %any, label %one, label %end
one:
  %part = phi i64 [ 0, %alone ], [ %part_next, %one ]
  call void %body(ptr %data, i64 %part, i64 0)
  %part_next = add i64 %part, 1
  %again = icmp slt i64 %part_next, %parts
  br i1 %again, label %one, label %end
end:
  ret void
}}
"""
