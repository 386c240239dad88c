"""The kinds that objects are judged by: built in, of our own API, brought by definitions, or told of by a cluster."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from trimtab.api.kubernetes import Bundle
from trimtab.manifests import structural
from trimtab.manifests.definition import definition
from trimtab.manifests.openapi import Schemas
from trimtab.manifests.patterns import occurs
from trimtab.manifests.refs import Body, Gvk
from trimtab.manifests.structural import Misfit
from trimtab.validate.rules import Rules

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_BUILT_IN: Final = "io.k8s."
_UNSTABLE: Final = ("alpha", "beta")


class Defined(NamedTuple):
    """A kind as its definition says: where its objects live, and the schema of each version."""

    plural: str
    namespaced: bool
    schemas: Mapping[str, Mapping[str, Any]]


class Where(NamedTuple):
    """The collection that objects of a kind live in."""

    plural: str
    namespaced: bool


class Catalog:
    """Looks kinds up, and judges objects by them.

    What a definition brings goes before what is known otherwise, but for built-in kinds, which no definition replaces.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._schemas = Schemas(bundle.schemas)
        self._defined: dict[tuple[str, str], Defined] = {}
        self._rules: dict[Gvk, Rules] = {}
        self._built_in = {
            (gvk.group, gvk.kind) for gvk, kind in bundle.kinds.items() if kind.schema.startswith(_BUILT_IN)
        }
        self._groups = {gvk.group for gvk in bundle.kinds}

    def define(self, bodies: Iterable[Body]) -> None:
        """Take in the CustomResourceDefinitions among `bodies`."""
        for body in bodies:
            if (found := definition(body)) is not None and (found.group, found.kind) not in self._built_in:
                names = body["spec"]["names"]
                plural = names.get("plural")
                where = plural if isinstance(plural, str) else found.kind.lower() + "s"
                self._defined[found.group, found.kind] = Defined(where, found.namespaced, found.schemas)

    def where(self, gvk: Gvk) -> Where | None:
        """Where objects of the kind live, if it is known."""
        if (defined := self._defined.get((gvk.group, gvk.kind))) is not None:
            return Where(defined.plural, defined.namespaced)
        kind = self.bundle.kinds.get(gvk)
        return Where(kind.plural, kind.namespaced) if kind else None

    def missing(self, gvk: Gvk) -> tuple[bool, str] | None:
        """Why there is no such kind, and whether that is sure; None if there is one."""
        if (defined := self._defined.get((gvk.group, gvk.kind))) is not None:
            if gvk.version in defined.schemas:
                return None
            return True, f"the definition of {gvk.kind} serves {', '.join(sorted(defined.schemas))}, not {gvk.version}"
        if gvk in self.bundle.kinds:
            return None
        if gvk.group not in self._groups:
            return False, (
                f"{gvk} is not known here: give its definition with --schema, or keep it in what is validated"
            )
        version = self.bundle.version.rpartition(".")[0]
        others = sorted(one.version for one in self.bundle.kinds if (one.group, one.kind) == (gvk.group, gvk.kind))
        elsewhere = sorted(one.api_version for one in self.bundle.kinds if one.kind == gvk.kind)
        there = f"; of this kind there is {', '.join(others)}" if others else ""
        if not there and elsewhere:
            there = f"; there is one of {', '.join(elsewhere)}"
        return True, f"Kubernetes {version} serves no {gvk}{there}"

    def is_unstable(self, gvk: Gvk) -> bool:
        """Whether a server has the built-in kind only where it is switched on."""
        return gvk in self.bundle.kinds and any(word in gvk.version for word in _UNSTABLE)

    def misfits(self, body: Body, gvk: Gvk) -> list[Misfit]:
        """Where `body`, whose kind is not missing, does not fit."""
        if (defined := self._defined.get((gvk.group, gvk.kind))) is not None:
            schema = defined.schemas[gvk.version]
            found = structural.misfits(body, schema, occurs) if schema else []
            metadata = self._schemas.misfits(body["metadata"], _META)
            return [*(one._replace(path=_below("metadata", one.path)) for one in metadata), *found]
        return self._schemas.misfits(body, self.bundle.kinds[gvk].schema)

    def broken(self, body: Body, gvk: Gvk) -> list[tuple[str, str]]:
        """The rules of its definition that `body` breaks, which fits its schema: pairs of a path and words."""
        defined = self._defined.get((gvk.group, gvk.kind))
        if defined is None:
            return []
        if gvk not in self._rules:
            self._rules[gvk] = Rules(defined.schemas[gvk.version])
        return list(self._rules[gvk].broken(body))


def _below(field: str, path: str) -> str:
    if not path:
        return field
    return f"{field}{path}" if path.startswith("[") else f"{field}.{path}"
