"""How a GitRepository is reached: the Secrets it names, read and turned into credentials."""

from yarl import URL

from trimtab.api.names import Reason
from trimtab.api.source import GitProvider, GitRepository
from trimtab.base.errors import Terminal
from trimtab.controllers import ways
from trimtab.controllers.credentials import secret
from trimtab.kube.client import Client
from trimtab.remotes.git.github import App, Apps
from trimtab.sources.git import ANONYMOUS, Credentials, GitSpec


class GitAccess:
    """Reads Secrets, and keeps the tokens that GitHub Apps sign in with."""

    def __init__(self, client: Client, apps: Apps) -> None:
        self._client = client
        self._apps = apps

    async def credentials(self, item: GitRepository, spec: GitSpec, *, writes: bool = False) -> Credentials:
        """What reads `item`, or writes to it. Raises Transient (AuthenticationFailed) and Terminal."""
        proxy = await ways.proxy(self._client, item.metadata.namespace, item.spec.proxy_secret_ref)
        if item.spec.provider == GitProvider.GITHUB:
            return await self._apps.credentials(await self._app(item, proxy), timeout=spec.timeout_s, writes=writes)
        if item.spec.secret_ref is None:
            return ANONYMOUS.over(proxy)
        data = await secret(self._client, item.metadata.namespace, item.spec.secret_ref.name, "spec.secretRef")
        return Credentials.from_secret(data).over(proxy)

    def refused(self, credentials: Credentials) -> None:
        """The server did not take `credentials`: what was made of a Secret is made anew the next time."""
        if credentials.account:
            self._apps.forget(credentials.account)

    async def _app(self, item: GitRepository, proxy: URL | None) -> App:
        if item.spec.secret_ref is None:
            raise Terminal(
                Reason.INVALID_PROVIDER_CONFIGURATION,
                "spec.provider github needs spec.secretRef: a Secret with githubAppID, githubAppInstallationID or "
                "githubAppInstallationOwner, and githubAppPrivateKey",
            )
        name = item.spec.secret_ref.name
        data = await secret(self._client, item.metadata.namespace, name, "spec.secretRef")
        return App.from_secret(data, f"Secret {item.metadata.namespace}/{name} of spec.secretRef", proxy)
