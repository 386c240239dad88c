"""Reading objects whose shape nobody has checked: what is odd is read as missing."""

from datetime import datetime
from typing import Any, TypeAlias, TypeGuard

from trimtab.manifests.refs import Body

Condition: TypeAlias = dict[str, Any]


def section(part: Any, *fields: str) -> Body:
    """The map at `fields`, one below the other; empty where there is none."""
    for field in fields:
        part = part.get(field) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def sections(part: Body, field: str) -> list[Body]:
    """The maps in the list of that name."""
    listed = part.get(field)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def number(part: Body, field: str, default: int = 0) -> int:
    """An integer; `default` where it is missing or something else."""
    value: Any = part.get(field)
    return value if is_number(value) else default


def is_number(value: Any) -> TypeGuard[int]:
    """Whether `value` is an integer, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def conditions(part: Body) -> list[Condition]:
    """The conditions in a status, or in a part of one, leaving out what is not one."""
    return [item for item in sections(part, "conditions") if isinstance(item.get("type"), str)]


def condition(body: Body, type: str) -> Condition | None:  # noqa: A002 - the API's own word
    """The object's condition of that type, if there is one."""
    return next((item for item in conditions(section(body, "status")) if item["type"] == type), None)


def says(item: Condition | None) -> str:
    """`True`, `False` or `Unknown`, also where a controller wrote a boolean; empty where there is no condition."""
    return "" if item is None else str(item.get("status")).capitalize()


def explained(item: Condition) -> str:
    """A condition in words: its message, else its reason, else what it says."""
    text = item.get("message") or item.get("reason")
    return str(text) if text else f"{item['type']} is {item.get('status')}"


def created(body: Body) -> datetime | None:
    """When the server first had the object, if it says so."""
    text = section(body, "metadata").get("creationTimestamp")
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
