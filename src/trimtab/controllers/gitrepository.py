"""What is particular to a GitRepository: look at the remote, verify what it offers, fetch the commit if it is new."""

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import Any

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.names import COMMIT_AUTHOR, COMMIT_SUBJECT, COMMIT_TIME, Reason
from trimtab.api.source import GitRepository, GitRepositoryStatus
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.base.traces import found, span
from trimtab.controllers import includes, rewinds, supported, verification
from trimtab.controllers.gitaccess import GitAccess
from trimtab.controllers.includes import Includes
from trimtab.controllers.index import Published
from trimtab.controllers.producing import Produced, Status, Withheld
from trimtab.controllers.verification import Verification
from trimtab.kube.client import Client
from trimtab.remotes.git.said import Said
from trimtab.sources.git import Credentials, GitSource, GitSpec


class GitProducer:
    """Commits as snapshots."""

    gvk = GIT_REPOSITORY

    def __init__(self, client: Client, source: GitSource, clock: Clock, access: GitAccess, includes: Includes) -> None:
        self._verification = Verification(client, source, clock)
        self._source = source
        self._access = access
        self.includes = includes

    def check(self, item: GitRepository) -> None:
        """Raise Terminal for what is not served, or makes no sense."""
        supported.check_git(item)
        self.includes.check(item)

    async def produce(self, item: GitRepository, status: Status, held: Snapshot | None) -> Produced:
        """The head of the repository, fetched again if the commit or what is left out of it has changed.

        What it includes is laid into it, and makes another artifact of the same revision when that moves.
        """
        spec = GitSpec.from_api(item.spec)
        included = self.includes.collect(item)
        credentials = await self._access.credentials(item, spec)
        try:
            return await self._produce(item, status, held, spec, credentials, included)
        except TrimtabError as failure:
            if failure.reason == Reason.AUTHENTICATION_FAILED:
                self._access.refused(credentials)
            raise

    async def _produce(
        self,
        item: GitRepository,
        status: Status,
        held: Snapshot | None,
        spec: GitSpec,
        credentials: Credentials,
        included: tuple[Published, ...],
    ) -> Produced:
        with span("look"):
            head = await self._source.look(spec, credentials)
        found(head.revision, item.metadata.uid)
        try:
            with span("verify") if item.spec.verify is not None else nullcontext():
                head, trust = await self._verification.check(item, status, spec, credentials, head)
        except Withheld as refusal:
            if held is None and (own := await self._verification.regain(status, spec, credentials)):
                refusal.regained = await asyncio.to_thread(self.includes.lay, item, own, included)
            raise
        snapshot, said = held, _said_before(status)
        if snapshot is None or snapshot.revision != head.revision or _asks_else(item, status, included):
            with span("fetch"):
                own = await self._source.fetch(spec, credentials, head, held.tree if held else None)
                snapshot = await asyncio.to_thread(self.includes.lay, item, own, included)
            if status.artifact is None or status.artifact.revision != snapshot.revision:
                said = _in_words(await self._source.said(spec, credentials, snapshot.revision))
        observed = _observed(item, included)
        if trust is not None:
            verified = verification.words(trust, snapshot, spec)
            remembered = verification.remembered(item, trust)
            return Produced(snapshot, said, observed=observed | remembered, verified=verified)
        history = partial(rewinds.words, self._source, spec, credentials, status.artifact, snapshot.revision)
        return Produced(snapshot, said, observed=observed | verification.remembered(item, None), history=history)


def _observed(item: GitRepository, included: tuple[Published, ...]) -> dict[str, Any]:
    """The fields of the status that say what the artifact was made with."""
    return {
        "observed_ignore": item.spec.ignore,
        "observed_sparse_checkout": item.spec.sparse_checkout,
        "observed_recurse_submodules": item.spec.recurse_submodules,
        "observed_include": item.spec.include,
        "included_artifacts": tuple(one.artifact for one in included),
    }


def _in_words(said: Said) -> dict[str, str]:
    """What the commit says of itself, for the metadata of the artifact."""
    words = {COMMIT_AUTHOR: said.author, COMMIT_SUBJECT: said.subject, COMMIT_TIME: said.committed}
    return {key: text for key, text in words.items() if text}


def _said_before(status: Status) -> dict[str, str]:
    """The same, as the artifact has it by now: as long as the commit stays it stays."""
    known = status.artifact.metadata if status.artifact is not None else {}
    return {key: known[key] for key in (COMMIT_AUTHOR, COMMIT_SUBJECT, COMMIT_TIME) if key in known}


def _asks_else(item: GitRepository, status: Status, included: tuple[Published, ...]) -> bool:
    """The same commit would give another artifact: what is left out, or laid in, has changed."""
    if not isinstance(status, GitRepositoryStatus):
        return True
    return includes.differ(status.included_artifacts, included) or (
        (item.spec.ignore, item.spec.sparse_checkout, item.spec.recurse_submodules, item.spec.include)
        != (
            status.observed_ignore,
            status.observed_sparse_checkout,
            status.observed_recurse_submodules,
            status.observed_include,
        )
    )
