"""Apps whose manifests are in a bucket, on moto's server."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest

from tests.buckets.store import Moto
from tests.buckets.test_hostile import made
from tests.e2e.world import SOURCES, World, condition, until

PATH = "/api/v1/namespaces/{}/configmaps/settings"


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    server = Moto()
    yield server
    server.stop()


def settings(value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{of: {value!r}}}\n"


def path(ns: str) -> str:
    return f"{SOURCES}/namespaces/{ns}/buckets"


def source(world: World, ns: str, endpoint: str, bucket: str, **spec: Any) -> None:
    body = {"endpoint": endpoint, "bucketName": bucket, "interval": "60m", "insecure": True, **spec}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "Bucket"}
    spec = {key: value for key, value in body.items() if value is not None}
    world.api.create(path(ns), {**kind, "metadata": {"name": "repo", "namespace": ns}, "spec": spec})


def app(world: World, ns: str, **spec: Any) -> None:
    world.app(ns, "app", sourceRef={"kind": "Bucket", "name": "repo"}, **spec)


def get(world: World, ns: str) -> Any:
    return world.api.get(f"{path(ns)}/repo")


def look(world: World, ns: str) -> None:
    """Ask for a look, and wait until it is over."""
    moment = world._request(f"{path(ns)}/repo")
    until(lambda: get(world, ns)["status"].get("lastHandledReconcileAt") == moment, lambda: why(world, ns))


def why(world: World, ns: str) -> str:
    return json.dumps([(get(world, ns) or {}).get("status"), (world.get_app(ns, "app") or {}).get("status")], indent=1)


def failed(world: World, ns: str, reason: str, *words: str) -> str:
    def reached() -> str | None:
        found = condition(get(world, ns), "Ready")
        wanted = found.get("status") == "False" and found["reason"] == reason
        return found["message"] if wanted and all(word in found["message"] for word in words) else None

    message: str = until(reached, lambda: why(world, ns), 60)
    return message


def revision(world: World, ns: str) -> str:
    found: str = until(lambda: (get(world, ns)["status"].get("artifact") or {}).get("revision"), lambda: why(world, ns))
    return found


def applied(world: World, ns: str) -> str | None:
    found = world.api.get(PATH.format(ns))
    return found and found["data"]["of"]


def secret(world: World, ns: str, name: str, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": name}, "data": encoded})


def test_a_bucket_is_applied_and_a_changed_object_follows(world: World, ns: str, moto: Moto) -> None:
    name = moto.bucket("first", {"deploy/settings.yaml": settings("one"), "other/x.yaml": settings("other")})
    source(world, ns, moto.host, name, prefix="deploy/")
    app(world, ns, path="./deploy")
    first = revision(world, ns)
    found = world.ready(ns, "app", first)
    assert applied(world, ns) == "one"
    assert found["status"]["lastAppliedRevision"] == first
    status = get(world, ns)["status"]
    assert status["artifact"]["path"].startswith(f"bucket/{ns}/repo/")
    assert status["url"] == status["artifact"]["url"]
    assert condition(get(world, ns), "ArtifactInStorage")["status"] == "True"

    look(world, ns)
    assert revision(world, ns) == first
    moto.put(name, "deploy/settings.yaml", settings("two"))
    look(world, ns)
    second = revision(world, ns)
    assert second != first
    world.ready(ns, "app", second)
    assert applied(world, ns) == "two"

    # Removed from the bucket, removed from the cluster.
    moto.put(name, "deploy/more.yaml", settings("more").replace("name: settings", "name: more"))
    moto.remove(name, "deploy/settings.yaml")
    look(world, ns)
    world.ready(ns, "app", revision(world, ns))
    until(lambda: applied(world, ns) is None, lambda: why(world, ns))


def test_while_the_bucket_is_gone_the_last_artifact_is_enforced(world: World, ns: str, moto: Moto) -> None:
    name = moto.bucket("leaving", {"settings.yaml": settings("before")})
    source(world, ns, moto.host, name, interval="2s")
    app(world, ns)
    world.ready(ns, "app", revision(world, ns))
    moto.remove(name, "settings.yaml")
    moto.client.delete_bucket(Bucket=name)
    failed(world, ns, "BucketOperationFailed", "bucket leaving", "NoSuchBucket")
    world.api.merge(PATH.format(ns), {"data": {"of": "drifted"}})
    until(lambda: applied(world, ns) == "before", lambda: why(world, ns))
    moto.bucket(name, {"settings.yaml": settings("after")})
    until(lambda: applied(world, ns) == "after", lambda: why(world, ns), 60)


def test_a_private_bucket_is_read_with_the_secret_and_a_repaired_secret_is_enough(
    world: World, ns: str, moto: Moto
) -> None:
    name = moto.bucket("private")
    moto.put(name, "settings.yaml", settings("private"), public=False)
    source(world, ns, moto.host, name)
    app(world, ns)
    failed(world, ns, "AuthenticationFailed", "spec.secretRef")
    world.api.merge(f"{path(ns)}/repo", {"spec": {"secretRef": {"name": "keys"}}})
    failed(world, ns, "AuthenticationFailed", f"Secret {ns}/keys does not exist")
    secret(world, ns, "keys", accesskey="reader")
    look(world, ns)
    failed(world, ns, "AuthenticationFailed", "has to have accesskey and secretkey")
    right = base64.b64encode(b"s3cr3t-k3y").decode()
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/keys", {"data": {"secretkey": right}})
    look(world, ns)
    world.ready(ns, "app", revision(world, ns))
    assert applied(world, ns) == "private"
    assert "s3cr3t-k3y" not in world.controller.log


class Directory(BaseHTTPRequestHandler):
    """A double of a server that makes keys for `ada`, whose password is `right`."""

    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.asked.append(form)
        right = (form["LDAPUsername"], form["LDAPPassword"]) == (["ada"], ["right"])
        body = made() if right else b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        self.send_response(200 if right else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def test_keys_for_a_while_open_a_private_bucket(world: World, ns: str, moto: Moto) -> None:
    name = moto.bucket("directory")
    moto.put(name, "settings.yaml", settings("directory"), public=False)
    secret(world, ns, "ada", username="ada", password="wr0ng")
    with ThreadingHTTPServer(("127.0.0.1", 0), Directory) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        sts = {"provider": "ldap", "endpoint": endpoint, "secretRef": {"name": "ada"}}
        source(world, ns, moto.host, name, sts=sts)
        app(world, ns)
        told = failed(world, ns, "AuthenticationFailed", "spec.sts.secretRef", endpoint)
        assert "wr0ng" not in told
        right = base64.b64encode(b"right").decode()
        world.api.merge(f"/api/v1/namespaces/{ns}/secrets/ada", {"data": {"password": right}})
        look(world, ns)
        world.ready(ns, "app", revision(world, ns))
        assert applied(world, ns) == "directory"
        asked = len(Directory.asked)
        look(world, ns)
        assert len(Directory.asked) == asked, "kept as long as they are good"
        server.shutdown()
        thread.join(5)
    assert "wr0ng" not in world.controller.log


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"provider": "gcp"}, "spec.provider gcp"),
        ({"provider": "azure", "secretRef": {"name": "x"}}, "spec.provider azure"),
        ({"provider": "aws"}, "spec.provider aws without a secretRef"),
        ({"provider": "aws", "serviceAccountName": "x"}, "spec.serviceAccountName"),
        (
            {
                "provider": "aws",
                "secretRef": {"name": "x"},
                "sts": {"provider": "aws", "endpoint": "https://sts.example"},
            },
            "spec.sts.provider aws",
        ),
    ],
    ids=["gcp", "azure", "aws-identity", "account", "aws-sts"],
)
def test_what_is_not_served_is_refused_by_name_and_nothing_is_asked(
    world: World, ns: str, spec: dict[str, Any], words: str
) -> None:
    source(world, ns, "127.0.0.1:1", "nowhere", **spec)
    told = failed(world, ns, "FeatureGateDisabled", words)
    assert "of a Bucket" in told
    item = get(world, ns)
    assert condition(item, "Stalled")["status"] == "True"
    assert "artifact" not in item["status"]


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"endpoint": "https://u:s3cret@minio.example"}, "URLInvalid", "spec.secretRef"),
        ({"endpoint": "minio.example/path"}, "URLInvalid", "expected host[:port]"),
        ({"bucketName": "a/../b"}, "URLInvalid", "spec.bucketName"),
        (
            {"sts": {"provider": "ldap", "endpoint": "http://minio.example"}, "insecure": False},
            "InvalidSTSConfiguration",
            "plain http",
        ),
        (
            {"sts": {"provider": "ldap", "endpoint": "https://minio.example"}},
            "InvalidSTSConfiguration",
            "spec.sts.secretRef is missing",
        ),
    ],
    ids=["credentials", "path", "bucket", "sts-http", "sts-nobody"],
)
def test_what_makes_no_sense_stalls_with_its_reason(
    world: World, ns: str, spec: dict[str, Any], reason: str, words: str
) -> None:
    source(
        world,
        ns,
        **{"endpoint": "127.0.0.1:1", "bucket": "apps"}
        | {("bucket" if key == "bucketName" else key): value for key, value in spec.items()},
    )
    told = failed(world, ns, reason, words)
    assert "s3cret" not in told
    assert condition(get(world, ns), "Stalled")["status"] == "True"


def test_a_hostile_key_is_refused_by_name_and_the_last_artifact_stays(world: World, ns: str, moto: Moto) -> None:
    name = moto.bucket("hostile", {"settings.yaml": settings("good")})
    source(world, ns, moto.host, name)
    app(world, ns)
    good = revision(world, ns)
    world.ready(ns, "app", good)
    moto.put(name, "settings.yaml/..%2f", settings("evil"))
    moto.put(name, "settings.yaml", settings("evil"))
    look(world, ns)
    failed(world, ns, "BucketOperationFailed", "settings.yaml", "both a file and a directory")
    assert get(world, ns)["status"]["artifact"]["revision"] == good
    assert applied(world, ns) == "good"
