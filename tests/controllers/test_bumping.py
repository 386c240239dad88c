"""What an automation has to write, what it says of it, and how it knows that somebody undid it. All of it is pure."""

from typing import Any

import msgspec
import pytest

from trimtab.api.image import ImagePolicy
from trimtab.api.imageupdate import ImageUpdateAutomation, PolicySelector
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal, Transient
from trimtab.commits import Entry, Logged, Message, Snapshot
from trimtab.controllers.automation import Automation, selector
from trimtab.controllers.bumping import (
    Bumping,
    Place,
    by,
    contested,
    later,
    paused,
    repeated,
    rolled_back,
    unmatched,
    written,
)
from trimtab.controllers.wanted import Wanted
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key

APP, DB = Key("ns", "app"), Key("ns", "db")
OLD, NEW = Image.of("acme/app", "1.0"), Image.of("acme/app", "1.1", f"sha256:{'a' * 64}")
FILE = 'kind: Pod\nspec: {{}}\nimage: {} # {{"$imagepolicy": "ns:app"}}\n'


def policy(name: str, image: str = "", labels: Any = None, namespace: str = "ns", **notes: str) -> ImagePolicy:
    where, _, tag = image.rpartition(":")
    body = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels or {},
            "annotations": {f"trimtab.dev/{key}": value for key, value in notes.items()},
        },
        "spec": {"imageRepositoryRef": {"name": name}, "policy": {}},
        "status": {"latestRef": {"name": where, "tag": tag}} if image else {},
    }
    return msgspec.convert(body, ImagePolicy)


def automation(annotations: Any = None, **spec: Any) -> ImageUpdateAutomation:
    commit = {"author": {"email": "r@example.org"}, **spec.pop("commit", {})}
    git = {"commit": commit} | {key: spec.pop(key) for key in ("push", "checkout") if key in spec}
    body = {
        "metadata": {"name": "auto", "namespace": "ns", "annotations": annotations or {}},
        "spec": {"sourceRef": {"name": "repo"}, "interval": "1m", "git": git, **spec},
    }
    return msgspec.convert(body, ImageUpdateAutomation)


def snapshot(past: Any = None, **files: str) -> Snapshot:
    contents = {f"apps/{name}.yaml": text.encode() for name, text in files.items()}
    return Snapshot("c" * 40, {path: Entry("100644", "0" * 40) for path in contents}, contents, past or {})


def bumping(**more: Any) -> Bumping:
    return Bumping(Key("ns", "auto"), Automation.of(automation()), "apps", {APP: NEW}, **more)


def logged(commit: str, *trailers: tuple[str, str], author: str = "A <a@b>") -> Logged:
    return Logged(commit * 40, (), author, 0, str(Message("text", trailers)))


BUMP = logged("b", ("Trimtab-Policy", f"{APP} {NEW} (was {OLD})"), ("Trimtab-Automation", "ns/auto"))


def test_the_policies_of_the_namespace_that_are_selected_and_chose_and_are_not_held_count() -> None:
    found = Wanted.among(
        [
            policy("app", "acme/app:1", {"team": "a"}),
            policy("db", "acme/db:2", {"team": "b"}),
            policy("locked", "acme/l:2", {"team": "a"}, lock="incident 7", hold="later"),
            policy("none", labels={"team": "a"}),
            policy("bad", "acme/app:a#b", {"team": "a"}),
            policy("meant", "acme/m:3", {"team": "a"}, unhold="acme/m:3"),
            policy("stale", "acme/m:3", {"team": "a"}, unhold="acme/m:2"),
            policy("until", "acme/m:3", {"team": "a"}, unhold="acme/m:3 after 1234567"),
            policy("odd", "acme/m:3", {"team": "a"}, unhold="acme/m:3 after lunch"),
            policy("app", "other/app:9", {"team": "a"}, namespace="elsewhere"),
        ],
        "ns",
        selector(PolicySelector(match_labels={"team": "a"})),
    )
    assert {key.name: str(image) for key, image in found.images.items()} == {
        "app": "acme/app:1",
        "meant": "acme/m:3",
        "stale": "acme/m:3",
        "until": "acme/m:3",
        "odd": "acme/m:3",
    }
    assert found.held == {Key("ns", "locked"): "trimtab.dev/lock: incident 7"}
    assert list(found.observed) == ["app", "locked", "meant", "odd", "stale", "until"]
    assert "is not a tag" in found.strange[Key("ns", "bad")]
    assert found.released == {Key("ns", "meant"): "", Key("ns", "until"): "1234567"}


@pytest.mark.parametrize(
    ("expression", "labels", "selected"),
    [
        ({"key": "tier", "operator": "In", "values": ["web", "api"]}, {"tier": "api"}, True),
        ({"key": "tier", "operator": "In", "values": ["web", "api"]}, {}, False),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, {}, True),
        ({"key": "tier", "operator": "NotIn", "values": ["web"]}, {"tier": "web"}, False),
        ({"key": "tier", "operator": "Exists"}, {"tier": ""}, True),
        ({"key": "tier", "operator": "DoesNotExist"}, {"tier": ""}, False),
    ],
    ids=lambda value: value["operator"] if isinstance(value, dict) and "operator" in value else "",
)
def test_policies_are_selected_as_kubernetes_selects(expression: Any, labels: Any, selected: bool) -> None:
    wanted = msgspec.convert({"matchExpressions": [expression]}, PolicySelector)
    assert selector(wanted)(labels) is selected


def test_the_commit_says_which_policy_wrote_what_in_the_place_of_what() -> None:
    bump = bumping()
    changes = bump(snapshot(one=FILE.format(OLD), two=FILE.format(NEW)))
    assert changes.contents == {"apps/one.yaml": FILE.format(NEW).encode()}
    assert bump.last is not None
    assert bump.last.places == [Place(APP, "apps/one.yaml")]
    assert bump.last.message is not None
    message = str(bump.last.message)
    assert message.endswith(f"\n\nTrimtab-Policy: ns/app {NEW} (was {OLD})\nTrimtab-Automation: ns/auto\n")
    assert written(message) == {APP: str(NEW)}
    assert by(Key("ns", "auto"), [logged("x"), BUMP]) == BUMP
    assert by(Key("ns", "other"), [BUMP]) is None
    assert bump.reads("apps/x/one.yaml")
    assert not bump.reads("appsx/one.yaml")
    assert not bump.reads("apps/one.txt")


def test_what_is_spared_in_a_file_is_left_and_is_no_unused_policy() -> None:
    bump = bumping(spared={Place(APP, "apps/one.yaml")})
    assert bump(snapshot(one=FILE.format(OLD))).contents == {}
    assert bump.last is not None
    assert unmatched(bump.last, {APP: NEW}, ()) == ""


def test_a_directory_that_is_not_there_is_told_and_tried_again() -> None:
    with pytest.raises(Transient, match="there is no directory apps in commit cccccccccccc"):
        bumping()(Snapshot("c" * 40, {}))


@pytest.mark.parametrize(
    ("log", "who"),
    [
        ([logged("h"), BUMP], "by commit hhhhhhh of A <a@b>"),
        ([BUMP], None),  # nobody came after it
        ([logged("h")], None),  # it was never ours
        ([], None),
        # after that we wrote another: it is the policy that went back
        ([logged("h"), logged("x", ("Trimtab-Policy", f"{APP} acme/app:1.2 (was {NEW})")), BUMP], None),
        (
            [logged("h"), logged("x", ("Trimtab-Policy", f"{DB} acme/db:1 (was x)")), BUMP],
            "by commit hhhhhhh of A <a@b>",
        ),
    ],
    ids=["undone", "last", "never ours", "no history", "policy went back", "another policy"],
)
def test_only_the_last_word_of_ours_can_have_been_undone(log: list[Logged], who: str | None) -> None:
    found = later(Place(APP, "apps/one.yaml"), NEW, log)
    assert (found.who if found else None) == who


def test_who_writes_another_image_each_time_is_not_fought() -> None:
    other = logged("o", ("Trimtab-Policy", f"{APP} acme/app:0.9 (was {NEW})"))
    place = Place(APP, "apps/one.yaml")
    assert contested(place, NEW, [other, BUMP, other, BUMP]) == ""
    assert contested(place, NEW, [other, BUMP, other, BUMP, other, BUMP]) == "each of the 3 times it was written"


def test_a_value_is_undone_if_it_was_there_in_our_commit_and_new_if_it_was_not() -> None:
    ours = snapshot(one=FILE.format(NEW), two="a: 1\n")
    now = snapshot({"ours": ours}, one=FILE.format(OLD), two=FILE.format(OLD))
    places = {Place(APP, "apps/one.yaml"): "ours", Place(APP, "apps/two.yaml"): "ours"}
    bump = bumping(before=places)
    bump(now)
    assert bump.undone == {Place(APP, "apps/one.yaml")}


FOLLOWS = """\
kind: Pod
metadata: {{name: p, annotations: {{fluxcd.io/automated: 'true', filter.fluxcd.io/a: '1.*', x: '{}'}}}}
spec: {{containers: [{{name: a, image: '{}'}}]}}
"""


def test_a_workload_that_follows_without_a_marker_is_written_undone_and_paused_as_one_with_it() -> None:
    bump = bumping(before={Place(APP, "apps/one.yaml"): "ours"})
    changes = bump(snapshot({"ours": snapshot(one=FOLLOWS.format("y", NEW))}, one=FOLLOWS.format("y", OLD)))
    assert changes.contents == {"apps/one.yaml": FOLLOWS.format("y", NEW).encode()}
    assert changes.message is not None
    assert (changes.message.trailers[0]) == ("Trimtab-Policy", f"ns/app {NEW} (was {OLD})")
    assert bump.undone == {Place(APP, "apps/one.yaml")}
    held = FOLLOWS.replace("x: '{}'", "trimtab.dev/hold: '{}'")
    assert bump(snapshot({"ours": snapshot()}, one=held.format("soon (Ann)", OLD))).contents == {}
    assert bump.last is not None
    assert paused(bump.last) == [
        "apps/one.yaml:3: spec.containers[0].image, which ns:app asks for, is held: soon (Ann)"
    ]
    assert unmatched(bump.last, bump.images, []) == ""


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ([logged("r", ("Trimtab-Held", f"ns/app {NEW}"))], {APP: "by commit rrrrrrr of A <a@b>"}),
        ([logged("r", ("Trimtab-Held", "ns/app 1.1"))], {APP: "by commit rrrrrrr of A <a@b>"}),
        ([logged("r", ("Trimtab-Held", "ns/app acme/app:1.2"))], {}),
        ([logged("r", ("Trimtab-Held", f"ns/db {NEW}"))], {}),
        ([BUMP, logged("r", ("Trimtab-Held", f"ns/app {NEW}"))], {}),  # somebody wanted it again since
        ([logged("r", ("Trimtab-Held", "nonsense"), ("Trimtab-Held", "a/b/c d"))], {}),
    ],
    ids=["image", "tag", "another", "another policy", "wanted again", "nonsense"],
)
def test_what_a_rollback_took_back_is_not_written_again(log: list[Logged], found: dict[Key, str]) -> None:
    assert rolled_back({APP: NEW}, log) == found


def test_images_that_were_written_before_are_known_by_the_trailers() -> None:
    assert repeated({APP: NEW, DB: NEW}, [BUMP]) == {APP: NEW}
    assert repeated({APP: OLD}, [BUMP]) == {}


@pytest.mark.parametrize(
    ("checkout", "ref", "branch"),
    [
        (None, None, "master"),
        (None, {"branch": "main"}, "main"),
        ({"ref": {"branch": "dev"}}, {"branch": "main"}, "dev"),
        ({"ref": {"name": "refs/heads/a/b"}}, {"branch": "main"}, "a/b"),
        (None, {"semver": "1.x"}, None),
        (None, {"commit": "a" * 40, "branch": "main"}, None),
        (None, {"name": "refs/pull/1/head"}, None),
    ],
    ids=["default", "of the source", "its own", "by its full name", "a range", "a commit", "a request"],
)
def test_commits_are_made_on_a_branch(checkout: Any, ref: Any, branch: str | None) -> None:
    spec = {"url": "https://host/repo", "interval": "1m"} | ({"ref": ref} if ref else {})
    source = msgspec.convert({"metadata": {"name": "repo", "namespace": "ns"}, "spec": spec}, GitRepository)
    wanted = Automation.of(automation(**({"checkout": checkout} if checkout else {})))
    if branch is None:
        with pytest.raises(Terminal, match=r"spec\.ref of ns/repo is no branch"):
            wanted.branch(source)
        return
    assert wanted.branch(source) == branch


def test_the_marker_for_builds_stands_in_the_first_line_once() -> None:
    wanted = Automation.of(automation({"trimtab.dev/skip-ci": "true"}))
    assert wanted.finished("one\n\ntwo") == "one [skip ci]\n\ntwo"
    assert wanted.finished("one [skip ci]") == "one [skip ci]"
    assert Automation.of(automation()).finished("one\n\ntwo") == "one\n\ntwo"
