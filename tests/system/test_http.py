#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Jobs that are HTTP requests: what is sent, what each answer means, and what is left of a request
that nobody wants any more."""

import email.utils
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, FETTLED, HELLO, Fettled, job
from places import member, now, places
from redisd import Redisd, available
from tap import Skip, equal, main
from wait import in_time, patience, until
from web import Request, Web, built


def start(t, *handlers, **settings):
    redisd = t.use(Redisd())
    daemon = t.use(Fettled(redisd, handlers=list(handlers), **settings))
    daemon.wait_ready()
    return redisd.client, daemon


def push(client, name, jid=None, **members):
    jid = jid or name.lower()
    client.call("LPUSH", "queue:default", job(name, jid=jid, **members))
    return jid


def fate(client, key, jid):
    """The job with that jid in that set, and its score."""
    return until(lambda: member(client, key, jid), what="%s in %s" % (jid, key))


def check_failure(client, key, jid, error_class, *texts):
    got, _ = fate(client, key, jid)
    equal(got["error_class"], error_class, jid + ": error_class")
    for text in texts:
        assert text in got["error_message"], got["error_message"]
    return got


def test_what_each_status_means(t):
    """2xx is success, 4xx never again but for those that are listed, all else is tried again; nothing
    is followed, and the first bytes of the answer are in the error."""
    web = t.use(Web())
    web.answers["/500"] = lambda request: request.answer(500, body=b"out of paper\n" + 5000 * b"x")
    web.answers["/302"] = lambda request: request.answer(302, {"Location": web.url + "/gone"})
    statuses = (200, 201, 204, 302, 400, 404, 408, 409, 425, 429, 500, 503)
    handlers = [web.handler("S%d" % status, "/%d" % status) for status in statuses]
    handlers.append(web.handler("Listed", "/409", retry_status=[409]))
    handlers.append(web.handler("Unlisted", "/408", retry_status=[409]))
    client, daemon = start(t, *handlers)
    for handler in handlers:
        push(client, handler["class"])
    done = daemon.wait_events(3, "job.done")
    equal({e["jid"] for e in done}, {"s200", "s201", "s204"}, "successes")
    for status in (302, 408, 425, 429, 500, 503):
        got = check_failure(client, "retry", "s%d" % status, "HttpStatus", "HTTP %d" % status)
        equal(got["retry_count"], 0, "retry_count after %d" % status)
    for status in (400, 404, 409):
        check_failure(client, "dead", "s%d" % status, "HttpStatus", "HTTP %d" % status)
    check_failure(client, "retry", "listed", "HttpStatus", "HTTP 409")
    check_failure(client, "dead", "unlisted", "HttpStatus", "HTTP 408")
    message = check_failure(client, "retry", "s500", "HttpStatus")["error_message"]
    assert message.startswith("HTTP 500: out of paper\nxxx") and len(message) < 1100, message
    equal(web.bodies("/gone"), [], "requests to where a redirect points")


def test_what_is_sent(t):
    """The job's own bytes, what the run is in headers, and further headers; a jid cannot add one.
    A secret header is in no log, and a reload takes a new one."""
    web = t.use(Web())
    secret = os.path.join(tempfile.mkdtemp(prefix="fettle-test-"), "headers")
    t.defer(shutil.rmtree, os.path.dirname(secret))
    with open(secret, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("# for the web server\n\nAuthorization: Bearer hunter2\r\n")
    client, daemon = start(t, web.handler("My::Hook", "/hook?a=b", timeout=60, headers_file=secret,
                                          headers=["X-Colour: blue", "user-agent: robot"]))
    text = '{"jid":"a\\r\\nX-Evil: 1 \\u00fc%","class" :"My::Hook",\n"args":[1.10, 12345678901234567890]}'
    client.call("LPUSH", "queue:default", text)
    daemon.wait_event("job.done")
    (path, headers, body), = web.requests
    equal(path, "/hook?a=b", "path")
    equal(body, text.encode(), "body")
    equal(headers["Fettle-Jid"], "a%0D%0AX-Evil:%201%20%C3%BC%25", "jid")
    assert "X-Evil" not in headers and "Expect" not in headers, headers
    for name, value in (("Class", "My::Hook"), ("Queue", "default"), ("Attempt", "1")):
        equal(headers["Fettle-" + name], value, name)
    token, deadline = int(headers["Fettle-Token"]), float(headers["Fettle-Deadline"])
    assert abs(token / 1e6 - now(client)) < 120, token
    assert 0 < deadline - now(client) <= 60, deadline
    for name, value in (("Content-Type", "application/json"), ("X-Colour", "blue"),
                        ("User-Agent", "robot"), ("Authorization", "Bearer hunter2")):
        equal(headers.get_all(name), [value], name)
    with open(secret, "w") as file:
        file.write("Authorization: Bearer hunter3\n")
    daemon.signal(signal.SIGHUP)
    daemon.wait_event("config.reloaded")
    push(client, "My::Hook")
    daemon.wait_events(2, "job.done")
    equal(web.requests[1][1]["Authorization"], "Bearer hunter3", "the header after a reload")
    assert not any("hunter" in line for line in daemon.lines), "a secret in the log"


def test_retry_after(t):
    """429 and 503 with Retry-After, in seconds or as a date: later, at that time, and the attempt does
    not count."""
    web = t.use(Web())
    in_an_hour = email.utils.formatdate(time.time() + 3600, usegmt=True)
    cases = ((503, "100", 100), (429, "50", 50), (503, in_an_hour, 3600), (429, "999999", 86400),
             (503, "Sun, 06 Nov 1994 08:49:37 GMT", 1), (503, "0", 1))
    for i, (status, value, _) in enumerate(cases):
        web.answers["/%d" % i] = lambda request, status=status, value=value: request.answer(
            status, {"retry-AFTER": value}, b"busy")
    web.answers["/bad"] = lambda request: request.answer(503, {"Retry-After": "soon"})
    web.answers["/other"] = lambda request: request.answer(500, {"Retry-After": "100"})
    names = ["C%d" % i for i in range(len(cases))]
    client, daemon = start(t, web.handler("Bad", "/bad"), web.handler("Other", "/other"),
                           *[web.handler(name, "/%d" % i) for i, name in enumerate(names)])
    begin = now(client)
    for name in names + ["Bad", "Other"]:
        push(client, name)
    daemon.wait_events(len(cases) + 2, "job.failed")
    for name, (_, value, seconds) in zip(names, cases):
        event = daemon.find("job.failed", jid=name.lower())[0]
        equal((event["error_class"], event["reason"]), ("HttpStatus", "later"), value)
        if seconds > 1:
            got, score = fate(client, "retry", name.lower())
            assert "retry_count" not in got, got
            assert seconds - 3 <= score - begin <= seconds + (now(client) - begin) + 3, (value, score)
    for jid in ("bad", "other"):
        equal(check_failure(client, "retry", jid, "HttpStatus")["retry_count"], 0, "retry_count")


def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def test_broken_answers(t):
    """Refused, reset in the middle, cut short, no HTTP, too large: each is an HttpError of its run."""
    web = t.use(Web())
    web.answers["/reset"] = reset
    web.answers["/short"] = lambda r: r.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    web.answers["/babble"] = lambda r: r.raw(b"\0\1\2 what is HTTP?\r\n\r\n")
    web.answers["/silent"] = lambda r: r.raw(b"")
    web.answers["/large"] = lambda r: r.answer(200, body=b"x" * 200000)
    web.answers["/head"] = lambda r: r.answer(200, {"X": "y" * 60000})
    web.answers["/fits"] = lambda r: r.answer(200, body=b"x" * 49000)
    cases = [("Reset", "HTTP 200"), ("Short", "HTTP 200"), ("Babble", ""), ("Silent", ""),
             ("Large", "more than 50000 bytes"), ("Head", "more than 50000 bytes")]
    handlers = [web.handler(name, "/" + name.lower(), max_response=50000)
                for name in [case[0] for case in cases] + ["Fits"]]
    refused = {"class": "Refused", "url": "http://127.0.0.1:%d/" % closed_port()}
    nowhere = {"class": "Nowhere", "url": "http://no-such-host.invalid/"}
    client, daemon = start(t, refused, nowhere, *handlers)
    for name, _ in cases + [("Refused", ""), ("Nowhere", ""), ("Fits", "")]:
        push(client, name)
    for name, text in cases + [("Refused", "127.0.0.1"), ("Nowhere", "no-such-host.invalid")]:
        check_failure(client, "retry", name.lower(), "HttpError", text)
    daemon.wait_event("job.done", jid="fits")


def reset(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  b"\1\0\0\0\0\0\0\0")
    request.connection.close()
    request.close_connection = True


def test_out_of_time(t):
    """A server that does not answer, one that dribbles, one that does not even accept: Timeout, at the
    time, and the connection is closed."""
    web, gate = t.use(Web()), threading.Event()
    t.defer(gate.set)
    web.answers["/mute"] = lambda request: gate.wait(120)
    web.answers["/slow"] = dribble
    deaf = t.use(socket.create_server(("127.0.0.1", 0), backlog=0))
    full = t.use(socket.create_connection(deaf.getsockname()))
    handlers = [web.handler("Mute", "/mute", timeout=0.5), web.handler("Slow", "/slow", timeout=0.5),
                {"class": "Deaf", "url": "http://127.0.0.1:%d/" % deaf.getsockname()[1],
                 "connect_timeout": 0.5}]
    client, _ = start(t, *handlers)
    begin = time.monotonic()
    for name in ("Mute", "Slow", "Deaf"):
        push(client, name)
    for name in ("Mute", "Slow"):
        check_failure(client, "retry", name.lower(), "Timeout", "not done after 0.5 s")
    in_time(time.monotonic() - begin, 1.5, "a timeout of 0.5 s")
    check_failure(client, "retry", "deaf", "HttpError", "Failed to connect", "after 5")
    gate.set()
    until(lambda: web.open == 0, what="connections to be closed")
    full.close()


def dribble(request):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    try:
        for _ in range(1000):
            request.wfile.write(b"x")
            time.sleep(0.05)
    except OSError:
        request.close_connection = True


def test_connections_are_kept(t):
    """Runs one after the other share a connection; one that the server has closed meanwhile is no
    error; a hundred at once are a hundred requests in flight, each answered to its own run."""
    web, together = t.use(Web()), threading.Barrier(100)
    web.answers["/closing"] = lambda r: (r.answer(200), setattr(r, "close_connection", True))
    web.answers["/together"] = lambda r: (together.wait(60), r.answer(200 + 200 * (b"odd" in r.text)))
    client, daemon = start(t, web.handler("One", "/one", concurrency=1),
                           web.handler("Closing", "/closing", concurrency=1),
                           web.handler("Together", "/together"), concurrency=200)
    for i in range(20):
        push(client, "One", "one%d" % i)
    daemon.wait_events(20, "job.done")
    equal((web.connections, len(web.requests)), (1, 20), "connections and requests")
    for i in range(10):
        push(client, "Closing", "closing%d" % i)
    daemon.wait_events(30, "job.done")
    equal(len(web.bodies("/closing")), 10, "requests")
    for i in range(100):
        push(client, "Together", ("odd%d" if i % 2 else "even%d") % i)
    done = daemon.wait_events(80, "job.done")[30:]
    dead = daemon.wait_events(50, "job.dead")
    assert all(event["jid"].startswith("even") for event in done), done
    assert all(event["jid"].startswith("odd") for event in dead), dead
    equal(len(web.bodies("/together")), 100, "requests")


def test_shutdown_drops_requests(t):
    """What does not end in time is cut off: the connection is closed, the job is back in its queue,
    and the exit is in time."""
    web, gate = t.use(Web()), threading.Event()
    t.defer(gate.set)
    hung_up = threading.Event()
    web.answers["/mute"] = lambda request: hung_up.set() if request.rfile.read(1) == b"" else None
    client, daemon = start(t, web.handler("Mute", "/mute"), shutdown_timeout=1)
    for i in range(3):
        push(client, "Mute", "mute%d" % i)
    until(lambda: len(web.requests) == 3, what="3 requests")
    begin = time.monotonic()
    daemon.stop()
    in_time(time.monotonic() - begin, 2, "the exit")
    assert hung_up.wait(60), "the connection is still open"
    equal(sum(len(jobs) for jobs in places(client).values()), 3, "jobs that are left")
    equal(client.call("LLEN", "queue:default"), 3, "jobs in the queue")


def certificate(directory):
    key, cert = os.path.join(directory, "key.pem"), os.path.join(directory, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=test",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.PIPE)
    return key, cert


def test_certificates_are_verified(t):
    """A server that nobody vouches for gets no job; ca_file names who does, and for which host."""
    if not shutil.which("openssl"):
        raise Skip("there is no openssl command")
    directory = tempfile.mkdtemp(prefix="fettle-test-")
    t.defer(shutil.rmtree, directory)
    key, cert = certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    web = t.use(Web(tls=context))
    other = dict(web.handler("Other", "/other", ca_file=cert))
    other["url"] = other["url"].replace("127.0.0.1", "localhost")
    client, daemon = start(t, web.handler("Stranger", "/stranger"), other,
                           web.handler("Vouched", "/vouched", ca_file=cert),
                           web.handler("Careless", "/careless", verify=False))
    for name in ("Stranger", "Other", "Vouched", "Careless"):
        push(client, name)
    daemon.wait_event("job.done", jid="vouched")
    daemon.wait_event("job.done", jid="careless")
    check_failure(client, "retry", "stranger", "HttpError", "certificate")
    check_failure(client, "retry", "other", "HttpError", "localhost")
    equal({path for path, _, _ in web.requests}, {"/vouched", "/careless"}, "who got a job")


def refused(daemon, key, value, reason):
    """--check-config says what is wrong with that key, and nothing that is in the file."""
    daemon.configure(handlers=[{"class": "X", "url": "https://h/", key: value}])
    done = subprocess.run([FETTLED, "--check-config", "--config", daemon.config],
                          capture_output=True, text=True, timeout=patience(20))
    expected = "%s:5: handlers[0].%s: %s%s\n" % (daemon.config, key, value, reason)
    equal((done.returncode, done.stderr), (1, expected), "--check-config")


def test_files_that_will_not_do(t):
    """A file with secrets that others may read, with what is no header, or too long; a ca_file that is
    not there."""
    daemon = t.use(Fettled("unix:///nowhere.sock", start=False))
    path = os.path.join(daemon.directory, "headers")

    def write(text, mode=0o640):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
    refused(daemon, "headers_file", path + "x", ": No such file or directory")
    write("A: b\n", 0o644)
    refused(daemon, "headers_file", path, " has mode 0644: others than its owner and group must have "
            "no access (chmod 0640)")
    write("A: b\nhunter2\n")
    refused(daemon, "headers_file", path, ": line 2 must be \"Name: value\"")
    write("A: b\n" * 65)
    refused(daemon, "headers_file", path, ": line 65 is one header too many")
    write("A: %s\n" % (20000 * "x"))
    refused(daemon, "headers_file", path, " has more than 16384 bytes")
    refused(daemon, "ca_file", path + "x", ": No such file or directory")


def test_the_example(t):
    """The handler in the comments of the example that is installed is one."""
    daemon = t.use(Fettled("unix:///nowhere.sock", start=False))
    with open(os.path.join(BUILDDIR, "systemd", "fettled.conf")) as file:
        text = re.search(r"^    // \{\n(?:    //.*\n)+?    // \}\n", file.read(), re.M).group()
    for name, path in (("headers_file", "hook-headers"), ("ca_file", "ca-certificates.crt")):
        path = os.path.join(daemon.directory, path)
        with open(path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write("A: b\n")
        text = re.sub(' %s = ".*?"' % name, ' %s = "%s"' % (name, path), text)
    daemon.write_config("handlers = (\n%s);\n" % re.sub("(?m)^    // ", "", text))
    done = subprocess.run([FETTLED, "--check-config", "--config", daemon.config],
                          capture_output=True, text=True, timeout=patience(20))
    equal((done.returncode, done.stderr), (0, ""), "--check-config")


def test_libcurl_comes_with_the_first_handler(t):
    """Without one, neither it nor TLS is in memory; a reload may bring one."""
    def loaded():
        with open("/proc/%d/maps" % daemon.pid) as file:
            return "libcurl" in file.read()
    web = t.use(Web())
    client, daemon = start(t, *HELLO)
    equal(loaded(), False, "libcurl in memory")
    daemon.reload(handlers=[web.handler("Hook", "/hook")])
    daemon.wait_event("config.reloaded")
    equal(loaded(), True, "libcurl in memory after the reload")
    push(client, "Hook")
    daemon.wait_event("job.done", jid="hook")
    daemon.reload(handlers=HELLO)
    daemon.wait_events(2, "config.reloaded")
    until(lambda: web.open == 0, what="connections to be closed")


main("this fettled was built without libcurl" if not built() else
     None if available() else "there is no redis-server")
