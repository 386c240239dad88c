"""Callers that an issuer vouches for: a token in `Authorization: Bearer`, its signature, and what it has to claim.

Nothing of a token is believed before its signature is. Only which issuer it says it is from is read earlier, to find
among those that the owner of the Receiver named the one to ask for keys; no other is ever asked.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from yarl import URL

from trimtab.api.receiver import DEFAULT_AUDIENCE, OidcProvider
from trimtab.base.clock import Clock
from trimtab.crypto.jwt import BadKeys, BadToken, KeySet, Token
from trimtab.health.expressions import COST_LIMIT, Bindings, EvaluationError, ExpressionError
from trimtab.remotes import oidc
from trimtab.remotes.outbound import Outbound, Unanswered
from trimtab.remotes.reach import NotAllowed
from trimtab.web.delivery import Delivery, Refused, Why, unproven
from trimtab.web.filters import compiled, compiled_term
from trimtab.web.fresh import Fresh

log = logging.getLogger(__name__)

GOOGLE_KEYS: Final = URL("https://www.googleapis.com/oauth2/v3/certs")
GOOGLE: Final = ("https://accounts.google.com", "accounts.google.com")

_KEYS_FOR_S: Final = 600.0
_FAILURE_FOR_S: Final = 10.0
_NEW_KEYS_AFTER_S: Final = 30.0
"""So often an unknown key makes us look whether the issuer has new ones."""
_MOST_ISSUERS: Final = 1000
_MOST_STEPS: Final = 2 * COST_LIMIT
"""Steps of all variables and validations about one token."""
_SCHEME: Final = b"bearer "


class Identities:
    """Knows the keys of issuers. `google` is where Google publishes those that sign for its services."""

    def __init__(self, out: Outbound, clock: Clock, *, google: URL = GOOGLE_KEYS) -> None:
        self._out = out
        self._clock = clock
        self._google = google
        self._keys: Fresh[str, KeySet] = Fresh(
            clock,
            good_s=_KEYS_FOR_S,
            bad_s=_FAILURE_FOR_S,
            most=_MOST_ISSUERS,
            expected=(Unanswered, NotAllowed, BadKeys),
        )

    async def check(self, delivery: Delivery, providers: tuple[OidcProvider, ...]) -> Mapping[str, Any]:
        """What the issuer vouches for, if all of its provider's validations are true of it. Raises Refused."""
        token = _token(delivery)
        provider = next((one for one in providers if one.issuer_url == token.issuer), None)
        if provider is None:
            raise unproven("the issuer of the token is not one of spec.oidcProviders")
        await self._verify(token, provider.issuer_url, provider.audience or DEFAULT_AUDIENCE)
        validate(provider, token.claims)
        return token.claims

    async def check_google(self, delivery: Delivery, email: str, audience: str) -> Mapping[str, Any]:
        """What Google vouches for, if it is the account `email`, for `audience`. Raises Refused."""
        token = _token(delivery)
        if token.issuer not in GOOGLE:
            raise unproven("the token is not from Google")
        await self._verify(token, "", audience)
        if token.claims.get("email") != email or token.claims.get("email_verified") is not True:
            raise unproven("the token is not of the account that the Secret names")
        return token.claims

    async def _verify(self, token: Token, issuer: str, audience: str) -> None:
        try:
            keys = await self._fetch(issuer, None)
            if not keys.knows(token):
                keys = await self._fetch(issuer, _NEW_KEYS_AFTER_S)
            keys.verify(token)
            token.check(audience, self._clock.now())
        except BadToken as failure:
            raise unproven(f"the token is refused: {failure}") from failure
        except (Unanswered, NotAllowed, BadKeys) as failure:
            # Who calls is told nothing of our network. The log has the words.
            log.warning("the keys of the issuer %s cannot be had: %s", issuer or "accounts.google.com", failure)
            raise Refused(503, Why.UNAVAILABLE, "the keys of the issuer cannot be had now") from failure

    async def _fetch(self, issuer: str, within_s: float | None) -> KeySet:
        async def load() -> KeySet:
            if issuer:
                return KeySet.parse(await oidc.keys_of(self._out, issuer))
            return KeySet.parse(await oidc.fetch(self._out, self._google, own=True))

        return await self._keys.get(issuer, load, within_s=within_s)


def validate(provider: OidcProvider, claims: Mapping[str, Any]) -> None:
    """Raise Refused unless all validations of `provider` are true of `claims`, with the messages of those that are not.

    What has no answer, as where a claim is missing, is not true.
    """
    try:
        bindings = Bindings({"claims": dict(claims), "vars": {}}, budget=_MOST_STEPS)
        variables: dict[str, Any] = {}
        for variable in provider.variables:
            variables[variable.name] = compiled_term(variable.expression, ("claims", "vars")).answer(bindings)
            bindings.set("vars", variables)
    except (EvaluationError, ExpressionError, ValueError, TypeError) as failure:
        raise unproven("a variable of the Receiver has no answer for this token") from failure
    failed = []
    for validation in provider.validations:
        try:
            held = compiled(validation.expression, ("claims", "vars")).evaluate(bindings)
        except (EvaluationError, ExpressionError):
            held = False
        if not held:
            failed.append(validation.message)
    if failed or not provider.validations:
        raise unproven("; ".join(failed) or "the Receiver has no validations")


def _token(delivery: Delivery) -> Token:
    header = delivery.header("Authorization")
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise unproven("the header Authorization: Bearer is missing")
    try:
        return Token.parse(header[len(_SCHEME) :].strip())
    except BadToken as failure:
        raise unproven(f"the token is refused: {failure}") from failure
