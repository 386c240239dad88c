"""Charts as files: what Chart.yaml may say, what archives may hold, what .helmignore leaves out, and what is packed."""

import io
import json
import tarfile
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.charts.world import chart, chart_files, chart_yaml, tgz
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.manifests.yaml import load
from trimtab.sources.charts import build, dependencies, ignore, metadata, values
from trimtab.sources.charts import chart as charts
from trimtab.sources.charts.build import Options
from trimtab.sources.charts.chart import Chart
from trimtab.sources.charts.metadata import BadChart, Dependency
from trimtab.sources.charts.package import package


def snapshot(store: Store, files: Mapping[str, str | bytes], left_out: tuple[str, ...] = ()) -> Snapshot:
    entries = []
    for path, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        entries.append(Entry(path, store.put(data), len(data), path.endswith(".sh")))
    return Snapshot(store, Tree.of(entries, left_out), "main@sha1:" + "0" * 40)


def below(directory: str, files: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    return {f"{directory}/{path}": content for path, content in files.items()}


def of_packed(store: Store, packed: bytes) -> Chart:
    return charts.of_archive(store, charts.unpack(store, packed, "app"), "app")


def unpacked(packed: bytes) -> dict[str, bytes]:
    """By the standard library's reader, as others would see it."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


# Chart.yaml


@pytest.mark.parametrize("name", [".", "..", "../../test", "a/b", "a\\b", "-a", ".a", "", "a\x1b[2J", "a b", "a" * 251])
def test_a_name_that_could_be_a_path_or_move_a_cursor_is_refused(name: str) -> None:
    with pytest.raises(BadChart, match="the name") as refused:
        metadata.parse(chart_yaml(name, "1.0.0").encode(), "x/Chart.yaml")
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "version", ["1.0\x1b[2J", "1.0.0\n", "latest", "../1", "1.0.0/x", "", "1.0.0-", "1..0", "9" * 300]
)
def test_a_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(BadChart, match="the version") as refused:
        metadata.parse(chart_yaml("a", version).encode(), "x/Chart.yaml")
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiVersion: v3\nname: a\nversion: 1.0.0\n", "apiVersion 'v3' is neither v1 nor v2"),
        ("name: a\nversion: 1.0.0\n", "apiVersion that is missing"),
        ("apiVersion: v2\nname: a\nversion: 1.0\n", "the version '1' is not a semantic version"),
        ("apiVersion: v2\nname: 1\nversion: 1.0.0\n", "the name '1' is not that of a chart"),
        ("apiVersion: v2\nname: a\nversion: 1.0.0\ntype: plugin\n", "the type 'plugin'"),
        ("apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: {a: b}\n", "not a list"),
        ("apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: ../x}]\n", "not the name of a chart"),
        ("apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: x, version: 1.0}]\n", "quote them"),
        ("- a\n", "expected one map"),
        ("a: b\n---\nc: d\n", "expected one map"),
        ("a: [", "x/Chart.yaml:"),
        ("a: &a [*a]", "x/Chart.yaml:"),
        ("[" * 50_000, "x/Chart.yaml:"),
    ],
)
def test_a_chart_yaml_that_makes_no_sense_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(BadChart, match=words):
        metadata.parse(text.encode(), "x/Chart.yaml")


@pytest.mark.parametrize(
    ("version", "built"),
    [
        ("1.2.3", "1.2.3+x.2"),
        ("v1.2.3", "1.2.3+x.2"),
        ("1.2.3+old", "1.2.3+x.2"),
        ("1.2.3-rc.1+old", "1.2.3-rc.1+x.2"),
        ("1.2", "1.2.0+x.2"),
    ],
)
def test_build_metadata_takes_the_place_of_what_was_there(version: str, built: str) -> None:
    assert metadata.with_build(version, "x.2") == built


# Archives


def test_a_packaged_chart_is_read(store: Store) -> None:
    found = of_packed(store, chart("app", "1.0.0"))
    assert (found.metadata.name, found.metadata.version) == ("app", "1.0.0")
    assert set(found.files) == set(chart_files("app", "1.0.0"))
    assert found.read(store, "nothing") is None


BASE = {"app/Chart.yaml": chart_yaml("app", "1.0.0")}


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (tgz({**BASE, "../evil": "x"}), "not a plain path"),
        (tgz({**BASE, "/etc/evil": "x"}), "not a relative path"),
        (tgz({**BASE, "app/../../evil": "x"}), "not a plain path"),
        (tgz({**BASE, "app\\..\\evil": "x"}), "not a plain path"),
        (tgz({**BASE, "app/l/evil": "x"}, links={"app/l": ".."}), "is there twice"),
        (tgz({**BASE, "other/values.yaml": "x"}), "below one directory.* app, other"),
        (tgz({"Chart.yaml": "x"}), "below one directory"),
        (tgz({}), "below one directory.* nothing"),
        (tgz({"app/values.yaml": "x"}), "Chart.yaml does not exist"),
        (tgz({**BASE, "app/big": b"\0" * ((5 << 20) + 1)}), "app/big has more than 5 MiB"),
        (b"x" * ((10 << 20) + 1), "more than 10 MiB"),
        (b"not gzip", "not gzip"),
        (tgz(BASE)[:-30], "ends in the middle"),
    ],
)
def test_a_hostile_archive_is_refused(store: Store, packed: bytes, words: str) -> None:
    with pytest.raises(BadChart, match=words):
        of_packed(store, packed)


def test_a_link_in_an_archive_is_left_out_and_listed(store: Store) -> None:
    found = of_packed(store, tgz(BASE, links={"app/Chart.lock": "/root/.bashrc"}))
    assert found.left_out == ("Chart.lock",)
    assert set(found.files) == {"Chart.yaml"}


# Directories


def test_a_directory_is_a_chart_without_what_its_helmignore_leaves_out(store: Store) -> None:
    files = {
        **chart_files("app", "1.0.0"),
        ".helmignore": "# comment\n*.md\n/docs\nci/\n!*.keep\n".replace("!*.keep\n", ""),
        "README.md": "",
        "sub/NOTES.md": "",
        "docs": "a file of that name",
        "sub/docs": "",
        "ci/values.yaml": "",
        "templates/.hidden.yaml": "",
    }
    found = charts.of_directory(snapshot(store, {**below("charts/app", files), "charts/appendix/x": ""}), "charts/app")
    left = {"README.md", "sub/NOTES.md", "docs", "ci/values.yaml", "templates/.hidden.yaml"}
    assert set(found.files) == set(files) - left


@pytest.mark.parametrize(
    ("rules", "path", "left_out"),
    [
        ("a.txt", "a.txt", True),
        ("a.txt", "sub/a.txt", True),
        ("/a.txt", "sub/a.txt", False),
        ("sub/a.txt", "sub/a.txt", True),
        ("sub/a.txt", "deep/sub/a.txt", False),
        ("sub/*", "sub/x/y", True),
        ("*.txt", "x/y.txt", True),
        ("*", "anything", True),
        ("a?c", "abc", True),
        ("a[b-d]c", "acc", True),
        ("a[^b]c", "abc", False),
        ("dir/", "dir", False),
        ("dir/", "dir/x", True),
        ("dir/", "x/dir/y", True),
        ("!*.yaml", "Chart.yaml", False),
        ("!*.yaml", "README", True),
        ("!*.yaml\n!a*", "a.yaml", False),
        ("!*.yaml\n!a*", "b.yaml", True),
        ("!dir/", "dir", True),
        ("\\*", "*", True),
        ("\\*", "x", False),
        ("  a.txt  ", "a.txt", True),
        ("#a", "#a", False),
        ("", "templates/.x", True),
        ("", "templates/x", False),
        ("", ".x", False),
    ],
)
def test_helmignore_means_what_it_means_to_helm(rules: str, path: str, left_out: bool) -> None:
    assert ignore.Rules(rules.encode(), "x").excludes(path) is left_out


@pytest.mark.parametrize("rules", ["**/x", "a**", "[", "!", "/"])
def test_a_helmignore_that_helm_refuses_is_refused(rules: str) -> None:
    with pytest.raises(BadChart, match="x: "):
        ignore.Rules(rules.encode(), "x")


def test_a_helmignore_with_more_patterns_than_anybody_writes_is_refused() -> None:
    patterns = "# a comment\n\n" * 10 + "".join(f"dir{n}/*.{n}\n" for n in range(1000))
    rules = ignore.Rules(patterns.encode(), "x")
    assert rules.excludes("dir999/a.999")
    started = time.process_time()
    assert not any(rules.excludes(f"other/{n}") for n in range(2000))
    assert time.process_time() - started < 1
    with pytest.raises(BadChart, match="x has 1,001 patterns; the limit is 1,000"):
        ignore.Rules((patterns + "y\n").encode(), "x")


def test_a_link_in_a_directory_is_refused_by_name_unless_it_is_ignored(store: Store) -> None:
    files = below("app", chart_files("app", "1.0.0"))
    with pytest.raises(BadChart, match=r"app/Chart\.lock is a link.* was left out of the artifact; replace it"):
        charts.of_directory(snapshot(store, files, ("app/Chart.lock",)), "app")
    files["app/.helmignore"] = "Chart.lock\n"
    assert charts.of_directory(snapshot(store, files, ("app/Chart.lock", "other/link")), "app")


def test_a_directory_without_a_chart_says_so(store: Store) -> None:
    with pytest.raises(BadChart, match=r"app/Chart\.yaml does not exist"):
        charts.of_directory(snapshot(store, {"app/values.yaml": ""}), "app")


# Values


def test_values_are_merged_map_by_map_and_anything_else_is_replaced() -> None:
    first = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}, "f": 1, "g": 1}
    second = {"a": {"c": [3]}, "d": 2, "f": {"x": 1}, "g": None}
    before = json.dumps([first, second])
    assert values.merged(first, second) == {"a": {"b": 1, "c": [3]}, "d": 2, "f": {"x": 1}, "g": None}
    assert json.dumps([first, second]) == before


# Packages


def test_the_same_files_give_the_same_bytes_and_only_what_was_asked_for_is_changed(store: Store) -> None:
    files = chart_files("app", "1.0.0", annotations={"a": "b"}, appVersion="7")
    first = charts.of_directory(snapshot(store, below("x/app", {**files, "run.sh": "x"})), "x/app")
    second = charts.of_directory(snapshot(store, dict(reversed({**files, "run.sh": "x"}.items()))), "")
    made = [package(store, one, version="1.0.0") for one in (first, second)]
    assert made[0] == made[1]
    assert unpacked(store.read(made[0].archive)) == {
        f"app/{path}": content.encode() if isinstance(content, str) else content
        for path, content in {**files, "run.sh": "x"}.items()
    }
    assert next(iter(unpacked(store.read(made[0].archive)))) == "app/Chart.yaml"
    changed = package(store, first, version="1.0.0+3", values={"replicas": 3, "big": 12345678901234567890})
    there = unpacked(store.read(changed.archive))
    [document] = load(there["app/Chart.yaml"], "x", dialect="kubernetes")
    assert document.value == first.metadata.body | {"version": "1.0.0+3"}
    assert json.loads(there["app/values.yaml"]) == {"replicas": 3, "big": 12345678901234567890}
    assert {name for name in there if there[name] != unpacked(store.read(made[0].archive))[name]} == {
        "app/Chart.yaml",
        "app/values.yaml",
    }
    again = of_packed(store, store.read(changed.archive))
    assert again.metadata.version == "1.0.0+3"


def test_a_package_that_becomes_too_large_is_refused(store: Store) -> None:
    noise = {f"files/{n}": __import__("random").Random(n).randbytes(4 << 20) for n in range(3)}
    found = charts.of_directory(snapshot(store, {**chart_files("app", "1.0.0"), **noise}), "")
    with pytest.raises(BadChart, match=r"when it is packed; the limit is 10,485,760.*\.helmignore"):
        package(store, found, version="1.0.0")


@pytest.mark.parametrize(
    ("asked", "options", "version"),
    [
        ("1.0.0", Options(), "1.0.0"),
        ("v1.0.0", Options(), "v1.0.0"),
        ("v1.0.0", Options(("values.yaml",), build="7"), "1.0.0+7"),
        ("", Options(), "1.0.0"),
    ],
)
def test_the_version_that_is_published_is_the_one_that_was_looked_for(
    store: Store, asked: str, options: Options, version: str
) -> None:
    """Else it would be looked for, and fetched, again and again."""
    packed = chart("app", "1.0.0")
    tree, archive = charts.unpack(store, packed, "app"), store.put(packed)
    made = build.of_archive(store, tree, archive, options, "app", version=asked)
    assert (made.version, made.packaged) == (version, bool(options.build))
    assert made.version == build.version_with(asked or "1.0.0", options)
    assert (made.archive == archive) is not made.packaged


def test_a_chart_with_a_link_is_published_as_it_is_and_never_packed_again_without_it(store: Store) -> None:
    packed = tgz(BASE, links={"app/README.md": "../README.md"})
    tree, archive = charts.unpack(store, packed, "app"), store.put(packed)
    assert build.of_archive(store, tree, archive, Options(), "app").archive == archive
    with pytest.raises(BadChart, match=r"README\.md is a link"):
        build.of_archive(store, tree, archive, Options(build="1"), "app")


# Dependencies


def wants(*found: dict[str, str]) -> dict[str, Any]:
    return {"dependencies": list(found)}


async def nobody(wanted: Dependency) -> Chart:
    raise AssertionError(wanted)


async def complete(source: Snapshot, directory: str, fetch: dependencies.Fetch = nobody) -> dict[str, bytes]:
    found = charts.of_directory(source, directory)
    added = await dependencies.complete(source, directory, found, fetch)
    return {path: source.store.read(entry.sha256) for path, entry in added.items()}


async def test_what_is_vendored_is_not_asked_for(store: Store) -> None:
    more = wants(
        {"name": "one", "version": "1.x", "repository": "https://charts.example.org"},
        {"name": "two", "version": "2.x", "repository": "oci://charts.example.org"},
        {"name": "three", "version": "3.x", "alias": "drei"},
    )
    files = {
        **chart_files("app", "1.0.0", **more),
        "charts/one-1.5.0.tgz": chart("one", "1.5.0"),
        **below("charts/zwei", chart_files("two", "2.0.0")),
        **below("charts/three", chart_files("three", "3.0.0")),
        "charts/_ignored.tgz": "nonsense",
        "charts/README.md": "",
    }
    assert await complete(snapshot(store, below("app", files)), "app") == {}


async def test_charts_beside_are_taken_from_the_same_artifact_with_their_own_dependencies(store: Store) -> None:
    source = snapshot(
        store,
        {
            **below("charts/app", chart_files("app", "1.0.0", **wants({"name": "lib", "repository": "file://../lib"}))),
            **below(
                "charts/lib",
                chart_files(
                    "lib", "2.0.0", **wants({"name": "base", "version": "^1", "repository": "file://../../base"})
                ),
            ),
            **below("base", {**chart_files("base", "1.1.0"), ".helmignore": "*.md\n", "x.md": ""}),
        },
    )
    added = await complete(source, "charts/app")
    assert {path for path in added if path.endswith("Chart.yaml")} == {
        "charts/lib/Chart.yaml",
        "charts/lib/charts/base/Chart.yaml",
    }
    assert "charts/lib/charts/base/x.md" not in added


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"name": "x", "repository": "file://../../other"}, "not inside the artifact"),
        ({"name": "x", "repository": "file:///etc"}, "not inside the artifact"),
        ({"name": "x", "repository": "file://..\\..\\x"}, "not inside the artifact"),
        ({"name": "x", "repository": "file://"}, "not inside the artifact"),
        ({"name": "x", "repository": "file://../nothing"}, r"nothing/Chart\.yaml does not exist"),
        ({"name": "x", "repository": "file://../lib"}, "is lib, and x is wanted"),
        ({"name": "lib", "version": "^3", "repository": "file://../lib"}, "is lib 2.0.0, and lib .3 is wanted"),
        ({"name": "lib", "version": "what", "repository": "file://../lib"}, "not a semver range"),
        ({"name": "x", "version": "1.0.0"}, r"names no repository for it, and has it not in charts/"),
        ({"name": "app", "repository": "file://../app"}, "in a circle"),
    ],
)
async def test_a_dependency_that_leads_nowhere_or_out_is_refused(
    store: Store, wanted: dict[str, str], words: str
) -> None:
    source = snapshot(
        store,
        {**below("app", chart_files("app", "1.0.0", **wants(wanted))), **below("lib", chart_files("lib", "2.0.0"))},
    )
    with pytest.raises(BadChart, match=words):
        await complete(source, "app")


@pytest.mark.parametrize("old", [False, True], ids=["v2", "v1"])
async def test_the_lock_file_chooses_the_version_that_is_asked_for(store: Store, old: bool) -> None:
    named = wants({"name": "one", "version": "1.x", "repository": "https://charts.example.org"})
    chosen = wants({"name": "one", "version": "1.2.3", "repository": "https://charts.example.org"})
    files = chart_files("app", "1.0.0", **({"apiVersion": "v1"} if old else named))
    if old:
        files |= {"requirements.yaml": json.dumps(named), "requirements.lock": json.dumps(chosen)}
    else:
        files |= {"Chart.lock": json.dumps(chosen)}
    asked: list[Dependency] = []

    async def fetch(wanted: Dependency) -> Chart:
        asked.append(wanted)
        return of_packed(store, chart("one", "1.2.3"))

    added = await complete(snapshot(store, files), "", fetch)
    assert asked == [Dependency("one", "1.2.3", "https://charts.example.org")]
    assert "charts/one/templates/config.yaml" in added


async def test_charts_that_want_the_same_ones_over_and_over_are_refused_before_they_are_written_out(
    store: Store,
) -> None:
    files: dict[str, str | bytes] = {}
    for layer in range(6):
        below_it = [{"name": f"c{layer + 1}-{n}", "repository": f"file://../c{layer + 1}-{n}"} for n in range(20)]
        for n in range(20):
            more = wants(*below_it) if layer < 5 else {}
            files |= below(f"c{layer}-{n}", {"Chart.yaml": chart_yaml(f"c{layer}-{n}", "1.0.0", **more)})
    with pytest.raises(BadChart, match="c0-0: its dependencies are too many or too large; the limits are 200 charts"):
        await complete(snapshot(store, files), "c0-0")


@pytest.mark.parametrize("limit", ["MAX_FILES", "MAX_UNPACKED"])
async def test_files_and_bytes_of_all_dependencies_count_together(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    more = wants({"name": "a", "repository": "file://../a"}, {"name": "b", "repository": "https://h"})
    big = {f"files/{n}": "x" * 1000 for n in range(10)}
    source = snapshot(
        store,
        {
            **below("app", chart_files("app", "1.0.0", **more)),
            **below("a", {**chart_files("a", "1.0.0"), **big}),
        },
    )

    async def fetch(_wanted: Dependency) -> Chart:
        return of_packed(store, chart("b", "1.0.0", big))

    assert await complete(source, "app", fetch)
    monkeypatch.setattr(dependencies, limit, 20 if limit == "MAX_FILES" else 15_000)
    with pytest.raises(BadChart, match="app: its dependencies are too many or too large"):
        await complete(source, "app", fetch)


async def test_a_dependency_that_several_charts_want_from_elsewhere_is_fetched_once(store: Store) -> None:
    far = {"name": "far", "version": "1.x", "repository": "https://h"}
    near = [{"name": name, "repository": f"file://../{name}"} for name in ("a", "b")]
    source = snapshot(
        store,
        {
            **below("app", chart_files("app", "1.0.0", **wants(*near, far))),
            **below("a", chart_files("a", "1.0.0", **wants(far))),
            **below("b", chart_files("b", "1.0.0", **wants(far))),
        },
    )
    asked: list[Dependency] = []

    async def fetch(wanted: Dependency) -> Chart:
        asked.append(wanted)
        return of_packed(store, chart("far", "1.2.3"))

    added = await complete(source, "app", fetch)
    assert len(asked) == 1
    assert {path for path in added if path.endswith("far/Chart.yaml")} == {
        "charts/far/Chart.yaml",
        "charts/a/charts/far/Chart.yaml",
        "charts/b/charts/far/Chart.yaml",
    }


async def test_an_archive_in_charts_is_read_up_to_its_chart_yaml_and_kept_nowhere(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = wants({"name": "one", "repository": "https://h"}, {"name": "two", "repository": "https://h"})
    archives = {
        # what is behind the Chart.yaml is of no interest here
        "charts/one.tgz": tgz({"one/Chart.yaml": chart_yaml("one", "1.0.0"), "one/x": "x" * 200_000}),
        "charts/two.tgz": tgz({"two/x": "y" * 20_000, "two/Chart.yaml": chart_yaml("two", "1.0.0")}),
    }
    source = snapshot(store, {**chart_files("app", "1.0.0", **more), **archives})
    before = {path for path in store.root.rglob("*") if path.is_file()}
    assert await complete(source, "") == {}
    assert {path for path in store.root.rglob("*") if path.is_file()} == before
    monkeypatch.setattr(dependencies, "MAX_UNPACKED", 15_000)
    with pytest.raises(BadChart, match=r"charts/two\.tgz: .*more than \d+ bytes"):
        await complete(source, "")
    monkeypatch.setattr(dependencies, "MAX_ARCHIVES", 1)
    with pytest.raises(BadChart, match="more than 1 archives are in charts/"):
        await complete(source, "")
