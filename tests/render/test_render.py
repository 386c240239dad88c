"""From a directory to objects: closures, origins, refusals, and a worker that harms nobody."""

import asyncio
import json
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from trimtab.api.kustomize import CommonMetadata, Image, Patch
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Terminal, Transient
from trimtab.manifests.refs import Origin
from trimtab.render.kustomize import Kustomize, clean
from trimtab.render.local import LocalFiles, snapshot_of_directory
from trimtab.render.options import Options
from trimtab.render.render import Renderer

from .conftest import config_map, write

PLAIN = Options()


def names(rendered) -> list[str]:
    return [manifest.body["metadata"]["name"] for manifest in rendered.manifests]


async def refusal(renderer: Renderer, files: Snapshot, path: str = "", options: Options = PLAIN) -> Terminal:
    with pytest.raises(Terminal) as refused:
        await renderer.render(files, path, options)
    return refused.value


def bomb(*head: str) -> str:
    """A few hundred bytes of aliases that stand for a thousand million values."""
    levels = [f"{letter}: &a{at + 1} [{', '.join([f'*a{at}'] * 9)}]" for at, letter in enumerate("bcdefghij")]
    return "\n".join([*head, *levels])


# --- which files an app reads


def test_a_closure_changes_with_the_files_of_the_app_and_with_no_other(renderer, artifact):
    files = {
        "app/kustomization.yaml": "resources: [a.yaml, ../base]",
        "app/a.yaml": config_map("a"),
        "base/kustomization.yaml": "resources: [b.yaml]",
        "base/b.yaml": config_map("b"),
        "base/unused.yaml": config_map("c"),
        "plain/deep/d.yaml": config_map("d"),
        "plain/readme.md": "",
    }

    def digests(changed: dict[str, str]) -> tuple[str, str]:
        snapshot = artifact({**files, **changed})
        return tuple(renderer.closure(snapshot, path, PLAIN).digest for path in ("app", "./plain/"))

    app, plain = digests({})
    assert digests({"base/unused.yaml": "", "plain/readme.md": "x", "other.yaml": ""}) == (app, plain)
    assert digests({"base/b.yaml": config_map("z")})[0] != app
    assert digests({"app/kustomization.yaml": "resources: [a.yaml]"})[0] != app
    assert digests({"plain/new.yml": config_map("n")}) == (app, digests({"plain/new.yml": config_map("n")})[1])
    assert digests({"plain/new.yml": config_map("n")})[1] != plain


def test_a_missing_component_that_appears_changes_the_closure(renderer, artifact):
    options = Options(components=("../extra",), ignore_missing_components=True)
    without = artifact({"app/a.yaml": config_map("a")})
    with_it = artifact({"app/a.yaml": config_map("a"), "extra/kustomization.yaml": "kind: Component"})
    assert renderer.closure(without, "app", options).digest != renderer.closure(with_it, "app", options).digest


def test_a_closure_names_the_kustomization_of_the_app(renderer, artifact):
    files = artifact({"a/kustomization.yml": "resources: [x.yaml]", "a/x.yaml": config_map("a"), "b/y.yaml": ""})
    assert renderer.closure(files, "a", PLAIN).kustomization == "a/kustomization.yml"
    assert renderer.closure(files, "b", PLAIN) == renderer.closure(files, "b/", PLAIN)
    assert renderer.closure(files, "b", PLAIN).kustomization is None


@pytest.mark.parametrize("path", ["", ".", "./", "/", "..", "../../app/..", "app/.."])
async def test_every_way_to_write_the_root_is_the_root(renderer, artifact, path):
    files = artifact({"a.yaml": config_map("a"), "app/b.yaml": config_map("b")})
    assert names(await renderer.render(files, path, PLAIN)) == ["a", "b"]


# --- what is not there


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("apps/podinof", "path not found: apps/podinof in revision main@sha1:abc; apps has something like it: podinfo"),
        ("nowhere", "the root has the directories apps, infra"),
        ("apps/podinfo/a.yaml", "it is a file; name the directory it lies in"),
        ("apps/podinfo/deep/er", "apps/podinfo has no directories"),
        ("link/x", "link is a link or a submodule and was left out of the artifact"),
    ],
)
async def test_a_missing_path_says_what_is_there(renderer, store, tmp_path, path, expected):
    write(tmp_path, {"apps/podinfo/a.yaml": config_map("a"), "apps/other/b.yaml": "", "infra/c.yaml": ""})
    (tmp_path / "link").symlink_to("apps")
    error = await refusal(renderer, snapshot_of_directory(store, tmp_path, revision="main@sha1:abc"), path)
    assert error.reason == "ArtifactFailed"
    assert expected in str(error)


async def test_a_directory_without_manifests_renders_to_nothing(renderer, artifact):
    files = artifact({"app/readme.md": "", "app/empty.yaml": "# nothing\n---\n"})
    assert (await renderer.render(files, "app", PLAIN)).manifests == ()


async def test_a_reference_to_nothing_names_file_and_field(renderer, artifact):
    files = artifact({"app/kustomization.yaml": "resources: [a.yaml, gone.yaml]", "app/a.yaml": config_map("a")})
    assert "app/kustomization.yaml: resources[1] names gone.yaml, but there is no app/gone.yaml" in str(
        await refusal(renderer, files, "app")
    )


async def test_a_reference_to_a_link_says_so(renderer, store, tmp_path):
    write(tmp_path, {"kustomization.yaml": "resources: [a.yaml]", "b.yaml": config_map("b")})
    (tmp_path / "a.yaml").symlink_to("b.yaml")
    assert "a.yaml is a link" in str(await refusal(renderer, snapshot_of_directory(store, tmp_path)))


@pytest.mark.parametrize(
    ("files", "links", "named"),
    [
        ({"app/a.yaml": "a"}, {"app/b.yaml": "a.yaml"}, "app/b.yaml"),
        ({"app/a.yaml": "a"}, {"app/deep/b.yml": "nowhere"}, "app/deep/b.yml"),
        ({"app/a.yaml": "a"}, {"app/kustomization.yaml": "../k"}, "app/kustomization.yaml"),
        ({"app/a.yaml": "a"}, {"app/deep/Kustomization": "../k"}, "app/deep/Kustomization"),
        (
            {"app/kustomization.yaml": "resources: [../base]", "base/a.yaml": "a"},
            {"base/kustomization.yml": "a"},
            "base/kustomization.yml",
        ),
        ({"app/kustomization.yaml": "resources: [../base]"}, {"base": "app"}, "base"),
        ({"app/kustomization.yaml": "components: [../part]"}, {"part": "app"}, "part"),
        ({"app/kustomization.yaml": "configMapGenerator: [{name: c, files: [f]}]"}, {"app/f": "/etc/passwd"}, "app/f"),
        ({"app/kustomization.yaml": "patches: [{path: p.yaml}]"}, {"app/p.yaml": "p.yaml"}, "app/p.yaml"),
    ],
)
async def test_a_link_that_would_be_read_is_named_wherever_it_is(renderer, store, tmp_path, files, links, named):
    """Passed over in silence, it would take away what it used to hold, and what is taken away is deleted."""
    write(tmp_path, {path: text if ":" in text else config_map(text) for path, text in files.items()})
    for place, target in links.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).symlink_to(target)
    for artifact in (snapshot_of_directory(store, tmp_path), LocalFiles(tmp_path)):
        error = await refusal(renderer, artifact, "app")
        assert f"{named} is a link" in str(error)
        assert isinstance(error, Terminal)


async def test_a_missing_component_may_be_ignored_but_a_link_is_not_missing(renderer, store, tmp_path):
    write(tmp_path, {"app/a.yaml": config_map("a")})
    (tmp_path / "part").symlink_to("app")
    options = Options(components=("../part",), ignore_missing_components=True)
    with pytest.raises(Terminal, match="part is a link"):
        await renderer.render(snapshot_of_directory(store, tmp_path), "app", options)


async def test_links_that_nobody_reads_do_no_harm(renderer, store, tmp_path):
    write(tmp_path, {"app/a.yaml": config_map("a"), "app/base/kustomization.yaml": "resources: []"})
    for link in ("readme.md", "deeper", "base/x.yaml", "../other.yaml"):
        (tmp_path / "app" / link).symlink_to("a.yaml")
    for artifact in (snapshot_of_directory(store, tmp_path), LocalFiles(tmp_path)):
        assert len((await renderer.render(artifact, "app", PLAIN)).manifests) == 1
    ignored = LocalFiles(tmp_path, ignored=lambda path: path == "app/b.yaml")
    (tmp_path / "app" / "b.yaml").symlink_to("a.yaml")
    assert len((await renderer.render(ignored, "app", PLAIN)).manifests) == 1


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1125899906842624\n"


@pytest.mark.parametrize(
    "kustomization",
    [
        "resources: [f]",
        "resources: [../base]",
        "configMapGenerator: [{name: c, files: [f]}]",
        "secretGenerator: [{name: c, envs: [f]}]",
        "patches: [{path: f, target: {kind: ConfigMap}}]",
        "transformers: [f]",
        "",
    ],
)
async def test_a_pointer_of_lfs_is_named_wherever_it_is_read(renderer, artifact, kustomization):
    """In a generator it would be applied as the content; as a kustomization it would say that there is nothing."""
    files = {"app/f": LFS, "base/kustomization.yaml": LFS, "app/kustomization.yaml": kustomization or LFS}
    error = await refusal(renderer, artifact(files), "app")
    assert error.reason == "BuildFailed"
    where = {"resources: [../base]": "base/kustomization.yaml", "": "app/kustomization.yaml"}.get(
        kustomization, "app/f"
    )
    assert f"LFS pointer found: {where}" in str(error)


async def test_two_kustomization_files_are_refused(renderer, artifact):
    files = artifact({"a/kustomization.yaml": "", "a/Kustomization": ""})
    assert "a/kustomization.yaml and a/Kustomization" in str(await refusal(renderer, files, "a"))


async def test_a_flux_object_in_the_place_of_a_kustomization_file_is_told_apart(renderer, artifact):
    text = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}"
    assert "rename the file" in str(await refusal(renderer, artifact({"kustomization.yaml": text})))


async def test_an_unknown_field_is_passed_over_in_the_root_and_refused_in_a_base(renderer, artifact):
    files = artifact(
        {
            "root/kustomization.yaml": "x-note: 1\nresources: [a.yaml]",
            "root/a.yaml": config_map("a"),
            "over/kustomization.yaml": "resources: [../root]",
        }
    )
    assert names(await renderer.render(files, "root", PLAIN)) == ["a"]
    assert "does not know the field x-note" in str(await refusal(renderer, files, "over"))


# --- origins


async def test_plain_objects_know_file_line_and_document(renderer, artifact):
    text = f"# head\n---\n{config_map('a')}---\n# only a comment\n---\n\n{config_map('b')}"
    rendered = await renderer.render(artifact({"x/a.yaml": text}), "x", PLAIN)
    assert [one.origin for one in rendered.manifests] == [Origin("x/a.yaml", 3, 1), Origin("x/a.yaml", 11, 3)]


async def test_built_objects_are_traced_to_file_line_and_generator(renderer, artifact):
    files = artifact(
        {
            "over/kustomization.yaml": textwrap.dedent(
                """\
                namePrefix: pre-
                resources:
                - ../base
                configMapGenerator:
                - literals: [a=b]
                  name: generated
                - name: other
                  literals: [a=b]
                patches:
                - patch: |
                    - op: add
                      path: /metadata/annotations
                      value: {all: new}
                  target: {name: second}
                """
            ),
            "base/kustomization.yaml": "nameSuffix: -suf\nresources: [two.yaml, sub]",
            "base/two.yaml": config_map("first") + "---\n" + config_map("second"),
            "base/sub/kustomization.yaml": "resources: [own.yaml]",
            "base/sub/own.yaml": "# head\n" + config_map("own") + "  annotations: {mine: '1'}\n",
        }
    )
    rendered = await renderer.render(files, "over", PLAIN)
    found = {one.body["metadata"]["name"]: str(one.origin) for one in rendered.manifests}
    generated = next(name for name in found if name.startswith("pre-generated"))
    other = next(name for name in found if name.startswith("pre-other"))
    assert found == {
        "pre-first-suf": "base/two.yaml:1",
        "pre-second-suf": "base/two.yaml:6",
        "pre-own-suf": "base/sub/own.yaml:2",
        generated: "over/kustomization.yaml:6",
        other: "over/kustomization.yaml:7",
    }
    annotations = {one.body["metadata"]["name"]: one.body["metadata"].get("annotations") for one in rendered.manifests}
    assert annotations["pre-first-suf"] is None
    assert annotations["pre-second-suf"] == {"all": "new"}
    assert annotations["pre-own-suf"] == {"mine": "1"}


async def test_notes_of_the_origin_stay_where_they_are_asked_for(renderer, artifact):
    for options, text in (
        (Options(build_metadata=("originAnnotations",)), "resources: [a.yaml]"),
        (PLAIN, "resources: [a.yaml]\nbuildMetadata: [originAnnotations]"),
    ):
        rendered = await renderer.render(artifact({"kustomization.yaml": text, "a.yaml": config_map("a")}), "", options)
        assert rendered.manifests[0].body["metadata"]["annotations"] == {
            "config.kubernetes.io/origin": "path: a.yaml\n"
        }


async def test_a_hash_over_a_whole_object_is_that_of_kustomize(renderer, artifact, kustomize, tmp_path):
    """A note of the origin would be part of what is hashed, and change the name."""
    from .conftest import kustomize_build

    files = {
        "kustomization.yaml": "resources: [a.yaml]",
        "a.yaml": "{apiVersion: example.org/v1, kind: A, metadata: "
        "{name: a, annotations: {internal.config.kubernetes.io/needsHashSuffix: enabled}}}",
    }
    write(tmp_path / "direct", files)
    rendered = await renderer.render(artifact(files), "", PLAIN)
    assert [one.body for one in rendered.manifests] == kustomize_build(kustomize, tmp_path / "direct")


# --- options


async def test_options_go_to_kustomize_and_the_result_is_stamped(renderer, artifact):
    options = Options(
        name_prefix="a-",
        name_suffix="-z",
        target_namespace="apps",
        common_metadata=CommonMetadata(labels={"team": "blue"}, annotations={"note": "1"}),
        patches=(Patch(patch="- op: add\n  path: /data\n  value: {k: v}\n", target=None),),
        images=(Image(name="app", new_tag="v2"),),
    )
    options = msgspec.structs.replace(
        options,
        patches=(msgspec.convert({"patch": options.patches[0].patch, "target": {"kind": "ConfigMap"}}, Patch),),
    )
    rendered = await renderer.render(artifact({"m.yaml": config_map("m")}), "", options)
    assert rendered.manifests[0].body == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a-m-z",
            "namespace": "apps",
            "labels": {"team": "blue"},
            "annotations": {"note": "1"},
        },
        "data": {"k": "v"},
    }
    assert str(rendered.manifests[0].origin) == "m.yaml:1"


async def test_common_metadata_is_put_over_that_of_the_object_and_on_no_selector(renderer, artifact):
    text = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, labels: {a: own, b: own}}\n"
        "spec: {selector: {matchLabels: {a: own}}, template: {metadata: {labels: {a: own}}}}\n"
    )
    options = Options(common_metadata=CommonMetadata(labels={"a": "common", "c": "common"}))
    body = (await renderer.render(artifact({"d.yaml": text}), "", options)).manifests[0].body
    assert body["metadata"]["labels"] == {"a": "common", "b": "own", "c": "common"}
    assert body["spec"] == {
        "selector": {"matchLabels": {"a": "own"}},
        "template": {"metadata": {"labels": {"a": "own"}}},
    }


async def test_plain_directories_start_no_process(renderer, artifact, monkeypatch):
    async def never(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("trimtab.base.confined.run", never)
    options = Options(target_namespace="x", images=(Image(name="a", new_tag="b"),), common_metadata=CommonMetadata())
    rendered = await renderer.render(artifact({"b.yaml": config_map("b"), "a/c.yaml": config_map("c")}), "", options)
    assert names(rendered) == ["c", "b"]


async def test_order_is_that_of_a_walk(renderer, artifact):
    files = artifact(
        {f"{path}.yaml": config_map(path.replace("/", "-")) for path in ("a/x", "a-b", "a", "b/a/c", "b/a-a")}
    )
    assert names(await renderer.render(files, "", PLAIN)) == ["a-x", "a-b", "a", "b-a-c", "b-a-a"]


async def test_a_nested_kustomization_counts_as_one_resource(renderer, artifact):
    files = artifact(
        {
            "c/x.yaml": config_map("x"),
            "c/flux/kustomization.yaml": "namePrefix: p-\nresources: [y.yaml]",
            "c/flux/y.yaml": config_map("y"),
            "c/flux/ignored.yaml": "not: an object",
        }
    )
    assert renderer.kustomization(files, "c", PLAIN)["resources"] == ["./flux", "./x.yaml"]
    assert names(await renderer.render(files, "c", PLAIN)) == ["p-y", "x"]


# --- what is refused after the build


@pytest.mark.parametrize("kustomization", [{}, {"app/kustomization.yaml": "resources: [a.yaml, b.yaml]"}])
async def test_an_object_written_twice_names_both_places(renderer, artifact, kustomization):
    second = config_map("x") + "---\n{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: same}}\n"
    first = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: same, namespace: default}}\n"
    error = await refusal(renderer, artifact({"app/a.yaml": first, "app/b.yaml": second, **kustomization}), "app")
    assert error.reason == "BuildFailed"
    assert "Deployment/same is written twice, at app/a.yaml:1 and at app/b.yaml:6" in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (config_map("a" * 254), "a.yaml:1: the name of ConfigMap aaaaa"),
        (f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {'n' * 64}}}}}", "has 64 characters, 63 are allowed"),
        (f"{{apiVersion: v1, kind: Service, metadata: {{name: {'n' * 64}}}}}", "has 64 characters, 63 are allowed"),
        (config_map("a") + f"  namespace: {'n' * 64}", "the namespace of ConfigMap a has 64 characters"),
        (config_map("a" * 253), None),
    ],
)
async def test_a_name_that_is_too_long_is_told_before_the_server_is_asked(renderer, artifact, text, expected):
    files = artifact({"a.yaml": text})
    if expected is None:
        assert (await renderer.render(files, "", PLAIN)).manifests
        return
    assert expected in str(await refusal(renderer, files))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "m.yaml:2:1: duplicate key 'a', first at line 1"),
        ("kind: ConfigMap\nmetadata: {name: a}\n", "m.yaml:1:1: object has no apiVersion"),
        ("a: [b\n", "m.yaml:2:1:"),
        ("[" * 25_000 + "]" * 25_000, "more than 200 levels deep"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n", "LFS pointer found: m.yaml"),
        ("&a [x, x, x, x, x, x, x, x, x]\n", "expected a Kubernetes object"),
        (bomb("a: &a0 [lol]"),
         "aliases expand to more than ten times the file"),
    ],
    ids=["duplicate", "no apiVersion", "syntax", "depth", "LFS", "list", "bomb"],
)  # fmt: skip
@pytest.mark.parametrize("kustomization", [{}, {"kustomization.yaml": "resources: [m.yaml]"}], ids=["plain", "built"])
async def test_a_bad_file_is_told_with_its_line_and_never_reaches_kustomize(
    renderer, artifact, text, expected, kustomization, monkeypatch
):
    async def never(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("trimtab.base.confined.run", never)
    started = time.monotonic()
    error = await refusal(renderer, artifact({"m.yaml": text, **kustomization}))
    assert error.reason == "BuildFailed"
    assert expected in str(error)
    assert time.monotonic() - started < 60


# --- the worker


@pytest.fixture
def program(tmp_path):
    """A stand-in for kustomize that misbehaves as told."""

    def make(script: str) -> Path:
        path = tmp_path / "kustomize"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        return path

    return make


def overlay(artifact) -> Snapshot:
    return artifact({"kustomization.yaml": "resources: [a.yaml]", "a.yaml": config_map("a")})


@pytest.mark.parametrize(
    ("script", "error", "expected"),
    [
        ("/bin/sleep 60", Transient, "took longer than 0.5 s"),
        ("kill -9 $$", Transient, "killed by signal 9"),
        ("/usr/bin/yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Terminal, "larger than 64 MiB"),
        ("echo 'panic: runtime error: index out of range' >&2; exit 2", Terminal, "crashed trying to build the root"),
        ("echo \"Error: no such file $PWD/sub/x.yaml\" >&2; exit 1", Terminal, "the artifact: no such file sub/x.yaml"),
        ("echo 'Error: bad in map[string]interface {}{\"password\":\"hunter2\"}' >&2; exit 1", Terminal, "bad in …"),
    ],
)  # fmt: skip
async def test_a_worker_that_fails_is_one_clear_error(artifact, program, tmp_path, script, error, expected):
    renderer = Renderer(None, program(script), tmp_path / "work")
    renderer._kustomize = Kustomize(
        program(script), tmp_path / "work" / "builds", timeout=0.5 if "sleep" in script else 30
    )
    with pytest.raises(error) as failed:
        await renderer.render(overlay(artifact), "", PLAIN)
    assert failed.value.reason == "BuildFailed"
    assert expected in str(failed.value)
    assert str(tmp_path) not in str(failed.value)
    assert not list((tmp_path / "work" / "builds").iterdir()), "nothing is left behind"


async def test_a_worker_sees_the_files_of_one_app_and_nothing_of_ours(artifact, program, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    renderer = Renderer(
        None, program(f"/usr/bin/env > {tmp_path}/env; /usr/bin/find . > {tmp_path}/found"), tmp_path / "w"
    )
    files = artifact({"a/kustomization.yaml": "resources: [a.yaml]", "a/a.yaml": config_map("a"), "b.yaml": "secret"})
    await renderer.render(files, "a", PLAIN)
    environment = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert environment["PATH"] == ""
    assert set(environment) <= {
        "PATH",
        "PWD",
        "HOME",
        "TMPDIR",
        "GOMEMLIMIT",
        "GOMAXPROCS",
        "GOTRACEBACK",
        "SHLVL",
        "_",
        "OLDPWD",
    }
    assert environment["HOME"].startswith(str(tmp_path / "w"))
    assert set((tmp_path / "found").read_text().split()) == {".", "./kustomization.yaml", "./a.yaml"}


async def test_workers_are_few_and_a_bad_one_does_not_hold_up_the_others(artifact, program, tmp_path):
    log = tmp_path / "log"
    path = program(f"echo in >> {log}; /bin/sleep 0.2; echo out >> {log}; [ -e b.yaml ] && exit 3; echo '{{}}'")
    renderer = Renderer(None, path, tmp_path / "work")
    good = overlay(artifact)
    bad = artifact({"kustomization.yaml": "resources: [b.yaml]", "b.yaml": config_map("b")})
    results = await asyncio.gather(
        *(renderer.render(files, "", PLAIN) for files in (bad, good, good, bad, good)), return_exceptions=True
    )
    assert [isinstance(one, Terminal) for one in results] == [True, False, False, True, False]
    running = highest = 0
    for line in log.read_text().split():
        running += 1 if line == "in" else -1
        highest = max(highest, running)
    assert highest == 2


async def test_memory_of_the_worker_is_bounded(kustomize, tmp_path):
    """What our reader would refuse, given to kustomize directly: it dies early and alone."""
    text = bomb("apiVersion: v1", "kind: ConfigMap", "metadata: {name: x}", "a: &a0 [lol]")
    worker = Kustomize(kustomize, tmp_path)
    with pytest.raises((Terminal, Transient)):
        await worker.build("", {"kustomization.yaml": b"resources: [./x.yaml]", "x.yaml": text.encode()})


async def test_without_kustomize_plain_directories_still_build(artifact, tmp_path):
    renderer = Renderer(None, None, tmp_path)
    assert names(await renderer.render(artifact({"a.yaml": config_map("a")}), "", PLAIN)) == ["a"]
    assert "needs kustomize" in str(await refusal(renderer, overlay(artifact)))


def test_messages_are_cleaned(tmp_path):
    said = (
        f"# Warning: 'bases' is deprecated.\nError: accumulating {tmp_path}/apps/a.yaml: "
        "trouble configuring builtin X with config: `\npath: secret\n`: the cause\nmore"
    )
    assert clean(said, tmp_path) == "accumulating apps/a.yaml: trouble configuring builtin X with config …: the cause"


# --- results that are kept


async def test_a_result_is_kept_over_a_restart_and_built_again_when_damaged(
    artifact, store, kustomize, tmp_path, monkeypatch
):
    files, begun = overlay(artifact), []
    first = await Renderer(store, kustomize, tmp_path, began=lambda: begun.append("")).render(files, "", PLAIN)
    assert len(begun) == 1

    async def never(*_, **__):
        raise AssertionError("a process was started")

    with monkeypatch.context() as patched:
        patched.setattr("trimtab.base.confined.run", never)
        assert await Renderer(store, kustomize, tmp_path).render(files, "", PLAIN) == first
        with pytest.raises(AssertionError):
            await Renderer(store, kustomize, tmp_path).render(files, "", Options(name_prefix="a-"))
    for kept in (tmp_path / "results").iterdir():
        kept.write_text("0" * 64)
    assert await Renderer(store, kustomize, tmp_path).render(files, "", PLAIN) == first


# --- cost


async def test_a_thousand_plain_apps_render_cheaply_and_in_process(store, tmp_path, artifact):
    deployment = json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "app", "labels": {"app": "app"}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "app"}},
                "template": {
                    "metadata": {"labels": {"app": "app"}},
                    "spec": {"containers": [{"name": "app", "image": "app:v1", "ports": [{"containerPort": 80}]}]},
                },
            },
        },
        indent=1,
    )
    text = deployment + "\n---\n" + config_map("app") + "---\n" + config_map("app").replace("ConfigMap", "Service")
    files = artifact({f"apps/app-{n:04}/all.yaml": text for n in range(1_000)})
    renderer = Renderer(store, None, tmp_path)
    options = Options(target_namespace="apps", images=(Image(name="app", new_tag="v2"),))
    started = time.process_time()
    for n in range(1_000):
        rendered = await renderer.render(files, f"apps/app-{n:04}", options)
        assert len(rendered.manifests) == 3
    ms_per_app = time.process_time() - started
    assert ms_per_app < 10


async def test_the_loop_goes_on_while_a_large_directory_is_read(renderer, artifact):
    files = artifact({f"{n}.yaml": "---\n".join(config_map(f"m-{n}-{m}") for m in range(900)) for n in range(40)})
    longest = 0.0

    async def beat():
        nonlocal longest
        while True:
            before = time.thread_time()  # what other threads and processes do is not what holds it up
            await asyncio.sleep(0.005)
            longest = max(longest, time.thread_time() - before)

    task = asyncio.ensure_future(beat())
    try:
        await asyncio.sleep(0.01)
        assert len((await renderer.render(files, "", PLAIN)).manifests) == 36_000
        await asyncio.sleep(0.05)  # what was held up is heard of
    finally:
        task.cancel()
    assert longest < 0.1


async def test_what_is_known_of_an_app_is_used_again_until_a_file_it_read_changes(renderer, artifact, monkeypatch):
    files = {
        "app/kustomization.yaml": "resources: [../base, a.yaml]",
        "app/a.yaml": config_map("a"),
        "base/kustomization.yaml": "resources: [b.yaml]",
        "base/b.yaml": config_map("b"),
    }
    before = renderer.closure(artifact(files), "app", PLAIN)
    with monkeypatch.context() as patched:
        patched.setattr("trimtab.render.render.read", lambda *_: pytest.fail("followed again"))
        assert renderer.closure(artifact({**files, "other.yaml": ""}), "app", PLAIN) == before
    for path, text in {
        "base/b.yaml": config_map("z"),
        "base/kustomization.yaml": "resources: [b.yaml]\nnamePrefix: x",
        "app/a.yaml": "",
    }.items():
        assert renderer.closure(artifact({**files, path: text}), "app", PLAIN).digest != before.digest
    with pytest.raises(Terminal, match="both kustomization files"):
        renderer.closure(artifact({**files, "base/Kustomization": ""}), "app", PLAIN)
    with pytest.raises(Terminal, match="no base/b"):
        renderer.closure(artifact({path: text for path, text in files.items() if path != "base/b.yaml"}), "app", PLAIN)
