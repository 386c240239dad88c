"""What a cluster would make of each object of a change: the server is asked by dry-runs, and nothing is written.

An object that the server cannot judge yet, because its namespace or its definition comes with the same change, is
judged as the gate does it: by schema.
"""

import asyncio
import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.base.abreast import abreast
from trimtab.diff.compare import Difference, same
from trimtab.diff.declared import declared_changes
from trimtab.diff.mask import shown
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import NO_ANSWER, ApiError, Forbidden, Invalid, NotFound, UnknownKind, Unreachable
from trimtab.manifests import codec
from trimtab.manifests.pointers import format_path, get
from trimtab.manifests.refs import Body, Gvk, Key, Ref
from trimtab.preview import refusal
from trimtab.preview.needs import pod_of
from trimtab.preview.verdict import Judgement, Verdict, Weight
from trimtab.targets.kubernetes import autoscaling, gate, recreate
from trimtab.targets.kubernetes.apply import read, rehearse
from trimtab.targets.kubernetes.autoscaling import REPLICAS, Scaled
from trimtab.targets.kubernetes.comparing import between, of_its_owner, wish, with_left
from trimtab.targets.kubernetes.desired import MANAGER, Desired, rule
from trimtab.targets.kubernetes.fights import without_parts
from trimtab.targets.kubernetes.gate import Deferred, Providers, Refused

_DEFINITION: Final = "CustomResourceDefinition"
_POD: Final = Gvk("", "v1", "Pod")
_STEM: Final = 200
_COMES: Final = re.compile(r"error looking up service account|no PriorityClass with name|RuntimeClass .* not found")


class Terms(NamedTuple):
    """For whom it is asked. `stamped`: the objects carry the labels of the app that wishes them, `app`.

    `force`: the app asks for a new object where a live one cannot become what is wished. `account` is the user in whose
    name it is applied, where the rights of that one are to be judged and not those of whoever asks. What has no answer
    at `until` (the loop's time), after `timeout_s`, is unknown.
    """

    app: Key | None = None
    stamped: bool = False
    force: bool = False
    account: str = ""
    timeout_s: float = 300.0
    until: float | None = None


class Looked(NamedTuple):
    """What was found of one object. `after` is the server's answer, or the wish where there is none."""

    item: Desired
    finding: Finding
    judgements: tuple[Judgement, ...] = ()
    live: Body | None = None
    after: Body | None = None

    @property
    def fails(self) -> bool:
        """Whether it would be refused."""
        return any(judgement.verdict.weight is Weight.FAILS for judgement in self.judgements)


async def providers(client: Client, items: Sequence[Desired], until: float | None) -> Providers:
    """What `items`, all that comes with one change, bring for each other.

    Of a definition that the cluster has in the very form that is wished, it is the server who judges objects.
    """
    defining = [item for item in items if item.ref.kind == _DEFINITION]
    looking = _Looking(client, Terms(), Providers.of(items))
    known: set[Ref] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            looked = await abreast(looking.one, defining)
        known = {one.item.ref for one in looked if one.finding.state is State.SAME}
    return Providers.of(items, lambda item: item.ref in known)


async def look(client: Client, items: Sequence[Desired], brought: Providers, terms: Terms) -> list[Looked]:
    """What would become of each of `items`, of one app. `brought` is what comes with the same change.

    Never raises for what the server or the network says.
    """
    looking = _Looking(client, terms, brought)
    try:
        async with asyncio.timeout_at(terms.until):
            looking.scaled = await autoscaling.scaled(client, items)
            return await abreast(looking.one, items)
    except TimeoutError:
        words = f"no answer within {terms.timeout_s:g} s (--timeout)"
        return [looking.done.get(id(item)) or looking.unknown(item, words) for item in items]
    except NO_ANSWER as failure:
        return [looking.done.get(id(item)) or looking.unknown(item, str(failure)) for item in items]


@dataclass(slots=True)
class _Looking:
    """One run. `done` has what is known so far, for the case that the time is over before the rest is."""

    client: Client
    terms: Terms
    providers: Providers
    scaled: Scaled = field(default_factory=lambda: Scaled({}, {}))
    done: dict[int, Looked] = field(default_factory=dict)

    async def one(self, item: Desired) -> Looked:
        """What is to be said of `item`."""
        found = await self._looked(item)
        self.done[id(item)] = found
        return found

    def unknown(self, item: Desired, why: str) -> Looked:
        """`item`, of which nothing could be found out."""
        return self._said(item, State.UNKNOWN, [Judgement(Verdict.UNKNOWN, why)])

    async def _looked(self, item: Desired) -> Looked:
        if not item.wanted:
            return self._said(item, State.SKIPPED, note="it asks to be left alone")
        if self.scaled.claims(item):
            item = without_parts(item, {REPLICAS})
        try:
            live = await read(self.client, item)
        except UnknownKind:
            return await self._as_the_gate(item, State.MISSING)
        except Forbidden as failure:
            return self._said(item, State.UNKNOWN, [refusal.judged(failure, item.told(failure.message))])
        except (*NO_ANSWER, StaleGroup) as failure:
            return self.unknown(item, item.told(str(failure)))
        except RecursionError:
            return self.unknown(item, "it is nested too deeply")
        if live is not None and rule(live, "reconcile") == "disabled":
            return self._said(item, State.SKIPPED, live=live, note="the live object asks to be left alone")
        if live is not None and not self.terms.stamped:
            item = of_its_owner(item, live)
        if complaint := self.providers.definitions.complaint(item):
            return self._refused(item, live, [Judgement(Verdict.REFUSED_SCHEMA, item.told(complaint))])
        return await self._rehearsed(item, live)

    async def _rehearsed(self, item: Desired, live: Body | None) -> Looked:
        warned: list[str] = []

        def headed(headers: Mapping[str, str]) -> None:
            warned.extend(refusal.warnings(headers.items()))

        try:
            resource = await self.client.discovery.find(item.gvk)
            answer = await rehearse(self._applying, resource, item, headed)
        except NotFound:
            return await self._as_the_gate(item, State.MISSING)
        except ApiError as failure:
            return await self._of_refusal(item, live, failure)
        except (*NO_ANSWER, StaleGroup, UnknownKind) as failure:
            return self.unknown(item, item.told(str(failure)))
        judgements = [refusal.warned(item.told(text)) for text in warned]
        judgements += await self._of_pods(item, live, answer)
        if live is None:
            return self._said(item, State.MISSING, judgements, after=answer)
        found = with_left(item, live, between(live, answer))
        state = State.DIFFERS if found else State.SAME
        note = self.scaled.problems.get(item.ref.namespace, "") if _replicas(found) else ""
        return self._said(item, state, judgements, found, live=live, after=answer, note=note)

    @property
    def _applying(self) -> Client:
        """The client in whose name objects are applied."""
        return self.client.acting_as(self.terms.account) if self.terms.account else self.client

    def _of_rights(self, failure: ApiError, judgement: Judgement) -> Judgement:
        """`judgement`, where it is the account of the app that lacks rights, and not whoever asks."""
        mine = not self.terms.account or "impersonate" in failure.message
        if mine or judgement.verdict is not Verdict.UNKNOWN or not isinstance(failure, Forbidden):
            return judgement
        words = f"the account of the app may not: {judgement.message.partition(': ')[2]}"
        if self.providers.roles:
            return Judgement(Verdict.UNKNOWN, f"{words}, unless the roles of the same change allow it")
        return Judgement(Verdict.FORBIDDEN, words)

    async def _of_pods(self, item: Desired, live: Body | None, answer: Body) -> list[Judgement]:
        """What is said of the Pods that `item` would make: a workload is taken though its Pods never would be.

        Quotas count what is there while it is replaced, so they are judged elsewhere; accounts and classes may come
        with the same change.
        """
        pod, before = pod_of(answer), pod_of(live) if live is not None else None
        if pod is None or item.ref.kind == "Pod" or (before is not None and same(before.spec, pod.spec)):
            return []
        template = get(answer, pod.path[:-1])
        metadata = template.get("metadata") if isinstance(template, dict) else None
        named = {name: (metadata or {}).get(name) or {} for name in ("labels", "annotations")}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**named, "generateName": f"{item.ref.name[:_STEM]}-", "namespace": item.ref.namespace},
            "spec": pod.spec,
        }
        try:
            resource = await self.client.discovery.find(_POD)
            await self.client.create(
                resource, codec.clone(body), item.ref.namespace, dry_run=True, field_manager=item.manager
            )
        except ApiError as failure:
            judgement = refusal.judged(failure, item.told(failure.message))
            if judgement.verdict is Verdict.QUOTA_EXCEEDED or _COMES.search(failure.message):
                return []
            words = f"of its Pods: {judgement.message}"
            return [judgement._replace(message=words, path=format_path(pod.path[:-1]))]
        except (*NO_ANSWER, StaleGroup, UnknownKind) as failure:
            return [Judgement(Verdict.UNKNOWN, f"of its Pods: {failure}")]
        return []

    async def _of_refusal(self, item: Desired, live: Body | None, failure: ApiError) -> Looked:
        judgement = self._of_rights(failure, refusal.judged(failure, item.told(failure.message)))
        if judgement.verdict is Verdict.REFUSED_SCHEMA and isinstance(failure, Invalid):
            if self.providers.definitions.define(item.gvk):
                words = "its definition changes too: it is judged when it is applied"
                return self._said(item, _changed(live), [Judgement(Verdict.FINE, words)], live=live, after=item.body)
            stuck = await recreate.look(self.client, item, item.manager, everywhere=self.terms.force)
            if stuck is not None and stuck.may:
                words = f"it is deleted and created anew, as it asks for: {item.told(failure.message)}"
                changes = declared_changes(stuck.live, wish(item), manager=MANAGER)
                judgements = [Judgement(Verdict.RESTART, words)]
                return self._said(item, State.DIFFERS, judgements, changes, live=live, after=item.body)
            if stuck is not None:
                words = recreate.words(item, failure)
                judgement = Judgement(Verdict.IMMUTABLE, words, path=judgement.path)
        return self._refused(item, live, [judgement])

    async def _as_the_gate(self, item: Desired, state: State) -> Looked:
        """What the gate says of an object whose kind or namespace is not there."""
        [found] = await gate.judge(self.client, [item], self.providers, force=self.terms.force)
        match found:
            case Deferred():
                words = f"it is judged in full when it is applied: {found.message}"
                return self._said(item, state, [Judgement(Verdict.FINE, words)], after=item.body)
            case Refused():
                missing = "not found" in found.message or not await self._served(item)
                otherwise = Verdict.REFERENCE_MISSING if missing else Verdict.REFUSED_SCHEMA
                return self._said(item, state, [refusal.worded(found.message, otherwise)], after=item.body)
            case _:
                return self._said(item, state, after=item.body)

    async def _served(self, item: Desired) -> bool:
        """Whether the kind of `item` is there, or comes with the change."""
        if (item.gvk.group, item.gvk.kind) in self.providers.kinds:
            return True
        try:
            await self.client.discovery.find(item.gvk)
        except (UnknownKind, StaleGroup, Unreachable):
            return False
        return True

    def _refused(self, item: Desired, live: Body | None, judgements: Sequence[Judgement]) -> Looked:
        changes = declared_changes(live, wish(item), manager=MANAGER) if live is not None else []
        state = State.MISSING if live is None else State.DIFFERS if changes else State.SAME
        return self._said(item, state, judgements, changes, live=live, after=item.body)

    def _said(
        self,
        item: Desired,
        state: State,
        judgements: Sequence[Judgement] = (),
        changes: Iterable[Difference] = (),
        *,
        live: Body | None = None,
        after: Body | None = None,
        note: str = "",
    ) -> Looked:
        told = shown(item.ref.kind, changes, secret=item.secret)
        finding = Finding(item.ref, state, item.origin, note, told, app=self.terms.app)
        return Looked(item, finding, tuple(judgements), live, after)


def _changed(live: Body | None) -> State:
    return State.MISSING if live is None else State.DIFFERS


def _replicas(found: Iterable[Difference]) -> bool:
    return any(change.path == "spec.replicas" for change in found)
