"""Callers that an issuer vouches for. The issuer is a double; keys, tokens and signatures are real."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from tests.remotes.scripted import Answer
from tests.runtime.clocks import ManualClock
from tests.web.deliveries import delivery
from tests.web.issuer import ISSUER, Issuer, Key, b64
from trimtab.api.receiver import OidcProvider, OidcValidation, OidcVariable
from trimtab.crypto.jwt import BadKeys, BadToken, KeySet, Token
from trimtab.remotes.oidc import is_issuer
from trimtab.remotes.outbound import Outbound
from trimtab.web.delivery import Refused, Why
from trimtab.web.identities import GOOGLE, Identities

RSA, EC = Key("RS256", "rsa"), Key("ES256", "ec")
GOOGLE_AT = "https://9.9.9.8/certs"


class Ground:
    """Identities that ask an issuer of ours, by a clock of ours."""

    def __init__(self, *keys: Key, deny_private: bool = False, **issuer: Any) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(*(keys or (RSA, EC)), **issuer)
        out = Outbound(self.issuer, self.clock, deny_private=deny_private)
        self.identities = Identities(out, self.clock, google=URL(GOOGLE_AT))

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = self.clock.now().timestamp()
        claims = {
            "iss": ISSUER,
            "aud": "notification-controller",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "repository": "team/shop",
            "repository_owner": "team",
            "ref": "refs/heads/main",
        }
        return {name: value for name, value in (claims | changed).items() if value is not None}

    async def check(self, token: str | bytes, provider: OidcProvider | None = None, scheme: str = "Bearer") -> Any:
        bearer = f"{scheme} ".encode() + (token.encode() if isinstance(token, str) else token)
        return await self.identities.check(delivery(headers={"Authorization": bearer}), (provider or provided(),))

    async def refused(self, token: str | bytes, provider: OidcProvider | None = None) -> str:
        with pytest.raises(Refused) as refusal:
            await self.check(token, provider)
        assert (refusal.value.status, refusal.value.why) == (401, Why.UNPROVEN), refusal.value.words
        return refusal.value.words


def provided(*expressions: str, audience: str = "", variables: dict[str, str] | None = None) -> OidcProvider:
    return OidcProvider(
        issuer_url=ISSUER,
        audience=audience,
        variables=tuple(OidcVariable(name=name, expression=text) for name, text in (variables or {}).items()),
        validations=tuple(
            OidcValidation(expression=text, message=f"it is not so: {text}")
            for text in expressions or ("claims.repository_owner == 'team'",)
        ),
    )


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
async def test_a_token_of_the_issuer_with_the_right_claims_is_taken(key: Key) -> None:
    ground = Ground()
    claims = await ground.check(key.token(ground.claims()))
    assert claims["repository"] == "team/shop"
    assert await ground.check(key.token(ground.claims()), scheme="bEARER") == claims
    assert await ground.check(key.token(ground.claims(aud=["x", "notification-controller"])))
    assert len(ground.issuer.asked) == 2, "the keys are fetched once"


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"aud": []},
        {"aud": {"notification-controller": 1}},
        {"exp": None},
        {"exp": 0},
        {"exp": "tomorrow"},
        {"exp": True},
        {"nbf": 4e9},
        {"iat": 4e9},
        {"repository_owner": "others"},
        {"repository_owner": None},
        {"repository_owner": ["team"]},
        {"iss": "https://elsewhere.example"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"iss": [ISSUER]},
    ],
    ids=repr,
)
async def test_a_token_for_another_purpose_is_not(changed: dict[str, Any]) -> None:
    ground = Ground()
    await ground.refused(RSA.token(ground.claims(**changed)))


async def test_clocks_may_differ_by_a_minute_and_no_more() -> None:
    ground = Ground()
    now = ground.clock.now().timestamp()
    for good in ({"exp": now - 50}, {"nbf": now + 50, "iat": now + 50}):
        assert await ground.check(RSA.token(ground.claims(**good)))
    for bad in ({"exp": now - 70}, {"nbf": now + 70}, {"iat": now + 300}):
        await ground.refused(RSA.token(ground.claims(**bad)))


async def test_who_signs_with_another_key_or_with_none_is_not_let_in() -> None:
    ground = Ground()
    claims = ground.claims()
    good = RSA.token(claims)
    head, payload, signature = good.split(".")
    forged = b64(json.dumps(claims | {"repository_owner": "team", "sub": "me"}).encode())
    none = b64(json.dumps({"alg": "none"}).encode())
    # The oldest trick: the public key as the secret of an HMAC.
    hmac_head = b64(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    for token in (
        Key("RS256", "rsa").token(claims),
        Key("ES256", "ec").token(claims),
        Key("RS256", "unknown").token(claims),
        f"{head}.{forged}.{signature}",
        f"{head}.{payload}.{b64(b'0' * 256)}",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{hmac_head}.{payload}.{b64(b'0' * 32)}",
        RSA.token(claims, alg="ES256"),
        RSA.token(claims, alg="PS256"),
        RSA.token(claims, alg="RS512"),
        EC.token(claims, alg="RS256"),
        RSA.token(claims, kid="ec"),
        RSA.token(claims, crit=["exp"]),
        good + ".",
        good[:-5],
        good.replace(".", "", 1),
        good + "=",
        "a" * 20_000,
        "",
        "..",
        "%%%.%%%.%%%",
        b"\xff\xfe\x80.a.b",
    ):
        await ground.refused(token)
    with pytest.raises(Refused) as refusal:
        await ground.identities.check(delivery(), (provided(),))
    assert refusal.value.status == 401


async def test_an_issuer_that_nobody_named_is_never_asked() -> None:
    ground = Ground()
    await ground.refused(RSA.token(ground.claims(iss="https://169.254.169.254/latest")))
    await ground.refused(RSA.token(ground.claims(iss="https://9.9.9.7")))
    assert ground.issuer.asked == []


async def test_a_new_key_of_the_issuer_is_found_and_unknown_ones_do_not_make_us_ask_for_ever() -> None:
    ground = Ground(RSA)
    await ground.check(RSA.token(ground.claims()))
    new = Key("RS256", "new")
    ground.issuer.keys.append(new)
    await ground.refused(new.token(ground.claims()))
    await ground.clock.advance(31)
    assert await ground.check(new.token(ground.claims()))
    asked = len(ground.issuer.asked)
    for number in range(100):
        await ground.refused(Key("ES256", f"odd-{number}").token(ground.claims()))
    assert len(ground.issuer.asked) == asked


async def test_a_key_that_was_taken_back_is_not_believed_for_long() -> None:
    ground = Ground(RSA, EC)
    assert await ground.check(RSA.token(ground.claims()))
    ground.issuer.keys.remove(RSA)
    await ground.clock.advance(601)
    await ground.refused(RSA.token(ground.claims()))


async def test_while_the_keys_cannot_be_had_nobody_is_let_in_and_the_issuer_is_left_in_peace() -> None:
    ground = Ground()
    ground.issuer.down = True
    for _ in range(20):
        with pytest.raises(Refused) as refusal:
            await ground.check(RSA.token(ground.claims()))
        assert refusal.value.status == 503
        assert "9.9.9.9" not in refusal.value.words, "callers are told nothing of our network"
    assert len(ground.issuer.asked) == 1
    ground.issuer.down = False
    await ground.clock.advance(11)
    assert await ground.check(RSA.token(ground.claims()))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(302, {"Location": f"{ISSUER}/elsewhere"}),
        Answer(body=b"<html>"),
        Answer(body=b"[" * 100_000),
        Answer(body=b'{"issuer": 1}'),
        Answer(body=json.dumps({"issuer": "https://other.example", "jwks_uri": f"{ISSUER}/keys"}).encode()),
        Answer(body=json.dumps({"issuer": ISSUER, "jwks_uri": "http://9.9.9.9/team/keys"}).encode()),
        Answer(body=json.dumps({"issuer": ISSUER, "jwks_uri": "https://u:p@9.9.9.9/keys"}).encode()),
        Answer(body=json.dumps({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}).encode()),
        Answer(endless=True),
    ],
    ids=range(10),
)
async def test_an_issuer_that_answers_nonsense_vouches_for_nobody(answer: Answer) -> None:
    ground = Ground()
    ground.issuer.answers[f"{ISSUER}/.well-known/openid-configuration"] = answer
    with pytest.raises(Refused) as refusal:
        await ground.check(RSA.token(ground.claims()))
    assert refusal.value.status == 503
    assert len(ground.issuer.asked) == 1


@pytest.mark.parametrize("keys_at", ["https://127.0.0.1/keys", "https://10.0.0.1/keys", "https://169.254.169.254/keys"])
async def test_keys_are_not_fetched_from_private_places_that_the_issuer_names(keys_at: str) -> None:
    ground = Ground(keys_at=keys_at)
    with pytest.raises(Refused):
        await ground.check(RSA.token(ground.claims()))
    assert keys_at not in ground.issuer.asked


async def test_keys_at_another_public_place_are_fetched() -> None:
    ground = Ground(keys_at="https://9.9.9.7/oauth2/v3/certs")
    assert await ground.check(RSA.token(ground.claims()))


# Claims


async def test_variables_build_on_each_other_and_all_validations_have_to_be_true() -> None:
    ground = Ground()
    token = RSA.token(ground.claims())
    variables = {"owner": "claims.repository_owner", "allowed": "[vars.owner + '/shop', vars.owner + '/docs']"}
    good = provided("claims.repository in vars.allowed", "claims.ref == 'refs/heads/main'", variables=variables)
    assert await ground.check(token, good)
    bad = provided("claims.repository in vars.allowed", "claims.ref == 'x'", "claims.gone == 1", variables=variables)
    words = await ground.refused(token, bad)
    assert "it is not so: claims.ref == 'x'" in words
    assert "it is not so: claims.gone == 1" in words
    assert "vars.allowed" not in words


@pytest.mark.parametrize(
    ("expression", "variables"),
    [
        ("claims.repository", {}),
        ("'yes'", {}),
        ("1", {}),
        ("nonsense(", {}),
        ("true", {"a": "claims.gone"}),
        ("true", {"a": "vars.later", "later": "1"}),
        ("true", {"a": "nonsense("}),
    ],
)
async def test_what_has_no_answer_lets_nobody_in(expression: str, variables: dict[str, str]) -> None:
    ground = Ground()
    await ground.refused(RSA.token(ground.claims()), provided(expression, variables=variables))


async def test_without_validations_nobody_is_let_in() -> None:
    ground = Ground()
    await ground.refused(RSA.token(ground.claims()), OidcProvider(issuer_url=ISSUER, validations=()))


# Google


async def google(ground: Ground, token: str, email: str = "bot@team.example", audience: str = "hook") -> Any:
    return await ground.identities.check_google(delivery(headers={"Authorization": f"Bearer {token}"}), email, audience)


def google_ground() -> Ground:
    ground = Ground()
    ground.issuer.answers[GOOGLE_AT] = Answer(body=json.dumps({"keys": [RSA.jwk()]}).encode())
    return ground


@pytest.mark.parametrize("issuer", GOOGLE)
async def test_the_account_that_the_secret_names_is_let_in(issuer: str) -> None:
    ground = google_ground()
    right = {"iss": issuer, "aud": "hook", "email": "bot@team.example", "email_verified": True}
    assert await google(ground, RSA.token(ground.claims(**right)))


@pytest.mark.parametrize(
    "changed",
    [
        {"email": "other@team.example"},
        {"email": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"aud": "other"},
        {"iss": ISSUER},
        {"iss": "https://accounts.google.com.evil.example"},
        {"exp": 0},
    ],
    ids=repr,
)
async def test_every_other_account_is_not(changed: dict[str, Any]) -> None:
    ground = google_ground()
    claims = {"iss": GOOGLE[0], "aud": "hook", "email": "bot@team.example", "email_verified": True} | changed
    with pytest.raises(Refused) as refusal:
        await google(ground, RSA.token(ground.claims(**claims)))
    assert refusal.value.status == 401


# Keys and tokens by themselves


def test_weak_and_odd_keys_are_left_out_and_do_not_spoil_the_others() -> None:
    odd = [
        {},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "ec"},
        Key("RS256", "weak", bits=1024).jwk(),
        RSA.jwk() | {"use": "enc", "kid": "enc"},
        RSA.jwk() | {"alg": "RS512", "kid": "other"},
        RSA.jwk() | {"n": "!", "kid": "bad"},
        EC.jwk() | {"crv": "P-384", "kid": "crv"},
        EC.jwk() | {"x": EC.jwk()["y"], "kid": "off"},
        RSA.jwk() | {"e": "AA", "kid": "zero"},
        7,
    ]
    assert [key.id for key in KeySet.parse(json.dumps({"keys": [*odd, EC.jwk()]}).encode()).keys] == ["ec"]
    for document in ({"keys": odd}, {"keys": []}, {"keys": [EC.jwk()] * 101}, {}, []):
        with pytest.raises(BadKeys):
            KeySet.parse(json.dumps(document).encode())


def test_a_token_without_the_name_of_its_key_is_tried_with_all_that_fit() -> None:
    keys = KeySet.parse(json.dumps({"keys": [Key("RS256", "a").jwk(), RSA.jwk()]}).encode())
    keys.verify(Token.parse(RSA.token({}, kid="").encode()))


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="abcXYZ019-_.=", max_size=300).map(str.encode)))
def test_no_input_is_an_accident(text: bytes) -> None:
    try:
        Token.parse(text).check("x", ManualClock().now())
    except BadToken:
        return
    raise AssertionError("an arbitrary text was a token")


def test_a_token_is_checked_against_a_few_keys_of_its_issuer_and_none_that_makes_it_slow() -> None:
    jwk = {name: value for name, value in RSA.jwk().items() if name != "kid"}
    decoy = {name: value for name, value in Key("RS256").jwk().items() if name != "kid"}
    claims = {"iss": ISSUER}
    for header in ({"kid": ""}, {"kid": "same"}):
        token = Token.parse(RSA.token(claims, **header).encode())
        others, own = decoy | header, jwk | header
        KeySet.parse(json.dumps({"keys": [others] * 7 + [own]}).encode()).verify(token)
        with pytest.raises(BadToken, match="not signed"):
            KeySet.parse(json.dumps({"keys": [others] * 8 + [own]}).encode()).verify(token)
    slow = jwk | {"e": b64(((1 << 33) + 1).to_bytes(5))}
    with pytest.raises(BadKeys):
        KeySet.parse(json.dumps({"keys": [slow]}).encode())


CLAIMS = st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "kid", "alg"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(CLAIMS, st.recursive(ATOMS, lambda value: st.lists(value, max_size=3), max_leaves=4)))
def test_claims_of_any_type_are_no_accident_either(claims: dict[str, Any]) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "RS256"}).encode()).rstrip(b"=")
    try:
        token = Token.parse(head + b"." + payload + b".AAAA")
        assert isinstance(token.issuer, str)
        token.check("x", ManualClock().now())
    except BadToken:
        return


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://token.actions.githubusercontent.com", True),
        ("https://gitlab.example:8443/oidc/", True),
        ("http://issuer.example", False),
        ("https://u:p@issuer.example", False),
        ("https://issuer.example?x=1", False),
        ("https://issuer.example#x", False),
        ("https://", False),
        ("https://[::1", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_an_issuer_is_an_address_by_https_and_nothing_else(text: str, good: bool) -> None:
    assert is_issuer(text) is good
