"""The formats that sops has, how a file's name chooses one, and how an encrypted file is told from a plain one."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

MAX_BYTES: Final = 5 << 20
"""Of an encrypted file (SECURITY.md, recommended limits)."""


class Format(Enum):
    """How a file is written."""

    YAML = "YAML"
    JSON = "JSON"
    DOTENV = "dotenv"
    INI = "INI"
    BINARY = "binary"


_SUFFIXES: Final = (
    (".yaml", Format.YAML),
    (".yml", Format.YAML),
    (".json", Format.JSON),
    (".dockerconfigjson", Format.JSON),
    (".ini", Format.INI),
    (".env", Format.DOTENV),
)
_MARKS: Mapping[Format, bytes] = {
    Format.BINARY: b'"mac": "ENC[',
    Format.DOTENV: b"sops_mac=ENC[",
    Format.INI: b"[sops]",
    Format.JSON: b'"mac": "ENC[',
    Format.YAML: b"mac: ENC[",
}
_SEALED: Final = b"ENC[AES256_GCM,"


def of_path(path: str) -> Format:
    """The format of a file with this name, or of an entry that is named so."""
    return next((known for suffix, known in _SUFFIXES if path.endswith(suffix)), Format.BINARY)


def is_encrypted(data: bytes, written: Format) -> bool:
    """Whether `data` is an encrypted file of that format, or was one before somebody took its MAC away."""
    return _MARKS[written] in data or (_SEALED in data and b"sops" in data)


def has_sealed(data: bytes) -> bool:
    """Whether there is an encrypted value in it that nobody has opened."""
    return _SEALED in data


def detected(data: bytes) -> Format | None:
    """The format that the mark in `data` is of; None if it is not encrypted. JSON and binary look the same: JSON."""
    if _SEALED not in data:
        return None  # a section of the name sops, or a line about a MAC, is no proof
    if b'"mac":"ENC[' in data:
        return Format.JSON  # which went through another program
    order = (Format.JSON, Format.YAML, Format.DOTENV, Format.INI)
    return next((known for known in order if _MARKS[known] in data), None)
