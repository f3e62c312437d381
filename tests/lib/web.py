# SPDX-License-Identifier: MIT
"""A web server that answers as its tests want, and remembers what it was asked.

    web = t.use(Web())
    web.answers["/busy"] = lambda request: request.answer(503, {"Retry-After": "7"})
    daemon = t.use(Fettled(redisd, handlers=[web.handler("Busy", "/busy")]))
    until(lambda: web.requests)

What is not in `answers`: /NUMBER answers with that status, all else with 200."""

import http.server
import os
import threading

from fettled import BUILDDIR


def built():
    """Is fettled built with HTTP handlers?"""
    with open(os.path.join(BUILDDIR, "config.h")) as file:
        return "#define HAVE_CURL 1" in file.read()


class Request(http.server.BaseHTTPRequestHandler):
    """One connection; a request of it at a time."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        self.text = self.rfile.read(int(self.headers["Content-Length"]))
        web = self.server.web
        with web.lock:
            web.requests.append((self.path, self.headers, self.text))
        web.answers.get(self.path, Request.answer_as_asked)(self)

    def answer_as_asked(self):
        number = self.path[1:]
        self.answer(int(number) if number.isdigit() else 200)

    def answer(self, status, headers=None, body=b""):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data):
        """These bytes as the answer, and the end of the connection."""
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    web = None

    def process_request_thread(self, request, client_address):
        with self.web.lock:
            self.web.connections += 1
            self.web.open += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.web.lock:
                self.web.open -= 1

    def handle_error(self, *_):
        pass  # a client that has gone


class Web:
    def __init__(self, tls=None):
        """`tls`: an ssl.SSLContext."""
        self.lock = threading.Lock()
        self.answers = {}
        self.requests = []     # (path, headers, body)
        self.connections = 0   # ever
        self.open = 0          # now
        self._server = _Server(("127.0.0.1", 0), Request)
        self._server.web = self
        self.port = self._server.server_address[1]
        self.url = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.port)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True,
                                                  do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,),
                                        daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handler(self, name, path, **members):
        """A handler entry for a class that is a request to `path`."""
        return dict({"class": name, "url": self.url + path}, **members)

    def bodies(self, path):
        with self.lock:
            return [text for asked, _, text in self.requests if asked == path]

    def diagnose(self):
        return "web server: %d connections, %d open, asked for %s" % (
            self.connections, self.open, [path for path, _, _ in self.requests[-20:]])
