"""The values of a file in their order: opened one by one, and proven to be all of them by the MAC."""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from trimtab.sops.cipher import Cipher, Comment, Moment, Plain, is_sealed
from trimtab.sops.errors import Damaged
from trimtab.sops.metadata import Metadata

_ONLY_ENCRYPTED: Final = hashlib.sha256(b"sops").digest()
"""What the MAC begins with where it is over encrypted values alone."""


class Leaf(NamedTuple):
    """A value and the keys on the way to it; items of lists add none. `start` and `end` are its place in a text."""

    path: tuple[str, ...]
    value: Plain
    start: int = 0
    end: int = 0

    @property
    def place(self) -> str:
        """What its encryption is bound to."""
        return place_of(self.path)


def place_of(path: Sequence[str]) -> str:
    """What an encrypted value below `path` is bound to."""
    return ":".join(path) + ":"


def opened(leaves: Sequence[Leaf], metadata: Metadata, cipher: Cipher) -> list[Plain]:
    """What each of `leaves` is when it is open. Raises Damaged, also if one is missing, changed or moved."""
    digest = hashlib.sha512(_ONLY_ENCRYPTED if metadata.only_encrypted else b"")
    plains: list[Plain] = []
    for leaf in leaves:
        plain, sealed = _open(leaf, metadata, cipher)
        plains.append(plain)
        if not isinstance(plain, Comment) and plain is not None and (sealed or not metadata.only_encrypted):
            digest.update(as_bytes(plain))
    wanted = cipher.open(metadata.mac, metadata.modified)
    if not isinstance(wanted, str) or not wanted:
        raise Damaged("its MAC is not one")
    if not hmac.compare_digest(wanted.encode("utf-8", "surrogateescape"), digest.hexdigest().upper().encode()):
        raise Damaged(
            "it was changed after sops wrote it: its MAC does not fit; look at the change, and have sops write it "
            "anew (sops edit --ignore-mac)"
        )
    return plains


def _open(leaf: Leaf, metadata: Metadata, cipher: Cipher) -> tuple[Plain, bool]:
    value = leaf.value
    if value is None:
        return None, False
    if metadata.sealed is None:
        sealed = isinstance(value, str) and is_sealed(value)
    else:
        sealed = metadata.sealed(leaf.path)
    if not sealed:
        return value, False
    if not isinstance(value, str):
        raise Damaged(f"the value at {shown(leaf.path)} has to be encrypted and is not")
    try:
        return cipher.open(value, leaf.place), True
    except Damaged as failure:
        raise Damaged(f"{failure} (at {shown(leaf.path)})") from None


def of_tree(tree: Any, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """The leaves of plain JSON values."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from of_tree(value, (*path, key))
    elif isinstance(tree, list):
        for item in tree:
            yield from of_tree(item, path)
    else:
        yield Leaf(path, tree)


def into_tree(tree: Any, plains: Iterator[Plain]) -> Any:
    """`tree` again, its leaves replaced by `plains` in order. What became a comment is left out, as sops does."""
    if isinstance(tree, dict):
        items = {key: into_tree(value, plains) for key, value in tree.items()}
        return {key: value for key, value in items.items() if not isinstance(value, Comment)}
    if isinstance(tree, list):
        return [item for item in (into_tree(one, plains) for one in tree) if not isinstance(item, Comment)]
    plain = next(plains)
    return plain.text if isinstance(plain, Moment) else plain


def as_bytes(plain: Plain) -> bytes:
    """`plain` as it is counted into the MAC, which is how sops writes it before it seals it."""
    match plain:
        case bool():
            return b"True" if plain else b"False"
        case int():
            return str(plain).encode()
        case float():
            return decimal(plain).encode()
        case Moment() | Comment():
            return plain.text.encode("utf-8", "surrogateescape")
        case str():
            return plain.encode("utf-8", "surrogateescape")
    return b""


def decimal(number: float) -> str:
    """Go's FormatFloat(number, 'f', -1, 64): the shortest digits, never an exponent."""
    text = f"{Decimal(repr(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def shown(path: Sequence[str]) -> str:
    """A path for a message."""
    text = ".".join(path) or "the top"
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 120 else text[:119] + "…"
