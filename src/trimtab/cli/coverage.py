"""`trimtab coverage`: how much of a cluster is managed, and what is not."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from trimtab.cli.connect import Code, Options, cluster_options, perform

if TYPE_CHECKING:
    from trimtab.diff.report import Finding
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body
    from trimtab.targets.kubernetes.coverage import Covered, Estate

_EXAMPLES = """\b
Examples:
  trimtab coverage -n shop
  trimtab coverage -A --list
  trimtab coverage -A --least 90
  trimtab coverage -A -o json | jq '.objects[] | select(.share == "orphaned")'
"""
_NOWHERE: Final = "(cluster)"
_OTHERS: Final = ("unmanaged", "orphaned")


@click.command("coverage", epilog=_EXAMPLES)
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces, and what is in none.")
@click.option("--system", is_flag=True, help="With -A: also the namespaces of the system (kube-system, …).")
@click.option("--list", "listed", is_flag=True, help="List each object that is unmanaged or orphaned.")
@click.option("--least", type=click.FloatRange(0, 100), help="Exit with 2 where less than this per cent is managed.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="Form of the result.")
@cluster_options
def coverage(
    options: Options, all_namespaces: bool, system: bool, listed: bool, least: float | None, form: str
) -> None:
    """Count what is managed, unmanaged and orphaned, by namespace and kind.

    Managed is what an app has on record: a Kustomization, a HelmRelease, or an app of `trimtab apply`. Orphaned is what
    carries the labels of one that is gone, or has it on no record. What belongs to another object is what that is. What
    a cluster makes for itself does not count.

    Exit codes: 0, 2 less than --least, 3 a kind could not be looked at (listed), 1 an error.
    """
    if system and not all_namespaces:
        raise click.UsageError("--system goes with -A")

    async def work(client: "Client") -> int:
        namespace = "" if all_namespaces else options.asked or client.config.namespace
        found = await look(client, namespace, system=system)
        if form == "json":
            _document(found)
        else:
            _print(found, namespace, listed=listed)
        share = percentage(found.objects)
        if found.blind:
            return Code.UNKNOWN
        return Code.DIFFERS if least is not None and share < least else Code.OK

    perform(options, work)


async def look(client: "Client", namespace: str, *, system: bool = False) -> "Estate":
    """What there is, and how it stands. Raises ApiError, Unreachable where not even the apps can be read."""
    from trimtab.controllers import landscape
    from trimtab.controllers.applyrecords import ApplyRecords, cluster_of
    from trimtab.targets.kubernetes import coverage as covering

    records = ApplyRecords(client, await cluster_of(client))
    apps, blind = await landscape.apps(client, records, namespace)
    found = await covering.survey(client, namespace, apps, system=system)
    return found._replace(blind=[*blind, *found.blind])


def percentage(objects: "Sequence[Covered]") -> float:
    """How much is managed; of nothing, all is."""
    managed = sum(one.share.value == "managed" for one in objects)
    return 100.0 * managed / len(objects) if objects else 100.0


def _print(found: "Estate", namespace: str, *, listed: bool) -> None:
    from trimtab.cli import output

    if not found.objects and not found.blind:
        where = f"namespace {namespace}: -n names another, -A looks in all" if namespace else "the cluster"
        output.say("✔", f"there is nothing that counts in {where}")
        return
    counts = Counter((one.ref.namespace or _NOWHERE, _kind(one), one.share.value) for one in found.objects)
    places = sorted({(namespace, kind) for namespace, kind, _ in counts})
    shares = ("managed", *_OTHERS)
    rows = [
        [namespace, kind, *(str(counts[namespace, kind, share] or "-") for share in shares)]
        for namespace, kind in places
    ]
    if rows and not listed:
        click.echo(output.table(["NAMESPACE", "KIND", *map(str.upper, shares)], rows))
    if listed:
        others = [one for one in found.objects if one.share.value in _OTHERS and not one.owned]
        cells = [
            [one.ref.namespace or _NOWHERE, f"{_kind(one)}/{one.ref.name}", one.share.value, one.by] for one in others
        ]
        if cells:
            click.echo(output.table(["NAMESPACE", "OBJECT", "SHARE", "BY"], cells))
    for blind in found.blind:
        output.say("✗", f"{_place(blind)} unknown: {blind.note}")
    total = Counter(one.share.value for one in found.objects)
    words = ", ".join(f"{total[share]} {share}" for share in shares)
    output.say(
        "✔" if not found.blind else "✗", f"{percentage(found.objects):.1f} % of what is known is managed: {words}"
    )


def _document(found: "Estate") -> None:
    from trimtab.cli import output

    total = Counter(one.share.value for one in found.objects)
    kinds: dict[tuple[str, str, str], Counter[str]] = {}
    for one in found.objects:
        kinds.setdefault((one.ref.namespace, one.ref.group, one.ref.kind), Counter())[one.share.value] += 1
    told: Body = {
        "percentage": round(percentage(found.objects), 2),
        "managed": total["managed"],
        "unmanaged": total["unmanaged"],
        "orphaned": total["orphaned"],
        "kinds": [
            {
                "namespace": namespace,
                "group": group,
                "kind": kind,
                **{share: count[share] for share in ("managed", *_OTHERS)},
            }
            for (namespace, group, kind), count in sorted(kinds.items())
        ],
        "objects": [
            {**one.ref._asdict(), "share": one.share.value, "by": one.by, "owned": one.owned}
            for one in found.objects
            if one.share.value in _OTHERS
        ],
        "unknown": [
            {"group": one.ref.group, "kind": one.ref.kind, "namespace": one.ref.namespace, "message": one.note}
            for one in found.blind
        ],
    }
    click.echo(output.document(told, "json"))


def _kind(one: "Covered") -> str:
    return f"{one.ref.kind}.{one.ref.group}" if one.ref.group else one.ref.kind


def _place(one: "Finding") -> str:
    kind = f"{one.ref.kind}.{one.ref.group}" if one.ref.group else one.ref.kind
    return f"{kind} in {one.ref.namespace}" if one.ref.namespace else kind
