"""Webhooks, from the outside: a delivery to the path of a Receiver makes what it names look at its source at once.

The forge is played by this test: it sends what the documentation of GitHub and GitLab says they send.
"""

import hashlib
import hmac
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_main_job import config, settings
from tests.e2e.world import SOURCES, Api, Controller, World, condition, free_port, until
from trimtab.api.crd import crds

HOOKS = "/apis/notification.toolkit.fluxcd.io/v1"
TOKEN = "a-token-that-is-long-enough"
PUSH = json.dumps({"ref": "refs/heads/main", "repository": {"full_name": "team/shop"}}).encode()


class Hooked(World):
    """A world in which webhooks are taken."""

    port: int

    def token(self, namespace: str, name: str = "hook", **data: str) -> None:
        body = {"metadata": {"name": name}, "stringData": {"token": TOKEN, **data}}
        self.api.create(f"/api/v1/namespaces/{namespace}/secrets", body)

    def receiver(self, namespace: str, name: str = "hook", **spec: Any) -> None:
        spec = {
            "type": "github",
            "secretRef": {"name": "hook"},
            "resources": [{"kind": "GitRepository", "name": "repo"}],
            **spec,
        }
        self.api.create(
            f"{HOOKS}/namespaces/{namespace}/receivers",
            {
                "apiVersion": "notification.toolkit.fluxcd.io/v1",
                "kind": "Receiver",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {key: value for key, value in spec.items() if value is not None},
            },
        )

    def get_receiver(self, namespace: str, name: str = "hook") -> Any:
        return self.api.get(f"{HOOKS}/namespaces/{namespace}/receivers/{name}")

    def path(self, namespace: str, name: str = "hook") -> str:
        """The path of a Receiver, once it is Ready and those who take deliveries know that."""

        def ready() -> str | None:
            found = self.get_receiver(namespace, name)
            return found["status"].get("webhookPath") if condition(found, "Ready").get("status") == "True" else None

        path: str = until(ready, lambda: json.dumps(self.get_receiver(namespace, name)["status"]))
        until(lambda: self.post(path, b"")[0] not in (404, 503), "the path is known")
        return path

    def unready(self, namespace: str, reason: str, name: str = "hook") -> str:
        def reached() -> str | None:
            ready = condition(self.get_receiver(namespace, name), "Ready")
            return ready["message"] if (ready.get("status"), ready.get("reason")) == ("False", reason) else None

        message: str = until(reached, lambda: json.dumps(self.get_receiver(namespace, name)["status"]))
        return message

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def fetched(self, namespace: str, commit: str) -> None:
        """Wait until the artifact is of that commit."""
        until(lambda: commit in self.get_source(namespace)["status"]["artifact"]["revision"], "it is fetched", 10)

    def requested(self, namespace: str, name: str = "repo") -> str:
        annotations = self.get_source(namespace, name)["metadata"].get("annotations") or {}
        return str(annotations.get("reconcile.fluxcd.io/requestedAt", ""))


def signed(body: bytes = PUSH, token: str = TOKEN, event: str = "push", delivery: str = "") -> dict[str, str]:
    """The headers of a delivery of GitHub's."""
    headers = {
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": f"sha256={hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}",
    }
    return headers | ({"X-GitHub-Delivery": delivery} if delivery else {})


@pytest.fixture(scope="module")
def hooked(
    world: World, api: Api, kubeconfig: Path, git_root: Path, git_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hooked]:
    """The session's controller gives way to one that takes webhooks."""
    world.controller.stop()
    port = free_port()
    controller = Controller(
        kubeconfig,
        tmp_path_factory.mktemp("hooked"),
        "--controllers=source,kustomize,notification",
        f"--receiver-addr=127.0.0.1:{port}",
    )
    controller.start()
    found = Hooked(api, git_url, git_root, controller)
    found.port = port
    yield found
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    # Neither paths nor tokens are for the log.
    assert not re.search(r"/hook/|[0-9a-f]{64}", controller.log), "a path was logged"
    assert TOKEN not in controller.log
    world.controller.start()


def test_a_signed_push_makes_the_commit_visible_at_once_and_the_app_follows(hooked: Hooked, ns: str) -> None:
    repo = hooked.repo(ns)
    first = repo.commit({"app/settings.yaml": config()})
    hooked.source(ns, repo.url)
    hooked.app(ns, "shop", "./app")
    hooked.token(ns)
    hooked.receiver(ns, events=["ping", "push"])
    hooked.ready(ns, "shop", first)
    path = hooked.path(ns)
    assert path == f"/hook/{hashlib.sha256(f'{TOKEN}hook{ns}'.encode()).hexdigest()}"

    took = []
    for colour in ("blue", "green", "red"):
        commit = repo.commit({"app/settings.yaml": config(colour=colour)})
        began = time.monotonic()
        assert hooked.post(path, PUSH, signed())[0] == 200
        hooked.fetched(ns, commit)
        took.append(time.monotonic() - began)
        hooked.ready(ns, "shop", commit)
    assert settings(hooked, ns)["data"]["colour"] == "red"
    print("from the delivery to the artifact:", [f"{seconds:.3f} s" for seconds in took])
    # Usually a third of a second.
    assert min(took) < 60, "the next look by itself is an hour away"


def test_a_push_to_gitlab_s_hook_asks_all_that_have_the_labels(hooked: Hooked, ns: str) -> None:
    repo = hooked.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    hooked.source(ns, repo.url, "one", suspend=True)
    hooked.source(ns, repo.url, "two", suspend=True)
    for name in ("one", "two"):
        path = f"{SOURCES}/namespaces/{ns}/gitrepositories/{name}"
        hooked.api.merge(path, {"metadata": {"labels": {"team": "shop", "stage": name}}})
    hooked.token(ns)
    everything = {"kind": "GitRepository", "name": "*", "matchLabels": {"team": "shop"}}
    filtered = everything | {"filter": "res.metadata.labels['stage'] == req.stage"}
    hooked.receiver(ns, "all", type="gitlab", events=["Push Hook"], resources=[everything])
    hooked.receiver(ns, "some", type="gitlab", resources=[filtered])
    headers = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": TOKEN}

    assert hooked.post(hooked.path(ns, "some"), b'{"stage": "two"}', headers)[0] == 200
    until(lambda: hooked.requested(ns, "two"), "the one that is meant is asked")
    assert hooked.requested(ns, "one") == ""
    before = hooked.requested(ns, "two")
    assert hooked.post(hooked.path(ns, "all"), b"{}", headers)[0] == 200
    until(lambda: hooked.requested(ns, "one") and hooked.requested(ns, "two") != before, "both are asked")


@pytest.mark.parametrize(
    ("code", "body", "headers"),
    [
        (401, PUSH, {}),
        (401, PUSH, signed(token="another")),
        (401, PUSH + b" ", signed()),
        (401, PUSH, {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=\xe9\xff"}),
        (401, PUSH, {"X-GitHub-Event": "push", "X-Hub-Signature": f"md5={'0' * 32}"}),
        (400, PUSH, {"X-GitHub-Event": "push", "X-Hub-Signature-256": "a" * (1 << 20)}),
        (400, PUSH, signed(event="issues")),
        (413, b"x" * ((3 << 20) + 1), signed()),
    ],
    ids=["unsigned", "other-token", "other-body", "not-ascii", "md5", "a-megabyte", "unlisted", "too-large"],
)
def test_a_delivery_that_is_not_right_is_refused_and_nobody_is_asked(
    hooked: Hooked, ns: str, code: int, body: bytes, headers: dict[str, str]
) -> None:
    hooked.source(ns, "https://127.0.0.1:1/nothing.git", suspend=True)
    hooked.token(ns)
    hooked.receiver(ns, events=["push"])
    path = hooked.path(ns)
    try:
        answered, words = hooked.post(path, body, headers)
        assert answered == code
        assert TOKEN not in words
    except (ConnectionResetError, BrokenPipeError):
        assert code == 413 or len(str(headers)) > 1 << 20, "only what is far too large may be cut off"
    assert hooked.post(path, PUSH, signed())[0] == 200
    until(lambda: hooked.requested(ns), "the right one is taken")


def test_a_receiver_says_what_is_wrong_with_it_and_gets_well_by_itself(hooked: Hooked, ns: str) -> None:
    hooked.receiver(ns, interval="1s")
    told = hooked.unready(ns, "TokenNotFound")
    assert f"Secret {ns}/hook of spec.secretRef does not exist" in told
    hooked.token(ns, token="")
    until(lambda: "has no token, or an empty one" in hooked.unready(ns, "TokenNotFound"), "an empty token is refused")
    assert "webhookPath" not in hooked.get_receiver(ns)["status"]
    secret = f"/api/v1/namespaces/{ns}/secrets/hook"
    hooked.api.merge(secret, {"stringData": {"token": TOKEN}})
    first = hooked.path(ns)
    found = hooked.get_receiver(ns)
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["metadata"]["finalizers"] == ["finalizers.fluxcd.io"]
    assert condition(found, "Ready")["reason"] == "Succeeded"
    assert condition(found, "Reconciling") == {}

    hooked.api.merge(secret, {"stringData": {"token": "another-token-than-before"}})
    until(lambda: hooked.get_receiver(ns)["status"]["webhookPath"] != first, "a new token makes a new path", 15)
    second = hooked.path(ns)
    assert hooked.post(first, PUSH, signed())[0] == 404
    assert hooked.post(second, PUSH, signed())[0] == 401

    item = f"{HOOKS}/namespaces/{ns}/receivers/hook"
    hooked.api.merge(item, {"spec": {"suspend": True}})
    until(lambda: hooked.post(second, PUSH, signed())[0] == 503, "who is suspended takes nothing")
    hooked.api.delete(item)
    until(lambda: hooked.get_receiver(ns) is None, "it goes when it is told to")
    until(lambda: hooked.post(second, PUSH, signed())[0] == 404, "and its path with it")


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"resourceFilter": "res.metadata.name =="}, "InvalidCELExpression", "spec.resourceFilter"),
        ({"resourceFilter": "claims.sub == 'x'"}, "InvalidCELExpression", "undeclared reference to 'claims'"),
        (
            {"resources": [{"kind": "GitRepository", "name": "repo", "filter": "nope(1)"}]},
            "InvalidCELExpression",
            "spec.resources[0].filter",
        ),
        (
            {"resources": [{"kind": "Bucket", "name": "b", "apiVersion": "s3.example.org/v1"}]},
            "ValidationFailed",
            "cannot be asked for a look",
        ),
        (
            {"resources": [{"kind": "GitRepository", "name": "repo", "namespace": "kube-system"}]},
            "AccessDenied",
            "objects of namespace kube-system may not be named",
        ),
        (
            {
                "type": "generic-oidc",
                "secretRef": None,
                "oidcProviders": [
                    {"issuerURL": "http://issuer.example", "validations": [{"expression": "true", "message": "no"}]}
                ],
            },
            "ValidationFailed",
            "must be an https address",
        ),
        (
            {
                "type": "generic-oidc",
                "secretRef": None,
                "oidcProviders": [
                    {"issuerURL": "https://issuer.example", "validations": [{"expression": "x.y", "message": "no"}]}
                ],
            },
            "InvalidCELExpression",
            "spec.oidcProviders[0].validations[0].expression",
        ),
        ({"type": "gcr"}, "TokenNotFound", "has no email"),
    ],
    ids=["syntax", "claims", "function", "group", "namespace", "http", "oidc-syntax", "gcr"],
)
def test_what_makes_no_sense_is_refused_by_its_place(
    hooked: Hooked, ns: str, spec: dict[str, Any], reason: str, words: str
) -> None:
    hooked.token(ns)
    hooked.receiver(ns, **spec)
    assert words in hooked.unready(ns, reason)
    stalled = condition(hooked.get_receiver(ns), "Stalled").get("status")
    assert stalled == (None if reason == "TokenNotFound" else "True")


def test_the_command_line_knows_the_kind(hooked: Hooked, ns: str) -> None:
    hooked.token(ns)
    hooked.receiver(ns)
    path = hooked.path(ns)

    def trimtab(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trimtab", "--kubeconfig", str(hooked.controller.kubeconfig), "-n", ns, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = trimtab("reconcile", "receiver", "hook")
    assert done.returncode == 0, done.stderr
    assert "✔ Receiver is ready" in done.stderr + done.stdout
    done = trimtab("get", "receivers")
    assert done.stdout.splitlines()[0].split() == ["NAME", "SUSPENDED", "READY", "MESSAGE"]
    assert path in done.stdout
    assert trimtab("suspend", "receiver", "hook").returncode == 0
    until(lambda: hooked.post(path, PUSH, signed())[0] == 503, "who is suspended takes nothing")
    assert trimtab("resume", "receiver", "hook").returncode == 0
    until(lambda: hooked.post(path, PUSH, signed())[0] == 200, "and now again")


def test_a_flood_of_valid_deliveries_is_a_handful_of_looks_and_no_burden(hooked: Hooked, ns: str) -> None:
    hooked.source(ns, "https://127.0.0.1:1/nothing.git", suspend=True)
    hooked.token(ns)
    hooked.receiver(ns)
    path = hooked.path(ns)
    resource = f"{SOURCES}/namespaces/{ns}/gitrepositories/repo"
    version = hooked.get_source(ns)["metadata"]["resourceVersion"]
    versions: set[str] = {version}
    headers = {**signed(), "Content-Type": "application/json"}

    def flood(count: int) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", hooked.port, timeout=20)
        answers = []
        for _ in range(count):
            connection.request("POST", path, PUSH, headers)
            answer = connection.getresponse()
            answer.read()
            answers.append(answer.status)
        connection.close()
        return answers

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        floods = [pool.submit(flood, 750) for _ in range(4)]
        while not all(one.done() for one in floods):
            versions.add(hooked.api.get(resource)["metadata"]["resourceVersion"])
            time.sleep(0.05)
        answers = [code for one in floods for code in one.result()]
    took = time.monotonic() - began
    assert len(answers) == 3000
    assert set(answers) <= {200, 429}
    assert answers.count(200) >= 100
    print(f"3000 deliveries in {took:.1f} s: {answers.count(200)} taken, {len(versions) - 1} looks")
    # 0, 0.25, 0.75, 1.75, 3.75, then every five seconds.
    assert 1 <= len(versions) - 1 <= 6 + took / 4
    until(lambda: hooked.post(path, PUSH, signed())[0] == 200, "afterwards it is as before")


def test_a_connection_that_says_nothing_is_closed(hooked: Hooked) -> None:
    with socket.create_connection(("127.0.0.1", hooked.port), timeout=60) as silent:
        silent.sendall(b"POST /hook/")
        assert silent.recv(100) == b""


def test_without_its_definition_there_are_no_webhooks_and_all_else_goes_on(hooked: Hooked, ns: str) -> None:
    [definition] = [body for body in crds() if body["metadata"]["name"].startswith("receivers.")]
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    there = f"{definitions}/{definition['metadata']['name']}"
    for item in hooked.api.get(f"{HOOKS}/receivers")["items"]:
        hooked.api.delete(f"{HOOKS}/namespaces/{item['metadata']['namespace']}/receivers/{item['metadata']['name']}")
    until(lambda: not hooked.api.get(f"{HOOKS}/receivers")["items"], "all of them are let go")
    assert hooked.controller.stop() == 0
    hooked.api.delete(there)
    until(lambda: hooked.api.get(there) is None, "the definition is gone")
    try:
        hooked.controller.start()
        repo = hooked.repo(ns)
        first = repo.commit({"app/settings.yaml": config()})
        hooked.source(ns, repo.url)
        hooked.app(ns, "shop", "./app")
        hooked.ready(ns, "shop", first)
        until(lambda: hooked.post("/hook/x", b"")[0] == 503, "it answers")
    finally:
        hooked.api.create(definitions, definition)
        until(lambda: hooked.api.get(HOOKS), "the kind is served")
    hooked.token(ns)
    until(lambda: hooked.receiver(ns) or True, "it can be made")
    assert hooked.post(hooked.path(ns), PUSH, signed())[0] == 200


def test_deliveries_are_taken_by_whoever_runs_and_the_status_is_written_by_the_leader_alone(
    hooked: Hooked, ns: str, kubeconfig: Path, tmp_path: Path
) -> None:
    hooked.source(ns, "https://127.0.0.1:1/nothing.git", suspend=True)
    hooked.token(ns)
    hooked.receiver(ns)
    path = hooked.path(ns)
    port = free_port()
    roles = ("--controllers=notification", f"--receiver-addr=127.0.0.1:{port}")
    other = Controller(kubeconfig, tmp_path / "other", *roles)
    other.start()
    second = Hooked(hooked.api, "", tmp_path, other)
    second.port = port
    until(lambda: second.post(path, PUSH, signed())[0] == 200, "it takes deliveries")
    until(lambda: hooked.requested(ns), "and gives hints")
    until(lambda: "is held by" in other.log, "it stands by")
    assert hooked.controller.stop() == 0
    # The one that leads now looks after new ones.
    second.token(ns, "later")
    second.receiver(ns, "later", secretRef={"name": "later"})
    later = second.path(ns, "later")
    assert second.post(later, PUSH, signed())[0] == 200
    assert other.stop() == 0
    assert "Traceback" not in other.log, other.log[-3000:]
    hooked.controller.start()
