"""Google Cloud KMS: what it is asked, which names lead there, and whose credentials are taken."""

import base64
import json

import pytest

from tests.sops import clouds_double as double
from trimtab.base.clock import SystemClock
from trimtab.sops.errors import BadKeys, Locked
from trimtab.sops.gcpkms import CREDENTIALS, GcpKms
from trimtab.sops.metadata import Wrapped

SENT = base64.b64encode(b"any ciphertext").decode()


def made(out, clouds, **more):
    service = GcpKms.of(out, SystemClock(), {CREDENTIALS: double.google_credentials(**more)}, clouds.to)
    assert service
    return service


async def test_the_kms_is_asked_as_google_describes_it(clouds, out):
    clouds.answers[double.KMS] = (200, {"plaintext": base64.b64encode(b"k" * 32).decode()})
    assert await made(out, clouds).unlock(Wrapped("gcp_kms", double.RESOURCE, SENT, {})) == b"k" * 32
    assert [str(url) for url in clouds.meant] == [
        "https://oauth2.googleapis.com/token",
        f"https://cloudkms.googleapis.com/v1/{double.RESOURCE}:decrypt",
    ]
    [(_, _, _, form), (_, path, headers, body)] = clouds.asked
    assert form.startswith(b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey")
    statement = form.partition(b"&assertion=")[2].split(b".")
    head, claims = (json.loads(base64.urlsafe_b64decode(part + b"==")) for part in statement[:2])
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "0123456789"}
    assert claims["scope"] == "https://www.googleapis.com/auth/cloudkms"
    assert path == f"/v1/{double.RESOURCE}:decrypt"
    assert headers["Authorization"] == f"Bearer {double.GOOGLE_TOKEN}"
    assert json.loads(body) == {"ciphertext": SENT}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/x",
        "projects/../locations/x/keyRings/y/cryptoKeys/z",
        "projects/x/locations/x/keyRings/y/cryptoKeys/z/cryptoKeyVersions/1",
        "projects/x/locations/x/keyRings/y/cryptoKeys/z?a=b",
        "projects/x/locations/x/keyRings/y/cryptoKeys/z:encrypt",
        "projects/x/locations/x/keyRings/y/cryptoKeys/z#",
        "projects/x/locations/x/keyRings/y/cryptoKeys/%2e%2e",
        "projects/x/locations/x/keyRings/y/cryptoKeys/z\n",
        "https://attacker.example.com/projects/x/locations/x/keyRings/y/cryptoKeys/z",
        "@attacker.example.com/projects/x/locations/x/keyRings/y/cryptoKeys/z",
        "projects/x@attacker.example.com/locations/x/keyRings/y/cryptoKeys/z",
    ],
)
async def test_a_name_that_is_none_leads_nowhere(clouds, out, name):
    with pytest.raises(Locked, match="not the name of a key"):
        await made(out, clouds).unlock(Wrapped("gcp_kms", name, SENT, {}))
    assert not clouds.meant


async def test_a_project_of_a_domain_has_its_name(clouds, out):
    name = "projects/example.com:shop/locations/europe-west1/keyRings/Ring_1/cryptoKeys/key-1"
    with pytest.raises(Locked, match="INVALID_ARGUMENT"):
        await made(out, clouds).unlock(Wrapped("gcp_kms", name, SENT, {}))
    assert clouds.asked[-1][1] == f"/v1/{name}:decrypt"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"type": "authorized_user", "refresh_token": "MINE"}, "type is not service_account"),
        ({"type": "external_account", "credential_source": {"executable": {"command": "MINE"}}}, "service_account"),
        ({"type": None}, "service_account"),
        ({"token_uri": "https://attacker.example.com/MINE"}, "token_uri"),
        ({"token_uri": "http://oauth2.googleapis.com/token"}, "token_uri"),
        ({"token_uri": "https://oauth2.googleapis.com.attacker.example.com/token"}, "token_uri"),
        ({"token_uri": "http://169.254.169.254/token"}, "token_uri"),
        ({"token_uri": 7}, "token_uri"),
        ({"universe_domain": "example.com"}, "universe_domain"),
        ({"client_email": "MINE"}, "client_email"),
        ({"client_email": None}, "client_email"),
        ({"private_key_id": "a\nb"}, "private_key_id"),
        ({"private_key": "MINE"}, "private_key is not"),
        ({"private_key": None}, "private_key is not"),
        ({"private_key": "x" * 5000}, "private_key has more"),
        ({"private_key": double.pem(double.ec.generate_private_key(double.ec.SECP256R1()))}, "not an RSA key"),
    ],
    ids=[f"bad-{number}" for number in range(16)],
)
def test_credentials_of_another_kind_are_refused_by_the_entry(clouds, out, more, told):
    with pytest.raises(BadKeys, match=r"sops\.gcp-kms: ") as refused:
        made(out, clouds, **more)
    assert told in str(refused.value)
    assert "MINE" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"MINE", b"[]", b"\xff", b"{"], ids=["empty", "text", "list", "binary", "half"])
def test_what_is_no_json_is_refused_by_the_entry(out, data):
    with pytest.raises(BadKeys, match=r"sops\.gcp-kms: it has to be the key of a service account") as refused:
        GcpKms.of(out, SystemClock(), {CREDENTIALS: data})
    assert "MINE" not in str(refused.value)
