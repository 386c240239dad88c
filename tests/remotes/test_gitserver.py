"""The git server of the demo and of the tests: pushing, signing in, and nothing but the protocol."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.remotes.world import WHO, Repository
from trimtab.base.http import AiohttpTransport, Request
from trimtab.cluster.gitserver import GitServer


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport()
    yield transport
    await transport.close()


async def git(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    environment = WHO | {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "false"}
    return await asyncio.to_thread(subprocess.run, ["git", *arguments], cwd=cwd, capture_output=True, env=environment)


async def test_a_clone_can_be_changed_and_pushed(tmp_path: Path):
    async with GitServer(tmp_path / "r") as server:
        bare = Repository(await server.create("apps"))
        assert await server.create("apps") == bare.path
        clone = tmp_path / "clone"
        await git("clone", "-q", server.url("apps"), str(clone), cwd=tmp_path)
        (clone / "a.yaml").write_bytes(b"x" * 200_000)
        await git("add", ".", cwd=clone)
        await git("commit", "-q", "-m", "x", cwd=clone)
        done = await git("push", "-q", "origin", "HEAD:main", cwd=clone)
        assert done.returncode == 0, done.stderr
        assert bare.git("rev-parse", "main") == bare.git("rev-parse", "HEAD")


async def test_accounts_keep_others_out(tmp_path: Path):
    async with GitServer(tmp_path / "r", accounts={"bot": "s3cret"}) as server:
        Repository(await server.create("apps")).commit({"a": b"1"})
        url = server.url("apps")
        for user in ("", "bot:wrong@", "nobody:s3cret@", "bot:@"):
            done = await git("ls-remote", url.replace("://", f"://{user}"), cwd=tmp_path)
            assert done.returncode != 0
        done = await git("ls-remote", url.replace("://", "://bot:s3cret@"), cwd=tmp_path)
        assert done.returncode == 0
        assert b"refs/heads/main" in done.stdout


async def test_only_the_protocol_is_served(tmp_path: Path, transport: AiohttpTransport):
    (tmp_path / "secret").write_bytes(b"x")
    async with GitServer(tmp_path / "r") as server:
        await server.create("apps")
        base = server.url("apps").removesuffix("apps.git")
        for path in (
            "apps.git/config",
            "apps.git/HEAD",
            "../secret",
            "apps.git/../../secret/info/refs",
            "",
            "%2e%2e/secret",
        ):
            response = await transport.send(Request("GET", URL(base + path, encoded=True)))
            await response.read()
            assert response.status == 404
