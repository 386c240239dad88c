"""The objects that say what annotations of Flux v1 on workloads say, so that the automation can follow them. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import SIGNATURES
from trimtab.api.names import Annotation
from trimtab.images.choosing import NEWEST
from trimtab.images.implied import Implied, read
from trimtab.images.reference import name_of
from trimtab.images.running import canonical
from trimtab.images.workloads import Workload
from trimtab.manifests.refs import Body

_LATEST: Final = "latest"
_LONGEST: Final = 60


class Objects(NamedTuple):
    """ImageRepositories and their ImagePolicies; and what a person has to know of them."""

    bodies: tuple[Body, ...]
    notes: tuple[str, ...]


def objects_for(found: Iterable[Workload], namespace: str, interval: str) -> Objects:
    """One ImageRepository for each image that is automated or filtered, and one ImagePolicy for each pattern of it."""
    patterns: dict[str, dict[str, list[str]]] = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for workload in found:
        said = read(workload.annotations, [one.name for one in workload.containers])
        place = f"{workload.path}:{workload.line}: {workload}"
        notes += [f"{place}: {words}: nothing follows" for words in said.complaints]
        if not said.automated:
            notes += [f"{place}: {one.annotation} is there, and it is not automated" for one in said.policies]
            continue
        for container in workload.containers:
            implied = said.of(container.name)
            if implied is None or container.mark is not None:
                continue
            image = canonical(name_of(container.image))
            names.setdefault(image, name_of(container.image))
            patterns.setdefault(image, {}).setdefault(implied.text, []).append(f"{workload}:{container.name}")
    bodies: list[Body] = []
    taken: set[str] = set()
    for image, by_pattern in sorted(patterns.items()):
        name = _name(image, taken)
        texts = [Implied("", text, "") for text in by_pattern]
        bodies.append(_repository(name, namespace, names[image], interval, latest=any(map(_is_latest, texts))))
        for number, one in enumerate(texts, 1):
            called = name if number == 1 else f"{name}-{number}"
            taken.add(called)
            bodies.append(_policy(called, namespace, name, one))
        if len(texts) > 1:
            users = "; ".join(f"{text}: {', '.join(who)}" for text, who in by_pattern.items())
            words = f"{names[image]} is filtered in {len(texts)} ways ({users})"
            notes.append(f"{words}: mark at each image which policy is meant")
    return Objects(tuple(bodies), tuple(notes))


def _name(image: str, taken: set[str]) -> str:
    """The last part of the image's name, or more of it where that is taken."""
    parts = [re.sub(r"[^a-z0-9]+", "-", part).strip("-") for part in image.lower().split("/")]
    wanted = ["-".join(parts[-count:])[:_LONGEST].strip("-") for count in range(1, len(parts) + 1)]
    wanted += [f"{wanted[0]}-{number}" for number in range(2, len(taken) + 3)]
    name = next(one for one in wanted if one and one not in taken)
    taken.add(name)
    return name


def _is_latest(one: Implied) -> bool:
    return one.kind == "glob" and one.rest == _LATEST


def _repository(name: str, namespace: str, image: str, interval: str, *, latest: bool) -> Body:
    spec: dict[str, Any] = {"image": image, "interval": interval}
    if not latest:
        spec["exclusionList"] = [SIGNATURES, f"^{_LATEST}$"]
    return _object(IMAGE_REPOSITORY.api_version, IMAGE_REPOSITORY.kind, name, namespace, {}, spec)


def _policy(name: str, namespace: str, repository: str, one: Implied) -> Body:
    spec: dict[str, Any] = {"imageRepositoryRef": {"name": repository}}
    annotations: dict[str, str] = {}
    if one.kind == "semver":
        spec["policy"] = {"semver": {"range": one.rest}}
    else:
        # Flux, which does not know the annotation, would order by letters
        spec["policy"] = {"alphabetical": {"order": "asc"}}
        annotations[Annotation.POLICY] = NEWEST
        if one.kind == "glob" and one.rest != "*":
            annotations[Annotation.FILTER_GLOB] = one.rest
        elif one.kind != "glob":
            spec["filterTags"] = {"pattern": one.rest}
    return _object(IMAGE_POLICY.api_version, IMAGE_POLICY.kind, name, namespace, annotations, spec)


def _object(api_version: str, kind: str, name: str, namespace: str, annotations: Mapping[str, str], spec: Body) -> Body:
    metadata = {"name": name, "namespace": namespace, **({"annotations": dict(annotations)} if annotations else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
