"""Who says which tag a container is to run, where nobody names one: its own annotations, its policy, or its version.

In this order, and never by a guess: the annotations of Flux v1 on the workload, the ImagePolicy whose marker stands at
the image, the one ImagePolicy of that repository; and, where there is none, the highest version, if a version runs.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from trimtab.api.gvk import IMAGE_GROUP, IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import SIGNATURES, ImagePolicy, ImageRepository
from trimtab.base.errors import Terminal
from trimtab.images.choosing import Rules
from trimtab.images.filters import Exclusions
from trimtab.images.implied import read
from trimtab.images.ordering import SemVer, parse_version
from trimtab.images.pauses import Kind as Paused
from trimtab.images.pauses import pause_of
from trimtab.images.reaching import Files
from trimtab.images.reference import name_of
from trimtab.images.releasing import Refusal
from trimtab.images.running import canonical
from trimtab.images.workloads import Container, Workload
from trimtab.manifests.refs import Key
from trimtab.manifests.semver import Constraint
from trimtab.manifests.yaml import load, manifests_of

_RELEASED: Final = Constraint.parse("*")
_VERSIONS: Final = frozenset({"v1", "v1beta2"})

Times = Mapping[str, datetime]


class Decision(NamedTuple):
    """Who decides, in words; where the tags are, if an object says so; the rules, made of times of creation; and the
    ImagePolicy, if it is one.
    """

    who: str
    repository: ImageRepository | None
    rules: Callable[[Times], Rules]
    policy: Key | None = None


class Policies:
    """The ImagePolicies that there are, and the ImageRepositories that they are about."""

    def __init__(
        self,
        policies: Mapping[Key, ImagePolicy],
        repositories: Mapping[Key, ImageRepository],
        broken: Mapping[Key, str],
        live: frozenset[Key] = frozenset(),
    ) -> None:
        self._policies = policies
        self._repositories = repositories
        self._broken = broken
        self._live = live

    @classmethod
    def among(cls, files: Files) -> "Policies":
        """Those that are written in files."""
        policies: dict[Key, ImagePolicy] = {}
        repositories: dict[Key, ImageRepository] = {}
        broken: dict[Key, str] = {}
        for top in files.tops(""):
            for reached in files.reach(top):
                data = files.contents[reached.path]
                if IMAGE_GROUP.encode() not in data or files.stream(reached.path) is None:
                    continue
                for kind, key, made in _objects(data, reached.path, reached.namespace):
                    if isinstance(made, str):
                        broken[key] = made
                    elif kind == IMAGE_POLICY.kind:
                        policies[key] = made
                    else:
                        repositories[key] = made
        return cls(policies, repositories, broken)

    def over(self, policies: Mapping[Key, ImagePolicy], repositories: Mapping[Key, ImageRepository]) -> "Policies":
        """These, where others are in the cluster with the same name."""
        broken = {key: why for key, why in self._broken.items() if key not in policies}
        live = frozenset(repositories)
        return Policies({**self._policies, **policies}, {**self._repositories, **repositories}, broken, live)

    def is_live(self, repository: ImageRepository) -> bool:
        """Whether this is what the cluster has, and not what some file says that there should be."""
        return repository.metadata.key in self._live

    def decide(self, workload: Workload, container: Container, *, force: bool = False) -> Decision | Refusal:
        """Who says which tag `container` is to run."""
        names = [one.name for one in workload.containers]
        said = read(workload.annotations, names)
        if said.complaints:
            return Refusal("; ".join(said.complaints))
        if (implied := said.of(container.name)) is not None:
            return Decision(f"{implied.annotation}: {implied.pattern}", self._about(container), implied.rules)
        if container.mark is not None:
            return self._by(container.mark.policy, force=force)
        found = [key for key in sorted(self._policies) if self._is_about(key, container)]
        if len(found) > 1:
            return Refusal(
                f"{' and '.join(map(str, found))} are policies of {name_of(container.image)}: name a tag with --image"
            )
        if found:
            return self._by(found[0], force=force)
        if parse_version(container.version.partition("@")[0]) is None:
            return Refusal(
                f"no policy says which tag of {name_of(container.image)} to run: name one with --image", mild=True
            )
        without = Exclusions((SIGNATURES,))
        return Decision(
            "the highest version", self._about(container), lambda _: Rules(SemVer(_RELEASED), exclusions=without)
        )

    def _by(self, key: Key, *, force: bool) -> Decision | Refusal:
        policy = self._policies.get(key)
        if policy is None:
            return Refusal(self._broken.get(key) or f"its marker is of the ImagePolicy {key}, and there is none")
        pause = pause_of(policy.metadata.annotations)
        if pause is not None and not (force and pause.kind is Paused.HOLD):
            return Refusal(f"the ImagePolicy {key} is {pause}")
        ref = policy.spec.image_repository_ref
        at = Key(ref.namespace or key.namespace, ref.name)
        repository = self._repositories.get(at)
        if repository is None:
            return Refusal(
                self._broken.get(at) or f"the ImagePolicy {key} is about the ImageRepository {at}, and there is none"
            )
        exclusions = repository.spec.exclusions

        def rules(created: Times) -> Rules:
            return Rules.of(policy, exclusions=exclusions, created=created)

        try:
            rules({})
        except Terminal as problem:
            return Refusal(problem.message)
        return Decision(f"ImagePolicy {key}", repository, rules, key)

    def _is_about(self, key: Key, container: Container) -> bool:
        ref = self._policies[key].spec.image_repository_ref
        repository = self._repositories.get(Key(ref.namespace or key.namespace, ref.name))
        return repository is not None and _same(repository, container)

    def _about(self, container: Container) -> ImageRepository | None:
        """The one ImageRepository of that image, for how it is reached."""
        found = [one for one in self._repositories.values() if _same(one, container)]
        return found[0] if len(found) == 1 else None


def _same(repository: ImageRepository, container: Container) -> bool:
    return canonical(repository.spec.image) == canonical(name_of(container.image))


def _objects(data: bytes, path: str, namespace: str) -> "list[tuple[str, Key, Any]]":
    found: list[tuple[str, Key, Any]] = []
    kinds: dict[str, Any] = {IMAGE_POLICY.kind: ImagePolicy, IMAGE_REPOSITORY.kind: ImageRepository}
    try:
        bodies = [one.body for one in manifests_of(load(data, path, dialect="kubernetes"))]
    except Terminal:
        return found  # what the app says of it is better
    for body in bodies:
        group, _, version = str(body.get("apiVersion", "")).rpartition("/")
        kind = kinds.get(body["kind"])
        if group != IMAGE_GROUP or version not in _VERSIONS or kind is None:
            continue
        metadata = {**body["metadata"], "namespace": namespace or body["metadata"].get("namespace") or ""}
        key = Key(metadata["namespace"], metadata["name"])
        try:
            found.append((body["kind"], key, msgspec.convert({**body, "metadata": metadata}, kind)))
        except msgspec.ValidationError as problem:
            found.append((body["kind"], key, f"{path}: the {body['kind']} {key} is not valid: {problem}"))
    return found
