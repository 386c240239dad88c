"""From the source of a Kustomization to what it wants: the artifact, rendered and prepared."""

import asyncio
from dataclasses import dataclass
from functools import partial

import msgspec

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.artifacts.snapshot import Snapshot
from trimtab.base.errors import Terminal, Waiting
from trimtab.base.traces import span
from trimtab.controllers.access import Access
from trimtab.controllers.app import App, Build
from trimtab.controllers.bases import Bases
from trimtab.controllers.decrypting import Decrypting
from trimtab.controllers.index import Published, SourceId, SourceIndex
from trimtab.controllers.lineup import outside
from trimtab.controllers.substituting import Substituting
from trimtab.manifests import codec
from trimtab.render.closure import Closure
from trimtab.render.options import Options
from trimtab.render.render import Renderer
from trimtab.targets.kubernetes import cautions, ignore
from trimtab.targets.kubernetes.desired import PREFIX, Owner, prepare
from trimtab.targets.kubernetes.scopes import scopes

MOST_OBJECTS = 20_000
"""So many are tested: an inventory that long is kept in parts. What is beyond is refused before anything is done."""
IN_LOOP_OBJECTS = 500
"""More than this are prepared in a thread, so that the event loop goes on."""


@dataclass(frozen=True, slots=True)
class Building:
    """Finds what was published, and makes builds of it."""

    sources: SourceIndex
    renderer: Renderer
    access: Access
    bases: Bases
    substituting: Substituting
    decrypting: Decrypting

    def published(self, ks: Kustomization) -> Published | None:
        """What the source of `ks` has published last, if anything."""
        return self.sources.get(SourceId(ks.spec.source_ref.kind, ks.source_key))

    async def resolve(self, ks: Kustomization) -> Published:
        """The same, for who may have it. Raises Waiting where there is nothing yet, Terminal where it is denied."""
        if ks.source_key.namespace != ks.metadata.namespace:
            await self.access.check_source(ks.metadata.namespace, ks.source_key.namespace)
        published = self.published(ks)
        if published is None:
            source = SourceId(ks.spec.source_ref.kind, ks.source_key)
            why = self.sources.problem(source) or "see the status of that object"
            raise Waiting(names.Reason.ARTIFACT_FAILED, f"{source} has no artifact yet: {why}")
        return published

    async def build(self, ks: Kustomization, app: App, published: Published) -> Build:
        """Render, unless everything that goes in is as it was the last time."""

        def read(files: Snapshot, options: Options) -> Closure:
            return self.renderer.closure(files, ks.spec.path, options)

        snapshot, options, closure, bases = await self.bases.gather(
            ks, published.snapshot, Options.from_spec(ks.spec), read
        )
        rules = ignore.compiled(ks.spec.ignore)
        ignored = msgspec.to_builtins(ks.spec.ignore)
        keys = await self.decrypting.keys(ks)
        variables = await self.substituting.variables(ks)
        app.hiding = app.hiding.follow(variables)
        inputs = codec.digest(
            [closure.digest, msgspec.to_builtins(options), ks.spec.path, ignored, app.at.cluster, variables.digest]
        )
        if keys is not None:
            inputs = codec.digest([inputs, keys.digest])
        if app.build is not None and app.build.inputs == inputs:
            app.bases = bases
            return app.build
        with span("render", path=ks.spec.path) as rendering:
            rendered = await self.renderer.render(snapshot, ks.spec.path, options, variables, keys)
            app.hiding = app.hiding.cut(rendered.parts)
            if len(rendered.manifests) > MOST_OBJECTS:
                raise Terminal(
                    names.Reason.BUILD_FAILED,
                    f"{ks.spec.path or 'the path'} renders to {len(rendered.manifests)} objects; the record of one "
                    f"Kustomization holds at most {MOST_OBJECTS}: split it into several",
                )
            work = partial(
                prepare,
                rendered.manifests,
                Owner(PREFIX, ks.key),
                namespaced=await scopes(app.at.client, rendered.manifests),
                protected_namespace=app.at.protected,
                installs_us=not app.at.home,
                secret=rendered.secret,
            )
            items = await asyncio.to_thread(work) if len(rendered.manifests) > IN_LOOP_OBJECTS else work()
            rendering.say(objects=len(items))
        app.build = Build(
            inputs,
            rendered.digest,
            tuple(ignore.marked(items, rules)),
            rendered.plaintext,
            frozenset(outside(closure.files, ks.spec.path)),
        )
        app.bases = bases
        app.target.notices.say_all(ks.key, cautions.of(items))
        app.passed.clear()
        return app.build
