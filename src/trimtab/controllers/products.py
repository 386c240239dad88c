"""The ExternalArtifacts of generators: which are whose, and what is written to them. Nothing of anybody else's is."""

import contextlib
from collections.abc import Mapping, Set
from dataclasses import dataclass

import msgspec

from trimtab.api import names
from trimtab.api.external import ExternalArtifact
from trimtab.api.generator import ArtifactGenerator
from trimtab.api.gvk import ARTIFACT_GENERATOR, EXTERNAL_ARTIFACT
from trimtab.api.source import Artifact
from trimtab.artifacts.publish import Publisher
from trimtab.base.clock import Clock
from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.kube.client import Client
from trimtab.kube.errors import Invalid, NotFound, UnknownKind
from trimtab.manifests.conditions import Condition, find, with_condition
from trimtab.manifests.refs import Body, Key

KIND = EXTERNAL_ARTIFACT.kind


class Taken(Terminal):
    """The name is in use by somebody else."""


def maker(item: ExternalArtifact) -> Key | None:
    """The generator that `item` says it is made for."""
    ref = item.spec.source_ref
    if ref is None or ref.kind != ARTIFACT_GENERATOR.kind:
        return None
    namespace = ref.namespace or item.metadata.namespace
    return Key(namespace, ref.name) if namespace == item.metadata.namespace else None


def is_of(item: ExternalArtifact, generator: ArtifactGenerator) -> bool:
    """Whether `generator` made `item`, or one of its name that was there before it."""
    if item.metadata.namespace != generator.metadata.namespace:
        return False
    return item.metadata.labels.get(names.GENERATOR) == generator.metadata.uid or maker(item) == generator.key


@dataclass(frozen=True, slots=True)
class Products:
    """Writes and deletes them. `objects` are all ExternalArtifacts there are."""

    client: Client
    objects: Mapping[Key, ExternalArtifact]
    publisher: Publisher
    index: SourceIndex
    clock: Clock

    def of(self, generator: ArtifactGenerator) -> list[ExternalArtifact]:
        """Those that exist because of `generator`."""
        labelled = (item for item in self.objects.values() if names.GENERATOR in item.metadata.labels)
        return [item for item in labelled if is_of(item, generator)]

    def fits(self, generator: ArtifactGenerator, item: ExternalArtifact, artifact: Artifact) -> bool:
        """Whether nobody has changed what was written."""
        labels, annotations = _metadata(generator, {})
        ready = find(item.status.conditions, names.ConditionType.READY)
        return (
            not item.metadata.deleted
            and _has(item, generator, labels, annotations)
            and item.status.artifact == artifact
            and ready is not None
            and ready.true
        )

    async def claim(self, generator: ArtifactGenerator, name: str) -> ExternalArtifact | None:
        """The object of that name, if there is one. Raises Terminal if it is somebody else's, Transient, ApiError."""
        key = Key(generator.metadata.namespace, name)
        # what the watch has not shown yet must not be taken from whom it belongs to
        live = self.objects.get(key) or await self._look(key)
        if live is not None and not is_of(live, generator):
            raise Taken(
                names.Reason.CONFLICT,
                f"ExternalArtifact {key} exists and is {_whose(live)}: it is left alone. Rename one of the two",
            )
        if live is not None and live.metadata.deleted:
            raise Transient(names.Reason.CONFLICT, f"ExternalArtifact {key} is being deleted; then it is made again")
        return live

    async def write(
        self,
        generator: ArtifactGenerator,
        key: Key,
        live: ExternalArtifact | None,
        labels: Mapping[str, str],
        artifact: Artifact,
        *,
        anew: bool,
    ) -> None:
        """See to it that the object is there and says `artifact`; what is as it should be costs no request.

        `anew`: what the generator says may have changed, so that it is written whatever there is. Raises Terminal,
        ApiError.
        """
        wanted = _metadata(generator, labels)
        resource = await self.client.discovery.find(EXTERNAL_ARTIFACT)
        manager = names.WATCHER_MANAGER
        if live is None or anew or not _has(live, generator, *wanted):
            body = _body(generator, key, *wanted)
            try:
                live = await self.client.apply(
                    resource, key.name, key.namespace, body, field_manager=manager, type=ExternalArtifact
                )
            except Invalid as refusal:
                raise Terminal(names.Reason.VALIDATION_FAILED, f"ExternalArtifact {key}: {refusal}") from refusal
        ready = find(live.status.conditions, names.ConditionType.READY)
        if live.status.artifact != artifact or ready is None or not ready.true:
            body = self._status(live, artifact)
            await self.client.apply(
                resource, key.name, key.namespace, body, field_manager=manager, subresource="status", type=dict
            )

    async def clear(self, generator: ArtifactGenerator, made: Mapping[Key, Published], keep: Set[Key]) -> list[Key]:
        """Delete what exists because of `generator`, is not in `keep`, and still is what was seen; which that was.

        `made` is what was published for it: that goes too. Raises ApiError.
        """
        found = {item.key: item for item in self.of(generator) if item.key not in keep}
        for key in made.keys() - found.keys() - keep:
            live = self.objects.get(key) or await self._look(key)
            if live is not None and is_of(live, generator):
                found[key] = live
        for item in found.values():
            if not item.metadata.deleted:
                await self._delete(item)
        for key in {*found, *(made.keys() - keep)}:
            source = SourceId(KIND, key)
            if key in made and self.index.get(source) == made[key]:
                self.index.drop(source)
            await self.publisher.forget(KIND, key)
        return sorted(found)

    async def _delete(self, item: ExternalArtifact) -> None:
        with contextlib.suppress(NotFound, UnknownKind):
            resource = await self.client.discovery.find(EXTERNAL_ARTIFACT)
            await self.client.delete(resource, item.key.name, item.key.namespace, uid=item.metadata.uid)

    async def _look(self, key: Key) -> ExternalArtifact | None:
        try:
            resource = await self.client.discovery.find(EXTERNAL_ARTIFACT)
            return await self.client.get(resource, key.name, key.namespace, type=ExternalArtifact)
        except (NotFound, UnknownKind):
            return None

    def _status(self, live: ExternalArtifact, artifact: Artifact) -> Body:
        good = Condition(
            type=names.ConditionType.READY,
            status="True",
            observed_generation=live.metadata.generation,
            reason=names.Reason.SUCCEEDED,
            message=f"stored artifact for revision '{artifact.revision}'",
        )
        conditions = with_condition(live.status.conditions, good, self.clock.now())
        said = {"artifact": msgspec.to_builtins(artifact), "conditions": msgspec.to_builtins(conditions)}
        return _named(live.key) | {"status": said}


def _has(
    live: ExternalArtifact, generator: ArtifactGenerator, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> bool:
    return (
        maker(live) == generator.key
        and labels.items() <= live.metadata.labels.items()
        and annotations.items() <= live.metadata.annotations.items()
    )


def _metadata(generator: ArtifactGenerator, found: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations. What was found goes before what is common, and what says whose it is before both."""
    common = generator.spec.common_metadata
    labels = dict(common.labels) if common else {}
    labels |= found
    labels |= {names.MANAGED_BY: names.WATCHER_MANAGER, names.GENERATOR: generator.metadata.uid}
    return labels, dict(common.annotations) if common else {}


def _body(generator: ArtifactGenerator, key: Key, labels: dict[str, str], annotations: dict[str, str]) -> Body:
    body = _named(key)
    body["metadata"] |= {"labels": labels} | ({"annotations": annotations} if annotations else {})
    ref = {
        "apiVersion": ARTIFACT_GENERATOR.api_version,
        "kind": ARTIFACT_GENERATOR.kind,
        "name": generator.metadata.name,
        "namespace": key.namespace,
    }
    return body | {"spec": {"sourceRef": ref}}


def _named(key: Key) -> Body:
    kind = {"apiVersion": EXTERNAL_ARTIFACT.api_version, "kind": KIND}
    return kind | {"metadata": {"name": key.name, "namespace": key.namespace}}


def _whose(item: ExternalArtifact) -> str:
    ref = item.spec.source_ref
    return f"of {ref.kind} {ref.name}" if ref else "not of this generator"
