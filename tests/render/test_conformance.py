"""The shared conformance cases of kustomize builds, all but decryption."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.api.kustomize import KustomizationSpec
from trimtab.base.errors import Terminal, TrimtabError
from trimtab.manifests.emit import to_yaml
from trimtab.manifests.yaml import load
from trimtab.render.local import snapshot_of_directory
from trimtab.render.options import Options
from trimtab.render.render import NO_VARIABLES
from trimtab.render.variables import Found, Variables, collected

from .conftest import SHARED

CASES = SHARED / "conformance" / "kustomize"
OTHERS = re.compile(r"sops-")

if CASES.is_dir():
    ALL = [case for case in json.loads((CASES / "cases.json").read_text()) if not OTHERS.match(case["id"])]
else:
    ALL = []


def spec_of(case: dict[str, Any], **more: Any) -> KustomizationSpec:
    spec: dict[str, Any] = {"sourceRef": {"kind": "GitRepository", "name": "app"}, "interval": "1m", "prune": True}
    if "flux" in case:
        folder = CASES / case["id"]
        spec |= load((folder / case["flux"]).read_bytes(), case["flux"])[0].value["spec"]
    spec |= case.get("fluxSpec", {}) | more
    return msgspec.convert(spec, KustomizationSpec)


def options_of(case: dict[str, Any], **more: Any) -> Options:
    return Options.from_spec(spec_of(case, **more))


def variables_of(case: dict[str, Any], strict: bool) -> Variables:
    """What the spec of the case says, with the objects of its cluster."""
    post_build = spec_of(case).post_build
    folder = CASES / case["id"]
    cluster = load((folder / case["cluster"]).read_bytes(), "cluster") if "cluster" in case else []
    objects = {(one.value["kind"], one.value["metadata"]["name"]): one.value for one in cluster}
    named = [(ref.kind, ref.name) for ref in post_build.substitute_from] if post_build else []
    return collected(post_build, [Found(name, objects[kind, name]["data"]) for kind, name in named], strict=strict)


def value_at(body: Any, path: str) -> Any:
    for part in re.findall(r'\["([^"]+)"\]|\[(\d+)\]|([^.\[\]]+)', path):
        quoted, index, name = part
        body = body[int(index)] if index else body[quoted or name]
    return body


def same(expected: Any, got: Any) -> bool:
    return (not expected and not got) or expected == got


@pytest.mark.skipif(not ALL, reason="the shared conformance cases are not there")
@pytest.mark.parametrize("case", ALL, ids=[case["id"] for case in ALL])
async def test_case(case, store, renderer):
    expect = case["expect"]
    snapshot = snapshot_of_directory(store, CASES / case["id"] / "source", ignored=lambda path: path.endswith(".keep"))
    options = options_of(case)
    path = case.get("path", "")
    if path and not snapshot.tree.has_directory(path):
        # git keeps no empty directories; the case has one to build from.
        snapshot = snapshot_of_directory(store, CASES / case["id"] / "source")

    for field, value in expect.get("kustomization", {}).items():
        body = try_kustomization(renderer, snapshot, path, options)
        if field == "resourcesInclude":
            assert set(value) <= set(body["resources"])
            continue
        if value and isinstance(value, list) and "@REMOTE@" in value:
            urls = [one for one in body[field] if one.startswith("https://")]
            value = [urls[0] if one == "@REMOTE@" else one for one in value]
        assert same(value, body.get(field)), field
    if "generatedContains" in expect:
        assert expect["generatedContains"] in json.dumps(renderer.kustomization(snapshot, path, options))
    if "varsub" in case["id"]:
        for mode in ("strict", "notStrict"):
            then = expect if "build" in expect else expect.get(mode)
            if then is not None:
                await check_filled(then, case, renderer, snapshot, path, variables_of(case, mode == "strict"))
        return
    if "build" not in expect:
        return

    if expect["build"] == "fail":
        for _ in range(2):  # the second time is no different, and does not hang
            with pytest.raises(Terminal) as refused:
                await renderer.render(snapshot, path, options)
            assert refused.value.reason == expect.get("reason", "BuildFailed")
            assert expect.get("errorContains", "") in str(refused.value)
            assert str(Path("/tmp")) not in str(refused.value)
        for ignored, then in expect.get("withIgnore", {}).items():
            snapshot = snapshot_of_directory(
                store, CASES / case["id"] / "source", ignored=lambda path, out=ignored: path == out
            )
            await check(then, renderer, snapshot, path, options, CASES / case["id"])
        return
    await check(expect, renderer, snapshot, path, options, CASES / case["id"])


async def check_filled(expect, case, renderer, snapshot, path, variables):
    """Variables are put into what a plain build gives: the other fields of the spec play no part in these cases."""
    if expect["build"] == "fail":
        with pytest.raises(Terminal, match=expect["errorContains"]):
            await renderer.render(snapshot, path, Options(), variables)
        return
    await check(expect, renderer, snapshot, path, Options(), CASES / case["id"], variables)


def try_kustomization(renderer, snapshot, path, options):
    """The kustomization, also of folders whose references lead nowhere: some cases look only at the file."""
    from trimtab.render import kustomization

    try:
        return renderer.kustomization(snapshot, path, options)
    except TrimtabError:
        own = kustomization.find(snapshot, path)
        written = (
            kustomization.parse(snapshot.read(own), own, root=True)
            if own
            else kustomization.generate(kustomization.scan(snapshot, path), path)
        )
        return kustomization.merge(written, options, generated=own is None, exists=lambda _: True)


async def check(expect, renderer, snapshot, path, options, folder, variables=NO_VARIABLES):
    rendered = await renderer.render(snapshot, path, options, variables)
    bodies = [manifest.body for manifest in rendered.manifests]
    text = "---\n".join(to_yaml(body) for body in bodies)
    by_kind = {body["kind"]: body for body in bodies}
    if "resources" in expect:
        assert len(bodies) == expect["resources"]
    if "yamlEquals" in expect:
        expected = load((folder / expect["yamlEquals"]).read_bytes(), "expected")
        assert bodies == [document.value for document in expected]
    match expect.get("names"):
        case list() as names:
            assert len(bodies) == len(names)
            for name, body in zip(names, bodies, strict=True):
                assert body["metadata"]["name"].startswith(name)
        case dict() as names:
            for kind, name in names.items():
                assert by_kind[kind]["metadata"]["name"] == name
    for body in bodies:
        if "namespace" in expect:
            assert body["metadata"]["namespace"] == expect["namespace"]
    for kind, part in expect.get("nameContains", {}).items():
        assert part in by_kind[kind]["metadata"]["name"]
    for kind, fields in expect.get("fields", {}).items():
        for field, value in fields.items():
            assert value_at(by_kind[kind], field) == value
    if "image" in expect:
        assert f"image: {expect['image']}\n" in text
    for part in expect.get("contains", ()):
        assert part in text
    for part in expect.get("notContains", ()):
        assert part not in text
    if "scanned" in expect:
        resources = renderer.kustomization(snapshot, path, options)["resources"]
        assert [one.removeprefix("./") for one in resources] == expect["scanned"]
    for manifest in rendered.manifests:
        assert snapshot.exists(manifest.origin.file)
        assert manifest.origin.line > 0
