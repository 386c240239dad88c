"""Where the objects of a HelmRelease go, and in whose name it is acted there."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from trimtab.api.helmrelease import HelmRelease
from trimtab.controllers.access import Access
from trimtab.controllers.charting import source_of
from trimtab.controllers.driving import wants_more
from trimtab.controllers.index import Published, SourceIndex
from trimtab.controllers.places import Places
from trimtab.controllers.release import Release, Site
from trimtab.manifests.refs import Key
from trimtab.targets.kubernetes.desired import Desired


@dataclass(frozen=True, slots=True)
class Sites:
    """Finds the site of each release. `objects` are all of them; `nudged` those whose parts may be others by now."""

    objects: Mapping[Key, HelmRelease]
    sources: SourceIndex
    places: Places
    access: Access
    nudged: Collection[Key]

    async def of(self, hr: HelmRelease, release: Release, named: Key, known: str) -> Site:
        """The site of the release `named` so; `known` is the digest of the artifact in hand. Raises TrimtabError."""
        place = await self.places.of(hr)
        if release.place is not place:
            release.let_go()
            listed = release.status.inventory
            if listed is not None and not place.holds(listed.cluster):
                release.inventory = {}  # uids of another cluster: nothing of this one would be ours by them
            release.place, release.settled = place, None
        client, source = await self.access.client_for(hr, place), source_of(hr)

        def outdated() -> bool:
            now = self.objects.get(hr.key)
            return (
                now is None
                or hr.key in self.nudged
                or now.spec.suspend != hr.spec.suspend
                or now.metadata.deleted != hr.metadata.deleted
                or now.metadata.generation != hr.metadata.generation
                or (now.metadata.requested_at != hr.metadata.requested_at and wants_more(now))
                or digest_of(self.sources.get(source)) not in ("", known)  # one that has gone is no other one
            )

        async def admit(items: Iterable[Desired]) -> None:
            await self.access.admit(hr, place, items)

        return Site(hr, release, client, named, outdated, admit)


def digest_of(published: Published | None) -> str:
    """Which artifact it is; nothing if there is none."""
    return published.artifact.digest if published is not None else ""
