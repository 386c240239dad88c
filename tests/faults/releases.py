"""Releases in the worlds: a chart in git, a HelmRelease of it, and an end that records, cluster and helm agree on."""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.e2e.world import condition
from tests.faults.transport import RELEASED, Target
from tests.faults.world import SOURCES, Ending, Stuck, World, target, until
from trimtab.helm import output, record
from trimtab.helm.record import Record, Status
from trimtab.kube.errors import Conflict, NotFound
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk
from trimtab.toolchain import binaries

RELEASES = Resource(Gvk("helm.toolkit.fluxcd.io", "v2", "HelmRelease"), "helmreleases", True)
CHARTS = Resource(Gvk("source.toolkit.fluxcd.io", "v1", "HelmChart"), "helmcharts", True)
_MAPS = Resource(Gvk("", "v1", "ConfigMap"), "configmaps", True)
_SECRETS = Resource(Gvk("", "v1", "Secret"), "secrets", True)
_RECORDS = "owner=helm,name=app"
_HOOKED = "hook"
_NOBODYS = "kube-root-ca.crt"

_TEMPLATE = """\
{{- range $name, $value := .Values.maps }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
data:
  value: {{ $value | quote }}
{{- end }}
"""
_HOOK = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: hook
  annotations:
    helm.sh/hook: pre-install,pre-upgrade,pre-rollback
data:
  value: hook
"""
_SPEC = {
    "interval": "24h",
    "timeout": "20m",
    "chart": {"spec": {"chart": "chart", "sourceRef": {"kind": "GitRepository", "name": "repo"}}},
    # One try each: what counts as a failure and is none would be the end.
    "upgrade": {"remediation": {"retries": 0, "remediateLastFailure": True}},
    "healthCheckExprs": [
        {"apiVersion": "v1", "kind": "ConfigMap", "failed": "data.value == 'bad'", "current": "data.value != 'bad'"}
    ],
}


def chart(ns: str) -> Mapping[str, Mapping[str, list[Body]]]:
    """What is wanted at each revision; the chart of the same revision makes it. `old` leaves, `new` comes."""
    return {
        "A": {"app": [_map(ns, "one"), _map(ns, "two"), _map(ns, "old")]},
        "B": {"app": [_map(ns, "one", "2"), _map(ns, "two"), _map(ns, "new")]},
    }


async def furnished(world: World) -> None:
    """The chart is there, and nothing else."""
    world.move("A")
    await world.source()
    await world.live()
    await world.fetched("A")


async def lived(world: World) -> None:
    """Install, upgrade, and an upgrade that fails and is rolled back."""
    assert isinstance(world, ReleaseWorld)
    await world.release()
    await world.as_wished()
    world.move("B")
    await world.poke()
    await world.as_wished("1.1.0")
    maps = {"extra": "1", "one": "bad"}
    await world.api.merge_patch(RELEASES, "app", world.home, {"spec": {"values": {"maps": maps}}})
    await world.rested()


class ReleaseWorld(World):
    """A world with one HelmRelease."""

    controllers = frozenset({"source", "helm"})

    async def furnish(self, revisions: Mapping[str, Mapping[str, list[Body]]]) -> None:
        """Commit the charts that make the objects of `revisions`."""
        await super().furnish(revisions)
        for number, (name, directories) in enumerate(revisions.items()):
            maps = {body["metadata"]["name"]: body["data"]["value"] for body in directories["app"]}
            files = {
                "chart/Chart.yaml": f"apiVersion: v2\nname: chart\nversion: 1.{number}.0\n",
                "chart/values.yaml": json.dumps({"maps": maps}),
                "chart/templates/maps.yaml": _TEMPLATE,
                "chart/templates/hook.yaml": _HOOK,
            }
            self.commits[name] = await asyncio.to_thread(self._repo.commit, files, f"chart {name}")

    @property
    def resources(self) -> list[Resource]:
        return [_MAPS]

    async def release(self) -> None:
        body = {"apiVersion": RELEASES.gvk.api_version, "kind": "HelmRelease", "spec": _SPEC}
        await self.api.create(RELEASES, body | {"metadata": {"name": "app", "namespace": self.home}}, self.home)

    async def as_wished(self, version: str = "1.0.0") -> None:
        """Wait until the release is Ready with that version of the chart."""

        async def reached() -> bool:
            item = await self.get_app("app")
            status = (item or {}).get("status") or {}
            at = (status.get("history") or [{}])[0].get("chartVersion")
            return at == version and condition(item, "Ready").get("status") == "True" and _is_current(item)

        await self.until(reached, f"the release is ready at {version}", "app")

    async def rested(self) -> None:
        """Wait until the failed upgrade is rolled back, and no try is left."""

        async def reached() -> bool:
            item = await self.get_app("app")
            told = {kind: condition(item, kind).get("reason") for kind in ("Ready", "Remediated", "Stalled")}
            return _is_current(item) and told == {
                "Ready": "UpgradeFailed",
                "Remediated": "RollbackSucceeded",
                "Stalled": "RetriesExceeded",
            }

        await self.until(reached, "the failed upgrade is rolled back", "app")

    async def awake(self) -> None:
        life = self.life
        assert life is not None

        async def reached() -> bool:
            return "helmreleases" in life.line.watched

        await until(reached, "the new life sees its releases")
        await asyncio.sleep(0.2)

    async def get_app(self, name: str) -> Body | None:
        return await self._find(RELEASES, name) if name else None

    async def clear(self) -> None:
        await self.die()
        await self.wire.flushed()
        for resource in (RELEASES, CHARTS, SOURCES):
            for item in (await self.api.list(resource, self.home)).items:
                name = item["metadata"]["name"]
                try:
                    await self.api.merge_patch(resource, name, self.home, {"metadata": {"finalizers": None}})
                    await self.api.delete(resource, name, self.home)
                except (NotFound, Conflict):
                    pass
        for resource in (_MAPS, _SECRETS):
            for item in (await self.api.list(resource, self.home)).items:
                if item["metadata"]["name"] != _NOBODYS:
                    await self.api.delete(resource, item["metadata"]["name"], self.home)

    # --- what came of it

    async def records(self) -> tuple[Record, ...]:
        """The records of the release, the newest first."""
        return record.history((await self.api.list(_SECRETS, self.home, label_selector=_RECORDS)).items)

    async def ending(self) -> Ending:
        """The cluster now, and whether the records, the status and helm itself say what is there."""
        live, history = await self.objects(), await self.records()
        item = await self.get_app("app")
        problems = _of_records(history, ((item or {}).get("status") or {}).get("history") or [])
        told = await asyncio.to_thread(self._helm_history)
        if [(one["revision"], one["status"]) for one in told] != [(r.version, r.status) for r in reversed(history)]:
            problems.append(f"helm reads {told}")
        recorded = {
            str(target(one.body | {"metadata": {**one.body["metadata"], "namespace": self.home}})): one.body["data"]
            for one in (output.objects(history[0].manifest) if history else ())
        }
        found = {identity.replace("~", self.home): body["data"] for identity, body in live.items()}
        if recorded != found:
            problems.append(f"the newest record has {recorded}, and there is {found}")
        wanted = {str(one) for one in self.desired}
        problems += [f"{identity} is wanted and not there" for identity in wanted - found.keys()]
        problems += [f"{identity} is there and not wanted" for identity in found.keys() - wanted]
        bodies = {identity: self._reduced(body) for identity, body in live.items()}
        uids = {identity: body["metadata"]["uid"] for identity, body in live.items()}
        return Ending(bodies, uids, tuple(sorted(problems)))

    def _helm_history(self) -> Any:
        program = binaries.present("render").get("helm")
        if program is None:
            raise Stuck("helm is not built; run `make setup` first")
        done = subprocess.run(
            [program, "history", "app", "-o", "json", "--kubeconfig", str(self._kubeconfig), "-n", self.home],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.root)},
        )
        if done.returncode:
            raise Stuck(f"helm cannot read the history: {done.stderr}")
        return json.loads(done.stdout)

    async def _list(self, resource: Resource) -> list[Body]:
        found = (await self.api.list(resource, self.home, label_selector=f"{RELEASED}name=app")).items
        return [item for item in found if item["metadata"]["name"] != _HOOKED]

    async def _guard(self, doomed: Target, preconditions: Mapping[str, str]) -> str | None:
        """Why a deletion must not happen: records only where there are newer ones, objects only if they are leaving."""
        history = await self.records()
        if doomed.plural == "secrets":
            good = next((one.version for one in history if one.status == Status.DEPLOYED), 0)
            kept = {record.secret_name("app", version) for version in (good, history[0].version if history else 0)}
            return f"DELETE of the record {doomed.name}, which is needed" if doomed.name in kept else None
        if doomed.name == _HOOKED:
            return None if preconditions.get("uid") else f"DELETE of {doomed} without preconditions"
        if not preconditions.get("uid") or not preconditions.get("resourceVersion"):
            return f"DELETE of {doomed} without preconditions"
        if doomed in self.desired:
            return f"DELETE of {doomed}, which the last good revision has"
        if not any(doomed.name == one.ref.name for each in history for one in output.objects(each.manifest)):
            return f"DELETE of {doomed}, which is in no record"
        return None


def _of_records(history: tuple[Record, ...], told: list[Any]) -> list[str]:
    """What is wrong with the records, or with what the status tells of them."""
    problems = [f"revision {one.version} is {one.status} for ever" for one in history if one.pending]
    deployed = [one.version for one in history if one.status == Status.DEPLOYED]
    if not history or deployed != [history[0].version]:
        problems.append(f"deployed are {deployed} of {[(one.version, one.status) for one in history]}")
    if not told or (told[0]["version"], told[0]["status"]) != (history[0].version, history[0].status):
        problems.append(f"the status tells of {told[:1]}")
    return problems


def _is_current(item: Body | None) -> bool:
    return item is not None and (item.get("status") or {}).get("observedGeneration") == item["metadata"]["generation"]


def _map(ns: str, name: str, value: str = "1") -> Body:
    metadata = {"name": name, "namespace": ns}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}
