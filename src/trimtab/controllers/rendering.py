"""From a chart and its values to what a revision records: rendered by helm, changed as the object says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api.helmactions import Install, Upgrade
from trimtab.api.names import Annotation, Reason
from trimtab.base.errors import Transient
from trimtab.controllers.release import Case
from trimtab.helm import template
from trimtab.helm.chance import pinned, refuse_rotation, repeats, rotated
from trimtab.helm.memory import Memory
from trimtab.helm.output import Output
from trimtab.helm.postrender import Changes, PostRendering
from trimtab.helm.record import Record
from trimtab.helm.revision import basis
from trimtab.helm.template import Capabilities, Template
from trimtab.helm.values import Values, preserving
from trimtab.kube.client import Client
from trimtab.manifests import codec
from trimtab.manifests.refs import Body, Manifest

_FRESH_S: Final = 60.0


class Made(NamedTuple):
    """What a revision is made of. `values` are the ones it is recorded with."""

    output: Output
    crds: tuple[Manifest, ...]
    chart: Body
    values: Values


class Versions:
    """The versions of clusters, each asked for at most once a minute: hundreds of releases want to know at once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}
        self._turn = asyncio.Lock()

    async def of(self, client: Client) -> str:
        """That of the cluster of `client`. Raises what the client raises."""
        async with self._turn:
            now = client.clock.monotonic()
            known = self._known.get(client.server)
            if known is None or now - known[0] > _FRESH_S:
                told = codec.decode(await client.request("GET", "/version"))
                known = self._known[client.server] = (now, str(told["gitVersion"]))
            return known[1]


@dataclass(frozen=True, slots=True)
class Rendering:
    """Renders charts. Without `template` there is no helm. `lookups`: charts may look objects up where theirs may.

    `told` hears which templates of a release are different each time they are rendered.
    """

    template: Template | None
    post: PostRendering
    lookups: bool
    told: Callable[[Case, tuple[str, ...]], None]
    versions: Versions = field(default_factory=Versions)

    async def make(
        self, case: Case, history: Sequence[Record], memory: Memory, *, upgrade: bool, forced: bool = False
    ) -> Made:
        """What the next revision of `case` is. `memory` is that of before the attempt; `forced`: somebody asked for it.

        Raises Terminal for what chart, values or the object are to blame for, Transient if a worker died.
        """
        hr, chart, store = case.hr, case.wanted.chart, case.wanted.published.snapshot.store
        values = case.values
        spec = (hr.spec.upgrade or Upgrade()) if upgrade else (hr.spec.install or Install())
        if upgrade and (preserved := preserved_values(case, history)) is not None:
            values = preserved
        wish = template.Wish(
            case.of.name,
            case.of.namespace,
            values,
            await self._capabilities(case.release.at.client),
            upgrade,
            spec.disable_schema_validation,
        )
        if self.template is None:
            words = (
                "helm is not installed: install Helm 4, or build it by `python -m trimtab.toolchain render`, and start "
                "Trimtab again"
            )
            raise Transient(Reason.BUILD_FAILED, words, hopeless=True)  # no wish is to blame for that, nor counted
        looks = self.lookups and hr.metadata.annotations.get(Annotation.HELM_LOOKUP) != "false"
        rendered = await self.template.render(store, chart, wish, case.client if looks else None)
        changed = await self.post.change(rendered.output, changes(case))
        if rendered.varies:
            self.told(case, rendered.varies)
            changed = _settled(
                changed, rendered.varies, case, history, memory, held=upgrade and not looks and not forced
            )
        stored = rendered.unpacked.stored  # the same for all releases of the chart, but for its version
        recorded = {**stored, "metadata": {**stored["metadata"], "version": case.wanted.version}}
        return Made(changed, rendered.crds, recorded, values)

    async def _capabilities(self, client: Client) -> Capabilities:
        version = await self.versions.of(client)
        return Capabilities.of(version, [one.gvk for one in await client.discovery.served()])


def preserved_values(case: Case, history: Sequence[Record]) -> Values | None:
    """What an upgrade is rendered with where it preserves values; None where it does not."""
    before = basis(history)
    if before is None or not (case.hr.spec.upgrade or Upgrade()).preserve_values:
        return None
    return preserving(before.values, case.values)


def changes(case: Case) -> Changes:
    """What is done to what the chart renders."""
    spec = case.hr.spec
    labels = {name: value for name, value in case.owner.labels.items() if name.startswith(case.owner.prefix)}
    return Changes(spec.post_renderers, spec.common_metadata, labels, spec.post_render_strategy)


def _settled(
    rendered: Output, varies: tuple[str, ...], case: Case, history: Sequence[Record], memory: Memory, *, held: bool
) -> Output:
    """`rendered` with what chance had made of it when the same was tried before.

    `held`: an upgrade that would replace what chance made of a Secret is refused. Raises Terminal.
    """
    if not history:
        return rendered
    if repeats(history[0], memory, case.wish):
        return pinned(rendered, varies, history[0])
    if held:
        refuse_rotation(rotated(history[0].manifest, rendered.manifest, varies))
    return rendered
