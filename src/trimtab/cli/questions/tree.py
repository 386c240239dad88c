"""`trimtab tree`: what an app consists of, nested apps opened, with the verdict on every object."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from trimtab.api.kustomize import Kustomization
from trimtab.base.abreast import abreast
from trimtab.cli import output
from trimtab.cli.connect import Code, Options, cluster_options, perform
from trimtab.cli.kinds import APP, one, revision, shortened
from trimtab.cli.questions.gathering import PLAIN, WELL, Listed, calm, gathered
from trimtab.controllers.reading import look
from trimtab.health.assess import Context, assess
from trimtab.health.verdict import State, Verdict
from trimtab.kube.errors import ApiError, Forbidden, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests.inventory import decode_id
from trimtab.manifests.refs import Body, Gvk, Ref
from trimtab.targets.kubernetes.inventory import holder_of

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_COLOURS: Mapping[State, str] = {
    State.Current: "green",
    State.Suspended: "cyan",
    State.InProgress: "yellow",
    State.Terminating: "yellow",
    State.Failed: "red",
    State.NotFound: "red",
    State.Unknown: "magenta",
}


class Node(NamedTuple):
    """An object, what is to be said about it, and what it brought with it."""

    ref: Ref
    verdict: Verdict
    children: tuple["Node", ...] = ()
    note: str = ""


@click.command("tree", epilog="\b\nExample:\n  trimtab tree shop -n flux-system")
@click.argument("words", nargs=-1, required=True, metavar="APP")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@click.option("--compact", is_flag=True, help="Only the apps, not what they consist of.")
@cluster_options
def tree(options: Options, words: tuple[str, ...], form: output.Form, compact: bool) -> None:
    """Show the inventory of an app as a tree, with the state of each object as it is now.

    Exit code 3 if something could not be looked at.
    """

    async def work(client: "Client") -> int:
        kind, name = one(words)
        if kind is not APP:
            raise click.UsageError("a tree starts at an app: `trimtab tree APP`")
        root = Ref(APP.gvk.group, APP.gvk.kind, options.namespace, name)
        looker = Looker(client)
        # The root itself must be there; whatever is missing below it is a finding.
        await client.get(await client.discovery.find(APP.gvk), name, options.namespace, type=dict)
        node = await looker.look(root, APP.gvk.version, compact=compact)
        click.echo("\n".join(drawn(node)) if form == "text" else output.document(structured(node), form))
        return Code.UNKNOWN if looker.blind else Code.OK

    perform(options, work)


class Looker:
    """Reads objects; remembers which apps it opened, since two may list each other, and whether it was turned away."""

    def __init__(self, client: "Client") -> None:
        self.blind = False
        self._client = client
        self._now = client.clock.now()
        self._opened: set[Ref] = set()

    async def look(self, ref: Ref, version: str, *, compact: bool) -> Node:
        """The object and everything below it."""
        try:
            resource = await self._client.discovery.find(Gvk(ref.group, version, ref.kind))
            body: Body = await self._client.get(resource, ref.name, ref.namespace, type=dict)
        except NotFound:
            return Node(ref, Verdict(State.NotFound, "is not in the cluster"))
        except UnknownKind as failure:
            return Node(ref, Verdict(State.Unknown, str(failure)))
        except (Forbidden, StaleGroup, Unreachable, ApiError) as failure:
            self.blind = True
            return Node(ref, Verdict(State.Unknown, str(failure)))
        return await self._opening(ref, body, compact=compact)

    async def _opening(self, ref: Ref, body: Body, *, compact: bool) -> Node:
        node = self._node(ref, body)
        if not _is_app(ref) or ref in self._opened:
            return node
        self._opened.add(ref)
        children = await self._children(ref, body, compact=compact)
        return node._replace(children=children, note=shortened(revision(body)))

    def _node(self, ref: Ref, body: Body) -> Node:
        return Node(ref, assess(body, Context(now=self._now, first_seen=None, lookup=None)))

    async def _children(self, owner: Ref, app: Body, *, compact: bool) -> tuple[Node, ...]:
        entries: Sequence[Body] = (app.get("status", {}).get("inventory") or {}).get("entries") or ()
        listed = [Listed(decode_id(entry["id"]), entry.get("v", "v1")) for entry in entries]
        if any(holder_of(ref, owner.namespace) for ref, _ in listed):
            # what is listed is only where the list is
            reading = await look(self._client, msgspec.convert(app, Kustomization), apart=False)
            listed = [Listed(entry.ref, entry.version or "v1") for entry in reading.entries().values()]
        if compact:
            listed = [one for one in listed if one.ref.kind == APP.gvk.kind]
        known: dict[Ref, Node | Body] = {}
        with contextlib.suppress(Unreachable):  # each object says so itself
            known = await gathered(self._client, owner, listed, self._taken, bare=_is_plain)

        async def one_of(item: Listed) -> Node:
            match known.get(item.ref):
                case Node() as node:
                    return node
                case None:
                    return await self.look(*item, compact=compact)
                case body:
                    return await self._opening(item.ref, body, compact=compact)

        return tuple(await abreast(one_of, listed))

    def _taken(self, ref: Ref, body: Body) -> Node | Body:
        """What is kept of an object in a list: all of an app, which is to be opened, of others how they are."""
        return body if _is_app(ref) else Node(ref, WELL) if calm(ref, body) else self._node(ref, body)


def _is_app(ref: Ref) -> bool:
    return (ref.group, ref.kind) == (APP.gvk.group, APP.gvk.kind)


def _is_plain(gvk: Gvk) -> bool:
    return (gvk.group, gvk.kind) in PLAIN


def drawn(node: Node) -> Iterator[str]:
    """The tree as lines, objects on the left and their states aligned on the right."""
    lines = list(_branches(node, "", ""))
    width = max(len(left) for left, _ in lines)
    for left, item in lines:
        yield f"{left.ljust(width)}  {_said(item)}".rstrip()


def structured(node: Node) -> dict[str, Any]:
    """The tree for programs."""
    return {
        "group": node.ref.group,
        "kind": node.ref.kind,
        "namespace": node.ref.namespace,
        "name": node.ref.name,
        "state": node.verdict.state.value,
        "message": node.verdict.message,
        "children": [structured(child) for child in node.children],
    }


def _branches(node: Node, head: str, below: str) -> Iterator[tuple[str, Node]]:
    yield f"{head}{output.escape(str(node.ref))}", node
    for child in node.children:
        last = child is node.children[-1]
        yield from _branches(child, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))


def _said(node: Node) -> str:
    state, message = node.verdict
    # What is as it should be needs no words; an app says where it is.
    words = node.note if state is State.Current else message
    return " ".join(part for part in (click.style(state.value, fg=_COLOURS[state]), output.escape(words)) if part)
