"""Access tokens of clouds: what signing in gives for credentials, kept for as long as it is good, in memory alone."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from yarl import URL

from trimtab.base.clock import Clock
from trimtab.sops.errors import Locked
from trimtab.sops.services import Answer

FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_AHEAD_S: Final = 60.0
"""So long before its end a token is not used any more."""

To: TypeAlias = Callable[[URL], URL]
"""Where a request for an address goes: there, and elsewhere only for who has a double of the cloud."""


def as_written(url: URL) -> URL:
    """There."""
    return url


class Bearer:
    """The token for one set of credentials. `sign_in` asks `who` for one."""

    def __init__(self, clock: Clock, who: str, sign_in: Callable[[], Awaitable[Answer]]) -> None:
        self._clock = clock
        self._who = who
        self._sign_in = sign_in
        self._token = ""
        self._until = 0.0
        self._refused = ""
        self._one = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """What a request with JSON carries that shows the token. Raises Locked."""
        async with self._one:
            if not self._token or self._clock.monotonic() >= self._until:
                await self._renew()
            return {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}

    async def _renew(self) -> None:
        # A file may name many keys, and whoever shows wrong credentials again and again is locked out.
        if self._refused:
            raise Locked(self._refused)
        answer = await self._sign_in()
        if answer.status != 200:
            words = f"{self._who} gives no token for the credentials: {answer.status} {code(answer.body.get('error'))}"
            if not answer.passing:
                self._refused = words.rstrip()
            raise Locked(words.rstrip(), passing=answer.passing)
        token, lasts = answer.body.get("access_token"), answer.body.get("expires_in")
        kind = str(answer.body.get("token_type") or "").lower()
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or kind != "bearer":
            raise Locked(f"{self._who} answers with something that is no token")
        seconds = float(lasts) if isinstance(lasts, int) and not isinstance(lasts, bool) else 0.0
        self._token, self._until = token, self._clock.monotonic() + seconds - _AHEAD_S


def code(said: Any) -> str:
    """The code of an error, or nothing: sentences of another side could repeat what was shown to it."""
    return said if isinstance(said, str) and _CODE.fullmatch(said) else ""
