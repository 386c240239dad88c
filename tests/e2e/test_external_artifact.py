"""Apps fed by a producer that nobody here knows: the test itself, with an HTTP server and the rights to a status."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.world import SOURCES, ApiFailure, World, condition, until
from tests.registry.server import archive, digest
from trimtab.api.crd import crds


class Producer:
    """Serves archives on loopback, and says so in the status of an ExternalArtifact."""

    def __init__(self, world: World, ns: str) -> None:
        self.world, self.ns = world, ns
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if target := outer.redirects.get(self.path):
                    self.send_response(302)
                    self.send_header("Location", target)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                data = outer.files.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def path(self) -> str:
        return f"{SOURCES}/namespaces/{self.ns}/externalartifacts"

    def create(self, name: str = "made") -> None:
        kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact"}
        made_for = {"apiVersion": "example.org/v1", "kind": "Thing", "name": name}
        self.world.api.create(self.path, {**kind, "metadata": {"name": name}, "spec": {"sourceRef": made_for}})

    def publish(self, revision: str, value: str, name: str = "made", *more: str, **over: Any) -> None:
        data = archive(settings(value) | {f"{one}.yaml": config(one) for one in more})
        place = f"/{revision}.tar.gz"
        self.files.setdefault(place, data)
        self.say(name, revision, url=self.url + place, digest=digest(data), **over)

    def say(self, name: str, revision: str, **over: Any) -> None:
        artifact = {"path": "made.tar.gz", "revision": revision, "lastUpdateTime": "2026-11-26T11:00:00Z", **over}
        good = {
            "type": "Ready",
            "status": "True",
            "reason": "Succeeded",
            "message": f"made {revision}",
            "lastTransitionTime": "2026-11-26T11:00:00Z",
        }
        self.world.api.merge(f"{self.path}/{name}/status", {"status": {"artifact": artifact, "conditions": [good]}})

    def app(self, **spec: Any) -> None:
        self.world.app(self.ns, "app", sourceRef={"kind": "ExternalArtifact", "name": "made"}, **spec)

    def applied(self) -> str | None:
        found = self.world.api.get(f"/api/v1/namespaces/{self.ns}/configmaps/settings")
        return found and found["data"]["of"]

    def warned(self, *words: str) -> bool:
        found = self.world.api.get(f"/api/v1/namespaces/{self.ns}/events")["items"]
        return any(
            event["involvedObject"]["kind"] == "ExternalArtifact"
            and event["type"] == "Warning"
            and all(word in event["message"] for word in words)
            for event in found
        )

    def why(self) -> str:
        found = [self.world.api.get(f"{self.path}/made"), self.world.get_app(self.ns, "app")]
        return json.dumps([one and one.get("status") for one in found], indent=1)


def config(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"


def settings(value: str) -> dict[str, str | bytes]:
    return {
        "settings.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{of: {value!r}}}\n"
    }


@pytest.fixture
def producer(world: World, ns: str) -> Iterator[Producer]:
    found = Producer(world, ns)
    yield found
    found.stop()


def test_what_any_producer_publishes_is_applied_and_followed(world: World, ns: str, producer: Producer) -> None:
    producer.create()
    producer.app()
    world.failed(ns, "app", "ArtifactFailed", "ExternalArtifact/")
    origin = {"org.opencontainers.image.revision": "main@sha1:0123456789"}
    producer.publish("v1", "one", metadata=origin)
    found = world.ready(ns, "app", "v1")
    assert producer.applied() == "one"
    assert found["status"]["lastAppliedOriginRevision"] == "main@sha1:0123456789"
    producer.publish("v2", "two")
    world.ready(ns, "app", "v2")
    assert producer.applied() == "two"


def test_what_does_not_match_its_digest_is_refused_and_the_last_one_stays_in_force(
    world: World, ns: str, producer: Producer
) -> None:
    producer.create()
    producer.publish("v1", "one")
    producer.app()
    world.ready(ns, "app", "v1")
    producer.files["/v2.tar.gz"] = archive(settings("forged"))
    producer.publish("v2", "two")
    until(lambda: producer.warned("is not what the source", "revision 'v1' stays in force"), producer.why)
    # Drift is still corrected to the last good one, and nothing of the forged one is there.
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"of": "drifted"}})
    until(lambda: producer.applied() == "one", producer.why)
    assert condition(world.get_app(ns, "app"), "Ready")["status"] == "True"
    producer.files["/v2.tar.gz"] = archive(settings("two"))
    world.ready(ns, "app", "v2")
    assert producer.applied() == "two"


def test_an_app_that_waits_for_a_first_artifact_is_told_why_it_cannot_be_had(
    world: World, ns: str, producer: Producer
) -> None:
    producer.create()
    producer.app()
    producer.say("made", "v1", url=f"{producer.url}/nowhere.tar.gz", digest=digest(b"x"))
    world.failed(ns, "app", "ArtifactFailed", "the server answered 404")


def test_a_redirect_is_not_followed_and_its_target_hears_nothing(world: World, ns: str, producer: Producer) -> None:
    elsewhere = Producer(world, ns)
    try:
        elsewhere.files["/v1.tar.gz"] = archive(settings("one"))
        producer.redirects["/v1.tar.gz"] = f"{elsewhere.url}/v1.tar.gz"
        producer.create()
        producer.app()
        producer.publish("v1", "one")
        world.failed(ns, "app", "ArtifactFailed", "the server answered 302")
        assert producer.asked
        assert elsewhere.asked == []
    finally:
        elsewhere.stop()


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166", "[fe80::1]"],
)
def test_link_local_and_metadata_addresses_are_never_contacted(
    world: World, ns: str, producer: Producer, host: str
) -> None:
    producer.create()
    producer.app()
    producer.say("made", "v1", url=f"http://{host}/latest/meta-data", digest=digest(b"x"))
    world.failed(ns, "app", "ArtifactFailed", "which is never contacted")


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"url": "file:///etc/passwd"}, "is not an http or https address"),
        ({"url": "http://user:secret@127.0.0.1/a.tar.gz"}, "carries credentials"),
        ({"digest": "md5:d41d8cd98f00b204e9800998ecf8427e"}, "cannot be checked"),
    ],
    ids=["file", "password", "md5"],
)
def test_an_address_or_a_digest_that_proves_nothing_is_refused(
    world: World, ns: str, producer: Producer, over: dict[str, str], words: str
) -> None:
    producer.create()
    producer.app()
    producer.say("made", "v1", **{"url": f"{producer.url}/a.tar.gz", "digest": digest(b"x"), **over})
    assert "secret" not in world.failed(ns, "app", "ArtifactFailed", words)
    assert producer.asked == []


def test_when_the_object_goes_what_was_applied_from_it_stays(world: World, ns: str, producer: Producer) -> None:
    producer.create()
    producer.publish("v1", "one")
    producer.app()
    world.ready(ns, "app", "v1")
    world.api.delete(f"{producer.path}/made")
    world.poke_app(ns, "app")
    world.failed(ns, "app", "ArtifactFailed", "has no artifact")
    assert producer.applied() == "one"


def test_an_app_may_depend_on_the_artifact_of_another_producer(world: World, ns: str, producer: Producer) -> None:
    repo = world.repo(ns)
    commit = repo.commit(settings("git"))
    world.source(ns, repo.url)
    producer.create()
    world.app(ns, "app", annotations={"trimtab.dev/depends-on": f"ExternalArtifact/{ns}/made"})
    world.failed(ns, "app", "DependencyNotReady", "is not ready")
    producer.publish("v1", "one")
    world.ready(ns, "app", commit)


def test_while_the_definition_goes_nothing_is_pruned_and_when_it_is_back_all_goes_on(
    world: World, ns: str, producer: Producer
) -> None:
    [definition] = [body for body in crds() if body["metadata"]["name"].startswith("externalartifacts.")]
    place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = definition["metadata"]["name"]
    extra = f"/api/v1/namespaces/{ns}/configmaps/extra"
    producer.create()
    producer.publish("v1", "one", "made", "extra")
    producer.app()
    world.ready(ns, "app", "v1")
    world.api.merge(f"{producer.path}/made", {"metadata": {"finalizers": ["example.org/hold"]}})
    world.api.delete(f"{place}/{name}")
    try:
        until(lambda: (world.api.get(f"{place}/{name}") or {})["metadata"].get("deletionTimestamp"), "it is on its way")
        producer.publish("v2", "two")
        world.poke_app(ns, "app")
        # Either the new artifact was seen before its object was told to go, or it was not: both keep what is there.
        until(lambda: kept_because(world.get_app(ns, "app")), producer.why)
    finally:
        world.api.merge(f"{producer.path}/made", {"metadata": {"finalizers": None}})
        until(lambda: world.api.get(f"{place}/{name}") is None, "the definition goes", 60)
        world.api.create(place, definition)
        until(lambda: served(world, producer.path), "the kind is served again")
    assert world.api.get(extra)
    producer.create()
    producer.publish("v3", "three")
    world.ready(ns, "app", "v3")
    until(lambda: world.api.get(extra) is None, producer.why)


def kept_because(app: Any) -> bool:
    terminating = condition(app, "PruneHeld").get("reason") == "Terminating"
    return terminating or "has no artifact" in condition(app, "Ready").get("message", "")


def served(world: World, path: str) -> bool:
    try:
        return world.api.get(path) is not None
    except ApiFailure as failure:
        if failure.code == 429:
            return False
        raise
