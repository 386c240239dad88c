"""The story of one delivery: who is meant, may they call that often, is it they, and who is asked for a look then.

In this order, so that who does not know a path costs a look-up, who does not know a token costs one HMAC, and nothing
is parsed before it is proven. Neither paths nor tokens nor bodies are ever logged.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from trimtab.api.receiver import Receiver, Sender
from trimtab.base.clock import Clock
from trimtab.web import payloads, senders
from trimtab.web.delivery import Delivery, Refused, Why
from trimtab.web.filters import MOST_BODY, Filter, filtered
from trimtab.web.hints import Hints
from trimtab.web.hooks import Hook, Hooks
from trimtab.web.identities import Identities
from trimtab.web.pace import Buckets, Seen
from trimtab.web.targets import Targets

log = logging.getLogger(__name__)

BURST: Final = 100
PER_S: Final = 50.0
"""Calls that one path may have at once, and more of them each second."""
MOST_AT_ONCE: Final = 32
"""Calls whose bodies are in memory at the same time, of all paths; and of one path half of them."""
READ_S: Final = 30.0
_REPLAY_S: Final = 60.0
_TOLD_S: Final = 10.0
_MOST_REMEMBERED: Final = 10_000

Read = Callable[[], Awaitable[bytes]]
"""Reads the body. Raises Refused where it is too large or breaks off."""


class Reception:
    """Takes deliveries for all Receivers of the cluster."""

    def __init__(self, hooks: Hooks, targets: Targets, hints: Hints, identities: Identities, clock: Clock) -> None:
        self._hooks = hooks
        self._targets = targets
        self._hints = hints
        self._identities = identities
        self._clock = clock
        self._buckets: Buckets[str] = Buckets(burst=BURST, per_s=PER_S, most=_MOST_REMEMBERED)
        self._seen: Seen[tuple[str, str]] = Seen(for_s=_REPLAY_S, most=_MOST_REMEMBERED)
        self._told: Seen[tuple[str, Why]] = Seen(for_s=_TOLD_S, most=_MOST_REMEMBERED)
        self._inside: dict[str, int] = {}

    async def take(self, path: str, headers: tuple[tuple[bytes, bytes], ...], read: Read) -> str:
        """Have looked at what the owner of the path wants looked at; what is told to the caller. Raises Refused."""
        # By the path and not by a Receiver: whoever writes a status could claim the path and be counted for it.
        claimants = self._hooks.claimants(path)
        # Where an issuer vouches for callers, the path is no secret: strangers must not use up what friends may have,
        # nor send bodies.
        public = any(receiver.spec.type == Sender.GENERIC_OIDC for receiver in claimants)
        if not public:
            self._admit(path)
        with self._place(path):
            hook, early = await self._meant(await self._hooks.open(path), Delivery(headers, b""))
            try:
                if public:
                    self._admit(path)
                return await self._judge(hook, dataclasses.replace(early, body=await _in_time(read)))
            except Refused as refusal:
                self._tell(hook.receiver, refusal)
                raise

    def _admit(self, path: str) -> None:
        if not self._buckets.take(path, self._clock.monotonic()):
            raise Refused(429, Why.RATE, "too many calls; what they are about is looked at anyway")

    def _tell(self, receiver: Receiver, refusal: Refused) -> None:
        """For whoever wonders why nothing happens; a flood of calls is no flood of lines."""
        now, said = self._clock.monotonic(), (receiver.metadata.uid, refusal.why)
        if not self._told.knows(said, now):
            self._told.remember(said, now)
            log.warning("Receiver %s refuses a delivery: %s", receiver.key, refusal)

    async def _judge(self, hook: Hook, delivery: Delivery) -> str:
        receiver = hook.receiver
        spec = receiver.spec
        identifier = senders.check(spec.type, spec.events, delivery, hook.token)
        replay = (receiver.metadata.uid, identifier)
        if identifier and self._seen.knows(replay, self._clock.monotonic()):
            return "this delivery was taken before"
        found = _filter(receiver, delivery) if filtered(spec) else None
        targets, troubles = await self._targets.of(receiver, found)
        taken = [self._hints.give(target) for target in targets]
        if troubles:
            words = "not all of the resources could be asked for a look"
            raise Refused(500, Why.RESOURCES, words, detail=f"{words}: {'; '.join(troubles)}")
        if not all(taken):
            raise Refused(503, Why.BUSY, "too many objects wait to be looked at")
        if identifier:
            self._seen.remember(replay, self._clock.monotonic())
        log.debug("Receiver %s: a delivery about %d objects", receiver.key, len(targets))
        return "taken"

    async def _meant(self, hooks: list[Hook], delivery: Delivery) -> tuple[Hook, Delivery]:
        """The first of `hooks` that the caller may call, and who that is. Raises the refusal of the first otherwise."""
        refusals: list[Refused] = []
        for hook in hooks:
            try:
                _check_open(hook.receiver)
                return hook, await self._identified(hook, delivery)
            except Refused as refusal:
                refusals.append(refusal)
        for hook, why in zip(hooks, refusals, strict=True):
            self._tell(hook.receiver, why)
        raise refusals[0]

    async def _identified(self, hook: Hook, delivery: Delivery) -> Delivery:
        claims: Mapping[str, Any]
        match hook.receiver.spec.type:
            case Sender.GENERIC_OIDC:
                claims = await self._identities.check(delivery, hook.receiver.spec.oidc_providers)
            case Sender.GCR:
                email, audience = hook.text("email"), hook.text("audience")
                if not email or not audience:
                    raise Refused(503, Why.UNAVAILABLE, "the Secret of the Receiver has no email or no audience")
                claims = await self._identities.check_google(delivery, email, audience)
            case _:
                return delivery
        return dataclasses.replace(delivery, claims=claims)

    @contextmanager
    def _place(self, path: str) -> Iterator[None]:
        """A place among the calls whose bodies are in memory. Raises Refused if there is none."""
        mine = self._inside.get(path, 0)
        if mine >= MOST_AT_ONCE // 2:
            raise Refused(429, Why.RATE, "too many calls at once")
        if sum(self._inside.values()) >= MOST_AT_ONCE:
            raise Refused(503, Why.BUSY, "too many calls at once")
        self._inside[path] = mine + 1
        try:
            yield
        finally:
            self._inside[path] -= 1
            if not self._inside[path]:
                del self._inside[path]


def _check_open(receiver: Receiver) -> None:
    if receiver.spec.suspend:
        raise Refused(503, Why.UNAVAILABLE, "the Receiver is suspended")
    if receiver.ready is None or not receiver.ready.true:
        raise Refused(503, Why.UNAVAILABLE, "the Receiver is not ready")
    if receiver.spec.type not in senders.RULES:
        raise Refused(503, Why.UNAVAILABLE, "the Receiver is of a type that is not known here")


def _filter(receiver: Receiver, delivery: Delivery) -> Filter:
    if len(delivery.body) > MOST_BODY:
        words = f"the body has more than {MOST_BODY} bytes, too many to be asked about by the Receiver's expressions"
        raise Refused(413, Why.SIZE, words)
    return Filter(receiver.spec, _request(receiver, delivery), delivery.claims)


def _request(receiver: Receiver, delivery: Delivery) -> dict[str, Any]:
    """What `req` is in expressions."""
    if receiver.spec.type == Sender.GCR:
        return payloads.unwrapped(delivery.body)
    return payloads.request(delivery)


async def _in_time(read: Read) -> bytes:
    try:
        async with asyncio.timeout(READ_S):
            return await read()
    except TimeoutError:
        raise Refused(408, Why.SLOW, f"the body did not come within {READ_S:g} s") from None
