"""Which Secret reads, which writes, which signs and which asks for pull requests, with a double of the cluster."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.controllers.test_bumping import automation
from tests.crypto.signing import Gpg, needs_gpg
from tests.e2e.automations import key_pair
from tests.remotes.scripted import Scripted
from tests.runtime.clocks import ManualClock

from trimtab.api.imageupdate import ImageUpdateAutomation
from trimtab.api.meta import LocalRef
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal
from trimtab.commits import SigningFailed
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.automation import Automation
from trimtab.controllers.gitaccess import GitAccess
from trimtab.controllers.writeaccess import WriteAccess
from trimtab.kube.errors import NotFound
from trimtab.remotes.git.credentials import AuthenticationFailed
from trimtab.remotes.git.github import Apps

SECRETS: dict[tuple[str, str], dict[str, bytes]] = {
    ("ns", "read"): {"username": b"bot", "password": b"reads"},
    ("ns", "write"): {"username": b"bot", "password": b"writes", "token": b"of-the-forge\n"},
    ("flux-system", "read"): {"username": b"bot", "password": b"of-the-platform"},
    ("ns", "empty"): {},
    ("ns", "moved"): {"token": b"t", "address": b"http://git.example/api/v4"},
    ("ns", "two"): {"token": b"one two"},
    ("ns", "elsewhere"): {"token": b"t", "address": b"https://elsewhere.example/api/v4"},
    ("ns", "proxy"): {"address": b"http://proxy.example:3128"},
    ("flux-system", "proxy"): {"address": b"http://proxy.example:3128", "username": b"u", "password": b"p"},
    ("ns", "far"): {"token": b"t", "address": b"https://git.example:8443/api/v4", "ca.crt": b"CA"},
}


def writing(across: CrossNamespace = CrossNamespace.PLATFORM) -> WriteAccess:
    async def find(*_: Any) -> None: ...

    async def get(_resource: Any, name: str, namespace: str = "") -> Any:
        data = SECRETS.get((namespace, name))
        if data is None:
            raise NotFound(404, "NotFound", name)
        return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}

    client: Any = SimpleNamespace(discovery=SimpleNamespace(find=find), get=get)
    access = Access(client, ManualClock(), namespace="flux-system", cross_namespace=across)
    return WriteAccess(client, GitAccess(client, Apps(Scripted(), ManualClock())), access)


def source(namespace: str = "ns", url: str = "https://git.example/acme/shop.git") -> GitRepository:
    spec = {"url": url, "interval": "1m", "secretRef": {"name": "read"}}
    return msgspec.convert({"metadata": {"name": "repo", "namespace": namespace}, "spec": spec}, GitRepository)


def asking(**notes: str) -> tuple[ImageUpdateAutomation, Automation]:
    branch = {"push": {"branch": "trimtab/x"}} if "pull-request" in notes else {}
    item = automation({f"trimtab.dev/{key}": value for key, value in notes.items()}, **branch)
    return item, Automation.of(item)


async def test_the_secret_for_writing_writes_and_nothing_else_does() -> None:
    alone = await writing().repository(*asking(), source())
    assert alone.write is not None
    assert (alone.credentials.password, alone.write.password) == ("reads", "reads")
    apart = await writing().repository(*asking(**{"write-secret": "write"}), source())
    assert apart.write is not None
    assert (apart.credentials.password, apart.write.password) == ("reads", "writes")


async def test_a_server_that_takes_its_time_is_not_waited_for_without_end() -> None:
    slow = msgspec.structs.replace(source(), spec=msgspec.structs.replace(source().spec, timeout="24h"))
    assert (await writing().repository(*asking(), slow)).timeout_s == 600
    asked = asking(**{"write-secret": "write", "pull-request": "gitea"})
    assert (await writing().forge(*asked, slow)).way.timeout_s == 600
    assert (await writing().repository(*asking(), source())).timeout_s == 60


async def test_a_source_of_another_namespace_does_not_lend_its_credentials() -> None:
    theirs = source("flux-system")
    with pytest.raises(Terminal, match="do not write for namespace ns: have a Secret that does in your own"):
        await writing().repository(*asking(), theirs)
    own = await writing().repository(*asking(**{"write-secret": "write"}), theirs)
    assert own.write is not None
    assert (own.credentials.password, own.write.password) == ("of-the-platform", "writes")
    anybody = await writing(CrossNamespace.ALL).repository(*asking(), theirs)
    assert anybody.write is not None
    assert anybody.write.password == "of-the-platform"


async def test_nothing_is_written_in_the_clear() -> None:
    with pytest.raises(AuthenticationFailed, match="credentials are not sent over plain http"):
        await writing().repository(*asking(), source(url="http://git.example/acme/shop.git"))


async def signer(kind: str | None, name: str) -> Any:
    key = {"secretRef": {"name": name}} | ({"type": kind} if kind else {})
    item = automation(commit={"signingKey": key})
    return await writing().signer(item, Automation.of(item))


@needs_gpg
async def test_each_kind_of_key_is_taken_from_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = key_pair(tmp_path / "ssh", "open")
    gpg = Gpg.create(tmp_path / "gpg")
    gpg.key("R <r@example.org>", "ed25519")
    armored = gpg.run("--armor", "--export-secret-keys")
    gpg.stop()
    monkeypatch.setitem(SECRETS, ("ns", "ssh"), {"identity": private.encode(), "password": b"open"})
    monkeypatch.setitem(SECRETS, ("ns", "gpg"), {"git.asc": armored})
    assert (await signer("ssh", "ssh")).fingerprint.startswith("SHA256:")
    assert (await signer("gpg", "gpg")).fingerprint == (await signer(None, "gpg")).fingerprint
    with pytest.raises(
        SigningFailed, match=r"ns/ssh of spec\.git\.commit\.signingKey has no git\.asc, or an empty one"
    ):
        await signer(None, "ssh")
    with pytest.raises(SigningFailed, match="has no identity, or an empty one; nothing is committed without"):
        await signer("ssh", "gpg")
    monkeypatch.setitem(SECRETS, ("ns", "ssh"), {"identity": private.encode(), "password": b"shut"})
    with pytest.raises(SigningFailed, match=r"identity in Secret ns/ssh .* the passphrase is wrong"):
        await signer("ssh", "ssh")
    item, wanted = asking()
    assert await writing().signer(item, wanted) is None


@pytest.mark.parametrize(
    ("kind", "secret", "api", "project"),
    [
        ("github", {"write-secret": "write"}, "https://git.example/api/v3", "acme/shop"),
        ("gitlab", {"pull-request-secret": "far"}, "https://git.example:8443/api/v4", "acme%2Fshop"),
        (
            "forgejo",
            {"write-secret": "read", "pull-request-secret": "write"},
            "https://git.example/api/v1",
            "acme/shop",
        ),
    ],
)
async def test_the_forge_is_asked_with_the_token_of_its_secret(
    kind: str, secret: dict[str, str], api: str, project: str
) -> None:
    forge = await writing().forge(*asking(**{"pull-request": kind, **secret}), source())
    assert (str(forge.api), forge.project, forge.dialect.name) == (api, project, kind.replace("forgejo", "gitea"))
    assert forge.token in ("of-the-forge", "t")
    assert forge.way.ca == (b"CA" if kind == "gitlab" else b"")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "Secret ns/empty has no token: the key token, in one word"),
        ("two", "has no token"),
        ("moved", "address must be that of the forge's API, such as https://host/api/v4"),
    ],
)
async def test_a_token_or_an_address_that_cannot_be_one_is_told(name: str, words: str) -> None:
    with pytest.raises(AuthenticationFailed, match=words) as failure:
        await writing().forge(*asking(**{"pull-request": "gitlab", "pull-request-secret": name}), source())
    assert "one two" not in str(failure.value)


async def test_pull_requests_need_a_token() -> None:
    with pytest.raises(Terminal, match="needs a token: a Secret with it"):
        await writing().forge(*asking(**{"pull-request": "github"}), source())


@pytest.mark.parametrize(
    ("kind", "secret", "url", "over"),
    [
        ("gitlab", "elsewhere", "https://git.example/acme/shop.git", False),
        ("gitlab", "far", "https://git.example/acme/shop.git", True),
        ("gitlab", "write", "https://git.example/acme/shop.git", True),
        ("github", "write", "https://github.com/acme/shop", True),
    ],
    ids=["another host", "its host", "the usual", "the usual of github.com"],
)
async def test_the_proxy_of_a_shared_source_leads_to_no_host_that_a_tenant_names(
    kind: str, secret: str, url: str, over: bool
) -> None:
    asked = asking(**{"pull-request": kind, "pull-request-secret": secret})
    for namespace in ("flux-system", "ns"):
        repo = source(namespace, url)
        repo = msgspec.structs.replace(
            repo, spec=msgspec.structs.replace(repo.spec, proxy_secret_ref=LocalRef(name="proxy"))
        )
        forge = await writing().forge(*asked, repo)
        assert (forge.way.proxy is not None) is (over or namespace == "ns")
