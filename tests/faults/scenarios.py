"""What happens in the worlds. Each scenario prepares, arms, acts, and ends in a state that is always the same."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from tests.e2e.world import condition
from tests.faults import releases
from tests.faults.views import Distortion
from tests.faults.world import Stuck, World, target, until
from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Body, Gvk

Revisions = Mapping[str, Mapping[str, list[Body]]]

_ACCOUNTS = Resource(Gvk("", "v1", "ServiceAccount"), "serviceaccounts", True)
_BINDINGS = Resource(Gvk("rbac.authorization.k8s.io", "v1", "RoleBinding"), "rolebindings", True)
_APPS = Resource(Gvk("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"), "kustomizations", True)


class Scenario(NamedTuple):
    """`prepare` runs undisturbed; the requests of `act` are the ones that are numbered and harmed.

    `forgets` is the share of deaths that take the cache along: what is begun anew then is the newest revision. An
    object may be written `spare` times more than in the undisturbed run. `not_with` are views that make no sense here.
    """

    name: str
    title: str
    revisions: Callable[[str], Revisions]
    prepare: Callable[[World], Awaitable[None]]
    act: Callable[[World], Awaitable[None]]
    forgets: float = 0.2
    spare: int = 1
    not_with: frozenset[Distortion] = frozenset()
    world: type[World] = World


# --- objects


def _object(api_version: str, kind: str, namespace: str, name: str, **rest: object) -> Body:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def config_map(ns: str, name: str, value: str = "1") -> Body:
    return _object("v1", "ConfigMap", ns, name, data={"value": value})


def secret(ns: str, name: str, value: str = "1") -> Body:
    return _object("v1", "Secret", ns, name, type="Opaque", stringData={"value": value})


def account(ns: str, name: str) -> Body:
    return _object("v1", "ServiceAccount", ns, name)


def service(ns: str, name: str, port: int = 80) -> Body:
    return _object("v1", "Service", ns, name, spec={"ports": [{"port": port}], "selector": {"app": name}})


def role(ns: str, name: str) -> Body:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    return _object("rbac.authorization.k8s.io/v1", "Role", ns, name, rules=rules)


def binding(ns: str, name: str, to: str) -> Body:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": to}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": ns}]
    return _object("rbac.authorization.k8s.io/v1", "RoleBinding", ns, name, roleRef=reference, subjects=subjects)


def deployment(ns: str, name: str, image: str = "a:1") -> Body:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _object("apps/v1", "Deployment", ns, name, spec=spec)


def definition(group: str) -> Body:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    return _object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", f"widgets.{group}", spec=spec)


def _few(ns: str) -> list[Body]:
    return [config_map(ns, "one"), secret(ns, "two"), account(ns, "three")]


# --- acts


async def _nothing(world: World) -> None:
    world.move("A")


async def _at_a(world: World) -> None:
    """One app, ready at revision A, and quiet."""
    await _start(world)
    await world.ready("app", "A")
    await world.quiet()


async def _start(world: World) -> None:
    world.move("A")
    await world.source()
    await world.app("app", "app")
    await world.live()


async def _first(world: World) -> None:
    await _start(world)
    await world.ready("app", "A")


async def _change(world: World) -> None:
    world.move("B")
    await world.poke()
    await world.ready("app", "B")


async def _delete(world: World) -> None:
    world.desired = set()
    await world.api.delete(_APPS, "app", world.home)
    await world.gone("app")


async def _with_account(world: World) -> None:
    world.move("A")
    await _employ(world)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subjects = [{"kind": "ServiceAccount", "name": "deployer", "namespace": world.home}]
    body = _object(
        "rbac.authorization.k8s.io/v1", "RoleBinding", world.home, "deployer", roleRef=reference, subjects=subjects
    )
    await world.api.apply(_BINDINGS, "deployer", world.home, body, field_manager="harness")
    await world.source()
    await world.app("app", "app", serviceAccountName="deployer")
    await world.live()
    await world.ready("app", "A")
    await world.quiet()
    # An account is remembered for a minute; whoever starts afresh has to ask.
    await world.die()


async def _employ(world: World) -> None:
    await world.api.apply(_ACCOUNTS, "deployer", world.home, account(world.home, "deployer"), field_manager="harness")


async def _delete_without_account(world: World) -> None:
    await world.api.delete(_ACCOUNTS, "deployer", world.home)
    await world.api.delete(_APPS, "app", world.home)
    await world.live()

    async def held() -> bool:
        app = await world.get_app("app")
        if app is None:
            raise Stuck("the app is gone although its account is: its objects are orphans")
        return "deployer" in str(condition(app, "Ready").get("message"))

    await until(held, "the deletion is held", explain=lambda: world._explain("app"))
    await world.quiet()
    there = await world.objects()
    if len(there) != len(world.desired):
        raise Stuck(f"while the deletion is held, only these are there: {sorted(there)}")
    world.desired = set()
    await _employ(world)
    await world.gone("app")


async def _moving(world: World) -> None:
    moved = asyncio.Event()

    def watch(applies: int) -> None:
        if applies >= 3 and not moved.is_set():
            moved.set()
            world.move("B")

    world.wire.on_apply = watch
    await _start(world)
    await until(lambda: _is_set(moved), "something is being applied", explain=lambda: world._explain("app"))
    await world.poke()
    await world.ready("app", "B")


async def _is_set(event: asyncio.Event) -> bool:
    return event.is_set()


async def _pause(world: World) -> None:
    before = {identity: body["metadata"]["resourceVersion"] for identity, body in (await world.objects()).items()}
    await world.api.merge_patch(_APPS, "app", world.home, {"spec": {"suspend": True}})
    wanted = set(world.desired)
    world.move("B")
    world.desired = wanted
    await world.poke()
    await world.fetched("B")
    await world.quiet()
    after = {identity: body["metadata"]["resourceVersion"] for identity, body in (await world.objects()).items()}
    if before != after:
        raise Stuck(f"a suspended app was written: {sorted(set(before.items()) ^ set(after.items()))}")
    world.want("B")
    await world.api.merge_patch(_APPS, "app", world.home, {"spec": {"suspend": False}})
    await world.ready("app", "B")


_RIVAL = 2
_CALM_S = 1.5
_MOST_ROUNDS = 12
_CHAIN = ("e", "d", "c", "b", "a")


async def _chain(world: World) -> None:
    world.move("A")
    await world.source()
    for name, before in zip(_CHAIN, (None, *_CHAIN), strict=False):
        depends = {"dependsOn": [{"name": before}]} if before else {}
        await world.app(name, name, wait=True, **depends)
    await world.live()
    for name in _CHAIN:
        await world.ready(name, "A")


async def _three(world: World) -> None:
    world.move("A")
    await world.source()
    for name in ("a", "b", "c"):
        await world.app(name, name)
    await world.live()
    for name in ("a", "b", "c"):
        await world.ready(name, "A")
    await world.quiet()


async def _touch_one(world: World) -> None:
    world.move("B")
    await world.poke()
    for name in ("a", "b", "c"):
        await world.ready(name, "B")


async def _two(world: World) -> None:
    world.move("A")
    await world.source()
    for name in ("giver", "taker"):
        await world.app(name, name)
    await world.live()
    for name in ("giver", "taker"):
        await world.ready(name, "A")
    await world.quiet()


async def _hand_over(world: World) -> None:
    before = (await world.objects()).items()
    uids = {identity: body["metadata"]["uid"] for identity, body in before}
    world.move("B")
    await world.poke()
    for name in ("giver", "taker"):
        await world.ready(name, "B")
    await world.quiet()
    for identity, body in (await world.objects()).items():
        if body["metadata"]["uid"] != uids.get(identity):
            raise Stuck(f"{identity} was deleted and made anew on its way")


async def _elsewhere(world: World) -> None:
    """The same names in what calls itself another cluster: what the list says of the old one is void here (P10)."""
    await world.api.merge_patch(_APPS, "app", world.home, {"spec": {"suspend": True}})
    world.move("B")
    await world.poke()
    await world.fetched("B")
    await world.quiet()
    world.wire.cluster = "00000000-0000-0000-0000-000000000000"
    world.let_go = {target(config_map(world.home, "old"))}
    await world.again()
    await world.api.merge_patch(_APPS, "app", world.home, {"spec": {"suspend": False}})
    await world.ready("app", "B")


async def _from_flux(world: World) -> None:
    """The record of the last life as Flux would have written it."""
    await world.die()
    app = await world.get_app("app")
    assert app is not None
    entries = [{"id": entry["id"], "v": entry["v"]} for entry in app["status"]["inventory"]["entries"]]
    plain = {"entries": entries, "format": None, "cluster": None, "checksum": None}
    await world.api.merge_patch(_APPS, "app", world.home, {"status": {"inventory": plain}}, subresource="status")
    world.move("B")
    await world.live()
    await world.ready("app", "B")


async def _from_the_future(world: World) -> None:
    """A newer version wrote the record: it is left alone, and so is the app, until the record is restored (P13)."""
    await world.die()
    app = await world.get_app("app")
    assert app is not None
    form = app["status"]["inventory"]["format"]

    async def write(number: int) -> None:
        change = {"status": {"inventory": {"format": number}}}
        await world.api.merge_patch(_APPS, "app", world.home, change, subresource="status")

    await write(99)
    before = {identity: body["metadata"]["resourceVersion"] for identity, body in (await world.objects()).items()}
    world.move("B")
    await world.live()

    async def refused() -> bool:
        return condition(await world.get_app("app"), "Ready").get("reason") == "ReadOnly"

    await world.until(refused, "the record of a newer version is refused", "app")
    await world.quiet()
    after = {identity: body["metadata"]["resourceVersion"] for identity, body in (await world.objects()).items()}
    if before != after:
        raise Stuck(f"written although the record cannot be read: {sorted(set(before.items()) ^ set(after.items()))}")
    await world.fetched("B")
    await write(form)
    await world.ask("app")
    await world.ready("app", "B")


async def _fight(world: World) -> None:
    """Somebody else sets the replicas that git declares, again and again: sooner or later one of the two yields."""
    world.contested = True
    resource = Resource(Gvk("apps", "v1", "Deployment"), "deployments", True)
    rounds, since = 0, asyncio.get_running_loop().time()
    while (now := asyncio.get_running_loop().time()) - since < _CALM_S:
        live = await world.api.get(resource, "web", world.home)
        if live["spec"]["replicas"] != _RIVAL:
            rounds, since = rounds + 1, now
            if rounds > _MOST_ROUNDS:
                raise Stuck(f"the replicas were changed back {rounds} times and nobody yields")
            change = {"spec": {"replicas": _RIVAL}}
            await world.api.merge_patch(resource, "web", world.home, change, field_manager="rival")
        await asyncio.sleep(0.05)


# --- revisions


def _c1(ns: str) -> Revisions:
    group = f"{ns}.example.org"
    widget = _object(f"{group}/v1", "Widget", ns, "widget", spec={"size": 1})
    return {
        "A": {
            "app": [
                *(definition(group), widget, account(ns, "run"), role(ns, "run"), binding(ns, "run", "run")),
                *(config_map(ns, "one"), config_map(ns, "two"), config_map(ns, "three")),
                *(secret(ns, "one"), secret(ns, "two"), service(ns, "web"), deployment(ns, "web")),
            ]
        }
    }


def _c2(ns: str) -> Revisions:
    stays = [account(ns, "run"), role(ns, "run"), service(ns, "web")]
    leaves = [config_map(ns, "old"), secret(ns, "old"), binding(ns, "run", "run")]
    before = [*stays, *leaves, config_map(ns, "one"), deployment(ns, "web")]
    after = [*stays, config_map(ns, "one", "2"), deployment(ns, "web", "a:2"), config_map(ns, "new")]
    return {"A": {"app": before}, "B": {"app": after}}


def _c3(ns: str) -> Revisions:
    return {
        "A": {"app": [*_few(ns), config_map(ns, "before")]},
        "B": {"app": [*_few(ns), config_map(ns, "after")]},
    }


def _c4(ns: str) -> Revisions:
    return {"A": {"app": [*_few(ns), service(ns, "web"), role(ns, "run"), deployment(ns, "web")]}}


def _c5(ns: str) -> Revisions:
    return {"A": {"app": _few(ns)}}


def _c6(ns: str) -> Revisions:
    return {
        "A": {"app": [*_few(ns), config_map(ns, "four"), config_map(ns, "five"), service(ns, "web")]},
        "B": {"app": [config_map(ns, "one", "2"), *_few(ns)[1:], config_map(ns, "six"), service(ns, "web", 81)]},
    }


def _c12(ns: str) -> Revisions:
    inner = f"{ns}-inner"
    space = _object("v1", "Namespace", "", inner)
    contents = [config_map(inner, "one"), secret(inner, "two"), role(inner, "run"), binding(inner, "run", "run")]
    return {"A": {"app": [space, *contents]}}


def _c15(ns: str) -> Revisions:
    return {"A": {"app": [*_few(ns), config_map(ns, "old")]}, "B": {"app": [*_few(ns), config_map(ns, "new")]}}


def _c16(ns: str) -> Revisions:
    return {"A": {name: [config_map(ns, name), secret(ns, name)] for name in _CHAIN}}


def _untouched(ns: str) -> Revisions:
    others = {"b": [config_map(ns, "b")], "c": [config_map(ns, "c")]}
    return {"A": {"a": [config_map(ns, "a")], **others}, "B": {"a": [config_map(ns, "a", "2")], **others}}


def _c10(ns: str) -> Revisions:
    moved, stays, other = config_map(ns, "moved"), config_map(ns, "stays"), secret(ns, "other")
    return {"A": {"giver": [stays, moved], "taker": [other]}, "B": {"giver": [stays], "taker": [other, moved]}}


def _c14(ns: str) -> Revisions:
    return {"A": {"app": [*_few(ns), deployment(ns, "web")]}}


SCENARIOS = (
    Scenario("c1", "first apply of 12 objects with a definition and its resource", _c1, _nothing, _first),
    Scenario("c2", "a change that prunes three objects", _c2, _at_a, _change),
    Scenario("c3", "an object is renamed", _c3, _at_a, _change),
    Scenario("c4", "an app is deleted and prunes", _c4, _at_a, _delete),
    Scenario("c5", "an app is deleted whose account is gone", _c5, _with_account, _delete_without_account),
    Scenario("c6", "the source moves while it is applied", _c6, _nothing, _moving, forgets=0.7),
    Scenario(
        *("c9", "a release is installed, upgraded, and an upgrade of it fails"),
        *(releases.chart, releases.furnished, releases.lived),
        # Who dies in an action makes another revision, which is applied once more.
        spare=2,
        world=releases.ReleaseWorld,
    ),
    Scenario("c10", "an object moves from one app to another", _c10, _two, _hand_over),
    Scenario("c11", "the cluster behind the app is another one", _c15, _at_a, _elsewhere),
    Scenario("c12", "a namespace and what lives in it", _c12, _nothing, _first),
    Scenario("c13", "the record was written by Flux", _c15, _at_a, _from_flux),
    Scenario(
        *("c13n", "the record was written by a newer version", _c15, _at_a, _from_the_future),
        # who is shown the record of before cannot know of it
        not_with=frozenset({Distortion.STALE}),
    ),
    # Who begins anew does not remember the rounds before: it corrects as often again.
    Scenario("c14", "somebody else fights for the replicas", _c14, _at_a, _fight, spare=6),
    Scenario("c15", "an app is suspended and resumed", _c15, _at_a, _pause),
    Scenario("c16", "a chain of five apps", _c16, _nothing, _chain),
    Scenario("x1", "a commit that touches one app of three", _untouched, _three, _touch_one),
)
