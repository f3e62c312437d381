# SPDX-License-Identifier: MIT
"""Tasks for gdb, in a live process or a core file:

    (gdb) source fettle.py
    (gdb) fettle tasks          every task of every runtime: id, state, name, function
    (gdb) fettle bt ID          the backtrace of a task, whether it waits or runs
    (gdb) fettle bt             of all that have begun

Needs the debug information of libfettle. A runtime is found by its worker threads. Nothing in
the process is written to: a waiting task is shown by an unwinder that, while the command runs,
takes the task's stack for the caller of the selected thread's innermost frame.

Core files are to be the kernel's: gdb's own `gcore` gives up at the first lightweight guard
(Linux 6.13) and leaves the tasks' stacks out.
"""
import re

import gdb
import gdb.unwinder

# runtime/tcb.h
RUNNING, NOTIFIED, COMPLETE, CANCELLED, STARTED, REF = 1, 2, 4, 8, 16, 256

# What lies on the stack of a suspended strand, from its stack pointer up (runtime/context_*.S):
# size in bytes, the registers' places, the place of the address where it goes on.
CONTEXTS = {
    "i386:x86-64": {
        "size": 64, "sp": "rsp", "pc": "rip", "resume": 56,
        "saved": {"r15": 8, "r14": 16, "r13": 24, "r12": 32, "rbx": 40, "rbp": 48}},
    "aarch64": {
        "size": 176, "sp": "sp", "pc": "pc", "resume": 168,
        "saved": {"x%d" % n: 80 + 8 * (n - 19) for n in range(19, 30)}},
}


def word(address):
    """The 64 bits at an address of the process."""
    return gdb.Value(address).cast(gdb.lookup_type("unsigned long").pointer()).dereference()


def atomic(value):
    return int(value.cast(gdb.lookup_type("unsigned long")))


class Worker:
    """A thread of a runtime, and what it runs."""

    def __init__(self, thread, value):
        self.thread = thread
        self.value = value
        self.strand = value["strand"].cast(gdb.lookup_type("struct ftl__strand").pointer())
        self.task = int(self.strand["task"]) if self.strand else 0


def workers():
    """The workers of all runtimes, in the order of gdb's threads."""
    selected = gdb.selected_thread()
    if not selected:
        raise gdb.GdbError("no process")
    symbol = gdb.lookup_static_symbol("current", gdb.SYMBOL_VAR_DOMAIN)
    if not symbol or not str(symbol.type.unqualified()).startswith("struct ftl__worker"):
        raise gdb.GdbError("no debug information of libfettle")
    found = []
    try:
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            worker = symbol.value(gdb.newest_frame())
            if worker:
                found.append(Worker(thread, worker.dereference()))
    finally:
        selected.switch()
    return sorted(found, key=lambda worker: worker.thread.num)


class Task:
    def __init__(self, value, on):
        self.value = value
        self.on = on  # the Worker that runs it, or None
        self.id = int(value["id"])
        self.state = atomic(value["state"])
        self.yielded = bool(atomic(value["yielded"]))  # stands in a queue, and is RUNNING

    def state_name(self):
        if self.state & COMPLETE:
            return "ended"
        if self.on or (self.state & RUNNING and not self.yielded):
            name = "running"
        elif not self.state & STARTED:
            name = "new"
        else:
            name = "ready" if self.yielded or self.state & NOTIFIED else "waiting"
        return name + ("+abort" if self.state & CANCELLED else "")

    def line(self):
        name = self.value["name"].string(errors="replace") if self.value["name"] else "-"
        function = re.sub(r"^.*<(.*)>$", r"\1", str(self.value["fn"]))
        thread = " on thread %d" % self.on.thread.num if self.on else ""
        return "%-6d %-8s %s  %s%s" % (self.id, self.state_name(), name, function, thread)

    def strands(self):
        """Its strands, those that began last first: branches of joins, then the root."""
        place = self.value["root"]["place"]
        if not place:
            return [self.value["root"]]
        found = []
        head = place["strands"]["all"]
        node = head["prev"]
        kind = gdb.lookup_type("struct ftl__place")
        offset = next(field.bitpos // 8 for field in kind.fields() if field.name == "all")
        while node != head.address:
            address = int(node) - offset
            found.append(gdb.Value(address).cast(kind.pointer())["strand"].dereference())
            node = node["prev"]
        return found

    def suspended(self):
        """Whether its strands' registers are on their stacks, but for the one that runs."""
        return bool(self.on) or self.state_name().split("+")[0] in ("ready", "waiting")


def tasks():
    """All tasks, runtime by runtime: a list of pairs (name of the runtime, its tasks by id)."""
    found = {}
    everyone = workers()
    running = {worker.task: worker for worker in everyone if worker.task}
    for worker in everyone:
        runtime = worker.value["runtime"]
        if int(runtime) not in found:
            found[int(runtime)] = (runtime["name"].string(), tasks_of(runtime, running))
    return list(found.values())


def tasks_of(runtime, running):
    found = []
    chunk = runtime["tcbs"]["chunks"]
    while chunk:
        array = chunk["tasks"]
        for i in range(array.type.range()[1] + 1):
            if atomic(array[i]["state"]) >= REF:  # alive: it has references
                on = running.get(int(array[i].address))
                found.append(Task(array[i], on))
        chunk = chunk["next"]
    return sorted(found, key=lambda task: task.id)


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class TaskUnwinder(gdb.unwinder.Unwinder):
    """While `sp` is set: the caller of the selected thread's innermost frame is the strand
    suspended there."""

    def __init__(self):
        super().__init__("fettle")
        self.sp = None
        self.innermost = None

    def __call__(self, pending):
        layout = CONTEXTS.get(pending.architecture().name())
        if self.sp is None or not layout:
            return None
        here = int(pending.read_register(layout["sp"])), int(pending.read_register(layout["pc"]))
        if here != self.innermost:
            return None
        # An identity below the strand's frames, as a callee's is.
        info = pending.create_unwind_info(FrameId(gdb.Value(self.sp), gdb.Value(here[1])))
        for name, offset in layout["saved"].items():
            info.add_saved_register(name, word(self.sp + offset))
        info.add_saved_register(layout["pc"], word(self.sp + layout["resume"]))
        info.add_saved_register(layout["sp"], gdb.Value(self.sp + layout["size"])
                                .cast(gdb.lookup_type("unsigned long")))
        return info

    def frames(self, sp):
        """The frames of the strand suspended at sp, as lines."""
        frame = gdb.newest_frame()
        layout = CONTEXTS.get(frame.architecture().name())
        if not layout:
            raise gdb.GdbError("not for " + frame.architecture().name())
        self.innermost = (int(frame.read_register(layout["sp"])),
                          int(frame.read_register(layout["pc"])))
        self.sp = sp
        gdb.invalidate_cached_frames()
        try:
            return describe(gdb.newest_frame().older())
        finally:
            self.sp = None
            gdb.invalidate_cached_frames()


def describe(frame):
    """A line for each frame from this one outwards."""
    lines = []
    while frame and frame.is_valid():
        place = frame.find_sal()
        where = " at %s:%d" % (place.symtab.filename, place.line) if place.symtab else ""
        lines.append("#%-3d 0x%016x %s%s" % (len(lines), frame.pc(), frame.name() or "??", where))
        reason = frame.unwind_stop_reason()
        if reason > gdb.FRAME_UNWIND_OUTERMOST:
            lines.append("stopped: " + gdb.frame_stop_reason_string(reason))
        frame = frame.older()
    return lines


UNWINDER = TaskUnwinder()


def backtrace_on(thread):
    selected = gdb.selected_thread()
    thread.switch()
    try:
        return describe(gdb.newest_frame())
    finally:
        selected.switch()


def backtrace(task):
    """Of one strand after the other, with a line above each if there are several."""
    lines = []
    strands = task.strands() if task.suspended() else []
    for number, strand in enumerate(strands, 1):
        runs = task.on and strand.address == task.on.strand
        if len(strands) > 1:
            lines.append("strand %d of %d%s" % (number, len(strands), ", runs" if runs else ""))
        if runs:
            lines += backtrace_on(task.on.thread)
        elif int(strand["sp"]):
            lines += UNWINDER.frames(int(strand["sp"]))
    return lines or ["no stack to show"]


class Fettle(gdb.Command):
    """Tasks of libfettle's runtimes: fettle tasks, fettle bt [ID]."""

    def __init__(self):
        super().__init__("fettle", gdb.COMMAND_STACK, prefix=True)


class Tasks(gdb.Command):
    """Lists every task of every runtime: id, state, name, function."""

    def __init__(self):
        super().__init__("fettle tasks", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        for name, members in tasks():
            gdb.write("runtime %s: %d tasks\n" % (name, len(members)))
            for task in members:
                gdb.write(task.line() + "\n")


class Backtrace(gdb.Command):
    """fettle bt [ID]: the backtrace of a task; of each that has begun, if no ID is given."""

    def __init__(self):
        super().__init__("fettle bt", gdb.COMMAND_STACK)

    def invoke(self, arg, from_tty):
        every = [task for _, members in tasks() for task in members]
        if arg.strip():
            chosen = [task for task in every if str(task.id) == arg.strip()]
            if not chosen:
                raise gdb.GdbError("no task %s" % arg)
        else:
            chosen = [task for task in every if task.suspended()]
        for task in chosen:
            gdb.write(task.line() + "\n")
            for line in backtrace(task):
                gdb.write("  " + line + "\n")


gdb.unwinder.register_unwinder(None, UNWINDER, replace=True)
Fettle()
Tasks()
Backtrace()
