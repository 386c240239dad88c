"""Trees made of parts of others: what lands where, what is merged, unpacked, left out, and refused."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.artifacts.contents import blobs
from tests.registry.server import archive
from trimtab.artifacts.archive import Limits
from trimtab.artifacts.compose import Uncomposable, compose
from trimtab.artifacts.merging import merge, merge_files
from trimtab.artifacts.recipe import Step
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.artifacts.tree import Entry, Tree
from trimtab.manifests.yaml import load

REPO = [
    "README.md",
    "app.yaml",
    "config/base.yaml",
    "config/nested/deep.yaml",
    "config/notes.md",
    "deploy/web/a.yaml",
    "deploy/web/b.json",
    "deploy/web/testdata/t.yaml",
    "deploy/api/a.yaml",
    "{odd}/x.yaml",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def snapshot(store: Store, files: dict[str, str | bytes] | list[str], *left_out: str) -> Snapshot:
    """A list of paths stands for files that have their own path in them."""
    named = files if isinstance(files, dict) else {path: path for path in files}
    entries = []
    for path, content in named.items():
        data = content.encode() if isinstance(content, str) else content
        entries.append(Entry(path, store.put(data), len(data), path.endswith(".sh")))
    return Snapshot(store, Tree.of(entries, left_out), "main@sha1:1")


def made(store: Store, sources: dict[str, Snapshot], *rules: dict[str, Any], limits: Limits | None = None) -> Tree:
    steps = [Step.parse(r["from"], r["to"], r.get("exclude", ()), r.get("strategy", "")) for r in rules]
    return compose(steps, sources, store, limits=limits or Limits())


def contents(store: Store, tree: Tree) -> dict[str, str]:
    return {entry.path: store.read(entry.sha256).decode() for entry in tree.entries}


def rule(from_: str, to: str = "@artifact/", *exclude: str, strategy: str = "") -> dict[str, Any]:
    return {"from": from_, "to": to, "exclude": exclude, "strategy": strategy}


# --- where things land: where it came from, by where it went

BASE, DEEP, NOTES = "config/base.yaml", "config/nested/deep.yaml", "config/notes.md"
WEB, API = "deploy/web/a.yaml", "deploy/api/a.yaml"
WHOLE = {path: path for path in REPO}
LANDING = [
    # a file
    (["@s/app.yaml", "@artifact/"], {"app.yaml": "app.yaml"}),
    (["@s/app.yaml", "@artifact/dest/"], {"dest/app.yaml": "app.yaml"}),
    (["@s/app.yaml", "@artifact/dest"], {"dest": "app.yaml"}),
    (["@s/app.yaml", "@artifact/deep/er/x.yaml"], {"deep/er/x.yaml": "app.yaml"}),
    (["@s/./config//base.yaml", "@artifact/./d//"], {"d/base.yaml": BASE}),
    # a directory is copied as itself, with or without slashes
    (["@s/deploy/api", "@artifact/"], {"api/a.yaml": API}),
    (["@s/deploy/api/", "@artifact/dest"], {"dest/api/a.yaml": API}),
    (["@s/deploy/api/", "@artifact/dest/"], {"dest/api/a.yaml": API}),
    # the root has no name of its own
    (["@s/", "@artifact/all/"], {f"all/{path}": path for path in REPO}),
    (["@s/.", "@artifact/"], WHOLE),
    # what is in a directory
    (["@s/deploy/api/**", "@artifact/"], {"a.yaml": API}),
    (
        ["@s/config/**", "@artifact/c/"],
        {"c/base.yaml": BASE, "c/nested/deep.yaml": DEEP, "c/notes.md": NOTES},
    ),
    (["@s/**", "@artifact/"], WHOLE),
    # any other pattern keeps the whole path, and a directory it finds comes with all that is in it
    (["@s/*.yaml", "@artifact/m/"], {"m/app.yaml": "app.yaml"}),
    (["@s/config/*.yaml", "@artifact/"], {BASE: BASE}),
    (["@s/config/*.yaml", "@artifact/m"], {"m/config/base.yaml": BASE}),
    (["@s/config/n*", "@artifact/"], {DEEP: DEEP, NOTES: NOTES}),
    (["@s/deploy/*/a.yaml", "@artifact/"], {API: API, WEB: WEB}),
    (["@s/config/**/*.yaml", "@artifact/"], {BASE: BASE, DEEP: DEEP}),
    (["@s/deploy/{web,api}/a.yaml", "@artifact/"], {API: API, WEB: WEB}),
    (["@s/deploy/[a]?i/**", "@artifact/"], {API: API}),
    # braces alone may be a name
    (["@s/{odd}", "@artifact/"], {"{odd}/x.yaml": "{odd}/x.yaml"}),
    (["@s/{odd}/x.yaml", "@artifact/"], {"x.yaml": "{odd}/x.yaml"}),
    # excluded: by the path from the root, by the path from the fixed part, by a name at any depth
    (["@s/config/**", "@artifact/", "*.md"], {"base.yaml": BASE, "nested/deep.yaml": DEEP}),
    (["@s/config/**", "@artifact/", "config/nested/**"], {"base.yaml": BASE, "notes.md": NOTES}),
    (["@s/config/**", "@artifact/", "nested/**", "*.md"], {"base.yaml": BASE}),
    (["@s/config/**", "@artifact/", "nested"], {"base.yaml": BASE, "notes.md": NOTES}),
    (["@s/config", "@artifact/", "nested/**", "*.md"], {BASE: BASE}),
    (["@s/config/", "@artifact/", "config/nested/**", "*.{md,txt}"], {BASE: BASE}),
    (
        ["@s/deploy/**", "@artifact/", "**/testdata/**", "*.json"],
        {"api/a.yaml": API, "web/a.yaml": WEB},
    ),
    (
        # below a directory on the way, nothing is anchored
        ["@s/deploy/**", "@artifact/", "testdata/*", "*.json"],
        {"api/a.yaml": API, "web/a.yaml": WEB, "web/testdata/t.yaml": "deploy/web/testdata/t.yaml"},
    ),
    (
        # a directory on the way to what is found is not looked at
        ["@s/deploy/*/a.yaml", "@artifact/", "web"],
        {API: API, WEB: WEB},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted"), LANDING, ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_what_lands_where(store: Store, words: list[str], wanted: dict[str, str]) -> None:
    from_, to, *exclude = words
    tree = made(store, {"s": snapshot(store, REPO)}, rule(from_, to, *exclude))
    assert contents(store, tree) == wanted


def test_later_steps_win_and_what_they_do_not_have_stays(store: Store) -> None:
    one, two = snapshot(store, {"a": "1", "d/b": "1"}), snapshot(store, {"d/b": "2", "d/c": "2"})
    tree = made(store, {"one": one, "two": two}, rule("@one/**"), rule("@two/**"))
    assert contents(store, tree) == {"a": "1", "d/b": "2", "d/c": "2"}


def test_a_file_goes_into_a_directory_that_is_there_already(store: Store) -> None:
    source = snapshot(store, ["d/x", "f"])
    assert set(contents(store, made(store, {"s": source}, rule("@s/d/"), rule("@s/f", "@artifact/d")))) == {
        "d/x",
        "d/f",
    }
    assert set(contents(store, made(store, {"s": source}, rule("@s/f", "@artifact/d")))) == {"d"}


def test_contents_are_named_and_not_written_again(store: Store, tmp_path: Path) -> None:
    source = snapshot(store, {"run.sh": "#!", "a": "1"})
    empty = Store(tmp_path / "other")
    tree = made(empty, {"s": source}, rule("@s/**", "@artifact/x/"))
    assert [(e.path, e.executable, e.sha256) for e in tree.entries] == [
        (f"x/{e.path}", e.executable, e.sha256) for e in source.tree.entries
    ]
    assert not blobs(empty)


# --- merge


MERGES = [
    ("a: 1\nb: 2", "b: 3\nc: 4", {"a": 1, "b": 3, "c": 4}),
    ("m: {p: 1, q: {r: 2}}", "m: {q: {s: 3}}", {"m": {"p": 1, "q": {"r": 2, "s": 3}}}),
    ("l: [1, 2]", "l: [3]", {"l": [3]}),
    ("a: {b: 1}", "a: text", {"a": "text"}),
    ("a: text", "a: {b: 1}", {"a": {"b": 1}}),
    ("a: 1\nb: 2", "a: null", {"b": 2}),
    ("m: {p: 1, q: 2}", "m: {p: ~}", {"m": {"q": 2}}),
    ("a: 1", "sub: {key: null}", {"a": 1, "sub": {"key": None}}),
    ("a: 1", "", {"a": 1}),
    ("", "a: 1", {"a": 1}),
    ("a: 1\n---\nb: 2", "c: 3\n---\nc: 4", {"a": 1, "b": 2, "c": 4}),
    ('{"a": 1}', "a: 2", {"a": 2}),
    ("on: 1", "off: yes", {"true": 1, "false": True}),  # as kubectl, helm and flux read it
    ("a: 'no'\nb: '0o17'\nc: '1e3'", "d: 'on'", {"a": "no", "b": "0o17", "c": "1e3", "d": "on"}),
]


@pytest.mark.parametrize(("below", "above", "wanted"), MERGES)
def test_maps_are_merged_and_everything_else_is_replaced(below: str, above: str, wanted: Any) -> None:
    out = merge_files(below.encode(), above.encode(), "below", "above")
    [document] = load(out, "out", dialect="kubernetes")
    assert document.value == wanted
    assert merge_files(out, b"", "a", "b") == out, "the same content is the same file"


def test_merging_is_for_files_that_are_there_already(store: Store) -> None:
    chart, prod = snapshot(store, {"c/values.yaml": "a: 1\nb: 1"}), snapshot(store, {"p.yaml": "b:   2 # odd"})
    both = {"chart": chart, "prod": prod}
    tree = made(store, both, rule("@chart/"), rule("@prod/p.yaml", "@artifact/c/values.yaml", strategy="Merge"))
    assert contents(store, tree) == {"c/values.yaml": "a: 1\nb: 2\n"}
    tree = made(store, both, rule("@prod/p.yaml", "@artifact/c/values.yaml", strategy="Merge"))
    assert contents(store, tree) == {"c/values.yaml": "b:   2 # odd"}
    two = {"x": snapshot(store, {"v": "a: 1", "w/v": "a: 1"}), "y": snapshot(store, {"v": "b: 2", "w/v": "b: 3"})}
    tree = made(store, two, rule("@x/**"), rule("@y/**", strategy="Merge"))
    assert contents(store, tree) == {"v": "a: 1\nb: 2\n", "w/v": "a: 1\nb: 3\n"}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.text("abc", max_size=1), values, max_size=3)


@given(maps, maps)
def test_what_is_laid_over_is_there_afterwards_and_what_it_does_not_name_is_untouched(below: Any, above: Any) -> None:
    out = merge(below, above)
    for key, value in above.items():
        if value is None:
            assert key not in out if key in below else out[key] is None
        elif not isinstance(value, dict) or not isinstance(below.get(key), dict):
            assert out[key] == value
    assert all(out[key] == value for key, value in below.items() if key not in above)


# --- extract


def test_archives_are_unpacked_where_they_are_sent_and_other_files_are_passed_over(store: Store) -> None:
    source = snapshot(
        store,
        {
            "a.tgz": archive({"chart/values.yaml": "a", "chart/x": "1"}),
            "deep/er/B.TAR.GZ": archive({"chart/values.yaml": "b"}),
            "deep/readme.md": "text",
        },
    )
    one = made(store, {"s": source}, rule("@s/a.tgz", "@artifact/to", strategy="Extract"))
    assert contents(store, one) == {"to/chart/values.yaml": "a", "to/chart/x": "1"}
    all_ = made(store, {"s": source}, rule("@s/**", strategy="Extract"))
    assert contents(store, all_) == {"chart/values.yaml": "b", "chart/x": "1"}
    some = made(store, {"s": source}, rule("@s/**", "@artifact/", "deep/**", strategy="Extract"))
    assert contents(store, some) == {"chart/values.yaml": "a", "chart/x": "1"}


def packed(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    return gzip.compress(out.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        packed(("../evil", tarfile.REGTYPE, "")),
        packed(("/abs", tarfile.REGTYPE, "")),
        packed(("hard", tarfile.LNKTYPE, "/etc/passwd")),
        packed(("dev", tarfile.CHRTYPE, "")),
        packed(("a", tarfile.REGTYPE, ""), ("a/b", tarfile.REGTYPE, "")),
        b"not an archive",
        gzip.compress(b"not a tar"),
    ],
    ids=["traversal", "absolute", "hard-link", "device", "collision", "no-gzip", "no-tar"],
)
def test_a_hostile_archive_is_refused_by_name(store: Store, data: bytes) -> None:
    with pytest.raises(Uncomposable, match=r"copy\[0\]: x\.tgz: the archive is refused"):
        made(store, {"s": snapshot(store, {"x.tgz": data})}, rule("@s/x.tgz", strategy="Extract"))


def test_a_link_in_an_archive_is_left_out_and_listed(store: Store) -> None:
    data = packed(("l", tarfile.SYMTYPE, "/etc/passwd"), ("f", tarfile.REGTYPE, ""))
    tree = made(store, {"s": snapshot(store, {"x.tgz": data})}, rule("@s/x.tgz", "@artifact/d", strategy="Extract"))
    assert [entry.path for entry in tree.entries] == ["d/f"]
    assert tree.left_out == ("d/l",)


# --- what is refused

REFUSED = [
    (rule("@s/nowhere.yaml"), "there is no 'nowhere.yaml' in @s"),
    (rule("@s/*.toml"), r"nothing matches '\*\.toml' in @s"),
    (rule("@s/*.md", "@artifact/", "*.md"), r"what '\*\.md' finds in @s is excluded"),
    (rule("@s/link"), "link is a link, a submodule"),
    (rule("@s/config", strategy="Extract"), "is a directory: Extract takes files"),
    (rule("@s/app.yaml", strategy="Extract"), "is not an archive"),
    (rule("@s/app.yaml", "@artifact/x", "app.yaml"), "nothing is left of it"),
]


@pytest.mark.parametrize(("one", "words"), REFUSED)
def test_what_cannot_be_done_is_said_in_words(store: Store, one: dict[str, Any], words: str) -> None:
    with pytest.raises(Uncomposable, match=words):
        made(store, {"s": snapshot(store, REPO, "link")}, one)


NONSENSE = [
    ("@s/a", "@artifact/../evil", "leads out"),
    ("@s/a", "@artifact//etc", "leads out"),
    ("@s/a", "@artifact/a/../../b", "leads out"),
    ("@s/a", "@artifact/a\\..\\b", "backslash"),
    ("@s/a", "@artifact/a\x00b", "control character"),
    ("@s/a", "@other/a", "is not of the form @artifact"),
    ("@s/../a", "@artifact/", "leads out"),
    ("@s//etc/passwd", "@artifact/", "leads out"),
    ("s/a", "@artifact/", "is not of the form @alias"),
    ("@s/[", "@artifact/", "is not a pattern"),
    ("@s/a", "@artifact/" + "d/" * 65, "the limit is 64"),
]


@pytest.mark.parametrize(("from_", "to", "words"), NONSENSE)
def test_a_rule_that_makes_no_sense_or_leads_out_is_refused_before_anything_is_read(
    from_: str, to: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Step.parse(from_, to)


def test_a_bad_exclusion_and_an_unknown_strategy_are_refused() -> None:
    with pytest.raises(ValueError, match="is not a pattern"):
        Step.parse("@s/a", "@artifact/", ["[*.md"])
    with pytest.raises(ValueError, match="the strategy 'Delete' is not known"):
        Step.parse("@s/a", "@artifact/", [], "Delete")


@pytest.mark.parametrize(
    "rules",
    [
        [rule("@s/app.yaml", "@artifact/x"), rule("@s/config/base.yaml", "@artifact/x/y")],
        [rule("@s/config/**", "@artifact/x/"), rule("@s/deploy/web/**", "@artifact/x/base.yaml/")],
        [rule("@s/**", "@artifact/"), rule("@t/**", "@artifact/")],
    ],
    ids=["below-a-file", "a-directory-over-a-file", "a-file-over-a-directory"],
)
def test_a_path_is_a_file_or_a_directory_and_never_both(store: Store, rules: list[dict[str, Any]]) -> None:
    both = {"s": snapshot(store, REPO), "t": snapshot(store, ["config"])}
    with pytest.raises(Uncomposable, match=r"would be a (file|directory), and is a"):
        made(store, both, *rules)


def test_names_that_differ_in_case_alone_are_left_out_and_listed(store: Store) -> None:
    tree = made(store, {"s": snapshot(store, ["a", "b"]), "t": snapshot(store, ["A"])}, rule("@s/**"), rule("@t/**"))
    assert [entry.path for entry in tree.entries] == ["b"]
    assert tree.left_out == ("A", "a")


def test_what_was_left_out_of_a_source_is_listed_where_it_would_be(store: Store) -> None:
    source = snapshot(store, ["d/f", "other"], "d/link", "elsewhere")
    assert made(store, {"s": source}, rule("@s/d/**", "@artifact/x/")).left_out == ("x/link",)
    assert made(store, {"s": source}, rule("@s/**"), rule("@s/other", "@artifact/d/link")).left_out == ("elsewhere",)


def test_limits_of_bytes_and_files_hold(store: Store) -> None:
    source = {"s": snapshot(store, {"a": "x" * 60, "b": "y" * 60, "z.tgz": archive({"c": "z" * 60})})}
    for rules, limits in (
        ([rule("@s/**")], Limits(bytes=100)),
        ([rule("@s/a"), rule("@s/z.tgz", strategy="Extract")], Limits(bytes=100)),
        ([rule("@s/**")], Limits(members=2)),
        ([rule("@s/a", "@artifact/1"), rule("@s/a", "@artifact/2"), rule("@s/a", "@artifact/3")], Limits(bytes=150)),
    ):
        with pytest.raises(Uncomposable, match=r"more than \d+"):
            made(store, source, *rules, limits=limits)
    # what is overwritten does not count
    tree = made(store, source, *[rule("@s/a", "@artifact/1")] * 5, limits=Limits(bytes=100))
    assert tree.size == 60


def test_what_is_unpacked_and_merged_counts_even_if_it_is_overwritten(store: Store) -> None:
    files = {f"{n}.tgz": archive({"c": str(n) * 60, "d": ""}) for n in range(5)}
    files |= {f"{n}.yaml": f"a: {n}\n" + "#" * 60 for n in range(5)}
    source = {"s": snapshot(store, files)}
    extract = rule("@s/*.tgz", strategy="Extract")
    merge_all = [rule(f"@s/{n}.yaml", "@artifact/v.yaml", strategy="Merge") for n in range(5)]
    assert made(store, source, extract, limits=Limits(bytes=150)).size == 60
    for rules, limits, words in (
        ([extract], Limits(bytes=120), "more than 240 bytes are unpacked and merged"),
        ([extract], Limits(members=4), "more than 8 files are unpacked and merged"),
        (merge_all, Limits(bytes=100), r"copy\[3\]: more than 200 bytes are unpacked and merged"),
    ):
        with pytest.raises(Uncomposable, match=words):
            made(store, source, *rules, limits=limits)


def test_what_is_not_yaml_is_refused_with_the_file_and_the_line(store: Store) -> None:
    both = {"s": snapshot(store, {"v.yaml": "a: 1", "bad.yaml": "a: 1\nb: [", "list.yaml": "- 1"})}
    for bad, words in (
        ("bad.yaml", r"copy\[1\]: bad.yaml in the source:\d+"),
        ("list.yaml", "only maps can be merged"),
    ):
        with pytest.raises(Uncomposable, match=words):
            made(store, both, rule("@s/v.yaml"), rule(f"@s/{bad}", "@artifact/v.yaml", strategy="Merge"))


# --- whatever is written

names = st.text("ab.*-", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
froms = st.lists(st.sampled_from(["a", "b", "..", ".", "", "**", "*", "a*", "[ab]", "{a,b}", "?"]), max_size=4).map(
    lambda parts: "@s/" + "/".join(parts)
)
tos = st.lists(st.sampled_from(["a", "b", "..", ".", "", "x"]), max_size=4).map(
    lambda parts: "@artifact/" + "/".join(parts)
)


@given(
    st.sets(paths, max_size=8),
    st.lists(st.tuples(froms, tos, st.lists(st.sampled_from(["a", "*b", "a/**", "**/b"]), max_size=2)), max_size=4),
)
def test_nothing_escapes_no_path_is_two_things_and_the_same_rules_make_the_same_tree(
    store: Store, files: set[str], rules: list[tuple[str, str, list[str]]]
) -> None:
    plain = [path for path in files if not any(other.startswith(path + "/") for other in files)]
    source = {"s": snapshot(store, sorted(plain))}
    asked = [rule(from_, to, *exclude) for from_, to, exclude in rules]
    try:
        tree = made(store, source, *asked)
    except (Uncomposable, ValueError):
        return
    landed = [entry.path for entry in tree.entries]
    assert landed == sorted(set(landed))
    for path in landed:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert not any(other.startswith(path + "/") for other in landed)
    assert {entry.sha256 for entry in tree.entries} <= {entry.sha256 for entry in source["s"].tree.entries}
    again = {"s": snapshot(store, sorted(plain, reverse=True))}
    assert made(store, again, *asked).digest == tree.digest
