"""One run against a repository that is a double: what is asked of it, on which branch, and what is left alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.controllers.test_bumping import APP, DB, FILE, NEW, OLD, automation, logged

from trimtab.base.errors import Transient
from trimtab.commits import Entry, Logged, Nothing, Order, Planned, Snapshot, Written
from trimtab.controllers.automation import Automation
from trimtab.controllers.bumping import Place
from trimtab.controllers.writingback import Ran, Run
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key

NEW_DB = Image.of("acme/db", "2")
FILES = {"apps/app.yaml": FILE.format(OLD), "apps/db.yaml": FILE.format("acme/db:1").replace("ns:app", "ns:db")}


@dataclass
class Repository:
    """The double: the files of the branch `main`, and its log; `branches` are the logs of others."""

    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    log: list[Logged] = field(default_factory=list)
    branches: dict[str, list[Logged]] = field(default_factory=dict)
    past: dict[str, dict[str, str]] = field(default_factory=dict)
    orders: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    branch: str = "main"
    asked: int = 0
    older: list[Logged] = field(default_factory=list)

    async def head(self) -> str:
        return "0" * 40

    async def touching(self, paths: Iterable[str], _most: int, branch: str = "") -> dict[str, list[Logged]]:
        self.asked += 1
        if branch and branch not in self.branches:
            raise Transient("GitOperationFailed", f"there is no branch {branch}")
        return dict.fromkeys(paths, self.branches[branch] if branch else self.log)

    async def further(self, most: int) -> list[Logged]:
        self.asked += 1
        return [*self.log, *self.older][:most]

    async def write(self, edit: Any, order: Order) -> Any:
        past = {commit: snapshot(self.past[commit]) for commit in order.past}
        changes = edit(snapshot(self.files, past))
        where = order.push.branch or self.branch
        if not changes.contents:
            return Nothing("0" * 40, where)
        if order.dry:
            return Planned("0" * 40, where, tuple(changes.contents), "", "")
        self.orders.append((where, {path: data.decode() for path, data in changes.contents.items()}))
        return Written(f"{len(self.orders):040}", "0" * 40, where, tuple(changes.contents))


def snapshot(files: dict[str, str], past: Any = None) -> Snapshot:
    contents = {path: text.encode() for path, text in files.items()}
    return Snapshot("c" * 40, {path: Entry("100644", "0" * 40) for path in contents}, contents, past or {})


async def run(
    repository: Repository,
    spared: tuple[Place, ...] = (),
    released: Mapping[Key, str] | None = None,
    observed: str = "",
    **asked: Any,
) -> Ran:
    wanted: Any = repository
    images = {APP: NEW, DB: NEW_DB}
    item = Automation.of(automation(**asked))
    held = dict.fromkeys(spared, "d" * 40)
    return await Run(Key("ns", "auto"), item, wanted, None, "", images, held, released or {}, observed).carry_out()


def bump(commit: str, policy: Key, image: Image) -> Logged:
    return logged(commit, ("Trimtab-Policy", f"{policy} {image} (was x)"), ("Trimtab-Automation", "ns/auto"))


async def test_all_that_is_new_is_one_commit_on_the_branch_itself() -> None:
    repository = Repository()
    ran = await run(repository)
    assert [(branch, sorted(files)) for branch, files in repository.orders] == [("main", sorted(FILES))]
    assert (ran.head, len(ran.pushed), ran.proposals, ran.undone) == (f"{1:040}", 1, (), {})


@pytest.mark.parametrize("branch", ["", "trimtab/images"])
async def test_each_policy_has_a_commit_of_its_own_and_a_branch_where_that_is_another(branch: str) -> None:
    repository = Repository()
    push = {"push": {"branch": branch}} if branch else {}
    ran = await run(repository, annotations={"trimtab.dev/commits": "policy"}, **push)
    names = [f"{branch}-app", f"{branch}-db"] if branch else ["main", "main"]
    assert [(where, list(files)) for where, files in repository.orders] == [
        (names[0], ["apps/app.yaml"]),
        (names[1], ["apps/db.yaml"]),
    ]
    assert [one.branch for one in ran.proposals] == (names if branch else [])
    assert ran.head == ("0" * 40 if branch else f"{2:040}")


async def test_nothing_new_is_no_commit_and_the_last_of_ours_is_known() -> None:
    last = bump("b", APP, NEW)
    repository = Repository({"apps/app.yaml": FILE.format(NEW)}, [logged("h"), last])
    ran = await run(repository)
    assert (repository.orders, ran.before, ran.head) == ([], last, "0" * 40)


async def test_what_was_undone_is_left_and_the_rest_is_written() -> None:
    repository = Repository(log=[logged("h"), bump("b", APP, NEW)])
    repository.past["b" * 40] = {**FILES, "apps/app.yaml": FILE.format(NEW)}
    ran = await run(repository)
    assert ran.undone == {Place(APP, "apps/app.yaml"): "by commit hhhhhhh of A <a@b>"}
    assert [list(files) for _, files in repository.orders] == [["apps/db.yaml"]]
    again = Repository(log=repository.log, past=repository.past)
    assert (await run(again, released={APP: ""})).undone == {}
    assert [sorted(files) for _, files in again.orders] == [sorted(FILES)]


UNDONE, AGAIN = [logged("h"), bump("b", APP, NEW)], [logged("f"), bump("e", APP, NEW)]


@pytest.mark.parametrize(
    ("log", "after", "held"),
    [
        (UNDONE, None, True),
        (UNDONE, "h" * 40, False),
        ([logged("0"), *UNDONE], "hhhhhhh", False),
        ([*AGAIN, *UNDONE], "h" * 40, True),
        ([*AGAIN, *UNDONE], "f" * 40, False),
        ([logged("0"), *AGAIN, *UNDONE], "f" * 40, False),
        (UNDONE, "9" * 40, True),  # of a history that is not this one
    ],
    ids=["never", "then", "later commits", "undone once more", "let go once more", "and later commits", "unknown"],
)
async def test_what_was_let_go_is_held_again_when_it_is_undone_once_more(
    log: list[Logged], after: str | None, held: bool
) -> None:
    """Rollbacks and changes by hand alike."""
    place = Place(APP, "apps/app.yaml")
    had = {**FILES, "apps/app.yaml": FILE.format(NEW)}
    repository = Repository(log=log, past={"b" * 40: had, "e" * 40: had})
    released = {} if after is None else {APP: after}
    assert (place in (await run(repository, released=released)).undone) is held
    back = [logged(one.commit[0], ("Trimtab-Held", f"{APP} {NEW}")) if one.commit[0] in "hf" else one for one in log]
    repository = Repository(log=back, past={"b" * 40: had, "e" * 40: had})
    assert (place in (await run(repository, released=released)).undone) is held


@pytest.mark.parametrize(
    ("after", "kept"),
    [(None, True), ("", False), ("d" * 40, False), ("c" * 40, True), ("e" * 40, False), ("9" * 40, True)],
    ids=["never", "ever", "then", "before", "later", "unknown"],
)
async def test_what_is_remembered_as_undone_counts_unless_it_was_let_go_since(after: str | None, kept: bool) -> None:
    place = Place(APP, "apps/app.yaml")
    repository = Repository(log=[logged("e"), logged("d"), logged("c")])
    ran = await run(repository, (place,), {} if after is None else {APP: after})
    assert (ran.remembered, ran.newest) == ({place: "d" * 40} if kept else {}, "e" * 40)
    assert (place in ran.undone) is kept


async def test_the_server_is_asked_no_more_often_where_more_files_were_undone() -> None:
    files = {f"apps/{number}.yaml": FILE.format(OLD) for number in range(30)}
    repository = Repository(files, log=[logged("h"), bump("b", APP, NEW)])
    repository.past["b" * 40] = dict.fromkeys(files, FILE.format(NEW))
    assert len((await run(repository)).undone) == 30
    assert repository.asked == 2


async def test_a_new_marker_in_a_file_that_was_written_before_is_none_that_was_undone() -> None:
    repository = Repository(log=[logged("h"), bump("b", APP, NEW)], past={"b" * 40: {"apps/app.yaml": "a: 1\n"}})
    assert (await run(repository)).undone == {}
    assert [sorted(files) for _, files in repository.orders] == [sorted(FILES)]


async def test_what_is_remembered_as_undone_stays_so_without_its_history_while_it_is_so() -> None:
    place, gone = Place(APP, "apps/app.yaml"), Place(DB, "apps/none.yaml")
    repository = Repository()
    ran = await run(repository, spared=(place, gone))
    assert ran.undone == {place: ""}
    assert [list(files) for _, files in repository.orders] == [["apps/db.yaml"]]


async def test_a_rollback_and_who_writes_another_each_time_are_not_fought() -> None:
    held = logged("r", ("Trimtab-Held", f"{APP} {NEW}"))
    other = logged("o", ("Trimtab-Policy", f"{DB} acme/db:1 (was x)"))
    repository = Repository(log=[held, *[other, bump("b", DB, NEW_DB)] * 3])
    ran = await run(repository)
    assert ran.undone == {
        Place(APP, "apps/app.yaml"): "by commit rrrrrrr of A <a@b>",
        Place(DB, "apps/db.yaml"): "each of the 3 times it was written",
    }
    assert repository.orders == []


async def test_a_rollback_counts_however_many_commits_were_made_since_the_last_run() -> None:
    many = [logged(f"{number:040}"[-1]) for number in range(10)] * 5
    repository = Repository(log=many, older=[logged("r", ("Trimtab-Held", f"{APP} {NEW}")), logged("s")])
    assert list((await run(repository, observed="s" * 40)).undone) == [Place(APP, "apps/app.yaml")]
    assert [list(files) for _, files in repository.orders] == [["apps/db.yaml"]]
    near = Repository(log=many, older=repository.older)
    assert (await run(near, observed=many[9].commit)).undone == {}
    assert near.asked == 1, "what the last run saw is among the last commits: nothing more is fetched"


async def test_what_was_undone_on_the_branch_that_is_pushed_to_counts_as_well() -> None:
    repository = Repository(past={"b" * 40: {**FILES, "apps/app.yaml": FILE.format(NEW)}})
    push = {"push": {"branch": "staging"}}
    assert (await run(repository, **push)).undone == {}  # there is no such branch yet
    repository.branches["staging"] = [logged("h"), bump("b", APP, NEW)]
    assert list((await run(repository, **push)).undone) == [Place(APP, "apps/app.yaml")]
