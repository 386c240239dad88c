"""Fields of a GitRepository on a real cluster: what goes in beside its own files, and how it is reached."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.world import SOURCES, World, condition, until
from tests.remotes.forge import Forge
from tests.remotes.proxies import proxy
from tests.remotes.world import Authority
from trimtab.cluster.gitserver import GitServer


def settings(name: str, value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{of: {value!r}}}\n"


def applied(world: World, ns: str, name: str) -> str | None:
    found = world.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")
    return found and found["data"]["of"]


def secret(world: World, ns: str, name: str, data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": name}, "data": encoded})


def change(world: World, ns: str, name: str, **spec: Any) -> None:
    world.api.merge(f"{SOURCES}/namespaces/{ns}/gitrepositories/{name}", {"spec": spec})


def status(world: World, ns: str, name: str) -> Any:
    return (world.get_source(ns, name) or {}).get("status") or {}


def ready(world: World, ns: str, name: str, commit: str = "") -> Any:
    def reached() -> Any:
        item = world.get_source(ns, name)
        found = condition(item, "Ready")
        at = commit in ((item["status"].get("artifact") or {}).get("revision") or "")
        current = item["status"].get("observedGeneration") == item["metadata"]["generation"]
        return item["status"] if found.get("status") == "True" and at and current else None

    return until(reached, lambda: json.dumps(status(world, ns, name), indent=1), 60)


def failed(world: World, ns: str, name: str, reason: str, *words: str) -> Any:
    def reached() -> Any:
        item = world.get_source(ns, name)
        found = condition(item, "Ready")
        wanted = found.get("status") == "False" and found["reason"] == reason
        return item["status"] if wanted and all(word in found["message"] for word in words) else None

    return until(reached, lambda: json.dumps(status(world, ns, name), indent=1), 60)


@contextmanager
def running(*things: Any) -> Iterator[list[Any]]:
    """Asynchronous servers in a loop of their own, in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, loop).result(10)

    entered = [wait(thing.__aenter__()) for thing in things]
    try:
        yield entered
    finally:
        for thing in reversed(things):
            wait(thing.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


# include


def test_what_is_included_is_applied_and_followed_by_event(world: World, ns: str) -> None:
    base, shop = world.repo(f"{ns}-base"), world.repo(f"{ns}-shop")
    first = base.commit({"deploy/base.yaml": settings("base", "1"), "README": "x"})
    commit = shop.commit({"own.yaml": settings("own", "1")})
    include = [{"repository": {"name": "base"}, "fromPath": "./deploy", "toPath": "vendor/base"}]
    world.source(ns, shop.url, include=include)
    waiting = failed(world, ns, "repo", "NotFound", f"{ns}/base", "does not exist")
    assert [one["type"] for one in waiting["conditions"]] == ["Reconciling", "Ready", "IncludeUnavailable"]
    assert "artifact" not in waiting
    world.source(ns, base.url, "base")
    found = ready(world, ns, "repo", commit)
    assert {one["type"] for one in found["conditions"]} == {"Ready", "ArtifactInStorage"}
    assert found["includedArtifacts"] == [status(world, ns, "base")["artifact"]]
    assert found["observedInclude"] == include
    assert first in found["includedArtifacts"][0]["revision"]
    world.app(ns, "app", "vendor")
    world.ready(ns, "app", commit)
    assert (applied(world, ns, "base"), applied(world, ns, "own")) == ("1", None)

    second = base.commit({"deploy/base.yaml": settings("base", "2")})
    world.poke(ns, "base")
    until(lambda: applied(world, ns, "base") == "2", lambda: json.dumps(status(world, ns, "repo"), indent=1))
    moved = ready(world, ns, "repo", commit)
    assert second in moved["includedArtifacts"][0]["revision"]
    assert moved["artifact"]["revision"] == found["artifact"]["revision"], "the revision is that of the commit"
    assert moved["artifact"]["digest"] != found["artifact"]["digest"]

    base.commit({"README": "y"})
    world.poke(ns, "base")
    third = until(
        lambda: (now := ready(world, ns, "repo"))["includedArtifacts"] != moved["includedArtifacts"] and now, "it moves"
    )
    assert third["artifact"]["digest"] == moved["artifact"]["digest"], "what is not taken changes nothing"


def test_what_was_included_and_is_gone_leaves_the_last_artifact_in_force(world: World, ns: str) -> None:
    base, shop = world.repo(f"{ns}-base"), world.repo(f"{ns}-shop")
    base.commit({"base.yaml": settings("base", "1")})
    commit = shop.commit({"own.yaml": settings("own", "1")})
    world.source(ns, base.url, "base")
    world.source(ns, shop.url, include=[{"repository": {"name": "base"}}])
    before = ready(world, ns, "repo", commit)
    world.app(ns, "app")
    world.ready(ns, "app", commit)
    world.api.delete(f"{SOURCES}/namespaces/{ns}/gitrepositories/base")
    after = failed(world, ns, "repo", "NotFound", "create it, or take it out")
    assert after["artifact"] == before["artifact"]
    world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/base")
    until(lambda: applied(world, ns, "base") == "1", "drift is still corrected")
    change(world, ns, "repo", include=None)
    last = ready(world, ns, "repo", commit)
    assert "includedArtifacts" not in last
    assert "observedInclude" not in last
    until(lambda: applied(world, ns, "base") is None, "it is pruned, for that was asked for")


def test_a_circle_of_includes_stalls_with_its_names_until_it_is_ended(world: World, ns: str) -> None:
    one, two = world.repo(f"{ns}-one"), world.repo(f"{ns}-two")
    first = one.commit({"one": "1"})
    second = two.commit({"two": "2"})
    world.source(ns, one.url, "one", include=[{"repository": {"name": "two"}}])
    failed(world, ns, "one", "NotFound")
    world.source(ns, two.url, "two", include=[{"repository": {"name": "one"}}])
    failed(world, ns, "two", "ValidationFailed", "two includes one includes two")
    failed(world, ns, "one", "ValidationFailed", "one includes two includes one")
    assert condition(world.get_source(ns, "one"), "Stalled")["status"] == "True"
    change(world, ns, "two", include=None)
    ready(world, ns, "two", second)
    assert ready(world, ns, "one", first)["includedArtifacts"]


# submodules


def test_submodules_are_applied_and_one_that_is_gone_keeps_the_last_artifact(world: World, ns: str) -> None:
    lib, shop = world.repo(f"{ns}-lib"), world.repo(f"{ns}-shop")
    pinned = lib.commit({"lib.yaml": settings("lib", "1")})

    def pin(oid: str) -> str:
        shop._git("update-index", "--add", "--cacheinfo", f"160000,{oid},vendor/lib")
        shop._git("commit", "-q", "-m", "pin")
        shop._git("push", "-q", "--force", str(shop.bare), "HEAD:main")
        return shop._git("rev-parse", "HEAD")

    shop.commit({".gitmodules": f'[submodule "lib"]\n\tpath = vendor/lib\n\turl = ../{ns}-lib.git\n'})
    commit = pin(pinned)
    world.source(ns, shop.url, recurseSubmodules=True)
    assert ready(world, ns, "repo", commit)["observedRecurseSubmodules"] is True
    world.app(ns, "app", "vendor/lib")
    world.ready(ns, "app", commit)
    assert applied(world, ns, "lib") == "1"
    pin("1" * 40)
    world.poke(ns)
    after = failed(world, ns, "repo", "GitOperationFailed", "submodule 'vendor/lib' of", "1111111")
    assert commit in after["artifact"]["revision"]
    assert condition(world.get_source(ns), "FetchFailed")["status"] == "True"
    change(world, ns, "repo", recurseSubmodules=False)
    found = ready(world, ns, "repo")
    assert found["artifact"]["metadata"]["trimtab.dev/left-out"] == "vendor/lib"
    assert "observedRecurseSubmodules" not in found
    assert applied(world, ns, "lib") == "1", "a path that is left out is an error, not an empty set"


# ways to the server


def test_by_way_of_a_proxy_from_a_secret(world: World, ns: str) -> None:
    repo = world.repo(ns)
    commit = repo.commit({"a.yaml": settings("a", "1")})
    port = int(repo.url.split(":")[2].split("/")[0])
    with running(proxy("bot:s3cret")) as (way,):
        way.leads["git.nowhere.invalid"] = port
        world.source(ns, f"http://git.nowhere.invalid/{ns}.git", proxySecretRef={"name": "way"}, timeout="10s")
        failed(world, ns, "repo", "AuthenticationFailed", f"Secret {ns}/way does not exist", "spec.proxySecretRef")
        address = f"http://127.0.0.1:{way.port}".encode()
        secret(world, ns, "way", {"address": address, "username": b"bot", "password": b"wrong"})
        world.poke(ns)
        refused = failed(world, ns, "repo", "AuthenticationFailed", "the proxy wants other credentials")
        assert "wrong" not in json.dumps(refused).replace("wrong credentials", "")
        right = base64.b64encode(b"s3cret").decode()
        world.api.merge(f"/api/v1/namespaces/{ns}/secrets/way", {"data": {"password": right}})
        world.poke(ns)
        ready(world, ns, "repo", commit)
        assert "s3cret" not in world.controller.log


def test_a_github_app_signs_in_and_a_token_that_is_revoked_is_replaced(
    world: World, ns: str, tmp_path: Path, git_root: Path
) -> None:
    repo = world.repo(ns)
    commit = repo.commit({"a.yaml": settings("a", "1")})
    authority = Authority.create(tmp_path)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )

    class Private(GitServer):
        def _signed_in(self, request: Any) -> str | None:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            password = base64.b64decode(token).decode().partition(":")[2] if scheme == "Basic" else ""
            return "app" if forge.good(password) else None

    forge = Forge(authority.context, key.public_key())
    with running(forge, Private(git_root, tls=authority.context)) as (_, server):
        data = {"githubAppID": b"1234", "githubAppInstallationOwner": b"acme", "githubAppPrivateKey": pem}
        data |= {"githubAppBaseURL": forge.url.encode(), "ca.crt": authority.ca}
        secret(world, ns, "app", data)
        world.source(ns, server.url(ns), provider="github")
        failed(world, ns, "repo", "InvalidProviderConfiguration", "needs spec.secretRef")
        change(world, ns, "repo", secretRef={"name": "app"})
        ready(world, ns, "repo", commit)
        assert len(forge.tokens) == 1
        forge.tokens.clear()
        forge.tokens["another"] = forge.now()
        world.poke(ns)
        until(lambda: len(forge.tokens) > 1, "a new token is asked for")
        ready(world, ns, "repo", commit)
        change(world, ns, "repo", provider="generic")
        failed(world, ns, "repo", "AuthenticationFailed", "spec.provider is not github")
        assert pem.decode().splitlines()[1] not in world.controller.log


@pytest.mark.parametrize("provider", ["aws", "azure"])
def test_providers_that_are_not_served_are_refused(world: World, ns: str, provider: str) -> None:
    world.source(ns, world.repo(ns).url, provider=provider)
    failed(world, ns, "repo", "FeatureGateDisabled", f"spec.provider {provider}")


@contextmanager
def silent() -> Iterator[tuple[int, list[socket.socket]]]:
    """The port of a server that takes every connection and says nothing, and the connections."""
    server = socket.create_server(("127.0.0.1", 0), backlog=100)
    taken: list[socket.socket] = []

    def take() -> None:
        with suppress(OSError):
            while True:
                taken.append(server.accept()[0])

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], taken
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in (server, *taken):
            connection.close()


def test_sources_of_one_namespace_leave_workers_to_those_of_others(world: World, ns: str) -> None:
    other = world.namespace("other-sources")
    repo = world.repo(ns)
    commit = repo.commit({"settings.yaml": settings("settings", "a")})
    with silent() as (port, taken):
        for number in range(40):
            world.source(ns, f"http://127.0.0.1:{port}/{number}.git", f"silent-{number}", timeout="5m")
        until(lambda: len(taken) == 24, lambda: f"three quarters of the workers have one to ask: {len(taken)}")
        world.source(other, repo.url)
        ready(world, other, "repo", commit)
        assert len(taken) == 24
        told = [world.get_source(ns, f"silent-{number}") for number in range(40)]
        assert not any(condition(item, "Ready") for item in told), "who waits for its turn has not failed"
        world.let_go(ns)
        world.let_go(other)


def test_sources_whose_server_says_nothing_do_not_hold_up_others(world: World, ns: str) -> None:
    repo = world.repo(ns)
    commit = repo.commit({"settings.yaml": settings("settings", "a")})
    with silent() as (port, taken):
        for number in range(20):
            world.source(ns, f"http://127.0.0.1:{port}/{number}.git", f"silent-{number}", timeout="5m")
        until(lambda: len(taken) == 20, lambda: f"all are asked: {len(taken)}")
        world.source(ns, repo.url)
        ready(world, ns, "repo", commit)
        assert not condition(world.get_source(ns, "silent-7"), "Ready"), "its time is not up"
        world.let_go(ns)
