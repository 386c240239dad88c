"""How names, labels and annotations are written: the rules that hold for every kind, and those of some. Pure."""

import re
from collections.abc import Iterator
from typing import Any, Final

from trimtab.manifests.openapi import is_open, shown
from trimtab.manifests.refs import Body

_LABEL: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL_1035: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_LABEL_LENGTH: Final = 63
_NAME_LENGTH: Final = 253
_ANNOTATIONS_BYTES: Final = 256 << 10
_JUST_A_PATH: Final = frozenset({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
_RBAC: Final = "rbac.authorization.k8s.io"
_LABELS: Final = frozenset({("", "Namespace")})
_SHORTER: Final = {("batch", "CronJob"): 52}
"""A CronJob adds eleven characters for the names of its Jobs."""


def complaints(body: Body, group: str, kind: str) -> Iterator[tuple[str, str]]:
    """Pairs of a path in `body` and what is wrong there. Types are the schema's business."""
    metadata = body["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace")
    if not is_open(name) and (words := _name(name, group, kind)):
        yield "metadata.name", words
    if namespace and not is_open(namespace) and not _fits(namespace, _LABEL, _LABEL_LENGTH):
        yield "metadata.namespace", f"is no name of a namespace: {shown(namespace)}"
    yield from _pairs(metadata, "metadata")
    for path, holder in _templates(body):
        yield from _pairs(holder, path)


def _name(name: str, group: str, kind: str) -> str:
    if group == _RBAC and kind in _JUST_A_PATH:
        return "" if name not in (".", "..") and "/" not in name and "%" not in name else f"cannot be {shown(name)}"
    if (group, kind) == ("", "Service"):
        if _fits(name, _LABEL_1035, _LABEL_LENGTH):
            return ""
        return f"has to be letters, digits and dashes, at most 63, beginning with a letter: it is {shown(name)}"
    if (group, kind) in _LABELS:
        return "" if _fits(name, _LABEL, _LABEL_LENGTH) else f"has to be lower case, at most 63: it is {shown(name)}"
    if len(name) > _SHORTER.get((group, kind), _NAME_LENGTH):
        return f"has {len(name)} characters, {_SHORTER.get((group, kind), _NAME_LENGTH)} are allowed"
    if not _SUBDOMAIN.fullmatch(name):
        return f"has to be lower case letters, digits, dashes and dots: it is {shown(name)}"
    return ""


def _fits(text: str, pattern: re.Pattern[str], longest: int) -> bool:
    return len(text) <= longest and pattern.fullmatch(text) is not None


def _pairs(metadata: Any, path: str) -> Iterator[tuple[str, str]]:
    for field in ("labels", "annotations"):
        holder = metadata.get(field)
        if not isinstance(holder, dict):
            continue
        for key, value in holder.items():
            if not is_open(key) and (words := _key(key)):
                yield f"{path}.{field}", f"has a key that cannot be one, {shown(key)}: {words}"
            # the type is the schema's business
            given = field == "labels" and type(value) is str and value != "" and not is_open(value)
            if given and not _fits(value, _WORD, _LABEL_LENGTH):
                yield f"{path}.labels", f"has a value that cannot be one, {key}: {shown(value)}"
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        size = sum(len(str(key)) + len(str(value)) for key, value in annotations.items())
        if size > _ANNOTATIONS_BYTES:
            yield f"{path}.annotations", f"have {size:,} characters, {_ANNOTATIONS_BYTES:,} are allowed"


def _key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and not _fits(prefix.lower() if prefix else "", _SUBDOMAIN, _NAME_LENGTH):
        return f"{shown(prefix)} is no domain"
    return "" if _fits(name, _WORD, _LABEL_LENGTH) else f"{shown(name)} is no name of at most 63 characters"


def _templates(body: Body) -> Iterator[tuple[str, Any]]:
    """The metadata of what `body` makes, by path."""
    spec = body.get("spec")
    waiting: list[tuple[str, Any]] = [("spec", spec)]
    while waiting:
        path, part = waiting.pop()
        if not isinstance(part, dict):
            continue
        for field in ("template", "jobTemplate"):
            inner = part.get(field)
            if isinstance(inner, dict):
                if isinstance(inner.get("metadata"), dict):
                    yield f"{path}.{field}.metadata", inner["metadata"]
                waiting.append((f"{path}.{field}.spec", inner.get("spec")))
