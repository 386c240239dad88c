"""What commands ask git themselves, of a real server."""

import pytest

from tests.remotes.world import Repository
from tests.sources.test_git import repository, server, source, store, transport
from trimtab.cli.questions import past as asking
from trimtab.cli.questions.past import Change, Past, Unknown
from trimtab.remotes.git.credentials import ANONYMOUS

__all__ = ["repository", "server", "source", "store", "transport"]


class Open:
    """Stands in for what reads Secrets: the repository is open to everybody."""

    async def credentials(self, item, spec):
        return ANONYMOUS


@pytest.fixture
def git(source) -> Past:
    return Past(Open(), source)


def of(server, *, revision="", **spec):
    return {
        "kind": "GitRepository",
        "metadata": {"name": "apps", "namespace": "n"},
        "spec": {"url": server.url("apps"), "interval": "1m", "ref": {"branch": "main"}, **spec},
        "status": {"artifact": {"path": "", "url": "", "digest": "", "revision": revision, "lastUpdateTime": ""}},
    }


def at(commit):
    return f"main@sha1:{commit}"


def lines(*words: str) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def history(repository: Repository, count: int) -> list[str]:
    return [repository.commit({"other": str(number).encode()}) for number in range(count)]


async def test_a_revision_contains_what_came_before_it_and_nothing_else(server, repository, git):
    first, second, third = history(repository, 3)
    assert await git.contains(of(server), at(third), first[:8]) is True
    assert await git.contains(of(server), at(third), at(second)) is True
    assert await git.contains(of(server), at(first), third) is False
    assert await git.contains(of(server), at(third), "0000000") is False


async def test_what_cannot_be_asked_is_unknown_with_the_reason(server, repository, git):
    [only] = history(repository, 1)
    assert "is a name" in (await git.contains(of(server), at(only), "v1.0")).why
    bucket = {**of(server), "kind": "Bucket"}
    assert "Bucket" in (await git.contains(bucket, at(only), "0000000")).why
    including = of(server, include=[{"repository": {"name": "x"}}])
    assert "includes" in (await git.last_change(including, at(only), "other", 1, 1)).why
    gone = await git.contains(of(server), at("1" * 40), "0000000")
    assert isinstance(gone, Unknown)
    assert "hands out commit" in gone.why or "not there" in gone.why


async def test_the_newest_commit_that_wrote_one_of_the_lines_is_found(server, repository, git):
    first = repository.commit({"app/a.yaml": lines("one", "two", "three", "four")})
    second = repository.commit({"app/a.yaml": lines("one", "2", "three", "four")})
    third = repository.commit({"app/a.yaml": lines("one", "2", "three", "4")})
    last = repository.commit({"other": b"x"})

    async def wrote(start, end):
        found = await git.last_change(of(server), at(last), "app/a.yaml", start, end)
        assert isinstance(found, Change), found
        assert not found.or_before
        return found.commit

    assert await wrote(1, 1) == first
    assert await wrote(1, 3) == second
    assert await wrote(1, 4) == third
    touched = await git.last_touch(of(server), at(last), "app")
    assert (touched.commit, touched.or_before) == (third, False)


async def test_what_was_written_before_what_is_fetched_may_be_an_earlier_commit(server, repository, git, monkeypatch):
    monkeypatch.setattr(asking, "_STEPS", (1, 2))
    repository.commit({"a.yaml": lines("one")})
    *_, last = history(repository, 4)
    found = await git.last_change(of(server), at(last), "a.yaml", 1, 1)
    assert found.or_before
    touched = await git.last_touch(of(server), at(last), "")
    assert touched.commit == last


@pytest.mark.parametrize("path", [":(glob)**", "../x", "-x", "a\0b", "nowhere.yaml"], ids=str.__repr__)
async def test_a_path_is_a_file_of_the_commit_and_nothing_else(server, repository, git, path):
    commit = repository.commit({"a.yaml": lines("one")})
    found = await git.last_change(of(server), at(commit), path, 1, 1)
    assert isinstance(found, Unknown)


async def test_the_log_goes_back_to_the_oldest_that_is_asked_for_and_says_whose_commits_they_are(
    server, repository, git
):
    first, second, third, fourth = history(repository, 4)
    log = await git.log(of(server, revision=at(fourth)), [at(third), at(second)])
    assert [one.oid for one in log] == [fourth, third, second]
    assert all(one.author and one.committed for one in log)
    assert [one.oid for one in await git.log(of(server, revision=at(fourth)), [at("1" * 40)])] == [fourth]
    assert first not in [one.oid for one in log]
