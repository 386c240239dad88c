"""Which entries of Secrets stand in git in clear text. Pure.

Looked at is what came out of the build, before anything of it is opened or filled: only there can it be told what was
encrypted, and which expression is filled from where. This is a guard against mistakes, not against those who want to
get around it: what is no secret by its looks, or is only the name of one, is left out.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from trimtab.manifests.refs import Body, Manifest, Origin, Ref
from trimtab.manifests.yaml import YamlError, load
from trimtab.render import envsubst
from trimtab.render.envsubst import ExpressionError
from trimtab.render.memory import Opened
from trimtab.render.substitution import opted_out
from trimtab.render.variables import Variables
from trimtab.sops.formats import Format, has_sealed, of_path
from trimtab.sops.objects import is_encrypted

_EXPRESSION: Final = re.compile(r"\$\{[_a-zA-Z][_a-zA-Z0-9]*\}")
_NAMES_A_SECRET: Final = re.compile(
    r"<[^<>\n]+>"  # Argo CD's plugin for Vault, and people
    r"|(?:>>)?vault:[^\s#]+#\S+"  # Bank-Vaults
    r"|op://[^\n]+"  # 1Password
    r"|(?:ref|secretref)\+[a-z0-9]+://\S+"  # vals
    r"|\S+@azurekeyvault(?:\?\S*)?"  # akv2k8s
    r"|gcp:secretmanager:\S+|arn:aws:(?:secretsmanager|ssm):\S+"  # secrets-init
)
"""What a program of the cluster's is to put a value in the place of."""
_PUBLIC_BLOCK: Final = re.compile(
    r"-----BEGIN ((?:TRUSTED )?CERTIFICATE|CERTIFICATE REQUEST|X509 CRL|(?:RSA )?PUBLIC KEY|PGP PUBLIC KEY BLOCK)-----"
    r"[^-]*-----END \1-----"
)
_PUBLIC_LINE: Final = re.compile(r"(?:\S+ )?(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/=]+(?: .*)?")


class Exposed(NamedTuple):
    """A Secret of which whoever may read the repository can read `entries`; these are names. Values are not kept."""

    ref: Ref
    origin: Origin
    entries: tuple[str, ...]


def exposed(manifests: Iterable[Manifest], opened: Mapping[str, Opened], variables: Variables) -> tuple[Exposed, ...]:
    """The Secrets among built `manifests` that hold something in clear text.

    `opened` are the files that were decrypted for the build. What came out of them is known again by its value, since
    nobody can tell where kustomize has put it. An entry that takes a value of a Secret, and one that only names a
    secret, is none; nor is anything of an object in which SOPS has encrypted at least one entry: what it was told to
    leave in clear is meant so.
    """
    decrypted = _Decrypted(opened)
    found = []
    for manifest in manifests:
        body = manifest.body
        if body["kind"] == "Secret" and body["apiVersion"] == "v1":
            entries = tuple(_clear(body, decrypted, variables))
            if entries:
                found.append(Exposed(manifest.ref, manifest.origin, entries))
    return tuple(found)


class _Entry(NamedTuple):
    """One value of a Secret: as it is written, and what it means."""

    name: str
    written: str
    content: bytes

    @property
    def sealed(self) -> bool:
        return has_sealed(self.written.encode(errors="replace")) or has_sealed(self.content)


class _Decrypted:
    """What was in the encrypted files of a build."""

    def __init__(self, opened: Mapping[str, Opened]) -> None:
        self._contents = [file.plain for file in opened.values()]
        self._texts = {text for path, file in opened.items() for text in _texts(path, file.plain)}

    def holds(self, entry: _Entry) -> bool:
        """Whether the value stands in one of them: as part of a file, or as a text that is written in several lines."""
        forms = (entry.content, entry.written.encode(errors="replace"))
        if any(form in content for form in forms for content in self._contents):
            return True
        return any(form.decode(errors="replace") in self._texts for form in forms)


def _clear(body: Body, decrypted: _Decrypted, variables: Variables) -> Iterator[str]:
    entries = list(_entries(body))
    if is_encrypted(body) and any(entry.sealed for entry in entries):
        return
    filled = variables.active and not opted_out(body)
    for entry in entries:
        if entry.sealed or decrypted.holds(entry):
            continue
        if filled and _takes_secrets(entry.written, variables):
            continue
        text = entry.content.decode(errors="replace").strip()
        if not text or _NAMES_A_SECRET.fullmatch(text) or _is_public(text):
            continue
        if not filled and _EXPRESSION.fullmatch(text):
            continue  # somebody else's to fill
        yield entry.name


def _entries(body: Body) -> Iterator[_Entry]:
    for field in ("data", "stringData"):
        holder = body.get(field)
        for name, value in holder.items() if isinstance(holder, dict) else ():
            if isinstance(value, str):
                yield _Entry(str(name), value, _content(value) if field == "data" else value.encode(errors="replace"))


def _content(value: str) -> bytes:
    """What a value of `data` stands for; one that is no base64 (yet: an expression) stands for itself."""
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(value, validate=True)
    return value.encode(errors="replace")


def _takes_secrets(text: str, variables: Variables) -> bool:
    """Whether a variable in `text` has its value from a Secret of the cluster; others stand in clear text somewhere."""
    if "$" not in text:
        return False
    with suppress(ExpressionError):
        return not variables.confidential.isdisjoint(envsubst.parse(text).variables)
    return False


def _is_public(text: str) -> bool:
    """Certificates, public keys and known hosts, perhaps with comments: secrets by their kind of object only."""
    rest, blocks = _PUBLIC_BLOCK.subn("", text)
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    keys = [line for line in lines if _PUBLIC_LINE.fullmatch(line)]
    return bool(blocks or keys) and all(line in keys or line.startswith("#") for line in lines)


def _texts(path: str, content: bytes) -> Iterator[str]:
    """The texts in a decrypted patch, which is YAML or JSON."""
    if of_path(path) not in (Format.YAML, Format.JSON):
        return
    with suppress(YamlError):
        for document in load(content, path):
            yield from _leaves(document.value)


def _leaves(node: Any) -> Iterator[str]:
    match node:
        case str():
            yield node
        case dict():
            for item in node.values():
                yield from _leaves(item)
        case list():
            for item in node:
                yield from _leaves(item)
