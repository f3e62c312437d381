#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS to Redis: jobs go through it, a server that is not the one it should be gets nothing, and
whoever does not ask for it does not load it."""

import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import certificates
from certificates import Certificates
from fettled import FETTLE, FETTLED, Fettled, config_text, job
from redisd import PASSWORD, PROGRAM, Redisd, available
from sentinels import Sentinels, free_port
from tap import equal, main
from wait import patience, until

CALM = {"level": "info", "format": "json", "jobs": "all"}


def url(port, host="127.0.0.1"):
    return "rediss://fettled:%s@%s:%d/0" % (PASSWORD, host, port)


class Server(Redisd):
    """A redis-server whose only TCP port has TLS. (The unix socket is the test's own way in.)"""

    def __init__(self, files, **options):
        self.tls_port = free_port()
        super().__init__(**files.server_options(self.tls_port, **options))

    def settings(self, host="127.0.0.1", **tls):
        return {"url": url(self.tls_port, host), **({"tls": tls} if tls else {})}


def start(t, redis):
    """A daemon with that group redis."""
    daemon = t.use(Fettled("", start=False, log=CALM, concurrency=64))
    daemon.configure(redis=redis)
    daemon.start()
    return daemon


def fettled(t, server, **tls):
    return start(t, server.settings(**tls))


def refused(t, server, why, host="127.0.0.1", **tls):
    """The daemon does not become ready, and its log says why."""
    daemon = start(t, server.settings(host, **tls))
    event = daemon.wait_event("redis.lost", link="work")
    assert why in event["reason"], event
    assert not daemon.find("daemon.ready"), "ready"
    daemon.stop()


def test_jobs_go_through_it(t):
    """From the push to the end, small and large, with the operator's command as the producer."""
    files = t.use(Certificates())
    server = t.use(Server(files))
    daemon = fettled(t, server, ca_file=files.ca)
    equal(daemon.wait_event("redis.connected", link="work")["redis"],
          "rediss://127.0.0.1:%d/0" % server.tls_port)
    daemon.wait_ready()
    said = subprocess.run([FETTLE, "--config", daemon.config, "enqueue", "Hello", '["tls"]'],
                          capture_output=True, timeout=patience(60))
    equal(said.returncode, 0, said.stderr.decode())
    server.client.call("LPUSH", "queue:default", job("Fail", ["x" * 900_000], retry=5),
                       *[job("Noop", [n]) for n in range(2000)])
    daemon.wait_event("job.done", **{"class": "Hello"})
    until(lambda: int(server.client.call("GET", "stat:processed") or 0) > 2000, 60, "2000 runs")
    until(lambda: server.client.call("ZCARD", "retry") == 1, 20, "the rewritten job")


def test_a_broken_connection_comes_back(t):
    files = t.use(Certificates())
    server = t.use(Server(files))
    daemon = fettled(t, server, ca_file=files.ca)
    daemon.wait_ready()
    since = daemon.mark()
    server.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    daemon.wait_event("redis.lost", since=since)
    daemon.wait_event("redis.connected", since=since, link="work")
    server.client.call("LPUSH", "queue:default", job("Hello", ["again"]))
    daemon.wait_event("job.done", since=since)
    since = daemon.mark()
    server.restart()
    daemon.wait_event("redis.connected", 20, since=since, link="work")


def test_the_server_must_be_the_right_one(t):
    files = t.use(Certificates())
    server, misnamed = t.use(Server(files)), t.use(Server(files, certificate=files.misnamed))
    refused(t, server, "TLS: ", ca_file=files.other_ca)
    refused(t, server, "TLS: ")  # whom the system trusts
    refused(t, misnamed, "TLS: IP address mismatch", ca_file=files.ca)
    refused(t, server, "TLS: hostname mismatch", host="localhost", ca_file=files.ca)
    for settings in ({"ca_file": files.ca, "server_name": "redis.test"}, {"verify": False}):
        fettled(t, misnamed, **settings).wait_ready()


def test_the_server_may_ask_who_we_are(t):
    files = t.use(Certificates())
    server = t.use(Server(files, clients="yes"))
    unknown = fettled(t, server, ca_file=files.ca)
    until(lambda: [e for e in unknown.find("redis.lost") if "TLS: " in e["reason"] and
                   "certificate" in e["reason"]], what="why: it may be too late to read it, now and then")
    assert not unknown.find("daemon.ready"), "ready"
    unknown.stop()
    daemon = fettled(t, server, ca_file=files.ca, cert_file=files.client,
                     key_file=files.key(files.client))
    daemon.wait_ready()
    said = subprocess.run([FETTLE, "--config", daemon.config, "stats"], capture_output=True,
                          timeout=patience(60))
    equal(said.returncode, 0, said.stderr.decode())


class Plain(threading.Thread):
    """A server that says what a Redis without TLS says to what it does not understand."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.socket.close()

    def run(self):
        while True:
            try:
                with self.socket.accept()[0] as one:
                    one.recv(100)
                    one.sendall(b"-ERR unknown command\r\n")
            except OSError:
                return


def test_a_server_without_it(t):
    """It is told in words, by both programs."""
    port = t.use(Plain()).port
    daemon = start(t, {"url": url(port)})
    assert "TLS: " in daemon.wait_event("redis.lost", link="work")["reason"]
    daemon.stop()
    said = subprocess.run([FETTLE, "--redis", url(port), "stats"], capture_output=True,
                          timeout=patience(60))
    assert said.returncode != 0 and b"TLS: " in said.stderr, said


def check(t, redis):
    path = os.path.join(t.use(Certificates()).directory, "fettled.conf")
    with open(path, "w") as file:
        file.write(config_text({"redis": redis}))
    said = subprocess.run([FETTLED, "--check-config", "--config", path], capture_output=True,
                          timeout=patience(60))
    return said.returncode, said.stderr.decode()


def test_files_are_read_at_the_start(t):
    """What is wrong with them is an error of the configuration."""
    files = t.use(Certificates())
    for key, value, why in (
            ("ca_file", "/nonexistent/ca.pem", "No such file"),
            ("cert_file", files.key(files.client), "no start line"),
            ("cert_file", files.client, "no private key")):
        code, said = check(t, {"url": url(1), "tls": {key: value}})
        equal(code, 1, said)
        assert value in said and why in said and "redis.tls" in said, said


def test_a_failover_through_it(t):
    """Sentinels are asked through it as well."""
    files = t.use(Certificates())
    store = t.use(Sentinels(certificates=files))
    daemon = t.use(store.fettled(log=CALM))
    daemon.wait_ready()
    said = subprocess.run([FETTLE, "--config", daemon.config, "stats"], capture_output=True,
                          timeout=patience(60))
    equal(said.returncode, 0, said.stderr.decode())
    port, since = store.master_port(), daemon.mark()
    store.servers[port].kill()
    store.await_other(port)
    daemon.wait_event("redis.connected", 30, since=since, link="work")
    store.master().client.call("LPUSH", "queue:default", job("Hello", ["moved"]))
    daemon.wait_event("job.done", 30, since=since)


def test_it_is_loaded_only_when_it_is_used(t):
    server = t.use(Redisd())
    daemon = t.use(Fettled(server))
    daemon.wait_ready()
    with open("/proc/%d/maps" % daemon.pid) as file:
        mapped = file.read()
    assert "libcrypto" not in mapped and "libssl" not in mapped, "OpenSSL is mapped"


def why_not():
    if not available():
        return "no redis-server"
    if not certificates.available():
        return "no openssl command"
    said = subprocess.run([FETTLED, "--check-config", "--config", "/dev/stdin"],
                          input=b'redis = { url = "rediss://h"; };', capture_output=True)
    if b"without TLS" in said.stderr:
        return "built without TLS"
    with_tls = subprocess.run([PROGRAM, "--port", "0", "--tls-port", "1", "--tls-ca-cert-file", "/"],
                              capture_output=True, timeout=patience(60))
    return "redis-server has no TLS" if b"Bad directive" in with_tls.stdout + with_tls.stderr else None


main(why_not())
