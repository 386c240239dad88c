"""GitHub Apps sign in for Providers: at a double of GitHub's endpoint, which checks the statement it is shown."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.notify.providers.notices import ACCOUNT_KEY as KEY
from tests.notify.providers.notices import NOTICES, composed
from tests.remotes.forge import Forge
from tests.remotes.test_github import pem
from tests.remotes.world import Authority
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Transient
from trimtab.base.http import AiohttpTransport
from trimtab.notify.provider import Misconfigured, Settings
from trimtab.notify.signing_in import RIGHTS, signed_in
from trimtab.remotes.git.github import Apps


def provider(forge: Forge, authority: Authority, type_: str = "github") -> Settings:
    secret = {
        "githubAppID": b"1234",
        "githubAppInstallationID": b"42",
        "githubAppPrivateKey": pem(KEY),
        "githubAppBaseURL": forge.url.encode(),
    }
    address = f"https://127.0.0.1:{forge.port}/acme/fleet"
    return Settings(
        type=type_, namespace="shop", name="tell", address=address, secret=secret, ca=authority.ca, timeout_s=60.0
    )


@pytest.mark.parametrize("type_", sorted(RIGHTS))
async def test_a_token_is_asked_for_with_the_one_right_that_is_needed(type_: str, tmp_path: Path) -> None:
    authority, transport = Authority.create(tmp_path), AiohttpTransport()
    apps = Apps(transport, SystemClock())
    try:
        async with Forge(authority.context, KEY.public_key()) as forge:
            settings = provider(forge, authority, type_)
            first = await signed_in(apps, settings)
            assert forge.good(first.token)
            assert forge.bodies == [{"permissions": RIGHTS[type_]}]
            assert (await signed_in(apps, settings)).token == first.token
            assert len(forge.asked) == 1
            if type_ == "githubdispatch":
                (request,) = composed(type_, NOTICES["once"], first)
                assert request.url == f"{forge.url}/repos/acme/fleet/dispatches"
                assert request.headers["Authorization"] == f"Bearer {first.token}"
    finally:
        await transport.close()


async def test_a_token_of_one_forge_is_not_asked_for_on_behalf_of_another(tmp_path: Path) -> None:
    authority, transport = Authority.create(tmp_path), AiohttpTransport()
    apps = Apps(transport, SystemClock())
    try:
        async with Forge(authority.context, KEY.public_key()) as forge:
            settings = provider(forge, authority)
            for address in (f"https://localhost:{forge.port}/acme/fleet", "https://github.com/acme/fleet"):
                with pytest.raises(Misconfigured, match="githubAppBaseURL"):
                    await signed_in(apps, replace(settings, address=address))
            with pytest.raises(Transient, match="githubAppPrivateKey") as refused:
                await signed_in(apps, replace(settings, secret={**settings.secret, "githubAppPrivateKey": b"s3cret"}))
            assert "s3cret" not in refused.value.message
            with pytest.raises(Transient):
                await signed_in(apps, replace(settings, ca=b""))
            assert not forge.asked
    finally:
        await transport.close()


@pytest.mark.parametrize("more", [{"token": "own"}, {"type": "gitlab"}], ids=["a token", "another forge"])
async def test_nobody_is_asked_where_there_is_a_token_or_another_forge(more: dict[str, str], tmp_path: Path) -> None:
    apps = Apps(AiohttpTransport(), SystemClock())
    settings = Settings(type="github", address="https://github.com/acme/fleet", secret={"githubAppID": b"1"})
    settings = replace(settings, **more)
    assert await signed_in(apps, settings) == settings
