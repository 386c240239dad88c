"""SECURITY.md, 1.3 and 1.4, on a whole controller: every row of repositories and registries that mean harm.

Each is refused with its cause; nothing is executed (there is no canary), no packet goes to the host that is named (a
socket listens there), the last artifact stays, and nothing that was applied is deleted. Afterwards the honest remote is
believed again.

Where the rows are that are judged closer to the code: hostile archives in tests/artifacts/test_hostile_archives.py,
manifests in tests/remotes/test_oci_manifest.py, realms in tests/remotes/test_oci_challenge.py and
tests/registry/test_hostile.py, addresses and names in tests/remotes/test_address.py, ssh and limits of size in
tests/sources/test_git.py, interruptions in tests/sources/test_interrupted.py, kustomize in
tests/render/test_references.py, signatures in tests/sources/test_trust.py and tests/registry/test_pull.py.
"""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.artifacts import flux_reader
from tests.e2e.test_main_job import config, settings
from tests.e2e.test_oci import source as oci_source
from tests.e2e.world import SOURCES, ApiFailure, Repo, World, condition, until
from tests.registry.server import CONTENT, INDEX, MANIFEST, archive, descriptor, digest, manifest
from tests.remotes.test_address import REFUSED_NAMES
from tests.remotes.world import Repository


class Listener:
    """Another host, to which nobody may speak: it counts who does."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.2", 0))
        self.address = f"127.0.0.2:{self._socket.getsockname()[1]}"
        self.visitors = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.visitors += 1
            visitor.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def elsewhere() -> Iterator[Listener]:
    listener = Listener()
    with socket.create_connection(("127.0.0.2", int(listener.address.rpartition(":")[2]))):
        until(lambda: listener.visitors == 1, "it counts")
    listener.visitors = 0
    yield listener
    listener.close()


class Held:
    """An app in good state, and the source that is told lies."""

    def __init__(self, world: World, ns: str, plural: str, elsewhere: Listener, canary: Path) -> None:
        self.world, self.ns, self.elsewhere, self.canary = world, ns, elsewhere, canary
        self.path = f"{SOURCES}/namespaces/{ns}/{plural}/repo"
        self._app = world.ready(ns, "app")
        self._object = settings(world, ns)
        self._artifact = self.get()["status"]["artifact"]

    def get(self) -> Any:
        return self.world.api.get(self.path)

    def look(self) -> None:
        moment = self.world._request(self.path)
        until(lambda: self.get()["status"].get("lastHandledReconcileAt") == moment, lambda: f"no look: {self.get()}")

    def change(self, **spec: Any) -> bool:
        """Change the spec; False if the server does not admit it."""
        try:
            generation = self.world.api.merge(self.path, {"spec": spec})["metadata"]["generation"]
        except ApiFailure as refused:
            if refused.code != 422:
                raise
            return False
        until(lambda: self.get()["status"]["observedGeneration"] == generation, lambda: f"not seen: {self.get()}")
        return True

    def refused(self, reason: str, words: str = "") -> str:
        def reached() -> str | None:
            found = condition(self.get(), "Ready")
            same = found.get("status") == "False" and found["reason"] == reason and words in found["message"]
            return found["message"] if same else None

        message: str = until(reached, lambda: f"not refused so: {self.get()['status']}")
        self.unharmed()
        return message

    def unharmed(self) -> None:
        assert self.elsewhere.visitors == 0, "somebody spoke to the host that was named"
        assert not self.canary.exists(), "something was executed"
        assert self.get()["status"]["artifact"] == self._artifact, "the last artifact stays"
        there = settings(self.world, self.ns)
        assert there is not None, "it was deleted"
        assert there["metadata"]["uid"] == self._object["metadata"]["uid"]
        assert there["data"] == self._object["data"]


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def repo(world: World, ns: str) -> Repo:
    repo = world.repo(ns)
    repo.commit({"settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "app")
    return repo


@pytest.fixture
def held(world: World, ns: str, repo: Repo, elsewhere: Listener, canary: Path) -> Held:
    return Held(world, ns, "gitrepositories", elsewhere, canary)


# Git


def test_addresses_that_are_options_programs_or_other_hosts(held: Held, repo: Repo) -> None:
    host = held.elsewhere.address
    for url in (
        f"--upload-pack=touch {held.canary}",
        f"-oProxyCommand=touch {held.canary}",
        f"ext::sh -c touch% {held.canary}",
        f"ssh://-oProxyCommand=touch {held.canary}/x",
        f"ssh://-oProxyCommand=touch%20{held.canary}@{host}/x",
        f"file://{repo.bare}",
        "fd::3",
        f"git://{host}/x",
        f"HTTPS://{host}/x",
        f"https:///{host}/x",
        f"http://user:s3cret@{host}/x",
        f"http://a\\@{host}/x",
        "ssh://git@127.0.0.2:22x/x",
        f"http://127.0.0.1/x%0ahost={host}",
        f"http://127.0.0.1/../{host}",
        f"http://{host}/x?y",
        f"http://{host}/x#y",
        "http://169.254.169.254/latest/meta-data",
    ):
        if held.change(url=url):
            told = held.refused("URLInvalid")
            assert "s3cret" not in told + held.world.controller.log
        held.unharmed()
    assert held.change(url=repo.url)
    held.world.ready(held.ns, "app")
    held.unharmed()


def test_references_that_are_options_or_expressions(held: Held, repo: Repo) -> None:
    for name in (*REFUSED_NAMES, f"--upload-pack=touch {held.canary}"):
        if not name or not name.isprintable():
            continue  # what JSON and the server make of those is another question; see tests/sources/test_git.py
        for field in ("branch", "tag", "commit"):
            if held.change(ref={"branch": None, "tag": None, "commit": None, field: name}):
                held.refused("URLInvalid", "spec.ref")
    assert held.change(ref={"branch": "main", "tag": None, "commit": None})
    until(lambda: condition(held.get(), "Ready").get("status") == "True", "the honest name is believed again")
    held.unharmed()


class Answer(NamedTuple):
    """What a liar says."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Liar:
    """A server that answers what a test writes down, and 404 to everything else."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _say(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.partition("?")[0]
                liar.asked.append(f"{self.command} {self.path}")
                answer = liar.answers.get(path, Answer(404, {}))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_HEAD = do_POST = _say  # noqa: N815 - the names are the library's

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    liar = Liar()
    yield liar
    liar.close()


def test_redirects_to_other_hosts_and_schemes(held: Held, repo: Repo, liar: Liar) -> None:
    refs = "/x/info/refs"
    for target in (
        f"http://{held.elsewhere.address}{refs}",
        f"https://{held.elsewhere.address}{refs}",
        f"//{held.elsewhere.address}{refs}",
        f"http://{liar.host}@{held.elsewhere.address}{refs}",
        f"file://{repo.bare}/info/refs",
        f"ssh://{held.elsewhere.address}{refs}",
        "http://169.254.169.254/info/refs",
    ):
        liar.answers = {refs: Answer(302, {"Location": f"{target}?service=git-upload-pack"})}
        held.change(url=f"http://{liar.host}/x", timeout=f"{len(target)}s")
        held.look()
        held.refused("URLInvalid", "is refused: ")
    assert held.change(url=repo.url)
    held.world.ready(held.ns, "app")
    held.unharmed()


def bare(repo: Repo) -> Repository:
    return Repository(repo.bare)


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", ".", ".gitmodules"])
def test_trees_with_names_that_lead_out_or_orders_for_git(held: Held, repo: Repo, name: str) -> None:
    """A checkout of it would leave an empty work tree, and an empty render would prune everything."""
    own = bare(repo)
    content = f'[submodule "s"]\n\tpath = s\n\turl = ./s\n\tupdate = !touch {held.canary}\n'
    own.commit_tree(own.tree(f"100644 blob {own.blob(content.encode())}\t{name}"))
    held.look()
    held.refused("GitOperationFailed")
    held.world.poke_app(held.ns, "app")
    repo.push()
    held.look()
    until(lambda: condition(held.get(), "Ready").get("status") == "True", "the honest commit is believed again")
    assert held.elsewhere.visitors == 0
    assert settings(held.world, held.ns) is not None


def test_files_that_steer_git_change_nothing_and_ask_nobody(held: Held, repo: Repo) -> None:
    """Attributes, LFS, submodules, hooks: what git would do on a checkout is not done."""
    host = held.elsewhere.address
    text = b"x $Format:%H$ $Id$\r\n\xff\xfe"
    files = {
        ".gitattributes": (
            "* export-subst ident eol=crlf working-tree-encoding=UTF-16 filter=evil diff=evil merge=evil\n"
            "secret.bin export-ignore\n"
            "big.bin filter=lfs diff=lfs merge=lfs\n"
        ),
        ".lfsconfig": f"[lfs]\n\turl = http://{host}/lfs\n",
        ".gitconfig": f'[filter "evil"]\n\tsmudge = touch {held.canary}\n\trequired = true\n',
        ".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = http://{host}/s\n',
        "hooks/post-checkout": f"#!/bin/sh\ntouch {held.canary}\n",
        "secret.bin": text,
        "big.bin": f"version https://git-lfs.github.com/spec/v1\noid sha256:{'../' * 3}\nsize {1 << 50}\n",
    }
    commit = bare(repo).commit(
        {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    )
    held.look()
    found = until(
        lambda: commit in held.get()["status"]["artifact"]["revision"] and held.get(), lambda: f"{held.get()}"
    )
    held.world.ready(held.ns, "app", commit)
    fetched = flux_reader.fetch(found).files
    assert fetched["secret.bin"] == text
    assert fetched["big.bin"] == str(files["big.bin"]).encode()
    assert held.elsewhere.visitors == 0
    assert not held.canary.exists()


def test_a_pointer_of_lfs_among_the_manifests_is_named_and_not_applied(held: Held, repo: Repo) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 12\n"
    repo.commit({".lfsconfig": f"[lfs]\n\turl = http://{held.elsewhere.address}\n", "settings.yaml": pointer})
    held.look()
    held.world.failed(held.ns, "app", "BuildFailed", "LFS pointer found: settings.yaml")
    assert settings(held.world, held.ns) is not None
    assert held.elsewhere.visitors == 0


# Registries


class Registry:
    """A liar that is a registry with one good artifact, until it lies."""

    def __init__(self, liar: Liar) -> None:
        self.liar, self.host = liar, liar.host
        self.layer = archive({"settings.yaml": config()})
        self.good = manifest([descriptor(self.layer, CONTENT)])
        self.honest()

    def honest(self) -> None:
        self.liar.answers = {
            "/v2/app/tags/list": Answer(200, {}, json.dumps({"tags": ["1.0.0"]}).encode()),
        }
        self.blob(self.layer)
        for reference in ("latest", "1.0.0"):
            self.manifest(self.good, reference)

    def blob(self, data: bytes, name: str = "", answer: Answer | None = None) -> None:
        self.liar.answers[f"/v2/app/blobs/{name or digest(data)}"] = answer or Answer(200, {}, data)

    def manifest(self, body: bytes, reference: str = "latest", kind: str = MANIFEST) -> None:
        answer = Answer(200, {"Content-Type": kind, "Docker-Content-Digest": digest(body)}, body)
        self.liar.answers[f"/v2/app/manifests/{reference}"] = answer
        self.liar.answers[f"/v2/app/manifests/{digest(body)}"] = answer

    def answer(self, path: str, status: int = 200, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.liar.answers[f"/v2/app/{path}"] = Answer(status, named, body)


@pytest.fixture
def registry(liar: Liar) -> Registry:
    return Registry(liar)


@pytest.fixture
def pulled(world: World, ns: str, registry: Registry, elsewhere: Listener, canary: Path) -> Held:
    oci_source(world, ns, f"oci://{registry.host}/app")
    world.app(ns, "app", sourceRef={"kind": "OCIRepository", "name": "repo"})
    return Held(world, ns, "ocirepositories", elsewhere, canary)


def lies(host: str) -> dict[str, tuple[Any, str, str]]:
    """What the registry says, and how it is refused."""
    pull, layer = "OCIArtifactPullFailed", "OCIArtifactLayerOperationFailed"
    other = archive({"settings.yaml": config(colour="blue")})
    one = descriptor(other, CONTENT)

    def of(*layers: dict[str, Any], **more: Any) -> Any:
        body = manifest(list(layers)) if not more else json.dumps({"schemaVersion": 2, **more}).encode()

        def say(registry: Registry) -> None:
            registry.blob(other)
            registry.manifest(body)

        return say

    def served(body: bytes, kind: str) -> Any:
        return lambda registry: registry.manifest(body, kind=kind)

    def realm(address: str, scheme: str = "Bearer") -> Any:
        challenge = f'{scheme} realm="{address}",service="x"'
        return lambda registry: registry.answer("manifests/latest", 401, WWW_Authenticate=challenge)

    def blob(status: int, body: bytes = b"", **headers: str) -> Any:
        def say(registry: Registry) -> None:
            registry.manifest(manifest([one]))
            registry.blob(other, answer=Answer(status, headers, body))

        return say

    def hostile(files: dict[str, str | bytes]) -> Any:
        data = archive(files)

        def say(registry: Registry) -> None:
            registry.blob(data)
            registry.manifest(manifest([descriptor(data, CONTENT)]))

        return say

    def headed(value: str) -> Any:
        def say(registry: Registry) -> None:
            registry.answer("manifests/latest", body=registry.good, Content_Type=MANIFEST, Docker_Content_Digest=value)

        return say

    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(b"x", INDEX)]}).encode()
    return {
        "foreign layer": (of({**one, "urls": [f"http://{host}/layer"]}), pull, "somewhere else"),
        "2,000 layers": (of(*[one] * 2000), pull, "the limit is 512"),
        "layer larger than said": (of({**one, "size": 5}), pull, "larger than the 5 bytes"),
        "layer smaller than said": (of({**one, "size": len(other) + 1}), pull, "nothing of it is used"),
        "layer beyond the limit": (of({**one, "size": 1 << 40}), pull, "the limit is 104857600"),
        "other layer than said": (of({**one, "digest": "sha256:" + "0" * 64}), pull, "no such thing"),
        "digest that leads out": (of({**one, "digest": "sha256:../../x"}), pull, "not a sha256 digest"),
        "unknown algorithm": (of({**one, "digest": "sha512:" + "a" * 128}), pull, "not a sha256 digest"),
        "both kinds at once": (of(mediaType=MANIFEST, layers=[one], manifests=[one]), pull, "both a manifest and an"),
        "confused kinds": (served(manifest([one]), INDEX), pull, "served as"),
        "index in an index": (served(index, INDEX), pull, "consists of indexes"),
        "manifest that is none": (served(b"[" * 100_000, MANIFEST), pull, "not a manifest"),
        "digest in the header leads out": (headed("sha256:../../x"), pull, "not a sha256 digest"),
        "digest in the header lies": (headed("sha256:" + "1" * 64), pull, "no such thing"),
        "realm elsewhere": (realm(f"https://{host}/token"), "AuthenticationFailed", "private"),
        "realm elsewhere without TLS": (realm(f"http://{host}/token"), "AuthenticationFailed", "only https"),
        "realm for metadata": (realm("http://169.254.169.254/latest/"), "AuthenticationFailed", "169.254.169.254"),
        "realm that is misread": (realm(f"https://127.0.0.1\\@{host}/"), "AuthenticationFailed", "token"),
        "redirect elsewhere": (blob(307, Location=f"https://{host}/layer"), pull, "private"),
        "redirect without TLS": (blob(302, Location=f"http://{host}/layer"), pull, "only https"),
        "redirect to a file": (blob(302, Location="file:///etc/passwd"), pull, ""),
        "layer that leads out": (hostile({"../evil": "x"}), layer, "not a plain path"),
        "layer that is no archive": (blob(200, b"x" * len(other)), pull, "nothing of it is used"),
        "too many requests": (blob(429), pull, "429"),
        "broken": (blob(500), pull, "500"),
    }


@pytest.mark.parametrize("lie", lies(""))
def test_a_registry_that_lies_is_refused(pulled: Held, registry: Registry, lie: str) -> None:
    say, reason, words = lies(pulled.elsewhere.address)[lie]
    say(registry)
    pulled.look()
    pulled.refused(reason, words)
    assert len(registry.liar.asked) < 30, "it is not asked for ever"
    registry.honest()
    pulled.look()
    until(lambda: condition(pulled.get(), "Ready").get("status") == "True", lambda: f"not believed: {pulled.get()}")
    pulled.unharmed()


def test_a_list_of_tags_that_goes_on_elsewhere_or_for_ever_is_refused(pulled: Held, registry: Registry) -> None:
    assert pulled.change(ref={"semver": "1.x"})
    until(lambda: "1.0.0@" in pulled.get()["status"]["artifact"]["revision"], lambda: f"{pulled.get()}")
    pulled._artifact = pulled.get()["status"]["artifact"]
    for link, words in (
        (f"<http://{pulled.elsewhere.address}/v2/app/tags/list?last=a>; rel=next", "not the same list"),
        ("</v2/other/tags/list>; rel=next", "not the same list"),
        ("</v2/app/tags/list?n=1000>; rel=next", "has no end"),
    ):
        registry.answer("tags/list", body=b'{"tags": ["1.1.0"]}', Link=link)
        pulled.look()
        pulled.refused("OCIArtifactPullFailed", words)
    registry.honest()
    pulled.look()
    until(lambda: condition(pulled.get(), "Ready").get("status") == "True", lambda: f"not believed: {pulled.get()}")
    pulled.unharmed()


def test_a_disk_that_cannot_take_the_artifact_is_told_and_heals(world: World, ns: str) -> None:
    repo = world.repo(ns)
    repo.commit({"settings.yaml": config()})
    blocked = world.controller.directory / "data/store/published/gitrepository" / ns
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("not a directory")
    world.source(ns, repo.url, interval="2s")
    until(
        lambda: condition(world.get_source(ns), "Ready").get("reason") == "ArchiveOperationFailed",
        lambda: f"not told: {world.get_source(ns)}",
    )
    blocked.unlink()
    until(lambda: condition(world.get_source(ns), "Ready").get("status") == "True", lambda: f"{world.get_source(ns)}")
