"""What a chart asks of the cluster while it is rendered, and what it saw there. Pure.

A record of an answer leaves out what the server counts for itself (resourceVersion, managedFields): it moves without a
change of anything that a chart works with. The rest counts, the status too, because charts read addresses there. So two
records may differ although the same would be rendered. They are a hint that it is worth rendering again, and no more:
whether there is anything to do is told by what comes out.
"""

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk

_UNSEEN: Final = ("resourceVersion", "managedFields", "continue", "remainingItemCount")
_NO_NAMES: Final = frozenset({"", ".", ".."})
_VERSION = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]+)?")


class Looked(NamedTuple):
    """One thing a chart asked for: its path in the API, and the digest of what was there; empty if there was nothing.

    Digests of what may be secret: they are for memory, and for no status.
    """

    path: str
    digest: str = ""


class Api(NamedTuple):
    """The kinds of one version of a group."""

    group: str
    version: str


class Wanted(NamedTuple):
    """Objects of a kind, by its plural: one by its name, or without one all of them."""

    api: Api
    plural: str
    namespace: str = ""
    name: str = ""


def wanted(path: str) -> Api | Wanted | None:
    """What a percent-encoded `path` of the API asks for; None if neither for kinds nor for objects."""
    parts = [unquote(part) for part in path.removeprefix("/").split("/")]
    if any(part in _NO_NAMES or "/" in part or "%" in part for part in parts):
        return None
    match parts:
        case ["api", version, *rest]:
            api = Api("", version)
        case ["apis", group, version, *rest]:
            api = Api(group, version)
        case _:
            return None
    match rest:
        case []:
            return api
        case ["namespaces", namespace, plural]:
            return Wanted(api, plural, namespace)
        case ["namespaces", namespace, plural, name]:
            return Wanted(api, plural, namespace, name)
        case [plural]:
            return Wanted(api, plural)
        case [plural, name]:
            return Wanted(api, plural, name=name)
        case _:
            return None


def found(kinds: Iterable[Resource], asked: Wanted) -> Resource | None:
    """The kind that is meant, if it is served and can be read that way."""
    for kind in kinds:
        if (Api(*kind.gvk[:2]), kind.plural) == (asked.api, asked.plural) and (
            kind.namespaced if asked.namespace else not (kind.namespaced and asked.name)
        ):
            return kind if ("get" if asked.name else "list") in kind.verbs else None
    return None


def digest_of(answer: bytes) -> str:
    """Equal where a chart sees the same. What cannot be read, Helm will say more about."""
    try:
        body = codec.decode(answer)
        items = body.get("items") if isinstance(body, dict) else None
        for one in (body, *(items if isinstance(items, list) else ())):
            _forget(one)
        return codec.digest(body)
    except (msgspec.MsgspecError, RecursionError):
        return codec.digest(answer)


def secrets_in(answer: bytes) -> Iterator[str]:
    """The values of a Secret, or of a list of them, as they stand there and as they are meant."""
    try:
        body = codec.decode(answer)
    except (msgspec.MsgspecError, RecursionError):
        return
    if not isinstance(body, dict) or body.get("kind") not in ("Secret", "SecretList"):
        return
    items = body.get("items")
    for one in (body, *(items if isinstance(items, list) else ())):
        data = one.get("data") if isinstance(one, dict) else None
        for value in data.values() if isinstance(data, dict) else ():
            if isinstance(value, str):
                yield value
                with contextlib.suppress(ValueError):
                    yield base64.b64decode(value).decode()


def _forget(body: Any) -> None:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if isinstance(metadata, dict):
        for key in _UNSEEN:
            metadata.pop(key, None)


class Wished(NamedTuple):
    """Capabilities, taken apart."""

    apis: tuple[Api, ...]
    kinds: tuple[Gvk, ...]


def wished(api_versions: Iterable[str]) -> Wished:
    """What `group/version` and `group/version/Kind`, in the core group without the first part, stand for."""
    apis: list[Api] = []
    kinds: list[Gvk] = []
    for text in api_versions:
        match text.split("/"):
            case [group, version, kind]:
                kinds.append(Gvk(group, version, kind))
            case [version, kind] if _VERSION.fullmatch(version):
                kinds.append(Gvk("", version, kind))
            case [group, version]:
                apis.append(Api(group, version))
            case [version]:
                apis.append(Api("", version))
            case _:
                pass
    return Wished(tuple(apis), tuple(kinds))


def guessed(gvk: Gvk) -> Resource:
    """A kind that the cluster does not serve, to be told of and not to be asked for."""
    return Resource(gvk, f"{gvk.kind.lower()}s", True)


def version_of(kube_version: str) -> bytes:
    """What a server of that version says of itself."""
    numbers = [*kube_version.removeprefix("v").split("."), "", ""]
    return codec.encode({"major": numbers[0], "minor": numbers[1], "gitVersion": kube_version})


def groups_of(kinds: Iterable[Resource], apis: Iterable[Api], *, core: bool) -> bytes:
    """The document of aggregated discovery that tells of `kinds`, and of `apis` even if they have none."""
    groups: dict[str, dict[str, list[Any]]] = {}
    for group, version in apis:
        if (not group) == core:
            groups.setdefault(group, {}).setdefault(version, [])
    for kind in kinds:
        group, version, name = kind.gvk
        if (not group) == core:
            served = {
                "resource": kind.plural,
                "responseKind": {"group": group, "version": version, "kind": name},
                "scope": "Namespaced" if kind.namespaced else "Cluster",
                "singularResource": "",
                "verbs": ["get", "list"],
            }
            groups.setdefault(group, {}).setdefault(version, []).append(served)
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {"version": version, "freshness": "Current", "resources": served}
                for version, served in versions.items()
            ],
        }
        for group, versions in groups.items()
    ]
    return codec.encode(
        {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
    )


def kinds_of(api: Api, kinds: Iterable[Resource]) -> bytes:
    """The older document, of one version of a group."""
    resources = [
        {
            "name": kind.plural,
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.gvk.kind,
            "verbs": sorted(kind.verbs),
        }
        for kind in kinds
        if Api(*kind.gvk[:2]) == api
    ]
    group_version = f"{api.group}/{api.version}" if api.group else api.version
    return codec.encode(
        {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}
    )


def refusal_of(code: int, reason: str, message: str) -> bytes:
    """A refusal in the API's own form."""
    said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return codec.encode(said | {"message": message, "reason": reason, "code": code})
