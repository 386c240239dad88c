"""What a server's refusal or warning means: the schema, a policy by name, a quota, or only the rights of who asks."""

import re
from collections.abc import Iterable
from typing import Final

from trimtab.kube.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound, RequestTooLarge
from trimtab.preview.verdict import Judgement, Verdict

_POLICY: Final = re.compile(
    r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '(?P<binding>[^']+)' denied request: (?P<words>.*)",
    re.DOTALL,
)
_WARNED: Final = re.compile(
    r"Validation failed for ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '(?P<binding>[^']+)': "
    r"(?P<words>.*)",
    re.DOTALL,
)
_WEBHOOK: Final = re.compile(r'admission webhook "(?P<policy>[^"]+)" denied the request(?:: (?P<words>.*))?', re.DOTALL)
_POD_SECURITY: Final = re.compile(r'violates? (?P<policy>PodSecurity "[^"]+"): (?P<words>.*)', re.DOTALL)
_QUOTA: Final = re.compile(r"(?:exceeded|failed) quota: (?P<policy>[^,:]+)[,:]\s*(?P<words>.*)", re.DOTALL)
_LIMITS: Final = re.compile(r"(?:maximum|minimum) \S+ usage per |limit to request ratio per ")
_RIGHTS: Final = re.compile(r'cannot [a-z]+ resource "|attempting to grant RBAC permissions|user .* cannot [a-z]+ path')
_ENDING: Final = re.compile(r"because it is being terminated")
_WARNING: Final = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
_LONGEST: Final = 2_000
_MOST_WARNINGS: Final = 20


def judged(failure: ApiError, message: str) -> Judgement:
    """What `failure` means; `message` has its words as they may be told."""
    message = _short(message)
    if found := _of_policy(message):
        return found
    match failure:
        case Forbidden() if _RIGHTS.search(message):
            return Judgement(Verdict.UNKNOWN, f"your rights do not suffice to ask: {message}")
        case Forbidden() if _ENDING.search(message):
            return Judgement(Verdict.REFERENCE_MISSING, f"its namespace is being deleted: {message}")
        case Forbidden():
            return Judgement(Verdict.REFUSED_POLICY, message)
        case Invalid() | BadRequest() | RequestTooLarge():
            return Judgement(Verdict.REFUSED_SCHEMA, message, path=_field(failure))
        case NotFound():
            return Judgement(Verdict.REFERENCE_MISSING, message)
        case _:
            return Judgement(Verdict.UNKNOWN, message)


def worded(message: str, otherwise: Verdict) -> Judgement:
    """What words of a server mean where nothing but them is left."""
    message = _short(message)
    return _of_policy(message) or Judgement(otherwise, message)


def warnings(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The texts of the `Warning` headers of an answer."""
    found: dict[str, None] = {}
    for name, value in headers:
        if name.lower() == "warning":
            found.update((re.sub(r"\\(.)", r"\1", text), None) for text in _WARNING.findall(value))
    return list(found)[:_MOST_WARNINGS]


def warned(text: str) -> Judgement:
    """What a warning of the server says."""
    text = _short(text)
    if found := _WARNED.search(text) or _POD_SECURITY.search(text):
        parts = found.groupdict()
        return Judgement(Verdict.WARNING, parts["words"], policy=parts["policy"], binding=parts.get("binding") or "")
    return Judgement(Verdict.WARNING, text)


def _of_policy(message: str) -> Judgement | None:
    for pattern in (_POLICY, _WEBHOOK, _POD_SECURITY):
        if found := pattern.search(message):
            parts = found.groupdict()
            words = parts["words"] or "it gives no reason"
            return Judgement(Verdict.REFUSED_POLICY, words, policy=parts["policy"], binding=parts.get("binding") or "")
    if found := _QUOTA.search(message):
        return Judgement(Verdict.QUOTA_EXCEEDED, found["words"] or message, policy=found["policy"].strip())
    if _LIMITS.search(message):
        return Judgement(Verdict.REFUSED_POLICY, message, policy="LimitRange")
    return None


def _field(failure: ApiError) -> str:
    """The field it is about, where it is just one."""
    fields = {cause.field for cause in failure.causes if cause.field}
    return fields.pop() if len(fields) == 1 else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
