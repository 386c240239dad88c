"""What is particular to a GitRepository: look at the remote, verify what it offers, fetch the commit if it is new."""

from functools import partial

from trimtab.api.gvk import GIT_REPOSITORY
from trimtab.api.source import GitRepository
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.clock import Clock
from trimtab.controllers import rewinds, supported, verification
from trimtab.controllers.sourcing import Produced, Status, Withheld, secret
from trimtab.controllers.verification import Verification
from trimtab.kube.client import Client
from trimtab.sources.git import ANONYMOUS, Credentials, GitSource, GitSpec


class GitProducer:
    """Commits as snapshots."""

    gvk = GIT_REPOSITORY

    def __init__(self, client: Client, source: GitSource, clock: Clock) -> None:
        self._verification = Verification(client, source, clock)
        self._client = client
        self._source = source

    def check(self, item: GitRepository) -> None:
        """Raise Terminal for what is not served, or makes no sense."""
        supported.check_git(item)

    async def produce(self, item: GitRepository, status: Status, held: Snapshot | None) -> Produced:
        """The head of the repository, fetched again if the commit or what is left out of it has changed."""
        credentials = await self._credentials(item)
        spec = GitSpec.from_api(item.spec)
        head = await self._source.look(spec, credentials)
        try:
            head, trust = await self._verification.check(item, status, spec, credentials, head)
        except Withheld as refusal:
            if held is None:
                refusal.regained = await self._verification.regain(status, spec, credentials)
            raise
        snapshot = held
        if snapshot is None or snapshot.revision != head.revision or _asks_else(item, status):
            snapshot = await self._source.fetch(spec, credentials, head, held.tree if held else None)
        observed = {"observed_ignore": item.spec.ignore, "observed_sparse_checkout": item.spec.sparse_checkout}
        if trust is not None:
            verified = verification.words(trust, snapshot, spec)
            return Produced(snapshot, observed=observed | verification.remembered(item, trust), verified=verified)
        history = partial(rewinds.words, self._source, spec, credentials, status.artifact, snapshot.revision)
        return Produced(snapshot, observed=observed | verification.remembered(item, None), history=history)

    async def _credentials(self, item: GitRepository) -> Credentials:
        reference = item.spec.secret_ref
        if reference is None:
            return ANONYMOUS
        data = await secret(self._client, item.metadata.namespace, reference.name, "spec.secretRef")
        return Credentials.from_secret(data)


def _asks_else(item: GitRepository, status: Status) -> bool:
    """The same commit would give another artifact: what is left out has changed."""
    made_with = (getattr(status, "observed_ignore", None), getattr(status, "observed_sparse_checkout", ()))
    return (item.spec.ignore, item.spec.sparse_checkout) != made_with
