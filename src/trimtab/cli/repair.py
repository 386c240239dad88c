"""`trimtab repair`: what only a person may decide: to build a record anew, to let a stuck app go."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import APP, one
from trimtab.cli.questions.inventory import app

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization
    from trimtab.controllers.reading import Reading
    from trimtab.kube.client import Client
    from trimtab.kube.resource import Resource
    from trimtab.manifests.refs import Ref
    from trimtab.targets.kubernetes.desired import Owner
    from trimtab.targets.kubernetes.inventory import Entry

_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_APP = click.argument("words", nargs=-1, required=True, metavar="APP")


@click.group()
def repair() -> None:
    """Mend what the controller must not mend by itself. Acts with your own rights on the cluster."""


@repair.command(epilog="\b\nExample:\n  trimtab repair inventory shop -n team-a")
@_APP
@_YES
@cluster_options
def inventory(options: Options, words: tuple[str, ...], yes: bool) -> None:
    """Build the record of a read-only app anew, so that the app goes on.

    The new record is what the old one still says, and every object that is the app's: it carries the app's labels, was
    applied by the controller, and nothing else controls it. What of it is not in git will be pruned.
    """

    async def work(client: "Client") -> int:
        from trimtab.controllers.reading import look
        from trimtab.kube.errors import UnknownKind
        from trimtab.targets.kubernetes.desired import PREFIX, Owner

        try:
            ks = await app(client, options.namespace, words)
        except (Failure, UnknownKind):
            # `trimtab apply` needs no definitions of ours
            if (code := await _applied(client, options, words, yes=yes)) is None:
                raise
            return code
        reading = await look(client, ks, apart=False)
        if not reading.problem:
            output.say("✔", "the record can be trusted: there is nothing to repair", quiet=options.quiet)
            return Code.OK
        output.say("►", f"the record cannot be trusted: {reading.problem}", quiet=options.quiet)
        record, blind = await _rebuilt(client, Owner(PREFIX, ks.key), reading.entries(), quiet=options.quiet)
        _ask(f"Write it as the record of {APP.human} {ks.metadata.name}?", yes=yes)
        await _write(client, ks, reading, record)
        output.say("✔", "the record is written, the app goes on", quiet=options.quiet)
        return Code.UNKNOWN if blind else Code.OK

    perform(options, work)


@repair.command(epilog="\b\nExample:\n  trimtab repair release shop -n team-a")
@_APP
@_YES
@cluster_options
def release(options: Options, words: tuple[str, ...], yes: bool) -> None:
    """Let an app that is being deleted go, without deleting what it owns. What stays in the cluster is listed."""

    async def work(client: "Client") -> int:
        from trimtab.api import names
        from trimtab.controllers.app import App
        from trimtab.controllers.reading import look
        from trimtab.controllers.records import Records
        from trimtab.runtime.finalizers import drop

        ks = await app(client, options.namespace, words)
        if not ks.metadata.deleted:
            raise Failure(
                Code.WRONG,
                f"{APP.human} {ks.metadata.name} is not being deleted. To delete it and keep its objects, set "
                "spec.deletionPolicy to Orphan and delete it",
            )
        reading = await look(client, ks, apart=False)
        for ref in sorted(reading.entries()):
            click.echo(output.escape(str(ref)))
        if reading.problem:
            output.say("✗", f"the list may not be complete: {reading.problem}")
        _ask(f"Let {APP.human} {ks.metadata.name} go? What is listed stays in the cluster.", yes=yes)
        await Records(client, "").release(App.unread(ks))
        await drop(client, await client.discovery.find(APP.gvk), ks.metadata, names.FINALIZER)
        output.say("✔", f"{APP.human} {ks.metadata.name} is gone", quiet=options.quiet)
        return Code.OK

    perform(options, work)


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(Code.WRONG, "nothing is done: there is nobody to ask; --yes answers for you")
    click.confirm(question, abort=True, err=True)


async def _applied(client: "Client", options: Options, words: tuple[str, ...], *, yes: bool) -> int | None:
    """The same for an app of `trimtab apply`, which has its record in a Secret; None if there is no such app."""
    from trimtab.api import names
    from trimtab.controllers.applyrecords import ApplyRecords, cluster_of
    from trimtab.manifests.refs import Key
    from trimtab.targets.kubernetes.desired import Owner

    kind, name = one(words)
    records = ApplyRecords(client, await cluster_of(client))
    record = await records.read(Key(options.namespace, name))
    if kind is not APP or not record.uid:
        return None
    if not record.problem:
        output.say("✔", "the record can be trusted: there is nothing to repair", quiet=options.quiet)
        return Code.OK
    output.say("►", f"the record cannot be trusted: {record.problem}", quiet=options.quiet)
    owner = Owner(names.APPLIED, record.key)
    record.inventory, blind = await _rebuilt(client, owner, record.legible, quiet=options.quiet)
    _ask(f"Write it as the record of app {record.key} of `trimtab apply`?", yes=yes)
    # written with the version that was read: an apply that is under way is not written over
    await records.write(record)
    output.say("✔", "the record is written: the next `trimtab apply` goes on from it", quiet=options.quiet)
    return Code.UNKNOWN if blind else Code.OK


async def _rebuilt(
    client: "Client", owner: "Owner", old: "dict[Ref, Entry]", *, quiet: bool
) -> "tuple[dict[Ref, Entry], bool]":
    """The legible part of the old record and every live object of `owner`, shown; and whether a kind was not listed."""
    kinds = [kind for kind in await client.discovery.all() if {"list", "get"} <= kind.verbs]
    lists = await asyncio.gather(*(_ours(client, owner, kind) for kind in kinds))
    record = dict(old)
    blind = []
    for kind, found in zip(kinds, lists, strict=True):
        if isinstance(found, str):
            blind.append((kind, found))
            continue
        for entry in found:
            known = record.get(entry.ref)
            record[entry.ref] = entry._replace(version=known.version) if known else entry
    for ref in sorted(record):
        note = "as recorded" if ref in old and old[ref].uid == record[ref].uid else "found in the cluster"
        click.echo(f"{output.escape(str(ref))}  {note}")
    for resource, why in blind:
        output.say("✗", f"{resource} could not be listed: {why}")
    output.say("►", f"the new record has {len(record)} objects", quiet=quiet)
    return record, bool(blind)


async def _ours(client: "Client", owner: "Owner", kind: "Resource") -> "list[Entry] | str":
    """The objects of `kind` that are the app's; why they cannot be told, where they cannot."""
    from trimtab.kube.errors import ApiError, NotFound, Unreachable
    from trimtab.manifests.refs import Ref
    from trimtab.targets.kubernetes.inventory import Entry
    from trimtab.targets.kubernetes.prune import foreign

    selector = ",".join(f"{label}={value}" for label, value in owner.labels.items())
    try:
        bodies = (await client.list(kind, label_selector=selector, type=dict)).items
    except NotFound:
        return []
    except (ApiError, Unreachable) as failure:
        return str(failure)
    entries = [(Entry(Ref.of(body), kind.gvk.version, body["metadata"]["uid"]), body) for body in bodies]
    return [entry for entry, body in entries if foreign(body, entry, owner) is None]


async def _write(client: "Client", ks: "Kustomization", reading: "Reading", record: "dict[Ref, Entry]") -> None:
    from trimtab.api import names
    from trimtab.controllers.app import App
    from trimtab.controllers.records import Records, keeps_our_fields
    from trimtab.manifests.refs import Gvk
    from trimtab.runtime.status import patch_status

    namespace = await client.get(await client.discovery.find(Gvk("", "v1", "Namespace")), "kube-system")
    records = Records(client, namespace["metadata"]["uid"], apart=not await keeps_our_fields(client))
    new = App.unread(ks)
    new.inventory, new.headed, new.untidy = record, reading.headed, True
    document, _ = await records.put(new)
    resource = await client.discovery.find(APP.gvk)
    version = ks.metadata.resource_version
    status = {"inventory": document}
    await patch_status(client, resource, ks.key, status, manager=names.STATUS_MANAGER, resource_version=version)
    await records.tidy(new)
    moment = {"metadata": {"annotations": {names.REQUESTED_AT: str(time.time_ns())}}}
    await client.merge_patch(resource, ks.key.name, ks.key.namespace, moment, field_manager="trimtab", type=dict)
