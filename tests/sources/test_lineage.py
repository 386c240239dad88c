"""Whether a commit descends from another, asked of real servers that have histories of every shape."""

import pytest

from tests.remotes.world import Repository
from tests.sources.test_git import repository, server, source, spec, store, transport
from trimtab.api.source import Artifact
from trimtab.cluster.gitserver import GitServer
from trimtab.controllers import rewinds
from trimtab.remotes.git.history import Descent
from trimtab.sources import git as git_source
from trimtab.sources.git import ANONYMOUS

__all__ = ["repository", "server", "source", "store", "transport"]


async def asked(server: GitServer, source, old: str, new: str, **ref: str) -> Descent:
    found, why = await source.descent(spec(server.url("apps"), **ref), ANONYMOUS, old, f"main@sha1:{new}")
    assert bool(why) == (found is Descent.UNKNOWN), why
    return found


def history(repository: Repository, count: int) -> list[str]:
    return [repository.commit({"a": str(number).encode()}) for number in range(count)]


async def test_a_commit_descends_from_those_before_it_near_and_far(server, repository, source, monkeypatch):
    monkeypatch.setattr(git_source, "STEPS", (2, 4, 50))
    commits = history(repository, 9)
    for old in (commits[-1], commits[-2], commits[4], commits[0]):
        assert await asked(server, source, old, commits[-1]) is Descent.DESCENDS


async def test_a_commit_of_before_does_not_descend_from_one_of_later(server, repository, source):
    first, second = history(repository, 2)
    repository.git("update-ref", "refs/heads/main", first)
    assert await asked(server, source, second, first) is Descent.DIVERGED


async def test_a_rewritten_history_does_not_descend_even_if_the_old_commit_is_gone(server, repository, source):
    [*_, old] = history(repository, 3)
    repository.git("update-ref", "-d", "refs/heads/main")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")
    assert repository.git("cat-file", "--batch-check", stdin=old.encode()) == f"{old} missing"
    assert await asked(server, source, old, repository.commit({"b": b"1"})) is Descent.DIVERGED


async def test_a_merge_descends_from_both_sides(server, repository, source):
    [base] = history(repository, 1)
    repository.git("update-ref", "refs/heads/side", base)
    side = repository.commit({"b": b"1"}, branch="side")
    main = repository.commit({"c": b"1"})
    tree = repository.git("rev-parse", f"{main}^{{tree}}")
    merge = repository.git("commit-tree", "-m", "m", "-p", main, "-p", side, tree)
    repository.git("update-ref", "refs/heads/main", merge)
    assert await asked(server, source, side, merge) is Descent.DESCENDS
    assert await asked(server, source, main, merge) is Descent.DESCENDS
    assert await asked(server, source, side, main) is Descent.DIVERGED


async def test_a_history_longer_than_the_limit_gives_no_answer(server, repository, source, monkeypatch):
    monkeypatch.setattr(git_source, "STEPS", (2, 3))
    commits = history(repository, 6)
    assert await asked(server, source, commits[0], commits[-1]) is Descent.UNKNOWN
    assert await asked(server, source, "1" * 40, commits[-1]) is Descent.UNKNOWN


async def test_a_commit_that_cannot_be_had_gives_no_answer_and_no_error(server, repository, source):
    [old] = history(repository, 1)
    assert await asked(server, source, old, "2" * 40) is Descent.UNKNOWN
    assert await asked(server, source, "nonsense", old) is Descent.UNKNOWN


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "does-not-filter"])
async def test_no_file_is_fetched_for_the_answer(server, repository, source, tmp_path, filters):
    repository.git("config", "uploadpack.allowFilter", str(filters).lower())
    first, second = repository.commit({"a": b"1"}), repository.commit({"big": bytes(range(256)) * 4000})
    assert await asked(server, source, first, second) is Descent.DESCENDS
    sizes = [file.stat().st_size for file in (tmp_path / "cache").rglob("*.pack")]
    assert sizes
    assert not filters or sum(sizes) < 2000
    assert not list((tmp_path / "cache" / "private").iterdir())


async def test_a_history_that_another_reference_left_cut_does_not_spoil_the_answer(
    server, repository, source, monkeypatch
):
    """Both live in one mirror, and how far one was fetched says nothing of the other."""
    monkeypatch.setattr(git_source, "STEPS", (2, 50))
    commits = history(repository, 6)
    assert await asked(server, source, commits[-2], commits[-1]) is Descent.DESCENDS
    repository.git("update-ref", "refs/heads/other", commits[0])
    assert await asked(server, source, commits[1], commits[0], branch="other") is Descent.DIVERGED


async def test_the_next_version_of_a_range_need_not_descend_from_the_last_but_a_tag_that_moved_has_to(
    server, repository, source
):
    old = repository.commit({"a": b"1"})
    repository.git("update-ref", "-d", "refs/heads/main")
    new = repository.commit({"b": b"1"})
    versions = spec(server.url("apps"), semver="1.x")
    before = Artifact(path="", url="", last_update_time="", revision=f"v1.0@sha1:{old}")
    assert await rewinds.words(source, versions, ANONYMOUS, before, f"v1.1@sha1:{new}") == ""
    assert "history was rewritten" in await rewinds.words(source, versions, ANONYMOUS, before, f"v1.0@sha1:{new}")
