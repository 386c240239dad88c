"""Encrypted objects of Kubernetes: which are to be opened, and which must not be applied as they are."""

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from trimtab.manifests.refs import Body
from trimtab.sops.formats import Format, detected, has_sealed
from trimtab.sops.metadata import BLOCK

SWITCH: Final = "kustomize.toolkit.fluxcd.io/decrypt"
_OFF: Final = "disabled"


class Entry(NamedTuple):
    """An entry of a Secret that is an encrypted file."""

    name: str
    data: bytes
    written: Format


def is_switched_off(body: Body) -> bool:
    """Whether the object asks to stay as it is."""
    metadata = body.get("metadata") or {}
    holders = (metadata.get("annotations"), metadata.get("labels"))
    return any(str(holder.get(SWITCH, "")).lower() == _OFF for holder in holders if isinstance(holder, dict))


def is_encrypted(body: Body) -> bool:
    """Whether the object is one that sops has encrypted as a whole."""
    return isinstance(body.get(BLOCK), dict)


def entries(body: Body) -> Iterator[Entry]:
    """The entries of a Secret that are encrypted files, as generators put them there."""
    for name, content in _data(body):
        if (written := detected(content)) is not None:
            yield Entry(name, content, written)


def sealed_entry(body: Body) -> str:
    """The name of an entry of a Secret that nobody can read; nothing if there is none, or it is meant to be so."""
    if body.get("kind") != "Secret" or is_switched_off(body):
        return ""
    for name, content in _data(body):
        if has_sealed(content):
            return name
    for holder in (body.get("data"), body.get("stringData")):
        for name, value in holder.items() if isinstance(holder, dict) else ():
            if isinstance(value, str) and has_sealed(value.encode("utf-8", "replace")):
                return str(name)
    return ""


def _data(body: Body) -> Iterator[tuple[str, bytes]]:
    """The entries of a Secret, decoded; what is no base64 the server complains of."""
    data = body.get("data")
    if body.get("kind") != "Secret" or not isinstance(data, dict):
        return
    for name, value in data.items():
        if isinstance(value, str):
            with suppress(binascii.Error, ValueError):
                yield str(name), base64.b64decode(value, validate=True)
