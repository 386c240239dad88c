"""What the deletions of one pass were computed from, and whether that is still so (ENGINE.md, P5).

Between the plan and the last deletion of a pass there are many requests, and the world goes on meanwhile: a newer
artifact may desire again what this one no longer has, and somebody may have changed the record or the spec. Whatever
does not fit any more ends the deletions of the pass; the next one computes them anew.
"""

from typing import NamedTuple

from trimtab.api import names
from trimtab.api.gvk import KUSTOMIZATION
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Transient
from trimtab.controllers.app import BY_FLUX, App, Build
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound


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


async def recall(client: Client, app: App) -> None:
    """Ask the server once, before the first effect on the record of an app in the life of this process.

    The first view of a process may be an old one: what was recorded since would be written over, and its objects be
    nobody's. Raises Transient where the record is another one: it is read again when the view has caught up.
    """
    if app.confirmed or app.problem:
        return
    resource = await client.discovery.find(KUSTOMIZATION)
    try:
        live = await client.get(resource, app.key.name, app.key.namespace, type=Kustomization)
    except NotFound:
        return
    if live.metadata.uid != app.uid or _differs(live, app):
        app.stale = True
        raise Transient(
            names.Reason.RECONCILIATION_FAILED,
            "what was read of this object is older than what the server has: it is looked at again",
        )
    app.confirmed = True


def _differs(live: Kustomization, app: App) -> bool:
    """Whether the record on the server is not the one that `app` was made of."""
    recorded = live.status.inventory
    if app.headed:
        return False  # the definitions do not know our fields: a Secret has the record
    if recorded is None:
        return bool(app.recorded)
    if recorded.checksum:
        return recorded.checksum != app.recorded
    return bool(recorded.entries) and app.recorded != BY_FLUX


async def confirm(client: Client, ks: Kustomization, app: App) -> bool:
    """Whether `ks` is still what its deletions were computed for: one read, before the first of them.

    Raises Transient where somebody else has changed the inventory: what was remembered of it is given up.
    """
    resource = await client.discovery.find(KUSTOMIZATION)
    try:
        live = await client.get(resource, ks.key.name, ks.key.namespace, type=Kustomization)
    except NotFound:
        return False
    if _differs(live, app):
        app.stale = True
        raise Transient(
            names.Reason.PRUNE_FAILED,
            "nothing is deleted: somebody else has changed status.inventory since it was read; it is read again",
        )
    app.confirmed = True
    now, then = live.metadata, ks.metadata
    return (now.uid, now.generation, now.deleted, now.ours()) == (then.uid, then.generation, then.deleted, then.ours())
