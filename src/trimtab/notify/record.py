"""What was told last, kept in a ConfigMap as well: if the journal is lost, nothing is told twice and every end is told.

Each line is one story: which states of which object are open for which Alert, and the last revision whose success was
told. What was on its way when the journal was lost is derived again from what is live. Does I/O.
"""

import json
import logging
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trimtab.api.installed import NOTIFIED
from trimtab.base.clock import Clock
from trimtab.kube.client import Client
from trimtab.kube.errors import AlreadyExists, ApiError, NotFound, Unreachable
from trimtab.manifests.refs import Gvk
from trimtab.notify.journal import StoryRow
from trimtab.notify.story import Story

log = logging.getLogger(__name__)

MOST_BYTES: Final = 800_000
"""A ConfigMap has a megabyte; what was told longest ago is left out."""
MOST_LINES: Final = 20_000
_KEY: Final = "stories"
_AGAIN_S: Final = 2.0
_CONFIG_MAP: Final = Gvk("", "v1", "ConfigMap")


def encode(rows: Iterable[StoryRow]) -> str:
    """The lines, the latest first, as far as there is room."""
    lines: list[str] = []
    size = 0
    for row in rows:
        line = json.dumps([row.alert, row.subject, msgspec.json.decode(row.body)], separators=(",", ":"))
        size += len(line) + 1
        if size > MOST_BYTES or len(lines) == MOST_LINES:
            break
        lines.append(line)
    return "\n".join(lines)


def decode(text: str) -> list[StoryRow]:
    """The rows of `text`; a line that makes no sense is left out."""
    found = []
    for line in text.splitlines()[:MOST_LINES]:
        try:
            alert, subject, body = msgspec.json.decode(line, type=tuple[str, str, dict[str, Any]])
            if alert:
                msgspec.convert(body, Story)
            found.append(StoryRow(alert, subject, msgspec.json.encode(body)))
        except (msgspec.DecodeError, RecursionError):
            continue
    return found


async def load(client: Client, namespace: str) -> list[StoryRow]:
    """What the ConfigMap says; nothing if there is none. Raises ApiError and Unreachable."""
    resource = await client.discovery.find(_CONFIG_MAP)
    try:
        body = await client.get(resource, NOTIFIED, namespace)
    except NotFound:
        return []
    return decode(str((body.get("data") or {}).get(_KEY, "")))


async def awaited(client: Client, namespace: str, clock: Clock) -> list[StoryRow]:
    """As `load`, once the server answers: who went on without would tell all of it again, and write over it.

    Raises ApiError for a refusal that stays.
    """
    said = False
    while True:
        try:
            return await load(client, namespace)
        except (ApiError, Unreachable) as failure:
            if isinstance(failure, ApiError) and not failure.transient:
                raise
            if not said:
                log.warning("what was told before cannot be read yet: %s", failure)
            said = True
        await clock.sleep(_AGAIN_S)


async def save(client: Client, namespace: str, text: str) -> None:
    """Write it, as a whole. Raises ApiError and Unreachable."""
    resource = await client.discovery.find(_CONFIG_MAP)
    data = {"data": {_KEY: text}}
    try:
        await client.merge_patch(resource, NOTIFIED, namespace, data)
    except NotFound:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NOTIFIED, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "trimtab"}},
            **data,
        }
        try:
            await client.create(resource, body, namespace)
        except AlreadyExists:
            await client.merge_patch(resource, NOTIFIED, namespace, data)
