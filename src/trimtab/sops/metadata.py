"""What a file says of its own encryption: by which keys its data key is held, which values are sealed, and its MAC."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from trimtab.manifests.patterns import Pattern
from trimtab.sops.errors import Damaged

BLOCK: Final = "sops"
MOST_GROUPS: Final = 16
MOST_KEYS: Final = 200
"""Of a file. Each that does not fit costs a try, some of them a request."""
_MAX_TEXT: Final = 64 << 10
_DEFAULT_SUFFIX: Final = "_unencrypted"
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d+)?(Z|[-+]\d{2}:\d{2})", re.ASCII)

_KINDS: Mapping[str, tuple[str, str]] = {
    "age": ("age", "recipient"),
    "pgp": ("OpenPGP", "fp"),
    "hc_vault": ("Vault", "key_name"),
    "kms": ("AWS KMS", "arn"),
    "gcp_kms": ("GCP KMS", "resource_id"),
    "azure_kv": ("Azure Key Vault", "name"),
    "hckms": ("Huawei Cloud KMS", "key_id"),
}
_RULES: Final = (
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
)


class Wrapped(NamedTuple):
    """The data key, or a part of it, locked with somebody's key. `name` tells which one."""

    kind: str
    name: str
    enc: str
    details: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{_KINDS[self.kind][0]} {_printable(self.name)}"


class Metadata(NamedTuple):
    """The `sops` block of a file. `sealed` says of a path whether its value is encrypted; None: its looks say it."""

    groups: tuple[tuple[Wrapped, ...], ...]
    threshold: int
    mac: str
    modified: str
    only_encrypted: bool
    sealed: Callable[[tuple[str, ...]], bool] | None

    @classmethod
    def of(cls, block: Any) -> "Metadata":
        """Read a block. Raises Damaged."""
        if not isinstance(block, Mapping):
            raise Damaged("its sops block is not a mapping")
        groups = _groups(block)
        moment = _MOMENT.fullmatch(_text(block, "lastmodified"))
        if moment is None:
            raise Damaged("sops.lastmodified is not a time")
        mac = _text(block, "mac")
        if not mac:
            raise Damaged("it has no MAC (sops.mac), so nobody can tell whether it was changed")
        threshold = _number(block.get("shamir_threshold")) or len(groups)
        if not 1 <= threshold <= len(groups):
            raise Damaged(f"sops.shamir_threshold is {threshold}, and there are {len(groups)} groups of keys")
        zone = "Z" if moment[2] == "+00:00" else moment[2]
        only = str(block.get("mac_only_encrypted", "")).lower() == "true"
        return cls(groups, threshold, mac, moment[1] + zone, only, _rule(block))


def _groups(block: Mapping[str, Any]) -> tuple[tuple[Wrapped, ...], ...]:
    single = tuple(_keys(block, "sops"))
    groups: tuple[tuple[Wrapped, ...], ...]
    if single:
        groups = (single,)
    else:
        written = block.get("key_groups") or []
        if not isinstance(written, list) or not all(isinstance(one, Mapping) for one in written):
            raise Damaged("sops.key_groups is not a list of groups")
        if len(written) > MOST_GROUPS:
            raise Damaged(f"it has {len(written)} groups of keys; at most {MOST_GROUPS} are tried")
        groups = tuple(tuple(_keys(one, "sops.key_groups")) for one in written)
    if not groups:
        raise Damaged("its sops block names no keys")
    if sum(map(len, groups)) > MOST_KEYS:
        raise Damaged(f"it names more than {MOST_KEYS} keys")
    return groups


def _keys(holder: Mapping[str, Any], where: str) -> Iterator[Wrapped]:
    for kind, (_, named_by) in _KINDS.items():
        entries = holder.get(kind) or []
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise Damaged(f"{where}.{kind} is not a list of keys")
        for entry in entries:
            yield Wrapped(kind, _text(entry, named_by), _text(entry, "enc"), entry)


def _rule(block: Mapping[str, Any]) -> Callable[[tuple[str, ...]], bool] | None:
    """Which values are encrypted: a suffix or an expression that some key on the way to the value matches."""
    given = [(name, text) for name in _RULES if (text := _text(block, name))]
    if len(given) > 1:
        raise Damaged(f"it has more than one rule for what is encrypted: {' and '.join(name for name, _ in given)}")
    name, text = given[0] if given else ("unencrypted_suffix", _DEFAULT_SUFFIX)
    if "comment" in name:
        # Only sops knows which comment belongs to which value. Whatever looks sealed has to open, and the MAC is over
        # what comes out: nothing can be passed off as something else.
        return None
    matches: Callable[[str], bool]
    if name.endswith("suffix"):
        matches = _ends_in(text)
    else:
        try:
            matches = Pattern(text).found_in
        except ValueError as failure:
            raise Damaged(f"sops.{name}: {failure}") from None
    wanted = name.startswith("encrypted")
    known: dict[str, bool] = {}

    def sealed(path: tuple[str, ...]) -> bool:
        for key in path:
            if key not in known:
                known[key] = matches(key)
        return any(known[key] for key in path) is wanted

    return sealed


def _ends_in(suffix: str) -> Callable[[str], bool]:
    return lambda key: key.endswith(suffix)


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise Damaged(f"{name} in its sops block is not text, or too long")
    return value


def _number(value: Any) -> int:
    text = str(value if value is not None else 0)
    if not text.isdecimal() or len(text) > 4:
        raise Damaged("sops.shamir_threshold is not a number")
    return int(text)


def _printable(name: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown if len(shown) <= 200 else shown[:199] + "…"
