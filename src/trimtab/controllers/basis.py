"""What a pass stands on, and whether that is still so.

The first view of a process may be an old one: what was recorded since must not be written over, and its objects not be
nobody's. So the first write about an app happens only on the version that it was read at, or after a look at the
server.

Deletions ask more (ENGINE.md, P5). Between the plan and the last deletion of a pass there are many requests, and the
world goes on meanwhile: a newer artifact may desire again what this one no longer has, and somebody may have changed
the record or the spec. Whatever does not fit any more ends the deletions of the pass; the next one computes them anew.
"""

from typing import NamedTuple

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Transient
from trimtab.controllers.app import App, Build
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Key


class Basis(NamedTuple):
    """The digests of the artifact and of what it rendered to, and of which wish: the record is on the object itself."""

    source: SourceId
    artifact: str
    render: str
    generation: int

    @classmethod
    def of(cls, ks: Kustomization, published: Published, build: Build) -> "Basis":
        source = SourceId(ks.spec.source_ref.kind, ks.source_key)
        return cls(source, published.artifact.digest, build.digest, ks.metadata.generation)

    def gone(self, sources: SourceIndex, build: Build | None, now: Kustomization | None) -> str:
        """Why nothing more may be deleted on this basis; nothing while it holds. Asked before every deletion."""
        published = sources.get(self.source)
        if published is None:
            return f"{self.source} has no artifact any more"
        if published.artifact.digest != self.artifact:
            return f"{self.source} has published {published.artifact.revision} meanwhile, which is looked at first"
        if build is None or build.digest != self.render:
            return "what is desired has changed meanwhile"
        if now is None or now.metadata.generation != self.generation or now.metadata.deleted:
            return "the Kustomization has changed meanwhile, which is looked at first"
        return ""


class Outdated(Transient):
    """What was read of an app is not what the server has. It is read again when the view has caught up."""

    def __init__(self, key: Key) -> None:
        super().__init__(
            names.Reason.RECONCILIATION_FAILED,
            f"Kustomization {key} is seen as it was some time ago: it is looked at again before anything is done",
        )


def outlived(app: App, ks: Kustomization) -> bool:
    """Whether `app` was read from a view that has turned out to be an old one."""
    return app.seen is not None and app.version != ks.metadata.resource_version and app.seen != ks.status


async def recall(client: Client, app: App) -> None:
    """Ask the server whether it has what `app` was read from, unless that is known. Raises Outdated."""
    if app.seen is None:
        return
    resource = await client.discovery.find(KUSTOMIZATION)
    try:
        live = await client.get(resource, app.key.name, app.key.namespace, type=Kustomization)
    except NotFound:
        app.stale = True
        raise Outdated(app.key) from None
    if live.metadata.uid != app.uid or live.status != app.seen:
        app.stale = True
        raise Outdated(app.key)
    app.seen = None


async def confirm(client: Client, ks: Kustomization, app: App) -> bool:
    """Whether `ks` is still what its deletions were computed for: one read, before the first of them.

    Raises Transient where somebody else has changed the inventory, and Outdated where it was read from an old view:
    what was remembered of it is given up.
    """
    resource = await client.discovery.find(KUSTOMIZATION)
    try:
        live = await client.get(resource, ks.key.name, ks.key.namespace, type=Kustomization)
    except NotFound:
        return False
    recorded = live.status.inventory
    # a list without a checksum is kept by definitions that do not know ours, or was written by Flux
    lost = recorded is None and app.recorded and not app.headed
    if lost or (recorded and recorded.checksum and recorded.checksum != app.recorded):
        app.stale = True
        raise Transient(
            names.Reason.PRUNE_FAILED,
            "nothing is deleted: somebody else has changed status.inventory since it was read; it is read again",
        )
    if app.seen is not None and live.status != app.seen:
        app.stale = True
        raise Outdated(app.key)
    app.seen = None
    now, then = live.metadata, ks.metadata
    return (now.uid, now.generation, now.deleted, now.ours()) == (then.uid, then.generation, then.deleted, then.ours())
