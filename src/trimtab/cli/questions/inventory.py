"""`trimtab inventory`: what an app has on record, and whether the cluster still has it."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import APP, one

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization
    from trimtab.kube.client import Client
    from trimtab.kube.resource import Resource
    from trimtab.manifests.refs import Body, Gvk, Key, Ref
    from trimtab.targets.kubernetes.inventory import Entry

_EXAMPLES = """\b
Examples:
  trimtab inventory shop
  trimtab inventory shop -n team-a -o json
"""


class State(StrEnum):
    """What became of an object on record."""

    LIVE = "live"
    MISSING = "missing"
    REPLACED = "replaced"  # another object has taken its name
    UNKNOWN = "unknown"


class Look(NamedTuple):
    """An object on record, the version it was found in, and what became of it."""

    entry: "Entry"
    state: State
    uid: str = ""
    message: str = ""


@click.command("inventory", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar="APP")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@cluster_options
def inventory(options: Options, words: tuple[str, ...], form: output.Form) -> None:
    """Show what an app has on record as its own: each object, its API version as applied, its uid, and its state.

    live: the object that was recorded is there. missing: none of that name is. replaced: another one has taken the
    name. Exit codes: 0 all is live, 2 something is not or the record cannot be trusted, 3 something could not be read.
    """

    async def work(client: "Client") -> int:
        from trimtab.controllers.reading import look

        ks = await app(client, options.namespace, words)
        reading = await look(client, ks, apart=False)
        looks = await observe(client, ks.metadata.key, list(reading.entries().values()))
        where = "secrets" if reading.parts or reading.headed else "status"
        if form == "text":
            _print(looks, options)
        else:
            document = {
                "app": {"namespace": ks.metadata.namespace, "name": ks.metadata.name},
                "where": where,
                "cluster": reading.cluster,
                "problem": reading.problem,
                "objects": [structured(found) for found in looks],
            }
            click.echo(output.document(document, form))
        if reading.problem:
            output.say("✗", f"the record cannot be trusted: {reading.problem}")
            output.say("✗", f"`trimtab repair inventory {ks.metadata.name} -n {ks.metadata.namespace}` builds it anew")
        if any(found.state is State.UNKNOWN for found in looks):
            return Code.UNKNOWN
        return Code.OK if not reading.problem and all(f.state is State.LIVE for f in looks) else Code.DIFFERS

    perform(options, work)


async def app(client: "Client", namespace: str, words: Sequence[str]) -> "Kustomization":
    """The app that `words` name. Raises Failure for anything that is none."""
    from trimtab.api.kustomize import Kustomization
    from trimtab.kube.errors import NotFound

    kind, name = one(words)
    if kind is not APP:
        raise Failure(Code.WRONG, f"only apps have an inventory, not a {kind.human}: name an app")
    try:
        return await client.get(await client.discovery.find(APP.gvk), name, namespace, type=Kustomization)
    except NotFound:
        words_ = f"there is no {APP.human} {name} in namespace {namespace}: `trimtab get ks -A` lists all"
        raise Failure(Code.WRONG, words_) from None


async def observe(client: "Client", of: "Key", entries: Sequence["Entry"]) -> list[Look]:
    """What became of each of `entries`, which are the record of the app `of`, as far as the user may see it."""
    from trimtab.base.abreast import abreast
    from trimtab.cli.questions.gathering import Listed, gathered
    from trimtab.kube.errors import Unreachable
    from trimtab.manifests.refs import Ref
    from trimtab.targets.kubernetes.prune import served

    def version_of(gvk: "Gvk") -> "Awaitable[Resource]":
        return served(client, next(entry for entry in entries if entry.gvk == gvk))

    uids: dict[Ref, str] = {}
    with contextlib.suppress(Unreachable):  # each object says so itself
        owner = Ref(APP.gvk.group, APP.gvk.kind, *of)
        listed = [Listed(entry.ref, entry.version) for entry in entries]
        uids = await gathered(client, owner, listed, _uid, bare=lambda _gvk: True, find=version_of)

    async def one_of(entry: "Entry") -> Look:
        uid = uids.get(entry.ref)
        return await _observe(client, entry) if uid is None else _found(entry, uid)

    return await abreast(one_of, entries)


def _uid(_ref: "Ref", body: "Body") -> str:
    return str(body["metadata"]["uid"])


def _found(entry: "Entry", uid: str) -> Look:
    return Look(entry, State.REPLACED if entry.uid not in ("", uid) else State.LIVE, uid)


async def _observe(client: "Client", entry: "Entry") -> Look:
    from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
    from trimtab.targets.kubernetes.identity import out_of_scope
    from trimtab.targets.kubernetes.prune import served

    try:
        resource = await served(client, entry)
        if why := out_of_scope(entry.ref, resource):
            return Look(entry, State.UNKNOWN, message=why)
        live = await client.get(resource, entry.ref.name, entry.ref.namespace)
    except NotFound:
        return Look(entry, State.MISSING)
    except (ApiError, UnknownKind, StaleGroup, Unreachable) as failure:
        return Look(entry, State.UNKNOWN, message=str(failure))
    return _found(entry, live["metadata"]["uid"])


def structured(found: Look) -> dict[str, Any]:
    """One object for programs. `uid` is the recorded one, `liveUid` that of the object that has the name now."""
    ref = found.entry.ref
    return {
        "group": ref.group,
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "version": found.entry.version,
        "uid": found.entry.uid,
        "liveUid": found.uid,
        "state": found.state.value,
        "message": found.message,
    }


def _print(looks: Sequence[Look], options: Options) -> None:
    rows = [
        [
            str(found.entry.ref),
            found.entry.gvk.api_version,
            found.entry.uid or "-",
            " ".join(filter(None, (found.state.value, found.message))),
        ]
        for found in looks
    ]
    if rows:
        click.echo(output.table(("OBJECT", "VERSION", "UID", "STATE"), rows))
    counts = Counter(found.state.value for found in looks)
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    output.say("✔", f"{len(looks)} objects on record{f': {told}' if told else ''}", quiet=options.quiet)
