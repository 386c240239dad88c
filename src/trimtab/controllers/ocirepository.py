"""What is particular to an OCIRepository: ask the registry, verify what is signed, pull the layer if it is new."""

from contextlib import nullcontext

from trimtab.api.gvk import OCI_REPOSITORY
from trimtab.api.oci import OCIRepository
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.traces import found, span
from trimtab.controllers import registryaccess, supported
from trimtab.controllers.ociverification import Signers, check_verification
from trimtab.controllers.producing import Produced, Status
from trimtab.kube.client import Client
from trimtab.sources.oci import OciSource, OciSpec


class OciProducer:
    """Artifacts of registries as snapshots."""

    gvk = OCI_REPOSITORY

    def __init__(self, client: Client, source: OciSource) -> None:
        self._client = client
        self._source = source
        self._signers = Signers(client, source)

    def check(self, item: OCIRepository) -> None:
        """Raise Terminal for what is not served, or makes no sense."""
        supported.check_oci(item)
        if item.spec.verify is not None:
            check_verification(item.spec.verify)

    async def produce(self, item: OCIRepository, status: Status, held: Snapshot | None) -> Produced:
        """The artifact that `spec.ref` means now, pulled again if it or what is taken of it has changed.

        Nothing is pulled before its signature is verified, where one is demanded.
        """
        spec = OciSpec.from_api(item.spec)
        access = await registryaccess.of(self._client, item, spec.timeout_s)
        with span("look"):
            head = await self._source.look(spec, access)
        found(head.revision, item.metadata.uid)
        with span("verify") if item.spec.verify is not None else nullcontext():
            signer = await self._signers.check(item, spec, access, head)
        verified = f"is signed by {signer}" if signer else ""
        observed = {"observed_ignore": item.spec.ignore, "observed_layer_selector": item.spec.layer_selector}
        artifact = status.artifact
        made_with = (getattr(status, "observed_ignore", None), getattr(status, "observed_layer_selector", None))
        if (
            held is not None
            and artifact is not None
            and artifact.revision == held.revision == head.revision
            and made_with == (item.spec.ignore, item.spec.layer_selector)
        ):
            archive = artifact.digest.removeprefix("sha256:") if spec.copy else ""
            return Produced(held, artifact.metadata, archive, observed, verified)
        with span("fetch"):
            pulled = await self._source.fetch(spec, access, head)
        return Produced(pulled.snapshot, pulled.metadata, pulled.layer, observed, verified)
