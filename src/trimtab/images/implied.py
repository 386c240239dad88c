"""Policies that are written on workloads themselves, as in Flux v1: which tags a container may get, and in which order.

    metadata:
      annotations:
        fluxcd.io/automated: "true"
        filter.fluxcd.io/app: semver:~1.4      # or glob:main-*, or regexp:^v1\\.; fluxcd.io/tag.app is the same

A pattern that makes no sense is refused. In Flux v1 it admitted every tag.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from trimtab.images.choosing import Rules
from trimtab.images.filters import Exclusions, Glob, TagFilter
from trimtab.images.ordering import Newest, SemVer
from trimtab.images.pauses import V1
from trimtab.manifests.semver import Constraint

_FILTER: Final = "filter.fluxcd.io/"
_TAGS: Final = tuple(f"{prefix}tag." for prefix in V1)
AUTOMATED: Final = tuple(f"{prefix}automated" for prefix in V1)
_LATEST: Final = "latest"
_EVERYTHING: Final = "glob:*"


class Implied(NamedTuple):
    """What annotations say of the tags of one container. `pattern` is as it is written, `annotation` where.

    As in Flux v1, versions are ordered as versions and everything else by the time of creation, and `latest` is no
    candidate unless it is exactly what is asked for.
    """

    container: str
    pattern: str
    annotation: str

    @property
    def kind(self) -> str:
        """How it is to be read; a pattern that does not say so is a glob."""
        return self.pattern.partition(":")[0] if ":" in self.pattern else "glob"

    @property
    def rest(self) -> str:
        """The pattern without its kind."""
        return self.pattern.partition(":")[2] if ":" in self.pattern else self.pattern

    @property
    def text(self) -> str:
        """The same for all ways to write it."""
        return f"{'regexp' if self.kind == 'regex' else self.kind}:{self.rest}"

    @property
    def by_age(self) -> bool:
        """Whether it has to be known when images were created."""
        return self.kind != "semver"

    def rules(self, created: Mapping[str, datetime] | None = None) -> Rules:
        """The rules to choose by; `created` says when images were built, by tag. Raises ValueError."""
        try:
            return _rules(self.kind, self.rest, created or {})
        except ValueError as problem:
            raise ValueError(f"the annotation {self.annotation}: {problem}") from None

    def refuses(self, tag: str) -> str:
        """Why `tag` is not one of those that the container takes, whatever is newer; nothing if it is."""
        rules = self.rules()
        if isinstance(rules.order, SemVer):
            place = rules.order.place(tag, tag)
            return f"{self.annotation}: {place}" if isinstance(place, str) else ""
        if rules.exclusions is not None and (why := rules.exclusions.judge(tag)):
            return f"{self.annotation}: {why}"
        if rules.glob is not None and not rules.glob.admits(tag):
            return f"{self.annotation}: {rules.glob.text} does not match it"
        if rules.filter is not None and isinstance(kept := rules.filter.judge(tag), str):
            return f"{self.annotation}: {kept}"
        return ""


class Reading(NamedTuple):
    """What the annotations of a workload say: whether it is to follow its images, the policies, and what is wrong."""

    automated: bool
    policies: tuple[Implied, ...]
    complaints: tuple[str, ...]

    def of(self, container: str) -> Implied | None:
        """The policy of a container. One that is automated and has none takes what was created last."""
        said = next((one for one in self.policies if one.container == container), None)
        if said is None and self.automated:
            return Implied(container, _EVERYTHING, AUTOMATED[0])
        return said


def read(annotations: Mapping[str, str], containers: Iterable[str]) -> Reading:
    """The policies in `annotations` of a workload with these containers. Nothing that makes no sense is among them."""
    known = list(containers)
    complaints: list[str] = []
    found: dict[str, Implied] = {}
    for name in sorted(annotations, key=_precedence):
        container = _container(name)
        if container is None:
            continue
        one = Implied(container, annotations[name].strip(), name)
        if container not in known:
            complaints.append(f"the annotation {name}: there is no container {container}; there is {', '.join(known)}")
            continue
        try:
            one.rules()
        except ValueError as problem:
            complaints.append(str(problem))
            continue
        found.setdefault(container, one)
    automated = False
    for name in AUTOMATED:
        if (said := annotations.get(name)) is None:
            continue
        if said not in ("true", "false"):
            complaints.append(f'the annotation {name} is {said[:60]!a}; it can be "true" or "false"')
        automated = automated or said == "true"
    return Reading(automated and not complaints, tuple(found.values()), tuple(complaints))


def _precedence(name: str) -> tuple[int, str]:
    """The newest form goes before older ones that say something of the same container."""
    return next((at for at, prefix in enumerate((_FILTER, *_TAGS)) if name.startswith(prefix)), len(_TAGS) + 1), name


def _container(name: str) -> str | None:
    for prefix in (_FILTER, *_TAGS):
        if name.startswith(prefix) and len(name) > len(prefix):
            return name.removeprefix(prefix)
    return None


def _rules(kind: str, text: str, created: Mapping[str, datetime]) -> Rules:
    if not text:
        raise ValueError(f"{kind}: says nothing; write glob:*, semver:*, or regexp:.*")
    match kind:
        case "semver":
            return Rules(SemVer(Constraint.parse(text)))
        case "glob":
            without = Exclusions(() if text == _LATEST else (f"^{_LATEST}$",))
            return Rules(Newest(created), glob=Glob(text), exclusions=without)
        case "regexp" | "regex":
            try:
                pattern = TagFilter(text)
            except ValueError as problem:
                raise ValueError(str(problem).removeprefix("spec.filterTags.pattern: ")) from None
            without = Exclusions(() if text == f"^{_LATEST}$" else (f"^{_LATEST}$",))
            return Rules(Newest(created), filter=pattern, exclusions=without)
    raise ValueError(f"{kind[:60]!a} is no kind of pattern; there are glob:, semver: and regexp:")
