"""How Flux's controllers take an artifact, in strict words: what this reader refuses, one of them might.

Written from the published rules of the format, with the standard library, and with nothing of the code under test. It
keeps to the stricter side where two of Flux's releases differ.
"""

import gzip
import hashlib
import http.client
import io
import re
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

BLOCK = 512
MOST_BYTES = 100 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATH = re.compile(
    r"(?P<kind>[a-z]+)/(?P<namespace>[a-z0-9-]+)/(?P<name>[a-z0-9.-]+)/(?P<file>[A-Za-z0-9_.-]+\.tar\.gz)"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True)
class Fetched:
    """The files by path, and who may execute them."""

    files: Mapping[str, bytes]
    executable: frozenset[str]
    headers: Mapping[str, str]
    archive: bytes


def fetch(item: Mapping[str, Any]) -> Fetched:
    """What is behind `status.artifact` of a source, as a Kustomization of Flux would get it. AssertionError if not."""
    artifact, meta = item["status"]["artifact"], item["metadata"]
    assert set(artifact) <= {"path", "url", "revision", "digest", "lastUpdateTime", "size", "metadata"}, artifact
    path = _PATH.fullmatch(artifact["path"])
    assert path, artifact["path"]
    assert (path["kind"], path["namespace"], path["name"]) == (item["kind"].lower(), meta["namespace"], meta["name"])
    url = urlsplit(artifact["url"])
    assert (url.scheme, url.path, url.query, url.fragment) == ("http", "/" + artifact["path"], "", ""), artifact["url"]
    assert _DIGEST.fullmatch(artifact["digest"]), artifact["digest"]
    assert _TIME.fullmatch(artifact["lastUpdateTime"]), artifact["lastUpdateTime"]
    datetime.fromisoformat(artifact["lastUpdateTime"])
    assert artifact["revision"]
    assert all(isinstance(value, str) for value in artifact.get("metadata", {}).values())
    headers, body = get(url.hostname or "", url.port or 80, url.path)
    assert len(body) == artifact["size"] <= MOST_BYTES
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == artifact["digest"]
    files, executable = unpack(body)
    return Fetched(files, frozenset(executable), headers, body)


def get(host: str, port: int, path: str) -> tuple[dict[str, str], bytes]:
    line = http.client.HTTPConnection(host, port, timeout=20)
    try:
        # As Go's client does: it would unpack what is sent so, and the digest would not fit any more.
        line.request("GET", path, headers={"Accept-Encoding": "gzip", "User-Agent": "Go-http-client/1.1"})
        answer = line.getresponse()
        assert answer.status == 200, answer.status
        headers = {name.lower(): value for name, value in answer.getheaders()}
        assert "content-encoding" not in headers, "the body is the archive, not an encoding of something else"
        return headers, answer.read()
    finally:
        line.close()


def unpack(archive: bytes) -> tuple[dict[str, bytes], set[str]]:
    """One gzip stream, one tar: regular files and directories, plain names, nobody's."""
    raw = gzip.decompress(archive)
    assert len(raw) % BLOCK == 0
    assert raw.endswith(b"\0" * (2 * BLOCK)), "its end is marked"
    files: dict[str, bytes] = {}
    executable: set[str] = set()
    left = MOST_BYTES
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        for info in tar:
            name = info.name
            assert name, "a name"
            assert "\\" not in name, name
            assert not name.startswith("/"), name
            assert "../" not in name, name
            assert info.isreg() or info.isdir(), f"{name} is of the type {info.type!r}"
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", ""), f"{name} has an owner"
            assert info.mtime == 0, f"{name} has a time"
            assert not info.mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX), oct(info.mode)
            if info.isdir():
                assert info.mode & 0o700 == 0o700, oct(info.mode)
                continue
            assert info.mode & 0o600 == 0o600, oct(info.mode)
            assert name not in files, f"{name} is there twice"
            left -= info.size
            assert left >= 0
            content = tar.extractfile(info)
            assert content is not None
            files[name] = content.read()
            assert len(files[name]) == info.size
            if info.mode & 0o100:
                executable.add(name)
    for name in files:
        assert not any(other.startswith(name + "/") for other in files), f"{name} is a directory as well"
    return files, executable
