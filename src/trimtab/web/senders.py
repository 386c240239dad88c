"""The kinds of callers: how each proves itself by the Secret, what its body has to be, and how it names things. Pure.

type           proof                                                      event header     body
generic        the path alone                                             -                anything
generic-hmac   X-Signature, sha1, sha256 or sha512                        -                anything
generic-oidc   a token of an issuer (identities)                          -                anything
github         X-Hub-Signature-256; X-Hub-Signature where that is absent  X-GitHub-Event   anything
gitlab         X-Gitlab-Token                                             X-Gitlab-Event   anything
bitbucket      X-Hub-Signature, sha256                                    X-Event-Key      anything
harbor         Authorization                                              -                anything
dockerhub      the path alone                                             -                its JSON
quay           the path alone                                             -                its JSON
acr            the path alone                                             -                its JSON
gcr            a token of Google's (identities)                           -                its JSON, in Pub/Sub's
nexus          X-Nexus-Webhook-Signature, HMAC-SHA1                       -                its JSON
cdevents       the path alone                                             Ce-Type          a CDEvent
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import msgspec

from trimtab.api.receiver import Sender
from trimtab.web import payloads
from trimtab.web.delivery import Delivery, Refused, Why, unproven
from trimtab.web.signatures import check_bare_signature, check_signature, check_token

_STRONG: Final = ("sha256",)
_GITHUB_LEGACY: Final = ("sha1", "sha256")
_ANY: Final = ("sha1", "sha256", "sha512")
_MOST_IDENTIFIER: Final = 256


class Rules(NamedTuple):
    """What holds for a kind of caller. `identifiers` are headers that name a delivery, whoever it is sent by."""

    prove: Callable[[Delivery, bytes], None]
    event: str = ""
    identifiers: tuple[str, ...] = ()
    payload: type[msgspec.Struct] | None = None


def _path_alone(_delivery: Delivery, _token: bytes) -> None:
    """Who knows the path knows the token: it is a digest of it."""


def _identified(delivery: Delivery, _token: bytes) -> None:
    if delivery.claims is None:
        raise unproven("nobody vouches for the caller")


def _generic_hmac(delivery: Delivery, token: bytes) -> None:
    check_signature(delivery.header("X-Signature"), delivery.body, token, _ANY)


def _github(delivery: Delivery, token: bytes) -> None:
    strong, legacy = delivery.header("X-Hub-Signature-256"), delivery.header("X-Hub-Signature")
    # A weak signature does not save a call whose strong one is wrong.
    if strong or not legacy:
        check_signature(strong, delivery.body, token, _STRONG)
    else:
        check_signature(legacy, delivery.body, token, _GITHUB_LEGACY)


def _gitlab(delivery: Delivery, token: bytes) -> None:
    check_token(delivery.header("X-Gitlab-Token"), token)


def _bitbucket(delivery: Delivery, token: bytes) -> None:
    check_signature(delivery.header("X-Hub-Signature"), delivery.body, token, _STRONG)


def _harbor(delivery: Delivery, token: bytes) -> None:
    check_token(delivery.header("Authorization"), token)


def _nexus(delivery: Delivery, token: bytes) -> None:
    check_bare_signature(delivery.header("X-Nexus-Webhook-Signature"), delivery.body, token)


RULES: Final[Mapping[str, Rules]] = {
    Sender.GENERIC: Rules(_path_alone),
    Sender.GENERIC_HMAC: Rules(_generic_hmac),
    Sender.GENERIC_OIDC: Rules(_identified),
    Sender.GITHUB: Rules(_github, "X-GitHub-Event", ("X-GitHub-Delivery",)),
    Sender.GITLAB: Rules(_gitlab, "X-Gitlab-Event", ("Idempotency-Key", "X-Gitlab-Event-UUID")),
    Sender.BITBUCKET: Rules(_bitbucket, "X-Event-Key", ("X-Request-Id", "X-Request-UUID")),
    Sender.HARBOR: Rules(_harbor),
    Sender.DOCKERHUB: Rules(_path_alone, payload=payloads.DockerHub),
    Sender.QUAY: Rules(_path_alone, payload=payloads.Quay),
    Sender.ACR: Rules(_path_alone, payload=payloads.Acr),
    Sender.GCR: Rules(_identified, payload=payloads.PubSub),
    Sender.NEXUS: Rules(_nexus, identifiers=("X-Nexus-Webhook-Delivery",), payload=payloads.Nexus),
    Sender.CDEVENTS: Rules(_path_alone, "Ce-Type", ("Ce-Id",), payloads.CdEvent),
}
"""By `spec.type`. Whom an issuer vouches for has shown its token before, and the delivery has the claims."""


def check(sender: str, events: Collection[str], delivery: Delivery, token: bytes) -> str:
    """Raise Refused unless the call is proven, wanted and readable, in this order; the name of the delivery, if any."""
    rules = RULES[sender]
    rules.prove(delivery, token)
    if events and rules.event:
        event = delivery.word(rules.event)
        if event.casefold() not in {wanted.casefold() for wanted in events}:
            raise Refused(400, Why.EVENT, f"the event {event[:100]!a} is not in spec.events")
    if rules.payload is not None:
        payloads.check(delivery.body, rules.payload)
    return next((found[:_MOST_IDENTIFIER] for name in rules.identifiers if (found := delivery.word(name))), "")
