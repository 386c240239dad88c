"""What a Kubernetes API server, or the way to it, can refuse.

ApiError                the server answered, and said no
├── BadRequest          400
├── Unauthorized        401
├── Forbidden           403
├── NotFound            404
├── Conflict            409: an old resourceVersion, a uid that moved on, or another field manager
├── AlreadyExists       409 with the reason AlreadyExists
├── Gone                410: the resourceVersion or the continue token has expired
├── RequestTooLarge     413, and the 500 in which etcd says the same
├── Invalid             422, and the 500s in which the object does not fit its schema
├── TooManyRequests     429
└── ServerError         any other 5xx, and answers that cannot be understood
Unreachable             no answer, or only a part of one
└── Silent              a stream without a byte for longer than agreed
UnknownKind             the cluster serves no such kind
StaleGroup              whether it does is not known: the server behind that group does not answer. Not an UnknownKind,
                        because what is unknown must never be taken for what is gone
ConfigError             Terminal: the kubeconfig cannot be used
CredentialError         Transient: credentials could not be obtained

Errors of the API keep the server's own words. `transient` says whether the same wish may be granted later although
nobody changes it.
"""

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec

from trimtab.base.errors import Terminal, Transient

_LONGEST_FOREIGN_WORDS = 300


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason among those of a refusal, with the field it is about."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a refusal is about."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer of an API server that is not an object (meta/v1 Status)."""

    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: StatusDetails | None = None


class ApiError(Exception):
    """The server's refusal, in the server's words; `request` says what was asked (`PATCH /api/v1/…`)."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        details: Status | None = None,
        retry_after: float | None = None,
        request: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after
        self.request = request

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What the server listed, with field names where it has them."""
        if self.details is None or self.details.details is None:
            return ()
        return self.details.details.causes or ()

    @property
    def transient(self) -> bool:
        """Whether it may heal by itself."""
        if self.status in {408, 410, 429, 502, 503, 504}:
            return True
        # A namespace on its way out refuses its contents with 403; once it is gone they are welcome again.
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)

    @property
    def terminal(self) -> bool:
        """Whether a person must change the object, the request or the rights."""
        return not self.transient

    def __str__(self) -> str:
        return self.message


class BadRequest(ApiError):
    """400."""


class Unauthorized(ApiError):
    """401: the server does not accept who we say we are."""


class Forbidden(ApiError):
    """403: who we are may not do this; also a quota, an admission policy, a namespace on its way out."""


class NotFound(ApiError):
    """404: the object, its namespace or its kind is not there."""


class Conflict(ApiError):
    """409: the object moved on since it was read, or another manager owns a field."""

    @property
    def of_managers(self) -> bool:
        """Whether other field managers own what an apply without force wanted."""
        return any(cause.reason == "FieldManagerConflict" for cause in self.causes)

    @property
    def transient(self) -> bool:
        return not self.of_managers


class AlreadyExists(ApiError):
    """409: an object of that name exists."""

    @property
    def transient(self) -> bool:
        return "object is being deleted" in self.message


class Gone(ApiError):
    """410: history has been compacted beyond what was asked for."""


class RequestTooLarge(ApiError):
    """The object is larger than the server stores, whichever status it said so with."""

    @property
    def transient(self) -> bool:
        return False


class Invalid(ApiError):
    """The object does not fit its schema or its rules, whichever status the server said so with."""

    @property
    def transient(self) -> bool:
        return False


class TooManyRequests(ApiError):
    """429."""


class ServerError(ApiError):
    """5xx: the server failed, not the request."""

    @property
    def transient(self) -> bool:
        return True


class Unreachable(Exception):
    """No answer from the server, or only a part of one. What was asked may have been done."""

    transient = True
    terminal = False

    def __init__(self, server: str, cause: str) -> None:
        super().__init__(f"{server} cannot be reached: {cause}")
        self.server = server
        self.cause = cause


class Silent(Unreachable):
    """An open stream brought nothing for longer than agreed."""


class Fenced(Unreachable):
    """The request was not sent: somebody else may be the leader by now. Nothing was done."""


class UnknownKind(Exception):
    """The cluster serves no such kind: its CRD is missing, or the name is wrong."""

    transient = False
    terminal = True


class StaleGroup(Exception):
    """The server behind an API group does not answer, so its kinds are unknown rather than missing."""

    transient = True
    terminal = False


class ConfigError(Terminal):
    """The kubeconfig is missing, broken, or asks for what is not allowed."""

    def __init__(self, message: str) -> None:
        super().__init__("KubeconfigInvalid", message)


class NoCluster(ConfigError):
    """Nobody has said which cluster is meant."""


class CredentialError(Transient):
    """A token file or a credential plugin gave nothing to show to the server."""

    def __init__(self, message: str) -> None:
        super().__init__("AuthenticationFailed", message)


NO_ANSWER = (ApiError, Unreachable, CredentialError, ConfigError)
"""Whatever a request can end with instead of an answer."""

_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: RequestTooLarge,
    422: Invalid,
    429: TooManyRequests,
}
# 500s that no retry heals: the server wraps them as internal errors (kubernetes/kubernetes #112152 for the first).
_TOO_LARGE = (
    "request is too large",
    "grpc: received message larger than max",
    "trying to send message larger than max",
)
_UNFIT = ("typed patch object", "typed live object", "field not declared in schema", "conversion webhook")
# What a server says of a JSON patch whose `test` failed, among others: nothing about which object it was.
_VAGUE = "the server rejected our request"
_decode = msgspec.json.Decoder(Status).decode


def from_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, request: str, server: str, now: datetime
) -> ApiError:
    """The error that an HTTP answer stands for, also where a proxy answered in the server's stead."""
    try:
        said = _decode(body)
    except msgspec.DecodeError:
        said = Status()
    retry_after = _retry_after(headers.get("Retry-After"), now)
    if not said.message:
        foreign = _foreign_words(body)
        message = f"{server} answered {request} with HTTP {status}" + (f": {foreign}" if foreign else "")
        return _kind(status, "", foreign)(status, "", message, retry_after=retry_after, request=request)
    if said.message.startswith(_VAGUE):
        said = msgspec.structs.replace(said, message=f"{said.message} ({request})")
    return from_status(said, status=status, retry_after=retry_after, request=request)


def from_status(said: Status, *, status: int = 0, retry_after: float | None = None, request: str = "") -> ApiError:
    """The error that a Status stands for, from an answer or from inside a watch."""
    code = status or said.code
    if retry_after is None and said.details is not None and said.details.retry_after_seconds:
        retry_after = float(said.details.retry_after_seconds)
    kind = _kind(code, said.reason, said.message)
    return kind(code, said.reason, said.message, details=said, retry_after=retry_after, request=request)


def _kind(code: int, reason: str, message: str) -> type[ApiError]:
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists
    if code == 500 and any(words in message for words in _TOO_LARGE):
        return RequestTooLarge
    if code == 500 and any(words in message for words in _UNFIT):
        return Invalid
    return _BY_STATUS.get(code, ServerError if code >= 500 else ApiError)


def _foreign_words(body: bytes) -> str:
    text = body[: 16 << 10].decode("utf-8", "replace")
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1\s*>|<[^>]*>", " ", text)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_FOREIGN_WORDS else text[:_LONGEST_FOREIGN_WORDS] + "…"


def _retry_after(value: str | None, now: datetime) -> float | None:
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    # here, because commands have to answer in less time than it takes to load
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None
