"""A life of a release on a real API server, each step decided here and looked at with the real helm.

Who carries out the steps is a double: kubectl in the place of the engine, and no waiting for health.
"""

import json
import subprocess
from datetime import UTC, datetime

import msgspec
import pytest

from tests.helm.conftest import SHARED
from trimtab.api.helmrelease import HelmReleaseSpec
from trimtab.api.helmreleasestatus import HelmReleaseStatus
from trimtab.helm import output, record, revision
from trimtab.helm.action import (
    Exhausted,
    Facts,
    Install,
    Nothing,
    Rollback,
    Uninstall,
    Unlock,
    Upgrade,
    decide,
    farewell,
)
from trimtab.helm.memory import Wish
from trimtab.helm.observed import recall, remembered
from trimtab.helm.policy import policy_of
from trimtab.helm.postrender import Changes, PostRendering
from trimtab.helm.record import Status
from trimtab.helm.stored import stored_chart
from trimtab.helm.template import Capabilities, Template
from trimtab.helm.template import Wish as RenderWish
from trimtab.helm.unpacked import files_of
from trimtab.helm.values import compose
from trimtab.render.local import snapshot_of_directory
from trimtab.sources.charts import chart as charts

PODINFO = SHARED / "realworld" / "podinfo" / "charts" / "podinfo"
UID = "0b1c8f1e-2f0b-4c58-9d9a-6f5c1d2e3f40"


class Controller:
    """A double of the controller."""

    def __init__(self, template, store, kubectl, namespace, spec):
        self.template, self.store, self.kubectl, self.namespace = template, store, kubectl, namespace
        self.policy = policy_of(msgspec.convert({"interval": "1m", **spec}, HelmReleaseSpec))
        self.chart = charts.of_directory(snapshot_of_directory(store, PODINFO, revision="x"), "")
        self.status = HelmReleaseStatus()
        self.values = compose([], {})
        self.generation = 1

    def history(self):
        listed = self.kubectl("-n", self.namespace, "get", "secret", "-l", record.selector("info"), "-ojson")
        return record.history(json.loads(listed)["items"])

    def apply(self, text):
        if text:
            self.kubectl("-n", self.namespace, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def write(self, one):
        self.apply(json.dumps(record.encode(one, self.namespace, datetime.now(UTC))))

    def wish(self):
        metadata = self.chart.metadata
        return Wish(self.generation, metadata.name, metadata.version, self.values.digest)

    def next(self):
        history = self.history()
        memory = recall(self.status, history, UID)
        return decide(Facts(wish=self.wish(), history=history, memory=memory, policy=self.policy)), history, memory

    async def step(self, *, dies=False):
        """Do what is to be done, and say what it was."""
        todo, history, memory = self.next()
        match todo:
            case Install() | Upgrade():
                one = await self.begin(history, upgrade=isinstance(todo, Upgrade))
                kind = "upgrade" if isinstance(todo, Upgrade) else "install"
                memory = memory.starting(kind, self.wish(), one.version)
            case Rollback(to):
                one = revision.begin_rollback(history, to, owner=UID, now=datetime.now(UTC))
                memory = memory.starting(None, self.wish(), one.version)
            case Unlock(version):
                one = next(old for old in history if old.version == version)
                one = record.settled(one, Status.FAILED, "interrupted")
                self.write(one)
                self.status = remembered(self.status, memory.made(one, 5), self.history())
                return todo
            case Nothing():
                self.status = remembered(self.status, memory.settled(history[0].version), history)
                return todo
            case _:
                return todo
        self.write(one)
        self.status = remembered(self.status, memory, [one, *history])
        if dies:
            return todo
        try:
            self.apply(one.manifest)
        except subprocess.CalledProcessError as refused:
            one = record.settled(one, Status.FAILED, f"Upgrade failed: {len(str(refused))} characters")
            memory = memory.made(one, 5).failed()
        else:
            for old in history:
                if old.status == Status.DEPLOYED:
                    superseded = record.settled(old, Status.SUPERSEDED, old.info.description)
                    self.write(superseded)
                    memory = memory.made(superseded, 5)
            one = record.settled(one, Status.DEPLOYED, "complete")
            memory = memory.made(one, 5)
            if not isinstance(todo, Rollback):
                memory = memory.succeeded(self.wish(), one.version, untested=False)
        self.write(one)
        self.status = remembered(self.status, memory, self.history())
        return todo

    async def begin(self, history, *, upgrade):
        wish = RenderWish("info", self.namespace, self.values, Capabilities("v1.36.3"), upgrade=upgrade)
        rendering = await self.template.render(self.store, self.chart, wish)
        changes = Changes(labels={"helm.toolkit.fluxcd.io/name": "info"})
        return revision.begin(
            history,
            "info",
            self.namespace,
            await PostRendering(None).change(rendering.output, changes),
            stored_chart(files_of(self.store, self.chart)),
            self.values,
            status=Status.PENDING_UPGRADE if upgrade else Status.PENDING_INSTALL,
            owner=UID,
            now=datetime.now(UTC),
        )

    def wants(self, **values):
        self.values, self.generation = compose([], values), self.generation + 1


@pytest.fixture
def controller(helm_binary, store, kubectl, namespace, tmp_path):
    name = namespace()[:50]
    kubectl("create", "namespace", name)

    def make(**spec):
        return Controller(Template(helm_binary, tmp_path / "work"), store, kubectl, name, spec)

    return make


async def test_a_release_lives_and_the_real_helm_agrees_at_every_step(controller, helm, kubeconfig, kubectl):
    ours = controller(upgrade={"remediation": {"retries": 1}})
    there = ("--kubeconfig", kubeconfig, "-n", ours.namespace)

    def agrees(number, status, statuses):
        [listed] = json.loads(helm("list", "-ojson", *there))
        assert (listed["name"], listed["revision"], listed["status"]) == ("info", str(number), status)
        assert [one["status"] for one in json.loads(helm("history", "info", "-ojson", *there))] == statuses
        newest = ours.history()[0]
        assert helm("get", "manifest", "info", *there).removesuffix("\n") == newest.manifest
        assert (json.loads(helm("get", "values", "info", "-ojson", *there)) or {}) == newest.values

    assert isinstance(await ours.step(), Install)
    assert isinstance(await ours.step(), Nothing)
    agrees(1, "deployed", ["deployed"])

    ours.wants(replicaCount=2)
    assert isinstance(await ours.step(), Upgrade)
    assert isinstance(await ours.step(), Nothing)
    agrees(2, "deployed", ["superseded", "deployed"])

    ours.wants(service={"type": "Nonsense"})
    steps = [type(await ours.step()) for _ in range(5)]
    assert steps == [Upgrade, Rollback, Upgrade, Rollback, Exhausted]
    agrees(6, "deployed", ["superseded", "superseded", "failed", "superseded", "failed", "deployed"])
    assert ours.history()[0].values == {"replicaCount": 2}
    live = json.loads(kubectl("-n", ours.namespace, "get", "deploy", "info-podinfo", "-ojson"))
    assert live["spec"]["replicas"] == 2

    ours.wants(replicaCount=3)
    assert isinstance(await ours.step(dies=True), Upgrade)
    assert [type(await ours.step()) for _ in range(3)] == [Unlock, Upgrade, Nothing]
    assert [one.status for one in ours.history()][:3] == ["deployed", "failed", "superseded"]

    # Somebody upgrades by hand: it is brought back.
    helm("upgrade", "info", PODINFO, "--set", "replicaCount=4", "--force-conflicts", *there)
    assert [type(await ours.step()) for _ in range(2)] == [Upgrade, Nothing]
    assert json.loads(helm("get", "values", "info", "-ojson", *there)) == {"replicaCount": 3}

    assert isinstance(farewell(ours.history()), Uninstall)
    helm("uninstall", "info", *there)
    assert farewell(ours.history()) == Nothing()


async def test_a_release_that_helm_installed_is_taken_over(controller, helm, kubeconfig):
    ours = controller()
    there = ("--kubeconfig", kubeconfig, "-n", ours.namespace)
    helm("install", "info", PODINFO, "--set", "replicaCount=2", *there)
    ours.wants(replicaCount=2)
    todo, *_ = ours.next()
    assert todo == Upgrade("revision 1 was not made here")
    await ours.step()
    assert isinstance(await ours.step(), Nothing)
    assert [one.status for one in ours.history()] == ["deployed", "superseded"]
    assert output.objects(ours.history()[0].manifest)[0].body["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"]
    helm("rollback", "info", "1", "--force-conflicts", *there)
    assert type(ours.next()[0]) is Upgrade
