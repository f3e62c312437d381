#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The configuration: errors that name file, line and key; --check-config; reload on HUP."""

import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import (BUILDDIR, FETTLE, FETTLED, HELLO, MODULES_DIR, Fettled, command, job,
                     native)
from places import inflight
from probe import Probe
from redisd import Redisd, available
from tap import equal, main
from wait import patience, until

GOOD = """redis = { url = "unix:///nowhere.sock"; };
concurrency = 4;
queues = ( { name = "default"; } );
module_path = [ "%s" ];
handlers = (
  { class = "Hello"; module = "hello"; },
  { class = "True"; command = [ "/bin/true" ]; timeout = 30; }
);
"""

# What is changed in GOOD, into what, the line of the error and the key that it names.
WRONG = (
    ("concurrency = 4", "concurency = 4", 2, "concurency"),
    ("concurrency = 4", "concurrency = 0", 2, "concurrency"),
    ("concurrency = 4", 'concurrency = "4"', 2, "concurrency"),
    ("concurrency = 4", "concurrency = 4", None, None),
    ("{ url =", "{ uri =", 1, "uri"),
    ("unix:///nowhere.sock", "http://nowhere", 1, "url"),
    ('name = "default"', 'nam = "default"', 3, "nam"),
    ('name = "default"', 'name = "a b"', 3, "name"),
    ('name = "default"', 'name = "sq|x"', 3, "name"),
    ('name = "default"', 'name = "default"; weight = 3', 3, "weight"),
    ('name = "default"', 'name = "default"; concurrency = -1', 3, "concurrency"),
    ("command =", "comand =", 7, "comand"),
    ("timeout = 30", 'timeout = "long"', 7, "timeout"),
    ('module = "hello";', 'module = "hello"; cwd = "/";', 6, "cwd"),
    ('module = "hello";', 'module = "absent";', 6, "absent"),
    ('"/bin/true"', '"/nowhere/true"', 7, "/nowhere/true"),
    ("timeout = 30;", 'cwd = "/nowhere/at/all";', 7, ".cwd: /nowhere/at/all: No such file"),
    ("timeout = 30;", 'cwd = "/bin/true";', 7, ".cwd: /bin/true: Not a directory"),
    ("timeout = 30;", "files = 1073741824;", 7, ".files: 1073741824 is above the hard limit"),
    ("concurrency = 4;", "concurrency = 4; lease_ttl = -1;", 2, "lease_ttl"),
    ("concurrency = 4;", 'concurrency = 4; log = { level = "loud"; };', 2, "level"),
    ("concurrency = 4;", 'concurrency = 4; order = "random";', 2, "order"),
    ("concurrency = 4;", "concurrency = ;", 2, ""),
)


def check(path):
    done = subprocess.run([FETTLED, "--config", path, "--check-config"], capture_output=True,
                          text=True, timeout=patience(20))
    return done.returncode, done.stdout + done.stderr


def test_errors_name_file_line_and_key(t):
    """Exit 1 and one line FILE:LINE: KEY: reason, for each kind of mistake."""
    redisd = t.use(Redisd(start=False))
    path = os.path.join(redisd.directory, "fettled.conf")
    good = GOOD % os.environ.get("MODULES_DIR", os.path.join(os.path.dirname(FETTLED), "modules"))
    for old, new, line, key in WRONG:
        assert old in good, old
        with open(path, "w") as file:
            file.write(good.replace(old, new))
        code, text = check(path)
        if line is None:
            equal(code, 0, "exit code of a good file: " + text)
            continue
        equal(code, 1, "exit code for %s: %s" % (new, text))
        found = [one for one in text.splitlines() if "%s:%d:" % (path, line) in one]
        assert found and key in found[0], "%s → %s" % (new, text)


def test_missing_file(t):
    """A file that is not there is an error with its name; so is a daemon started on it."""
    redisd = t.use(Redisd(start=False))
    path = os.path.join(redisd.directory, "absent.conf")
    code, text = check(path)
    equal(code, 1, "exit code")
    assert path in text, text
    done = subprocess.run([FETTLED, "--config", path], capture_output=True, text=True,
                          timeout=patience(20))
    equal(done.returncode, 1, "exit code of the daemon")
    assert path in done.stdout + done.stderr


def test_what_is_no_file(t):
    """A FIFO is not waited for, a directory is none, and a byte order mark is called by its name:
    the daemon and fettle say so at once."""
    redisd = t.use(Redisd(start=False))
    fifo, marked = (os.path.join(redisd.directory, name) for name in ("fifo", "marked.conf"))
    os.mkfifo(fifo)
    with open(marked, "w", encoding="utf-8-sig") as file:
        file.write("concurrency = 4;\n")
    for path, reason in ((fifo, "no regular file"), (redisd.directory, "no regular file"),
                         (marked, "byte order mark")):
        code, text = check(path)
        equal(code, 1, "exit code for " + path)
        assert path in text and reason in text and text.count("\n") == 1, text
        done = subprocess.run([FETTLE, "--config", path, "stats"], capture_output=True, text=True,
                              timeout=patience(20))
        assert done.returncode == 1 and path in done.stderr and reason in done.stderr, done


def test_start_with_a_typo(t):
    """The daemon does not start on a wrong file: exit 1 with the same line."""
    daemon = t.use(Fettled("unix:///nowhere.sock", start=False))
    with open(daemon.config) as file:
        text = file.read()
    daemon.write_config(text + "shutdown_timout = 3;\n")
    daemon.start()
    equal(daemon.wait_exit(20), 1, "exit code")
    line = text.count("\n") + 1
    assert any("%s:%d" % (daemon.config, line) in got and "shutdown_timout" in got
               for got in daemon.lines), daemon.lines


def example(directory):
    """The example that is installed, with our modules and a password file that is there."""
    with open(os.path.join(BUILDDIR, "systemd", "fettled.conf")) as file:
        text = file.read()
    password = os.path.join(directory, "password")
    with open(password, "w") as file:
        file.write("sesame\n")
    os.chmod(password, 0o600)
    text = re.sub(r'module_path = \[.*?\]', 'module_path = [ "%s" ]' % MODULES_DIR, text)
    return text.replace("/etc/fettle/redis-password", password)


def accepted(directory, text, what):
    path = os.path.join(directory, "fettled.conf")
    with open(path, "w") as file:
        file.write(text)
    code, output = check(path)
    equal(code, 0, "exit code of the example with %s: %s" % (what, output))


def test_example_is_valid(t):
    """The example that is installed passes its own check, as it is and with the settings in its
    comments put in force."""
    directory = t.use(Redisd(start=False)).directory
    text = example(directory)
    accepted(directory, text, "nothing changed")
    hidden = re.compile(r"^(\s*)//(\w+ = .*;)", re.M)
    assert hidden.search(text), "no setting in a comment"
    accepted(directory, hidden.sub(r"\1\2", text), "its comments in force")


def test_example_names_values(t):
    """Each word that a comment of the example lists for a setting is one that it takes."""
    directory = t.use(Redisd(start=False)).directory
    text, tried = example(directory), 0
    for key, words in re.findall(r'^ *(\w+) = "\w+"; *//.*?((?:\w+, )+\w+)$', text, re.M):
        for word in words.split(", "):
            accepted(directory, re.sub(r'(?m)^( *%s = )"\w+"' % key, r'\1"%s"' % word, text),
                     "%s = %s" % (key, word))
            tried += 1
    assert tried >= 10, "%d values found" % tried


def test_reload(t):
    """HUP: handlers, queues, bounds and the log change for what begins from now on; runs go on."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    settings = probe.settings(native("Hello"))
    daemon = t.use(Fettled(redisd, concurrency=2, **settings))
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 1.5])] * 4)
    until(lambda: probe.slot(0).running == 2, what="2 runs")
    redisd.client.call("LPUSH", "queue:other", job("New", []))
    daemon.reload(concurrency=4, queues=[{"name": "default"}, {"name": "other"}],
                  handlers=[command("New", ["/bin/echo", "new"])] + settings["handlers"])
    daemon.wait_event("config.reloaded")
    daemon.wait_event("job.stdout", 5, line="new")
    until(lambda: probe.slot(0).done == 4, what="the runs that were there")
    assert 3 <= probe.slot(0).most <= 4, probe.slot(0)
    equal(probe.slot(0).started, 4, "runs begun")
    daemon.reload(queues=[{"name": "other"}])
    daemon.wait_events(2, "config.reloaded")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["nobody looks"]))
    redisd.client.call("LPUSH", "queue:other", job("Hello", ["here"]))
    daemon.wait_event("job.log", line="hello, here")
    time.sleep(1.2)
    equal(daemon.find("job.log", line="hello, nobody looks"), [], "runs from a queue taken out")


def test_reload_of_a_bound(t):
    """Jobs that are parked at a handler's bound start as soon as that is raised."""
    redisd, probe = t.use(Redisd()), t.use(Probe())
    daemon = t.use(Fettled(redisd, shutdown_timeout=0.2, **probe.settings(Hold=1)))
    redisd.client.call("LPUSH", "queue:default", *[job("Hold", [0, 60])] * 4)
    until(lambda: probe.slot(0).running == 1 and inflight(redisd.client) == 4, what="3 parked")
    daemon.reload(handlers=probe.settings(Hold=3)["handlers"])
    until(lambda: probe.slot(0).running == 3, what="3 runs")
    equal(daemon.find("job.returned"), [], "jobs that went back before")
    equal(probe.slot(0).most, 3, "most at once")


def test_reload_of_the_log(t):
    """log.jobs changes what is reported."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()
    daemon.reload(log={"level": "info", "format": "json", "jobs": "none"})
    daemon.wait_event("config.reloaded")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["quietly"]))
    daemon.wait_event("job.log", line="hello, quietly")
    daemon.stop()
    equal(daemon.find("job.start") + daemon.find("job.done"), [], "runs reported one by one")


def test_reload_refused(t):
    """An error in the file, or a key that only a restart can change: the old configuration stays,
    the log says why, and the daemon works on."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd))
    daemon.wait_ready()

    def refused(*words, **settings):
        since = daemon.mark()
        daemon.reload(**settings)
        event = daemon.wait_event("config.refused", since=since)
        for word in words:
            assert word in event["reason"], event
        redisd.client.call("LPUSH", "queue:default", job("Hello", ["unmoved"]))
        daemon.wait_event("job.log", since=since, line="hello, unmoved")
    refused("concurency", daemon.config, concurency=3, handlers=[])
    refused("absent", concurency=None, handlers=[native("Hello", "absent")])
    refused("redis", handlers=HELLO, redis={"url": "unix:///elsewhere.sock"})
    since = daemon.mark()
    daemon.reload(redis={"url": redisd.url})
    daemon.wait_event("config.reloaded", since=since)


def test_password_is_not_shown(t):
    """A password in the URL is in no line of the log."""
    redisd = t.use(Redisd(requirepass="sesame"))
    url = "unix://:sesame@" + redisd.socket
    daemon = t.use(Fettled(url))
    daemon.wait_ready()
    daemon.stop()
    equal([line for line in daemon.lines if "sesame" in line], [], "lines with the password")


def connections(client):
    """How many Redis has seen."""
    text = client.call("INFO", "stats").decode()
    return int(re.search(r"total_connections_received:(\d+)", text).group(1))


def test_wrong_password(t):
    """It says what Redis said, as an error but not again and again, and keeps trying."""
    redisd = t.use(Redisd(requirepass="sesame"))
    daemon = t.use(Fettled("unix://:wrong@" + redisd.socket))
    said = daemon.wait_event("redis.error", level="error", command="AUTH", link="work")
    assert "WRONGPASS" in said["reason"], said
    lost = daemon.wait_event("redis.lost", link="work")
    assert "WRONGPASS" in lost["reason"] or "password" in lost["reason"], lost
    equal(daemon.process.poll(), None, "its end")
    with redisd.connect(password="sesame") as client:
        until(lambda: connections(client) > 10, what="more trials")
        client.call("CONFIG", "SET", "requirepass", "wrong")
    daemon.wait_ready()
    equal(daemon.hasty("redis.error", link="work"), [], "lines about one mistake")


def test_wrong_database(t):
    """A database that Redis does not have is an error with the command."""
    redisd = t.use(Redisd())
    daemon = t.use(Fettled("unix://%s?db=99" % redisd.socket))
    said = daemon.wait_event("redis.error", command="SELECT")
    assert "range" in said["reason"], said


main(None if available() else "there is no redis-server")
