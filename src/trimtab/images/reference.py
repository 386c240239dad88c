"""An image as a policy resolved it: name, tag and digest, each fit to be written into a manifest.

What is written comes from a registry, so it is checked here once: a value of this type holds no blank, no quote, no
line break and no `#`, and is never longer than a registry admits.
"""

import re
from typing import Final, NamedTuple

LONGEST_NAME: Final = 512
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_SHOWN: Final = 100


def is_tag(text: str) -> bool:
    """Whether `text` can be written as a tag. Registries are stricter about how one begins, which harms nobody."""
    return _TAG.fullmatch(text) is not None


class Image(NamedTuple):
    """One image, as in `status.latestRef`. `digest` is empty where the tag is not pinned."""

    name: str
    tag: str
    digest: str = ""

    @classmethod
    def of(cls, name: str, tag: str, digest: str = "") -> "Image":
        """The image, checked. Raises ValueError that says what is wrong."""
        if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
            raise ValueError(f"{_shown(name)} is not the name of an image, such as registry.example.org/team/app")
        if not is_tag(tag):
            raise ValueError(f"{_shown(tag)} is not a tag: up to 128 letters, digits, `_`, `.` and `-`")
        if digest and not _DIGEST.fullmatch(digest):
            raise ValueError(f"{_shown(digest)} is not a digest: sha256: and 64 hexadecimal digits")
        return cls(name, tag, digest)

    @classmethod
    def parse(cls, text: str) -> "Image":
        """The image in `name:tag` or `name:tag@digest`. Raises ValueError that says what is wrong."""
        rest, at, digest = text.partition("@")
        name, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag or (at and not digest):
            raise ValueError(f"{_shown(text)} names no tag: write IMAGE:TAG or IMAGE:TAG@DIGEST")
        return cls.of(name, tag, digest)

    @property
    def version(self) -> str:
        """The tag, with the digest where there is one."""
        return f"{self.tag}@{self.digest}" if self.digest else self.tag

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def name_of(reference: str) -> str:
    """The name in what a manifest says of an image, without tag and digest. A port is not a tag."""
    rest = reference.partition("@")[0]
    head, slash, last = rest.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
