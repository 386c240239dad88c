"""The end of a HelmRelease: its release is uninstalled, or as much of it as its namespace still lets be."""

from dataclasses import dataclass

from trimtab.api.helmrelease import HelmRelease
from trimtab.base.clock import Clock
from trimtab.base.errors import TrimtabError
from trimtab.controllers.access import Access
from trimtab.controllers.charting import source_of
from trimtab.controllers.driving import Driving
from trimtab.controllers.release import Release
from trimtab.controllers.releaserecords import ReleaseRecords
from trimtab.controllers.releasescribe import ReleaseScribe
from trimtab.controllers.sites import Sites, digest_of
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.refs import Gvk, Key

_NAMESPACE = Gvk("", "v1", "Namespace")
_FAILURES = (TrimtabError, ApiError, UnknownKind, StaleGroup, Unreachable)


@dataclass(frozen=True, slots=True)
class Uninstalling:
    """Uninstalls what belongs to releases that are deleted. `client` is that of our own cluster."""

    client: Client
    clock: Clock
    access: Access
    scribe: ReleaseScribe
    sites: Sites
    driving: Driving

    async def part(self, hr: HelmRelease, release: Release) -> None:
        """Uninstall what was released. Raises where that cannot be done, unless the namespace of `hr` is going."""
        try:
            await self._uninstall(hr, release)
        except _FAILURES as failure:
            if not await self._ending(hr):
                raise
            await self._sweep(hr, release, failure)

    async def _sweep(self, hr: HelmRelease, release: Release, failure: Exception) -> None:
        """Its namespace is going, with what an uninstall needs: delete at least what is elsewhere, or say it stays."""
        try:
            await self._uninstall(hr, release, bare=True)
        except _FAILURES:
            words = "its namespace is going, and it could not be uninstalled: what it owns elsewhere stays"
            self.scribe.warn(hr, release, "Orphaned", f"{words}: {failure}")

    async def _uninstall(self, hr: HelmRelease, release: Release, *, bare: bool = False) -> None:
        status = release.status
        if not status.history and not status.storage_namespace:
            return  # nothing was ever begun: whatever has its name is somebody else's
        known = status.history[0] if status.history else None
        of = Key(known.namespace, known.name) if known else Key(hr.release_namespace, hr.release_name)
        site = await self.sites.of(hr, release, of, digest_of(self.sites.sources.get(source_of(hr))))
        client = await self.access.client_for(hr, release.at, writing=True)
        storage = status.storage_namespace or hr.storage_namespace
        chart = f"{known.chart_name}@{known.chart_version}" if known else ""
        self.scribe.stand(hr, release, source_of(hr), None, chart)
        await self.driving.part(site, ReleaseRecords(client, self.clock, storage, of.name), bare=bare)

    async def _ending(self, hr: HelmRelease) -> bool:
        """Whether the namespace of `hr` is being deleted, with the accounts in it."""
        client = self.client
        try:
            body = await client.get(await client.discovery.find(_NAMESPACE), hr.metadata.namespace)
        except NotFound:
            return True
        return "deletionTimestamp" in body["metadata"]
