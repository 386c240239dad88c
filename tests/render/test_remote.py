"""Bases in other repositories: what their addresses mean, and that they are read where they were laid."""

import json

import pytest

from trimtab.base.errors import Terminal
from trimtab.render.options import Options
from trimtab.render.remote import RemoteBase, Unfetched, allowed, parse

from .conftest import config_map

BASE = RemoteBase("https://github.com/org/repo", "v1", "base")


@pytest.mark.parametrize(
    ("reference", "base"),
    [
        ("https://github.com/org/repo//base?ref=v1", BASE),
        ("https://github.com/org/repo/base?ref=v1", BASE),
        ("github.com/org/repo/base?ref=v1", BASE),
        ("github.com/org/repo//./base/?version=v1&timeout=90s&submodules=false", BASE),
        ("git::https://github.com/org/repo//base?ref=v1", BASE),
        ("https://github.com/org/repo.git/base?ref=v1", BASE._replace(url="https://github.com/org/repo.git")),
        ("https://github.com/org/repo.git", RemoteBase("https://github.com/org/repo.git", "", "")),
        ("https://github.com/org/repo", RemoteBase("https://github.com/org/repo", "", "")),
        ("http://10.0.0.1:3000/a/b/c//d/e", RemoteBase("http://10.0.0.1:3000/a/b/c", "", "d/e")),
        ("https://git.example.org/x/y/z?ref=feature/a", RemoteBase("https://git.example.org/x/y", "feature/a", "z")),
        ("https://x.org/a/b//c/file.yaml?ref=v1", RemoteBase("https://x.org/a/b", "v1", "c/file.yaml")),
    ],
)
def test_the_forms_that_kustomize_clones(reference: str, base: RemoteBase):
    assert parse(reference) == base


@pytest.mark.parametrize(
    "reference",
    [
        "base",
        "../base",
        "github.com",
        "https://",
        "https://host",
        "https://user:pw@github.com/org/repo",
        "git@github.com:org/repo",
        "ssh://git@github.com/org/repo",
        "file:///srv/repo",
        "https://raw.githubusercontent.com/org/repo/main/file.yaml",
        "https://github.com/org/repo//../../etc",
        "https://github.com/org/repo?ref=v1&upload-pack=x",
        "https://github.com/org/repo//a\nb",
        "hg::https://github.com/org/repo",
    ],
)
def test_what_is_no_such_address(reference: str):
    assert parse(reference) is None


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("https://github.com/org/repo", True),
        ("https://github.com/org/repo.git", True),
        ("https://github.com/org/*", True),
        ("https://github.com/*", True),
        ("https://github.com/org", False),
        ("https://github.com/or*", False),
        ("https://github.com/org/rep", False),
        ("http://github.com/org/repo", False),
        ("https://github.com.evil.org/*", False),
        ("*", False),
    ],
)
def test_what_is_allowed_is_said_by_repository_or_by_what_is_above(pattern: str, fits: bool):
    assert allowed(BASE, (pattern,)) is fits
    assert allowed(BASE._replace(url=f"{BASE.url}.git"), (pattern,)) is fits
    assert not allowed(BASE, ())


def laid(base: RemoteBase, files: dict[str, str]) -> dict[str, str]:
    return {f"{base.home}/{path}": text for path, text in files.items()}


def options(reference: str) -> Options:
    base = parse(reference)
    assert base
    return Options(remotes=((reference, f"{base.home}/{base.path}".rstrip("/")),))


REFERENCE = "https://github.com/org/repo//base?ref=v1"
OVERLAY = {"app/kustomization.yaml": json.dumps({"resources": [REFERENCE], "namePrefix": "my-"})}


async def test_a_base_is_refused_where_it_is_not_here(renderer, artifact):
    with pytest.raises(
        Unfetched, match=r"app/kustomization.yaml: resources\[0\] names a base .*--remote-bases"
    ) as told:
        await renderer.render(artifact(OVERLAY), "app", Options())
    assert (told.value.reference, told.value.base) == (REFERENCE, BASE)


async def test_a_base_that_is_here_is_built_as_any_other(renderer, artifact):
    remote = {
        "base/kustomization.yaml": "resources: [a.yaml, ../more]\n",
        "base/a.yaml": config_map("a"),
        "more/kustomization.yaml": "resources: [b.yaml]\n",
        "more/b.yaml": config_map("b"),
        "unused.yaml": config_map("c"),
    }
    files = artifact(OVERLAY | laid(BASE, remote))
    rendered = await renderer.render(files, "app", options(REFERENCE))
    assert [one.body["metadata"]["name"] for one in rendered.manifests] == ["my-a", "my-b"]
    assert f"{BASE.home}/more/b.yaml" in renderer.closure(files, "app", options(REFERENCE)).files
    assert f"{BASE.home}/unused.yaml" not in renderer.closure(files, "app", options(REFERENCE)).files


async def test_a_component_may_come_from_elsewhere_too(renderer, artifact):
    component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -x\n"
    own = {"kustomization.yaml": json.dumps({"resources": ["a.yaml"], "components": [REFERENCE]})}
    files = artifact(own | {"a.yaml": config_map("a")} | laid(BASE, {"base/kustomization.yaml": component}))
    [one] = (await renderer.render(files, "", options(REFERENCE))).manifests
    assert one.body["metadata"]["name"] == "a-x"


@pytest.mark.parametrize(
    "body",
    [
        {"resources": ["../../../app/secret.yaml"]},
        {"resources": ["../../../app"]},
        {"configMapGenerator": [{"name": "a", "files": ["../../../app/secret.yaml"]}]},
        {"patches": [{"path": "../../../app/secret.yaml"}]},
        {"resources": ["../../other/x.yaml"]},
    ],
)
async def test_what_was_fetched_cannot_read_what_it_was_laid_beside(renderer, artifact, body):
    own = OVERLAY | {"app/secret.yaml": config_map("secret"), ".trimtab-remote/other/x.yaml": config_map("x")}
    files = artifact(own | laid(BASE, {"base/kustomization.yaml": json.dumps(body)}))
    with pytest.raises(Terminal, match="outside the artifact"):
        await renderer.render(files, "app", options(REFERENCE))


async def test_what_the_artifact_has_itself_comes_first(renderer, artifact):
    own = {
        "kustomization.yaml": "resources: [github.com/org/repo]\n",
        "github.com/org/repo/kustomization.yaml": "resources: [a.yaml]\n",
        "github.com/org/repo/a.yaml": config_map("own"),
    }
    [one] = (await renderer.render(artifact(own), "", Options())).manifests
    assert one.body["metadata"]["name"] == "own"


async def test_a_search_from_the_root_does_not_find_what_was_fetched(renderer, artifact):
    """The generated root lists what the artifact has; the base counts where it is referred to."""
    remote = {
        "base/kustomization.yaml": "resources: [a.yaml]\n",
        "base/a.yaml": config_map("a"),
        "examples/b.yaml": config_map("b"),
    }
    files = artifact(OVERLAY | {"plain.yaml": config_map("plain")} | laid(BASE, remote))
    rendered = await renderer.render(files, "", options(REFERENCE))
    assert sorted(one.body["metadata"]["name"] for one in rendered.manifests) == ["my-a", "plain"]
