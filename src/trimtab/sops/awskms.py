"""AWS KMS: the data key behind a key of a region, asked for with static credentials.

The server is chosen by the region in the name of the key and is Amazon's, so nothing in a file leads elsewhere. The
identity of the machine is never used, and no role is taken on.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from yarl import URL

from trimtab.base.clock import Clock
from trimtab.manifests.yaml import YamlError, load
from trimtab.remotes.outbound import Outbound
from trimtab.remotes.s3 import sigv4
from trimtab.remotes.s3.sigv4 import Keys
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.metadata import Wrapped
from trimtab.sops.services import ask, words

CREDENTIALS: Final = "sops.aws-kms"
_ARN = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]{1,40}):[0-9]{1,20}:(?:key|alias)/[A-Za-z0-9:/_-]{1,256}", re.ASCII)
_DOMAINS: Mapping[str, str] = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}
_WORD = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)
_FIELDS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def endpoint(partition: str, region: str) -> URL:
    """The server of a region. Raises Locked for a partition that is not known."""
    if partition not in _DOMAINS:
        raise Locked(f"the partition {partition} of AWS is not served")
    return URL(f"https://kms.{region}.{_DOMAINS[partition]}/")


@dataclass(frozen=True, slots=True)
class AwsKms:
    """Asks the KMS of any region, at `endpoint`."""

    out: Outbound
    clock: Clock
    keys: Keys = field(repr=False)
    endpoint: Callable[[str, str], URL] = endpoint

    @classmethod
    def of(cls, out: Outbound, clock: Clock, entries: Mapping[str, bytes]) -> "AwsKms | None":
        """What a Secret has for it; None if there are no credentials. Raises BadKeys."""
        if CREDENTIALS not in entries:
            return None
        try:
            documents = load(entries[CREDENTIALS], CREDENTIALS, dialect="kubernetes")
        except YamlError:
            documents = []
        written = documents[0].value if len(documents) == 1 else None
        found = [written.get(name) or "" for name in _FIELDS] if isinstance(written, dict) else []
        if not found or not all(isinstance(text, str) for text in found) or not all(map(_WORD.fullmatch, found[:2])):
            raise BadKeys(f"{CREDENTIALS}: it has to be YAML with {_FIELDS[0]} and {_FIELDS[1]}")
        if found[2] and not _WORD.fullmatch(found[2]):
            raise BadKeys(f"{CREDENTIALS}: {_FIELDS[2]} has characters that cannot be sent")
        return cls(out, clock, Keys(*found))

    async def unlock(self, wrapped: Wrapped) -> bytes:
        """The data key. Raises Locked."""
        match = _ARN.fullmatch(wrapped.name)
        if match is None:
            raise Locked("its name is not the ARN of a key")
        if wrapped.details.get("role"):
            raise Locked("it wants another role to be taken on, which this version does not do")
        url, region = self.endpoint(match[1], match[2]), match[2]
        body = msgspec.json.encode(
            {"CiphertextBlob": wrapped.enc, "KeyId": wrapped.name, "EncryptionContext": _context(wrapped)}
        )
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}
        signed = sigv4.signed("POST", url, headers, self.keys, region, self.clock.now(), service="kms", body=body)
        answer = await ask(self.out, url, signed, body)
        if answer.status != 200:
            said = words(answer.body.get("__type") or "").rpartition("#")[2]
            raise Locked(f"AWS KMS answers {answer.status} {said}".rstrip(), passing=answer.passing)
        try:
            return base64.b64decode(str(answer.body.get("Plaintext")), validate=True)
        except ValueError:
            raise Locked("AWS KMS answers with something that is no key") from None


def _context(wrapped: Wrapped) -> dict[str, str]:
    written: Any = wrapped.details.get("context") or {}
    if not isinstance(written, dict) or not all(isinstance(value, str) for value in written.values()):
        raise Locked("its encryption context is not one")
    return {str(name): value for name, value in written.items()}
