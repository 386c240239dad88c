"""Alerts from outside: what a provider is told of each state of an app or source, once, and with an end.

The provider is a double, a plain HTTP server of these tests; everything else is real.
"""

import base64
import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.crypto.signing import SshPair, needs_ssh
from tests.e2e.telling import Sink, Telling, Told
from tests.e2e.test_main_job import config, deployment, settings
from tests.e2e.test_prune import annotate, configs, digest_in, held
from tests.e2e.test_verification import Signed
from tests.e2e.watching import active, alertmanager
from tests.e2e.world import Api, Controller, World, free_port, until

RELEASES = "/apis/helm.toolkit.fluxcd.io/v2"
BAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"


@pytest.fixture(scope="module")
def telling(world: World, api: Api, kubeconfig, git_root, git_url, tmp_path_factory) -> Iterator[Telling]:
    """The session's controller gives way to one that tells."""
    world.controller.stop()
    sink, events = Sink(), free_port()
    controller = Controller(
        kubeconfig,
        tmp_path_factory.mktemp("telling"),
        "--controllers=source,kustomize,notification",
        f"--receiver-addr=127.0.0.1:{free_port()}",
        f"--events-listen-addr=127.0.0.1:{events}",
        "--cluster-name=here",
        "--suspended-too-long=1s",
    )
    controller.start()
    found = Telling(api, git_url, git_root, controller)
    found.sink, found.events = sink, events
    yield found
    sink.close()
    assert controller.stop() == 0
    assert "Traceback" not in controller.log, controller.log[-4000:]
    assert "from-the-secret" not in controller.log
    world.controller.start()


def test_a_revision_is_told_once_a_failure_has_an_end_and_drift_says_who_did_what(telling: Telling, ns: str) -> None:
    repo = telling.repo(ns)
    first = repo.commit({"app/web.yaml": deployment(), "app/settings.yaml": config()})
    telling.alert(ns, eventMetadata={"team": "shop"}, summary="the shop")
    telling.alert(ns, "errors", eventSeverity="error")
    telling.source(ns, repo.url)
    telling.app(ns, "shop", "./app", annotations={"trimtab.dev/drift": "alert"}, wait=True)
    success = telling.heard(ns, "once", "ReconciliationSucceeded")
    assert first in success.event["metadata"]["revision"]
    assert success.event["metadata"]["team"] == "shop"
    assert success.event["metadata"]["summary"] == "the shop"
    assert success.secret == "from-the-secret"
    telling.poke_app(ns, "shop")

    second = repo.commit({"app/settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"})
    telling.poke(ns)
    failure = telling.heard(ns, "opened", "ValidationFailed")
    assert failure.event["severity"] == "error"
    assert telling.heard(ns, "opened", "ValidationFailed", "errors").event["message"] == failure.event["message"]
    assert second not in first
    third = repo.commit({"app/settings.yaml": config(colour="red")})
    telling.poke(ns)
    recovery = telling.heard(ns, "closed", "ReconciliationSucceeded")
    assert third in recovery.event["metadata"]["revision"]
    # Who heard of the failure hears of its end, also where only errors were asked for.
    telling.heard(ns, "closed", "ReconciliationSucceeded", "errors")

    telling.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 5}})
    drift = telling.heard(ns, "opened", "DriftDetected")
    assert "replicas" in drift.event["message"]
    assert "5" in drift.event["message"]
    assert drift.event["metadata"]["drift-manager"]
    telling.api.merge(f"/apis/apps/v1/namespaces/{ns}/deployments/web", {"spec": {"replicas": 2}})
    telling.heard(ns, "closed", "NoDriftDetected")

    told = telling.of(ns)
    successes = [one for one in told if one.event["reason"] == "ReconciliationSucceeded"]
    assert len(successes) == 2, told
    assert len({one.key for one in told}) == len(told)


def test_events_of_flux_s_controllers_are_kept_before_they_are_answered(telling: Telling, ns: str) -> None:
    telling.alert(ns)
    other = telling.namespace("other")
    telling.alert(other, eventSources=[{"kind": "Kustomization", "name": "*", "namespace": ns}])
    event = {
        "involvedObject": {
            "kind": "Kustomization",
            "namespace": ns,
            "name": "foreign",
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        },
        "severity": "info",
        "timestamp": "2026-11-26T22:00:00Z",
        "message": "\x1b[31mred\x1b[0m <!channel>",
        "reason": "Progressing",
        "metadata": {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1", "foreign.example/secret": "no"},
        "reportingController": "kustomize-controller",
        "of a later version": {"deep": [1]},
    }
    body = json.dumps(event).encode()
    telling.known(ns, "all")
    assert telling.post(body) == 202
    assert telling.post(body) == 429
    told = telling.heard(ns, "once", "Progressing")
    assert told.event["message"] == "red <!channel>"
    assert told.event["metadata"] == {"revision": "main@sha1:1"}
    assert telling.post(b"{") == 400
    assert telling.post(b"[" * 100_000) == 400
    assert telling.post(b" " * ((3 << 20) + 1)) == 413
    assert telling.of(other) == [], "what another tenant's objects say is not told"


def test_a_template_that_fails_is_told_on_the_alert_and_the_raw_message_instead(telling: Telling, ns: str) -> None:
    words = {"good": "{{ .Event.Object.Name }}: {{ .Event.Message }} <!channel>", "bad": "{{ .Event.Nonsense"}
    telling.api.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "words"}, "data": words})
    for name, template in (("good", "words/good"), ("bad", "words/bad"), ("nokey", "words/no"), ("nomap", "no/bad")):
        telling.alert(ns, name, {"trimtab.dev/template": template})
    telling.known(ns, "good", "bad", "nokey", "nomap")
    event = {
        "involvedObject": {"kind": "Kustomization", "namespace": ns, "name": "shop"},
        "severity": "info",
        "timestamp": "2026-11-26T22:00:00Z",
        "message": "@everyone [safe](https://evil.example)",
        "reason": "Progressing",
        "reportingController": "kustomize-controller",
    }
    assert telling.post(json.dumps(event).encode()) == 202
    told = {name: telling.heard(ns, "once", "Progressing", name).event["message"] for name in ("good", "bad", "nokey")}
    told["nomap"] = telling.heard(ns, "once", "Progressing", "nomap").event["message"]
    raw = event["message"]
    assert told == {"good": f"shop: {raw} <!channel>", "bad": raw, "nokey": raw, "nomap": raw}

    def warned() -> dict[str, str]:
        items = telling.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
        return {i["involvedObject"]["name"]: i["message"] for i in items if i["reason"] == "TemplateFailed"}

    until(lambda: len(warned()) == 3, lambda: f"each is told of: {warned()}")
    assert all(words.endswith("the raw message is told instead") for words in warned().values())
    assert f"ConfigMap {ns}/words has no key no" in warned()["nokey"]
    assert f"ConfigMap {ns}/no does not exist" in warned()["nomap"]


def test_after_a_lost_journal_ends_are_told_and_nothing_is_told_twice(telling: Telling, ns: str) -> None:
    repo = telling.repo(ns)
    broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"
    repo.commit({"good/settings.yaml": config(), "bad/other.yaml": broken})
    telling.alert(ns)
    telling.source(ns, repo.url)
    telling.app(ns, "good", "./good")
    telling.app(ns, "bad", "./bad")
    telling.heard(ns, "once", "ReconciliationSucceeded")
    telling.heard(ns, "opened", "ValidationFailed")

    def recorded() -> bool:
        found = telling.api.get("/api/v1/namespaces/flux-system/configmaps/trimtab-notified")
        text = ((found or {}).get("data") or {}).get("stories", "")
        return f"Kustomization/{ns}/good" in text and f"Kustomization/{ns}/bad" in text

    until(recorded, "what was told is kept", 40)
    assert telling.controller.stop() == 0
    shutil.rmtree(telling.controller.directory / "data" / "notify")
    before = len(telling.of(ns))
    repo.commit({"bad/other.yaml": config(name="other")})
    telling.controller.start()
    telling.poke(ns)
    closed = telling.heard(ns, "closed", "ReconciliationSucceeded")
    assert closed.name == "Kustomization/bad"
    after = [one for one in telling.of(ns)[before:] if one.event["reason"] != "Progressing"]
    assert [one.name for one in after] == ["Kustomization/bad"], after


class Stage(NamedTuple):
    """What the tales have: who is told, where, the keys of this run, and the kubeconfig of the cluster."""

    telling: Telling
    ns: str
    directory: Path
    kubeconfig: bytes

    def shop(self, files: dict[str, str | None], **options: Any) -> Any:
        """An app over a repository."""
        repo = self.telling.repo(self.ns)
        repo.commit(files)
        self.telling.source(self.ns, repo.url)
        self.telling.app(self.ns, "shop", "./app", **options)
        return repo

    def secret(self, name: str, **data: bytes) -> None:
        path = f"/api/v1/namespaces/{self.ns}/secrets"
        body = {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}
        if self.telling.api.get(f"{path}/{name}") is None:
            self.telling.api.create(path, {"metadata": {"name": name}} | body)
        else:
            self.telling.api.merge(f"{path}/{name}", body)


Tale = Iterator[None]
"""What somebody does to an app or a source: it stands, a state begins, it lasts, it is mended."""


def stands(stage: Stage) -> Tale:
    """Only drift that is corrected: the revision is told of once."""
    repo = stage.shop({"app/settings.yaml": config()})
    yield
    stage.telling.ready(stage.ns, "shop")
    recolour(stage, "blue")
    yield
    until(lambda: settings(stage.telling, stage.ns)["data"]["colour"] == "red", "the drift is corrected")
    yield
    repo.commit({"app/settings.yaml": config(colour="green")})
    stage.telling.poke(stage.ns)


def fails(stage: Stage) -> Tale:
    repo = stage.shop({"app/settings.yaml": config()})
    yield
    stage.telling.ready(stage.ns, "shop")
    repo.commit({"app/settings.yaml": BAD})
    stage.telling.poke(stage.ns)
    yield
    stage.telling.poke_app(stage.ns, "shop")
    yield
    repo.commit({"app/settings.yaml": config(colour="green")})
    stage.telling.poke(stage.ns)


def drifts(stage: Stage) -> Tale:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {k: declared-value}\n"
    drift = {"trimtab.dev/drift": "alert", "trimtab.dev/plaintext-secrets": "allow"}
    stage.shop({"app/settings.yaml": config(), "app/keys.yaml": secret}, annotations=drift)
    yield
    stage.telling.ready(stage.ns, "shop")
    recolour(stage, "blue")
    yield
    stage.secret("keys", k=b"found-value")
    stage.telling.heard(stage.ns, "repeated", "DriftDetected")
    yield
    recolour(stage, "red")
    stage.telling.heard(stage.ns, "once", "NoDriftDetected")
    stage.secret("keys", k=b"declared-value")


def holds_deletions(stage: Stage) -> Tale:
    budget = {"trimtab.dev/deletion-budget": "1"}
    repo = stage.shop(configs("a", "b", "c"), annotations=budget)
    yield
    stage.telling.ready(stage.ns, "shop")
    repo.commit({"app/a.yaml": None, "app/b.yaml": None})
    stage.telling.poke(stage.ns)
    yield
    stage.telling.poke_app(stage.ns, "shop")
    yield
    annotate(stage.telling, stage.ns, approve_prune=digest_in(held(stage.telling, stage.ns)))


def holds_a_revision(stage: Stage) -> Tale:
    alice, mallory = (SshPair.create(stage.directory / name) for name in ("alice", "mallory"))
    signed = Signed(stage.telling, stage.ns, stage.directory)
    signed.keys(allowed_signers=alice.allowed())
    good = signed.commit(alice, "red")
    signed.source()
    yield
    signed.verified(good)
    signed.commit(mallory, "blue")
    stage.telling.poke(stage.ns)
    yield
    stage.telling.poke(stage.ns)
    yield
    signed.commit(alice, "green")
    stage.telling.poke(stage.ns)


def is_suspended(stage: Stage) -> Tale:
    stage.shop({"app/settings.yaml": config()})
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{stage.ns}/kustomizations/shop"
    yield
    stage.telling.ready(stage.ns, "shop")
    stage.telling.api.merge(path, {"spec": {"suspend": True}})
    yield
    stage.telling.poke_app(stage.ns, "shop")
    yield
    stage.telling.api.merge(path, {"spec": {"suspend": False}})


def loses_its_source(stage: Stage) -> Tale:
    repo = stage.shop({"app/settings.yaml": config()})
    away = repo.bare.with_suffix(".away")
    yield
    stage.telling.ready(stage.ns, "shop")
    repo.bare.rename(away)
    stage.telling.poke(stage.ns)
    yield
    stage.telling.poke(stage.ns)
    yield
    away.rename(repo.bare)
    stage.telling.poke(stage.ns)


def loses_its_cluster(stage: Stage) -> Tale:
    """The app is at home in a cluster that a kubeconfig leads to, and that is not there any more."""
    gone = stage.kubeconfig.replace(stage.telling.api.server.encode(), b"https://127.0.0.1:%d" % free_port())
    stage.secret("far", value=stage.kubeconfig)
    stage.secret("gone", value=gone)
    stage.shop({"app/settings.yaml": config()}, kubeConfig={"secretRef": {"name": "far"}})
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{stage.ns}/kustomizations/shop"
    yield
    stage.telling.ready(stage.ns, "shop")
    stage.telling.api.merge(path, {"spec": {"kubeConfig": {"secretRef": {"name": "gone"}}}})
    yield
    stage.telling.poke_app(stage.ns, "shop")
    yield
    stage.telling.api.merge(path, {"spec": {"kubeConfig": {"secretRef": {"name": "far"}}}})


def is_unknown(stage: Stage) -> Tale:
    """A release that no controller looks after any more: what the last one said of it is hours old."""
    chart = {"spec": {"chart": "app", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}
    path = f"{RELEASES}/namespaces/{stage.ns}/helmreleases"
    body = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "shop"}}
    stage.telling.api.create(path, body | {"spec": {"interval": "60m", "chart": chart}})

    def says(status: str, since: str) -> None:
        ready = {"type": "Ready", "status": status, "reason": "Progressing", "lastTransitionTime": since}
        ready |= {"message": "running 'upgrade' action"}
        stage.telling.api.merge(f"{path}/shop/status", {"status": {"conditions": [ready]}})

    says("True", "2026-01-01T00:00:00Z")
    yield
    says("Unknown", "2026-01-02T00:00:00Z")
    yield
    yield
    says("True", "2026-01-03T00:00:00Z")


TALES: dict[Callable[[Stage], Tale], tuple[str, list[str], bool]] = {
    stands: (
        "Kustomization",
        ["once ReconciliationSucceeded", "once DriftDetected", "once ReconciliationSucceeded"],
        False,
    ),
    fails: (
        "Kustomization",
        ["once ReconciliationSucceeded", "opened ValidationFailed", "closed ReconciliationSucceeded"],
        True,
    ),
    drifts: (
        "Kustomization",
        [
            *("once ReconciliationSucceeded", "opened DriftDetected", "repeated DriftDetected"),
            *("once NoDriftDetected", "closed NoDriftDetected"),
        ],
        True,
    ),
    holds_deletions: (
        "Kustomization",
        ["once ReconciliationSucceeded", "once ReconciliationSucceeded", "opened PruneHeld", "closed Recovered"],
        True,
    ),
    holds_a_revision: ("GitRepository", ["once NewArtifact", "opened VerificationError", "closed NewArtifact"], True),
    is_suspended: ("Kustomization", ["once ReconciliationSucceeded", "opened Suspended", "closed Recovered"], True),
    loses_its_source: ("GitRepository", ["once NewArtifact", "opened GitOperationFailed", "closed Recovered"], True),
    loses_its_cluster: (
        "Kustomization",
        ["once ReconciliationSucceeded", "opened ReconciliationFailed", "closed Recovered"],
        True,
    ),
    is_unknown: ("HelmRelease", ["opened Unknown", "closed Recovered"], True),
}
"""Each tale with the kind it is about, all that is told of it, and whether a state begins in it."""


class Heard(NamedTuple):
    """What was told of the tales: by namespace of the tale; which alerts stood at Alertmanager meanwhile, and after."""

    told: dict[Callable[[Stage], Tale], list[Told]]
    fired: dict[Callable[[Stage], Tale], int]
    left: dict[Callable[[Stage], Tale], int]


@pytest.fixture(scope="module")
def heard(telling: Telling, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """All tales, side by side. While the states last, the controller is stopped and started again."""
    directory = tmp_path_factory.mktemp("tales")
    text = kubeconfig.read_bytes()
    with alertmanager(directory / "alertmanager") as incidents:
        stages: dict[Callable[[Stage], Tale], Stage] = {}
        tales: list[Tale] = []
        for tale, (kind, _, _) in TALES.items():
            ns = telling.namespace(tale.__name__.replace("_", "-"))
            (directory / ns).mkdir()
            stage = stages[tale] = Stage(telling, ns, directory / ns, text)
            telling.alert(ns, eventSources=[{"kind": kind, "name": "*"}])
            if incidents:
                telling.tell(
                    ns,
                    "incidents",
                    {"type": "alertmanager", "address": incidents},
                    eventSeverity="error",
                    eventSources=[{"kind": kind, "name": "*"}],
                )
            tales.append(tale(stage))

        def all_do() -> None:
            for one in tales:
                with contextlib.suppress(StopIteration):
                    next(one)

        def conversation(tale: Callable[[Stage], Tale]) -> list[Told]:
            return [one for one in telling.of(stages[tale].ns) if one.event["reason"] != "Progressing"]

        def until_told(phase: str) -> None:
            """What is not told in time is seen by the test of that tale."""

            def said() -> bool:
                return all(
                    phase in [one.phase for one in conversation(t)] for t, (_, _, begins) in TALES.items() if begins
                )

            with contextlib.suppress(AssertionError):
                until(said, "all have said it", 15)

        def standing() -> dict[Callable[[Stage], Tale], int]:
            return {tale: len(active(incidents, stage.ns)) if incidents else 0 for tale, stage in stages.items()}

        all_do()
        all_do()
        until_told("opened")
        all_do()
        assert telling.controller.stop() == 0
        telling.controller.start()
        if incidents:
            with contextlib.suppress(AssertionError):
                until(lambda: all(standing().values()), "all fire")
        fired = standing()
        all_do()
        until_told("closed")
        until(lambda: len(conversation(stands)) >= 3, lambda: f"the second revision is told: {conversation(stands)}")
        # Drift that was corrected has no end: its alert goes after a while, by itself.
        with contextlib.suppress(AssertionError):
            until(lambda: not any(count for tale, count in standing().items() if tale is not stands), "all is resolved")
        yield Heard({tale: conversation(tale) for tale in TALES}, fired, standing())
        for stage in stages.values():
            telling.let_go(stage.ns)


def recolour(stage: Stage, value: str) -> None:
    path = f"/api/v1/namespaces/{stage.ns}/configmaps/settings?fieldManager=painter"
    stage.telling.api.merge(path, {"data": {"colour": value}})


@needs_ssh
@pytest.mark.parametrize("tale", TALES, ids=lambda tale: tale.__name__)
def test_what_is_told_of_an_object_that(heard: Heard, tale: Callable[[Stage], Tale]) -> None:
    """Once per revision; each state has one beginning and one end, also where the controller starts anew between."""
    told = heard.told[tale]
    said = [f"{one.phase} {one.event['reason']}" for one in told]
    # What a status tells of may be seen just before the event of the same pass arrives.
    assert sorted(said) == sorted(TALES[tale][1]), told
    assert said[-1] == TALES[tale][1][-1], told
    assert len({one.key for one in told}) == len(told)


@needs_ssh
def test_drift_is_told_with_path_old_new_manager_and_age_and_without_values_of_secrets(heard: Heard) -> None:
    settings_, keys = [one.event for one in heard.told[drifts] if one.event["reason"] == "DriftDetected"]
    assert 'data.colour: "red" → "blue" by painter (Update) at 20' in settings_["message"]
    assert settings_["metadata"]["drift-manager"] == "painter"
    assert settings_["metadata"]["drift-age"].endswith("s")
    assert "Secret/" in keys["message"]
    assert "data.k: " in keys["message"]
    for value in (b"declared-value", b"found-value"):
        for hidden in (value.decode(), base64.b64encode(value).decode()):
            assert not any(hidden in one.raw for one in heard.told[drifts])


@needs_ssh
def test_each_state_is_one_incident_at_alertmanager_which_its_end_resolves(heard: Heard) -> None:
    if not any(heard.fired.values()):
        pytest.skip("apt-get install prometheus-alertmanager: not installed")
    assert heard.fired == dict.fromkeys(TALES, 1)
    left = {tale for tale, count in heard.left.items() if count}
    assert left == {stands}, "drift that was corrected has no end to wait for, and passes by itself"
