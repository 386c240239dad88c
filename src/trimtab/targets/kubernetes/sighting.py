"""What one look at a live object told us, reduced to what decides: identity, ownership, projection, health."""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from trimtab.diff import fields
from trimtab.health.assess import Context, assess, recheck_after
from trimtab.health.builtin import spent
from trimtab.health.shape import created
from trimtab.health.verdict import Verdict
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.targets.contract import Mark
from trimtab.targets.kubernetes.desired import MANAGER, Owner, rule
from trimtab.targets.kubernetes.judging import Judge
from trimtab.targets.kubernetes.takeover import is_foreign

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation")


class Look(NamedTuple):
    """Which object was looked at, as it was then: all that an API version says of it follows from that."""

    gvk: Gvk
    uid: str
    version: str


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    metadata: _Metadata


_decode_head = msgspec.json.Decoder(_Head).decode


def glance(data: bytes) -> tuple[Ref, Look]:
    """Which object `data` is, and at which version. Raises msgspec.DecodeError where it does not say."""
    head = _decode_head(data)
    gvk, metadata = Gvk.of(head.api_version, head.kind), head.metadata
    ref = Ref(gvk.group, gvk.kind, metadata.namespace, metadata.name)
    return ref, Look(gvk, metadata.uid, metadata.resource_version)


class Sighting(NamedTuple):
    """An object as the server had it at `version`.

    `owned` is the digest of the fields we own (empty: none), `projection` that of their live values (ENGINE.md §8).
    `foreign`: kubectl owns fields that are to be taken over before the next apply.
    `due` is when the verdict may change by the mere passing of time; `spent` says that it may go, its work being done.
    `paused`: the live object asks to be left alone. `leaving`: its deletion has begun.
    `content` is the digest of all that is declared of it by anybody, where that was asked for.
    """

    ref: Ref
    gvk: Gvk
    uid: str
    version: str
    owned: str
    projection: str
    verdict: Verdict
    owner: Owner | None
    controlled: bool
    foreign: bool = False
    due: datetime | None = None
    spent: bool = False
    paused: bool = False
    leaving: bool = False
    content: str = ""

    @property
    def key(self) -> Ref:
        return self.ref

    @property
    def look(self) -> Look:
        return Look(self.gvk, self.uid, self.version)

    def undisturbed(self, baseline: "Sighting") -> bool:
        """The fields that we own, and their values, are those of `baseline`.

        Paths belong to a version: seen through another one, only the set of them can be compared (D6).
        """
        if (self.uid, self.owned) != (baseline.uid, baseline.owned):
            return False
        return self.projection == baseline.projection or self.gvk != baseline.gvk

    def unchanged(self, before: "Sighting") -> bool:
        """As `undisturbed`, and no field that is no longer ours has changed either."""
        return self.undisturbed(before) and (self.content == before.content or not (self.content and before.content))

    @property
    def mark(self) -> Mark:
        """The same, for the record."""
        return Mark(self.uid, self.version, self.projection)

    def older_than(self, other: "Sighting") -> bool:
        """The server had this before `other`. Versions of one object are compared as numbers (Kubernetes ≥ 1.35)."""
        if self.uid != other.uid:
            return False
        try:
            return int(self.version) <= int(other.version)
        except ValueError:
            return self.version == other.version


def sight(
    body: Body, now: datetime, manager: str = MANAGER, judge: Judge = assess, *, closely: bool = False
) -> Sighting:
    """Reduce a live object, or the server's answer to an apply, to a Sighting; `closely`: with its `content`."""
    metadata = body["metadata"]
    entry = fields.owned_entry(body, manager)
    # The server's own memory of when it first saw the object outlives ours.
    context = Context(now=now, first_seen=created(body))
    seconds = recheck_after(body, context)
    return Sighting(
        ref=Ref.of(body),
        gvk=Gvk.of(body["apiVersion"], body["kind"]),
        uid=metadata.get("uid", ""),
        version=metadata.get("resourceVersion", ""),
        owned=fields.owned_digest(entry) if entry else "",
        projection=fields.projection_digest(body, entry) if entry else "",
        verdict=judge(body, context),
        owner=Owner.of(body),
        controlled=any(owner.get("controller") for owner in metadata.get("ownerReferences") or ()),
        foreign=is_foreign(body, manager),
        due=now + timedelta(seconds=seconds) if seconds is not None else None,
        spent=spent(body),
        paused=manager == MANAGER and rule(body, "reconcile") == "disabled",
        leaving="deletionTimestamp" in metadata,
        content=codec.digest(content(body)) if closely else "",
    )


def content(body: Body) -> Body:
    """What only a writer of the object itself changes, and neither its status nor the server's own bookkeeping."""
    metadata = {name: value for name, value in body["metadata"].items() if name not in _BOOKKEEPING}
    return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}
