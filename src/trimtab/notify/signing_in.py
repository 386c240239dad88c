"""Signing in as a GitHub App: a token of an hour in place of one that somebody keeps. Does I/O."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.notify.provider import Misconfigured, Settings
from trimtab.notify.providers.forge import address_of
from trimtab.remotes.forges.dialects import DIALECTS
from trimtab.remotes.git.credentials import APP_KEYS
from trimtab.remotes.git.github import App, Apps

RIGHTS: Final[Mapping[str, Mapping[str, str]]] = {
    "github": {"statuses": "write"},
    "githubdispatch": {"contents": "write"},
    "githubpullrequestcomment": {"pull_requests": "write"},
}
"""What a token is asked for, by the type of Provider: what it does there, and nothing else."""


async def signed_in(apps: Apps, settings: Settings) -> Settings:
    """`settings` with a token, where the Secret is that of an App. A token that is written in it comes first.

    Raises Misconfigured and Transient.
    """
    if settings.token or settings.type not in RIGHTS or not any(key in settings.secret for key in APP_KEYS):
        return settings
    secret = {**settings.secret, "ca.crt": settings.ca} if settings.ca else settings.secret
    app = App.from_secret(secret, "the Secret of spec.secretRef", URL(settings.proxy) if settings.proxy else None)
    address = address_of(settings)
    try:
        there = DIALECTS["github"].api(address)
    except (Terminal, ValueError) as failure:
        raise Misconfigured(f"the address of the Provider: {failure}") from None
    if there.origin() != URL(app.api.url).origin():
        # A token of one forge is not for another, whoever wrote the address.
        raise Misconfigured(
            f"the GitHub App is one of {app.api.host}, and the address of the Provider is of {there.host}: set "
            "githubAppBaseURL in the Secret of spec.secretRef to the address of the API there"
        )
    credentials = await apps.credentials(app, timeout=settings.timeout_s, permissions=RIGHTS[settings.type])
    return replace(settings, token=credentials.password)
