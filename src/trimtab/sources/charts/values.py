"""Values files, merged in their order: a map into a map, anything else takes the place of what was there. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from trimtab.manifests.refs import Body
from trimtab.sources.charts.metadata import read_map

VALUES_FILE: Final = "values.yaml"


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Body:
    """`base` with `over` on top. Neither is changed; a null is a value, for Helm to remove the key by."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def read(data: bytes, where: str) -> Body:
    """The values in one file. Raises BadChart."""
    return read_map(data, where)
