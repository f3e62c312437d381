# SPDX-License-Identifier: MIT
"""Certificates for one test: two authorities that know nothing of each other, a server's and a
client's of the first, made by the openssl command.

    certificates = t.use(Certificates())
    redisd = t.use(Redisd(**certificates.server_options(port)))"""

import os
import shutil
import subprocess
import tempfile

from wait import patience


def available():
    return shutil.which("openssl") is not None


class Certificates:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="fettle-tls-")
        self.ca, self.other_ca = self._authority("ca"), self._authority("other")
        self.server = self._signed("server", "DNS:redis.test,IP:127.0.0.1")
        self.misnamed = self._signed("misnamed", "DNS:redis.test")
        self.client = self._signed("client", "DNS:client.test")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, capture_output=True,
                       timeout=patience(60))

    def _new_key(self, name):
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out",
                      self._path(name + ".key"))

    def _authority(self, name):
        self._new_key(name)
        self._openssl("req", "-x509", "-new", "-key", self._path(name + ".key"), "-subj",
                      "/CN=" + name, "-days", "2", "-out", self._path(name + ".crt"))
        return self._path(name + ".crt")

    def _signed(self, name, names):
        self._new_key(name)
        with open(self._path(name + ".ext"), "w") as file:
            file.write("subjectAltName=" + names)
        self._openssl("req", "-new", "-key", self._path(name + ".key"), "-subj", "/CN=" + name,
                      "-out", self._path(name + ".csr"))
        self._openssl("x509", "-req", "-in", self._path(name + ".csr"), "-CA", self.ca, "-CAkey",
                      self._path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile",
                      self._path(name + ".ext"), "-out", self._path(name + ".crt"))
        return self._path(name + ".crt")

    @staticmethod
    def key(certificate):
        return certificate[:-len("crt")] + "key"

    def server_options(self, port, certificate=None, clients="no"):
        """redis.conf for a server that has TLS on that port; `clients`: "yes" asks them, too."""
        certificate = certificate or self.server
        return {"tls_port": str(port), "tls_cert_file": certificate, "tls_ca_cert_file": self.ca,
                "tls_key_file": self.key(certificate), "tls_auth_clients": clients}
