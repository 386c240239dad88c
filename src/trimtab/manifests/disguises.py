"""The forms in which a text turns up in what others say: as others quote it, and as charts and URLs encode it. Pure."""

import base64
import html
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from trimtab.manifests import codec

_LONG: Final = 16 << 10
"""Of longer texts only the usual forms are known: each costs as much memory as the text."""
_PADDING: Final = 3
_NESTED: Final = 4
"""A chart quotes a text that is quoted, the API server quotes that, and says so in JSON."""
_URLSAFE: Final = str.maketrans("+/", "-_")


def disguises(text: str) -> Iterator[str]:
    """`text`, and all its forms; the same one may come twice."""
    yield text
    data = text.encode(errors="surrogatepass")
    yield from _quoted(text)
    whole = base64.b64encode(data).decode()
    yield whole
    yield whole.rstrip("=")
    if len(text) > _LONG:
        return
    for form in _encoded(data):
        yield form
        yield form.translate(_URLSAFE)
    for form in {html.escape(text), *_as_go(text)} - {text}:
        yield form
        yield from _quoted(form)
    for spared in ("", "/", "/$&+:=@", "!$&'()*+,;=:@/"):
        yield quote(data, safe=spared)
        yield quote(data, safe=spared).replace("%7E", "~")
    yield quote_plus(data)
    yield data.hex()
    yield data.hex().upper()


def _json(text: str) -> str:
    return codec.encode(text.encode(errors="replace").decode()).decode()[1:-1]


def _quoted(text: str) -> set[str]:
    """As JSON has it, and as Go's has it, which minds that it may be read as HTML; and what becomes of it in JSON."""
    found, newest = set[str](), {text}
    for _ in range(_NESTED):
        quoted = {_json(form) for form in newest}
        newest = (quoted | {_for_html(form) for form in quoted}) - found - {text}
        found |= newest
    return found


def _for_html(text: str) -> str:
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _encoded(data: bytes) -> Iterator[str]:
    """Base64 of something with `data` in it: what is sure of it, wherever in three bytes it begins."""
    for shift, unsure in ((0, 0), (1, 2), (2, 3)):
        whole = base64.b64encode(b"\0" * shift + data).decode()
        rest = (shift + len(data)) % _PADDING
        # Of the last characters what comes next decides.
        yield whole[unsure : len(whole) - (0, 3, 2)[rest]]


def _as_go(text: str) -> Iterator[str]:
    """As the templates of Go escape it for HTML: by `html`, and by themselves."""
    escaped = html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")
    yield escaped
    yield escaped.replace("+", "&#43;")
