"""The index of a chart repository: what is read of it, which version is chosen, and what hostile ones get."""

import asyncio
import json
import time

import pytest

from trimtab.remotes.helm import catalogue, index, reading
from trimtab.remotes.helm.catalogue import Entry
from trimtab.remotes.helm.index import BadIndex

INDEX = b"""\
apiVersion: v1
entries:
  podinfo:
  - apiVersion: v2
    appVersion: 6.7.1
    created: "2024-09-16T10:00:00.123456789Z"
    dependencies:
    - {name: redis, repository: "oci://registry.example.org/charts", version: 20.x}
    description: "Podinfo: a tiny \\"app\\""
    digest: 0000000000000000000000000000000000000000000000000000000000000001
    name: podinfo
    urls:
    - podinfo-6.7.1.tgz
    - https://mirror.example.org/podinfo-6.7.1.tgz
    version: 6.7.1
  - version: 6.7.0
    digest: sha256:0000000000000000000000000000000000000000000000000000000000000002
    urls: [https://cdn.example.org/podinfo-6.7.0.tgz]
  empty: []
  nothing:
generated: "2024-09-16T10:00:00Z"
"""
SAME = {
    "apiVersion": "v1",
    "entries": {
        "podinfo": [
            {
                "version": "6.7.1",
                "created": "2024-09-16T10:00:00.123456789Z",
                "digest": "0" * 63 + "1",
                "urls": ["podinfo-6.7.1.tgz", "https://mirror.example.org/podinfo-6.7.1.tgz"],
            },
            {
                "version": "6.7.0",
                "digest": "sha256:" + "0" * 63 + "2",
                "urls": ["https://cdn.example.org/podinfo-6.7.0.tgz"],
            },
        ],
        "empty": [],
        "nothing": None,
    },
}


def parsed(data: bytes) -> catalogue.Catalogue:
    return catalogue.decode(index.parse(data))


def test_a_yaml_index_and_the_same_as_json_give_the_same_catalogue() -> None:
    found = parsed(INDEX)
    assert found.versions("podinfo") == (
        Entry("6.7.1", "podinfo-6.7.1.tgz", "0" * 63 + "1", "2024-09-16T10:00:00.123456789Z"),
        Entry("6.7.0", "https://cdn.example.org/podinfo-6.7.0.tgz", "0" * 63 + "2", ""),
    )
    assert found.versions("empty") == found.versions("nothing") == found.versions("unknown") == ()
    assert found.left_out == 0
    assert index.parse(json.dumps(SAME).encode()) == index.parse(INDEX)
    assert index.parse(b"  \n" + json.dumps(SAME, indent=1).encode()) == index.parse(INDEX)


def test_json_that_only_yaml_admits_is_read_as_yaml() -> None:
    assert parsed(b"{apiVersion: v1, entries: {a: [{version: 1.0.0, urls: [x]}]}}").versions("a") == (
        Entry("1.0.0", "x"),
    )


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{urls: [x]}", "has no version"),
        ("{version: , urls: [x]}", "has no version"),
        ("{version: 1.0, urls: [x]}", "not a version but a number"),
        ("{version: [1.0.0]}", "has no version"),
        ('{version: "1.0.0\\e[2J"}', "is not a version"),
        ("{version: ../1.0.0}", "is not a version"),
        ("scalar", "not a map"),
        ("[list]", "not a map"),
    ],
)
def test_an_entry_without_a_usable_version_is_left_out_and_the_others_stay(entry: str, why: str) -> None:
    found = parsed(f"apiVersion: v1\nentries:\n  a:\n  - {entry}\n  - {{version: 2.0.0, urls: [y]}}\n".encode())
    assert found.versions("a") == (Entry("2.0.0", "y"),)
    assert found.left_out == 1
    assert why in found.example
    assert "\x1b" not in found.example


@pytest.mark.parametrize("name", [".", "..", "a/b", "../../test", "-a", '"a\\nb"', '""', "a" * 251])
def test_a_name_that_is_no_chart_s_is_left_out(name: str) -> None:
    found = parsed(f"apiVersion: v1\nentries:\n  {name}:\n  - {{version: 1.0.0}}\n  b: [{{version: 1.0.0}}]\n".encode())
    assert set(found.charts) == {"b"}
    assert found.left_out == 1


def test_an_entry_without_an_address_or_with_a_strange_digest_stays_so_that_no_older_one_takes_its_place() -> None:
    found = parsed(b"apiVersion: v1\nentries: {a: [{version: 2.0.0}, {version: 1.0.0, urls: [x], digest: md5:1}]}")
    assert found.versions("a") == (Entry("2.0.0"), Entry("1.0.0", "x", "md5:1"))
    chosen = catalogue.choose(found.versions("a"), "*")
    assert chosen == Entry("2.0.0")


def test_aliases_of_scalars_are_followed_and_those_of_what_is_not_read_cost_nothing() -> None:
    found = parsed(
        b"apiVersion: v1\nentries:\n  a:\n  - {keywords: &k [x, y], version: &v 1.0.0, urls: [&u x.tgz]}\n"
        b"  - {keywords: *k, appVersion: *v, version: 1.1.0, urls: [*u]}\n"
    )
    assert found.versions("a") == (Entry("1.0.0", "x.tgz"), Entry("1.1.0", "x.tgz"))


def bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join([*lines, "apiVersion: v1", "entries: *a11\n"]).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"entries: {}\n", "no apiVersion"),
        (b'{"entries": {}}', "no apiVersion"),
        (b"apiVersion: v2\nentries: {}\n", "only v1 is known"),
        (b"<html>not found</html>", "not a map"),
        (b"apiVersion: v1\nentries: []\n", "not a map"),
        (b"apiVersion: v1\nentries: {a: {version: 1.0.0}}\n", "not a list of versions"),
        (b"apiVersion: v1\nentries:\n  a: [{version: 1.0.0}]\n  a: [{version: 2.0.0}]\n", "'a' is there twice"),
        (b"apiVersion: v1\nentries: {}\nentries: {}\n", "'entries' is there twice"),
        (b"apiVersion: v1\nentries: {a: [{<<: {version: 1.0.0}}]}\n", "merge key"),
        (b"apiVersion: v1\nentries: {a: [{version: 1.0.0}\n", "not YAML: line"),
        (b"apiVersion: v1\nentries: {\xff\xfe: 1}\n", "not YAML"),
        (b"apiVersion: v1\nextra: " + b"[" * 100_000, "levels deep"),
        (b"apiVersion: v1\nextra: " + b"{a: " * 100_000, "levels deep"),
        (b'{"apiVersion": "v1", "extra": ' + b"[" * 1_000_000, "levels deep"),
        (b"%TAG ! tag:x,2000:\n---\napiVersion: v1\n", "directives"),
        (bomb(), "not a map"),
    ],
)
def test_an_index_that_is_none_is_refused_quickly(data: bytes, why: str) -> None:
    began = time.process_time()
    with pytest.raises(BadIndex, match=why):
        index.parse(data)
    assert time.process_time() - began < 30


def test_an_alias_bomb_beside_the_entries_costs_nothing() -> None:
    began = time.process_time()
    beside = bomb().replace(b"entries: *a11", b"entries: {a: [{version: 1.0.0, x: *a11}]}")
    assert parsed(beside).versions("a") == (Entry("1.0.0"),)
    assert time.process_time() - began < 30


async def test_a_million_entries_are_refused_and_so_is_an_index_over_fifty_mebibytes() -> None:
    entries = b",".join([b'{"version":"1.0.0"}'] * 1_000_000)
    for many in (
        b'{"apiVersion":"v1","entries":{"a":[' + entries + b"]}}",
        b"apiVersion: v1\nentries: {a: [" + entries,
    ):
        with pytest.raises(BadIndex, match="more than 250,000 versions"):
            await reading.read(many)
    with pytest.raises(BadIndex, match="more than 50 MiB"):
        await reading.read(b"#" * (index.MAX_BYTES + 1))
    with pytest.raises(BadIndex, match="more than 50 MiB"):
        index.parse(b"#" * (index.MAX_BYTES + 1))


async def test_a_large_index_is_read_beside_the_event_loop_and_gives_what_a_small_one_does() -> None:
    one = "  - {version: 1.%d.0, urls: [a-%d.tgz], description: %s}\n"
    large = ("apiVersion: v1\nentries:\n  a:\n" + "".join(one % (n, n, "x" * 500) for n in range(20_000))).encode()
    assert len(large) > 8 * reading.SMALL
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()  # what other threads and processes do is not what holds it up
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0.01)
    read = await reading.read(large)
    await asyncio.sleep(0.05)  # what was held up is heard of
    watching.cancel()
    assert read == index.parse(large)
    assert longest < 0.1


# What Helm and Flux say of versions: https://masterminds.github.io/semver, helm.sh on `--version`, and build metadata.
VERSIONS = ["0.9.0", "1.0.0", "1.2.0", "1.2.3", "1.10.0", "2.0.0-rc.1", "2.0.0-rc.2", "v2.1.0", "3.0.0-alpha", "latest"]


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("", "v2.1.0"),
        ("*", "v2.1.0"),
        ("1.x", "1.10.0"),
        ("1", "1.10.0"),
        ("1.2", "1.2.3"),
        ("1.2.x", "1.2.3"),
        ("~1.2.0", "1.2.3"),
        ("^1.0.0", "1.10.0"),
        ("^0.9", "0.9.0"),
        (">=1.0.0 <1.10.0", "1.2.3"),
        (">=1.0.0, <1.10.0", "1.2.3"),
        ("1.0.0 - 1.2.2", "1.2.0"),
        ("<1.0.0 || ~1.2", "1.2.3"),
        ("!=2.1.0 >1", None),
        ("!=v2.1.0", "1.10.0"),
        (">1.10.0", "v2.1.0"),
        (">1.10.0-0", "3.0.0-alpha"),
        (">=2.0.0-0 <2.1.0-0", "2.0.0-rc.2"),
        ("2.0.0-rc.1", "2.0.0-rc.1"),
        ("^2.0.0-rc.1", "v2.1.0"),
        (">=3.0.0", None),
        ("3.0.0-alpha", "3.0.0-alpha"),
        ("*-0", "3.0.0-alpha"),
        ("2.1.0", "v2.1.0"),
        ("v2.1.0", "v2.1.0"),
        ("9.9.9", None),
        ("latest", "latest"),
    ],
)
def test_a_range_means_what_it_means_to_helm(wanted: str, version: str | None) -> None:
    for order in (VERSIONS, list(reversed(VERSIONS))):
        chosen = catalogue.choose([Entry(one) for one in order], wanted)
        assert (chosen.version if chosen else None) == version


def test_versions_that_differ_in_build_metadata_alone_are_told_apart_by_text_and_else_by_age() -> None:
    entries = [
        Entry("1.0.0+a", created="2024-01-02T00:00:00+02:00"),
        Entry("1.0.0+b", created="2024-01-03T00:00:00Z"),
        Entry("1.0.0+c", created="2024-01-02T23:59:59.999999999Z"),
        Entry("1.0.0+d", created="soon"),
    ]
    for order in (entries, entries[::-1]):
        for wanted, version in (("1.0.0+a", "1.0.0+a"), ("1.0.0", "1.0.0+b"), ("*", "1.0.0+b"), ("1.0.0+x", "1.0.0+b")):
            chosen = catalogue.choose(order, wanted)
            assert chosen is not None
            assert chosen.version == version


def test_what_is_no_range_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="not a semver range"):
        catalogue.choose([Entry("1.0.0")], "not a range")
