"""Who signed a chart in a registry, remembered while neither the chart nor the keys change."""

import hashlib

from trimtab.api.helm import HelmChart
from trimtab.controllers.sourcing import secret
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.sources.oci import Access, Head, OciSource, OciSpec

_MOST_REMEMBERED = 10_000


class ChartVerification:
    """Asks for signatures where a HelmChart demands them, by the keys of the Secret it names."""

    def __init__(self, client: Client, source: OciSource) -> None:
        self._client = client
        self._source = source
        self._verified: dict[Key, tuple[Head, str, str]] = {}

    async def check(self, item: HelmChart, spec: OciSpec, access: Access, head: Head) -> str:
        """Say who signed `head`; nothing where no signature is demanded. Raises Transient (VerificationError)."""
        verify = item.spec.verify
        if verify is None or verify.secret_ref is None:
            self._verified.pop(item.key, None)
            return ""
        data = await secret(self._client, item.metadata.namespace, verify.secret_ref.name, "spec.verify.secretRef")
        keys = {name: pem for name, pem in data.items() if name.endswith(".pub")}
        judged = repr((item.metadata.uid, str(spec.repository), sorted(keys.items())))
        judged_by = hashlib.sha256(judged.encode()).hexdigest()
        known = self._verified.get(item.key)
        if known is None or known[:2] != (head, judged_by):
            signer = await self._source.verify(spec, access, head, keys)
            if len(self._verified) >= _MOST_REMEMBERED:
                self._verified.clear()
            known = self._verified[item.key] = (head, judged_by, signer)
        return f"is signed by the key {known[2]}"
