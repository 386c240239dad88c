"""New revisions, and what the status remembers of a release."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.helm import record, revision
from trimtab.helm.memory import Attempt, Memory, Seen, Wish
from trimtab.helm.observed import recall, remembered
from trimtab.helm.output import Output
from trimtab.helm.record import Execution, Hook, Record, Status
from trimtab.helm.values import compose, digest_of

GOLDEN = Path(__file__).parents[1] / "api" / "golden" / "helmrelease.json"
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 26, 13, tzinfo=UTC)
UID = "0b1c8f1e-2f0b-4c58-9d9a-6f5c1d2e3f40"
CHART = {"metadata": {"name": "app", "version": "1.0.0", "appVersion": "2"}}
RENDERED = Output("---\n# Source: a\nx\n", (Hook(name="t", kind="Pod", path="p", events=("test",)),), "")


def begun(*history: Record, status=Status.PENDING_UPGRADE, now=NOON, owner=UID) -> Record:
    values = compose([], {"a": 1})
    return revision.begin(history, "app", "apps", RENDERED, CHART, values, status=status, owner=owner, now=now)


def deployed(one: Record) -> Record:
    return record.settled(one, Status.DEPLOYED, "Install complete")


def test_a_revision_is_recorded_before_it_is_applied():
    first = begun(status=Status.PENDING_INSTALL)
    assert (first.version, first.status, first.pending) == (1, "pending-install", True)
    assert first.info.description == "Initial install underway"
    second = begun(deployed(first), now=LATER)
    assert (second.version, second.info.first_deployed, second.info.last_deployed) == (
        2,
        "2026-11-26T12:00:00Z",
        "2026-11-26T13:00:00Z",
    )
    again = begun(record.settled(second, Status.UNINSTALLED, ""), now=LATER, status=Status.PENDING_INSTALL)
    assert (again.version, again.info.first_deployed) == (3, "2026-11-26T13:00:00Z")
    assert record.decode(record.encode(second, "apps", NOON)) == second


def test_a_rollback_is_a_revision_of_what_once_was():
    first = deployed(begun(status=Status.PENDING_INSTALL))
    second = msgspec.structs.replace(deployed(begun(first, now=LATER)), manifest="other", config=None)
    back = revision.begin_rollback([second, first], first, owner=UID, now=LATER)
    assert (back.version, back.status, back.manifest, back.config) == (3, "pending-rollback", first.manifest, {"a": 1})
    assert (back.info.rollback_revision, back.info.description) == (1, "Rollback to 1")
    assert back.info.last_deployed == "2026-11-26T13:00:00Z"


def test_a_revision_says_who_made_it_and_one_that_helm_made_of_it_does_not():
    first = msgspec.structs.replace(begun(), labels={"team": "blue", **begun().labels})
    assert revision.is_of(first, UID)
    assert not revision.is_of(first, "another")
    assert not revision.is_of(first, "")
    by_helm = msgspec.structs.replace(first, version=2)  # with all labels of the one before, as helm upgrade does
    assert not revision.is_of(by_helm, UID)
    third = begun(by_helm)
    assert revision.is_of(third, UID)
    assert third.labels["team"] == "blue"
    assert all(len(value) <= 63 for value in third.labels.values())


def test_how_a_hook_ran_is_recorded_with_it():
    one = begun()
    ran = msgspec.structs.replace(one.hooks[0], last_run=Execution(phase="Succeeded"))
    assert revision.with_hook(one, ran).hooks[0].last_run.phase == "Succeeded"
    assert revision.with_hook(one, msgspec.structs.replace(ran, name="other")) == one


def test_what_is_remembered_comes_back():
    first = deployed(begun())
    second = begun(first)
    memory = Memory(
        seen=(Seen(2, record.fingerprint(second)), Seen(1, record.fingerprint(first), {"t": "Succeeded"})),
        attempt=Attempt(3, "1.0.0", "sha256:01", "sha256:02"),
        action="install",
        failures=3,
        install_failures=2,
        upgrade_failures=1,
        observed_generation=2,
        post_renderers="trimtab:x",
        common_metadata="trimtab:y",
        begun=2,
        proven=1,
    )
    status = remembered(HelmReleaseStatus(observed_generation=2), memory, [second, first])
    assert recall(status, [second, first], UID) == memory
    assert recall(status, [second, first], "another").begun == 0
    assert json.loads(msgspec.json.encode(status.history[1])) == {
        "apiVersion": "trimtab/v1",
        "digest": record.fingerprint(first),
        "name": "app",
        "namespace": "apps",
        "version": 1,
        "status": "deployed",
        "chartName": "app",
        "chartVersion": "1.0.0",
        "appVersion": "2",
        "configDigest": digest_of({"a": 1}),
        "firstDeployed": "2026-11-26T12:00:00Z",
        "lastDeployed": "2026-11-26T12:00:00Z",
        "testHooks": {"t": {"phase": "Succeeded"}},
    }
    assert (status.history[0].action, status.history[0].oci_digest) == ("install", "sha256:02")
    assert remembered(status, replace(memory, seen=memory.seen[:1]), [second, first]).history == status.history[:1]


def test_the_status_tells_what_made_a_revision_and_where_its_chart_is_from():
    first = deployed(begun(status=Status.PENDING_INSTALL))
    wish = Wish(1, "app", "1.0.0", "sha256:00", "sha256:02")
    status = remembered(HelmReleaseStatus(), Memory().starting("install", wish, 1).made(first, 5), [first])
    second = record.settled(begun(first), Status.FAILED, "")
    memory = recall(status, [first], UID).starting("upgrade", wish._replace(chart_digest="sha256:03"), 2)
    status = remembered(status, memory.made(second, 5), [second, first])
    back = deployed(revision.begin_rollback([second, first], first, owner=UID, now=LATER))
    memory = recall(status, [second, first], UID).made(back, 5)
    status = remembered(status, memory, [back, second, first])
    assert [(one.action, one.oci_digest) for one in status.history] == [
        ("rollback", "sha256:02"),
        ("upgrade", "sha256:03"),
        ("install", "sha256:02"),
    ]


def test_preserved_values_are_those_of_the_last_revision_that_stood():
    first = deployed(begun(status=Status.PENDING_INSTALL))
    second = record.settled(begun(first), Status.FAILED, "")
    assert revision.basis([second, first]) == first
    assert revision.basis([second]) == second
    assert revision.basis([]) is None


def test_what_flux_remembers_is_read():
    status = msgspec.convert(json.loads(GOLDEN.read_text())["status"], HelmReleaseStatus)
    memory = recall(status, [], UID)
    assert memory.seen == (Seen(2, "", {"smoke": "Succeeded"}),)
    assert memory.attempt == Attempt(3, "6.0.0", "sha256:04", "sha256:05")
    assert (memory.action, memory.failures, memory.proven) == ("upgrade", 1, 2)


def test_another_wish_is_another_attempt():
    wish = Wish(1, "app", "1.0.0", "sha256:00")
    memory = Memory().starting("upgrade", wish, 2).failed()
    assert (memory.upgrade_failures, memory.facing(wish).upgrade_failures) == (1, 1)
    for other in ("generation", "chart_version", "config_digest", "chart_digest"):
        changed = wish._replace(**{other: 9 if other == "generation" else "9"})
        assert memory.facing(changed).upgrade_failures == 0
    assert memory.forgiven().failures == 0
