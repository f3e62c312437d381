#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A persistent worker: fettled starts it once and hands it job after job, THREADS at a time.

    { class = "Resize"; worker = [ "python3", "/opt/app/worker.py" ]; processes = 2; concurrency = 8; }"""

import json
import os
import threading
import time
import traceback

THREADS = 4
jobs_in, answers_out = os.fdopen(3), os.fdopen(4, "w")
lock, cancelled = threading.Lock(), set()


class Cancelled(Exception):
    pass


def say(**message):
    with lock:
        answers_out.write(json.dumps(message) + "\n")
        answers_out.flush()


def resize(token, name, steps=1):
    """The work. It looks now and then whether it is wanted still."""
    for step in range(steps):
        if token in cancelled:
            raise Cancelled
        say(progress=token, at=step, total=steps, message="resizing " + name)
        time.sleep(0.01)
    print("resized", name, flush=True)  # a line in the log, under the job's id
    return {"name": name}


def run(token, job):
    try:
        say(done=token, result=resize(token, *job["args"]))
    except Cancelled:
        say(cancelled=token)
    except Exception as error:
        say(failed=token, error_class=type(error).__name__, error_message=str(error),
            backtrace=traceback.format_exc().splitlines())
    cancelled.discard(token)


say(ready=THREADS, protocol=json.loads(jobs_in.readline())["fettle"])
for line in jobs_in:  # until fettled closes it: then there is no more to do
    message = json.loads(line)
    if "run" in message:
        threading.Thread(target=run, args=(message["run"], message["job"])).start()
    elif "cancel" in message:
        cancelled.add(message["cancel"])
