"""What is particular to a HelmRepository: ask for the index if it changed, keep it, and what is used of it."""

from dataclasses import dataclass

from trimtab.api.gvk import HELM_REPOSITORY
from trimtab.api.helm import HelmRepository
from trimtab.artifacts.publish import LEFT_OUT, Form
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.traces import span
from trimtab.controllers import helmaccess, supported
from trimtab.controllers.producing import Produced, Static, Status
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.sources.helm import HelmSource, HelmSpec, Validators

_INDEX = Form(".yaml", "index.yaml", "index")
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the server called the index that it sent last, and to whom it sent it."""

    asked: tuple[str, str, str]
    revision: str
    validators: Validators


class HelmRepositoryProducer:
    """Indexes of chart repositories as snapshots."""

    gvk = HELM_REPOSITORY

    def __init__(self, client: Client, source: HelmSource) -> None:
        self._client = client
        self._source = source
        self._seen: dict[Key, _Seen] = {}

    def check(self, item: HelmRepository) -> None:
        """Raise Terminal for what is not served, or makes no sense; Static for a registry."""
        if item.spec.static:
            raise Static
        supported.check_helm_repository(item)

    async def produce(self, item: HelmRepository, status: Status, held: Snapshot | None) -> Produced:
        """The index as it is now; unchanged it costs one small request."""
        spec = HelmSpec.from_api(item.spec)
        access = await helmaccess.of_web_server(self._client, item)
        asked = (item.metadata.uid, str(spec.url), access.identity)
        seen = self._seen.get(item.key)
        known = seen.validators if seen and held and (seen.asked, seen.revision) == (asked, held.revision) else None
        with span("fetch"):
            looked = await self._source.look(spec, access, held, known)
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[item.key] = _Seen(asked, looked.snapshot.revision, looked.validators)
        metadata = {LEFT_OUT: looked.left_out} if looked.left_out else {}
        if looked.snapshot is held and status.artifact is not None:
            metadata = dict(status.artifact.metadata)
        return Produced(looked.snapshot, metadata, looked.archive, form=_INDEX)
