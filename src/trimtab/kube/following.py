"""One object, followed until somebody has seen enough of it."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final

from trimtab.base.tasks import Tasks
from trimtab.kube.errors import ApiError, NotFound, Unreachable
from trimtab.kube.informer import Applied, Event, Informer, State
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_PAUSES_S: Final = (0.5, 5.0)
"""Between two reads of what may not be watched. Never longer: some objects are removed soon after they are done."""


class Following:
    """The object that `seen` is, by its uid: another of the same name is not it. A context that leaves nothing running.

    `last` is how it was seen last, which stays true of what is `gone`: so it ended. `woken` is set whenever there may
    be news; whoever waits for it calls `look` then, and now and then.
    While it is not watched, because that is forbidden or fails, it is read instead, with growing pauses.
    """

    def __init__(self, client: "Client", resource: Resource, seen: Body, woken: asyncio.Event) -> None:
        metadata = seen["metadata"]
        self.last = seen
        self.gone = False
        self._client = client
        self._resource = resource
        self._name: str = metadata["name"]
        self._namespace: str = metadata.get("namespace") or ""
        self._uid: str = metadata["uid"]
        self._woken = woken
        self._problem = ""
        self._pause_s = _PAUSES_S[0]
        self._due = client.clock.monotonic() + self._pause_s
        self._tasks = Tasks("following")
        self._informer: Informer[Body] = Informer(
            client, resource, decode=codec.decode, namespace=self._namespace, name=self._name
        )
        self._informer.add_handler(self._hear)
        self._informer.add_state_handler(lambda _: woken.set())

    async def __aenter__(self) -> "Following":
        self._informer.start(self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.close()

    @property
    def problem(self) -> str:
        """Why what is known may be old; nothing if it is not."""
        return self._problem

    async def look(self) -> None:
        """Bring `last` and `gone` up to date. Raises ApiError where that is refused, and will be."""
        now = self._client.clock.monotonic()
        if self.gone:
            return
        if self._informer.state is State.LIVE:
            self._pause_s = _PAUSES_S[0]
            if any(map(self._is_it, self._informer.store.values())):
                self._problem = ""
            else:
                await self._read()
        elif now >= self._due:
            self._due = now + self._pause_s
            self._pause_s = min(self._pause_s * 2, _PAUSES_S[1])
            await self._read()

    async def _read(self) -> None:
        """Ask for it: that an object is gone is believed only where the server says so to a question."""
        try:
            found: Body = await self._client.get(self._resource, self._name, self._namespace)
        except NotFound:
            self.gone = True
        except (ApiError, Unreachable) as failure:
            if not failure.transient:
                raise
            self._problem = str(failure)
        else:
            self._problem = ""
            if self._is_it(found):
                self.last = found
            else:
                self.gone = True

    def _hear(self, event: Event[Body]) -> None:
        # Of what was deleted, a watch has told every state before that.
        if isinstance(event, Applied) and self._is_it(event.new):
            self.last = event.new
        self._woken.set()

    def _is_it(self, body: Body) -> bool:
        return bool(body["metadata"].get("uid") == self._uid)
