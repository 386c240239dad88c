"""Signatures that say when they were made, checked as the other side checks them."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from tests.notify.providers.notices import ACCOUNT_KEY, NOTICES, SERVICE_ACCOUNT, SETTINGS, composed
from trimtab.notify.provider import Composed, Misconfigured, Request, Settings
from trimtab.notify.providers.table import TABLE

NOW = datetime(2026, 11, 26, 20, 15, 30, tzinfo=UTC)


def signed(name: str, settings: Settings | None = None) -> Request:
    settings = settings or SETTINGS[name]
    provider = TABLE[name]
    assert isinstance(provider, Composed)
    (request,) = composed(name, NOTICES["opened"], settings)
    return provider.sign(request, settings, NOW)


def _part(text: str) -> dict[str, object]:
    found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(found, dict)
    return found


def test_lark_gets_a_signature_over_the_time_where_there_is_a_token() -> None:
    assert "sign" not in json.loads(signed("lark").body)
    body = json.loads(signed("lark", replace(SETTINGS["lark"], token="k3y")).body)
    moment = str(int(NOW.timestamp()))
    assert body["timestamp"] == moment
    expected = hmac.new(f"{moment}\nk3y".encode(), digestmod=hashlib.sha256).digest()
    assert base64.b64decode(body["sign"]) == expected
    assert body["msg_type"] == "interactive"


def test_an_event_hub_gets_a_signature_for_itself_alone_and_for_minutes() -> None:
    request = signed("azureeventhub")
    assert request.url == "https://ns.servicebus.example/events/messages?api-version=2014-01"
    scheme, _, said = request.headers["Authorization"].partition(" ")
    assert scheme == "SharedAccessSignature"
    parts = {name: values[0] for name, values in parse_qs(said).items()}
    resource = said.partition("sr=")[2].partition("&")[0]
    assert unquote(resource) == "https://ns.servicebus.example/events"
    assert parts["skn"] == "send"
    assert int(parts["se"]) == int(NOW.timestamp()) + 300
    digest = hmac.new(b"aGstc2VjcmV0=", f"{resource}\n{parts['se']}".encode(), hashlib.sha256).digest()
    assert base64.b64decode(parts["sig"]) == digest
    assert "aGstc2VjcmV0" not in repr(request.headers)


def test_an_event_hub_takes_a_token_in_place_of_a_key() -> None:
    settings = replace(SETTINGS["azureeventhub"], address="events", channel="acme", token="jwt")
    request = signed("azureeventhub", settings)
    assert request.url == "https://acme.servicebus.windows.net/events/messages?api-version=2014-01"
    assert request.headers["Authorization"] == "Bearer jwt"


@pytest.mark.parametrize(
    "address",
    [
        "Endpoint=sb://ns.example/;SharedAccessKeyName=send;SharedAccessKey=k3y",
        "Endpoint=http://ns.example/;SharedAccessKeyName=send;SharedAccessKey=k3y;EntityPath=e",
        "Endpoint=sb://u@ns.example/;SharedAccessKeyName=send;SharedAccessKey=k3y;EntityPath=e",
        "Endpoint=sb://ns.example/;SharedAccessKeyName=send;SharedAccessKey=k3y;EntityPath=../e",
        "Endpoint=sb://[k3y/;SharedAccessKeyName=send;SharedAccessKey=k3y;EntityPath=e",
        "SharedAccessKey=k3y",
    ],
    ids=["no hub", "no TLS", "a user", "a path", "no host", "no endpoint"],
)
def test_a_connection_string_that_is_none_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        composed("azureeventhub", NOTICES["once"], replace(SETTINGS["azureeventhub"], address=address))
    assert "k3y" not in caught.value.message


def test_pubsub_gets_a_statement_that_is_good_for_it_alone() -> None:
    request = signed("googlepubsub")
    assert request.url == "https://pubsub.googleapis.com/v1/projects/acme-prod/topics/trimtab-events:publish"
    head, claims, signature = request.headers["Authorization"].removeprefix("Bearer ").split(".")
    assert _part(head) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    account = "tell@acme-prod.iam.gserviceaccount.com"
    now = int(NOW.timestamp())
    assert _part(claims) == {
        "iss": account,
        "sub": account,
        "aud": "https://pubsub.googleapis.com/",
        "iat": now,
        "exp": now + 600,
    }
    proof = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    ACCOUNT_KEY.public_key().verify(proof, f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())
    (message,) = json.loads(request.body)["messages"]
    assert json.loads(base64.b64decode(message["data"]))["involvedObject"]["name"] == "checkout"
    assert message["attributes"] == {"team": "shop", "idempotencyKey": "a" * 32}


def test_the_emulator_of_pubsub_is_told_without_credentials() -> None:
    there = replace(SETTINGS["googlepubsub"], address="http://emulator:8085/v1/projects/acme-prod", token="")
    request = signed("googlepubsub", there)
    assert request.url == "http://emulator:8085/v1/projects/acme-prod/topics/trimtab-events:publish"
    assert "Authorization" not in request.headers
    with pytest.raises(Misconfigured, match="without TLS"):
        signed("googlepubsub", replace(there, token=SERVICE_ACCOUNT))


WRONG = {
    "no JSON": "s3cret",
    "another kind": json.dumps({**json.loads(SERVICE_ACCOUNT), "type": "external_account"}),
    "no account": json.dumps({**json.loads(SERVICE_ACCOUNT), "client_email": "s3cret"}),
    "no key": json.dumps({**json.loads(SERVICE_ACCOUNT), "private_key": "s3cret"}),
    "a long key": json.dumps({**json.loads(SERVICE_ACCOUNT), "private_key": "s3cret" * 1000}),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_is_no_key_of_a_service_account_is_refused_without_showing_it(case: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        composed("googlepubsub", NOTICES["once"], replace(SETTINGS["googlepubsub"], token=WRONG[case]))
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("address", ["a/b", "https://h/v1/projects/", "https://h/v2/projects/acme-prod", "ftp://h/x"])
def test_a_project_is_the_id_of_one(address: str) -> None:
    with pytest.raises(Misconfigured):
        composed("googlepubsub", NOTICES["once"], replace(SETTINGS["googlepubsub"], address=address))


def test_zoom_keeps_the_format_that_its_owner_wrote() -> None:
    pinned = replace(SETTINGS["zoom"], address="https://zoom.example/hook?format=fields&a=1")
    (request,) = composed("zoom", NOTICES["once"], pinned)
    assert request.url == pinned.address
