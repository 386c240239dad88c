"""What is particular to a Bucket: sign in, list what is there, take what is new."""

from trimtab.api import names
from trimtab.api.bucket import Bucket, BucketSts
from trimtab.api.gvk import BUCKET
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Terminal, Transient
from trimtab.base.traces import span
from trimtab.controllers import supported, ways
from trimtab.controllers.credentials import secret
from trimtab.controllers.producing import Produced, Status
from trimtab.kube.client import Client
from trimtab.sources.bucket import Access, BucketSource, Keys, Ldap, Wanted, Way, parse_endpoint


class BucketProducer:
    """Contents of buckets as snapshots."""

    gvk = BUCKET

    def __init__(self, client: Client, source: BucketSource) -> None:
        self._client = client
        self._source = source

    def check(self, item: Bucket) -> None:
        """Raise Terminal for what is not served, or makes no sense."""
        supported.check_bucket(item)

    async def produce(self, item: Bucket, _status: Status, held: Snapshot | None) -> Produced:
        """What the bucket holds now; of what is held already nothing is fetched again.

        What is left out is in the revision, so that nothing of the status has to be compared.
        """
        wanted = Wanted.from_api(item.spec)
        access = await self._access(item, wanted)
        with span("fetch"):
            snapshot = await self._source.take(wanted, access, held)
        return Produced(snapshot, observed={"observed_ignore": item.spec.ignore})

    async def _access(self, item: Bucket, wanted: Wanted) -> Access:
        namespace, spec = item.metadata.namespace, item.spec
        proxy = await ways.proxy(self._client, namespace, spec.proxy_secret_ref)
        certificates = await ways.certificates(self._client, namespace, spec.cert_secret_ref, "spec.certSecretRef")
        keys = await self._keys(item)
        if keys is None and spec.sts is not None:
            own = await ways.certificates(self._client, namespace, spec.sts.cert_secret_ref, "spec.sts.certSecretRef")
            who = await self._who(item, spec.sts)
            keys = await self._source.keys(who, Way(proxy=proxy, timeout_s=wanted.bound_s, **own))
        return Access(keys=keys, proxy=proxy, timeout_s=wanted.bound_s, **certificates)

    async def _keys(self, item: Bucket) -> Keys | None:
        """Those of the Secret; none where the bucket is read as anybody, or by keys for a while."""
        reference, namespace = item.spec.secret_ref, item.metadata.namespace
        if reference is None:
            return None
        data = await secret(self._client, namespace, reference.name, "spec.secretRef")
        access, key = (data.get(name, b"") for name in ("accesskey", "secretkey"))
        if not _usable(access) or not _usable(key):
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"Secret {namespace}/{reference.name} of spec.secretRef has to have accesskey and secretkey, each in "
                "one line",
            )
        return Keys(access.decode().strip(), key.decode().strip())

    async def _who(self, item: Bucket, sts: BucketSts) -> Ldap:
        endpoint = parse_endpoint(sts.endpoint, insecure=item.spec.insecure)
        namespace = item.metadata.namespace
        if sts.secret_ref is None:
            raise Terminal(
                names.Reason.INVALID_STS_CONFIGURATION,
                "spec.sts.secretRef is missing: ldap asks for a Secret with username and password",
            )
        data = await secret(self._client, namespace, sts.secret_ref.name, "spec.sts.secretRef")
        username, password = (data.get(name, b"") for name in ("username", "password"))
        if not _usable(username) or not password:
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"Secret {namespace}/{sts.secret_ref.name} of spec.sts.secretRef has to have username and password",
            )
        try:
            return Ldap(endpoint, username.decode().strip(), password.decode())
        except UnicodeDecodeError:
            raise Transient(
                names.Reason.AUTHENTICATION_FAILED,
                f"Secret {namespace}/{sts.secret_ref.name} of spec.sts.secretRef: username and password are not UTF-8",
            ) from None


def _usable(value: bytes) -> bool:
    """Whether it fits into a header: one printable word."""
    word = value.strip()
    return word.isascii() and all(0x20 < byte < 0x7F for byte in word) and bool(word)
