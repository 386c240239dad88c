"""What an app may be told of what the shared watches show: no more than its own account may read (ENGINE.md §8)."""

from typing import NamedTuple

from trimtab.base.clock import Clock
from trimtab.health.verdict import Verdict
from trimtab.kube.client import Client
from trimtab.kube.errors import NO_ANSWER, StaleGroup, UnknownKind
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Gvk, Ref

REMEMBER_S = 300.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_MOST = 10_000


class _Question(NamedTuple):
    user: str
    gvk: Gvk
    namespace: str
    name: str


class Disclosure:
    """Asks the API server on behalf of accounts, and remembers its answers for five minutes.

    The question goes out under the account itself (a SelfSubjectAccessReview): it needs no right of ours, and the
    groups of the account are those that the server knows. This process's own view needs no question.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answers: dict[_Question, tuple[float, bool]] = {}

    async def may_get(self, client: Client, gvk: Gvk, ref: Ref) -> bool:
        """Whether the account behind `client` may `get` the object: all of its kind there, or just this one.

        Where the server does not answer, the answer is no.
        """
        if not client.user:
            return True
        everything = _Question(client.user, gvk, ref.namespace, "")
        return await self._ask(client, everything) or await self._ask(client, everything._replace(name=ref.name))

    async def verdict(self, client: Client, gvk: Gvk, ref: Ref, verdict: Verdict) -> Verdict:
        """`verdict` as it may be told: without what the object says where the account may not read it."""
        if verdict.good or not verdict.message or await self.may_get(client, gvk, ref):
            return verdict
        return Verdict(verdict.state, "the account of the app may not read why")

    async def _ask(self, client: Client, question: _Question) -> bool:
        now = self._clock.monotonic()
        known = self._answers.get(question)
        if known is not None and now - known[0] < REMEMBER_S:
            return known[1]
        try:
            allowed = await _review(client, question)
        except (*NO_ANSWER, UnknownKind, StaleGroup):
            return False
        if len(self._answers) >= _MOST:
            self._answers = {key: each for key, each in self._answers.items() if now - each[0] < REMEMBER_S}
        self._answers[question] = now, allowed
        return allowed


async def _review(client: Client, question: _Question) -> bool:
    resource = await client.discovery.find(question.gvk)
    attributes = {
        "verb": "get",
        "group": question.gvk.group,
        "version": question.gvk.version,
        "resource": resource.plural,
        "namespace": question.namespace,
        "name": question.name,
    }
    body: Body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer: Body = codec.decode(await client.request("POST", _REVIEWS, body=codec.encode(body)))
    return bool(answer.get("status", {}).get("allowed"))
