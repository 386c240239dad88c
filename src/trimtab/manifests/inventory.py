"""Inventory ids: the identity of an object as one string, in the form Flux and cli-utils use.

`<namespace>_<name>_<group>_<kind>`; empty parts stay empty, and `:` in names of RBAC objects is written `__`.
RBAC names may also contain `_`, which that form cannot carry (cli-utils refuses to read it, and `a__b` would come back
as `a:b`, another object). Such an underscore is written `%5F` here: no name on a server contains `%`, so a reader that
does not know the escape finds nothing, instead of something else.
"""

from trimtab.manifests.refs import Ref

_ESCAPED = "%5F"


def encode_id(ref: Ref) -> str:
    """The id of `ref`. Raises ValueError where a part holds what no server admits, so that ids stay unambiguous."""
    if not ref.name or not ref.kind:
        raise ValueError(f"{ref!r} has no kind or no name")
    if "%" in ref.name or "/" in ref.name:
        raise ValueError(f"the name {ref.name!r} of a {ref.kind} contains % or /, which no API server admits")
    if "_" in ref.namespace or "_" in ref.group or "_" in ref.kind:
        raise ValueError(f"{ref!r} has an underscore outside its name, which no API server admits")
    name = ref.name.replace("_", _ESCAPED).replace(":", "__")
    return f"{ref.namespace}_{name}_{ref.group}_{ref.kind}"


def decode_id(id: str) -> Ref:  # noqa: A002 - `id` is what the API calls it
    """The identity in `id`, written by us or by Flux. Raises ValueError for anything that is not an id."""
    namespace, has_name, rest = id.partition("_")
    rest, has_kind, kind = rest.rpartition("_")
    name, has_group, group = rest.rpartition("_")
    if not (has_name and has_kind and has_group and name and kind):
        raise ValueError(f"{id!r} is not an inventory id (<namespace>_<name>_<group>_<kind>)")
    return Ref(group, kind, namespace, name.replace("__", ":").replace(_ESCAPED, "_"))
