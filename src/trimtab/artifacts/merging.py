"""YAML files laid over each other, as Helm lays values: maps are merged, everything else is replaced whole. Pure."""

from typing import Any

from trimtab.manifests.builder import YamlError
from trimtab.manifests.emit import to_yaml
from trimtab.manifests.yaml import load


def merge_files(below: bytes, above: bytes, below_name: str, above_name: str) -> bytes:
    """`above` laid over `below`; the documents of one file are laid over each other first.

    Raises YamlError, a Terminal, for what is not YAML or has anything but maps at its top.
    """
    merged = merge(_whole(below, below_name), _whole(above, above_name))
    return to_yaml(_sorted(merged)).encode()


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`. A null deletes what it meets; where it meets nothing, it is kept as it is.

    Kept, because it may be meant for somebody further down, such as the values of a subchart.
    """
    out = dict(below)
    for key, value in above.items():
        held = out.get(key)
        if value is None and key in out:
            del out[key]
        elif isinstance(value, dict) and isinstance(held, dict):
            out[key] = merge(held, value)
        else:
            out[key] = value
    return out


def _whole(data: bytes, name: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for document in load(data, name, dialect="kubernetes"):
        if not isinstance(document.value, dict):
            raise YamlError(name, document.origin.line, 1, "only maps can be merged, and this is none")
        out = merge(out, document.value)
    return out


def _sorted(value: Any) -> Any:
    """With the keys in order: the same content is the same file, wherever its keys were written."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
