"""Signatures of requests, by AWS Signature Version 4 as S3 reads it. Pure.

The secret never travels: what is sent is a signature of this one request at this time, for this region and service.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from yarl import URL

NOTHING: Final = hashlib.sha256(b"").hexdigest()
"""The digest of an empty body."""
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs. `session` is the token that goes with keys made for a while."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


def encoded(text: str, *, safe: str = "") -> str:
    """`text` with everything percent-encoded but letters, digits and `-._~`, as the signature counts it."""
    return quote(text, safe=f"~{safe}")


def query(parameters: Mapping[str, str]) -> str:
    """A query as it is signed: encoded, and sorted after that, by the names alone."""
    return "&".join(
        "=".join(pair) for pair in sorted((encoded(name), encoded(value)) for name, value in parameters.items())
    )


def signed(
    method: str,
    url: URL,
    headers: Mapping[str, str],
    keys: Keys,
    region: str,
    now: datetime,
    *,
    service: str = "s3",
    body: bytes = b"",
) -> dict[str, str]:
    """`headers` with those that prove who asks. The path and the query of `url` have to be encoded as above.

    All of `headers` are signed, so that none can be changed on the way.
    """
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    content = hashlib.sha256(body).hexdigest() if body else NOTHING
    proving = {**headers, "x-amz-content-sha256": content, "x-amz-date": moment}
    if keys.session:
        proving["x-amz-security-token"] = keys.session
    counted = {"host": url.raw_authority, **{name.lower(): " ".join(value.split()) for name, value in proving.items()}}
    names = ";".join(sorted(counted))
    lines = "".join(f"{name}:{counted[name]}\n" for name in sorted(counted))
    canonical = f"{method}\n{url.raw_path}\n{url.raw_query_string}\n{lines}\n{names}\n{content}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    proof = f"Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**proving, "Authorization": f"{_ALGORITHM} {proof}"}
