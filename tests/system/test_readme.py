#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the README tells to do works as it stands there: its examples are taken out of it and run. And
docs/guarantees.md names tests that there are."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from fettled import BUILDDIR, FETTLE, MODULES_DIR, SRCDIR, Fettled, job
from redisd import Redisd, available
from tap import Skip, equal, main

with open(os.path.join(SRCDIR, "README.md"), encoding="utf-8") as readme:
    README = readme.read()


def block(language, containing):
    """The code block of that language that has that text."""
    blocks = [b for b in re.findall(r"^```%s\n(.*?)^```" % language, README, re.M | re.S)
              if containing in b]
    equal(len(blocks), 1, "blocks of %s with %s" % (language, containing))
    return blocks[0]


def indented(containing):
    """The paragraph of indented lines that has that text, unindented."""
    blocks = [b for b in re.findall(r"(?:^    .*\n)+", README, re.M) if containing in b]
    equal(len(blocks), 1, "indented blocks with %s" % containing)
    return re.sub("^    ", "", blocks[0], flags=re.M)


def workplace(t):
    directory = tempfile.mkdtemp(prefix="fettle-test-")
    t.defer(shutil.rmtree, directory)
    return directory


def build_greet(directory):
    """The module, built by the README's own line; its pkg-config knows the build tree instead."""
    compiler = os.environ.get("CC", "cc")  # may have arguments
    if not shutil.which(compiler.split()[0]):
        raise Skip("no compiler")
    with open(os.path.join(directory, "greet.c"), "w") as file:
        file.write(block("c", "FTL_MODULE"))
    pkg_config = os.path.join(directory, "pkg-config")
    with open(pkg_config, "w") as file:
        file.write("#!/bin/sh\ncase $1 in\n--variable=moduledir) echo '%s' ;;\n"
                   "*) echo '-I%s/include -L%s/.libs -lfettle' ;;\nesac\n"
                   % (directory, BUILDDIR, BUILDDIR))
    os.chmod(pkg_config, 0o755)
    install, build = block("sh", "pkg-config").split("\n", 1)
    equal((install, build[:3]), ("make -C build install", "cc "))
    # As on systems whose linker drops a library that nothing before it needs.
    subprocess.run("%s -Wall -Wextra -Werror -Wl,--as-needed %s" % (compiler, build[3:]),
                   shell=True, cwd=directory, check=True,
                   env=dict(os.environ, PATH="%s:%s" % (directory, os.environ["PATH"])))
    found = subprocess.run(["readelf", "-d", "greet.so"], cwd=directory, capture_output=True,
                           text=True, check=True).stdout
    assert "libfettle.so" in found, found


def write_resize(directory):
    path = os.path.join(directory, "resize")
    with open(path, "w") as file:
        file.write(block("python", "#!/usr/bin/env python3"))
    os.chmod(path, 0o755)
    return path


def start(t, redisd, directory):
    """A daemon with the README's configuration; only the places are other ones."""
    text = indented("handlers = (")
    text = text.replace("redis://127.0.0.1:6379/0", redisd.url)
    text = text.replace("/usr/local/bin/resize", write_resize(directory))
    text = text.replace("handlers = (", 'handlers = (\n{ class = "Hello"; module = "hello"; },')
    assert "module_path" not in text, "the README's example lives by the default"
    text += 'module_path = [ "%s", "%s" ];\n' % (directory, MODULES_DIR)
    text += 'log = { format = "json"; jobs = "all"; };\n'
    daemon = t.use(Fettled(redisd, start=False))
    daemon.write_config(text)
    daemon.start()
    daemon.wait_ready()
    return daemon


def test_jobs_in_c_and_as_a_command(t):
    """Its configuration starts, its module and its command run."""
    directory = workplace(t)
    build_greet(directory)
    redisd = t.use(Redisd())
    daemon = start(t, redisd, directory)
    redisd.client.call("LPUSH", "queue:default", job("Greet", ["README"]), job("Resize", ["a", 1]))
    daemon.wait_event("job.log", line="good morning, README")
    daemon.wait_event("job.stdout", line="resizing a 1")
    daemon.wait_events(2, "job.done")
    redisd.client.call("LPUSH", "queue:default", job("Greet", [1]))
    daemon.wait_event("job.dead", error_class="ArgumentError")


def serve_hook(t, printed):
    """The README's endpoint, on a port of its own; the port."""
    text = block("python", "ThreadingHTTPServer").replace("8080", "0")
    text = text.replace("ThreadingHTTPServer((", "server = ThreadingHTTPServer((")
    names = {"print": lambda *words, flush: printed.append(words)}
    exec(text.replace(".serve_forever()", ""), names)
    server = t.use(names["server"])
    names["Hook"].log_message = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    t.defer(server.shutdown)
    return server.server_address[1]


def test_jobs_at_an_http_endpoint(t):
    """The endpoint and its handler."""
    with open(os.path.join(BUILDDIR, "config.h")) as file:
        if "#define HAVE_CURL 1" not in file.read():
            raise Skip("this fettled was built without libcurl")
    printed, redisd = [], t.use(Redisd())
    port = serve_hook(t, printed)
    daemon = t.use(Fettled(redisd, start=False))
    handler = indented('url = "http:').replace("8080", str(port)).rstrip(";\n")
    daemon.write_config('redis = { url = "%s"; };\nlog = { format = "json"; jobs = "all"; };\n'
                        "handlers = ( %s );\n" % (redisd.url, handler))
    daemon.start()
    daemon.wait_ready()
    redisd.client.call("LPUSH", "queue:default", job("Hook", ["a", 1], jid="abc"))
    daemon.wait_event("job.done")
    equal(printed, [("hook", "abc", "a", 1)], "what the endpoint got")


def test_enqueue_from_the_shell(t):
    """Its redis-cli line runs the sample job."""
    if not shutil.which("redis-cli"):
        raise Skip("no redis-cli")
    directory = workplace(t)
    build_greet(directory)
    redisd = t.use(Redisd())
    daemon = start(t, redisd, directory)
    line = block("sh", "redis-cli LPUSH").splitlines()[0]
    words = shlex.split(line)
    equal(words[:2], ["redis-cli", "LPUSH"])
    subprocess.run(words[:1] + ["-s", redisd.socket] + words[1:], check=True,
                   stdout=subprocess.DEVNULL)
    daemon.wait_event("job.log", line="hello, world")


def test_python_pushes_what_it_says(t):
    """Its Python runs, with a stand-in for the client library, and its job too."""
    directory = workplace(t)
    build_greet(directory)
    redisd = t.use(Redisd())
    daemon = start(t, redisd, directory)

    class Client:
        def lpush(self, *args):
            redisd.client.call("LPUSH", *args)

    stand_in = type(sys)("redis")
    stand_in.Redis = Client
    sys.modules["redis"] = stand_in
    t.defer(sys.modules.pop, "redis")
    exec(block("python", "lpush"), {})  # the README is ours
    daemon.wait_event("job.log", line="hello, world")


def test_worker_that_stays(t):
    """Its commands start a daemon with the worker of the examples, and run a job in it."""
    directory = workplace(t)
    redisd = t.use(Redisd())
    text = block("sh", "worker.py").replace("/tmp/", directory + "/")
    text = text.replace("redis://127.0.0.1:6379/0", redisd.url)
    copy, config, start, enqueue = re.match(
        r"(cp .*)\n.*<<'END'\n(.*)END\n(fettled .*) &\n(fettle enqueue .*)\n$", text, re.S).groups()
    subprocess.run(shlex.split(copy), cwd=SRCDIR, check=True)
    equal(shlex.split(start)[:2], ["fettled", "--config"])
    daemon = t.use(Fettled(redisd, start=False))
    daemon.write_config(config.replace("log = {", 'log = { format = "json";'))
    daemon.start()
    daemon.wait_event("worker.ready", runs=4)
    subprocess.run([FETTLE, "--redis", redisd.url] + shlex.split(enqueue)[1:], check=True,
                   stdout=subprocess.DEVNULL)
    daemon.wait_event("job.stdout", line="resized cat.png")
    daemon.wait_event("job.done")


def test_worker_in_node(t):
    """So does its line for the one in Node, put into that configuration."""
    if shutil.which("node") is None:
        raise Skip("there is no node")
    directory = workplace(t)
    redisd = t.use(Redisd())
    copy, handler = re.search("`(cp [^`]*)`, and `(worker = [^`]*)`", README).groups()
    subprocess.run(shlex.split(copy.replace("/tmp/", directory + "/")), cwd=SRCDIR, check=True)
    daemon = t.use(Fettled(redisd, start=False))
    daemon.write_config('redis = { url = "%s"; }; log = { format = "json"; jobs = "all"; };\n'
                        'handlers = ( { class = "Resize"; %s } );\n'
                        % (redisd.url, handler.replace("/tmp/", directory + "/")))
    daemon.start()
    daemon.wait_event("worker.ready", runs=16)
    redisd.client.call("LPUSH", "queue:default", job("Resize", ["cat.png", 3]))
    daemon.wait_event("job.stdout", line="resized cat.png")


def named_tests(text):
    """The (file, pattern of the case) of each test that the text names."""
    for group, case in re.findall(r"`((?:unit/|fault/)?\w+):\s(\w+)`", text):
        if group.startswith("unit/"):
            yield "tests/unit/test_%s.c" % group[5:], r"START_TEST\(%s\)" % case
        elif group.startswith("fault/"):
            yield "tests/fault/test_%s.py" % group[6:], r"^def test_%s\(t\)" % case
        else:
            yield "tests/system/test_%s.py" % group, r"^def test_%s\(t\)" % case


def unknown_tests(text):
    for path, pattern in named_tests(text):
        try:
            with open(os.path.join(SRCDIR, path), encoding="utf-8") as file:
                known = re.search(pattern, file.read(), re.M)
        except FileNotFoundError:
            known = None
        if not known:
            yield "%s: %s" % (path, pattern)


def test_promises_name_their_proof(t):
    """Each test that docs/guarantees.md names exists; a wrong name is found."""
    with open(os.path.join(SRCDIR, "docs", "guarantees.md"), encoding="utf-8") as file:
        text = file.read()
    assert len(list(named_tests(text))) > 50, "the names were not found"
    equal(list(unknown_tests(text)), [], "named, but not there")
    equal(len(list(unknown_tests("`recovery: nobody` `unit/nothing: at_all`"))), 2, "planted names")


main(None if available() else "there is no redis-server")
