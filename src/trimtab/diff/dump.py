"""What is wanted against a dump of what is live: two sets of objects, and no cluster."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from trimtab.base.errors import Terminal
from trimtab.diff.compare import Difference
from trimtab.diff.declared import declared_changes, last_applied, left_behind, with_owner
from trimtab.diff.fields import FIELD_MANAGER
from trimtab.diff.mask import shown
from trimtab.diff.report import Finding, State
from trimtab.manifests.refs import Body, Manifest, Origin, Ref

_DEFAULT = "default"


def against_dump(
    wanted: Sequence[Manifest],
    live: Iterable[Manifest],
    *,
    namespace: str = "",
    secret: Collection[Ref] = (),
    everything: bool = False,
) -> list[Finding]:
    """Every object of `wanted` compared with the one of the same name in `live`, by declared fields.

    An object that names no namespace is looked for in `namespace`, else where there is just one of that name.
    `everything`: what only `live` has is a finding, too. Nothing is shown of what is `secret`. Raises Terminal for an
    object that is wanted twice.
    """
    there = Dump(live, namespace)
    seen: dict[Ref, Origin] = {}
    found: list[Finding] = []
    matched: set[Ref] = set()
    for body, origin in wanted:
        other = there.find(Ref.of(body))
        ref = Ref.of(body if other is None else other)
        if ref in seen:
            words = f"{origin}: {ref} is declared twice, first at {seen[ref]}: remove one of them"
            raise Terminal("ValidationFailed", words)
        seen[ref] = origin
        if other is None:
            found.append(Finding(ref, State.MISSING, origin))
            continue
        matched.add(ref)
        changes = shown(ref.kind, _differences(other, body), secret=Ref.of(body) in secret)
        found.append(Finding(ref, State.DIFFERS if changes else State.SAME, origin, differences=changes))
    if everything:
        found += [Finding(ref, State.EXTRA) for ref in there if ref not in matched]
    return found


class Dump:
    """Live objects by name. `namespace` is that of objects that name none."""

    def __init__(self, live: Iterable[Manifest], namespace: str) -> None:
        self._namespace = namespace
        self._bodies: dict[Ref, Body] = {}
        self._named: dict[tuple[str, str, str], list[Ref]] = {}
        for body, _ in live:
            ref = Ref.of(body)
            if ref not in self._bodies:
                self._named.setdefault((ref.group, ref.kind, ref.name), []).append(ref)
            self._bodies[ref] = body

    def __iter__(self) -> Iterator[Ref]:
        return iter(self._bodies)

    def find(self, ref: Ref) -> Body | None:
        """The live object that `ref` means. A namespace says nothing of a kind that has none."""
        named = self._named.get((ref.group, ref.kind, ref.name), [])
        for candidate in (ref, ref._replace(namespace=ref.namespace or self._namespace or _DEFAULT)):
            if candidate in self._bodies:
                return self._bodies[candidate]
        if len(named) == 1 and (not named[0].namespace or not (ref.namespace or self._namespace)):
            return self._bodies[named[0]]
        return None


def _differences(live: Body, wished: Body) -> list[Difference]:
    metadata = {name: value for name, value in (wished.get("metadata") or {}).items() if name != "namespace"}
    if namespace := live["metadata"].get("namespace"):
        metadata["namespace"] = namespace
    wished = with_owner({**wished, "metadata": metadata}, live)
    found = declared_changes(live, wished, manager=FIELD_MANAGER)
    if (before := last_applied(live)) is not None:
        known = {change.path for change in found}
        found += [change for change in left_behind(live, wished, before) if change.path not in known]
    return found
