"""When a HelmRelease gets a pass, what a pass takes for news, and how its object goes; all around it are doubles."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api import names
from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import Reason
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.controllers import helmrelease
from trimtab.controllers.driving import Driving
from trimtab.controllers.helmrelease import HelmReleases, Surroundings
from trimtab.controllers.release import Case, Outrun
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.controllers.valuing import Composed
from trimtab.helm.values import compose
from trimtab.kube.errors import ApiError, Forbidden, Unreachable
from trimtab.manifests.refs import Key
from trimtab.runtime.controller import Again, Done
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.tracking import News

KEY = Key("ns", "app")
ASKED = {"reconcile.fluxcd.io/requestedAt": "now"}


def parsed(metadata: dict[str, Any], status: dict[str, Any], **spec: Any) -> HelmRelease:
    source = {"kind": "GitRepository", "name": "repo"}
    wish = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}, **spec}
    meta = {"name": "app", "namespace": "ns", "uid": "u", "generation": 1, "finalizers": [names.FINALIZER], **metadata}
    return msgspec.convert({"metadata": meta, "spec": wish, "status": status}, HelmRelease)


def release(**spec: Any) -> HelmRelease:
    return parsed({}, {}, **spec)


def leaving(status: dict[str, Any] | None = None, **spec: Any) -> HelmRelease:
    return parsed({"deletionTimestamp": "2026-01-01T00:00:00Z"}, status or {}, **spec)


class Around:
    """The surroundings of one release. What happens in its action is `during`."""

    def __init__(self, hr: HelmRelease, monkeypatch: pytest.MonkeyPatch) -> None:
        self.woken: list[Key] = []
        self.done: list[str] = []
        self.artifact = "sha256:1"
        self.namespace: dict[str, Any] = {"metadata": {}}
        self.refusal: Exception | None = None
        self.sweeps = False
        self.store = {hr.key: hr}
        self.during = lambda _: None
        self.resolving = lambda: None
        self.case: Case | None = None
        target = SimpleNamespace(
            judges=SimpleNamespace(set=lambda *_: None, forget=lambda *_: None),
            tracker=SimpleNamespace(forget=lambda *_: None),
            forgive=lambda key: self.done.append(f"forgave {key}"),
        )
        self.place = SimpleNamespace(target=target, cluster="c", holds=lambda recorded: recorded in ("", "c"))
        self.served: dict[Key, HelmRelease] = {}  # where the server has something else than our view
        self.releases = HelmReleases(self._world(), self.woken.append, lambda *_: None)
        monkeypatch.setattr(Driving, "drive", self._drive)
        monkeypatch.setattr(Driving, "part", self._part)
        monkeypatch.setattr(ReleaseRecords, "mark", self._mark)
        monkeypatch.setattr(helmrelease, "drop", self._drop)

    def _world(self) -> Surroundings:
        async def nothing(*_: Any, **__: Any) -> None: ...

        async def place(*_: Any) -> Any:
            return self.place

        async def client(*_: Any, **__: Any) -> Any:
            return SimpleNamespace()

        async def admit(_hr: Any, _place: Any, items: Any) -> None:
            if any(item.ref.namespace == "forbidden" for item in items):
                raise Transient(Reason.VALIDATION_FAILED, "is outside")

        async def resolve(*_: Any) -> Any:
            chart, published = SimpleNamespace(metadata=SimpleNamespace(name="app")), self._published()
            self.resolving()
            return SimpleNamespace(chart=chart, published=published, version="1.0.0", digest="")

        async def values(*_: Any) -> Composed:
            return Composed(compose([], {}), ())

        async def get(_resource: Any, name: str, namespace: str = "", *, type: Any = dict) -> Any:  # noqa: A002
            if type is HelmRelease:
                return self.served.get(Key(namespace, name)) or self.store[Key(namespace, name)]
            return self.namespace

        async def fail(_hr: Any, _release: Any, failure: Exception) -> None:
            self.done.append(f"failed: {failure}")

        scribe = SimpleNamespace(
            stand=lambda *_: None,
            suspended=lambda *_: None,
            forget=lambda *_: None,
            strangers=lambda *_: None,
            chart=lambda *_: None,
            notify=lambda *_: None,
            warn=lambda *words: self.done.append(words[-1]),
            finish=nothing,
            fail=fail,
        )
        return Surroundings(  # type: ignore[call-arg]
            client=SimpleNamespace(server="home", discovery=SimpleNamespace(find=nothing), get=get),  # type: ignore[arg-type]
            objects=SimpleNamespace(store=self.store),  # type: ignore[arg-type]
            sources=SimpleNamespace(get=self._published),  # type: ignore[arg-type]
            places=SimpleNamespace(own=self.place, of=place, leave=lambda _: None),  # type: ignore[arg-type]
            access=SimpleNamespace(client_for=client, admit=admit),  # type: ignore[arg-type]
            charting=SimpleNamespace(let_go=nothing, resolve=resolve),  # type: ignore[arg-type]
            valuing=SimpleNamespace(values=values, forget=lambda _: None),  # type: ignore[arg-type]
            rendering=None,  # type: ignore[arg-type]
            scribe=scribe,  # type: ignore[arg-type]
            clock=SystemClock(),
        )

    def _published(self, *_: Any) -> Any:
        return SimpleNamespace(artifact=SimpleNamespace(digest=self.artifact)) if self.artifact else None

    async def _drive(self, case: Case, _records: Any) -> Again | None:
        self.case = case
        self.during(case)
        return None

    async def _part(self, *_: Any, bare: bool = False) -> None:
        if self.refusal is not None and not (bare and self.sweeps):
            raise self.refusal
        self.done.append("swept" if bare else "uninstalled")

    async def _drop(self, *_: Any) -> None:
        self.done.append("let go")

    async def _mark(self) -> frozenset[tuple[str, str]]:
        return frozenset()


async def test_an_object_that_is_changed_after_it_was_looked_at_gets_its_release_another_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(release(), monkeypatch)
    around.during = lambda _: around.releases.tell(KEY, News.DISTURBED)
    assert await around.releases.reconcile(KEY) == Again(3600)
    assert around.woken == [KEY]
    around.woken.clear()
    await around.releases.reconcile(KEY)
    assert around.woken == []


async def test_by_an_old_view_of_the_object_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(release(), monkeypatch)
    around.served[KEY] = parsed({"generation": 2}, {})
    assert await around.releases.reconcile(KEY) == Again(1.0)
    assert around.case is None
    around.served[KEY] = parsed({}, {"failures": 3})
    await around.releases.reconcile(KEY)
    assert around.case is not None
    assert around.case.release.status.failures == 3


async def test_a_pass_that_failed_does_not_come_again_at_once_though_objects_were_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Case) -> None:
        around.releases.tell(KEY, News.DISTURBED)
        raise Transient(Reason.INSTALL_FAILED, "no")

    around = Around(release(), monkeypatch)
    around.during = fail
    with pytest.raises(Transient):
        await around.releases.reconcile(KEY)
    assert around.woken == []
    assert around.done[1:] == ["failed: no"]


@pytest.mark.parametrize(("news", "wanted"), [(News.DISTURBED, True), (News.HEALTH, False)], ids=["changed", "health"])
async def test_only_a_change_gets_a_release_that_stands_another_pass(
    monkeypatch: pytest.MonkeyPatch, news: News, wanted: bool
) -> None:
    around = Around(release(), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.releases.tell(KEY, news) is wanted


async def test_a_chart_that_comes_while_the_one_before_it_is_read_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(release(), monkeypatch)
    around.resolving = lambda: setattr(around, "artifact", "sha256:2")
    await around.releases.reconcile(KEY)
    assert around.case is not None
    assert around.case.outdated()


async def test_a_chart_that_changes_hands_is_no_news_but_what_is_there_then_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(release(), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.case is not None
    around.artifact = ""
    assert not around.case.outdated()
    around.artifact = "sha256:1"
    assert not around.case.outdated()
    around.artifact = "sha256:2"
    assert around.case.outdated()


@pytest.mark.parametrize(
    ("metadata", "spec"),
    [
        ({"generation": 2}, {}),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {}),
        ({"annotations": {**ASKED, "reconcile.fluxcd.io/forceAt": "now"}}, {}),
        ({"annotations": {**ASKED, "reconcile.fluxcd.io/resetAt": "now"}}, {}),
        ({}, {"suspend": True}),
    ],
    ids=["spec", "deletion", "force", "reset", "suspended"],
)
async def test_what_changes_the_wish_ends_the_wait_for_the_one_before(
    monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any], spec: dict[str, Any]
) -> None:
    around = Around(release(), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.case is not None
    assert not around.case.outdated()
    around.store[KEY] = parsed(metadata, {}, **spec)
    assert around.case.outdated()
    del around.store[KEY]
    assert around.case.outdated()


async def test_a_request_for_a_look_stops_nothing_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(release(), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.case is not None
    around.store[KEY] = parsed({"annotations": ASKED}, {})
    assert not around.case.outdated()


async def test_fields_that_were_left_to_others_are_tried_once_more_for_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(release(), monkeypatch)
    for _ in range(2):
        await around.releases.reconcile(KEY)
    assert around.done == ["forgave ns/app"]
    around.store[KEY] = parsed({"annotations": ASKED}, {})
    for _ in range(2):
        await around.releases.reconcile(KEY)
    assert around.done == ["forgave ns/app"] * 2


async def test_an_action_that_is_outrun_makes_place_for_the_next_wish_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def outrun(_: Case) -> None:
        raise Outrun

    around = Around(release(), monkeypatch)
    around.during = outrun
    assert await around.releases.reconcile(KEY) == Again(0.0)
    assert around.done == ["forgave ns/app"]


def test_a_pass_may_take_as_long_as_its_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(release(timeout="10m", upgrade={"timeout": "2h"}), monkeypatch)
    assert around.releases.longest_s(KEY) >= 10 * 7200
    assert around.releases.longest_s(Key("ns", "gone")) == 1800


async def test_records_in_another_namespace_need_to_be_allowed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    around = Around(release(storageNamespace="forbidden"), monkeypatch)
    with pytest.raises(Transient, match="is outside"):
        await around.releases.reconcile(KEY)
    assert around.case is None


async def test_uids_of_another_cluster_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"id": "ns_a__ConfigMap", "v": "v1", "uid": "1"}
    for cluster, kept in (("c", 1), ("other", 0)):
        around = Around(parsed({}, {"inventory": {"entries": [entry], "cluster": cluster}}), monkeypatch)
        await around.releases.reconcile(KEY)
        assert around.case is not None
        assert len(around.case.release.inventory) == kept
        assert all(isinstance(one, Entry) for one in around.case.release.inventory.values())


async def test_an_object_with_which_nothing_was_begun_goes_without_a_look_at_any_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(leaving(), monkeypatch)
    around.refusal = Transient(Reason.RECONCILIATION_FAILED, "no account")
    assert await around.releases.reconcile(KEY) == Done()
    assert around.done == ["let go"]


async def test_a_release_is_uninstalled_before_its_object_goes_and_not_if_it_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = {"storageNamespace": "ns"}
    around = Around(leaving(begun), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.done == ["uninstalled", "let go"]
    around = Around(leaving(begun, suspend=True), monkeypatch)
    await around.releases.reconcile(KEY)
    assert around.done == ["let go"]


@pytest.mark.parametrize(
    "refusal",
    [
        Transient(Reason.UNINSTALL_FAILED, "no"),
        Forbidden(403, "Forbidden", "no"),
        Unreachable("elsewhere", "no"),
    ],
    ids=["failure", "rights", "cluster"],
)
async def test_a_namespace_that_goes_takes_an_object_along_that_cannot_be_uninstalled(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    around = Around(leaving({"storageNamespace": "ns"}), monkeypatch)
    around.refusal = refusal
    with pytest.raises((Transient, ApiError)):
        await around.releases.reconcile(KEY)
    assert "let go" not in around.done
    around.namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await around.releases.reconcile(KEY) == Done()
    assert around.done[-1] == "let go"
    assert "what it owns elsewhere stays" in around.done[-2]


async def test_of_a_release_whose_namespace_goes_at_least_what_is_elsewhere_goes_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    around = Around(leaving({"storageNamespace": "ns"}), monkeypatch)
    around.refusal, around.sweeps = Transient(Reason.UNINSTALL_FAILED, "no records can be written"), True
    around.namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert await around.releases.reconcile(KEY) == Done()
    assert around.done == ["swept", "let go"]
