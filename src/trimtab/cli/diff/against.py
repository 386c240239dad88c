"""What is declared in files, compared with what is live: a cluster, a dump of one, or nothing at all."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from trimtab.cli.connect import Code, Failure
from trimtab.cli.render import rendering
from trimtab.cli.render.rendering import Declared, Recipe

if TYPE_CHECKING:
    from trimtab.controllers.hiding import Hiding
    from trimtab.diff.report import Finding
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body, Gvk, Key, Manifest
    from trimtab.render.render import Rendered
    from trimtab.render.variables import Variables
    from trimtab.targets.kubernetes.comparing import Terms
    from trimtab.targets.kubernetes.desired import Desired

_DUMP_BYTES: Final = 64 << 20
SEALED: Final = "it is encrypted by SOPS: give a key with --age-key or --gpg-key"


class Wanted(NamedTuple):
    """What is declared, with which variables, and by which Kustomization, if any.

    `shut` is why what is encrypted stays so.
    """

    rendered: "Rendered"
    variables: "Variables"
    declared: Declared = Declared()
    shut: str = SEALED


async def wanted(path: Path, recipe: Recipe) -> Wanted:
    """What `path` declares. Nothing at all is an error: it must not look as if all were well."""
    declared = recipe.declared()
    # without a key, what is encrypted cannot be compared, and the rest can
    keys = recipe.keys(declared.spec) if recipe.has_keys else None
    variables = recipe.variables(declared.spec)
    found = await rendering.rendered(path, recipe, declared.spec, variables, keys)
    if not found.manifests:
        raise Failure(Code.WRONG, f"{path} declares no object: there is nothing to compare")
    return Wanted(found, variables, declared)


async def cluster(client: "Client", wish: Wanted, terms: "Terms", *, namespace: str) -> "list[Finding]":
    """What is declared against a cluster; objects that name no namespace are those of `namespace`.

    A Kustomization that was given is taken as the controller takes it: its labels belong to the wish, and it is refused
    where an object has no namespace.
    """
    return hidden(await compared(client, wish, terms, namespace=namespace), wish)


async def compared(client: "Client", wish: Wanted, terms: "Terms", *, namespace: str) -> "list[Finding]":
    """As `cluster`, with the objects' own names: not to be told before it went through `hidden`."""
    from trimtab.kube.errors import ApiError, Unreachable
    from trimtab.targets.kubernetes import comparing
    from trimtab.targets.kubernetes.scopes import scopes

    sealed, manifests = unsealed(wish, terms.app)
    try:
        namespaced = await scopes(client, manifests)
    except (ApiError, Unreachable) as failure:
        return [*sealed, *nothing(manifests, str(failure), terms.app)]
    items = prepared(wish, manifests, namespaced, namespace=namespace)
    found = await comparing.compare(client, items, terms._replace(stamped=wish.declared.key is not None))
    return [*sealed, *found]


def prepared(
    wish: Wanted, manifests: "Sequence[Manifest]", namespaced: "Mapping[Gvk, bool]", *, namespace: str
) -> "list[Desired]":
    """`manifests` of `wish` as they would be sent. `namespaced` tells the scope of the kinds that are known.

    Raises Terminal for what must never be sent.
    """
    from trimtab.targets.kubernetes import ignore
    from trimtab.targets.kubernetes.desired import PREFIX, Owner, placed, prepare

    key, spec = wish.declared
    secret = set(wish.rendered.secret)
    if key is None:
        found = [placed(one, namespace, namespaced=namespaced.get(one.gvk)) for one in manifests]
        secret = {now.ref for was, now in zip(manifests, found, strict=True) if was.ref in secret}
        manifests = found
    items = prepare(
        manifests,
        Owner(PREFIX, key) if key else None,
        namespaced=namespaced,
        protected_namespace="",
        installs_us=True,
        secret=secret,
    )
    return items if spec is None else ignore.marked(items, ignore.compiled(spec.ignore))


def dump(wish: Wanted, live: Path, *, namespace: str, everything: bool) -> "list[Finding]":
    """What is declared against the live objects in a file."""
    from trimtab.diff.dump import against_dump

    sealed, manifests = unsealed(wish)
    there, secret = _dumped(live), wish.rendered.secret
    found = against_dump(manifests, there, namespace=namespace, secret=secret, everything=everything)
    # what is encrypted on this side is not only on the other
    known = {finding.ref for finding in sealed}
    return [*sealed, *hidden((finding for finding in found if finding.ref not in known), wish)]


def nothing(manifests: "Sequence[Manifest]", why: str, app: "Key | None" = None) -> "list[Finding]":
    """What can be said where nothing live is known: what is declared, and why there is no more."""
    from trimtab.diff.report import Finding, State

    return [Finding(one.ref, State.UNKNOWN, one.origin, why, app=app) for one in manifests]


def hidden(findings: "Iterable[Finding]", wish: Wanted) -> "list[Finding]":
    """`findings` without the values that come from Secrets.

    What they are put into is hidden anyhow; this is for what they were put into once, for words of the server, and for
    names: of objects, and of the fields that differ.
    """
    from trimtab.manifests.refs import Ref

    hides, strictly = hiding(wish), hiding(wish, secret=True)
    if strictly.empty:
        return list(findings)
    secret = {ref._replace(namespace="") for ref in wish.rendered.secret}

    def told(finding: "Finding") -> "Finding":
        least = strictly if finding.ref._replace(namespace="") in secret else hides
        return finding._replace(
            ref=Ref(*map(least.text, finding.ref)),
            note=least.text(finding.note),
            differences=tuple(map(least.difference, finding.differences)),
        )

    return list(map(told, findings))


def hiding(wish: Wanted, *, secret: bool = False) -> "Hiding":
    """What is not to be told of `wish`; of an object that is `secret`, nothing that has become of a value either."""
    from dataclasses import replace

    from trimtab.controllers.hiding import NOTHING

    found = NOTHING.follow(wish.variables)
    return replace(found, whole=wish.rendered.made) if secret else found


def unsealed(wish: Wanted, app: "Key | None" = None) -> "tuple[list[Finding], list[Manifest]]":
    """What is still encrypted, as findings, and the rest."""
    from trimtab.sops.objects import is_encrypted, is_switched_off, sealed_entry

    def sealed(body: "Body") -> bool:
        return bool((is_encrypted(body) and not is_switched_off(body)) or sealed_entry(body))

    manifests = wish.rendered.manifests
    closed = nothing([one for one in manifests if sealed(one.body)], wish.shut, app)
    return closed, [one for one in manifests if not sealed(one.body)]


def _dumped(file: Path) -> "list[Manifest]":
    """The live objects in `file`. A file without any document is no dump, an empty list is one."""
    from trimtab.manifests.refs import Origin
    from trimtab.manifests.yaml import Document, load, manifests_of

    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = _bytes(file)
    except OSError as wrong:
        raise Failure(Code.WRONG, f"{name}: {wrong.strerror}") from wrong
    if len(data) > _DUMP_BYTES:
        raise Failure(Code.WRONG, f"{name} is larger than {_DUMP_BYTES >> 20} MiB: dump fewer kinds or namespaces")
    value = _json(data)
    documents = load(data, name, dialect="kubernetes") if value is None else [Document(value, Origin(name, 1, 1))]
    if all(document.value in (None, {}, []) for document in documents):
        raise Failure(
            Code.WRONG, f"{name} holds no objects; `kubectl get -o yaml` prints a List also where it is empty"
        )
    return manifests_of(documents)


def _bytes(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(_DUMP_BYTES + 1)
    with file.open("rb") as stream:
        return stream.read(_DUMP_BYTES + 1)


def _json(data: bytes) -> object:
    """`data`, if it is one JSON document, which is read much faster than YAML."""
    import msgspec

    from trimtab.manifests import codec

    if not data.lstrip().startswith(b"{"):
        return None
    try:
        found: object = codec.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found
