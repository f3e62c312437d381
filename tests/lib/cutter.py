# SPDX-License-Identifier: MIT
"""A proxy in front of Redis that loses replies: the request arrives, its answer never does.

    cutter = t.use(Cutter(redisd.socket))
    daemon = t.use(Fettled(cutter.url))
    cutter.cut(sha("settle"), 3)

Of the next `count` requests that hold `marker`, the answer is cut off at that part of it (0: before its
first byte), and both ends are closed; what was asked before gets its answer. A script that is being
loaded is no such request, whatever it says. After hold(marker), answers that have `marker` in them are
kept back until release(), and so is what comes after them on their connection."""

import collections
import os
import select
import shutil
import socket
import tempfile
import threading


LOAD = b"\r\nSCRIPT\r\n$4\r\nLOAD\r\n"


def end(data, at):
    """Where the message that begins at `at` ends; None: not all of it is there."""
    left = 1
    while left > 0:
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        kind, rest, at, left = data[at:at + 1], data[at + 1:line], line + 2, left - 1
        if kind == b"*":
            left += max(0, int(rest))
        elif kind == b"$" and int(rest) >= 0:
            at += int(rest) + 2
    return at if at <= len(data) else None


def take(data):
    """The messages that are all there, out of a bytearray."""
    at, found = 0, []
    while at < len(data) and (after := end(data, at)) is not None:
        found.append(bytes(data[at:after]))
        at = after
    del data[:at]
    return found


class Cutter:
    def __init__(self, server):
        self._server = server
        self._directory = tempfile.mkdtemp(prefix="fettle-cutter-")
        self.socket = os.path.join(self._directory, "redis.sock")
        self.url = "unix://" + self.socket
        self._lock = threading.Lock()
        self._cuts = []
        self._held = None
        self._released = threading.Event()
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing = True
        self.release()
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def cut(self, marker, count, part=0):
        with self._lock:
            self._cuts += [(marker, part)] * count

    def hold(self, marker):
        with self._lock:
            self._held = marker

    def release(self):
        self._released.set()

    def left(self):
        with self._lock:
            return len(self._cuts)

    def _accept(self):
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _due(self, request):
        """The part of its answer that it gets; None: all of it."""
        with self._lock:
            for cut in self._cuts if LOAD not in request[:40] else ():
                if cut[0] in request:
                    self._cuts.remove(cut)
                    return cut[1]
        return None

    def _is_held(self, reply):
        with self._lock:
            return self._held is not None and self._held in reply

    def _answer(self, client, reply, part):
        """False: it was cut."""
        if self._is_held(reply):
            self._released.wait()
        client.sendall(reply if part is None else reply[:int(part * len(reply))])
        return part is None

    def _carry(self, client):
        server = socket.socket(socket.AF_UNIX)
        asked, answered, parts = bytearray(), bytearray(), collections.deque()
        with client, server:
            try:
                server.connect(self._server)
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    one, data = (server, answered) if server in ready else (client, asked)
                    more = one.recv(1 << 20)
                    if not more:
                        return
                    data += more
                    for message in take(data):
                        if one is client:
                            parts.append(self._due(message))
                            server.sendall(message)
                        elif not self._answer(client, message, parts.popleft()):
                            return
            except OSError:
                return
