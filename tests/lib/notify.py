# SPDX-License-Identifier: MIT
"""The service manager's end of sd_notify(3): a datagram socket that collects messages.

    manager = t.use(Notify())
    daemon = t.use(Fettled(redisd, environment=manager.environment))
    manager.wait("READY", "1")"""

import os
import shutil
import socket
import tempfile
import time

from wait import Timeout, deadline


class Notify:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="fettle-notify-")
        self.environment = {"NOTIFY_SOCKET": os.path.join(self.directory, "notify")}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.environment["NOTIFY_SOCKET"])
        self.messages = []  # each a dict, in the order in which they came

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def mark(self):
        """A point among the messages, for since=. Takes in what has come so far."""
        while self._receive(0):
            pass
        return len(self.messages)

    def _receive(self, timeout):
        self._socket.settimeout(timeout)
        try:
            text = self._socket.recv(65536).decode()
        except (TimeoutError, socket.timeout, BlockingIOError):
            return False
        self.messages.append(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))
        self.messages[-1]["_at"] = time.monotonic()
        return True

    def find(self, name, value=None, since=0):
        """The first message that sets `name`, to `value` or, if that is a function, to one it takes."""
        test = value if callable(value) else (lambda got: value is None or got == value)
        return next((m for m in self.messages[since:] if name in m and test(m[name])), None)

    def wait(self, name, value=None, timeout=10, since=0):
        end = deadline(timeout)
        while True:
            found = self.find(name, value, since)
            if found:
                return found
            left = end - time.monotonic()
            if left <= 0 or not self._receive(left):
                raise Timeout("no message %s=%r" % (name, value))

    def diagnose(self):
        return "messages to the service manager: %r" % self.messages
