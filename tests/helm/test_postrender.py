"""What a release changes in what its chart renders, with the real kustomize where it has to run."""

from pathlib import Path

import msgspec
import pytest

from tests.helm.conftest import write_chart
from tests.render.conftest import find_kustomize
from trimtab.api.helmrelease import PostRenderer
from trimtab.api.kustomize import CommonMetadata
from trimtab.base.errors import Terminal
from trimtab.helm import output
from trimtab.helm.output import Event, Output
from trimtab.helm.postrender import Changes, PostRendering
from trimtab.render.kustomize import Kustomize

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
        - {name: web, image: nginx:1.0}
"""
SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: key\nstringData:\n  password: s3cret\n  user: me\n"
JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-weight: "3"}
spec:
  template:
    spec:
      containers:
        - {name: migrate, image: nginx:1.0}
"""


@pytest.fixture
def rendered(helm, tmp_path) -> Output:
    chart = write_chart(tmp_path / "app", {"web.yaml": DEPLOYMENT + "---\n" + SECRET, "job.yaml": JOB})
    return output.split(helm("template", "me", chart).encode())


@pytest.fixture
def kustomize(tmp_path) -> Kustomize:
    found = find_kustomize()
    if found is None:
        pytest.skip("kustomize is not installed")
    return Kustomize(found, tmp_path / "work")


def renderers(*bodies) -> tuple[PostRenderer, ...]:
    return msgspec.convert([{"kustomize": body} for body in bodies], tuple[PostRenderer, ...])


IMAGES = {"images": [{"name": "nginx", "newTag": "2.0"}]}
PATCH = {
    "patches": [
        {"patch": "- {op: add, path: /metadata/labels, value: {patched: 'yes'}}", "target": {"kind": "Deployment|Job"}}
    ]
}


def bodies(found: Output):
    listed = [one.body for one in output.objects(found.manifest)]
    listed += [one.body for hook in found.hooks for one in output.objects_of_hook(hook)]
    return {body["kind"]: body for body in listed}


def image(body) -> str:
    return body["spec"]["template"]["spec"]["containers"][0]["image"]


async def test_nothing_to_change_leaves_the_text_as_helm_wrote_it(rendered):
    assert await PostRendering(None).change(rendered, Changes()) is rendered


async def test_images_are_set_without_a_process(rendered):
    found = await PostRendering(None).change(rendered, Changes(renderers(IMAGES)))
    assert [image(bodies(found)[kind]) for kind in ("Deployment", "Job")] == ["nginx:2.0", "nginx:2.0"]
    assert {one.origin.file for one in output.objects(found.manifest)} == {"app/templates/web.yaml"}
    [hook] = output.running(found.hooks, Event.PRE_UPGRADE)
    assert (hook.path, hook.weight) == ("app/templates/job.yaml", 3)


async def test_patches_need_kustomize(rendered):
    with pytest.raises(Terminal, match="need kustomize, which is not installed"):
        await PostRendering(None).change(rendered, Changes(renderers(PATCH)))


async def test_patches_are_applied_one_renderer_after_the_other(rendered, kustomize):
    again = {
        "patches": [
            {"patch": "- {op: test, path: /metadata/labels/patched, value: 'yes'}", "target": {"kind": "Deployment"}}
        ]
    }
    found = await PostRendering(kustomize).change(rendered, Changes(renderers(PATCH, IMAGES, again)))
    assert bodies(found)["Deployment"]["metadata"] == {"name": "web", "labels": {"patched": "yes"}}
    assert image(bodies(found)["Deployment"]) == "nginx:2.0"
    assert [(one.path, one.weight, one.events) for one in found.hooks] == [
        ("app/templates/job.yaml", 3, ("pre-upgrade",))
    ]
    with pytest.raises(Terminal, match="kustomize cannot build"):
        await PostRendering(kustomize).change(rendered, Changes(renderers(again)))


async def test_the_strategy_says_what_happens_with_hooks(rendered, kustomize):
    async def labelled(strategy):
        found = await PostRendering(kustomize).change(rendered, Changes(renderers(PATCH), strategy=strategy))
        assert len(found.hooks) == 1
        return "labels" in bodies(found)["Job"]["metadata"]

    assert [await labelled(one) for one in ("", "combined", "separate", "nohooks")] == [True, True, True, False]


async def test_an_object_that_is_a_hook_as_well_needs_another_strategy(rendered, kustomize, helm, tmp_path):
    twice = DEPLOYMENT.replace("  name: web\n", "  name: web\n  annotations: {helm.sh/hook: pre-install}\n", 1)
    chart = write_chart(tmp_path / "twice", {"a.yaml": DEPLOYMENT, "b.yaml": twice})
    both = output.split(helm("template", "me", chart).encode())
    with pytest.raises(Terminal, match="already registered id"):
        await PostRendering(kustomize).change(both, Changes(renderers(PATCH)))
    found = await PostRendering(kustomize).change(both, Changes(renderers(PATCH), strategy="separate"))
    assert (len(output.objects(found.manifest)), len(found.hooks)) == (1, 1)


async def test_kustomize_sees_no_content_of_a_secret_and_it_comes_back(rendered, kustomize, monkeypatch):
    given = {}
    build = kustomize.build

    async def spied(directory, contents, *, fleeting):
        given.update({**contents, **fleeting})
        assert [*contents] == ["kustomization.yaml"], "what the chart made is in memory only"
        return await build(directory, contents, fleeting=fleeting)

    monkeypatch.setattr(kustomize, "build", spied)
    patch = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: key\nstringData:\n  user: you\n"
    found = await PostRendering(kustomize).change(rendered, Changes(renderers({"patches": [{"patch": patch}]})))
    assert not [name for name, data in given.items() if b"s3cret" in data or b"czNjcmV0" in data]
    assert bodies(found)["Secret"]["stringData"] == {"password": "s3cret", "user": "you"}


async def test_more_objects_than_files_can_be_open_come_out_in_their_order(kustomize, helm, tmp_path):
    many = "---\n".join(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number:03}}}\n" for number in range(320))
    chart = write_chart(tmp_path / "many", {"a.yaml": many, "b.yaml": DEPLOYMENT})
    rendered = output.split(helm("template", "me", chart).encode())
    patch = {"patch": "- {op: add, path: /data, value: {a: b}}", "target": {"kind": "ConfigMap"}}
    found = await PostRendering(kustomize).change(rendered, Changes(renderers({"patches": [patch]})))
    before, after = output.objects(rendered.manifest), output.objects(found.manifest)
    assert [(one.ref, one.origin.file) for one in after] == [(one.ref, one.origin.file) for one in before]
    assert all(one.body["data"] == {"a": "b"} for one in after if one.ref.kind == "ConfigMap")


async def test_an_error_shows_no_content_of_a_secret(rendered, kustomize):
    patch = [{"patch": "- {op: test, path: /stringData/password, value: x}", "target": {"kind": "Secret"}}]
    with pytest.raises(Terminal) as told:
        await PostRendering(kustomize).change(rendered, Changes(renderers({"patches": patch})))
    assert "s3cret" not in str(told.value)


async def test_common_metadata_and_our_labels_are_on_every_object_and_hook(rendered):
    common = CommonMetadata(labels={"team": "blue", "ours": "no"}, annotations={"note": "x"})
    found = await PostRendering(None).change(rendered, Changes(common=common, labels={"ours": "yes"}))
    for body in bodies(found).values():
        assert body["metadata"]["labels"] == {"team": "blue", "ours": "yes"}
        assert body["metadata"]["annotations"]["note"] == "x"
    assert len(found.hooks) == 1


async def test_a_patch_can_make_a_hook_of_an_object_and_an_object_of_a_hook(rendered, kustomize):
    patches = [
        {
            "patch": "- {op: add, path: /metadata/annotations, value: {helm.sh/hook: test}}",
            "target": {"kind": "Secret"},
        },
        {"patch": "- {op: remove, path: /metadata/annotations}", "target": {"kind": "Job"}},
        {"patch": "$patch: delete\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"},
    ]
    found = await PostRendering(kustomize).change(rendered, Changes(renderers({"patches": patches})))
    assert [(one.ref.kind, one.origin.file) for one in output.objects(found.manifest)] == [
        ("Job", "app/templates/job.yaml")
    ]
    assert [(one.kind, one.events, one.path) for one in found.hooks] == [
        ("Secret", ("test",), "app/templates/web.yaml")
    ]


async def test_objects_stay_in_helms_order(rendered):
    found = await PostRendering(None).change(rendered, Changes(labels={"a": "b"}))
    assert [one.ref.kind for one in output.objects(found.manifest)] == ["Secret", "Deployment"]


def test_digests_are_of_what_is_changed():
    assert (Changes().renderers_digest, Changes().common_digest) == ("", "")
    assert Changes(renderers(IMAGES)).renderers_digest != Changes(renderers(PATCH)).renderers_digest
    assert Changes(common=CommonMetadata()).common_digest


async def test_the_work_directory_is_empty_afterwards(rendered, kustomize, tmp_path: Path):
    await PostRendering(kustomize).change(rendered, Changes(renderers(PATCH)))
    assert list((tmp_path / "work").iterdir()) == []
