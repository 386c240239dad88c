"""What a HelmRelease changes in what its chart rendered: patches and images by kustomize, then common metadata, labels.

Images alone are set in process. Where kustomize runs, it gets the objects in memory, no file on disk has them, and no
contents of Secrets: it sees a token in the place of each value, and wherever it puts the token, the value comes back.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.api.helmrelease import KustomizeRenderer, PostRenderer, PostRenderStrategy
from trimtab.api.kustomize import CommonMetadata
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal
from trimtab.helm import output
from trimtab.helm.memory import DIGEST_PREFIX
from trimtab.helm.output import HOOK, Output, Part
from trimtab.helm.record import Hook
from trimtab.manifests import codec
from trimtab.manifests.emit import to_yaml
from trimtab.manifests.refs import Body, Manifest, Origin, Ref
from trimtab.manifests.yaml import YamlError, load, manifests_of
from trimtab.render import plain
from trimtab.render.kustomize import Kustomize
from trimtab.render.options import Options
from trimtab.render.provenance import ORIGIN, strip
from trimtab.render.unsure import Unsure

_KEY: Final = secrets.token_bytes(32)
_MOST_FILES: Final = 150
"""Each is a descriptor; of more objects, several are in one file."""
_RESOURCE = re.compile(r"\bpath: r([0-9]+)\.json\b")


class Changes(NamedTuple):
    """All that is done to what a chart rendered, in this order. `labels` are ours, on every object."""

    renderers: tuple[PostRenderer, ...] = ()
    common: CommonMetadata | None = None
    labels: Mapping[str, str] | None = None
    strategy: str = ""

    @property
    def renderers_digest(self) -> str:
        """Equal for equal post-renderers; nothing for none."""
        return DIGEST_PREFIX + codec.digest(msgspec.to_builtins(self.renderers)) if self.renderers else ""

    @property
    def common_digest(self) -> str:
        """Equal for equal common metadata; nothing for none."""
        return DIGEST_PREFIX + codec.digest(msgspec.to_builtins(self.common)) if self.common is not None else ""


class _Object(NamedTuple):
    """An object and the template it is of."""

    path: str
    body: Body


class PostRendering:
    """Changes rendered charts. Without `kustomize`, only what needs none can be changed."""

    def __init__(self, kustomize: Kustomize | None) -> None:
        self._kustomize = kustomize

    async def change(self, rendered: Output, changes: Changes) -> Output:
        """`rendered` with `changes`; what is in `crds/` stays as it is.

        Raises Terminal with reason BuildFailed for what renderers or objects are to blame for, Transient if kustomize
        died.
        """
        if not changes.renderers and changes.common is None and not changes.labels:
            return rendered
        objects = [_Object(one.origin.file, one.body) for one in output.objects(rendered.manifest)]
        hooks = [_Object(hook.path, one.body) for hook in rendered.hooks for one in output.objects_of_hook(hook)]
        match changes.strategy:
            case PostRenderStrategy.NO_HOOKS:
                return _output(await self._changed(objects, changes), rendered.hooks, rendered.crds)
            case PostRenderStrategy.SEPARATE:
                found = await self._changed(objects, changes) + await self._changed(hooks, changes)
            case _:
                found = await self._changed([*objects, *hooks], changes)
        return _output(found, (), rendered.crds)

    async def _changed(self, objects: list[_Object], changes: Changes) -> list[_Object]:
        for renderer in changes.renderers:
            if renderer.kustomize is not None and objects:
                objects = await self._by_renderer(objects, renderer.kustomize)
        manifests = [Manifest(one.body, Origin(one.path)) for one in objects]
        plain.stamp(manifests, changes.common)
        plain.stamp(manifests, CommonMetadata(labels=changes.labels or {}))
        return objects

    async def _by_renderer(self, objects: list[_Object], renderer: KustomizeRenderer) -> list[_Object]:
        if not renderer.patches:
            copies = [Manifest(codec.clone(one.body), Origin(one.path)) for one in objects]
            try:
                built = plain.build(copies, Options(images=renderer.images))
            except Unsure:
                pass
            else:
                return [one._replace(body=new.body) for one, new in zip(objects, built, strict=True)]
        if self._kustomize is None:
            raise Terminal(
                Reason.BUILD_FAILED,
                "the post-renderers need kustomize, which is not installed; install kustomize 5.8 or newer",
            )
        vault = _Vault()
        bodies = [codec.encode(vault.hidden(one.body)) for one in objects]
        size = -(-len(bodies) // _MOST_FILES)
        chunks = [objects[at : at + size] for at in range(0, len(objects), size)]
        files = [b"\n---\n".join(bodies[at : at + size]) for at in range(0, len(bodies), size)]
        # A chart puts values anywhere, not only into Secrets: what it made is in no file.
        contents = {f"r{number}.json": data for number, data in enumerate(files)}
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [*contents],
            "patches": msgspec.to_builtins(renderer.patches),
            "images": msgspec.to_builtins(renderer.images),
            "buildMetadata": ["originAnnotations"],
            "sortOptions": {"order": "fifo"},
        }
        built_text = await self._kustomize.build(
            "", {"kustomization.yaml": codec.encode(kustomization)}, fleeting=contents
        )
        return _traced(_read(built_text), chunks, vault.restored)


class _Vault:
    """The values of Secrets while kustomize works, by their tokens. A token tells nothing of the value."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def hidden(self, body: Body) -> Body:
        """`body` with a token for each value, if it is a Secret."""
        if body.get("kind") != "Secret" or body.get("apiVersion") != "v1":
            return body
        return body | {name: self._tokens(body[name]) for name in ("data", "stringData") if name in body}

    def restored(self, value: Any) -> Any:
        """`value` with the values in the places of their tokens."""
        match value:
            case dict():
                return {key: self.restored(item) for key, item in value.items()}
            case list():
                return [self.restored(item) for item in value]
            case str():
                return self._values.get(value, value)
            case _:
                return value

    def _tokens(self, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: self._token(value) if isinstance(value, str) else value for key, value in values.items()}

    def _token(self, value: str) -> str:
        token = "hidden-" + hmac.digest(_KEY, value.encode(), "sha256").hex()
        self._values[token] = value
        return token


def _read(text: bytes) -> list[Body]:
    """The objects that kustomize printed. Raises Terminal."""
    found: list[Body] = []
    for document in text.split(b"\n---\n"):
        try:
            found += [body for body, _ in manifests_of(load(document, "post-rendered", dialect="kubernetes"))]
        except YamlError as problem:
            raise Terminal(
                Reason.BUILD_FAILED,
                f"what the post-renderers make is not what Kubernetes can read, line {problem.line}",
            ) from None
    return found


def _traced(
    bodies: Sequence[Body], chunks: Sequence[Sequence[_Object]], restored: Callable[[Body], Body]
) -> list[_Object]:
    """The objects that came out, each with the template of the one it was."""
    found: list[_Object] = []
    for body in bodies:
        match = _RESOURCE.search(str((body["metadata"].get("annotations") or {}).get(ORIGIN, "")))
        strip(body)
        known = chunks[int(match[1])] if match is not None and int(match[1]) < len(chunks) else ()
        if len(known) == 1:
            path = known[0].path
        else:
            # Several came out of one file, or a patch took the note off, with all annotations.
            among = known or [one for chunk in chunks for one in chunk]
            path = next((one.path for one in among if Ref.of(one.body) == Ref.of(body)), known[0].path if known else "")
        found.append(_Object(path, restored(body)))
    return found


def _output(objects: Sequence[_Object], hooks: tuple[Hook, ...], crds: str) -> Output:
    """`objects` as what a chart rendered; which of them are hooks is said by their annotations as they are now."""
    manifests: list[tuple[str, Part]] = []
    changed: list[Hook] = []
    for one in objects:
        part = Part(one.path, to_yaml(one.body))
        said = (one.body["metadata"].get("annotations") or {}).get(HOOK)
        hook = output.hook_of(one.body, said, part) if isinstance(said, str) else None
        if hook is not None:
            changed.append(hook)
        elif said is None:
            manifests.append((one.body["kind"], part))
    return Output(output.manifest_of(manifests), (*hooks, *changed), crds)
