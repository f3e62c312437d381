# SPDX-License-Identifier: MIT
"""A proxy in front of Redis that loses replies: the request arrives, its answer never does.

    cutter = t.use(Cutter(redisd.socket))
    daemon = t.use(Fettled(cutter.url))
    cutter.cut(b"zadd", 3)

The next `count` times a client's request holds `marker`, what the server answers is dropped and both
ends are closed. After hold(marker), answers that have `marker` in them are kept back until release(),
and so is what comes after them on their connection."""

import os
import select
import shutil
import socket
import tempfile
import threading


class Cutter:
    def __init__(self, server):
        self._server = server
        self._directory = tempfile.mkdtemp(prefix="fettle-cutter-")
        self.socket = os.path.join(self._directory, "redis.sock")
        self.url = "unix://" + self.socket
        self._lock = threading.Lock()
        self._cuts = {}
        self._held = None
        self._released = threading.Event()
        self.done = 0
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

    def cut(self, marker, count):
        with self._lock:
            self._cuts[marker] = self._cuts.get(marker, 0) + count

    def hold(self, marker):
        with self._lock:
            self._held = marker

    def release(self):
        self._released.set()

    def left(self):
        with self._lock:
            return sum(self._cuts.values())

    def _accept(self):
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _is_due(self, request):
        with self._lock:
            for marker, count in self._cuts.items():
                if count > 0 and marker in request:
                    self._cuts[marker] -= 1
                    self.done += 1
                    return True
        return False

    def _is_held(self, reply):
        with self._lock:
            return self._held is not None and self._held in reply

    def _carry(self, client):
        server = socket.socket(socket.AF_UNIX)
        due = False
        with client, server:
            try:
                server.connect(self._server)
                while True:
                    ready, _, _ = select.select([client, server], [], [])
                    if server in ready:
                        reply = server.recv(1 << 20)
                        if not reply or due:
                            return
                        if self._is_held(reply):
                            self._released.wait()
                        client.sendall(reply)
                    elif client in ready:
                        request = client.recv(1 << 20)
                        if not request:
                            return
                        due = due or self._is_due(request)
                        server.sendall(request)
            except OSError:
                return
