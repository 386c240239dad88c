"""Debian's docker-registry as a child process, and a small client that pushes to it.

The client is a test's own (the standard library), not the one under test.
"""

import base64
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import free_port

CONFIG = "application/vnd.cncf.flux.config.v1+json"
CONTENT = "application/vnd.cncf.flux.content.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def binary() -> str:
    """Where docker-registry is; the test is skipped where it is not."""
    found = shutil.which("docker-registry")
    if found is None:
        pytest.skip("docker-registry is not installed (Debian: apt-get install docker-registry)")
    return found


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A layer as `flux push artifact` makes it: a gzipped tar with directories, owners and times."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        for name in sorted(directories):
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, content in sorted(files.items()):
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o644, 1_700_000_000
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def manifest(layers: list[dict[str, Any]], annotations: Mapping[str, str] | None = None) -> bytes:
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(b"{}", CONFIG),
        "layers": layers,
        "annotations": dict(annotations or {}),
    }
    return json.dumps(body).encode()


HTPASSWD = "reader:$2b$04$AlYfTvWP7/CW2yB0CxwV2OffOvXcYgEts5ouX4y0D.qW9hBwn5H12\n"
"""The password is `right`."""


class RegistryServer:
    """One registry. With a certificate it speaks TLS.

    With `private` only `reader` may do anything, by a login that is given with its line of htpasswd.
    """

    def __init__(
        self,
        directory: Path,
        *,
        private: bool = False,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
        login: tuple[str, str] = ("reader:right", HTPASSWD),
    ) -> None:
        self.directory, self.port = directory, free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.private = private
        self._login, htpasswd = login
        self.client_certificate: Path | None = None
        self._tls = certificate is not None
        self._process: subprocess.Popen[bytes] | None = None
        self._binary = binary()
        directory.mkdir(parents=True, exist_ok=True)
        served: dict[str, Any] = {"addr": self.host}
        if certificate:
            served["tls"] = {"certificate": str(certificate), "key": str(key)}
            if client_ca:
                served["tls"]["clientcas"] = [str(client_ca)]
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": served,
        }
        if private:
            (directory / "htpasswd").write_text(htpasswd)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(directory / "htpasswd")}}
        self._config = directory / "config.yml"
        self._config.write_text(json.dumps(config))

    def start(self) -> None:
        with (self.directory / "registry.log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, "serve", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError((self.directory / "registry.log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def call(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        """One request; the response's headers and body."""
        if self._tls:
            trusting = ssl._create_unverified_context()  # noqa: S323 - the pushing side is not under test
            if self.client_certificate:
                trusting.load_cert_chain(self.client_certificate)
            line: http.client.HTTPConnection = http.client.HTTPSConnection(self.host, context=trusting, timeout=60)
        else:
            line = http.client.HTTPConnection(self.host, timeout=60)
        sent = dict(headers or {})
        if self.private:
            sent["Authorization"] = "Basic " + base64.b64encode(self._login.encode()).decode()
        try:
            line.request(method, path, body or None, sent)
            answer = line.getresponse()
            said = answer.read()
            assert answer.status < 300, f"{method} {path}: {answer.status} {said[:500]!r}"
            return answer.headers, said
        finally:
            line.close()

    def blob(self, repository: str, data: bytes) -> str:
        """Upload a blob in one piece; its digest."""
        headers, _ = self.call("POST", f"/v2/{repository}/blobs/uploads/")
        place = headers["Location"].partition(self.host)[2] or headers["Location"]
        name = digest(data)
        octets = {"Content-Type": "application/octet-stream"}
        self.call("PUT", f"{place}{'&' if '?' in place else '?'}digest={name}", data, octets)
        return name

    def tag(self, repository: str, tag: str, body: bytes, media_type: str = MANIFEST) -> str:
        """Put a manifest or an index under a tag (or its digest); its digest."""
        self.call("PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": media_type})
        return digest(body)

    def push(
        self,
        repository: str,
        tag: str,
        files: Mapping[str, str | bytes],
        annotations: Mapping[str, str] | None = None,
        media_type: str = CONTENT,
    ) -> str:
        """Push an artifact as `flux push artifact` does; the digest of its manifest."""
        layer = archive(files)
        self.blob(repository, b"{}")
        self.blob(repository, layer)
        return self.tag(repository, tag, manifest([descriptor(layer, media_type)], annotations))
