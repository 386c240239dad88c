"""Signatures of the Notary Project: what its specification accepts is accepted, and everything else is refused."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.notation_double import Issued, envelope, policy, url64
from tests.registry.server import RegistryServer
from tests.registry.sigstore_double import attach, usage
from tests.registry.test_pull import FILES, refused, spec_of
from trimtab.crypto import notation
from trimtab.crypto.notation import BadPolicy, NotProven, Policy
from trimtab.remotes.oci.wire import Access
from trimtab.sources.oci import OciSource
from trimtab.sources.signatures import Notary

DIGEST = "sha256:" + "a" * 64
NOW = datetime.now(UTC)
TEAM = "x509.subject: C=DE, ST=HH, O=Team"
OVERRIDE = {"revocation": "skip"}


def trusting(*roots: Issued, document: bytes | None = None, scope: str = "registry.example/app") -> Policy:
    files = {f"{number}.crt": root.pem for number, root in enumerate(roots)}
    return Policy.of({**files, "trustpolicy.json": policy() if document is None else document}, scope)


@pytest.fixture(scope="module")
def root() -> Issued:
    return Issued.create(ca=True)


# What is accepted


@pytest.mark.parametrize(
    "key",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: rsa.generate_private_key(65537, 3072),
    ],
    ids=["ES256", "ES384", "ES512", "PS256", "PS384"],
)
def test_a_signature_by_every_kind_of_key_is_accepted(root: Issued, key: Callable[[], Any]) -> None:
    signer = Issued.create(root, key=key())
    assert trusting(root).judge(envelope(signer, DIGEST), DIGEST, NOW) == "CN=signer,O=Team,ST=HH,C=DE"
    with pytest.raises(NotProven, match="not a signature of this digest"):
        trusting(root).judge(envelope(signer, "sha256:" + "b" * 64), DIGEST, NOW)


def test_a_chain_is_followed_to_any_certificate_of_the_secret(root: Issued) -> None:
    between = Issued.create(root, ca=True, path_length=0, CN="between")
    signer = Issued.create(between)
    for trusted in (root, between, signer):
        assert trusting(trusted).judge(envelope(signer, DIGEST), DIGEST, NOW)
    alone = Issued.create()
    assert trusting(alone, root).judge(envelope(alone, DIGEST), DIGEST, NOW)


def test_identities_are_parts_of_the_subject(root: Issued) -> None:
    signer = envelope(Issued.create(root), DIGEST)
    for good in (TEAM, "x509.subject:C=DE,ST=HH,O=Team,CN=signer", "x509.subject: CN=signer, O=Team, S=HH, C=DE"):
        assert trusting(root, document=policy("x509.subject: C=US, ST=WA, O=X", good)).judge(signer, DIGEST, NOW)
    for bad in ("x509.subject: C=DE, ST=HH, O=Tea", "x509.subject: C=DE, ST=HH, O=Team, CN=other"):
        with pytest.raises(NotProven, match="not among trustedIdentities"):
            trusting(root, document=policy(bad)).judge(signer, DIGEST, NOW)


def test_the_policy_of_the_repository_goes_before_the_general_one(root: Issued) -> None:
    general, own = (json.loads(policy(*names, scope=scope)) for names, scope in ((("*",), "*"), ((TEAM,), "r/app")))
    own["trustPolicies"][0]["name"] = "own"
    document = json.dumps({"version": "1.0", "trustPolicies": [*general["trustPolicies"], *own["trustPolicies"]]})
    stranger = envelope(Issued.create(root, C="DE", ST="HH", O="Other", CN="x"), DIGEST)
    assert trusting(root, document=document.encode(), scope="r/other").judge(stranger, DIGEST, NOW)
    with pytest.raises(NotProven, match="trustedIdentities"):
        trusting(root, document=document.encode(), scope="r/app").judge(stranger, DIGEST, NOW)


def test_expiry_is_enforced_by_strict_and_not_by_permissive(root: Issued) -> None:
    crit = {"crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"]}
    for hours, good in ((-1, False), (1, True)):
        when = (NOW + timedelta(hours=hours)).isoformat()
        signed = envelope(Issued.create(root), DIGEST, protected={**crit, "io.cncf.notary.expiry": when})
        assert trusting(root, document=policy(level="permissive")).judge(signed, DIGEST, NOW)
        if good:
            assert trusting(root).judge(signed, DIGEST, NOW)
        else:
            with pytest.raises(NotProven, match="it expired"):
                trusting(root).judge(signed, DIGEST, NOW)


# What is refused


def test_a_stranger_is_refused_by_name(root: Issued) -> None:
    with pytest.raises(NotProven, match=r"CN=signer.*is in the Secret"):
        trusting(root).judge(envelope(Issued.create(Issued.create(ca=True)), DIGEST), DIGEST, NOW)
    same_name = Issued.create(ca=True)
    forged = envelope(Issued.create(same_name), DIGEST, chain=[Issued.create(same_name).certificate, root.certificate])
    with pytest.raises(NotProven):
        trusting(root).judge(forged, DIGEST, NOW)
    mallory = Issued.create(same_name)
    in_its_name = envelope(mallory, DIGEST, chain=[mallory.certificate, root.certificate])
    with pytest.raises(NotProven, match="does not fit"):
        trusting(root).judge(in_its_name, DIGEST, NOW)


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ({"days": 0.5}, "is valid from"),
        ({"start": NOW + timedelta(days=1)}, "is valid from"),
        ({"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)}, "not for signing code"),
        ({"purposes": (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.TIME_STAMPING)}, "not for signing code"),
        ({"ca": True}, "not for signing"),
        ({"key_usage": usage(key_encipherment=True)}, "not for signing"),
        ({"key_usage": usage(digital_signature=True, key_cert_sign=True)}, "not for signing"),
        ({"key": rsa.generate_private_key(65537, 2304)}, "neither RSA"),
        ({"crl": True}, '"revocation": "skip"'),
    ],
)
def test_a_certificate_that_is_not_for_this_or_not_now_is_refused(
    root: Issued, leaf: dict[str, Any], words: str
) -> None:
    with pytest.raises(NotProven, match=words):
        trusting(root).judge(envelope(Issued.create(root, **leaf), DIGEST), DIGEST, NOW)
    if leaf == {"crl": True}:
        signed = envelope(Issued.create(root, **leaf), DIGEST)
        assert trusting(root, document=policy(override=OVERRIDE)).judge(signed, DIGEST, NOW)
        assert trusting(root, document=policy(level="permissive")).judge(signed, DIGEST, NOW)


def test_whoever_may_not_issue_has_issued_nothing(root: Issued) -> None:
    signer = Issued.create(root)
    by_leaf = Issued.create(signer, C="DE", ST="HH", O="Team", CN="mallory")
    with pytest.raises(NotProven, match=r"may not issue|chain"):
        trusting(root).judge(envelope(by_leaf, DIGEST), DIGEST, NOW)
    short = Issued.create(Issued.create(root, ca=True, path_length=0, CN="short"), ca=True, CN="below")
    with pytest.raises(NotProven, match="may not issue"):
        trusting(root).judge(envelope(Issued.create(short), DIGEST), DIGEST, NOW)
    old = Issued.create(ca=True, days=0.1)
    with pytest.raises(NotProven, match=r"authority.*is valid from"):
        trusting(old).judge(envelope(Issued.create(old), DIGEST), DIGEST, NOW)


@pytest.mark.parametrize(
    ("protected", "words"),
    [
        ({"alg": "none"}, "does not fit its key"),
        ({"alg": "HS256"}, "does not fit its key"),
        ({"alg": "ES384"}, "does not fit its key"),
        ({"alg": None}, "does not fit its key"),
        ({"cty": "text/plain"}, "its content"),
        ({"crit": None}, "it demands"),
        ({"crit": []}, "it demands"),
        ({"crit": ["io.cncf.notary.signingScheme", "com.example.must"]}, "it demands"),
        ({"io.cncf.notary.signingScheme": "notary.x509.signingAuthority"}, "scheme"),
        ({"io.cncf.notary.signingScheme": None}, "scheme"),
        ({"io.cncf.notary.expiry": "soon"}, "cannot be read"),
        ({"io.cncf.notary.expiry": 7}, "cannot be read"),
        ({"io.cncf.notary.expiry": "2030-01-01T00:00:00"}, "cannot be read"),
    ],
)
def test_headers_that_are_not_understood_are_refused(root: Issued, protected: dict[str, Any], words: str) -> None:
    with pytest.raises(NotProven, match=words):
        trusting(root).judge(envelope(Issued.create(root), DIGEST, protected=protected), DIGEST, NOW)


def test_a_payload_that_was_changed_is_refused(root: Issued) -> None:
    body = json.loads(envelope(Issued.create(root), "sha256:" + "b" * 64))
    body["payload"] = url64(json.dumps({"targetArtifact": {"digest": DIGEST}}).encode())
    with pytest.raises(NotProven, match="does not fit"):
        trusting(root).judge(json.dumps(body).encode(), DIGEST, NOW)


@pytest.mark.parametrize(
    "header", [{"x5c": []}, {"x5c": ["AAAA"]}, {"x5c": ["!"]}, {"x5c": None}, {"x5c": [7]}, {"x5c": {}}]
)
def test_a_chain_that_is_none_is_refused(root: Issued, header: dict[str, Any]) -> None:
    with pytest.raises(NotProven):
        trusting(root).judge(envelope(Issued.create(root), DIGEST, header=header), DIGEST, NOW)


_ROOT = Issued.create(ca=True)
_SIGNED = envelope(Issued.create(_ROOT), DIGEST)


# a damaged serial number is only warned of by now, and will be refused by a later version of the library
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None, max_examples=200)
@given(st.integers(min_value=0), st.binary(min_size=1, max_size=6))
def test_damage_anywhere_never_does_anything_but_fail(at: int, noise: bytes) -> None:
    place = at % len(_SIGNED)
    damaged = _SIGNED[:place] + noise + _SIGNED[place + len(noise) :]
    try:
        trusting(_ROOT).judge(damaged, DIGEST, NOW)
    except NotProven:
        return
    # What is not signed may be another: the words about the signing program, and the spaces of the JSON.
    before, after = json.loads(_SIGNED), json.loads(damaged)
    assert all(before[part] == after[part] for part in ("payload", "protected"))
    # The last character of base64 has bits that say nothing.
    assert base64.urlsafe_b64decode(after["signature"] + "==") == base64.urlsafe_b64decode(before["signature"] + "==")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "trustpolicy.json"),
        (b"{}", "trustpolicy.json"),
        (policy().replace(b'"1.0"', b'"2.0"'), "version '2.0'"),
        (policy(level="skip"), "strict or permissive"),
        (policy(level="audit"), "strict or permissive"),
        (policy(level=""), "strict or permissive"),
        (policy(override={"authenticity": "skip"}), "override"),
        (policy(override={"integrity": "log"}), "override"),
        (policy(override={"expiry": "maybe"}), "override"),
        (policy(scope="registry.example/other"), "no registryScopes"),
        (policy(registryScopes=["*", "registry.example/app"]), r"\* stands alone|same"),
        (policy(trustStores=[]), "ca:"),
        (policy(trustedIdentities=[]), "names nobody"),
        (policy("*", TEAM), "stands alone"),
        (policy("x509.subject: CN=signer"), "C, ST and O"),
        (policy("x509.subject: rubbish"), "identity"),
        (policy("email: a@b"), "x509.subject"),
    ],
)
def test_a_policy_that_proves_nothing_or_cannot_be_read_is_refused(root: Issued, document: bytes, words: str) -> None:
    with pytest.raises(BadPolicy, match=words):
        trusting(root, document=document)


def test_roots_have_to_be_there_and_readable(root: Issued) -> None:
    with pytest.raises(BadPolicy, match="no certificate"):
        trusting()
    with pytest.raises(BadPolicy, match=r"bad\.pem"):
        Policy.of({"trustpolicy.json": policy(), "bad.pem": b"x", "good.crt": root.pem}, "r/app")
    assert trusting(root).digest != trusting(root, Issued.create(ca=True)).digest


# In a registry


async def test_an_envelope_is_found_in_the_registry(public: RegistryServer, source: OciSource, root: Issued) -> None:
    public.push("notary", "latest", FILES)
    spec = spec_of(public, "notary")
    head = await source.look(spec, Access())
    demand = Notary(trusting(root, document=policy(TEAM), scope=f"{public.host}/notary"))
    assert "it is not signed" in await refused(source, spec, head, demand)
    stranger = envelope(Issued.create(root, C="DE", ST="HH", O="Other", CN="x"), head.digest)
    kind = {"kind": notation.ARTIFACT_TYPE, "layer": notation.JWS}
    attach(public, "notary", head.digest, stranger, **kind)
    assert "O=Other" in await refused(source, spec, head, demand)
    attach(public, "notary", head.digest, stranger, envelope(Issued.create(root), head.digest), **kind)
    assert await source.verify(spec, Access(), head, demand) == "CN=signer,O=Team,ST=HH,C=DE"


NOTATION = shutil.which("notation") or os.environ.get("TRIMTAB_NOTATION", "")


@pytest.mark.skipif(not NOTATION, reason="no notation on this machine: go build github.com/notaryproject/notation")
async def test_what_notation_itself_signs_is_accepted(
    public: RegistryServer, source: OciSource, tmp_path: Path, root: Issued
) -> None:
    public.push("real", "latest", FILES)
    spec = spec_of(public, "real")
    head = await source.look(spec, Access())
    signer = Issued.create(root, key=rsa.generate_private_key(65537, 2048))
    home = tmp_path / "notation"
    home.mkdir()
    (home / "key.pem").write_bytes(signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (home / "cert.pem").write_bytes(signer.pem + root.pem)
    keys = {
        "default": "k",
        "keys": [{"name": "k", "keyPath": str(home / "key.pem"), "certPath": str(home / "cert.pem")}],
    }
    (home / "signingkeys.json").write_text(json.dumps(keys))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NOTATION_CONFIG": str(home)}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    command = [NOTATION, "sign", "--insecure-registry", "--force-referrers-tag", f"{public.host}/real@{head.digest}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    demand = Notary(trusting(root, document=policy(TEAM), scope=f"{public.host}/real"))
    assert await source.verify(spec, Access(), head, demand) == "CN=signer,O=Team,ST=HH,C=DE"
