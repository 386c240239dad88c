"""An object or a set of objects as it changes, for commands that wait or that show what happens."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, NamedTuple

from trimtab.base.tasks import Tasks
from trimtab.cli.kinds import Kind
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.codec import decode
from trimtab.manifests.refs import Body, Key

if TYPE_CHECKING:
    from trimtab.kube.client import Client


class Change(NamedTuple):
    """An object as it is now, or as it was last seen before it was `deleted`."""

    body: Body
    deleted: bool = False


async def follow(
    client: "Client", kind: Kind, namespace: str, *, name: str = "", label_selector: str = ""
) -> AsyncGenerator[Change, None]:
    """Every object there is, then every change to one. Never ends by itself.

    Raises ApiError at once when the objects may not be read: a watch alone would try for ever.
    """
    resource = await client.discovery.find(kind.gvk)
    field_selector = f"metadata.name={name}" if name else ""
    await client.list(resource, namespace, label_selector=label_selector, field_selector=field_selector, type=dict)
    changes: asyncio.Queue[Change] = asyncio.Queue()

    def on_event(event: Event[Body]) -> None:
        gone = not isinstance(event, Applied)
        body = event.new if isinstance(event, Applied) else event.old
        changes.put_nowait(Change(body, gone))

    informer: Informer[Body] = Informer(
        client, resource, decode=decode, key_of=_key, namespace=namespace, label_selector=label_selector, name=name
    )
    informer.add_handler(on_event)
    tasks = Tasks("follow")
    informer.start(tasks)
    try:
        while True:
            yield await changes.get()
    finally:
        await tasks.close()


def _key(body: Body) -> Key:
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
