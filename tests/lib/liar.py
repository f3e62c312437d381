# SPDX-License-Identifier: MIT
"""A persistent worker that does whatever its jobs say: {"class":…,"args":[ACTION, …]}. In its
environment, BOOT says what it does instead of saying that it is ready, READY how many runs at once it
is ready for. Not for a test to import: it is the worker's program."""

import json
import os
import signal
import sys
import threading
import time

boot, ready = os.environ.get("BOOT", ""), int(os.environ.get("READY", "4"))
jobs_in = os.fdopen(3)
held = {}     # token → job, of what is not answered yet
wait = threading.Event()


def raw(text):
    data = text.encode()
    while data:
        data = data[os.write(4, data):]


def say(**message):
    raw(json.dumps(message) + "\n")


def act(token, job):
    action, args = job["args"][0], job["args"][1:]
    if action == "done":
        say(done=token, result=args)
    elif action == "print":
        print(args[0], flush=True)
        say(done=token)
    elif action == "echo":
        print(json.dumps(job), flush=True)
        say(done=token)
    elif action == "environment":
        print(" ".join(sorted(name for name in os.environ)), flush=True)
        print(" ".join(sorted(os.listdir("/proc/self/fd"), key=int)), flush=True)
        say(done=token)
    elif action == "fail":
        say(failed=token, **args[0])
    elif action == "deep":       # a backtrace that nests
        raw('{"failed":%d,"error_class":"Deep","backtrace":%s}\n' % (token, "[" * 1000 + "]" * 1000))
    elif action == "hold":       # until it is cancelled
        held[token] = job
        print("holding" if len(held) <= ready else "too many", flush=True)
    elif action == "finish":     # when it is cancelled: it is done by then
        held[token] = job
        print("holding", flush=True)
    elif action == "ignore":     # for good
        print("ignoring", flush=True)
    elif action == "stubborn":   # TERM, too
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ignoring", flush=True)
    elif action == "twice":
        say(done=token)
        say(done=token)
    elif action == "lie":
        say(done=args[0] if args else token + 1000)
        say(done=token)
    elif action == "lies":
        for _ in range(args[0]):
            say(done=1)
        held[token] = job
    elif action == "raw":        # whatever it is
        raw(args[0])
        if args[1:]:
            say(done=token)
    elif action == "progress":
        for step in range(args[0]):
            say(progress=token, at=step, total=args[0], message="step")
        say(done=token)
    elif action == "flood":      # a line without an end
        while True:
            raw("x" * 65536)
    elif action == "die":
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), args[0])
        time.sleep(1000)
    elif action == "half":       # dies in the middle of a line
        raw('{"done":%d' % token)
        os._exit(3)
    elif action == "exit":
        os._exit(args[0])
    elif action == "answer and exit":
        say(done=token)
        os._exit(0)
    elif action == "close 4":
        os.close(4)
    elif action == "close 3":
        held[token] = job
        os.close(3)
        print("deaf", flush=True)
        wait.wait()
    elif action == "deaf":       # reads no more
        print("deaf", flush=True)
        wait.wait()


def cancel(token):
    job = held.pop(token, None)
    if job is not None and job["args"][0] == "finish":
        say(done=token)
    elif job is not None:
        say(cancelled=token)


if boot == "exit":
    print("x" * 200 + "\ncannot boot", file=sys.stderr, flush=True)
    os._exit(7)
elif boot == "silent":
    wait.wait()
elif boot:
    raw(boot)
else:
    assert json.loads(jobs_in.readline()) == {"fettle": 1}
    say(ready=ready, protocol=1)
for line in jobs_in:
    message = json.loads(line)
    if "run" in message:
        act(message["run"], message["job"])
    else:
        cancel(message["cancel"])
