"""Automations on a server that never answers: each ends in time, and those on another server go on meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.controllers.imageworld import FakeCluster
from tests.controllers.test_bumping import automation
from tests.controllers.test_writeaccess import source
from tests.runtime.clocks import ManualClock, settle

from trimtab.api.gvk import IMAGE_UPDATE_AUTOMATION
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers import imageupdate
from trimtab.controllers.access import Access, CrossNamespace
from trimtab.controllers.imageupdate import ImageUpdates, Surroundings
from trimtab.manifests.refs import Key
from trimtab.runtime.shares import Crowded


async def test_a_server_that_never_answers_holds_its_share_and_no_pass_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imageupdate, "_SHARE", 2)
    for name in ("_LONGEST_PASS_S", "_MOST_PASS_S"):
        monkeypatch.setattr(imageupdate, name, 0.2)
    cluster: Any = FakeCluster()
    clock, woken, store, sources, told = ManualClock(), [], {}, {}, []
    for space, name in [("one", "a"), ("one", "b"), ("two", "c"), ("three", "d")]:
        key, url = Key(space, name), "https://quick.example/x.git" if name == "d" else "https://slow.example/x.git"
        body = msgspec.to_builtins(automation())
        body["metadata"] |= {"name": name, "namespace": space, "uid": name, "finalizers": ["finalizers.fluxcd.io"]}
        body["spec"]["sourceRef"] = {"kind": "GitRepository", "name": "repo"}
        store[key] = msgspec.convert(body, type(automation()))
        sources[Key(space, "repo")] = source(space, url)
        cluster.bodies[IMAGE_UPDATE_AUTOMATION, key] = body

    async def repository(_item: Any, _automation: Any, source: Any) -> Any:
        if "slow" in source.spec.url:
            await asyncio.Event().wait()
        raise Terminal("Answered", "the quick one")

    given: Any = {
        "client": cluster,
        "objects": SimpleNamespace(store=store),
        "policies": SimpleNamespace(store={}),
        "sources": SimpleNamespace(store=sources),
        "access": Access(cluster, clock, namespace="flux-system", cross_namespace=CrossNamespace.PLATFORM),
        "writing": SimpleNamespace(repository=repository),
        "writers": None,
        "pulls": None,
        "recorder": SimpleNamespace(record=lambda *words: told.append(words)),
        "clock": clock,
    }
    updates = ImageUpdates(Surroundings(**given), woken.append)
    hung = [asyncio.ensure_future(updates.reconcile(Key("one", name))) for name in "ab"]
    await settle()
    with pytest.raises(Crowded, match=r"two/c: 2 others wait for the git server slow\.example already"):
        await updates.reconcile(Key("two", "c"))
    with pytest.raises(Terminal, match="the quick one"):
        await updates.reconcile(Key("three", "d"))
    for passing in hung:
        with pytest.raises(
            Transient, match=r"not done after 0.2 s, and begun anew: .* spec.timeout of GitRepository one/"
        ):
            await passing
    assert woken == [Key("two", "c")]
    conditions = cluster.bodies[IMAGE_UPDATE_AUTOMATION, Key("one", "a")]["status"]["conditions"]
    assert any("not done after 0.2 s" in one["message"] for one in conditions)
