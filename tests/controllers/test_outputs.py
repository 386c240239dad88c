"""Which artifacts a generator makes: what its rules say, and what its pattern of directories finds."""

import threading
import time
from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest

from trimtab.api.generator import ArtifactGenerator, ArtifactGeneratorSpec
from trimtab.api.meta import ObjectMeta
from trimtab.artifacts.tree import Entry, Tree
from trimtab.base.errors import Terminal
from trimtab.controllers import outputs
from trimtab.controllers.artifactgenerator import Generators


def spec(**over: Any) -> ArtifactGeneratorSpec:
    body = {
        "sources": [{"alias": "repo", "kind": "GitRepository", "name": "repo"}],
        "artifacts": [{"name": "web", "copy": [{"from": "@repo/web/**", "to": "@artifact/"}]}],
        **over,
    }
    return msgspec.convert(body, ArtifactGeneratorSpec)


def made(name: str, from_: str = "@repo/a", to: str = "@artifact/", **over: Any) -> dict[str, Any]:
    return {"name": name, "copy": [{"from": from_, "to": to}], **over}


def tree(*paths: str) -> Tree:
    return Tree.of(Entry(path, "0" * 64, 1) for path in paths)


def plan(pattern: str, *paths: str, name: str = "{app}", **over: Any) -> list[outputs.Wanted]:
    item = spec(pathPattern=pattern, artifacts=[made(name, "@repo/apps/{app}/**", "@artifact/{app}/", **over)])
    outputs.check(item)
    return outputs.plan(item, {"repo": tree(*paths)})


SOURCE = {"alias": "repo", "kind": "GitRepository", "name": "repo"}
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"sources": [SOURCE, SOURCE]}, "the alias 'repo' is there twice"),
    ({"artifacts": [made("a"), made("a")]}, "the name 'a' is there twice"),
    ({"artifacts": [made("A")]}, "'A' cannot be the name"),
    ({"artifacts": [made("{app}")]}, "cannot be the name"),
    ({"artifacts": [made("a", revision="@other")]}, "revision '@other' names no alias"),
    ({"artifacts": [made("a", originRevision="@other")]}, "originRevision '@other' names no alias"),
    ({"artifacts": [made("a", "@other/x")]}, "takes from @other, no alias of spec.sources"),
    ({"artifacts": [made("a", "@repo/../x")]}, r"artifact a: copy\[0\]: from '../x' leads out"),
    ({"artifacts": [made("a", to="@artifact/../x")]}, r"artifact a: copy\[0\]: to '../x' leads out"),
    ({"artifacts": [made("a", "@repo/[")]}, "is not a pattern"),
    (
        {"artifacts": [{"name": "a", "copy": made("a")["copy"] * 101}]},
        "artifact a: copy has 101 rules; the limit is 100",
    ),
    ({"pathPattern": "@other/{app}"}, "'other' is no alias"),
    ({"pathPattern": "repo/{app}"}, "is not of the form"),
    ({"pathPattern": "@repo/{}"}, "cannot be the name of a capture"),
    ({"pathPattern": "@repo/{app-name}"}, "cannot be the name of a capture"),
    ({"pathPattern": "@repo/{1app}"}, "cannot be the name of a capture"),
    ({"pathPattern": "@repo/{_app}"}, "cannot be the name of a capture"),
    ({"pathPattern": "@repo/{app"}, "is not closed"),
    ({"pathPattern": "@repo/app}"}, "that nothing opens"),
    ({"pathPattern": "@repo/{a}/{a}"}, "twice"),
    ({"pathPattern": "@repo/{app}", "artifacts": [made("{env}")]}, "which spec.pathPattern does not capture"),
    ({"pathPattern": "@repo/{app}", "artifacts": [made("{app}", "@repo/{env}/x")]}, "does not capture"),
    ({"pathPattern": "@repo/{app}", "artifacts": [made("{app}", "@repo/a}")]}, "that nothing opens"),
]


@pytest.mark.parametrize(("over", "words"), INVALID)
def test_what_makes_no_sense_is_refused_whatever_the_sources_hold(over: dict[str, Any], words: str) -> None:
    with pytest.raises(Terminal, match=words) as refusal:
        outputs.check(spec(**over))
    assert refusal.value.reason == "ValidationFailed"


async def test_what_takes_a_while_to_check_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def check(_spec: ArtifactGeneratorSpec) -> None:
        threads.append(threading.current_thread())
        raise Terminal("ValidationFailed", "checked")

    monkeypatch.setattr(outputs, "check", check)
    with pytest.raises(Terminal, match="checked"):
        await Generators(MagicMock())._pass(ArtifactGenerator(metadata=ObjectMeta(), spec=spec()), MagicMock())
    assert threads
    assert threads != [threading.current_thread()]


def test_without_a_pattern_the_artifacts_are_those_that_are_listed() -> None:
    item = spec(artifacts=[made("a", revision="@repo"), made("b.c", originRevision="@repo")])
    outputs.check(item)
    found = outputs.plan(item, {"repo": tree()})
    assert [(one.name, one.revision, one.origin) for one in found] == [("a", "repo", ""), ("b.c", "", "repo")]


def test_a_set_is_made_for_every_directory_that_is_found() -> None:
    found = plan("@repo/apps/{app}", "apps/web/a", "apps/web/b/c", "apps/Api/x", "apps/file", "other/web/a")
    assert [(one.name, one.labels, one.steps[0].path, one.steps[0].to) for one in found] == [
        ("api", {"app": "api"}, "apps/Api/**", "Api"),
        ("web", {"app": "web"}, "apps/web/**", "web"),
    ]


def test_several_captures_are_filled_in_wherever_they_are_named() -> None:
    found = plan(
        "@repo/apps/{app}/envs/{env}", "apps/web/envs/prod/a", "apps/web/envs/dev/a", "apps/web/b", name="{app}-{env}"
    )
    assert [one.name for one in found] == ["web-dev", "web-prod"]
    assert found[0].labels == {"app": "web", "env": "dev"}


@pytest.mark.parametrize(
    ("pattern", "directory", "captured"),
    [
        ("svc-{app}", "svc-web", {"app": "web"}),
        ("svc-{app}", "web", None),
        ("{app}-{env}", "a-b-c", {"app": "a-b", "env": "c"}),
        ("{app}{env}", "abc", {"app": "ab", "env": "c"}),
        ("{app}", "", None),
        ("web", "web", {}),
        ("we.", "web", None),
        ("{a}-x-{b}", "1-x-2-x-3", {"a": "1-x-2", "b": "3"}),
    ],
)
def test_a_capture_takes_as_much_of_a_name_as_it_can(
    pattern: str, directory: str, captured: dict[str, str] | None
) -> None:
    [parts] = outputs._parts(pattern)
    into: dict[str, str] = {}
    assert outputs._captures(parts, directory, into) is (captured is not None)
    assert captured is None or into == captured


def test_a_pattern_made_to_be_slow_is_not() -> None:
    [parts] = outputs._parts("".join(f"{{c{n}}}a" for n in range(60)) + "b")
    started = time.process_time()
    assert not outputs._captures(parts, "a" * 255, {})
    assert time.process_time() - started < 1


FOUND = [
    (("apps/.hidden/a",), "'.hidden' for {app} cannot be a label"),
    ((f"apps/{'a' * 64}/a",), "cannot be a label"),
    (("apps/a b/a",), "cannot be a label"),
    (("apps/a_b/a",), "makes no name: 'a_b'"),
    (("apps/Auth/a", "apps/auth/a"), "'apps/Auth' and 'apps/auth': both would be the ExternalArtifact auth"),
    (("other/a",), "finds no directory: nothing is made, and nothing deleted"),
    (tuple(f"apps/d{n}/a" for n in range(outputs.MOST + 1)), "more than 2000 artifacts"),
]


@pytest.mark.parametrize(("paths", "words"), FOUND, ids=[words for _, words in FOUND])
def test_directories_that_make_no_names_are_refused_by_name(paths: tuple[str, ...], words: str) -> None:
    with pytest.raises(Terminal, match=words) as refusal:
        plan("@repo/apps/{app}", *paths)
    assert refusal.value.reason == "BuildFailed"


@pytest.mark.parametrize("pattern", ["", "@repo/apps/{app}"])
def test_braces_of_all_rules_together_have_an_end(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    rule = {"from": "@repo/a/**", "to": "@artifact/", "exclude": ["*.{a,b,c}"]}
    item = spec(artifacts=[{"name": f"a{n}" + ("-{app}" if pattern else ""), "copy": [rule] * 2} for n in range(5)])
    item = msgspec.structs.replace(item, path_pattern=pattern)
    held = {"repo": tree("apps/x/a", "apps/y/a")}
    monkeypatch.setattr(outputs, "MOST_MORE", 20)
    outputs.check(item)
    if pattern:
        with pytest.raises(Terminal, match="stand for more than 20 others"):
            outputs.plan(item, held)
    monkeypatch.setattr(outputs, "MOST_MORE", 19)
    with pytest.raises(Terminal, match="stand for more than 19 others"):
        outputs.check(item)


def test_rules_that_look_at_everything_over_and_over_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"repo": tree(*(f"apps/{n}/a" for n in range(10)))}
    item = spec(artifacts=[made(f"a{n}", "@repo/**/a") for n in range(10)])
    narrow = spec(artifacts=[made(f"a{n}", f"@repo/apps/{n}/*") for n in range(10)])
    assert len(outputs.plan(item, held)) == 10
    monkeypatch.setattr(outputs, "MOST_LOOKS", 50)
    assert len(outputs.plan(narrow, held)) == 10
    with pytest.raises(Terminal, match="all 10 artifacts together look at more than 50 files") as refusal:
        outputs.plan(item, held)
    assert refusal.value.reason == "BuildFailed"


def test_two_artifacts_of_one_directory_must_not_have_one_name() -> None:
    item = spec(pathPattern="@repo/apps/{app}", artifacts=[made("{app}"), made("web")])
    outputs.check(item)
    with pytest.raises(Terminal, match="'apps/web' twice"):
        outputs.plan(item, {"repo": tree("apps/web/a")})
