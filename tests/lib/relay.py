# SPDX-License-Identifier: MIT
"""A relay between fettled and Redis that changes what Redis says of itself.

    relay = t.use(Relay(redisd.socket))
    relay.changes = {b"redis_mode:standalone": b"redis_mode:cluster"}
    daemon = t.use(Fettled(relay.url_of(redisd)))

In a reply that is one text the keys of `changes` (regular expressions) become their values."""

import os
import re
import shutil
import socket
import tempfile
import threading


class Relay:
    def __init__(self, server):
        self.changes = {}
        self._server = server
        self._directory = tempfile.mkdtemp(prefix="fettle-relay-")
        self.socket = os.path.join(self._directory, "redis.sock")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen(64)
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def url_of(self, redisd):
        return redisd.open_url.replace(redisd.socket, self.socket)

    @staticmethod
    def _start(function, *args):
        threading.Thread(target=function, args=args, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                continue
            self._start(self._carry, client, server, bytes)
            self._start(self._carry, server, client, self._changed)

    @staticmethod
    def _carry(source, sink, change):
        """Until one of the two has ended."""
        try:
            while True:
                data = source.recv(1 << 20)
                if not data:
                    break
                sink.sendall(change(data))
        except OSError:
            pass
        for one in source, sink:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _changed(self, data):
        head, _, text = data.partition(b"\r\n")
        if not head.startswith(b"$") or len(text) != int(head[1:]) + 2:
            return data
        text = text[:-2]
        for old, new in self.changes.items():
            text = re.sub(old, new, text)
        return b"$%d\r\n%s\r\n" % (len(text), text)
