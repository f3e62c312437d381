#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A persistent worker for the storm, one job at a time: raises the job's cell in the probe that
$FTL_PROBE names, and does what the last part of the job's class says."""

import ctypes
import json
import mmap
import os
import signal
import struct
import time

PAGE = 4096
jobs_in = os.fdopen(3)
with open(os.environ["FTL_PROBE"], "r+b") as file:
    probe = mmap.mmap(file.fileno(), 0)


def say(**message):
    data = (json.dumps(message) + "\n").encode()
    while data:
        data = data[os.write(4, data):]


def count(cell):
    at = PAGE + 8 * cell
    struct.pack_into("=q", probe, at, struct.unpack_from("=q", probe, at)[0] + 1)


def forget():
    """A child that holds fd 1 and 2, and does not listen."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(3)
        os.close(4)
        time.sleep(600)
        os._exit(0)


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def flood(size):
    line = b"x" * 79 + b"\n"
    for _ in range(int(size) // 80):
        os.write(1, line)


def do(token, deed, amount):
    if deed == "fail":
        say(failed=token, error_class="AsTold", error_message="as told")
        return
    if deed == "lie":
        say(done=token + 1000000)
        return
    if deed == "garbage":
        os.write(4, b"\xff\x00 as told\n")
        return
    if deed == "cut":
        os.write(4, b'{"done":')
        os._exit(0)
    elif deed == "null_read":
        ctypes.string_at(0)
    elif deed == "abort":
        os.abort()
    elif deed == "illegal":
        os.kill(os.getpid(), signal.SIGILL)
    elif deed == "exit":
        os._exit(3)
    elif deed == "spin":
        spin(amount)
    elif deed == "leak":
        bytearray(int(amount))[::4096] = b"x" * len(range(0, int(amount), 4096))
    elif deed == "flood":
        flood(amount)
    elif deed == "forget":
        forget()
    elif deed == "stall":
        time.sleep(600)
    say(done=token)


say(ready=1, protocol=json.loads(jobs_in.readline())["fettle"])
for text in jobs_in:
    message = json.loads(text)
    if "run" in message:
        job = message["job"]
        count(job["args"][0])
        do(message["run"], job["class"].rsplit(".", 1)[1], job["args"][1])
