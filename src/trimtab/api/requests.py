"""What annotations say of a request for a reconcile: who made it, and what else is asked for. Pure.

All of it is tied to the request by its text: what somebody asked for earlier is not put down to the next one.
"""

from collections.abc import Mapping

from trimtab.api.names import REQUESTED_AT, Annotation


def requested_by(who: str, token: str) -> str:
    """What says that `who` made the request with the text `token`."""
    return f"{who} at {token}"


def requester(annotations: Mapping[str, str]) -> str:
    """Who made the request that is there now; empty where that is not said."""
    who, at, token = annotations.get(Annotation.REQUESTED_BY, "").rpartition(" at ")
    return who if at and token and token == annotations.get(REQUESTED_AT) else ""


def correction_asked(annotations: Mapping[str, str], handled: str) -> bool:
    """Whether somebody asks that drift is corrected once, whatever its mode. `handled` is the last request done."""
    token = annotations.get(REQUESTED_AT, "")
    return bool(token) and token != handled and annotations.get(Annotation.CORRECT_AT) == token
