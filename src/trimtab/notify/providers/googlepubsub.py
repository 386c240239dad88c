"""The type `googlepubsub`: the event in Flux's JSON, published to a topic, by the key of a service account.

The address is the id of the project, as in Flux, or `https://host/v1/projects/<id>` for the endpoint of a region, or
`http://host/v1/projects/<id>` for the emulator, which is told without credentials. The identity of the machine is never
used, and no other kind of credentials: some kinds name addresses, or programs to run.
"""

import base64
import re
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from trimtab.notify import event as events
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Misconfigured, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import post

_SERVER: Final = "https://pubsub.googleapis.com"
_AUDIENCE: Final = "https://pubsub.googleapis.com/"
"""A statement for this audience is a token for Pub/Sub and for nothing else, without being exchanged for one."""
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{1,127}")
_TOPIC: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9._+-]{1,128}@[A-Za-z0-9.-]{1,253}")
_KEY_ID: Final = re.compile(r"[\x21-\x7e]{0,128}")
_LASTS_S: Final = 600
_SMALLEST_KEY_BITS: Final = 2048
_LARGEST_KEY_BITS: Final = 4096
_MOST_KEY: Final = 4096
"""Bytes of a private key in PEM: one of 4096 bits has 3300."""
_WRONG: Final = "the address of a Provider of type googlepubsub is the id of a project: set spec.address to it"
_KEY_WRONG: Final = (
    "`token` in the Secret of spec.secretRef has to be the key of a service account, in JSON as Google gives it"
)


class Topic(NamedTuple):
    """Where the events go. The emulator is without TLS."""

    url: str
    secure: bool


class Account(NamedTuple):
    """Who publishes."""

    email: str
    key_id: str
    key: rsa.RSAPrivateKey


def compose(notice: Notice, settings: Settings) -> Request:
    """One message; the headers of the Secret are its attributes, as in Flux, and the key is one more."""
    topic = topic_of(settings)
    if topic.secure:
        account_of(settings)
    elif settings.token:
        raise Misconfigured("the key of a service account is not used without TLS: the emulator wants none")
    data = events.encode(events.told(notice.event, notice.text, notice.fields, notice.summary))
    attributes = {**settings.headers, "idempotencyKey": notice.key}
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes}
    return post(notice, f"{topic.url}:publish", {"messages": [message]})


def sign(request: Request, settings: Settings, now: datetime) -> Request:
    """With a statement of who we are, for ten minutes: the key itself is not sent."""
    if not topic_of(settings).secure:
        return request
    account, issued = account_of(settings), int(now.timestamp())
    head = {"alg": "RS256", "typ": "JWT"} | ({"kid": account.key_id} if account.key_id else {})
    claims = {
        "iss": account.email,
        "sub": account.email,
        "aud": _AUDIENCE,
        "iat": issued,
        "exp": issued + _LASTS_S,
    }
    signed = f"{_encoded(msgspec.json.encode(head))}.{_encoded(msgspec.json.encode(claims))}"
    signature = _encoded(account.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))
    return replace(request, headers={**request.headers, "Authorization": f"Bearer {signed}.{signature}"})


def judge(answer: Answer) -> Outcome:
    """By its status, with its words."""
    error = answers.fields(answer).get("error")
    return answers.worded(answers.patient(answer, None), error.get("message") if isinstance(error, dict) else None)


def topic_of(settings: Settings) -> Topic:
    """The topic that the Provider names. Raises Misconfigured."""
    name = settings.needed("channel", "set spec.channel to the id of the topic")
    address = settings.needed("address", _WRONG)
    server, project, secure = _SERVER, address, True
    if "/" in address:
        try:
            parts = urlsplit(address)
        except ValueError:
            raise Misconfigured(_WRONG) from None
        beginning, _, project = parts.path.rstrip("/").rpartition("/")
        if parts.scheme not in ("http", "https") or beginning != "/v1/projects" or parts.query or parts.username:
            raise Misconfigured(_WRONG)
        server, secure = f"{parts.scheme}://{parts.netloc}", parts.scheme == "https"
    if not _PROJECT.fullmatch(project) or not _TOPIC.fullmatch(name):
        raise Misconfigured(f"{_WRONG}, and spec.channel to the id of a topic")
    return Topic(f"{server}/v1/projects/{quote(project, safe=':')}/topics/{quote(name, safe='')}", secure)


def account_of(settings: Settings) -> Account:
    """The service account of the Secret. Raises Misconfigured, never with a part of the key."""
    try:
        said = msgspec.json.decode(settings.needed("token", _KEY_WRONG), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise Misconfigured(_KEY_WRONG) from None
    email, key_id, pem = (said.get(name, "") for name in ("client_email", "private_key_id", "private_key"))
    if said.get("type") != "service_account":
        raise Misconfigured(f"{_KEY_WRONG}: its type is not service_account, the only kind that is served")
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise Misconfigured(f"{_KEY_WRONG}: client_email is missing, or is not one")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise Misconfigured(f"{_KEY_WRONG}: private_key_id is not one")
    return Account(email, key_id, _key(pem if isinstance(pem, str) else ""))


# Reading a key takes 30 ms and more, for it is checked; the Secret is read for every notice.
@lru_cache(maxsize=64)
def _key(pem: str) -> rsa.RSAPrivateKey:
    # Before it is read: the check of a key of 16384 bits takes ten seconds, in which nothing else is done.
    try:
        if len(pem) > _MOST_KEY:
            raise ValueError
        key = load_pem_private_key(pem.strip().encode() + b"\n", password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Not what the library says of it, and not chained: nothing of a key belongs into a message.
        raise Misconfigured(f"{_KEY_WRONG}: private_key is not a private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey) or not _SMALLEST_KEY_BITS <= key.key_size <= _LARGEST_KEY_BITS:
        raise Misconfigured(f"{_KEY_WRONG}: private_key is not an RSA key of 2048 to 4096 bits")
    return key


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
