"""Signatures by OpenPGP keys, made by gpg."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.crypto.signing import needs_gpg, needs_ssh
from trimtab.crypto import openpgp
from trimtab.crypto.keyring import Keyring
from trimtab.crypto.openpgp import parse_certificates
from trimtab.crypto.trust import BadKeys, BadSignature

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PAYLOAD = b"tree 0\nwhat was signed\n"
pytestmark = needs_gpg


@pytest.fixture(scope="module")
def ed(gpg):
    return gpg.key("Alice <alice@example.org>", "ed25519")


@pytest.fixture(scope="module")
def rsa(gpg):
    return gpg.key("Bob <bob@example.org>", "rsa2048")


@pytest.fixture(scope="module")
def expired(gpg):
    """Valid during 2020."""
    return gpg.key("Old <old@example.org>", "ed25519", lasts="1y", at=datetime(2020, 1, 1, tzinfo=UTC))


def trusting(*keys) -> Keyring:
    return Keyring.from_secret({f"{number}.asc": key.public for number, key in enumerate(keys)})


def test_rsa_and_ed25519_are_accepted_and_their_owner_named(ed, rsa):
    for key, address in ((ed, "alice@example.org"), (rsa, "bob@example.org")):
        signer = trusting(ed, rsa).judge(PAYLOAD, key.sign(PAYLOAD), NOW)
        assert signer.fingerprint == key.fingerprint
        assert address in signer.name
        assert signer.is_(address)
        assert not signer.is_("ceo@example.org")


def test_several_keys_in_one_file_are_read(ed, rsa):
    keyring = Keyring.from_secret({"all.asc": ed.public + rsa.public})
    for key in (ed, rsa):
        assert keyring.judge(PAYLOAD, key.sign(PAYLOAD), NOW)


def test_a_subkey_signs_for_its_owner(gpg):
    key = gpg.key("Carol <carol@example.org>", "ed25519")
    gpg.run("--quick-add-key", key.fingerprint, "ed25519", "sign", "1y")
    signer = trusting(key).judge(PAYLOAD, key.sign(PAYLOAD), datetime.now(UTC))
    assert signer.fingerprint != key.fingerprint, "the newest key that signs is the subkey"
    with pytest.raises(BadSignature, match=f"{signer.fingerprint} expired"):
        trusting(key).judge(PAYLOAD, key.sign(PAYLOAD), datetime.now(UTC) + timedelta(days=400))


def test_tampered_content_and_strangers_are_refused(ed, rsa):
    with pytest.raises(BadSignature, match=f"{ed.fingerprint} does not fit"):
        trusting(ed).judge(PAYLOAD + b"x", ed.sign(PAYLOAD), NOW)
    with pytest.raises(BadSignature, match=f"{rsa.fingerprint} is not among the trusted"):
        trusting(ed).judge(PAYLOAD, rsa.sign(PAYLOAD), NOW)


def test_an_expired_key_is_judged_by_when_we_saw_it_not_by_what_the_signature_claims(expired):
    backdated = expired.sign(PAYLOAD, at=datetime(2020, 6, 1, tzinfo=UTC))
    with pytest.raises(BadSignature, match=r"expired at 2020-12-31"):
        trusting(expired).judge(PAYLOAD, backdated, NOW)
    assert trusting(expired).judge(PAYLOAD, backdated, datetime(2020, 6, 2, tzinfo=UTC))


def test_a_revoked_key_is_refused_whatever_the_signature_claims(gpg):
    key = gpg.key("Dave <dave@example.org>", "ed25519", at=datetime(2024, 1, 1, tzinfo=UTC))
    early = key.sign(PAYLOAD, at=datetime(2024, 2, 1, tzinfo=UTC))
    assert trusting(key).judge(PAYLOAD, early, NOW)
    certificate = (gpg.home / "openpgp-revocs.d" / f"{key.fingerprint}.rev").read_text()
    gpg.run("--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN").encode())
    with pytest.raises(BadSignature, match="is revoked"):
        trusting(key).judge(PAYLOAD, early, NOW)


def test_a_weak_key_proves_nothing(gpg):
    weak = gpg.key("Weak <weak@example.org>", "rsa1024")
    with pytest.raises((BadSignature, BadKeys)):
        trusting(weak).judge(PAYLOAD, weak.sign(PAYLOAD), NOW)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b"", "empty"),
        (lambda text: text[:60], "cut off"),
        (lambda text: text + b"more\n", "follows the end"),
        (lambda text: text + text, "follows the end"),
        (lambda text: text.replace(b"SIGNATURE", b"MESSAGE"), "neither of SSH nor of OpenPGP"),
        (lambda text: openpgp.BEGIN.encode() + b"\n\n" + openpgp.END.encode(), "cannot be read|0 packets"),
        (lambda text: text[:40] + b"A" * 70000 + text[40:], "none is that long"),
    ],
)
def test_a_malformed_signature_is_refused_with_the_reason(ed, change, words):
    with pytest.raises(BadSignature, match=words):
        trusting(ed).judge(PAYLOAD, change(ed.sign(PAYLOAD)), NOW)


@needs_ssh
def test_a_family_without_keys_is_refused_by_name(ed, alice):
    with pytest.raises(BadSignature, match="only SSH keys are trusted"):
        Keyring.from_secret({"a.sshpub": alice.public}).judge(PAYLOAD, ed.sign(PAYLOAD), NOW)
    with pytest.raises(BadSignature, match="only OpenPGP keys are trusted"):
        trusting(ed).judge(PAYLOAD, alice.sign(PAYLOAD), NOW)


def test_files_that_are_not_public_keys_are_refused(gpg, ed):
    secret = gpg.run("--armor", "--export-secret-keys", ed.user)
    raw = gpg.run("--export-secret-keys", ed.user)
    for data in (b"", b"hello", ed.public[:100], ed.sign(PAYLOAD), ed.public + ed.sign(PAYLOAD)[:80]):
        with pytest.raises(BadKeys):
            Keyring.from_secret({"good.asc": ed.public, "bad.asc": data})
    for data in (secret, raw):
        with pytest.raises(BadKeys, match=r"bad\.asc: it holds a private key"):
            Keyring.from_secret({"bad.asc": data})


def test_whatever_comes_the_only_errors_are_the_documented_ones(ed):
    signature, public = ed.sign(PAYLOAD), ed.public
    keyring = trusting(ed)

    @settings(deadline=None)
    @given(st.integers(min_value=0), st.binary(min_size=1, max_size=6), st.booleans())
    def changed(at, junk, insert):
        for text, use in (
            (signature, lambda data: keyring.judge(PAYLOAD, data, NOW)),
            (public, parse_certificates),
        ):
            place = at % len(text)
            data = text[:place] + junk + text[place if insert else place + len(junk) :]
            with contextlib.suppress(BadSignature, BadKeys):
                use(data)

    changed()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_keys_or_signature_are_refused_cleanly(data):
    with pytest.raises(BadKeys):
        parse_certificates(data)
    begin, end = openpgp.BEGIN.encode(), openpgp.END.encode()
    for armored in (data, begin + b"\n\n" + data + b"\n" + end):
        with pytest.raises(BadSignature):
            openpgp.judge([], PAYLOAD, armored, NOW)
