# SPDX-License-Identifier: MIT
"""A fettled under test: its configuration written from Python values, its log read as events.

    daemon = t.use(Fettled(redisd, concurrency=8))
    daemon.wait_event("daemon.ready")
    redisd.client.call("LPUSH", "queue:default", job("Hello", ["world"]))
    daemon.wait_event("job.done", **{"class": "Hello"})

Leaving the context stops it with SIGTERM and expects exit 0; what the test has ended itself (stop,
kill) is not judged again. A sanitizer's report in its stderr fails the test."""

import datetime
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time

import child
from redisd import PASSWORD
from wait import Late, Timeout, deadline, patience

SRCDIR = os.path.abspath(os.environ.get("SRCDIR") or
                         os.path.join(os.path.dirname(__file__), "..", ".."))
BUILDDIR = os.path.abspath(os.environ.get("BUILDDIR") or os.path.join(SRCDIR, "build"))
FETTLED = os.environ.get("FETTLED") or os.path.join(BUILDDIR, "fettled")
FETTLE = os.environ.get("FETTLE") or os.path.join(BUILDDIR, "fettle")
MODULES_DIR = os.environ.get("MODULES_DIR") or os.path.join(BUILDDIR, "modules")

_REPORT = re.compile(r"(ERROR|WARNING): \w*Sanitizer|: runtime error: |LeakSanitizer:")


def job(name, args=(), **members):
    """A job's JSON text; `members` are added to it."""
    return json.dumps(dict({"class": name, "args": list(args)}, **members))


def native(name, module="hello", **members):
    """A handler entry for a class of a C module."""
    return dict({"class": name, "module": module}, **members)


def command(name, argv, **members):
    """A handler entry for a class that is a command."""
    return dict({"class": name, "command": list(argv)}, **members)


HELLO = [native(name) for name in ("Hello", "Noop", "Sleep", "Fail", "Panic")]


def libconfig(value):
    """A Python value in libconfig's syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ %s}" % "".join("%s = %s; " % (k, libconfig(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        scalar = value and not isinstance(value[0], (dict, list, tuple))
        return ("[ %s ]" if scalar else "( %s )") % ", ".join(map(libconfig, value))
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return repr(value)


def config_text(settings):
    return "".join("%s = %s;\n" % (k, libconfig(v)) for k, v in settings.items() if v is not None)


class Fettled:
    """`settings` override the defaults below; None leaves one out. `redis`: a Redisd or a URL."""

    def __init__(self, redis, start=True, program=None, environment=None, **settings):
        self.directory = tempfile.mkdtemp(prefix="fettle-test-")
        self.config = os.path.join(self.directory, "fettled.conf")
        self.program = program or FETTLED
        self.environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        self.environment.update(environment or {})
        self.process = None
        self.exit_code = None
        self.events = []   # the JSON lines, parsed
        self.lines = []    # every line of stderr
        self._news = threading.Condition()
        self._settings = {
            "redis": {"url": redis if isinstance(redis, str) else redis.url},
            "concurrency": 8,
            "queues": [{"name": "default"}],
            "module_path": [MODULES_DIR],
            "handlers": HELLO,
            "log": {"level": "debug", "format": "json", "jobs": "all"},
        }
        self.configure(**settings)
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if self.process is not None and kind is None:
                self.stop()
        finally:
            self.close()

    def configure(self, **settings):
        """Writes the configuration file anew, with these settings changed (see reload())."""
        self._settings.update(settings)
        self.write_config(config_text(self._settings))

    def write_config(self, text):
        with open(self.config, "w") as file:
            file.write(text)

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        assert self.process is None
        self.exit_code = None
        self._begin = self.mark()
        self.process = child.start([self.program, "--config", self.config], env=self.environment,
                                   stdin=child.subprocess.DEVNULL,
                                   stderr=child.subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                self._take(line.decode(errors="backslashreplace").rstrip("\n"))
        with self._news:
            self._news.notify_all()

    def _take(self, text):
        event = self._parse(text)
        with self._news:
            self.lines.append(text)
            if event is not None:
                event["_at"] = time.monotonic()
                self.events.append(event)
            self._news.notify_all()

    @staticmethod
    def _parse(text):
        try:
            event = json.loads(text)
        except ValueError:
            return None
        return event if isinstance(event, dict) and "event" in event else None

    def mark(self):
        """A point in the log, for since=."""
        with self._news:
            return len(self.events)

    def find(self, name, since=0, **fields):
        """All events of that name so far whose fields have these values."""
        with self._news:
            return self._find(name, since, fields)

    def _find(self, name, since, fields):
        return [e for e in self.events[since:] if e["event"] == name and
                all(e.get(k) == v for k, v in fields.items())]

    def hasty(self, name, since=0, **fields):
        """Those of them that came less than a minute after one which says the same."""
        found = self.find(name, since, **fields)
        said = [{k: v for k, v in event.items() if k not in ("ts", "_at", "retry_ms")} for event in found]
        at = [datetime.datetime.strptime(event["ts"], "%Y-%m-%dT%H:%M:%S.%fZ") for event in found]
        return [event for i, event in enumerate(found) for j in range(i)
                if said[i] == said[j] and (at[i] - at[j]).total_seconds() < 55]

    def wait_event(self, name, timeout=10, since=0, **fields):
        """The first such event, now or later."""
        return self.wait_events(1, name, timeout, since, **fields)[0]

    def wait_events(self, count, name, timeout=10, since=0, **fields):
        """At least so many such events."""
        end = deadline(timeout)
        with self._news:
            while True:
                found = self._find(name, since, fields)
                if len(found) >= count:
                    return found
                left = end - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise Timeout("%d of %d events %s %r%s" % (
                        len(found), count, name, fields,
                        "" if left <= 0 else ": fettled has ended"))
                self._news.wait(min(left, 0.5))

    def wait_ready(self, timeout=20):
        """Waits until the process of the last start() is ready."""
        return self.wait_event("daemon.ready", timeout, since=self._begin)

    def owner(self):
        """The ID of its last registration; None: none yet since the last start()."""
        found = self.find("lease.registered", since=self._begin)
        return found[-1]["id"] if found else None

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        """SIGSTOP; when it returns, every thread stands still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def reload(self, **settings):
        self.configure(**settings)
        self.signal(signal.SIGHUP)

    def wait_exit(self, timeout=30):
        """Waits for its end; returns the exit code (negative: a signal)."""
        self.exit_code = child.finish(self.process, timeout)
        self._forget()
        self._check_reports()
        return self.exit_code

    def _forget(self):
        """The end of its log: the reader stops when the last holder of the pipe is gone."""
        self._reader.join(patience(5))
        self.process = None

    def _check_reports(self):
        reports = [line for line in self.lines if _REPORT.search(line)]
        assert not reports, "a sanitizer reported: " + reports[0]
        told = [line for line in self.lines if PASSWORD in line]
        assert not told, "a password in the log: " + told[0]

    def stop(self, expect=0, timeout=40):
        """SIGTERM, and the exit code it must have. With 3, jobs were left: they did not end in time."""
        self.signal(signal.SIGTERM)
        code = self.wait_exit(timeout)
        if code == 3 != expect:
            raise Late("fettled: exit 3, expected %d" % expect)
        assert code == expect, "fettled: exit %d, expected %d" % (code, expect)

    def _kill(self):
        self.process.kill()
        self.exit_code = child.finish(self.process, 10)
        self._forget()

    def kill(self):
        """SIGKILL: a crash, of one that ran until then."""
        self._kill()
        assert self.exit_code == -signal.SIGKILL, "fettled had ended by itself: %d" % self.exit_code
        self._check_reports()

    def close(self):
        if self.process is not None:
            self._kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def diagnose(self, lines=60):
        return "fettled (exit %s), %s:\n%s\nits last lines:\n%s" % (
            self.exit_code, self.config, config_text(self._settings),
            "\n".join(self.lines[-lines:]))
