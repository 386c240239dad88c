"""What an app wishes, compared with the cluster: what its controller would do now, seen from where the command runs."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from yarl import URL

from trimtab.api import names
from trimtab.api.external import ExternalArtifact
from trimtab.api.gvk import KUSTOMIZATION, SOURCE_KINDS
from trimtab.api.kustomize import Kustomization
from trimtab.api.source import Artifact
from trimtab.artifacts.fetch import fetch_artifact
from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.store import Store
from trimtab.base.abreast import abreast
from trimtab.base.errors import Terminal, Transient, TrimtabError
from trimtab.base.http import AiohttpTransport, Transport
from trimtab.cli.connect import Code, Failure
from trimtab.cli.diff import against
from trimtab.cli.render import rendering
from trimtab.cli.render.rendering import Declared, Recipe
from trimtab.controllers import supported
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.reading import look
from trimtab.controllers.substituting import Substituting
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.discovery import StaleGroup
from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable
from trimtab.kube.services import Service, ServiceTransport
from trimtab.manifests.refs import Key, Origin, Ref
from trimtab.remotes.checked import Checked
from trimtab.remotes.outbound import Outbound
from trimtab.render.files import normal
from trimtab.render.kustomization import FILE_NAMES
from trimtab.render.options import Options
from trimtab.render.render import Rendered, Renderer
from trimtab.render.variables import Variables
from trimtab.sops.keyring import Keyring
from trimtab.targets.kubernetes import inventory, prune
from trimtab.targets.kubernetes.comparing import Terms
from trimtab.targets.kubernetes.desired import PREFIX, Owner
from trimtab.targets.kubernetes.estate import Record

_REFUSALS: Final = (ApiError, UnknownKind, StaleGroup, Unreachable)
_AT_ONCE: Final = 8
"""So many apps are rendered side by side: each may start a process."""


class Look(NamedTuple):
    """What was found of one app, and what it has on record."""

    findings: Sequence[Finding]
    key: Key
    record: Record


async def find(client: Client, name: str, namespace: str) -> list[Kustomization]:
    """The app of that name, or all where `name` is empty; an empty namespace is all of them. Raises Failure."""
    resource = await client.discovery.find(KUSTOMIZATION)
    if not name:
        return (await client.list(resource, namespace, type=Kustomization)).items
    try:
        return [await client.get(resource, name, namespace, type=Kustomization)]
    except NotFound:
        words = f"there is no kustomization {name} in namespace {namespace}: `trimtab get ks -A` lists all"
        raise Failure(Code.WRONG, words) from None


class Trace(NamedTuple):
    """One object of an app: how it compares with what is wished, and where that is written.

    `revision` is the one that was rendered, `lines` are the first and the last of its document in `finding.origin`, (0,
    0) where that is not known. `layers` is the kustomization that may have changed it on the way, if there is one.
    """

    finding: Finding
    revision: str
    lines: tuple[int, int] = (0, 0)
    layers: str = ""


@dataclass(frozen=True, slots=True)
class Apps:
    """Looks at apps. `path` is a directory to take in place of what the source of an app has published."""

    client: Client
    out: Outbound
    store: Store
    renderer: Renderer
    terms: Terms
    recipe: Recipe
    path: Path | None = None
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)
    _fetching: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def look_at(self, found: Sequence[Kustomization]) -> list[Look]:
        """A look at each of `found`."""
        return await abreast(self.one, found, _AT_ONCE)

    async def one(self, ks: Kustomization) -> Look:
        """What the controller would do for `ks`. What cannot be known of it is one finding about the app itself."""
        terms = self.terms._replace(app=ks.key)
        recorded = await self._recorded(ks)
        try:
            _check(ks)
            wish = await self.wish(ks)
            found = await against.compared(self.client, wish, terms, namespace=ks.metadata.namespace)
        except (TrimtabError, Failure, *_REFUSALS) as failure:
            found = [_of(ks, f"it cannot be compared: {failure}")]
            return Look(found, ks.key, Record(recorded.refs, recorded.problem))
        wished = {finding.ref for finding in found}
        if recorded.problem:
            found.append(_of(ks, recorded.problem))
        else:
            found += await self._leaving(ks, recorded.entries, wished)
        told = against.hidden(found, wish)
        return Look(told, ks.key, Record({*recorded.refs, *wished}, recorded.problem))

    async def trace(self, ks: Kustomization, ref: Ref) -> "Trace | str":
        """What `ks` wishes of `ref` by now, or why that is not known. Nothing else of the app is compared."""
        try:
            _check(ks)
            artifact = await self._artifact(ks)
            wish = await self.wish(ks)
            mine = tuple(one for one in wish.rendered.manifests if _is(one.ref, ref))
            if not mine:
                return f"{artifact.revision} of its source declares no such object any more"
            wish = wish._replace(rendered=wish.rendered._replace(manifests=mine))
            terms = self.terms._replace(app=ks.key)
            found = await against.cluster(self.client, wish, terms, namespace=ks.metadata.namespace)
            snapshot = await self._fetched(artifact)
            origin, path = mine[0].origin, normal(ks.spec.path)
            layers = next((name for name in FILE_NAMES if snapshot.exists(_below(path, name))), "")
            return Trace(
                found[0], artifact.revision, _document(snapshot, origin), _below(path, layers) if layers else ""
            )
        except (TrimtabError, Failure, *_REFUSALS) as failure:
            return str(failure)

    async def object(self, ks: Kustomization, ref: Ref) -> tuple[Finding | None, against.Wanted]:
        """One object of `ks` compared, None if it declares none such; and the wish. Raises what rendering raises."""
        _check(ks)
        wish = await self.wish(ks)
        mine = tuple(one for one in wish.rendered.manifests if one.ref == ref)
        alone = wish._replace(rendered=wish.rendered._replace(manifests=mine))
        found = await against.cluster(self.client, alone, self.terms._replace(app=ks.key), namespace=ref.namespace)
        return next(iter(found), None), wish

    # --- what it wishes

    async def keys(self, ks: Kustomization) -> Keyring | None:
        """What opens its files, as far as it can be had."""
        return (await self._keys(ks))[0]

    async def wish(self, ks: Kustomization) -> against.Wanted:
        variables = await Substituting(self.client, strict=self.recipe.strict).variables(ks)
        keys, shut = await self._keys(ks)
        if self.path is not None:
            found = await rendering.rendered(self.path, self.recipe, ks.spec, variables, keys)
        else:
            found = await self._published(ks, variables, keys)
        return against.Wanted(found, variables, Declared(ks.key, ks.spec), shut)

    async def _keys(self, ks: Kustomization) -> tuple[Keyring | None, str]:
        """What opens its files: what was given, else what its own Secret has; and why what is left stays shut."""
        if self.recipe.has_keys:
            return self.recipe.keys(ks.spec), against.SEALED
        try:
            return await Decrypting(self.client, self.out, self.client.clock).keys(ks), against.SEALED
        except (Transient, *_REFUSALS) as failure:
            return None, f"it is encrypted by SOPS, and its key cannot be had: {failure}"

    async def _published(self, ks: Kustomization, variables: Variables, keys: Keyring | None) -> Rendered:
        snapshot = await self._fetched(await self._artifact(ks))
        return await self.renderer.render(snapshot, ks.spec.path, Options.from_spec(ks.spec), variables, keys)

    async def _fetched(self, artifact: Artifact) -> Snapshot:
        """The files of `artifact`. Apps often have one source: it is fetched once."""
        async with self._fetching.setdefault(artifact.digest, asyncio.Lock()):
            if artifact.digest not in self._snapshots:
                way = self._way_to(artifact)
                self._snapshots[artifact.digest] = await fetch_artifact(way, artifact, self.store)
            return self._snapshots[artifact.digest]

    async def _artifact(self, ks: Kustomization) -> Artifact:
        kind = ks.spec.source_ref.kind
        gvk = next(gvk for gvk in SOURCE_KINDS if gvk.kind == kind)
        resource = await self.client.discovery.find(gvk)
        # of every kind of source only the artifact is read, and that has the same form in all of them
        source = await self.client.get(resource, ks.source_key.name, ks.source_key.namespace, type=ExternalArtifact)
        if source.status.artifact is None:
            raise Transient(names.Reason.ARTIFACT_FAILED, f"{kind} {ks.source_key} has published nothing yet")
        return source.status.artifact

    def _way_to(self, artifact: Artifact) -> Transport:
        """Straight, or through the API server where the address is one of the cluster's network."""
        with contextlib.suppress(ValueError):
            if Service.at(URL(artifact.url)) is not None:
                return ServiceTransport(self.client)
        return Checked(self.out)

    # --- what it has

    async def _recorded(self, ks: Kustomization) -> "_Recorded":
        try:
            reading = await look(self.client, ks, apart=False)
            entries = reading.entries()
        except (ValueError, *_REFUSALS) as failure:
            return _Recorded({}, f"its inventory cannot be read: {failure}")
        problem = f"its inventory cannot be trusted: {reading.problem}" if reading.problem else ""
        return _Recorded(entries, problem)

    async def _leaving(self, ks: Kustomization, entries: inventory.Inventory, wished: "set[Ref]") -> list[Finding]:
        """What it has on record, wishes no more, and the cluster still has."""
        meant = ks.metadata.annotations.get(names.Annotation.ALLOW_EMPTY) == "true"
        kept = ""
        if not ks.spec.prune:
            kept = "it left git and stays: spec.prune is false"
        elif not wished and not meant:
            kept = "it left git with everything else, and stays: an empty render deletes nothing"

        async def one(deletion: prune.Deletion) -> Finding | None:
            entry = deletion.entry
            try:
                resource = await prune.served(self.client, entry)
                live = await self.client.get(resource, entry.ref.name, entry.ref.namespace)
            except (NotFound, UnknownKind):
                return None
            except _REFUSALS as failure:
                return Finding(entry.ref, State.UNKNOWN, note=str(failure), app=ks.key)
            released = prune.not_ours(live, entry, Owner(PREFIX, ks.key))
            let_go = f"it left git and is let go: {released}" if released else ""
            note = kept or let_go or "it left git: the app deletes it"
            return Finding(entry.ref, State.EXTRA, note=note, app=ks.key)

        return [found for found in await abreast(one, prune.leaving(entries, wished)) if found is not None]


class _Recorded(NamedTuple):
    entries: inventory.Inventory
    problem: str

    @property
    def refs(self) -> "set[Ref]":
        return set(self.entries)


@contextlib.asynccontextmanager
async def apps(client: Client, terms: Terms, recipe: Recipe, path: Path | None) -> AsyncIterator[Apps]:
    """What looks at apps, with a way of its own to what is published outside of the cluster."""
    transport = AiohttpTransport()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-diff-") as directory, rendering.renderer() as renderer:
            out = Outbound(transport, client.clock)
            yield Apps(client, out, Store(Path(directory)), renderer, terms, recipe, path)
    finally:
        await transport.close()


def _check(ks: Kustomization) -> None:
    """Raise Terminal for an app that cannot be rendered or compared here."""
    supported.check(ks)
    if ks.spec.kube_config is not None:
        raise Terminal(
            names.Reason.BUILD_FAILED,
            "its objects go to another cluster (spec.kubeConfig): compare its directory with "
            "--kustomization-file and the kubeconfig of that cluster",
        )


def _is(rendered: Ref, live: Ref) -> bool:
    """Whether an object that was rendered is the live one: it need not say which namespace it goes to."""
    return rendered._replace(namespace="") == live._replace(namespace="") and rendered.namespace in (live.namespace, "")


def _document(snapshot: Snapshot, origin: Origin) -> tuple[int, int]:
    """The lines of the document at `origin`; (0, 0) where they cannot be told."""
    try:
        text = snapshot.read(origin.file).decode(errors="replace").splitlines()
    except (OSError, TrimtabError):
        return 0, 0
    if not 0 < origin.line <= len(text):
        return 0, 0
    rest = enumerate(text[origin.line :], start=origin.line)
    return origin.line, next((number for number, line in rest if line.startswith("---")), len(text))


def _below(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _of(ks: Kustomization, why: str) -> Finding:
    """A finding about the app as such."""
    ref = Ref(KUSTOMIZATION.group, KUSTOMIZATION.kind, ks.metadata.namespace, ks.metadata.name)
    return Finding(ref, State.UNKNOWN, note=why, app=ks.key)
