# SPDX-License-Identifier: MIT
"""A private redis-server: on a Unix socket in a directory of its own, no TCP port.

    with Redisd() as redisd:
        redisd.client.call("PING")

It can be killed and started again on the same files. Its log is shown when the test fails."""

import os
import shutil
import tempfile

import child
from resp import Redis, RedisError
from wait import patience, until

PROGRAM = os.environ.get("REDIS_SERVER", "redis-server")


def available():
    return shutil.which(PROGRAM) is not None


SRCDIR = os.environ.get("SRCDIR") or os.path.join(os.path.dirname(__file__), "..", "..")
ACL = os.path.join(SRCDIR, "systemd", "fettle.acl")
PASSWORD = "planted-secret"  # of the shipped users


def shipped_users(more=""):
    """What fettle.acl says after "user", the users being on; `more`: words for each of them."""
    with open(ACL, encoding="utf-8") as file:
        users = [line[len("user "):].strip() for line in file if line.startswith("user ")]
    return [user.replace(" off ", " on >%s " % PASSWORD, 1) + more for user in users]


class Redisd:
    """Whoever uses .url is the user fettled of the shipped ACL, on the database `db`; .client may do
    everything there. url_at(): the same by way of another socket.

    `options` are redis.conf directives: appendonly="yes", maxmemory="10mb", …; a list value
    repeats its directive (user=["a on …", "b on …"])."""

    def __init__(self, start=True, db=0, **options):
        self.directory = tempfile.mkdtemp(prefix="fettle-redis-")
        self.socket = os.path.join(self.directory, "redis.sock")
        self.log = os.path.join(self.directory, "redis.log")
        self._db = db
        self.url = self.url_at(self.socket)
        self.open_url = "unix://" + self.socket  # as the user default, who may do everything
        self.process = None
        self._client = None
        self._options = {"port": "0", "unixsocket": self.socket, "dir": self.directory,
                         "logfile": self.log, "save": '""', "daemonize": "no",
                         "appendfsync": "always", "aof-use-rdb-preamble": "no",
                         "user": shipped_users()}
        self._options.update((k.replace("_", "-"), v) for k, v in options.items())
        self._write_config()
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def url_at(self, socket):
        return "unix://fettled:%s@%s%s" % (PASSWORD, socket, "?db=%d" % self._db if self._db else "")

    def _write_config(self):
        self._config = os.path.join(self.directory, "redis.conf")
        with open(self._config, "w") as file:
            for name, value in self._options.items():
                for one in value if isinstance(value, list) else [value]:
                    file.write("%s %s\n" % (name, one))

    def start(self, timeout=20):
        """Returns when it answers."""
        assert self.process is None
        self.process = child.start([PROGRAM, self._config])
        until(self._answers, timeout, "redis-server to answer")

    def _answers(self):
        assert self.process.poll() is None, "redis-server ended:\n" + self.tail()
        try:
            with Redis(self.socket, timeout=1) as redis:
                redis.call("PING")
        except (OSError, RedisError) as error:
            return isinstance(error, RedisError) and error.code in ("NOAUTH", "NOPERM")
        return True

    @property
    def client(self):
        """A connection that is kept, made anew after a restart."""
        if self._client is None:
            self._client = self.connect()
        return self._client

    def connect(self, **options):
        return Redis(self.socket, **{"timeout": patience(30), "db": self._db, **options})

    def _forget_client(self):
        if self._client is not None:
            self._client.close()
            self._client = None

    def kill(self):
        """SIGKILL: what is not on its disk is lost."""
        self._forget_client()
        self.process.kill()
        child.finish(self.process, 10)
        self.process = None

    def stop(self):
        """SIGTERM: an orderly end."""
        self._forget_client()
        self.process.terminate()
        child.finish(self.process, 10)
        self.process = None

    def restart(self, timeout=20):
        self.kill()
        self.start(timeout)

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        if self.process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tail(self, lines=30):
        try:
            with open(self.log, errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""

    def diagnose(self):
        return "redis-server %s, its last lines:\n%s" % (self.socket, self.tail(8))
