"""Edits without markers: containers of workloads by name, images of HelmReleases, entries of kustomizations."""

import pytest

from trimtab.images.editing import Kind, edit
from trimtab.images.places import InKustomization, InWorkload
from trimtab.images.reference import Image
from trimtab.manifests.yaml import YamlError, load

from .conftest import SHARED

NEW = Image.of("ghcr.io/acme/app", "v2")
DIGEST = "sha256:" + "0123456789abcdef" * 4
CART = InWorkload("", "shop", "cart", "app")


def becomes(text: str, where, image: Image = NEW) -> str:
    result = edit(text.encode(), {where: image})
    assert result.notes == ()
    assert edit(result.data, {where: image}).changes == ()
    return result.data.decode()


def refused(text: str, where, image: Image = NEW) -> str:
    result = edit(text.encode(), {where: image})
    assert (result.data, result.changes) == (text.encode(), ())
    (note,) = result.notes
    assert note.kind is Kind.REFUSED
    return f"{note.line}: {note.text}"


POD = """initContainers:
- {name: wait, image: "busybox:1"}  # first
containers:
# the app itself
- name: app   # here
  image: app:v1
- image: 'proxy:v1'
  name: proxy
"""


def indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" for line in text.splitlines(keepends=True))


DEPLOYMENT = f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  namespace: shop
spec:
  template:
    spec:
{indented(POD, 6)}"""
CRON = f"""apiVersion: batch/v1
kind: CronJob
metadata: {{name: cart}}
spec:
  jobTemplate:
    spec:
      template:
        spec:
{indented(POD, 10)}"""
BARE = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: cart, namespace: shop}}\nspec:\n{indented(POD, 2)}"


@pytest.mark.parametrize("text", [DEPLOYMENT, CRON, BARE], ids=["Deployment", "CronJob", "Pod"])
def test_the_container_of_a_workload_is_found_by_its_name(text: str) -> None:
    assert becomes(text, CART) == text.replace("app:v1", str(NEW))
    assert becomes(text, InWorkload("", "", "cart", "proxy")) == text.replace("proxy:v1", str(NEW))
    assert becomes(text, InWorkload("", "shop", "cart", "wait")) == text.replace("busybox:1", str(NEW))


def test_only_the_workload_that_was_named_is_touched() -> None:
    other = DEPLOYMENT.replace("name: cart", "name: card")
    elsewhere = DEPLOYMENT.replace("namespace: shop", "namespace: mall")
    text = f"{other}---\n{DEPLOYMENT}---\n{elsewhere}---\n{BARE}"
    done = becomes(text, CART._replace(kind="Deployment"))
    assert done == f"{other}---\n{DEPLOYMENT.replace('app:v1', str(NEW))}---\n{elsewhere}---\n{BARE}"


def test_a_workload_in_a_list_is_found() -> None:
    item = indented(DEPLOYMENT, 2).replace("  ", "- ", 1)
    text = f"apiVersion: v1\nkind: List\nitems:\n{item}"
    assert becomes(text, CART) == text.replace("app:v1", str(NEW))


def test_the_only_container_needs_no_name_and_several_do() -> None:
    one = BARE.partition("  - image: 'proxy")[0]
    assert becomes(one, CART._replace(container="")) == one.replace("app:v1", str(NEW))
    assert "has 2 containers (app, proxy): name one of them" in refused(DEPLOYMENT, CART._replace(container=""))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BARE.replace("app:v1", "*i").replace("spec:", "x: &i app:v1\nspec:", 1), "has its image in an alias"),
        (BARE.replace("    image: app:v1\n", ""), "has no image: add the line"),
        (
            "kind: Pod\nmetadata: {name: cart}\nx: &c [{name: app, image: a:v1}]\nspec: {containers: *c}\n",
            "by an alias",
        ),
        ("kind: Pod\nmetadata: {name: cart}\nspec: {<<: {containers: [{name: app, image: a:v1}]}}\n", "by a merge"),
        (
            "kind: Pod\nmetadata: {name: cart}\nx: &c {name: app, image: a:v1}\nspec: {containers: [*c]}\n",
            "by an alias",
        ),
    ],
    ids=["image-alias", "no-image", "list-alias", "merge", "item-alias"],
)
def test_what_is_shared_or_not_there_is_refused_with_the_way_out(text: str, said: str) -> None:
    result = edit(text.encode(), {CART: NEW})
    assert result.changes == ()
    assert any(said in note.text for note in result.notes)
    assert all(note.kind is Kind.REFUSED and note.line for note in result.notes)


RELEASE = """apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: cart, namespace: shop}
spec:
  values:
    image:
      repository: ghcr.io/acme/app # the app
      tag: "v1"
    sidecar:
      image: ghcr.io/acme/proxy:v1
    old:
      image: ghcr.io/acme/old
      tag: v1
"""


def test_the_images_in_a_release_are_found_in_all_their_forms() -> None:
    def release(container: str) -> InWorkload:
        return InWorkload("HelmRelease", "shop", "cart", container)

    assert becomes(RELEASE, release("")) == RELEASE.replace('"v1"', '"v2"')
    assert becomes(RELEASE, release("image")) == RELEASE.replace('"v1"', '"v2"')
    proxy = Image.of("ghcr.io/acme/proxy", "v2")
    assert becomes(RELEASE, release("sidecar.image"), proxy) == RELEASE.replace("proxy:v1", "proxy:v2")
    old = Image.of("ghcr.io/acme/old", "v2")
    assert becomes(RELEASE, release("old.image"), old) == RELEASE.replace("      tag: v1\n", "      tag: v2\n")
    assert edit(RELEASE.encode(), {release("none.image"): NEW}).served == frozenset()
    # without the kind it is found as well: a release is a workload
    assert becomes(RELEASE, InWorkload("", "", "cart")) == RELEASE.replace('"v1"', '"v2"')


KUSTOMIZATION = """apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
images:
- name: app # as it is called in the base
  newName: ghcr.io/acme/app
  newTag: v1
- name: ghcr.io/acme/app
  newTag: 'v1'
- name: pinned
  newName: ghcr.io/acme/app
  digest: sha256:00
"""


def test_entries_of_a_kustomization_are_found_by_their_name() -> None:
    done = becomes(KUSTOMIZATION, InKustomization("app"), Image.of("ghcr.io/new/app", "1.10"))
    after = KUSTOMIZATION.replace(
        "newName: ghcr.io/acme/app\n  newTag: v1", 'newName: ghcr.io/new/app\n  newTag: "1.10"'
    )
    assert done == after
    assert becomes(KUSTOMIZATION, InKustomization("ghcr.io/acme/app")) == KUSTOMIZATION.replace("'v1'", "'v2'")
    pinned = Image.of("ghcr.io/acme/app", "v2", DIGEST)
    assert becomes(KUSTOMIZATION, InKustomization("pinned"), pinned) == KUSTOMIZATION.replace("sha256:00", DIGEST)


def test_entries_of_a_kustomization_of_flux_and_of_one_without_a_kind_are_found() -> None:
    for text in ("images: [{name: app, newName: ghcr.io/acme/app, newTag: v1}]\n",
                 "kind: Kustomization\nspec: {images: [{name: ghcr.io/acme/app, newTag: v1, x: app}]}\n"):  # fmt: skip
        name = "app" if "newName" in text else "ghcr.io/acme/app"
        assert becomes(text, InKustomization(name)) == text.replace("v1", "v2")
    assert edit(b"kind: Pod\nimages: [{name: app, newTag: v1}]\n", {InKustomization("app"): NEW}).served == frozenset()


@pytest.mark.parametrize(
    ("entry", "image", "said"),
    [
        ("name: app, newTag: v1", NEW, "add the line `newName: ghcr.io/acme/app`"),
        ("name: app, newName: x", NEW, "has no newTag"),
        ("name: app, newName: x, newTag: v1", Image.of("x", "v1", DIGEST), 'add the line `digest: ""`'),
        (f"name: app, newName: x, newTag: v1, digest: '{DIGEST}'", NEW, "is pinned to a digest"),
        (f"name: app, newName: x, digest: '{DIGEST}'", NEW, "has no newTag"),
    ],
)
def test_an_entry_that_cannot_say_the_image_is_refused_with_the_missing_line(
    entry: str, image: Image, said: str
) -> None:
    assert said in refused(f"images: [{{{entry}}}]\n", InKustomization("app"), image)


@pytest.mark.parametrize(
    "text",
    ["&x {kind: List, items: [*x], n: cart}\n", "kind: List\nitems: &y [{kind: List, items: *y, n: cart}]\n",
     "&x {kind: Pod, metadata: *x, spec: *x, n: cart}\n"],
)  # fmt: skip
def test_what_contains_itself_is_gone_through_once(text: str) -> None:
    assert edit(text.encode(), {CART: NEW, InKustomization("cart"): NEW}).changes == ()


def test_a_place_and_a_marker_that_want_different_things_are_refused() -> None:
    from trimtab.manifests.refs import Key

    text = BARE.replace("app:v1", 'app:v1 # {"$imagepolicy": "ns:p"}')
    result = edit(text.encode(), {Key("ns", "p"): Image.of("app", "v3"), CART: NEW})
    assert [note.kind for note in result.notes] == [Kind.REFUSED]
    assert "one value is asked to be two" in result.notes[0].text


REAL = SHARED / "realworld"
WORKLOADS = sorted(path for path in REAL.rglob("*.yaml") if b"containers:" in path.read_bytes())


def images_in(body):
    spec = body.get("spec") or {}
    for pod in (spec, spec.get("template", {}).get("spec") or {}):
        for name in ("containers", "initContainers"):
            yield from pod.get(name) or []


@pytest.mark.skipif(not WORKLOADS, reason="the real repositories are not beside this repository")
def test_every_container_of_real_repositories_is_found_by_name_and_changed_alone() -> None:
    tried = 0
    for path in WORKLOADS:
        data = path.read_bytes()
        try:
            bodies = [document.value for document in load(data, str(path))]
        except YamlError:
            continue  # a template of a chart
        for body in bodies:
            for container in list(images_in(body)):
                if "image" not in container:
                    continue
                place = InWorkload(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"],
                                   container["name"])  # fmt: skip
                result = edit(data, {place: NEW})
                assert [note for note in result.notes if note.kind is Kind.REFUSED] == []
                before, container["image"] = container["image"], str(NEW)
                assert [document.value for document in load(result.data, str(path))] == bodies, f"{path}: {place}"
                container["image"] = before
                assert sum(map(bool, result.changes)) == 1
                tried += 1
    assert tried > 20
