#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is said about connections that cannot be made or kept: why, once, and without the password."""

import os
import re
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import FETTLE, FETTLED, Fettled, job
from notify import Notify
from redisd import PASSWORD, Redisd, available
from resp import RedisError
from tap import equal, main, raises
from wait import patience, until


class Stranger:
    """Something on a port of the loopback device that is no Redis. It answers each command, which comes
    as a list of words, with what `answer` returns; None: it hangs up. `greeting`: what it says unasked
    before it closes, if there is one."""

    def __init__(self, answer=None, greeting=None):
        self.connections = 0
        self._answer, self._greeting = answer, greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.at = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._answer is None:
                with connection:
                    connection.sendall(self._greeting or b"")
            else:
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as commands:
            while True:
                try:
                    line = commands.readline()
                    if not line:
                        return
                    words = []
                    for _ in range(int(line[1:])):
                        words.append(commands.read(int(commands.readline()[1:])).decode())
                        commands.readline()
                    answer = self._answer(words)
                    if answer is None:
                        return
                    connection.sendall(answer)
                except OSError:
                    return


ROTATED = "another-secret"


def kick(redisd):
    """Breaks all connections but that of the test."""
    redisd.client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def start(t, **redis):
    daemon = t.use(Fettled("", start=False))
    daemon.configure(redis=redis)
    daemon.start()
    return daemon


def fettle(daemon):
    """The operator's command, which fails: what it says."""
    done = subprocess.run([FETTLE, "--config", daemon.config, "stats"], capture_output=True, text=True,
                          timeout=patience(60))
    equal(done.returncode, 1, done.stderr)
    return done.stderr


def secret(redisd, name, text):
    """A file in that directory that only we can read."""
    path = os.path.join(redisd.directory, name)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    return path


def connections(redisd):
    """How many it has seen, but for that of the test."""
    text = redisd.client.call("INFO", "stats").decode()
    return int(re.search(r"total_connections_received:(\d+)", text).group(1))


def test_who_does_not_know_auth(t):
    """Redis repeats the arguments of a command that it does not know; they are not passed on."""
    redisd = t.use(Redisd(rename_command='AUTH ""'))
    assert "'told'" in str(raises(RedisError, redisd.client.call, "AUTH", "fettled", "told"))
    daemon = t.use(Fettled(redisd))
    error = daemon.wait_event("redis.error", link="work", command="AUTH")
    assert "not shown" in error["reason"], error
    assert "not shown" in daemon.wait_event("redis.lost", link="work")["reason"]
    said = fettle(daemon)
    assert "not shown" in said and PASSWORD not in said, said
    daemon.stop()  # which looks for the password in the log


def test_a_sentinel_that_does_not_know_auth(t):
    redisd = t.use(Redisd())  # for its directory
    stranger = t.use(Stranger(lambda words: ("-ERR unknown command '%s', with args beginning with: %s\r\n"
                                             % (words[0], " ".join(map(repr, words[1:])))).encode()))
    daemon = start(t, sentinels=[stranger.at], master="jobs",
                   sentinel_password_file=secret(redisd, "password", PASSWORD))
    assert "not shown" in daemon.wait_event("redis.lost", link="work")["reason"]
    said = fettle(daemon)
    assert "not shown" in said and PASSWORD not in said, said
    daemon.stop()


def test_who_hangs_up_is_told_once(t):
    """By whatever call it is met, read or write."""
    stranger = t.use(Stranger())
    daemon = start(t, url="redis://" + stranger.at)
    until(lambda: stranger.connections > 24, what="24 trials")
    lost = daemon.find("redis.lost")
    equal({event["reason"] for event in lost}, {"Redis has closed the connection"}, "reasons")
    equal(daemon.hasty("redis.lost"), [], "repeated")


def test_sentinels_that_hang_up_are_told_once(t):
    """All of them in one line, and no sooner again because another one is asked first."""
    strangers = [t.use(Stranger()) for _ in range(3)]
    daemon = start(t, sentinels=[stranger.at for stranger in strangers], master="jobs")
    until(lambda: all(stranger.connections > 20 for stranger in strangers), what="trials")
    lost = daemon.find("redis.lost", link="work")
    assert all(stranger.at in lost[0]["reason"] for stranger in strangers), lost
    equal(daemon.hasty("redis.lost"), [], "repeated")


def test_a_replica_is_told_once(t):
    """It takes the connection, refuses to write, is left and tried again: neither end floods the log.
    When it is made a master, work begins."""
    redisd = t.use(Redisd(replicaof="127.0.0.1 1"))
    daemon = t.use(Fettled(redisd))
    lost = daemon.wait_event("redis.lost", link="beat")
    assert "is a replica" in lost["reason"], lost
    before = connections(redisd)
    until(lambda: connections(redisd) > before + 6, what="more trials")
    equal(daemon.hasty("redis.lost"), [], "lost again")
    for link in "work", "beat", "side":
        assert len(daemon.find("redis.connected", link=link)) <= 1 + len(
            daemon.find("redis.lost", link=link)), link
    redisd.client.call("REPLICAOF", "NO", "ONE")
    daemon.wait_ready()


def test_a_server_that_is_full(t):
    """It says so and hangs up before it is asked anything; the log has its words, not ours."""
    redisd = t.use(Redisd())
    redisd.client.call("CONFIG", "SET", "maxclients", 1)
    daemon = t.use(Fettled(redisd))
    error = daemon.wait_event("redis.error", link="work", command="AUTH")
    assert "max number of clients" in error["reason"], error
    redisd.client.call("CONFIG", "SET", "maxclients", 1000)
    daemon.wait_ready()


def test_a_server_that_is_protected(t):
    """The same where there is neither user nor password, and from who hangs up at once, ten times."""
    stranger = t.use(Stranger(greeting=b"-DENIED Redis is running in protected mode\r\n"))
    daemon = start(t, url="redis://" + stranger.at)
    for link in "work", "beat", "side":
        lost = daemon.wait_event("redis.lost", link=link)
        assert "DENIED Redis is running" in lost["reason"], lost
    until(lambda: stranger.connections > 24, what="more trials")
    equal({event["reason"] for event in daemon.find("redis.lost")}, {lost["reason"]}, "reasons")


def test_a_user_without_a_password(t):
    """Logged in as that user, who may need none, and never as the user default, who may do everything."""
    redisd = t.use(Redisd())
    url = "unix://fettled@" + redisd.socket
    daemon = t.use(Fettled(url))
    for link in "work", "beat", "side":
        error = daemon.wait_event("redis.error", link=link, command="AUTH")
        assert "WRONGPASS" in error["reason"], error
    assert "WRONGPASS" in fettle(daemon)
    checked = subprocess.run([FETTLED, "--config", daemon.config, "--check-config"], capture_output=True,
                             text=True, timeout=patience(60))
    equal(checked.returncode, 0, checked.stderr)  # the password may be one that only the service gets
    redisd.client.call("ACL", "SETUSER", "fettled", "nopass")
    daemon.wait_ready()
    users = {line.split("user=")[1].split()[0]
             for line in redisd.client.call("CLIENT", "LIST").decode().splitlines() if "name=fettled" in line}
    equal(users, {"fettled"}, "users")
    done = subprocess.run([FETTLE, "--redis", url, "stats"], capture_output=True, text=True,
                          timeout=patience(60))
    equal(done.returncode, 0, done.stderr)


def test_a_new_password(t):
    """After a rotation the status says what is wrong; a reload brings the new password, and what was
    logged in with the old one stays so."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    file = secret(redisd, "password", PASSWORD)
    daemon = t.use(Fettled("", start=False, environment=manager.environment))
    daemon.configure(redis={"url": "unix://fettled@" + redisd.socket, "password_file": file})
    daemon.start()
    daemon.wait_ready()
    redisd.client.call("ACL", "SETUSER", "fettled", "resetpass", ">" + ROTATED)
    mark, since = daemon.mark(), manager.mark()
    kick(redisd)
    error = daemon.wait_event("redis.error", since=mark, link="work", command="AUTH")
    assert "WRONGPASS" in error["reason"], error
    if manager.messages:
        manager.wait("STATUS", lambda text: "WRONGPASS" in text, since=since)
    secret(redisd, "password", ROTATED)
    mark = daemon.mark()
    daemon.reload()
    daemon.wait_event("config.reloaded", since=mark)
    daemon.wait_event("redis.connected", since=mark, link="work")
    if manager.messages:
        manager.wait("STATUS", "Running", since=since)
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["after the rotation"]))
    daemon.wait_event("job.log", line="hello, after the rotation")
    mark = daemon.mark()
    daemon.reload(redis={"url": "unix:///else", "password_file": file})
    assert "redis.url" in daemon.wait_event("config.refused", since=mark)["reason"]
    assert not [line for line in daemon.lines if ROTATED in line]


def test_a_new_password_before_it_is_ready(t):
    """The same where the first one was wrong: the status says so, and a reload is enough."""
    redisd, manager = t.use(Redisd()), t.use(Notify())
    file = secret(redisd, "password", ROTATED)
    daemon = t.use(Fettled("", start=False, environment=manager.environment))
    daemon.configure(redis={"url": "unix://fettled@" + redisd.socket, "password_file": file})
    daemon.start()
    daemon.wait_event("redis.error", link="work", command="AUTH")
    manager.mark()
    if manager.messages:
        manager.wait("STATUS", lambda text: text.startswith("Waiting for Redis") and "WRONGPASS" in text)
    secret(redisd, "password", PASSWORD)
    daemon.reload()
    daemon.wait_event("config.reloaded")
    daemon.wait_ready()
    manager.mark()
    if manager.messages:
        manager.wait("READY", "1")
        equal(len([message for message in manager.messages if "READY" in message]), 1, "READY")


main(None if available() else "there is no redis-server")
