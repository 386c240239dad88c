"""What `helm template` prints, taken apart: the manifest, hooks and tests, and the chart's CRDs. Pure.

Objects are read from text, here and out of records, by the same function: what was rendered today and what a record of
last year holds are one thing to whoever applies it. Errors name the template and the line of what it rendered; what
stands there may be secret and is not shown.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from trimtab.api.names import HELM_KEEP, HELM_RESOURCE_POLICY, Reason
from trimtab.base.errors import Terminal
from trimtab.helm.kinds import install_key
from trimtab.helm.record import Hook
from trimtab.manifests.refs import Body, Manifest, Origin
from trimtab.manifests.yaml import Document, YamlError, load, manifests_of

REASON: Final = Reason.BUILD_FAILED
HOOK: Final = "helm.sh/hook"
HOOK_WEIGHT: Final = "helm.sh/hook-weight"
HOOK_DELETE: Final = "helm.sh/hook-delete-policy"
HOOK_OUTPUT: Final = "helm.sh/hook-output-log-policy"

_START = re.compile(r"^---\n# Source: (.*)\n", re.MULTILINE)
_SEPARATOR = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_CRDS = re.compile(r"[^/]+/(?:charts/[^/]+/)*crds/")
_WEIGHT = re.compile(r"[+-]?[0-9]{1,9}")
# Causes that show no more than a key, a kind or a name.
_TELLING: Final = ("duplicate key", "while ", "object has no", "expected a Kubernetes object", "more than ")
_TOLD_AT_THE_END: Final = ("has no metadata.name", "is not a map", "is not a string", "is not a list")


class Event(StrEnum):
    """Moments in the life of a release at which hooks run."""

    PRE_INSTALL = "pre-install"
    POST_INSTALL = "post-install"
    PRE_DELETE = "pre-delete"
    POST_DELETE = "post-delete"
    PRE_UPGRADE = "pre-upgrade"
    POST_UPGRADE = "post-upgrade"
    PRE_ROLLBACK = "pre-rollback"
    POST_ROLLBACK = "post-rollback"
    TEST = "test"


class DeletePolicy(StrEnum):
    """When a hook is deleted."""

    BEFORE_CREATION = "before-hook-creation"
    SUCCEEDED = "hook-succeeded"
    FAILED = "hook-failed"


_EVENTS: Final = {**{event.value: event for event in Event}, "test-success": Event.TEST}


class Part(NamedTuple):
    """One rendered document: the template it is of, below the chart's name, and its text."""

    path: str
    text: str

    def __repr__(self) -> str:
        return f"Part({self.path})"


class Output(NamedTuple):
    """`manifest` as a record keeps it: without hooks and without what is in `crds/`."""

    manifest: str
    hooks: tuple[Hook, ...]
    crds: str

    def __repr__(self) -> str:
        return f"Output({len(self.manifest)} characters, {len(self.hooks)} hooks)"


def split(printed: bytes) -> Output:
    """What `helm template --include-crds` printed. Raises Terminal (BuildFailed)."""
    try:
        text = printed.decode()
    except UnicodeDecodeError:
        raise Terminal(REASON, "the chart renders bytes that are no text in UTF-8") from None
    objects: list[Part] = []
    hooks: list[Hook] = []
    crds: list[Part] = []
    for part in parts(text):
        if _CRDS.match(part.path):
            crds.append(part)
        elif (hook := _hook(part)) is not None:
            hooks.append(hook)
        else:
            objects.append(part)
    return Output(joined(objects), tuple(hooks), joined(crds))


def parts(text: str) -> list[Part]:
    """The documents in `text`, each with the template it is of."""
    found = _START.split(text)
    return [Part(path, content) for path, content in zip(found[1::2], found[2::2], strict=True)]


def joined(documents: Iterable[Part]) -> str:
    """`documents` as one text, as a record keeps it."""
    return "".join(f"---\n# Source: {part.path}\n{part.text.rstrip()}\n" for part in documents)


def objects(text: str) -> tuple[Manifest, ...]:
    """The objects in a manifest, in the order they stand there; their origin is their template. Raises Terminal."""
    return tuple(manifest for part in parts(text) for manifest in objects_of(part))


def objects_of(part: Part) -> list[Manifest]:
    """The objects in one part. Raises Terminal."""
    try:
        return [Manifest(body, Origin(part.path)) for body, _ in manifests_of(_documents(part))]
    except YamlError as problem:
        raise _unreadable(part.path, problem) from None


def objects_of_hook(hook: Hook) -> list[Manifest]:
    """The objects of a hook, mostly one. Raises Terminal."""
    return objects_of(part_of(hook))


def part_of(hook: Hook) -> Part:
    """A hook as a part of what was rendered."""
    return Part(hook.path, hook.manifest)


def running(hooks: Iterable[Hook], event: Event) -> list[Hook]:
    """The hooks for `event` in the order they run: by weight, then by name, and among equals as they stand."""
    return sorted((hook for hook in hooks if event in (hook.events or ())), key=lambda hook: (hook.weight, hook.name))


def selected(hooks: Iterable[Hook], filters: Sequence[tuple[str, bool]]) -> list[Hook]:
    """The tests among `hooks` that run: all, those named, or all but those excluded; `filters` are (name, exclude)."""
    included = {name for name, exclude in filters if not exclude}
    excluded = {name for name, exclude in filters if exclude}
    return [
        hook
        for hook in running(hooks, Event.TEST)
        if (not included or hook.name in included) and hook.name not in excluded
    ]


def deletes(hook: Hook, policy: DeletePolicy) -> bool:
    """Whether `hook` is deleted at that moment. One that says nothing is, before it is created again."""
    return policy in (hook.delete_policies or (DeletePolicy.BEFORE_CREATION,))


def keeps(body: Body) -> bool:
    """Whether an object stays when the release goes, or no longer has it."""
    policy = _annotations(body).get(HELM_RESOURCE_POLICY)
    return isinstance(policy, str) and policy.strip().lower() == HELM_KEEP


def manifest_of(manifests: Iterable[tuple[str, Part]]) -> str:
    """A manifest of parts with their kinds, brought into Helm's order."""
    return joined(part for _, part in sorted(manifests, key=lambda one: install_key(one[0])))


def _documents(part: Part) -> list[Document]:
    # Not more than one at a time: the limits of the reader are for what one person wrote in one file.
    pieces = _SEPARATOR.split(part.text)
    return [document for piece in pieces for document in load(piece.encode(), part.path, dialect="kubernetes")]


def _hook(part: Part) -> Hook | None:
    """The hook that `part` is, if it is one. Raises Terminal."""
    if HOOK not in part.text:
        return None
    try:
        documents = _documents(part)
    except YamlError as problem:
        raise _unreadable(part.path, problem) from None
    body = documents[0].value if documents else None
    if not isinstance(body, dict) or not isinstance(said := _annotations(body).get(HOOK), str):
        return None
    return hook_of(body, said, part)


def hook_of(body: Body, said: str, part: Part) -> Hook | None:
    """The hook that `body` is by the annotation `said`; None where an event is none, as Helm passes such a one over."""
    annotations = _annotations(body)
    events = [_EVENTS.get(word) for word in _words(said)]
    if None in events:
        return None
    weight = str(annotations.get(HOOK_WEIGHT, ""))
    metadata = body.get("metadata")
    return Hook(
        name=str(metadata.get("name", "")) if isinstance(metadata, dict) else "",
        kind=str(body.get("kind", "")),
        path=part.path,
        manifest=part.text.rstrip() + "\n",
        events=tuple(str(event) for event in events),
        weight=int(weight) if _WEIGHT.fullmatch(weight) else 0,
        delete_policies=tuple(_words(annotations.get(HOOK_DELETE))) or None,
        output_log_policies=tuple(_words(annotations.get(HOOK_OUTPUT))) or None,
    )


def _words(said: Any) -> list[str]:
    return [word.strip().lower() for word in said.split(",")] if isinstance(said, str) else []


def _annotations(body: Body) -> Mapping[str, Any]:
    metadata = body.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _unreadable(path: str, problem: YamlError) -> Terminal:
    cause = problem.message.partition(": ")[2]
    place = f" at line {problem.line} of a document" if problem.line else ""
    told = f": {cause}" if cause.startswith(_TELLING) or cause.endswith(_TOLD_AT_THE_END) else ""
    return Terminal(REASON, f"what {path} renders is not what Kubernetes can read{place}{told}")
