"""What a check is, what it may answer, and what it looks at."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from trimtab.api.installed import DEPLOYMENT
from trimtab.kube.client import Client
from trimtab.kube.errors import NotFound
from trimtab.manifests.refs import Body, Gvk


class Outcome(StrEnum):
    """What became of a check."""

    OK = "ok"
    NOTE = "note"  # worth knowing, and nothing wrong
    PROBLEM = "problem"
    UNKNOWN = "unknown"  # it could not be looked at, which is never the same as "ok"


class Answer(NamedTuple):
    """One thing that was found. `way_out` says what to do, where something can be done."""

    outcome: Outcome
    words: str
    way_out: str = ""


class Finding(NamedTuple):
    """An answer, and the check it is of."""

    check: str
    answer: Answer


class Patient:
    """A cluster, and the namespace of the installation. What was read is read once."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._lists: dict[tuple[Gvk, str], list[Body]] = {}
        self._ahead: timedelta | None = None

    async def all(self, gvk: Gvk, namespace: str = "") -> list[Body]:
        """The objects of a kind, everywhere or in one namespace. Raises what the client raises."""
        key = (gvk, namespace)
        if key not in self._lists:
            resource = await self.client.discovery.find(gvk)
            self._lists[key] = (await self.client.list(resource, namespace)).items
        return self._lists[key]

    async def one(self, gvk: Gvk, name: str, namespace: str = "") -> Body | None:
        """An object; None where there is none. Raises what the client raises."""
        try:
            return await self.client.get(await self.client.discovery.find(gvk), name, namespace)
        except NotFound:
            return None

    async def ahead(self) -> timedelta | None:
        """How far the clock of this machine is ahead of the server's; None where the server does not say."""
        answer = await self.client.exchange("GET", "/version")
        here = datetime.now(UTC)
        with suppress(ValueError):
            self._ahead = here - parsedate_to_datetime(answer.headers.get("Date", ""))
        return self._ahead

    async def now(self) -> datetime:
        """The time by the server's clock, as far as it is known."""
        ahead = self._ahead if self._ahead is not None else await self.ahead()
        return datetime.now(UTC) - (ahead or timedelta())

    async def workload(self) -> Body | None:
        """The Deployment of the installation, if it was made by `trimtab install`."""
        return await self.one(Gvk("apps", "v1", "Deployment"), DEPLOYMENT, self.namespace)


Check: TypeAlias = Callable[[Patient], Awaitable[list[Answer]]]


def ok(words: str) -> Answer:
    """Nothing is wrong."""
    return Answer(Outcome.OK, words)


def note(words: str, way_out: str = "") -> Answer:
    """Worth knowing."""
    return Answer(Outcome.NOTE, words, way_out)


def problem(words: str, way_out: str) -> Answer:
    """Something is wrong."""
    return Answer(Outcome.PROBLEM, words, way_out)


def unknown(words: str, way_out: str) -> Answer:
    """It could not be looked at."""
    return Answer(Outcome.UNKNOWN, words, way_out)


def several(names: list[str], most: int = 5) -> str:
    """The first few of `names`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def named(body: Body) -> str:
    """`namespace/name` of an object, or its name."""
    metadata = body["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))


def conditions(body: Body) -> dict[str, Body]:
    """The conditions of an object by their type."""
    found = (body.get("status") or {}).get("conditions") or ()
    return {one["type"]: one for one in found if isinstance(one, dict) and isinstance(one.get("type"), str)}


def arguments(workload: Body) -> list[str]:
    """What the first container of a Deployment is started with."""
    containers = workload["spec"]["template"]["spec"].get("containers") or [{}]
    return [str(one) for one in containers[0].get("args") or ()]


def flag(given: list[str], name: str) -> str | None:
    """The value of a flag among arguments; empty where it has none, None where it is not there."""
    for place, word in enumerate(given):
        if word == name:
            following = given[place + 1] if place + 1 < len(given) else ""
            return "" if following.startswith("-") else following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
