"""The schemas of definitions that the same set brings, and what does not fit them: judged before the first write."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trimtab.manifests import structural
from trimtab.manifests.definition import Definition, definition
from trimtab.manifests.patterns import occurs
from trimtab.manifests.refs import Gvk
from trimtab.targets.kubernetes.desired import Desired


class Definitions(NamedTuple):
    """By group and kind, definitions that the cluster does not have in this form yet."""

    kinds: Mapping[tuple[str, str], tuple[Desired, Definition]]

    @classmethod
    def of(cls, items: Iterable[Desired]) -> "Definitions":
        """Read the definitions among `items`."""
        pairs = [(item, definition(item.body)) for item in items if item.ref.kind == "CustomResourceDefinition"]
        return cls({(found.group, found.kind): (item, found) for item, found in pairs if found is not None})

    def define(self, gvk: Gvk) -> bool:
        """Whether the kind of an object is brought, or changed, by the same set."""
        return (gvk.group, gvk.kind) in self.kinds

    def complaint(self, item: Desired) -> str:
        """Why `item` cannot be what its definition in the same set says; nothing if it may be."""
        if not self.define(item.gvk):
            return ""
        source, defined = self.kinds[item.gvk.group, item.gvk.kind]
        schema = defined.schemas.get(item.gvk.version)
        where = f"{source.ref} ({source.origin})"
        if schema is None:
            return f"{where} serves no version {item.gvk.version}, only {', '.join(sorted(defined.schemas))}"
        found = structural.misfits(item.body, schema, occurs) if schema else []
        return f"does not fit {where}: {'; '.join(map(str, found))}" if found else ""
