# SPDX-License-Identifier: MIT
"""A small Redis client: RESP2 over a Unix socket or TCP, blocking, with a timeout for each reply.

Replies are bytes, int, None or lists of them. An error reply raises RedisError; inside a list, or
in the result of pipeline(), it stands as a RedisError object in its place."""

import socket


class RedisError(Exception):
    """An error reply; .code is its first word."""

    @property
    def code(self):
        return str(self).split(" ", 1)[0]


def _bytes(word):
    if isinstance(word, (bytes, bytearray)):
        return bytes(word)
    if isinstance(word, float):
        return repr(word).encode()
    return str(word).encode()


def encode(words):
    """One command on the wire."""
    parts = [b"*%d\r\n" % len(words)]
    for word in map(_bytes, words):
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Redis:
    """A connection. `address` is the path of a Unix socket or a (host, port) pair."""

    def __init__(self, address, timeout=30, user=None, password=None, db=0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(address)
            self._file = self._socket.makefile("rb")
            if password is not None:
                self.call("AUTH", *([user] if user else []), password)
            if db:
                self.call("SELECT", db)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()

    def settimeout(self, seconds):
        self._socket.settimeout(seconds)

    def send(self, *words):
        """Sends a command and leaves its reply for receive()."""
        self._socket.sendall(encode(words))

    def receive(self):
        reply = self._read()
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def pipeline(self, commands):
        """All commands, up to 1,000 in one write; the replies in order."""
        commands = list(commands)
        replies = []
        for start in range(0, len(commands), 1000):
            some = commands[start:start + 1000]
            self._socket.sendall(b"".join(map(encode, some)))
            replies += [self._read() for _ in some]
        return replies

    def eval(self, text, keys=(), args=()):
        """EVAL of a script's text."""
        return self.call("EVAL", text, len(keys), *keys, *args)

    def _line(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def _read(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self._bulk(int(rest))
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self._read() for _ in range(count)]
        raise ConnectionError("not a reply: %r" % line[:80])

    def _bulk(self, size):
        if size < 0:
            return None
        data = self._file.read(size + 2)
        if len(data) != size + 2:
            raise ConnectionError("the server closed the connection")
        return data[:-2]
