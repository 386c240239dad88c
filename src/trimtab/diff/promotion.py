"""What one environment has and another has not: images, and objects. Pure.

An object is the same in both if it has the same name in the same namespace; else, as environments often are namespaces,
if it is the only one of its kind and name on either side.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trimtab.diff.compare import Difference
from trimtab.diff.declared import OWNER_LABELS, both_ways
from trimtab.diff.mask import LAST_APPLIED, shown
from trimtab.manifests.refs import Body, Origin, Ref

_OF_THE_SERVER: Final = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_DEEPEST: Final = 12


class Declared(NamedTuple):
    """An object of one side, and where it was written. `secret`: nothing of its values may be told.

    `unknown` says why nothing is known of it but its name.
    """

    body: Body
    origin: Origin | None = None
    secret: bool = False
    unknown: str = ""

    @property
    def ref(self) -> Ref:
        return Ref.of(self.body)


class Image(NamedTuple):
    """What runs in a container: on one side, and on the other; empty where there is no such container."""

    ref: Ref
    container: str
    a: str
    b: str


class Pair(NamedTuple):
    """An object that both sides have, and where they differ, from A to B; `unknown` says why that is not known."""

    a: Declared
    b: Declared
    differences: tuple[Difference, ...]
    unknown: str = ""


class Gap(NamedTuple):
    """All there is between A and B. `missing` are whole parts of a side that could not be read."""

    a: str
    b: str
    images: tuple[Image, ...]
    pairs: tuple[Pair, ...]
    only_a: tuple[Declared, ...]
    only_b: tuple[Declared, ...]
    missing: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[Pair, ...]:
        """The pairs that differ."""
        return tuple(pair for pair in self.pairs if pair.differences and not pair.unknown)

    @property
    def unknown(self) -> tuple[Pair, ...]:
        """The pairs of which nobody knows whether they differ."""
        return tuple(pair for pair in self.pairs if pair.unknown)

    @property
    def verdict(self) -> str:
        """Of all together: unknown counts more than differs."""
        if self.unknown or self.missing:
            return "unknown"
        return "differs" if self.differing or self.only_a or self.only_b else "same"

    def words(self) -> str:
        """The numbers in a sentence."""
        told = {
            "differ": len(self.differing),
            "only in A": len(self.only_a),
            "only in B": len(self.only_b),
            "unknown": len(self.unknown) + len(self.missing),
            "images differ": sum(image.a != image.b for image in self.images),
        }
        said = ", ".join(f"{count} {words}" for words, count in told.items() if count)
        return f"{len(self.pairs)} in both: {said or 'the same'}"


def gap(a: str, b: str, in_a: Iterable[Declared], in_b: Iterable[Declared], missing: Sequence[str] = ()) -> Gap:
    """What is between the objects of `a` and those of `b`, which are the names of the sides."""
    matched, only_a, only_b = _matched(list(in_a), list(in_b))
    pairs = tuple(_pair(one, other) for one, other in matched)
    images = [*_images(matched), *_alone(only_a, first=True), *_alone(only_b, first=False)]
    return Gap(a, b, tuple(sorted(images)), pairs, tuple(only_a), tuple(only_b), tuple(missing))


def _matched(
    in_a: list[Declared], in_b: list[Declared]
) -> tuple[list[tuple[Declared, Declared]], list[Declared], list[Declared]]:
    there = {one.ref: one for one in in_b}
    pairs = [(one, there.pop(one.ref)) for one in in_a if one.ref in there]
    known = {one.ref for one, _ in pairs}
    left_a, left_b = [one for one in in_a if one.ref not in known], list(there.values())
    by_name_a, by_name_b = _by_name(left_a), _by_name(left_b)
    for name in by_name_a.keys() & by_name_b.keys():
        mine, theirs = by_name_a[name], by_name_b[name]
        if len(mine) == len(theirs) == 1:
            pairs.append((mine[0], theirs[0]))
            left_a.remove(mine[0])
            left_b.remove(theirs[0])
    return sorted(pairs, key=_ref_of_pair), sorted(left_a, key=_ref), sorted(left_b, key=_ref)


def _by_name(held: Iterable[Declared]) -> dict[tuple[str, str, str], list[Declared]]:
    found: dict[tuple[str, str, str], list[Declared]] = {}
    for one in held:
        ref = one.ref
        found.setdefault((ref.group, ref.kind, ref.name), []).append(one)
    return found


def _ref(one: Declared) -> Ref:
    return one.ref


def _ref_of_pair(pair: tuple[Declared, Declared]) -> Ref:
    return pair[0].ref


def _pair(one: Declared, other: Declared) -> Pair:
    if why := one.unknown or other.unknown:
        return Pair(one, other, (), why)
    found = both_ways(_bare(one.body), _bare(other.body))
    secret = one.secret or other.secret
    return Pair(one, other, shown(one.ref.kind, found, secret=secret))


def _bare(body: Body) -> Body:
    """`body` without what a server or an app has added, and without its namespace, which is the environment."""
    metadata = {name: value for name, value in body["metadata"].items() if name not in (*_OF_THE_SERVER, "namespace")}
    for field, names in (("labels", OWNER_LABELS), ("annotations", (LAST_APPLIED,))):
        if isinstance(metadata.get(field), dict):
            metadata[field] = {name: value for name, value in metadata[field].items() if name not in names}
    return {name: value for name, value in body.items() if name != "status"} | {"metadata": metadata}


def _images(pairs: Iterable[tuple[Declared, Declared]]) -> Iterator[Image]:
    for one, other in pairs:
        if one.secret or other.secret or one.unknown or other.unknown:
            continue
        mine, theirs = images(one.body), images(other.body)
        for container in {**mine, **theirs}:
            yield Image(one.ref, container, mine.get(container, ""), theirs.get(container, ""))


def _alone(held: Iterable[Declared], *, first: bool) -> Iterator[Image]:
    for one in held:
        for container, image in ({} if one.secret or one.unknown else images(one.body)).items():
            yield Image(one.ref, container, image if first else "", "" if first else image)


def images(body: Body) -> Mapping[str, str]:
    """What runs in the containers of an object, wherever they stand in it; of a HelmRelease, the chart."""
    found: dict[str, str] = {}
    waiting: list[tuple[Any, int]] = [(body.get("spec"), 0)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, list):
            waiting += [(item, depth + 1) for item in part if depth < _DEEPEST]
        elif isinstance(part, dict):
            for field in _CONTAINERS:
                for one in part[field] if isinstance(part.get(field), list) else ():
                    if isinstance(one, dict) and isinstance(one.get("image"), str):
                        found[str(one.get("name"))] = one["image"]
            waiting += [(item, depth + 1) for item in part.values() if depth < _DEEPEST]
    chart = _chart(body)
    return found | ({"chart": chart} if chart else {})


def _chart(body: Body) -> str:
    part: Any = body.get("spec") if body["kind"] == "HelmRelease" else None
    for field in ("chart", "spec"):
        part = part.get(field) if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(part.get("chart"), str):
        return ""
    return f"{part['chart']}:{part.get('version') or '*'}"


def structured(found: Gap) -> dict[str, object]:
    """`found` for programs (docs/compare.md)."""
    return {
        "a": found.a,
        "b": found.b,
        "verdict": found.verdict,
        "counts": {
            "both": len(found.pairs),
            "differ": len(found.differing),
            "onlyA": len(found.only_a),
            "onlyB": len(found.only_b),
            "unknown": len(found.unknown) + len(found.missing),
            "images": sum(image.a != image.b for image in found.images),
        },
        "images": [
            {"object": image.ref._asdict(), "container": image.container, "a": image.a, "b": image.b}
            for image in found.images
        ],
        "differ": [
            {
                "a": _where(pair.a),
                "b": _where(pair.b),
                "differences": [
                    {"path": one.path, "kind": one.kind, "a": one.before, "b": one.after} for one in pair.differences
                ],
            }
            for pair in found.differing
        ],
        "onlyA": [_where(one) for one in found.only_a],
        "onlyB": [_where(one) for one in found.only_b],
        "unknown": [
            *({"a": _where(pair.a), "b": _where(pair.b), "message": pair.unknown} for pair in found.unknown),
            *({"a": None, "b": None, "message": words} for words in found.missing),
        ],
    }


def _where(one: Declared) -> dict[str, object]:
    origin = {"file": one.origin.file, "line": one.origin.line} if one.origin else None
    return {**one.ref._asdict(), "origin": origin}
