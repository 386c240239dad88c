"""Nothing outside the artifact is ever read, and no program of anybody else's is started, while building."""

import asyncio
import json

import pytest

from trimtab.base.errors import Terminal
from trimtab.render.options import Options

from .conftest import config_map

REMOTE = [
    "https://example.org/base.yaml",
    "http://169.254.169.254/latest/meta-data",
    "HTTPS://example.org/base",
    "git@example.org:team/base.git",
    "git::https://example.org/base",
    "ssh://git@example.org/base",
    "ext::sh -c id",
    "file:///srv/other",
    "/etc/passwd",
    "~/secrets",
    "github.com/org/repo",
    "github.com/org/repo?ref=main",
    "github.com:org/repo",
    "gh:org/repo",
    "example.org/org/repo.git",
    "https:base",
    "https:/example.org/x",
    "base//sub",
    "../outside",
    "sub/../../outside",
    "user@host/repo",
    "a\\b",
    "a\nb",
    "x?ref=1",
]
FIELDS = {
    "resources": lambda ref: {"resources": [ref]},
    "bases": lambda ref: {"bases": [ref]},
    "components": lambda ref: {"components": [ref]},
    "crds": lambda ref: {"crds": [ref]},
    "configurations": lambda ref: {"configurations": [ref]},
    "transformers": lambda ref: {"transformers": [ref]},
    "generators": lambda ref: {"generators": [ref]},
    "validators": lambda ref: {"validators": [ref]},
    "patches": lambda ref: {"patches": [{"path": ref}]},
    "patchesJson6902": lambda ref: {"patchesJson6902": [{"path": ref, "target": {"kind": "A", "name": "a"}}]},
    "patchesStrategicMerge": lambda ref: {"patchesStrategicMerge": [ref]},
    "configMapGenerator.files": lambda ref: {"configMapGenerator": [{"name": "a", "files": [ref]}]},
    "configMapGenerator.files.key": lambda ref: {"configMapGenerator": [{"name": "a", "files": [f"key={ref}"]}]},
    "configMapGenerator.envs": lambda ref: {"configMapGenerator": [{"name": "a", "envs": [ref]}]},
    "configMapGenerator.env": lambda ref: {"configMapGenerator": [{"name": "a", "env": ref}]},
    "secretGenerator.files": lambda ref: {"secretGenerator": [{"name": "a", "files": [ref]}]},
    "secretGenerator.envs": lambda ref: {"secretGenerator": [{"name": "a", "envs": [ref]}]},
    "replacements": lambda ref: {"replacements": [{"path": ref}]},
    "openapi": lambda ref: {"openapi": {"path": ref}},
    "inline transformer": lambda ref: {
        "transformers": [json.dumps({"apiVersion": "builtin", "kind": "PatchTransformer", "path": ref})]
    },
    "inline generator": lambda ref: {
        "generators": [json.dumps({"apiVersion": "builtin", "kind": "ConfigMapGenerator", "files": [ref]})]
    },
    "inline replacement": lambda ref: {
        "transformers": [
            json.dumps({"apiVersion": "builtin", "kind": "ReplacementTransformer", "replacements": [{"path": ref}]})
        ]
    },
    "inline strategic merge": lambda ref: {
        "transformers": [
            json.dumps({"apiVersion": "builtin", "kind": "PatchStrategicMergeTransformer", "paths": [ref]})
        ]
    },
}


@pytest.fixture
def offline(renderer, monkeypatch):
    """A renderer that fails the test if it starts anything."""

    async def never(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("trimtab.base.confined.run", never)
    return renderer


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("reference", REMOTE)
async def test_what_is_not_a_path_inside_the_artifact_is_refused_before_anything_starts(
    offline, artifact, reference, field
):
    files = artifact({"app/kustomization.yaml": json.dumps(FIELDS[field](reference))})
    with pytest.raises(Terminal) as refused:
        await offline.render(files, "app", Options())
    assert refused.value.reason == "BuildFailed"
    assert "app/kustomization.yaml: " + field.partition(".")[0].partition(" ")[0] in (
        str(refused.value)
        if " " not in field
        else str(refused.value).replace("generators", "inline").replace("transformers", "inline")
    )


@pytest.mark.parametrize(
    "text",
    [
        "resources: [&a 'https://example.org/x']\nbases: [*a]",
        '{"resources": ["https:\\/\\/example.org\\/x"]}',
        'resources: ["\\x68ttps://example.org/x"]',
        "resources:\n- >-\n  https://example.org/x\n",
        "<<: {resources: [https://example.org/x]}",
    ],
    ids=["alias", "JSON", "escape", "folded", "merge key"],
)
async def test_a_reference_cannot_hide_behind_the_notation(offline, artifact, text):
    with pytest.raises(Terminal, match=r"names a base in another repository, https://example\.org/x"):
        await offline.render(artifact({"kustomization.yaml": text}), "", Options())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"Resources": ["https://example.org/x"]}, "resources"),
        ({"reſources": ["https://example.org/x"]}, "resources"),
        ({"patches": [{"Path": "https://example.org/x"}]}, "path"),
        ({"configMapGenerator": [{"name": "a", "FILES": ["https://example.org/x"]}]}, "files"),
        ({"transformers": ['{"apiVersion": "builtin", "kind": "PatchTransformer", "Path": "https://x.org"}']}, "path"),
    ],
)
async def test_a_reference_cannot_hide_behind_the_case_of_its_field(offline, artifact, body, field):
    """Go's decoder takes field names in any case, and folds some letters beyond ASCII."""
    with pytest.raises(Terminal, match=f"has to be written {field}"):
        await offline.render(artifact({"kustomization.yaml": json.dumps(body)}), "", Options())


@pytest.mark.parametrize("field", ["helmCharts", "helmGlobals", "helmChartInflationGenerator"])
async def test_charts_are_refused(offline, artifact, field):
    value = {"chartHome": "x"} if field == "helmGlobals" else [{"name": "x", "repo": "https://example.org"}]
    with pytest.raises(Terminal, match="HelmRelease"):
        await offline.render(artifact({"kustomization.yaml": json.dumps({field: value})}), "", Options())


FUNCTIONS = {
    "exec": {
        "apiVersion": "example.org/v1",
        "kind": "Run",
        "metadata": {"name": "x", "annotations": {"config.kubernetes.io/function": "exec: {path: /bin/sh}"}},
    },
    "container": {
        "apiVersion": "builtin",
        "kind": "PatchTransformer",
        "metadata": {"name": "x", "annotations": {"config.kubernetes.io/function": "container: {image: x}"}},
    },
    "plugin": {"apiVersion": "someteam.example.org/v1", "kind": "SedTransformer", "metadata": {"name": "x"}},
    "chart": {"apiVersion": "builtin", "kind": "HelmChartInflationGenerator", "metadata": {"name": "x"}},
}


@pytest.mark.parametrize("field", ["transformers", "generators", "validators"])
@pytest.mark.parametrize("function", FUNCTIONS)
async def test_programs_and_containers_are_refused(offline, artifact, function, field):
    text = json.dumps(FUNCTIONS[function])
    folder = {
        "inline": {"kustomization.yaml": json.dumps({field: [text]})},
        "file": {"kustomization.yaml": json.dumps({field: ["f.yaml"]}), "f.yaml": text},
        "directory": {
            "kustomization.yaml": json.dumps({field: ["dir"]}),
            "dir/kustomization.yaml": "resources: [f.yaml]",
            "dir/f.yaml": text,
        },
    }
    for files in folder.values():
        with pytest.raises(Terminal, match=r"would run a program or a container|charts are not downloaded"):
            await offline.render(artifact(files), "", Options())


async def test_a_directory_of_configurations_must_not_change_them(offline, artifact):
    """A patch could put a URL into the path of a transformer, after every check; also where it was a base before."""
    files = {
        "kustomization.yaml": "transformers: [dir]",
        "dir/kustomization.yaml": "resources: [f.yaml]\npatches: [{patch: 'x', target: {kind: PatchTransformer}}]",
        "dir/f.yaml": "{apiVersion: builtin, kind: PatchTransformer, metadata: {name: a}, patch: x}",
    }
    for root in ("transformers: [dir]", "resources: [dir]\ntransformers: [dir]"):
        with pytest.raises(Terminal, match=r"dir/kustomization\.yaml: patches in a directory of"):
            await offline.render(artifact({**files, "kustomization.yaml": root}), "", Options())


async def test_references_of_bases_are_checked_too(offline, artifact):
    files = {
        "app/kustomization.yaml": "resources: [../base]",
        "base/kustomization.yaml": "components: [../component]",
        "component/kustomization.yaml": "kind: Component\npatches: [{path: 'https://user:secret@example.org/x'}]",
    }
    with pytest.raises(Terminal) as refused:
        await offline.render(artifact(files), "app", Options())
    assert "component/kustomization.yaml: patches[0].path" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_components_of_the_object_are_checked_too(offline, artifact):
    options = Options(components=("https://example.org/x",), ignore_missing_components=True)
    with pytest.raises(Terminal, match="components"):
        await offline.render(artifact({"a.yaml": config_map("a")}), "", options)


async def test_what_kustomize_reads_is_our_own_copy(renderer, artifact):
    """An inline patch that begins like an address is data, and stays it."""
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    text = f'"http://127.0.0.1:{port}/": {{a: b}}'
    async with listener:
        for field in ("patchesStrategicMerge", "transformers"):
            with pytest.raises(Terminal):
                await renderer.render(artifact({"kustomization.yaml": json.dumps({field: [text]})}), "", Options())


async def test_local_paths_of_every_field_are_followed(renderer, artifact):
    files = artifact(
        {
            "app/kustomization.yaml": json.dumps(
                {
                    "resources": [".//a.yaml", "../github.com/org/repo/", "./v1.2/x@y.yaml"],
                    "components": ["../component"],
                    "crds": ["crd.json"],
                    "configurations": ["config.yaml"],
                    "patches": [{"path": "patch.yaml", "target": {"name": "a"}}],
                    "patchesStrategicMerge": ["merge.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"],
                    "configMapGenerator": [{"name": "g", "files": ["x.txt", "key=dir/y.txt"], "envs": ["e.env"]}],
                    "transformers": ["t.yaml", "plugins"],
                    "replacements": [{"path": "r.yaml"}],
                }
            ),
            "app/a.yaml": config_map("a"),
            "app/v1.2/x@y.yaml": config_map("v") + "data: {t: replaced}\n",
            "app/crd.json": "{}",
            "app/config.yaml": "namePrefix: []",
            "app/patch.yaml": "- {op: add, path: /data/p, value: patched}",
            "app/merge.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {m: merged}}",
            "app/x.txt": "x",
            "app/dir/y.txt": "y",
            "app/e.env": "E=1",
            "app/t.yaml": "{apiVersion: builtin, kind: PatchTransformer, metadata: {name: t}, path: t-patch.yaml, "
            "target: {name: v}}",
            "app/t-patch.yaml": "- {op: add, path: /data/u, value: transformed}",
            "app/plugins/kustomization.yaml": "resources: [p.yaml]",
            "app/plugins/p.yaml": "{apiVersion: builtin, kind: LabelTransformer, metadata: {name: l}, "
            "labels: {l: plugin}, fieldSpecs: [{path: metadata/labels, create: true}]}",
            "app/r.yaml": "[{source: {kind: ConfigMap, name: a, fieldPath: data.m}, "
            "targets: [{select: {name: v}, fieldPaths: [data.t]}]}]",
            "github.com/org/repo/kustomization.yaml": "resources: [b.yaml]",
            "github.com/org/repo/b.yaml": config_map("b"),
            "component/kustomization.yaml": "kind: Component\nresources: [c.yaml]",
            "component/c.yaml": config_map("c"),
            "unrelated.yaml": config_map("unrelated"),
        }
    )
    closure = renderer.closure(files, "app", Options())
    assert set(closure.files) == {entry.path for entry in files.tree.entries} - {"unrelated.yaml"}
    rendered = await renderer.render(files, "app", Options())
    by_name = {one.body["metadata"]["name"].partition("-")[0]: one.body for one in rendered.manifests}
    assert set(by_name) == {"a", "b", "c", "g", "v"}
    assert by_name["a"]["data"] == {"m": "merged", "p": "patched"}
    assert by_name["v"]["data"] == {"t": "merged", "u": "transformed"}
    assert by_name["g"]["data"] == {"x.txt": "x", "key": "y", "E": "1"}
    assert by_name["b"]["metadata"]["labels"] == {"l": "plugin"}


@pytest.mark.parametrize("field", ["resources", "bases", "components"])
async def test_a_circle_ends_and_is_told(renderer, artifact, field):
    kind = "Component" if field == "components" else "Kustomization"
    head = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1"
        if field == "components"
        else "kustomize.config.k8s.io/v1beta1",
        "kind": kind,
    }
    circle = {
        "a/kustomization.yaml": json.dumps({field: ["../b"]}),
        "b/kustomization.yaml": json.dumps({**head, field: ["../c"]}),
        "c/kustomization.yaml": json.dumps({**head, field: ["../b"]}),
    }
    with pytest.raises(Terminal, match="cycle") as told:
        await renderer.render(artifact(circle), "a", Options())
    assert told.value.reason == "BuildFailed"
