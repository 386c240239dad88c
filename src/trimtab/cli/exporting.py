"""What no app manages, chosen, read and written as the files of a repository."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from trimtab.base.abreast import abreast
from trimtab.cli.connect import Code, Failure
from trimtab.diff.report import Finding, State
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError, NotFound, StaleGroup, UnknownKind, Unreachable
from trimtab.manifests import order
from trimtab.manifests.cleaned import cleaned
from trimtab.manifests.emit import to_yaml
from trimtab.manifests.refs import Body, Ref
from trimtab.targets.kubernetes.comparing import declared_before
from trimtab.targets.kubernetes.coverage import Covered, Share

CLUSTER: Final = "cluster"
"""The directory of what is in no namespace."""
_OF_TOOLS: Final = ("helm release ", "Argo CD application ")
_LONGEST_NAME: Final = 200
"""Objects have longer names than files."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
_PLACEHOLDER: Final = "# The values are left out: fill them in, encrypt the file, and add it to kustomization.yaml.\n"


class Chosen(NamedTuple):
    """What is exported, and what is to be said of what is not."""

    refs: Sequence[Ref]
    notes: Sequence[str]


def chosen(objects: Iterable[Covered], wanted: Collection[tuple[str, str]], *, others: bool, secrets: str) -> Chosen:
    """Of `objects` those that nobody manages and that stand for themselves."""
    refs: list[Ref] = []
    left: Counter[str] = Counter()
    omitted = 0
    for one in objects:
        if one.share is not Share.UNMANAGED or one.owned or (wanted and (one.ref.group, one.ref.kind) not in wanted):
            continue
        if one.by.startswith(_OF_TOOLS) and not others:
            left[one.by] += 1
        elif (one.ref.group, one.ref.kind) == ("", "Secret") and secrets == "omit":
            omitted += 1
        else:
            refs.append(one.ref)
    notes = [f"left out: {many} objects of {tool} (--other-tools)" for tool, many in sorted(left.items())]
    notes += [f"left out: {omitted} Secrets (--secrets placeholder, or include)"] if omitted else []
    return Chosen(sorted(refs, key=order.apply_key), notes)


async def read(client: Client, refs: Sequence[Ref]) -> tuple[list[Body], list[Finding]]:
    """The objects in full, cleaned; and what could not be read. What has gone meanwhile, or is going, is left out."""
    lost: list[Finding] = []

    async def one(ref: Ref) -> Body | None:
        try:
            resource = await client.discovery.find_kind(ref.group, ref.kind)
            live: Body = await client.get(resource, ref.name, ref.namespace)
        except (NotFound, UnknownKind):
            return None
        except (ApiError, StaleGroup, Unreachable) as failure:
            lost.append(Finding(ref, State.UNKNOWN, note=str(failure)))
            return None
        return None if live["metadata"].get("deletionTimestamp") else cleaned(live, declared_before(live))

    return [body for body in await abreast(one, refs) if body is not None], lost


def shown(body: Body, secrets: str) -> Body:
    """`body`, or what stands in its place: of a Secret the keys alone, if that was asked for."""
    if body["kind"] != "Secret" or body["apiVersion"] != "v1" or secrets != "placeholder":
        return body
    keys = sorted(body.get("data") or {})
    return {name: value for name, value in body.items() if name != "data"} | {"stringData": dict.fromkeys(keys, "")}


def write(directory: Path, bodies: Sequence[Body], *, split: bool, secrets: str) -> int:
    """Write a file for each of `bodies`, and a kustomization.yaml; with `split`, a directory for each namespace.

    Answers how many files there are. Raises Failure where something is there already.
    """
    if directory.exists() and any(directory.iterdir()):
        raise Failure(Code.WRONG, f"{directory} is not empty: choose another directory, so that nothing is lost")
    places: dict[str, list[Body]] = {}
    for body in bodies:
        place = (body["metadata"].get("namespace") or CLUSTER) if split else ""
        places.setdefault(place, []).append(body)
    many = 0
    for place, held in sorted(places.items()):
        many += _fill(directory / place, held, secrets)
    if split:
        many += _kustomization(directory, sorted(places, key=lambda place: (place != CLUSTER, place)))
    return many


def _fill(directory: Path, bodies: Sequence[Body], secrets: str) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    names = _names(bodies)
    resources: list[str] = []
    for ref, name in names.items():
        body = next(body for body in bodies if Ref.of(body) == ref)
        text = to_yaml(shown(body, secrets))
        if body["kind"] == "Secret" and secrets == "placeholder":
            # applied as it is, it would empty the Secret that is there
            (directory / name).write_text(_PLACEHOLDER + text)
            continue
        file = directory / name
        if body["kind"] == "Secret":
            file.touch(mode=0o600)
        file.write_text(text)
        resources.append(name)
    return len(names) + _kustomization(directory, resources)


def _names(bodies: Sequence[Body]) -> Mapping[Ref, str]:
    """A file name for each object: kind and name, and what else it takes to tell them apart."""
    found: dict[Ref, str] = {}
    taken: set[str] = set()
    for body in bodies:
        ref = Ref.of(body)
        stem = _UNFIT.sub("-", f"{ref.kind.lower()}-{ref.name}")[:_LONGEST_NAME]
        options = (stem, _UNFIT.sub("-", f"{ref.kind.lower()}.{ref.group}-{ref.name}")[:_LONGEST_NAME])
        free = [name for name in options if name.lower() not in taken]
        name = free[0] if free else f"{stem}-{len(taken)}"
        taken.add(name.lower())
        found[ref] = f"{name}.yaml"
    return found


def _kustomization(directory: Path, resources: Sequence[str]) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    body = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}
    (directory / "kustomization.yaml").write_text(to_yaml(body))
    return 1
