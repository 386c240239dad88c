"""A git server on loopback, and a writer that writes to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.remotes.world import Repository as Bare
from trimtab.base.clock import SystemClock
from trimtab.base.http import AiohttpTransport
from trimtab.cluster.gitserver import GitServer
from trimtab.commits import Repository, Writer, Writers
from trimtab.remotes.git.address import parse_address


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    async with GitServer(tmp_path / "repositories") as server:
        yield server


@pytest.fixture
def bare(server: GitServer) -> Bare:
    """A repository with two apps, beside what nobody edits: a link, a program, a file that is no text."""
    bare = Bare.create(server.root / "apps.git")
    bare.commit(
        {
            "prod/web.yaml": b"image: web:1 # {}\r\nreplicas: 1\r\n",
            "prod/run.sh": b"#!/bin/sh\n",
            "prod/blob": b"\0\xff",
            "test/web.yaml": b"image: web:1\n",
            ".gitattributes": b"*.yaml text eol=lf\n",
        }
    )
    listed = bare.git("ls-tree", "-r", "main").splitlines()
    program = next(line for line in listed if "run.sh" in line).replace("100644", "100755").split("\t")[0]
    link = bare.blob(b"../test")
    put(bare, f"{program}\tprod/run.sh", f"120000 blob {link}\tprod/link")
    return bare


def put(bare: Bare, *lines: str, branch: str = "main") -> str:
    """Entries of a tree, in git's own words, on top of the branch."""
    data = f"commit refs/heads/{branch}\ncommitter A <a@example.org> 1000000000 +0000\ndata 1\nx\n"
    data += f"from refs/heads/{branch}^0\n"
    for line in lines:
        head, _, path = line.partition("\t")
        mode, _, oid = head.split(" ")
        data += f"M {mode} {oid} {path}\n"
    bare.git("fast-import", "--quiet", stdin=data.encode())
    return bare.git("rev-parse", branch)


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


@pytest.fixture
def writers(tmp_path: Path, transport: AiohttpTransport) -> Writers:
    return Writers(tmp_path / "cache", transport, SystemClock())


@pytest.fixture
def writer(writers: Writers, server: GitServer, bare: Bare) -> Writer:
    return writers.of(Repository(parse_address(server.url("apps"))), "main")
