"""What answers `lookup` while a chart is rendered: reading only, in the name of the release's account, and recorded.

Helm asks as it would ask an API server, by HTTP on the loopback address of the network that it is alone in
(`base/loopback.py`). It knows the address from a kubeconfig in its home, which holds nothing of ours but a path that
nobody can guess: where the network is not its own, others could connect too. (Helm sends no token where there is no
TLS.) What it asks for is taken apart and put together again by us, so only a GET of an object or of a list can come
out: no watch, no subresource, no other verb. One thing is asked for once, however often a rendering needs it, and the
second run of a chart that may vary gets the answers of the first.

Of the API itself it is told what the wish says of capabilities, and of kinds and their names what our discovery knows;
no request of Helm's own reaches the server. It reads the kinds twice: first for `.Capabilities`, before it renders, and
once more when it has rendered, to find each object's kind. From then on nothing is looked up any more, and Helm finds
none of the objects that it wants to see before it would create them: whether they exist, and whose they are, is judged
where they are applied. A kind that is not served yet ends its run there; it is told of when the chart is run again.
"""

import asyncio
import hmac
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

from aiohttp import web

from trimtab.base.answering import answering
from trimtab.base.errors import Terminal
from trimtab.base.loopback import HOST
from trimtab.helm import looked
from trimtab.helm.looked import Api, Looked, Wanted
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, ConfigError, CredentialError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.resource import Resource
from trimtab.manifests import codec
from trimtab.manifests.refs import Gvk

KUBECONFIG: Final = "kubeconfig"
MAX_ASKED: Final = 200
"""Requests to the server that one rendering may cost."""
MAX_ANSWER: Final = 10 << 20
MAX_ANSWERS: Final = 32 << 20
MAX_REQUESTS: Final = 20_000
"""Of Helm, for what costs the server nothing: after each kind that it does not find it reads all of them again."""
ANSWER_S: Final = 10.0
ANSWERS_S: Final = 20.0
"""The cluster may be somebody else's, and a worker is held for as long."""

_MISSING = re.compile(r'no matches for kind "([^"\s]{1,63})" in version "(?:([^"/\s]{1,253})/)?([^"/\s]{1,63})"')
_MAX_MISSING: Final = 1_000
_IN_A_THREAD: Final = 256 << 10
_DISCOVERY = {"Content-Type": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
_JSON = {"Content-Type": "application/json"}


class _Answer(NamedTuple):
    status: int
    body: bytes
    kind: Mapping[str, str] = _JSON


class Lookups:
    """Answers the lookups of one rendering, all its runs, one run at a time."""

    def __init__(
        self, client: Client, served: Iterable[Resource], kube_version: str, api_versions: Iterable[str]
    ) -> None:
        """`client` asks in the name of the release. `served` is what its discovery knows."""
        self.trouble = ""
        """Why an answer is missing that may be there the next time."""
        self._client = client
        self._served = tuple(served)
        self._version = looked.version_of(kube_version)
        self._wished = looked.wished(api_versions)
        self._missing: set[Gvk] = set()
        self._answers: dict[str, _Answer] = {}
        self._looked: list[Looked] = []
        self._asked = self._bytes = 0
        self._seconds = 0.0
        self._turn = asyncio.Lock()
        self._token = ""
        self._requests = 0
        self._reads: Counter[str] = Counter()

    @property
    def looked_up(self) -> tuple[Looked, ...]:
        """What was asked of the server, in that order, each once."""
        return tuple(self._looked)

    @property
    def missing(self) -> frozenset[Gvk]:
        """Kinds of objects of the chart that the cluster does not serve, as far as they are known."""
        return frozenset(self._missing)

    def secrets(self) -> tuple[str, ...]:
        """What of the answers is in no message."""
        return tuple(value for answer in self._answers.values() for value in looked.secrets_in(answer.body))

    def tell_of(self, kinds: Iterable[Gvk]) -> None:
        """Let Helm find these kinds for the objects it has rendered, though they are not served."""
        self._missing.update(kinds)

    def learn(self, said: str) -> bool:
        """Whether Helm stopped at kinds that it will be told of the next time."""
        known = len(self._missing)
        for kind, group, version in _MISSING.findall(said)[:_MAX_MISSING]:
            self._missing.add(Gvk(group, version, kind))
        return len(self._missing) > known

    def files(self, port: int) -> Mapping[str, bytes]:
        """The kubeconfig."""
        self._token = secrets.token_hex(16)
        cluster = {"server": f"http://{HOST}:{port}/{self._token}"}
        context = {"cluster": "it", "user": "it"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": context}],
            "current-context": "it",
        }
        return {KUBECONFIG: codec.encode(config)}

    def serving(self, listener: socket.socket) -> AbstractAsyncContextManager[None]:
        """Answer one run."""
        self._requests = 0
        self._reads.clear()
        return answering(listener, self._handle)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        answer = await self._answer(request)
        return web.Response(status=answer.status, body=answer.body, headers=answer.kind)

    async def _answer(self, request: web.BaseRequest) -> _Answer:
        first, slash, rest = request.rel_url.raw_path.removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode(), self._token.encode()):
            return _refused(401, "Unauthorized", "whoever asks here is not the one who may")
        path = slash + rest
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            return _refused(403, "Forbidden", f"a chart may not make more than {MAX_REQUESTS:,} requests")
        if request.method != "GET" or set(request.rel_url.query) - {"timeout"}:
            return _beyond(f"{request.method[:20]} {path[:200]}")
        match path:
            case "/version":
                return _Answer(200, self._version)
            case "/api" | "/apis":
                self._reads[path] += 1
                kinds = self._for_objects() if self._rendered else self._for_capabilities()
                body = looked.groups_of(kinds, self._wished.apis, core=path == "/api")
                return _Answer(200, body, _DISCOVERY)
        match looked.wanted(path):
            case Api() as api:
                return await self._kinds(api)
            case Wanted() as wanted:
                return await self._objects(wanted)
            case None:
                return _beyond(f"GET {path[:200]}")

    @property
    def _rendered(self) -> bool:
        return max(self._reads.values(), default=0) > 1

    def _for_capabilities(self) -> Iterable[Resource]:
        served = {kind.gvk: kind for kind in self._served}
        return [served.get(gvk) or looked.guessed(gvk) for gvk in self._wished.kinds]

    def _for_objects(self) -> Iterable[Resource]:
        kinds = {gvk: looked.guessed(gvk) for gvk in [*self._missing, *self._wished.kinds]}
        return (kinds | {kind.gvk: kind for kind in self._served}).values()

    async def _kinds(self, api: Api) -> _Answer:
        """The kinds of one version of a group, which Helm asks for before each lookup."""
        if not self._serves(api):
            try:
                await self._client.discovery.find(Gvk(*api, ""))
                self._served = await self._client.discovery.served()
            except UnknownKind:
                self._served = await self._client.discovery.served()
            except (StaleGroup, ApiError, Unreachable, CredentialError, ConfigError) as failure:
                return self._failed(failure)
        if not self._serves(api):
            name = "/".join(filter(None, api))
            return _refused(404, "NotFound", f"the cluster serves no API {name}")
        return _Answer(200, looked.kinds_of(api, self._served))

    def _serves(self, api: Api) -> bool:
        return any(Api(*kind.gvk[:2]) == api for kind in self._served)

    async def _objects(self, wanted: Wanted) -> _Answer:
        if self._rendered or (kind := looked.found(self._served, wanted)) is None:
            return _refused(404, "NotFound", "there is no such object")
        try:
            path = kind.path(wanted.namespace, wanted.name)
        except ValueError as problem:
            return _refused(400, "BadRequest", str(problem))
        async with self._turn:
            return self._answers.get(path) or await self._ask(path)

    async def _ask(self, path: str) -> _Answer:
        """Ask the server, and keep what it says. What cannot be had fails the rendering, and is not kept."""
        if self._asked >= MAX_ASKED:
            return _refused(403, "Forbidden", f"a chart may look up {MAX_ASKED} things, and {path} is one more")
        if self._seconds >= ANSWERS_S:
            self.trouble = (
                f"what the chart looks up takes longer than {ANSWERS_S:g} s; {path} was not asked for any more"
            )
            return _refused(504, "Timeout", self.trouble)
        self._asked += 1
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(min(ANSWER_S, ANSWERS_S - self._seconds)):
                exchanged = await self._client.exchange("GET", path, max_body=MAX_ANSWER)
        except NotFound as nothing:
            self._looked.append(Looked(path))
            self._answers[path] = _refused(404, nothing.reason or "NotFound", nothing.message)
            return self._answers[path]
        except ApiError as refusal:
            if refusal.reason == "AnswerTooLarge":
                return _too_large(f"what is at {path} is larger than {MAX_ANSWER >> 20} MiB")
            return self._failed(refusal)
        except (Unreachable, CredentialError, ConfigError) as failure:
            return self._failed(failure)
        except TimeoutError:
            self.trouble = f"{self._client.server} did not answer GET {path} in time"
            return _refused(504, "Timeout", self.trouble)
        finally:
            self._seconds += loop.time() - began
        body = exchanged.body
        self._bytes += len(body)
        if self._bytes > MAX_ANSWERS:
            return _too_large(f"what the chart looked up until {path} is larger than {MAX_ANSWERS >> 20} MiB")
        found = await asyncio.to_thread(looked.digest_of, body) if len(body) > _IN_A_THREAD else looked.digest_of(body)
        self._looked.append(Looked(path, found))
        self._answers[path] = _Answer(200, body)
        return self._answers[path]

    def _failed(self, failure: Exception) -> _Answer:
        """The failure in the form that Helm shows; what may heal by itself is remembered."""
        if isinstance(failure, ApiError):
            if failure.transient:
                self.trouble = failure.message
            return _refused(failure.status, failure.reason, failure.message)
        if not isinstance(failure, Terminal):
            self.trouble = str(failure)
        return _refused(503, "ServiceUnavailable", str(failure))


def _beyond(what: str) -> _Answer:
    return _refused(403, "Forbidden", f"a chart may look up objects and lists of them, and nothing else: {what!a}")


def _too_large(what: str) -> _Answer:
    return _refused(413, "RequestEntityTooLarge", f"{what}; look up single objects by their names")


def _refused(code: int, reason: str, message: str) -> _Answer:
    return _Answer(code, looked.refusal_of(code, reason, message))
