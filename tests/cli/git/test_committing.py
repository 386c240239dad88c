"""What commands write to a repository with, where doubles stand for the cluster and nobody is asked for commits."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from trimtab.api.source import GitRepository
from trimtab.base.clock import SystemClock
from trimtab.cli.connect import Failure
from trimtab.cli.git.committing import Pen, desk
from trimtab.commits import Repository, Writers
from trimtab.controllers.gitaccess import GitAccess
from trimtab.remotes.git.credentials import Credentials

SOURCE = msgspec.convert(
    {
        "metadata": {"name": "apps", "namespace": "ns"},
        "spec": {"url": "https://git.example/acme/apps.git", "interval": "1m", "provider": "github"},
    },
    GitRepository,
)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a cluster that hands out one token for reading and another for writing."""

    async def credentials(_self: Any, _item: Any, _spec: Any, *, writes: bool = False) -> Credentials:
        return Credentials(username="x-access-token", password="writes" if writes else "reads")

    monkeypatch.setattr(GitAccess, "credentials", credentials)
    monkeypatch.setattr(Writers, "of", lambda _self, repository, _branch, **_more: repository)
    return SimpleNamespace(clock=SystemClock())


def pen(remote: str | None = None, *, dry_run: bool = False) -> Pen:
    return Pen(None, None, dry_run, None, remote, True, "Ann <ann@example.org>", None, None, True)


async def test_the_secret_of_a_source_is_asked_for_what_reads_and_for_what_writes(client: Any) -> None:
    async with desk(client, SOURCE, pen(), 30.0) as at:
        repository: Any = at.writer
    assert isinstance(repository, Repository)
    assert repository.write is not None
    assert (repository.credentials.password, repository.write.password) == ("reads", "writes")
    async with desk(client, SOURCE, pen(dry_run=True), 30.0) as at:
        shown: Any = at.writer
    assert shown.write.password == "reads"


async def test_the_secret_of_a_source_goes_to_its_own_place_alone(client: Any) -> None:
    with pytest.raises(Failure, match="is not sent to another place"):
        async with desk(client, SOURCE, pen("https://git.example.org/acme/apps.git"), 30.0):
            pass
