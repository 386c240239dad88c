"""One page of the list of a bucket, as a value. Pure."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from trimtab.remotes.s3 import document
from trimtab.remotes.s3.document import BadDocument

LONGEST_KEY: Final = 1024
_ETAG = re.compile(r'(?:W/)?"?([\x21\x23-\x7e]{1,256})"?')
_NUMBER = re.compile(r"[0-9]{1,15}")


class Object(NamedTuple):
    """What a bucket holds under one key. The ETag has no quotes; another content has another one."""

    key: str
    etag: str
    size: int


class Page(NamedTuple):
    """A part of the list; `then` is asked with for the next one, and empty at the end."""

    objects: tuple[Object, ...]
    then: str


def parse(data: bytes) -> Page:
    """The page in an answer to ListObjectsV2. Raises BadDocument."""
    root = document.parse(data)
    if root.name != "ListBucketResult":
        raise BadDocument(f"its root is {root.name[:100]!a}, not ListBucketResult")
    plain = root.get("EncodingType").lower() != "url"
    objects = tuple(_object(one, plain=plain) for one in root.all("Contents"))
    if root.get("IsTruncated").strip().lower() != "true":
        return Page(objects, "")
    if not (then := root.get("NextContinuationToken")):
        raise BadDocument("the list goes on, and it does not say where")
    return Page(objects, then)


def etag(text: str) -> str:
    """The ETag in `text` without quotes; empty if there is none."""
    match = _ETAG.fullmatch(text.strip())
    return match[1] if match else ""


def _object(element: document.Element, *, plain: bool) -> Object:
    raw = element.get("Key")
    try:
        key = raw if plain else unquote_plus(raw, errors="strict")
    except UnicodeDecodeError:
        raise BadDocument(f"the key {raw[:200]!a} is not UTF-8") from None
    if not key or len(key.encode(errors="surrogatepass")) > LONGEST_KEY:
        raise BadDocument(f"a key of 0, or more than {LONGEST_KEY}, bytes")
    found, size = etag(element.get("ETag")), element.get("Size").strip()
    if not found or not _NUMBER.fullmatch(size):
        raise BadDocument(f"the object {key[:200]!a} has no ETag or no size")
    return Object(key, found, int(size))
