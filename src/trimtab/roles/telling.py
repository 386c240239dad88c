"""The composition root of the notifications: from events to providers, inside the Lease of Flux's controller."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from trimtab.api import gvk
from trimtab.api.annotations import complaints
from trimtab.api.installed import NOTIFIED
from trimtab.api.names import NOTIFICATION_MANAGER, Annotation
from trimtab.api.notification import COMMIT_STATUS, Alert, Provider
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.tasks import Tasks
from trimtab.controllers.access import CrossNamespace
from trimtab.controllers.offering import Named, about
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.kube.informer import Applied, Event, Informer
from trimtab.manifests.refs import Gvk, Key
from trimtab.notify import record
from trimtab.notify import settings as provider_settings
from trimtab.notify.apprising import Apprising
from trimtab.notify.desk import Desk, World, subject_of
from trimtab.notify.event import Event as Happening
from trimtab.notify.journal import Journal
from trimtab.notify.matching import Rule, Subject
from trimtab.notify.outbox import Gone, Outbox, Post, Suspended
from trimtab.notify.provider import Delivered, Outcome, Retry
from trimtab.notify.provider import Settings as ProviderSettings
from trimtab.notify.providers.table import TABLE, unserved
from trimtab.notify.signing_in import signed_in
from trimtab.notify.standing import Live, Patience
from trimtab.notify.watching import Watching
from trimtab.notify.wire import ProviderWire
from trimtab.remotes.git.github import Apps
from trimtab.roles.relaying import Relaying
from trimtab.roles.role import Means
from trimtab.runtime.events import Recorder
from trimtab.targets.kubernetes.target import WRITE_MARGIN_S
from trimtab.web import intake
from trimtab.web.callers import Callers, Everybody, Namespace
from trimtab.web.server import Listener, listen

log = logging.getLogger(__name__)

WATCHED: Final = (
    gvk.KUSTOMIZATION,
    gvk.HELM_RELEASE,
    gvk.GIT_REPOSITORY,
    gvk.OCI_REPOSITORY,
    gvk.BUCKET,
    gvk.HELM_REPOSITORY,
    gvk.HELM_CHART,
    gvk.EXTERNAL_ARTIFACT,
    gvk.ARTIFACT_GENERATOR,
    gvk.IMAGE_REPOSITORY,
    gvk.IMAGE_POLICY,
    gvk.IMAGE_UPDATE_AUTOMATION,
)
"""What Alerts can speak of."""
_STATEFUL: Final = frozenset(one.kind for one in WATCHED) - {"ExternalArtifact"}
_CONFIG_MAP: Final = Gvk("", "v1", "ConfigMap")
_RECORD_EVERY_S: Final = 3.0
_RECORD_BYTES_PER_S: Final = 10_000.0
_TEMPLATE_S: Final = 10.0
_MOST_TEMPLATES: Final = 200

T = TypeVar("T", bound=Named)


class Telling:
    """What the role `notification` does for Alerts, for one time in office."""

    def __init__(self, means: Means, relaying: Relaying) -> None:
        self._means = means
        self._settings = means.settings
        self._client = means.client
        self._clock = means.clock
        self._telemetry = means.telemetry
        self._relaying = relaying
        self._out = means.outbound()
        self._apps = Apps(means.transport, means.clock, deny_private=means.settings.deny_private)
        self._problem: str | None = None
        self._live: dict[str, Informer[Live]] = {}
        self._rules: dict[Key, Rule] = {}
        self._templates: dict[Key, tuple[float, str]] = {}
        self._told_of: dict[str, str] = {}

    async def lead(self, remaining: Callable[[], float]) -> None:
        """Tell until cancelled. `remaining` tells for how long we may still write."""
        tasks = Tasks("telling")
        self._client = client = self._client.fenced(lambda: remaining() >= WRITE_MARGIN_S)
        self._recorder = Recorder(client, NOTIFICATION_MANAGER, self._clock, telemetry=self._telemetry)
        self._recorder.start(tasks)
        listener: Listener | None = None
        try:
            journal = await asyncio.to_thread(Journal, self._settings.storage_path / "notify" / "journal.db")
            self._alerts = await self._informer(gvk.ALERT, Alert)
            self._providers = await self._informer(gvk.PROVIDER, Provider)
            apprising = Apprising(self._settings.storage_path / "notify" / "apprise")
            post = Post(
                settings=self._settings_of,
                wire=partial(ProviderWire, self._out, apprising=apprising),
                table=TABLE,
                told=self._delivered,
                complain=self._complain_of_provider,
                dropped=self._telemetry.notifications_dropped,
            )
            outbox = Outbox(journal, post, self._clock)
            watching: list[Watching] = []

            def turned(subject: str) -> None:
                for one in watching:
                    one.changed(subject)

            world = World(
                rules=lambda: list(self._rules.values()),
                across=self._across,
                subject=self._subject,
                template=self._template,
                complain=self._complain_of_alert,
                dropped=self._telemetry.notifications_dropped,
                turned=turned,
                status_of=self._sets_status,
            )
            desk = Desk(journal, world, self._clock, cluster=self._settings.cluster_name, moved=outbox.wake)
            desk.start(tasks)
            patience = Patience(self._settings.suspended_too_long_s, self._settings.unknown_too_long_s)
            watching.append(Watching(journal, desk, self._find, self._clock, self._anybody_sets_status, patience))
            self._alerts.add_handler(partial(self._on_alert, tasks, journal))
            self._providers.add_handler(partial(self._on_provider, outbox))
            await self._restore(journal)
            listener = await self._listen(desk) if self._settings.events_addr else None
            self._relaying.open(desk.hear)
            for kind in WATCHED:
                tasks.spawn(self._follow(tasks, kind, watching[0]), name=f"follow-{kind.kind.lower()}")
            for informer in (self._alerts, self._providers):
                informer.start(tasks)
            self._means.checks["watch alerts"] = partial(getattr, self._alerts, "problem")
            await asyncio.gather(self._alerts.synced.wait(), self._providers.synced.wait())
            await self._forget_alerts(journal, await asyncio.to_thread(journal.alerts))
            tasks.keep(desk.dispatch, name="dispatch")
            tasks.keep(partial(outbox.run, tasks), name="outbox")
            tasks.keep(partial(self._watch, watching[0]), name="watching")
            tasks.keep(partial(self._save, journal), name="record")
            log.info(
                "running: notification; events of others are taken at %s", self._settings.events_addr or "no address"
            )
            await asyncio.Event().wait()
        finally:
            self._relaying.close()
            if listener is not None:
                await listener.close()
            await self._recorder.stop()
            await tasks.close()

    async def _listen(self, desk: Desk) -> Listener:
        address = self._settings.events_addr
        self._means.checks["events"] = lambda: self._problem
        try:
            listener = await listen(intake.app(desk, self._callers()), address)
        except OSError as failure:
            why = failure.strerror or str(failure)
            words = f"events cannot be taken at {address}: {why}; --events-listen-addr names another address"
            self._problem = words
            raise Transient("NoAddress", words) from failure
        self._problem = None
        return listener

    def _callers(self) -> Callers:
        if self._settings.events_from == "any":
            return Everybody()
        return Namespace(self._client, self._settings.namespace, self._clock)

    # --- what the desk and the outbox ask

    async def _across(self, own: str, _other: str) -> bool:
        """The platform hears of everybody, a tenant of nobody else, unless the installation says otherwise."""
        match CrossNamespace(self._settings.cross_namespace_refs):
            case CrossNamespace.ALL:
                return True
            case CrossNamespace.PLATFORM:
                return own == self._settings.namespace
            case _:
                return False

    def _sets_status(self, alert: Alert) -> bool:
        provider = self._providers.store.get(Key(alert.metadata.namespace, alert.spec.provider_ref.name))
        return provider is not None and provider.spec.type in COMMIT_STATUS

    def _anybody_sets_status(self) -> bool:
        return any(self._sets_status(rule.alert) for rule in self._rules.values())

    async def _subject(self, event: Happening) -> Subject:
        live = self._find(subject_of(event))
        if live is None:
            return Subject(None, {})
        return Subject(live.metadata.labels, live.metadata.annotations)

    def _find(self, subject: str) -> Live | None:
        kind, namespace, name = subject.split("/", 2)
        informer = self._live.get(kind)
        return informer.store.get(Key(namespace, name)) if informer is not None else None

    async def _template(self, alert: Alert) -> str | None:
        named = alert.metadata.annotations.get(Annotation.TEMPLATE)
        if named is None:
            return None
        if wrong := complaints(gvk.ALERT.kind, {Annotation.TEMPLATE: named}):
            raise Terminal("ValidationFailed", f"the annotation {wrong[0]}")
        name, _, field = named.partition("/")
        key, now = Key(alert.metadata.namespace, named), self._clock.monotonic()
        known = self._templates.get(key)
        if known is not None and now - known[0] < _TEMPLATE_S:
            return known[1]
        try:
            body = await self._client.get(await self._client.discovery.find(_CONFIG_MAP), name, key.namespace)
        except NotFound:
            raise Terminal("ValidationFailed", f"ConfigMap {key.namespace}/{name} does not exist") from None
        except (ApiError, Unreachable, UnknownKind, StaleGroup) as failure:
            raise Transient("ReadFailed", f"ConfigMap {key.namespace}/{name}: {failure}") from failure
        text = (body.get("data") or {}).get(field)
        if not isinstance(text, str):
            raise Terminal("ValidationFailed", f"ConfigMap {key.namespace}/{name} has no key {field}")
        while len(self._templates) >= _MOST_TEMPLATES:
            self._templates.pop(next(iter(self._templates)))
        self._templates[key] = (now, text)
        return text

    async def _settings_of(self, provider: str) -> ProviderSettings:
        namespace, _, name = provider.partition("/")
        found = self._providers.store.get(Key(namespace, name))
        if found is None:
            raise Gone
        if found.spec.suspend:
            raise Suspended
        try:
            return await signed_in(self._apps, await provider_settings.read(self._client, found))
        except (UnknownKind, StaleGroup) as failure:
            raise Transient("ReadFailed", str(failure)) from failure

    def _delivered(self, _provider: str, outcome: Outcome) -> None:
        told = "delivered" if isinstance(outcome, Delivered) else "retry" if isinstance(outcome, Retry) else "refused"
        self._telemetry.notified(told)

    def _complain_of_alert(self, alert: Alert, reason: str, words: str) -> None:
        self._recorder.record(about(alert), "Warning", reason, words, {})

    def _complain_of_provider(self, provider: str, reason: str, words: str) -> None:
        namespace, _, name = provider.partition("/")
        found = self._providers.store.get(Key(namespace, name))
        if self._told_of.get(provider) != words:
            log.warning("Provider %s: %s", provider, words)
            self._told_of[provider] = words
        if found is not None:
            self._recorder.record(about(found), "Warning", reason, words, {})

    # --- what changes

    def _on_alert(self, tasks: Tasks, journal: Journal, event: Event[Alert]) -> None:
        if not isinstance(event, Applied):
            self._rules.pop(event.old.key, None)
            tasks.spawn(self._forget_alerts(journal, {str(event.old.key)}), name="forget-alert")
            return
        alert = event.new
        rule = self._rules[alert.key] = Rule.of(alert)
        old = event.old
        if old is None or old.metadata.generation != alert.metadata.generation:
            for problem in (*rule.problems, *complaints(gvk.ALERT.kind, alert.metadata.annotations)):
                self._complain_of_alert(alert, "ValidationFailed", f"{problem}: nothing is told until it is corrected")

    async def _forget_alerts(self, journal: Journal, among: set[str]) -> None:
        """What is left of those that are gone would be taken for what is told, and crowd out others."""
        for name in among - {str(key) for key in self._rules}:
            await asyncio.to_thread(journal.forget_alert, name)

    def _on_provider(self, outbox: Outbox, event: Event[Provider]) -> None:
        if not isinstance(event, Applied):
            self._told_of.pop(str(event.old.key), None)
            outbox.changed(str(event.old.key))
            return
        provider = event.new
        outbox.changed(str(provider.key))
        new = event.old is None or event.old.metadata.generation != provider.metadata.generation
        if new and provider.spec.type not in TABLE:
            self._complain_of_provider(str(provider.key), "FeatureGateDisabled", unserved(provider.spec.type))

    async def _follow(self, tasks: Tasks, kind: Gvk, watching: Watching) -> None:
        informer = await self._informer(kind, Live)

        def on_event(event: Event[Live]) -> None:
            item = event.new if isinstance(event, Applied) else event.old
            if kind.kind in _STATEFUL:
                watching.changed(f"{kind.kind}/{item.metadata.namespace}/{item.metadata.name}")

        informer.add_handler(on_event)
        informer.start(tasks)
        self._live[kind.kind] = informer

    async def _watch(self, watching: Watching) -> None:
        """Once the kinds that are installed are here, and not before: what is not seen is not gone."""
        for kind in WATCHED:
            try:
                await self._client.discovery.find(kind)
            except (UnknownKind, ApiError, Unreachable):
                continue
            while kind.kind not in self._live:
                await self._clock.sleep(0.1)
            await self._live[kind.kind].synced.wait()

        def subjects() -> list[str]:
            return [
                f"{kind}/{key.namespace}/{key.name}"
                for kind, informer in list(self._live.items())
                if kind in _STATEFUL
                for key in informer.store
            ]

        await watching.run(subjects)

    # --- what is kept beside the journal

    async def _restore(self, journal: Journal) -> None:
        if not await asyncio.to_thread(journal.fresh):
            return
        try:
            rows = await record.awaited(self._client, self._settings.namespace, self._clock)
        except (ApiError, Unreachable, UnknownKind, StaleGroup) as failure:
            log.warning("what was told before cannot be read: %s", failure)
            return
        await asyncio.to_thread(journal.dispatched, 0, (), rows, self._clock.now().timestamp())
        if rows:
            log.info("the journal is new: what was told before is known from the ConfigMap %s", NOTIFIED)

    async def _save(self, journal: Journal) -> None:
        saved = None
        while True:
            text = await asyncio.to_thread(lambda: record.encode(journal.told(record.MOST_LINES)))
            if text != saved and (text or saved):
                try:
                    await record.save(self._client, self._settings.namespace, text)
                    saved = text
                    # A long record is written less often.
                    await self._clock.sleep(len(text) / _RECORD_BYTES_PER_S)
                except (ApiError, Unreachable, TrimtabError, UnknownKind, StaleGroup) as failure:
                    log.warning("what was told cannot be kept in the ConfigMap %s: %s", NOTIFIED, failure)
            await self._clock.sleep(_RECORD_EVERY_S)

    async def _informer(self, kind: Gvk, struct: type[T]) -> Informer[T]:
        level = logging.INFO if kind.group == gvk.NOTIFICATION_GROUP else logging.DEBUG
        return await self._means.informer(self._client, kind, struct, "nothing is told yet", level=level)
