"""`trimtab suspend` and `trimtab resume`: whether anybody looks after an object."""

from typing import TYPE_CHECKING

import click

from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import NAMED, NOTIFICATIONS, Kind, asked, kind_of, one, suspension
from trimtab.cli.reconcile import Teller, deadline, wait_for

if TYPE_CHECKING:
    from trimtab.kube.client import Client


@click.command("suspend", epilog="\b\nExample:\n  trimtab suspend shop\n  trimtab suspend source git shop")
@click.argument("words", nargs=-1, metavar=NAMED)
@click.option("--all", "everything", is_flag=True, help="All of the kind in the namespace.")
@cluster_options
def suspend(options: Options, words: tuple[str, ...], everything: bool) -> None:
    """Stop looking after an object. What runs stays as it is; drift of an app is still told, and not corrected."""

    async def work(client: "Client") -> int:
        kind, names = await _chosen(client, options.namespace, words, everything)
        teller = Teller(quiet=options.quiet)
        for name in names:
            teller.say("►", f"suspending {kind.human} {name} in {options.namespace} namespace")
            await _set(client, kind, options.namespace, name, suspend=True)
            teller.say("✔", f"{kind.human} suspended")
        return Code.OK

    perform(options, work)


@click.command("resume", epilog="\b\nExample:\n  trimtab resume shop")
@click.argument("words", nargs=-1, metavar=NAMED)
@click.option("--all", "everything", is_flag=True, help="All of the kind in the namespace.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is ready again (the default).")
@cluster_options
def resume(options: Options, words: tuple[str, ...], everything: bool, wait: bool) -> None:
    """Look after an object again.

    Exit codes: 0 it is ready, 2 it failed or is not ready in time, 3 the cluster cannot be asked.
    """

    async def work(client: "Client") -> int:
        kind, names = await _chosen(client, options.namespace, words, everything)
        teller = Teller(quiet=options.quiet)
        for name in names:
            teller.say("►", f"resuming {kind.human} {name} in {options.namespace} namespace")
            await _set(client, kind, options.namespace, name, suspend=False)
            teller.say("✔", f"{kind.human} resumed")
        if wait and kind not in NOTIFICATIONS:
            async with deadline(options.timeout_s, f"{kind.human} {', '.join(names)}"):
                for name in names:
                    await wait_for(client, kind, options.namespace, name, teller)
        return Code.OK

    perform(options, work)


async def _chosen(
    client: "Client", namespace: str, words: tuple[str, ...], everything: bool
) -> tuple[Kind, tuple[str, ...]]:
    if not everything:
        if not words:
            raise Failure(Code.WRONG, f"expected {NAMED}, or --all")
        kind, name = one(words)
        return asked(kind), (name,)
    kind = asked(kind_of(words))
    found = await client.list(await client.discovery.find(kind.gvk), namespace, type=dict)
    names = tuple(body["metadata"]["name"] for body in found.items)
    if not names:
        raise Failure(Code.WRONG, f"no {kind.gvk.kind} objects found in namespace {namespace}")
    return kind, names


async def _set(client: "Client", kind: Kind, namespace: str, name: str, *, suspend: bool) -> None:
    resource = await client.discovery.find(kind.gvk)
    patch = suspension(kind, suspend=suspend)
    await client.merge_patch(resource, name, namespace, patch, field_manager="trimtab", type=dict)
