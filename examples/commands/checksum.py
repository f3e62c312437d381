#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A job as a Python program: writes the SHA-256 of a file beside it.

    handlers = ( { class = "Checksum"; timeout = 60;
                   command = [ "/usr/share/fettle/checksum.py" ]; } );
    redis-cli LPUSH queue:default '{"class":"Checksum","args":["/var/tmp/image.iso"]}'

Delivery is at least once, so the job can run twice: it makes the whole result first and then puts
it in place, and a second run ends the same way. TERM comes at the timeout and at shutdown, KILL
follows.
"""
import hashlib
import json
import os
import signal
import sys

NEVER_AGAIN, LATER = 65, 75


def checksum(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main():
    # sys.exit() lets `finally` clauses clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    job = json.loads(sys.stdin.readline())
    args = job["args"]
    if not (isinstance(args, list) and len(args) == 1 and isinstance(args[0], str)):
        print("expected [path]", file=sys.stderr)
        return NEVER_AGAIN
    path = args[0]
    if not os.path.exists(path):
        print(f"{path} is not there yet", file=sys.stderr)
        return LATER

    # The token grows with every run: the name is this run's alone.
    part = f"{path}.sha256.{os.environ['FETTLE_TOKEN']}"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(f"{checksum(path)}  {os.path.basename(path)}\n")
        os.replace(part, f"{path}.sha256")
    finally:
        if os.path.exists(part):
            os.unlink(part)
    print(f"{path}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
