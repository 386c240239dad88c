"""Verification of what comes from a registry: what is demanded, by a spec and its Secrets, and what was judged."""

from trimtab.api import names
from trimtab.api.helm import HelmChart
from trimtab.api.oci import OCIRepository, OciVerification, SignatureProvider
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.credentials import secret
from trimtab.crypto import keyless
from trimtab.crypto.identity import MOST_IDENTITIES, Identity
from trimtab.crypto.notation import BadPolicy, Policy
from trimtab.kube.client import Client
from trimtab.manifests.refs import Key
from trimtab.sources.oci import Access, Head, OciSource, OciSpec
from trimtab.sources.signatures import Demand, Identities, Keys, Notary

_MOST_REMEMBERED = 10_000


class Signers:
    """Judges heads of repositories in registries. What was judged by the same demand is not judged again."""

    def __init__(self, client: Client, source: OciSource) -> None:
        self._client = client
        self._source = source
        self._known: dict[Key, tuple[Head, str, str]] = {}

    async def check(self, item: OCIRepository | HelmChart, spec: OciSpec, access: Access, head: Head) -> str:
        """Who signed `head`, in words; empty where no signature is demanded.

        Raises Transient (VerificationError, AuthenticationFailed) and what OciSource.look raises.
        """
        if item.spec.verify is None:
            self._known.pop(item.key, None)
            return ""
        demand = await self._demand(item, item.spec.verify, spec)
        judged_by = f"{item.metadata.uid} {spec.repository} {demand.digest}"
        known = self._known.get(item.key)
        if known is not None and known[:2] == (head, judged_by):
            return known[2]
        signer = await self._source.verify(spec, access, head, demand)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[item.key] = (head, judged_by, signer)
        return signer

    async def _demand(self, item: OCIRepository | HelmChart, verify: OciVerification, spec: OciSpec) -> Demand:
        namespace = item.metadata.namespace
        if verify.provider == SignatureProvider.NOTATION:
            assert verify.secret_ref is not None  # noqa: S101 - `check_verification` has seen to it
            data = await secret(self._client, namespace, verify.secret_ref.name, "spec.verify.secretRef")
            try:
                scope = f"{spec.repository.origin.raw_authority}/{spec.repository.path}"
                return Notary(Policy.of(data, scope))
            except BadPolicy as problem:
                raise Transient(
                    names.Reason.VERIFICATION_ERROR,
                    f"Secret {namespace}/{verify.secret_ref.name} of spec.verify.secretRef: {problem}",
                ) from problem
        if verify.secret_ref is not None:
            data = await secret(self._client, namespace, verify.secret_ref.name, "spec.verify.secretRef")
            return Keys({name: pem for name, pem in data.items() if name.endswith(".pub")})
        root = None
        if verify.trusted_root_secret_ref is not None:
            name = verify.trusted_root_secret_ref.name
            data = await secret(self._client, namespace, name, "spec.verify.trustedRootSecretRef")
            if keyless.ROOT_FILE not in data:
                raise Transient(
                    names.Reason.VERIFICATION_ERROR,
                    f"Secret {namespace}/{name} of spec.verify.trustedRootSecretRef has no key {keyless.ROOT_FILE}",
                )
            root = data[keyless.ROOT_FILE]
        return Identities(_identities(verify), root)


def check_verification(verify: OciVerification) -> None:
    """Raise Terminal for a demand that makes no sense, that proves nothing, or that this installation cannot judge."""
    keys, identities = verify.secret_ref is not None, bool(verify.match_oidc_identity)
    rooted = verify.trusted_root_secret_ref is not None
    if verify.provider not in ("", *SignatureProvider):
        raise _nonsense(f"spec.verify.provider {verify.provider[:60]!a} is not known; use cosign or notation")
    if verify.provider == SignatureProvider.NOTATION:
        if not keys:
            raise _nonsense("spec.verify of notation needs a secretRef with trustpolicy.json and certificates")
        if identities or rooted:
            raise _nonsense(
                "matchOIDCIdentity and trustedRootSecretRef of spec.verify are for cosign, not for notation"
            )
        return
    if keys and (identities or rooted):
        raise _nonsense("spec.verify names keys by secretRef, and identities: say which of them has to have signed")
    if keys:
        return
    if not identities:
        raise _nonsense(
            "spec.verify without a secretRef or a matchOIDCIdentity would take anybody's signature; name the keys, or "
            "the identities, that you trust"
        )
    _identities(verify)
    if not keyless.installed():
        raise Terminal(
            names.Reason.FEATURE_GATE_DISABLED,
            "spec.verify.matchOIDCIdentity needs the package sigstore, which is not here: install Trimtab with its "
            "extra sigstore (in a clone: pip install '.[sigstore]')",
        )


def _identities(verify: OciVerification) -> tuple[Identity, ...]:
    if len(verify.match_oidc_identity) > MOST_IDENTITIES:
        raise _nonsense(
            f"spec.verify.matchOIDCIdentity has {len(verify.match_oidc_identity)} identities, more than "
            f"{MOST_IDENTITIES}; one expression can name several, as in (one|other)"
        )
    try:
        return tuple(Identity.parse(one.issuer, one.subject) for one in verify.match_oidc_identity)
    except ValueError as problem:
        raise _nonsense(f"spec.verify.matchOIDCIdentity: {problem}") from problem


def _nonsense(why: str) -> Terminal:
    return Terminal(names.Reason.VERIFICATION_ERROR, why)
