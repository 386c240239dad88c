"""Vault and OpenBao: the data key behind the engine `transit`, asked for with a token."""

import base64
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from yarl import URL

from trimtab.remotes.outbound import Outbound
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.services import ask, origin, words

TOKEN: Final = "sops.vault-token"  # noqa: S105 - the name of an entry
ADDRESS: Final = "sops.vault-address"
NAMESPACE: Final = "sops.vault-namespace"
CA: Final = "ca.crt"
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*){0,9}", re.ASCII)
_WORD = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)

GetToken: TypeAlias = Callable[[str], Awaitable[str]]
"""The token for the Vault at an address. Raises Locked."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Asks the Vaults that are `allowed`, by their addresses."""

    out: Outbound
    allowed: Collection[str]
    token: GetToken = field(repr=False)
    namespace: str = ""
    ca: bytes = b""

    @classmethod
    def of(cls, out: Outbound, entries: Mapping[str, bytes]) -> "Vault | None":
        """What a Secret has for it; None if there is no token. Raises BadKeys."""
        if TOKEN not in entries:
            return None
        token = _word(entries, TOKEN)
        namespace = _word(entries, NAMESPACE) if entries.get(NAMESPACE, b"").strip() else ""

        async def known(_: str) -> str:
            return token

        return cls(out, frozenset(_addresses(entries)), known, namespace, entries.get(CA, b""))

    async def unlock(self, wrapped: Wrapped) -> bytes:
        """The data key. Raises Locked."""
        at, engine, key = (wrapped.details.get(name) for name in ("vault_address", "engine_path", "key_name"))
        address = self._checked(at)
        if not (is_path(engine) and is_path(key)):
            raise Locked("its path in Vault is not one")
        url = URL(f"{address}/v1/{engine}/decrypt/{key}", encoded=True)
        headers = {"X-Vault-Token": await self.token(address), **self._headers()}
        answer = await ask(self.out, url, headers, msgspec.json.encode({"ciphertext": wrapped.enc}), ca=self.ca)
        if answer.status != 200:
            said = answer.body.get("errors") or ()
            told = f": {words('; '.join(map(str, said)))}" if isinstance(said, list) and said else ""
            raise Locked(f"the Vault at {address} answers {answer.status}{told}", passing=answer.passing)
        return _plaintext(answer.body, address)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "X-Vault-Request": "true"}
        return headers | ({"X-Vault-Namespace": self.namespace} if self.namespace else {})

    def _checked(self, written: Any) -> str:
        try:
            address = origin(str(written).rstrip("/"))
        except ValueError as failure:
            raise Locked(f"the address of its Vault: {failure}") from None
        if address not in self.allowed:
            raise Locked(
                f"the Vault at {address} is not one that a token may be shown to: if it is yours, write its address "
                f"into the entry {ADDRESS} of the Secret, or have it listed for service accounts"
            )
        return address


def is_path(text: Any) -> bool:
    """Whether `text` can be a part of a path in Vault: nothing that leads up, or into a query."""
    return isinstance(text, str) and _PATH.fullmatch(text) is not None


def _addresses(entries: Mapping[str, bytes]) -> Collection[str]:
    lines = entries.get(ADDRESS, b"").decode("ascii", "replace").split()
    try:
        return [origin(line.rstrip("/")) for line in lines]
    except ValueError as failure:
        raise BadKeys(f"{ADDRESS}: {failure}") from None


def _word(entries: Mapping[str, bytes], name: str) -> str:
    text = entries[name].decode("ascii", "replace").strip()
    if not _WORD.fullmatch(text):
        raise BadKeys(f"{name}: it is empty, or has characters that cannot be sent")
    return text


def _plaintext(body: Mapping[str, Any], address: str) -> bytes:
    data = body.get("data")
    text = data.get("plaintext") if isinstance(data, dict) else None
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except ValueError:
        raise Locked(f"the Vault at {address} answers with something that is no key") from None
