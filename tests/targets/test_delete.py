"""The deletion of one object on a real server: what changes between the look and the request is not deleted."""

import pytest

from tests.e2e.world import Api
from trimtab.base.http import AiohttpTransport
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.contract import Effect
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.inventory import Entry
from trimtab.targets.kubernetes.prune import Deletion, delete, foreign
from trimtab.targets.kubernetes.sighting import MANAGER

OWNER = Owner(PREFIX, Key("default", "shop"))
PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def api(kubeconfig):
    return Api(kubeconfig)


@pytest.fixture
async def client(kubeconfig):
    transport = AiohttpTransport()
    yield Client(config.load(kubeconfig), transport)
    await transport.close()


@pytest.fixture
def applied(api, request):
    """`applied(**metadata)`: the entry of an object that we applied."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:60].strip("-")

    def make(labels=OWNER.labels, manager=MANAGER, **metadata):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": dict(labels), **metadata},
            "data": {"a": "b"},
        }
        live = api.call(
            "PATCH", f"{PATH}/{name}?fieldManager={manager}&force=true", body, "application/apply-patch+yaml"
        )
        return Entry(Ref("", "ConfigMap", "default", name), "v1", live["metadata"]["uid"])

    yield make
    api.delete(f"{PATH}/{name}")


async def outcome(client, entry, meanwhile=lambda: ""):
    """`meanwhile` happens after the look and before the request."""
    return await delete(client, Deletion(entry), OWNER, "flux-system", lambda *_: meanwhile())


async def test_p8_what_we_applied_is_deleted(api, client, applied):
    entry = applied()
    assert (await outcome(client, entry)).effect is Effect.DELETED
    assert api.get(f"{PATH}/{entry.ref.name}") is None


async def test_what_somebody_may_have_meant_to_protect_is_not_deleted(api, client, applied):
    entry = applied()
    path = f"{PATH}/{entry.ref.name}"
    api.merge(path, {"metadata": {"annotations": {f"{PREFIX}prune": "disbled"}}})
    kept = await outcome(client, entry)
    assert kept.effect is Effect.FAILED
    assert kept.message == f"is not deleted while it has {PREFIX}prune: 'disbled': it must be enabled or disabled"
    api.merge(path, {"metadata": {"annotations": {f"{PREFIX}prune": "enabled"}}})
    assert (await outcome(client, entry)).effect is Effect.DELETED


async def test_p8_an_object_that_changes_under_the_deletion_is_looked_at_again(api, client, applied):
    entry = applied()

    def somebody_labels_it_away():
        labels = {f"{PREFIX}name": "other"}
        api.merge(f"{PATH}/{entry.ref.name}", {"metadata": {"labels": labels}})
        return ""

    first = await outcome(client, entry, somebody_labels_it_away)
    assert first.effect is Effect.FAILED
    assert "looked at again" in first.message
    assert (await outcome(client, entry)).effect is Effect.RELEASED
    assert api.get(f"{PATH}/{entry.ref.name}")


async def test_p8_an_object_made_anew_under_the_deletion_is_not_touched(api, client, applied):
    entry = applied()

    def somebody_makes_it_anew():
        api.delete(f"{PATH}/{entry.ref.name}")
        applied()
        return ""

    assert (await outcome(client, entry, somebody_makes_it_anew)).effect is Effect.FAILED
    again = await outcome(client, entry)
    assert (again.effect, again.message) == (Effect.RELEASED, "another object has taken its name")
    assert api.get(f"{PATH}/{entry.ref.name}")


async def test_p15_the_switch_is_asked_right_before_the_request(api, client, applied):
    entry = applied()
    assert (await outcome(client, entry, lambda: "frozen")).effect is Effect.FAILED
    assert api.get(f"{PATH}/{entry.ref.name}")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": {}}, "our labels"),
        ({"labels": Owner(PREFIX, Key("default", "other")).labels}, "belongs to default/other"),
        ({"manager": "somebody"}, "never applied"),
        ({"annotations": {f"{PREFIX}prune": "Disabled"}}, "not to be pruned"),
        ({"annotations": {f"{PREFIX}reconcile": "disabled"}}, "not to be pruned"),
    ],
    ids=["unlabelled", "another-app", "another-manager", "prune-disabled", "reconcile-disabled"],
)
async def test_p9_what_is_not_ours_is_released(api, client, applied, fields, words):
    entry = applied(**fields)
    found = await outcome(client, entry)
    assert found.effect is Effect.RELEASED
    assert words in found.message
    assert api.get(f"{PATH}/{entry.ref.name}")


async def test_p9_what_another_object_controls_is_released(api, client, applied):
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "controller": True}
    uid = api.get("/api/v1/namespaces/default")["metadata"]["uid"]
    entry = applied(ownerReferences=[{**owner, "uid": uid}])
    found = await outcome(client, entry)
    assert (found.effect, found.message) == (Effect.RELEASED, "another object controls it")


def moved(*applies, released=False):
    """A live object with the labels of a Kustomization and a HelmRelease; `applies` are managers and times."""
    labels = {f"{family}.toolkit.fluxcd.io/{name}": "a" for family in ("kustomize", "helm") for name in PARTS}
    entries = [{"manager": manager, "operation": "Apply", "time": time} for manager, time in applies]
    said = {"meta.helm.sh/release-name": "r", "meta.helm.sh/release-namespace": "a"} if released else {}
    metadata = {"name": "c", "uid": "1", "labels": labels, "annotations": said, "managedFields": entries}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


PARTS = ("name", "namespace")
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
APP = Owner("kustomize.toolkit.fluxcd.io/", Key("a", "a"))
RELEASE = Owner("helm.toolkit.fluxcd.io/", Key("a", "a"), "helm-controller", Key("a", "r"))
MOVED = Entry(Ref("", "ConfigMap", "default", "c"), "v1", "1")


@pytest.mark.parametrize("late", [LATE, EARLY], ids=["later", "in-the-same-second"])
def test_p9_an_object_that_a_release_has_applied_since_is_left_to_it(late):
    live = moved(("kustomize-controller", EARLY), ("helm-controller", late), released=True)
    assert foreign(live, MOVED, APP) == "the HelmRelease a/a has applied it since"
    assert foreign(moved(("kustomize-controller", LATE), ("helm-controller", EARLY)), MOVED, APP) is None


def test_p9_an_object_that_an_app_has_applied_since_is_left_to_it():
    live = moved(("kustomize-controller", LATE), ("helm-controller", EARLY), released=True)
    assert foreign(live, MOVED, RELEASE) == "the Kustomization a/a has applied it since"
    live = moved(("kustomize-controller", EARLY), ("helm-controller", LATE), released=True)
    assert foreign(live, MOVED, RELEASE) is None
