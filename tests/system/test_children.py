#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What child processes may use, and that none is left: limits, the death signal, cgroups."""

import ctypes
import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import Fettled, command, job
from places import member, places
from redisd import Redisd, available
from tap import Skip, equal, main
from wait import until

MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
CGROUP2 = 0x63677270
HOARD = "x = b'1' * (1 << 30)"
# Leaves its group and its session, and says which process it is.
ESCAPE = "setsid sh -c 'echo $$ > %s; exec sleep 1000' </dev/null >/dev/null 2>&1 & %s"


def shell(name, script, **members):
    return command(name, ["/bin/sh", "-c", script], **members)


def is_alive(pid):
    """Does it run? A zombie does not."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def read_pid(path):
    """What a child has written there, when it is complete."""
    def look():
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            return None
        return int(text) if text.endswith("\n") else None
    return until(look, what="a pid in " + path)


def lists(path):
    with open(path) as file:
        return file.read().split()


class Cgroup:
    """A cgroup (v2) of the test, with the controllers that it can have; Skip where there is none."""

    def __init__(self, needs=None):
        root = next((path for path in MOUNTS if os.path.exists(path + "/cgroup.procs")
                     and _is_cgroup2(path)), None)
        if root is None:
            raise Skip("there is no cgroup2 mount")
        if needs and needs not in lists(root + "/cgroup.controllers"):
            raise Skip("the cgroup2 mount has no controller " + needs)
        try:
            self.path = tempfile.mkdtemp(prefix="fettle-test-", dir=root)
            if needs:
                with open(root + "/cgroup.subtree_control", "w") as file:
                    file.write("+" + needs)
        except OSError as error:
            raise Skip("no cgroup can be made: %s" % error) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with open(self.path + "/cgroup.kill", "w") as file:
            file.write("1")
        until(lambda: "populated 0" in open(self.path + "/cgroup.events").read(),
              what="the cgroup to be empty")
        for path, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(path)

    def below(self):
        """All directories below it."""
        return sorted(os.path.relpath(path, self.path) for path, _, _ in os.walk(self.path)
                      if path != self.path)


def _is_cgroup2(path):
    class Statfs(ctypes.Structure):
        _fields_ = [("f_type", ctypes.c_long), ("rest", ctypes.c_char * 256)]
    found = Statfs()
    return ctypes.CDLL(None).statfs(path.encode(), ctypes.byref(found)) == 0 and \
        found.f_type == CGROUP2


def tasks(daemon):
    directory = "/proc/%d/task" % daemon.pid
    return [directory + "/" + name for name in os.listdir(directory)]


def folder(t):
    return t.use(tempfile.TemporaryDirectory(prefix="fettle-test-"))


# ---- limits --------------------------------------------------------------------------------------

def test_limits_of_a_command(t):
    """Each limit is the child's; what kills it is named in the error of the job."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, handlers=[
        shell("Look", "ulimit -v; ulimit -n; ulimit -t; nice", memory=1 << 30, files=50,
              cpu_seconds=7, nice=15),
        shell("Burn", "while :; do :; done", cpu_seconds=1),
        command("Hoard", [sys.executable, "-c", "x = bytearray(1 << 30)"], memory=256 << 20)]))
    for name in ("Look", "Burn", "Hoard"):
        redisd.client.call("LPUSH", "queue:default", job(name, [], jid=name))
    daemon.wait_event("job.done", jid="Look")
    equal([e["line"] for e in daemon.find("job.stdout", jid="Look")],
          [str((1 << 30) // 1024), "50", "7", str(max(15, os.nice(0)))], "limits")
    burnt, _ = until(lambda: member(redisd.client, "retry", "Burn"), what="Burn to fail")
    equal(burnt["error_class"], "Signal", "the end of Burn")
    assert burnt["error_message"].endswith(": cpu_seconds = 1 are used up"), burnt
    assert burnt["error_message"].startswith("killed by SIGXCPU"), burnt
    hoarded, _ = until(lambda: member(redisd.client, "retry", "Hoard"), what="Hoard to fail")
    equal(hoarded["error_class"], "ExitStatus", "the end of Hoard")
    assert "MemoryError" in hoarded["error_message"], hoarded


def test_nothing_is_inherited(t):
    """No descriptor of the daemon's, no signal that it ignores or blocks; a group of its own."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, handlers=[shell(
        "Look", "ls /proc/self/fd; grep -E '^Sig(Blk|Ign):' /proc/self/status; "
        "cut -d' ' -f5 /proc/$$/stat; echo $$")]))
    redisd.client.call("LPUSH", "queue:default", job("Look"))
    daemon.wait_event("job.done")
    lines = [e["line"] for e in daemon.find("job.stdout")]
    equal(lines[:4], ["0", "1", "2", "3"], "descriptors, and the listed folder")
    equal([int(line.split()[1], 16) for line in lines[4:6]], [0, 0], "signals")
    equal(lines[6], lines[7], "the group's leader")


def test_children_die_with_the_daemon(t):
    """SIGKILL of the daemon is SIGKILL for its commands, wherever they are in their work."""
    redisd, where = t.use(Redisd()), folder(t)
    daemon = t.use(Fettled(redisd, handlers=[shell(
        "Sleep", "echo $$ > %s/$FETTLE_JID; exec sleep 1000" % where)]))
    for i in range(3):
        redisd.client.call("LPUSH", "queue:default", job("Sleep", [], jid="s%d" % i))
    pids = [read_pid("%s/s%d" % (where, i)) for i in range(3)]
    daemon.kill()
    until(lambda: not any(map(is_alive, pids)), what="the children to be dead")


def test_nothing_is_left(t):
    """After many commands, however they end: no zombie, and no descriptor more than before."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, handlers=[
        shell("Mixed", "case $FETTLE_JID in *0) exit 3;; *1) kill -9 $$;; *2) sleep 1000 & ;; esac")]))
    daemon.wait_ready()

    def held():
        return (len(os.listdir("/proc/%d/fd" % daemon.pid)),
                sum((lists(path + "/children") for path in tasks(daemon)), []))
    redisd.client.call("LPUSH", "queue:default", job("Mixed", [], jid="first3"))
    daemon.wait_event("job.done", jid="first3")
    before = until(lambda: held() if not held()[1] else None, what="no child")
    redisd.client.call("LPUSH", "queue:default", *[job("Mixed", [], jid="j%d" % i) for i in range(40)])
    daemon.wait_events(1 + 32, "job.done")
    daemon.wait_events(8, "job.failed")
    until(lambda: held() == before, what="%r, as before" % (before,))


# ---- cgroups -------------------------------------------------------------------------------------

def test_what_was_forked_and_forgotten(t):
    """In a cgroup it ends with the run, though it has left its group and its session."""
    cgroup, redisd, where = t.use(Cgroup()), t.use(Redisd()), folder(t)
    daemon = t.use(Fettled(redisd, cgroup=cgroup.path, handlers=[
        shell("Forget", ESCAPE % (where + "/pid", "until [ -s %s/pid ]; do sleep 0.01; done" % where))]))
    equal(daemon.wait_event("daemon.cgroup")["path"], cgroup.path, "its cgroup")
    redisd.client.call("LPUSH", "queue:default", job("Forget"))
    daemon.wait_event("job.done")
    pid = read_pid(where + "/pid")
    assert not is_alive(pid), "%d runs after the run" % pid
    equal(cgroup.below(), ["fettled-%d" % daemon.pid], "cgroups while nothing runs")
    daemon.stop()
    equal(cgroup.below(), [], "cgroups after the stop")


def test_what_a_dead_daemon_left(t):
    """A daemon that was killed leaves what has escaped; the next one ends that, and touches nothing of
    one that lives."""
    cgroup, redisd, where = t.use(Cgroup()), t.use(Redisd()), folder(t)
    settings = {"cgroup": cgroup.path, "handlers": [
        shell("Escape", ESCAPE % (where + "/pid", "exec sleep 1000")),
        shell("Stay", "echo $$ > %s/stay; exec sleep 1000" % where)]}
    daemon = t.use(Fettled(redisd, queues=[{"name": "a"}], **settings))
    living = t.use(Fettled(redisd, queues=[{"name": "b"}], shutdown_timeout=0, **settings))
    redisd.client.call("LPUSH", "queue:a", job("Escape"))
    redisd.client.call("LPUSH", "queue:b", job("Stay"))
    escaped, stays = read_pid(where + "/pid"), read_pid(where + "/stay")
    left = "fettled-%d" % daemon.pid
    daemon.kill()
    assert is_alive(escaped), "nobody was there to end it"
    t.use(Fettled(redisd, queues=[{"name": "c"}], **settings)).wait_ready()
    assert not is_alive(escaped), "%d still runs" % escaped
    assert left not in cgroup.below(), cgroup.below()
    assert is_alive(stays), "the other daemon's child was ended"


def test_delegated_cgroup(t):
    """By itself the daemon uses the cgroup it was started in, if that is delegated: it moves into a leaf
    of it, and finds its place again when it is started there anew."""
    cgroup, redisd = t.use(Cgroup()), t.use(Redisd())
    try:
        os.setxattr(cgroup.path, "user.delegate", b"1")
    except OSError as error:
        raise Skip("cgroups have no extended attributes here: %s" % error) from None
    daemon = t.use(Fettled(redisd, start=False, handlers=[shell("Where", "cat /proc/self/cgroup")]))
    with open(daemon.directory + "/start", "w") as file:
        file.write("#!/bin/sh\necho $$ > %s/cgroup.procs\nexec %s \"$@\"\n" % (
            cgroup.path, daemon.program))
    os.chmod(daemon.directory + "/start", 0o755)
    daemon.program = daemon.directory + "/start"
    daemon.start()
    equal(daemon.wait_event("daemon.cgroup")["path"], cgroup.path, "its cgroup")
    own = "fettled-%d" % daemon.pid
    assert own + "/daemon" in cgroup.below(), cgroup.below()
    equal(lists(cgroup.path + "/" + own + "/daemon/cgroup.procs"), [str(daemon.pid)], "the leaf")
    redisd.client.call("LPUSH", "queue:default", job("Where"))
    daemon.wait_event("job.done")
    line = [e["line"] for e in daemon.find("job.stdout") if e["line"].startswith("0::")][0]
    assert "/%s/child-" % own in line, line
    until(lambda: not places(redisd.client), what="no job left")


def test_out_of_memory(t):
    """A command that uses more than its memory is killed as a whole, and the job says so."""
    cgroup, redisd = t.use(Cgroup(needs="memory")), t.use(Redisd())
    daemon = t.use(Fettled(redisd, cgroup=cgroup.path, handlers=[
        command("Hoard", [sys.executable, "-c", HOARD], memory=64 << 20),
        shell("InPart", "%s -c \"%s\"; sleep 1000" % (sys.executable, HOARD), memory=64 << 20)]))
    assert daemon.wait_event("daemon.cgroup")["memory"]
    for name in ("Hoard", "InPart"):
        redisd.client.call("LPUSH", "queue:default", job(name, [], jid=name))
        failed, _ = until(lambda: member(redisd.client, "retry", name), what="%s to fail" % name)
        equal((failed["error_class"], failed["error_message"]),
              ("OutOfMemory", "killed by SIGKILL: memory = 67108864 is used up"), name)
    until(lambda: cgroup.below() == ["fettled-%d" % daemon.pid], what="no cgroup left")


def test_a_cgroup_that_is_none(t):
    """What was asked for and cannot be had is an error of the configuration."""
    redisd, where = t.use(Redisd()), folder(t)
    for path, reason in ((where, "is no cgroup (v2)"), (where + "/no", "No such file or directory")):
        daemon = t.use(Fettled(redisd, cgroup=path))
        equal(daemon.wait_exit(), 1, "exit")
        assert any(line.endswith("cgroup: %s: %s" % (path, reason)) for line in daemon.lines), \
            daemon.lines


main(None if available() else "there is no redis-server")
