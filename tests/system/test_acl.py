#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shipped users of Redis: they may do what is needed (all other tests run as fettled) and nothing
else; a right that is missing is named; passwords are nowhere to be seen."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import SRCDIR, Fettled, job
from places import places
from probe import Probe
from redisd import PASSWORD, Redisd, available, shipped_users
from resp import RedisError
from tap import equal, main, raises
from wait import until


KEYS_OF_OTHERS = ("session:1", "queues:x", "retry2", "a:b", "sidekiq", "host:1:0123456789a", "stat")
OPEN = {"auth", "hello", "quit", "reset"}  # whoever is not logged in may call these


def rights(user):
    """Name and commands of a user as shipped; subcommands as "script|load"."""
    words = user.split()
    return words[0], {word[1:] for word in words if word.startswith("+")}


def refusal(client, words):
    """What Redis says to a command."""
    try:
        client.call(*words)
    except RedisError as error:
        return str(error)
    return ""


def calls(redisd):
    """Each command of the server with as many arguments as it needs at least; of those that have
    subcommands (Redis 7 tells them), each of these."""
    for entry in redisd.client.call("COMMAND"):
        for name, arity in [one[:2] for one in (entry[9] if len(entry) > 9 else ())] or [entry[:2]]:
            words = name.decode().split("|")
            if words[0] not in OPEN:
                yield name.decode(), words + ["queue:x"] * (abs(arity) - len(words))


def test_nothing_else(t):
    """Each command that the users were not given is refused, as are the keys of others."""
    redisd = t.use(Redisd())
    for user in shipped_users():
        name, given = rights(user)
        partly = {one.split("|")[0] for one in given if "|" in one}
        with redisd.connect(user=name, password=PASSWORD) as client:
            refused = 0
            for command, words in calls(redisd):
                if command in given | partly:
                    continue
                said = refusal(client, words)
                off = "command not allowed. If the enable-" in said  # for everybody
                noperm = said.startswith(("NOPERM", "EXECABORT Transaction discarded because of: NOPERM"))
                assert off or noperm, "%s: %s" % (words, said)
                refused += 1
            assert refused > 100, refused
            for key in KEYS_OF_OTHERS:
                said = refusal(client, ["SADD", key, "x"])
                assert said.startswith("NOPERM"), "%s: %s" % (key, said)


def sources(folder, *endings):
    for directory, _, files in os.walk(os.path.join(SRCDIR, folder)):
        for name in files:
            if name.endswith(endings):
                with open(os.path.join(directory, name), encoding="utf-8") as file:
                    yield file.read()


def test_nothing_idle(t):
    """Each command that fettled was given stands in its sources or those of fettle."""
    text = "".join(sources("daemon", ".c", ".lua")) + "".join(sources("cli", ".c"))
    for command in rights(shipped_users()[0])[1]:
        words = command.upper().split("|")
        assert re.search(r"\b" + r'(?:", "| )'.join(words) + r"\b", text), command


def test_the_producer(t):
    """The producer enqueues, now and for later, and can take nothing away."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    with redisd.connect(user="fettle-producer", password=PASSWORD) as producer:
        producer.call("SADD", "queues", "default")
        producer.call("LPUSH", "queue:default", job("Hello", ["now"]))
        producer.call("ZADD", "schedule", time.time(), job("Hello", ["later"], queue="default"))
        raises(RedisError, producer.call, "RPOP", "queue:default")
    daemon.wait_event("job.log", line="hello, now")
    daemon.wait_event("job.log", 20, line="hello, later")


def test_a_missing_right_is_named(t):
    """Once, by the command that it is about; when it is given, the daemon goes on by itself."""
    for right, named in ("ping", "ping"), ("evalsha", "evalsha"), ("script", "script|load"):
        redisd = t.use(Redisd())
        redisd.client.call("ACL", "SETUSER", "fettled", "-" + right)
        daemon = t.use(Fettled(redisd))
        error = daemon.wait_event("redis.error")
        assert "NOPERM" in error["reason"] and named in error["reason"], error
        time.sleep(1.5)
        equal(daemon.hasty("redis.error"), [], "complaints, told again")
        redisd.client.call("ACL", "SETUSER", "fettled", "+" + named)
        daemon.wait_ready()


def test_a_missing_right_to_wait(t):
    """Without BLMOVE work is found once a second instead of at once, and that is said."""
    redisd = t.use(Redisd())
    redisd.client.call("ACL", "SETUSER", "fettled", "-blmove")
    daemon = t.use(Fettled(redisd))
    error = daemon.wait_event("redis.error", command="BLMOVE", queue="default")
    assert "blmove" in error["reason"], error
    before = redisd.client.call("INFO", "stats")
    time.sleep(2)
    after = redisd.client.call("INFO", "stats")
    count = [int(re.search(rb"total_commands_processed:(\d+)", text).group(1))
             for text in (before, after)]
    assert count[1] - count[0] < 200, "calls in 2 s: %d" % (count[1] - count[0])
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["anyway"]))
    daemon.wait_event("job.log", line="hello, anyway")


def test_a_wrong_password(t):
    """Said once, without the password; when it is right, the daemon goes on by itself."""
    redisd = t.use(Redisd())
    redisd.client.call("ACL", "SETUSER", "fettled", "<" + PASSWORD, ">other")
    daemon = t.use(Fettled(redisd))
    error = daemon.wait_event("redis.error", link="work", command="AUTH")
    assert "WRONGPASS" in error["reason"], error
    time.sleep(1.5)
    equal(daemon.hasty("redis.error", link="work"), [], "complaints, told again")
    redisd.client.call("ACL", "SETUSER", "fettled", ">" + PASSWORD)
    daemon.wait_ready()


def connections(client):
    """How many there have been."""
    return int(re.search(rb"total_connections_received:(\d+)", client.call("INFO", "stats")).group(1))


def test_refused_at_a_reconnect(t):
    """Said once for each connection, which is tried on; what runs runs on. When it is let in again, it
    tells the end of that, and goes on with what has come meanwhile."""
    for url, command, said, closed, opened in (
            ("url", "AUTH", "WRONGPASS", ("ACL", "SETUSER", "fettled", "<" + PASSWORD, ">other"),
             ("ACL", "SETUSER", "fettled", ">" + PASSWORD)),
            ("url", "PING", "NOPERM", ("ACL", "SETUSER", "fettled", "-ping"),
             ("ACL", "SETUSER", "fettled", "+ping")),
            ("open_url", "PING", "NOAUTH", ("CONFIG", "SET", "requirepass", "other"),
             ("CONFIG", "SET", "requirepass", ""))):
        redisd, probe = t.use(Redisd()), t.use(Probe(2))
        client = redisd.client
        daemon = t.use(Fettled(getattr(redisd, url), **probe.settings()))
        daemon.wait_ready()
        client.call("LPUSH", "queue:default", job("Linger", [0, 0.5]))
        daemon.wait_event("job.start")
        client.call(*closed)
        client.call("CLIENT", "KILL", "TYPE", "normal")
        error = daemon.wait_event("redis.error", link="work", command=command)
        assert said in error["reason"], error
        before = connections(client)
        client.call("LPUSH", "queue:default", job("Count", [1]))
        until(lambda: connections(client) >= before + 12, what="tries of the four connections")
        told = [event["link"] for event in daemon.find("redis.error", command=command)]
        equal(len(told), len(set(told)), "complaints, told once: %s" % told)
        client.call(*opened)
        until(lambda: not places(client), 20, "both jobs to end")
        equal(probe.cells(), (1, 1), "runs")
        equal(daemon.find("job.refused"), [], "refused")


def test_the_password_is_nowhere_to_be_seen(t):
    """From a file or a systemd credential; neither in the arguments nor in the environment. (That no
    log has it, every test looks at the end of a daemon.)"""
    redisd = t.use(Redisd())
    path = os.path.join(redisd.directory, "redis-password")
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(PASSWORD + "\n")
    url = "unix://fettled@" + redisd.socket
    for settings, environment in (({"url": url, "password_file": path}, None),
                                  ({"url": url}, {"CREDENTIALS_DIRECTORY": redisd.directory})):
        with Fettled(redisd, start=False, environment=environment) as daemon:
            daemon.configure(redis=settings)
            daemon.start()
            daemon.wait_ready()
            for name in "cmdline", "environ":
                with open("/proc/%d/%s" % (daemon.pid, name), "rb") as file:
                    assert PASSWORD.encode() not in file.read(), name
            equal(daemon.find("redis.error"), [], "errors")


main(None if available() else "there is no redis-server")
