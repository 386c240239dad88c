"""What is particular to an OCIRepository: ask the registry, verify what is signed, pull the layer if it is new."""

from trimtab.api import names
from trimtab.api.gvk import OCI_REPOSITORY
from trimtab.api.meta import LocalRef
from trimtab.api.oci import OCIRepository
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Transient
from trimtab.controllers import supported, ways
from trimtab.controllers.ociverification import Signers, check_verification
from trimtab.controllers.sourcing import Produced, Status, secret
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Gvk
from trimtab.sources.oci import Access, Logins, OciSource, OciSpec, from_secret

_ACCOUNT = Gvk("", "v1", "ServiceAccount")


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
        access = await self._access(item, spec)
        head = await self._source.look(spec, access)
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
        pulled = await self._source.fetch(spec, access, head)
        return Produced(pulled.snapshot, pulled.metadata, pulled.layer, observed, verified)

    async def _access(self, item: OCIRepository, spec: OciSpec) -> Access:
        namespace, wanted = item.metadata.namespace, item.spec
        return Access(
            logins=await self._logins(item),
            proxy=await ways.proxy(self._client, namespace, wanted.proxy_secret_ref),
            timeout_s=spec.timeout_s,
            **await ways.certificates(self._client, namespace, wanted.cert_secret_ref, "spec.certSecretRef"),
        )

    async def _logins(self, item: OCIRepository) -> Logins:
        """Those of the Secret, then those of the account; both, as in Flux."""
        configs: list[bytes] = []
        if item.spec.secret_ref is not None:
            configs.append(from_secret(await self._secret(item, item.spec.secret_ref, "spec.secretRef")))
        if account := item.spec.service_account_name:
            namespace = item.metadata.namespace
            try:
                body = await self._client.get(await self._client.discovery.find(_ACCOUNT), account, namespace)
            except NotFound:
                raise Transient(
                    names.Reason.AUTHENTICATION_FAILED,
                    f"ServiceAccount {namespace}/{account} does not exist: create it, or change "
                    "spec.serviceAccountName",
                ) from None
            for reference in body.get("imagePullSecrets") or ():
                if name := reference.get("name"):
                    field = f"imagePullSecrets of ServiceAccount {account}"
                    configs.append(from_secret(await self._secret(item, LocalRef(name=name), field)))
        return Logins.parse(*configs)

    async def _secret(self, item: OCIRepository, reference: LocalRef, field: str) -> dict[str, bytes]:
        return await secret(self._client, item.metadata.namespace, reference.name, field)
