"""Releases, from files to what changes in them: which workloads, which tags, and why not the others."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.images.named import Named
from trimtab.images.reaching import Files
from trimtab.images.releasing import (
    Asked,
    Choice,
    Pick,
    Refusal,
    Status,
    carry_out,
    plan,
    questions,
    steps_of,
)
from trimtab.images.running import canonical
from trimtab.images.workloads import workloads

DIGEST = "sha256:" + "0123456789abcdef" * 4
REPOSITORY = {
    "base/kustomization.yaml": b"resources: [cart.yaml, chart.yaml]\n",
    "base/cart.yaml": b"""\
kind: Deployment
metadata: {name: cart}
spec:
  template:
    spec:
      initContainers: [{name: init, image: alpine}]
      containers:
      - name: app # the shop
        image: ghcr.io/acme/cart:1.4.1
      - name: side
        image: "nginx:1.27.0"
""",
    "base/chart.yaml": b"""\
kind: HelmRelease
metadata: {name: chart, namespace: shop}
spec:
  values:
    image: {registry: ghcr.io, repository: acme/cart, tag: v1}
    sidecar:
      image: docker.io/library/nginx:1.27.0
""",
    "prod/kustomization.yaml": b"""\
namespace: shop
resources: [../base]
images:
- name: ghcr.io/acme/cart
  newTag: 1.4.0
""",
    "jobs/night.yaml": b"""\
kind: CronJob
metadata: {name: night, namespace: jobs, annotations: {trimtab.dev/lock: migration (Ann)}}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job, image: nginx:1.27.0}]}}}}}
---
kind: Deployment
metadata: {name: held, namespace: jobs, annotations: {trimtab.dev/hold: soon}}
spec: {template: {spec: {containers: [{name: web, image: 'nginx:1.27.0'}]}}}
""",
}


def named(*texts: str) -> tuple[Named, ...]:
    return tuple(map(Named.parse, texts))


def told(asked: Asked, files: dict[str, bytes] = REPOSITORY, within: str = "", tag: str = "9.9.9"):
    results = plan(workloads(Files(files), within), asked, lambda *_: Choice(tag))
    return results, {result.workload: (str(result.status), result.reason) for result in results}


def test_an_image_is_released_to_everything_that_uses_it_by_the_name_that_is_written() -> None:
    results, said = told(Asked(images=(Pick.parse("index.docker.io/library/nginx:1.28.0"),)))
    assert said == {
        "Deployment/shop/cart": ("release", ""),
        "HelmRelease/shop/chart": ("release", ""),
        "CronJob/jobs/night": ("skipped", "locked: migration (Ann); `trimtab unlock` ends that"),
        "Deployment/jobs/held": ("skipped", "held: soon; --force releases it all the same, `trimtab unhold` for good"),
    }
    carried = carry_out(REPOSITORY, steps_of(results))
    assert carried.contents["base/cart.yaml"] == REPOSITORY["base/cart.yaml"].replace(b"nginx:1.27.0", b"nginx:1.28.0")
    assert b"image: docker.io/library/nginx:1.28.0" in carried.contents["base/chart.yaml"]
    assert set(carried.contents) == {"base/cart.yaml", "base/chart.yaml"}


def test_force_goes_over_a_hold_and_never_over_a_lock() -> None:
    asked = Asked(images=(Pick.parse("nginx:1.28.0"),), force=True)
    results, said = told(asked)
    assert (said["Deployment/jobs/held"][0], said["CronJob/jobs/night"][0]) == ("release", "skipped")
    carried = carry_out(REPOSITORY, steps_of(results), force=True)
    assert carried.contents["jobs/night.yaml"].count(b"1.28.0") == 1
    with pytest.raises(Terminal, match="held: soon; nothing is released"):
        carry_out(REPOSITORY, steps_of(results))


def test_what_a_kustomization_sets_is_released_there() -> None:
    results, said = told(
        Asked(named("shop/cart"), {Named.parse("shop/cart"): "app"}, (Pick.parse("ghcr.io/acme/cart:1.5.0"),))
    )
    assert said == {"Deployment/shop/cart": ("release", "")}
    (step,) = steps_of(results)
    assert (step.current, step.new, step.slot.path) == (
        "ghcr.io/acme/cart:1.4.0", "ghcr.io/acme/cart:1.5.0", "prod/kustomization.yaml",
    )  # fmt: skip
    (change,) = carry_out(REPOSITORY, [step]).changes
    assert (change[0], change[1].old, change[1].new) == ("prod/kustomization.yaml", "1.4.0", "1.5.0")


def test_every_workload_has_a_status_and_a_reason() -> None:
    asked = Asked(named("cart", "nope"), images=(Pick.parse("ghcr.io/acme/cart:1.4.0"),))
    assert told(asked)[1] == {
        "nope": ("unknown", "it is not in the repository"),
        "Deployment/shop/cart": ("skipped", "it is up to date"),
    }
    every = told(Asked(images=(Pick.parse("redis:7"),), excludes=named("night")))[1]
    assert every["CronJob/jobs/night"] == ("ignored", "it is excluded")
    assert every["Deployment/shop/cart"] == ("ignored", "it does not use the image")
    container = told(Asked(named("cart"), {Named.parse("cart"): "apple"}))[1]
    assert container["Deployment/shop/cart"][1].startswith("it has no container apple; it has app, side, init")


def test_a_name_that_means_several_workloads_is_no_name() -> None:
    files = {**REPOSITORY, "dev/kustomization.yaml": b"namespace: dev\nresources: [../base]\n"}
    assert told(Asked(named("cart")), files)[1] == {
        "cart": ("failed", "it can be Deployment/dev/cart, Deployment/shop/cart: name one of them")
    }
    same = {**REPOSITORY, "dev/kustomization.yaml": b"namespace: shop\nresources: [../base]\n"}
    assert told(Asked(named("cart")), same)[1]["cart"][1].startswith("it is part of several apps (dev, prod)")
    assert told(Asked(named("cart")), same, "prod")[1]["Deployment/shop/cart"][0] == "release"


def test_a_policy_that_has_no_answer_fails_its_workload_alone() -> None:
    def choose(workload, container):
        return Refusal("no policy") if container.name == "side" else Choice("9")

    results = plan(workloads(Files(REPOSITORY)), Asked(excludes=named("night", "held")), choose)
    assert {one.workload: (one.status, one.reason) for one in results if one.status is not Status.IGNORED} == {
        "Deployment/shop/cart": (Status.FAILED, "side: no policy"),
        "HelmRelease/shop/chart": (Status.RELEASE, ""),
    }
    asked = Asked(images=(Pick.parse("nginx"),))
    assert {str(workload) for workload, _ in questions(workloads(Files(REPOSITORY)), asked)} == {
        "Deployment/shop/cart", "HelmRelease/shop/chart",
    }  # fmt: skip


def test_a_pin_is_moved_to_the_new_digest_and_never_left_behind() -> None:
    files = {
        "a.yaml": b"kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n"
        + f"    image: x/y:1@{DIGEST}\n".encode()
    }
    assert told(Asked(), files, tag="2")[1]["Pod/a"][1].startswith(
        "a: it is pinned to a digest, and that of 2 is not known"
    )
    assert told(Asked(), files, tag="1")[1]["Pod/a"] == ("skipped", "it is up to date")
    new = DIGEST.replace("0", "f")
    results = plan(workloads(Files(files)), Asked(), lambda *_: Choice("2", new))
    assert carry_out(files, steps_of(results)).contents["a.yaml"].endswith(f"x/y:2@{new}\n".encode())


def test_a_step_is_only_made_from_the_image_that_it_was_planned_for() -> None:
    results, _ = told(Asked(named("cart"), images=(Pick.parse("nginx:1.28.0"),)))
    steps = steps_of(results)
    other = {**REPOSITORY, "base/cart.yaml": REPOSITORY["base/cart.yaml"].replace(b"nginx:1.27.0", b"nginx:1.27.1")}
    with pytest.raises(Terminal, match=r"it runs nginx:1.27.1 by now: somebody was faster"):
        carry_out(other, steps)
    there = {**REPOSITORY, "base/cart.yaml": REPOSITORY["base/cart.yaml"].replace(b"nginx:1.27.0", b"nginx:1.28.0")}
    assert carry_out(there, steps).contents == {}
    with pytest.raises(Terminal, match="it is not there any more"):
        carry_out({"base/cart.yaml": b"kind: ConfigMap\n"}, steps)


def test_what_is_locked_meanwhile_stays_also_where_a_kustomization_sets_it() -> None:
    results, _ = told(Asked(named("cart"), images=(Pick.parse("ghcr.io/acme/cart:1.5.0"),)))
    locked = REPOSITORY["base/cart.yaml"].replace(
        b"name: cart}", b"name: cart, annotations: {trimtab.dev/lock: audit}}"
    )
    with pytest.raises(Terminal, match="Deployment/shop/cart is locked: audit; nothing is released"):
        carry_out({**REPOSITORY, "base/cart.yaml": locked}, steps_of(results))


def test_an_image_that_is_made_of_a_variable_is_not_written_over() -> None:
    files = {"a.yaml": b"kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: 'x/y:${TAG:=1}'}]}\n"}
    assert told(Asked(), files)[1]["Pod/a"][1].startswith("a: it is made of a variable, x/y:${TAG:=1}")


def test_two_tags_for_one_place_are_refused() -> None:
    files = {**REPOSITORY, "dev/kustomization.yaml": b"namespace: dev\nresources: [../base]\n"}

    def choose(workload, container):
        return Choice("1" if workload.namespace == "dev" else "2")

    results = plan(
        workloads(Files(files)), Asked(images=(Pick.parse("nginx"),), excludes=named("night", "held")), choose
    )
    with pytest.raises(Terminal, match=r"from one place, base/cart.yaml:11, and would get 1 and 2:"):
        steps_of(results)


@pytest.mark.parametrize(
    "text", ["a:b:c", "a:'1'", "a:1\n", "a@sha256:1", "A/B", "x:" + "y" * 10_000, "a:1@sha1:x", ""]
)
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|names no tag"):
        Pick.parse(text)


def test_names_of_images_mean_what_registries_take_them_for() -> None:
    assert canonical("nginx") == canonical("docker.io/library/nginx") == canonical("index.docker.io/nginx")
    assert canonical("acme/nginx") != canonical("nginx")
    assert canonical("localhost/nginx") == "localhost/nginx"
    assert canonical("localhost:5000/nginx") != canonical("nginx")


def test_files_that_are_no_yaml_and_circles_of_kustomizations_stop_nobody() -> None:
    files = Files({
        **REPOSITORY,
        "x/kustomization.yaml": b"resources: [../y]\n",
        "y/kustomization.yaml": b"resources: [../x, 'https://h/x', /a]\n",
        "jobs/image.yaml": b"image: {{ .Values.image }}: x\n", "jobs/b.yaml": b"image: \xff\n",
    })  # fmt: skip
    assert len(workloads(files)) == 4
    assert set(files.unread) == {"jobs/image.yaml", "jobs/b.yaml"}


def test_objects_are_called_as_kubectl_and_flux_call_them() -> None:
    said = {
        "cart": ("", "", "cart"),
        "shop/cart": ("", "shop", "cart"),
        "deploy/cart": ("Deployment", "", "cart"),
        "Deployment/cart": ("Deployment", "", "cart"),
        "hr/shop/cart": ("HelmRelease", "shop", "cart"),
        "widget/shop/cart": ("widget", "shop", "cart"),
    }
    assert {text: tuple(Named.parse(text)) for text in said} == said
    for text in ("", "a/", "a/b/c/d", "a b", "a/b\n"):
        with pytest.raises(ValueError, match="names no object"):
            Named.parse(text)


def test_the_size_of_a_jump_is_told() -> None:
    files = {"a.yaml": b"kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: 'x/y:1.4.1'}]}\n"}

    def jump(tag: str) -> str:
        return steps_of(told(Asked(), files, tag=tag)[0])[0].jump

    said = {"2.0.0": "major", "v1.5.0": "minor", "1.4.2": "patch", "1.3.9": "minor back", "1.4.1-rc.1": "back", "x": ""}
    assert {tag: jump(tag) for tag in said} == said
