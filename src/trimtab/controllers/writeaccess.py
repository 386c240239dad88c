"""What an automation writes with: credentials of git, a key that signs, and a token of a forge, each from a Secret.

The Secrets are those of the automation's own namespace, but for the source's own, which reads.
"""

from collections.abc import Mapping

from yarl import URL

from trimtab.api.imageupdate import ImageUpdateAutomation, SigningKeyType
from trimtab.api.names import Reason
from trimtab.api.source import GitRepository
from trimtab.base.errors import Terminal, Transient
from trimtab.commits import Repository, Signer, SigningFailed, signing_key
from trimtab.controllers import ways
from trimtab.controllers.access import Access
from trimtab.controllers.automation import Automation
from trimtab.controllers.credentials import secret
from trimtab.controllers.gitaccess import GitAccess
from trimtab.kube.client import Client
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.forges.pulls import Forge
from trimtab.remotes.git.credentials import AuthenticationFailed, Credentials
from trimtab.remotes.outbound import Way
from trimtab.sources.git import GitSpec

_SIGNING = {
    SigningKeyType.GPG: ("git.asc", "passphrase"),
    SigningKeyType.SSH: ("identity", "password"),
}
_LONGEST_TOKEN = 4096
_LONGEST_TIMEOUT_S = 600.0
"""Of one conversation, whatever the source says: few are written to at once, for all namespaces."""


class WriteAccess:
    """Reads Secrets; keeps nothing of them."""

    def __init__(self, client: Client, git: GitAccess, access: Access) -> None:
        self._client = client
        self._git = git
        self._access = access

    async def repository(
        self, item: ImageUpdateAutomation, automation: Automation, source: GitRepository
    ) -> Repository:
        """The repository, with what reads it and what writes to it.

        Raises Terminal (URLInvalid, AccessDenied) and Transient (AuthenticationFailed).
        """
        spec = GitSpec.from_api(source.spec)
        own = item.metadata.namespace
        if not automation.write_secret:
            # A source that others may read is no leave to write with its credentials.
            self._access.check_writing(own, source.metadata.namespace)
        reads = await self._git.credentials(source, spec)
        if not automation.write_secret:
            writes = await self._git.credentials(source, spec, writes=True)
        else:
            data = await secret(self._client, own, automation.write_secret, "trimtab.dev/write-secret")
            writes = Credentials.from_secret(data).over(reads.proxy)
        writes.check(spec.address)
        return Repository(spec.address, reads, writes, min(spec.timeout_s, _LONGEST_TIMEOUT_S))

    def refused(self, repository: Repository) -> None:
        """The server did not take the credentials: what was made of a Secret is made anew the next time."""
        for credentials in (repository.credentials, repository.write):
            if credentials is not None:
                self._git.refused(credentials)

    async def signer(self, item: ImageUpdateAutomation, automation: Automation) -> Signer | None:
        """What signs; None only where no key is asked for. Raises SigningFailed."""
        wanted = automation.signing_key
        if wanted is None:
            return None
        where = f"Secret {item.metadata.namespace}/{wanted.secret_ref.name} of spec.git.commit.signingKey"
        key, passphrase = _SIGNING[SigningKeyType(wanted.type or SigningKeyType.GPG)]
        try:
            data = await secret(
                self._client, item.metadata.namespace, wanted.secret_ref.name, "spec.git.commit.signingKey"
            )
        except Transient as problem:
            raise SigningFailed(f"{problem}; nothing is committed without a signature") from problem
        if not data.get(key, b"").strip():
            raise SigningFailed(f"{where} has no {key}, or an empty one; nothing is committed without a signature")
        return signing_key(data[key], data.get(passphrase, b""), where=f"{key} in {where}")

    async def forge(self, item: ImageUpdateAutomation, automation: Automation, source: GitRepository) -> Forge:
        """Where pull requests are made. Raises Terminal and Transient (AuthenticationFailed)."""
        own = item.metadata.namespace
        name = automation.forge_secret or automation.write_secret
        if not name:
            raise Terminal(
                Reason.INVALID_SOURCE_CONFIGURATION,
                "trimtab.dev/pull-request needs a token: a Secret with it, named by trimtab.dev/pull-request-secret",
            )
        data = await secret(self._client, own, name, "trimtab.dev/pull-request-secret")
        where = f"Secret {own}/{name}"
        spec = GitSpec.from_api(source.spec)
        dialect = DIALECTS[automation.forge]
        try:
            project = dialect.project(spec.address)
        except ValueError as problem:
            raise Terminal(Reason.INVALID_SOURCE_CONFIGURATION, str(problem)) from problem
        usual = dialect.api(spec.address)
        api = _address(data, where) or usual
        proxy = None
        if source.metadata.namespace == own or api.host in (spec.address.host, usual.host):
            # The proxy of others, with its credentials, leads to where they sent us, and to no host of our choice.
            proxy = await ways.proxy(self._client, source.metadata.namespace, source.spec.proxy_secret_ref)
        way = Way(ca=data.get("ca.crt", b""), proxy=proxy, timeout_s=min(spec.timeout_s, _LONGEST_TIMEOUT_S))
        return Forge(dialect, api, project, where, _token(data, where), way)


def _token(data: Mapping[str, bytes], where: str) -> str:
    token = data.get("token") or data.get("bearerToken") or data.get("password") or b""
    text = token.decode("ascii", "replace").strip()
    if not text or len(text) > _LONGEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise AuthenticationFailed(f"{where} has no token: the key token, in one word")
    return text


def _address(data: Mapping[str, bytes], where: str) -> URL | None:
    text = data.get("address", b"").decode("ascii", "replace").strip()
    if not text:
        return None
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme != "https" or not url.host or url.user is not None or url.query_string or url.fragment:
        raise AuthenticationFailed(f"{where}: address must be that of the forge's API, such as https://host/api/v4")
    return url
