"""What a body has to be read as, for the callers whose body is all there is to check. Pure.

Only what the caller's documentation promises is asked for, and fields that are not there are no error, as in Flux.
"""

import base64
import binascii
import re
from typing import Annotated, Any, Final

import msgspec

from trimtab.web.delivery import Delivery, unreadable

_JSON: Final = re.compile(rb"application/(?:json|[\w.!#$&^-]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class _Pushed(msgspec.Struct):
    tag: str = ""


class _HubRepository(msgspec.Struct):
    repo_url: str = ""


class DockerHub(msgspec.Struct):
    """A push to Docker Hub."""

    push_data: _Pushed | None = None
    repository: _HubRepository | None = None


class Quay(msgspec.Struct):
    """A push to Quay."""

    docker_url: str = ""
    updated_tags: list[str] | None = None


class _AzureTarget(msgspec.Struct):
    repository: str = ""
    tag: str = ""


class Acr(msgspec.Struct):
    """An event of an Azure container registry."""

    action: str = ""
    target: _AzureTarget | None = None


class Nexus(msgspec.Struct, rename="camel"):
    """An event of a Nexus repository."""

    action: str = ""
    repository_name: str = ""


class _Message(msgspec.Struct, rename="camel"):
    data: str = ""
    message_id: str = ""


class PubSub(msgspec.Struct):
    """A message that Google Pub/Sub pushes."""

    message: _Message


class Gcr(msgspec.Struct):
    """An event of a Google container registry, which is inside such a message."""

    action: str = ""
    digest: str = ""
    tag: str = ""


_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Context(msgspec.Struct):
    id: _Text
    source: _Text
    type: Annotated[str, msgspec.Meta(pattern=r"^dev\.cdevents\.[a-z]+\.[a-z]+\.\d+\.\d+\.\d+")]
    timestamp: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d")]
    version: str = ""
    specversion: str = ""

    def __post_init__(self) -> None:
        # The version of the specification has another name since its version 0.5.
        if not re.match(r"\d+\.\d+\.\d+", self.version or self.specversion):
            raise ValueError("the version of the specification is missing")


class _Subject(msgspec.Struct):
    id: _Text
    content: dict[str, Any]


class CdEvent(msgspec.Struct):
    """A CDEvent: its envelope, as all versions have it. The content is not judged by the schema of each type."""

    context: _Context
    subject: _Subject


def check(body: bytes, shape: type[msgspec.Struct]) -> None:
    """Raise Refused unless `body` can be read as `shape`."""
    read(body, shape, "the body")


def read(text: bytes, shape: Any, what: str) -> Any:
    """`text` as `shape`. Raises Refused that says where it is something else, and not what is there."""
    try:
        return msgspec.json.decode(text, type=shape)
    except msgspec.ValidationError as failure:
        raise unreadable(f"{what} is not what this kind of caller sends: {failure}") from failure
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
        raise unreadable(f"{what} is not JSON") from failure


def request(delivery: Delivery) -> dict[str, Any]:
    """The body for the expressions of filters: an object, empty where the body is not said to be JSON."""
    if not _JSON.fullmatch(delivery.header("Content-Type")):
        return {}
    found: dict[str, Any] = read(delivery.body, dict[str, Any], "the body")
    return found


def unwrapped(body: bytes) -> dict[str, Any]:
    """The event of the registry inside a message of Pub/Sub. Raises Refused."""
    message: PubSub = read(body, PubSub, "the body")
    try:
        inner = base64.b64decode(message.message.data.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as failure:
        raise unreadable("the data of the message are not base64") from failure
    event: dict[str, Any] = msgspec.to_builtins(read(inner, Gcr, "the data of the message"))
    return event
