"""The file `allowed_signers`: who may sign, with which key, for what, and from when to when (ssh-keygen(1)).

What we judge otherwise: a certificate authority is refused, since we read no certificates; and a time without `Z` is in
UTC, since there is no time zone that reader and writer share.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from trimtab.crypto.sshkeys import SshKey
from trimtab.crypto.sshsig import NAMESPACE
from trimtab.crypto.trust import BadKeys, matches

MAX_BYTES = 1 << 20
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,|$)')
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')
_MOMENT = re.compile(r"\d{8}(?:\d{4}(?:\d{2})?)?Z?")
_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class AllowedSigner(NamedTuple):
    """One line. A bare key (`*.sshpub`) is a line without principals, for everything and for ever."""

    key: SshKey
    principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    comment: str = ""

    def refusal(self, seen: datetime) -> str | None:
        """Why the owner of this line may not have signed for git what came at the moment `seen`; None if he may."""
        if self.namespaces is not None and not matches(self.namespaces, NAMESPACE):
            return f"it may sign for {', '.join(self.namespaces)[:100]} only, not for git"
        if self.valid_after is not None and seen < self.valid_after:
            return f"it is valid from {self.valid_after:%Y-%m-%d %H:%M:%SZ} on, and this came before"
        if self.valid_before is not None and seen >= self.valid_before:
            return f"it was valid until {self.valid_before:%Y-%m-%d %H:%M:%SZ}, and this came at {seen:%Y-%m-%d %H:%MZ}"
        return None


def parse_allowed_signers(data: bytes) -> list[AllowedSigner]:
    """Read the file. Raises BadKeys naming the first line that is wrong: half a file of keys is not trusted."""
    return [_line(words, number) for number, words in _lines(data)]


def parse_public_keys(data: bytes) -> list[AllowedSigner]:
    """Read public keys, one in a line, as in a `.pub` file. Raises BadKeys naming the line."""
    found: list[AllowedSigner] = []
    for number, words in _lines(data):
        if len(words) < 2:
            raise BadKeys(f"line {number}: not a public key; a line is `ssh-ed25519 AAAA… comment`")
        key = _key(words[0], words[1], number)
        found.append(AllowedSigner(key, comment=" ".join(words[2:])))
    return found


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    if len(data) > MAX_BYTES:
        raise BadKeys(f"{len(data)} bytes; the limit is {MAX_BYTES}")
    if b"PRIVATE KEY" in data:
        raise BadKeys("it holds a private key; put the public half there, and make a new pair: this one is known now")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadKeys("it is not text") from None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            if line.count('"') % 2:
                raise BadKeys(f"line {number}: a quote is not closed")
            yield number, _WORD.findall(line)


def _line(words: list[str], number: int) -> AllowedSigner:
    principals = tuple(pattern for pattern in words[0].replace('"', "").split(",") if pattern)
    rest = words[1:]
    options: dict[str, str | None] = {}
    if rest and not _is_kind(rest[0]):
        options = _options(rest.pop(0), number)
    if len(rest) < 2 or not principals:
        raise BadKeys(f"line {number}: a line is `principals [options] kind key`")
    if "cert-authority" in options:
        raise BadKeys(f"line {number}: cert-authority is not supported; list the keys themselves")
    if unknown := set(options) - {"namespaces", "valid-after", "valid-before"}:
        raise BadKeys(f"line {number}: the option {min(unknown)[:60]!a} is not known")
    namespaces = options.get("namespaces")
    return AllowedSigner(
        key=_key(rest[0], rest[1], number),
        principals=principals,
        namespaces=None if namespaces is None else tuple(namespaces.split(",")),
        valid_after=_moment(options.get("valid-after"), number),
        valid_before=_moment(options.get("valid-before"), number),
        comment=" ".join(rest[2:]),
    )


def _options(word: str, number: int) -> dict[str, str | None]:
    options: dict[str, str | None] = {}
    at = 0
    while at < len(word):
        found = _OPTION.match(word, at)
        if found is None:
            raise BadKeys(f"line {number}: the options cannot be read")
        name, value = found[1].lower(), found[2]
        if name in options or (value is None) != (name == "cert-authority"):
            raise BadKeys(f"line {number}: the option {name[:60]} is there twice, or lacks its value in quotes")
        options[name] = value
        at = found.end()
    return options


def _moment(text: str | None, number: int) -> datetime | None:
    if text is None:
        return None
    digits = text.removesuffix("Z")
    if _MOMENT.fullmatch(text):
        try:
            return datetime.strptime(digits, _FORMATS[len(digits)]).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise BadKeys(f"line {number}: {text[:40]!a} is not a time; write YYYYMMDD or YYYYMMDDHHMM[SS], with a Z for UTC")


def _key(kind: str, encoded: str, number: int) -> SshKey:
    try:
        return SshKey.from_words(kind, encoded)
    except BadKeys as problem:
        raise BadKeys(f"line {number}: {problem}") from problem


def _is_kind(word: str) -> bool:
    return word.startswith(("ssh-", "ecdsa-", "sk-", "rsa-", "x509v3-"))
