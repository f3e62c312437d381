# SPDX-License-Identifier: MIT
"""A master with a replica, and a sentinel that watches them: on free ports of the loopback device,
since sentinels know no Unix sockets.

    store = t.use(Sentinels())
    daemon = t.use(store.fettled(concurrency=8))
    store.master().client.call("LPUSH", …)
    store.kill_master()

With `certificates` (certificates.py) everything speaks TLS, but for the test's own questions. With
`password` the sentinel wants one of its own, which settings() names."""

import contextlib
import os
import random
import shutil
import socket
import tempfile

import child
from fettled import Fettled
from redisd import PASSWORD, PROGRAM, Redisd
from resp import Redis, RedisError
from wait import until

NAME = "jobs"


def free_port():
    """Not one of those that the kernel gives away: others would get it before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(10000, first) if first > 11000 else 0
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return one.getsockname()[1]


class Sentinels:
    def __init__(self, certificates=None, password=None):
        self.directory = tempfile.mkdtemp(prefix="fettle-sentinel-")
        self.port, self._dead_port = free_port(), free_port()
        self.tls_port, self.certificates, self.password = free_port(), certificates, password
        self.servers, self.process = {}, None

    def __enter__(self):
        first, second = free_port(), free_port()
        options = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1"}
        self.servers[first] = Redisd(**self._port(first), **options)
        self.servers[second] = Redisd(replicaof="127.0.0.1 %d" % first, **self._port(second),
                                      **options)
        until(lambda: b"state=online" in self.servers[first].client.call("INFO", "replication"), 30,
              "the replica")
        config = os.path.join(self.directory, "sentinel.conf")
        with open(config, "w") as file:
            file.write("port %d\ndir %s\nlogfile %s/log\n"
                       "sentinel monitor %s 127.0.0.1 %d 1\n"
                       "sentinel down-after-milliseconds %s 500\n"
                       "sentinel failover-timeout %s 3000\n"
                       % (self.port, self.directory, self.directory, NAME, first, NAME, NAME))
            if self.password is not None:
                file.write("requirepass %s\n" % self.password)
            for name, value in self._tls(self.tls_port).items():
                file.write("%s %s\n" % (name.replace("_", "-"), value))
        self.process = child.start([PROGRAM, config, "--sentinel"])
        until(lambda: self.ask("SENTINEL", "REPLICAS", NAME), 30, "the sentinel to find the replica")
        return self

    def _tls(self, port):
        if self.certificates is None:
            return {}
        return {"tls_replication": "yes", **self.certificates.server_options(port)}

    def _port(self, port):
        return self._tls(port) or {"port": str(port)}

    def __exit__(self, *_):
        if self.process is not None:
            self.process.kill()
            child.finish(self.process, 10)
        for server in self.servers.values():
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, *words):
        try:
            with Redis(("127.0.0.1", self.port), timeout=5, password=self.password) as sentinel:
                return sentinel.call(*words)
        except (OSError, RedisError):
            return None

    def master_port(self):
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)[1])

    def master(self):
        """The server that the sentinel calls master."""
        return self.servers[self.master_port()]

    def settings(self):
        """The group redis; the first sentinel of the list is not there."""
        own = self.password and {"sentinel_password_file": self.secret("sentinel", self.password)}
        port = self.tls_port if self.certificates else self.port
        tls = {"tls": {"ca_file": self.certificates.ca}} if self.certificates else {}
        return {"sentinels": ["127.0.0.1:%d" % self._dead_port, "127.0.0.1:%d" % port],
                "master": NAME, "user": "fettled", "password_file": self.secret("password", PASSWORD),
                **tls, **(own or {})}

    def secret(self, name, text):
        """The path of a file that only we can read."""
        path = os.path.join(self.directory, name)
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        return path

    def fettled(self, **settings):
        start = settings.pop("start", True)
        daemon = Fettled("", start=False, **settings)
        daemon.configure(redis=self.settings())
        if start:
            daemon.start()
        return daemon

    def await_other(self, port):
        """Until there is another master than the one at that port, and it says so itself."""
        until(lambda: self.master_port() != port, 30, "a failover")
        until(lambda: self.master().client.call("ROLE")[0] == b"master", 30, "the new master")

    def diagnose(self):
        with open(os.path.join(self.directory, "log"), errors="replace") as file:
            return "sentinel:\n" + "".join(file.readlines()[-15:])
