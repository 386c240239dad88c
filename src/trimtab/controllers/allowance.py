"""What the apps of a namespace may apply at all, whatever their account could: lists on the Namespace object. Pure.

A tenant's account may be bound to more than was meant. Who may edit the Namespace object itself, which a tenant cannot,
draws the line a second time, by annotations.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trimtab.api.names import ALLOWED_KINDS, ALLOWED_NAMESPACES, Reason
from trimtab.base.errors import Transient
from trimtab.manifests.refs import Ref
from trimtab.targets.kubernetes.desired import Desired

_NAMESPACE = re.compile(r"[a-z0-9*]([-a-z0-9*]{0,61}[a-z0-9*])?", re.ASCII)
_KIND = re.compile(r"(\*|[A-Z][A-Za-z0-9]{0,62})(\.[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?", re.ASCII)
_SHOWN = 20


class Allowance(NamedTuple):
    """What may be applied from the namespace `own`; None where anything may.

    `namespaces` are names in which `*` stands for any characters; `own` is always among them. `kinds` are `Kind` of the
    core group or `Kind.group`, `*` for every kind. What lives in no namespace is allowed beside a list of namespaces
    only by its exact kind. `strict`: the list of namespaces is not on the object but the default of this installation.
    """

    own: str
    namespaces: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    strict: bool = False

    @classmethod
    def of(cls, own: str, annotations: Mapping[str, str], *, strict: bool) -> "Allowance":
        """What the annotations of the Namespace `own` say; `strict`: without a list, that namespace alone.

        Raises Transient for a list that makes no sense: nobody can tell what was to be kept out.
        """
        namespaces = _listed(own, annotations, ALLOWED_NAMESPACES, _NAMESPACE)
        kinds = _listed(own, annotations, ALLOWED_KINDS, _KIND)
        if namespaces is None and strict:
            return cls(own, (), kinds, strict=True)
        return cls(own, namespaces, kinds)

    def check(self, items: Iterable[Desired]) -> None:
        """Raise Transient that names every object which may not be applied, and who can change that."""
        if self.namespaces is None and self.kinds is None:
            return
        found = [(item, why) for item in items if item.wanted and (why := self._why_not(item.ref))]
        if not found:
            return
        lines = [f"{item.ref} ({item.origin}) {why}" for item, why in found[:_SHOWN]]
        lines += [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise Transient(
            Reason.VALIDATION_FAILED,
            f"{len(found)} refused, nothing was applied: {'; '.join(lines)}. Who administers the cluster can change "
            f"that by annotations of the Namespace {self.own}",
        )

    def _why_not(self, ref: Ref) -> str:
        kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
        listed = self.kinds is None or any(_covers(entry, ref) for entry in self.kinds)
        if not listed:
            return f"is of a kind that {ALLOWED_KINDS} does not list ({kind})"
        if self.namespaces is None:
            return ""
        rule = "is what apps are confined to here" if self.strict else f"and what {ALLOWED_NAMESPACES} lists"
        is_namespace = (ref.group, ref.kind) == ("", "Namespace")
        if not ref.namespace and kind not in (self.kinds or ()):
            return f"is in no namespace: {ALLOWED_KINDS} has to list {kind}"
        if ref.namespace or is_namespace:
            name = ref.namespace or ref.name
            if name != self.own and not any(_matches(entry, name) for entry in self.namespaces):
                return f"is outside: the namespace {self.own} {rule}"
        return ""


def _listed(own: str, annotations: Mapping[str, str], name: str, form: re.Pattern[str]) -> tuple[str, ...] | None:
    text = annotations.get(name)
    if text is None:
        return None
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    if wrong := next((entry for entry in entries if not form.fullmatch(entry)), None):
        raise Transient(
            Reason.VALIDATION_FAILED,
            f"nothing is applied: the annotation {name} of the Namespace {own} has {wrong[:80]!r}, which makes no "
            "sense there; whoever administers the cluster has to correct it",
        )
    return entries


def _covers(entry: str, ref: Ref) -> bool:
    kind, _, group = entry.partition(".")
    return entry == "*" or (kind in ("*", ref.kind) and group == ref.group)


def _matches(entry: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, entry.split("*"))), name) is not None
