"""Signatures without keys, made with a double of Sigstore's services and judged by the real verifier.

The rows of SECURITY.md, 1.4, on cosign are here and, for signatures by keys, in test_pull.py.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.server import RegistryServer, descriptor
from tests.registry.signing import Signer, payload, sign
from tests.registry.sigstore_double import ISSUER, SUBJECT, Instance, KeylessSigner, Log, attach, b64
from tests.registry.test_pull import FILES, refused, spec_of
from trimtab.crypto import cosign, keyless
from trimtab.crypto.identity import Identity
from trimtab.remotes.oci.wire import Access
from trimtab.sources.oci import Head, OciSource
from trimtab.sources.signatures import Identities, Keys

pytest.importorskip("sigstore", reason="the package sigstore is not installed: pip install trimtab[sigstore]")
OURS = (Identity.parse(ISSUER, r"https://github\.example/team/.*"),)
DIGEST = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def instance() -> Instance:
    return Instance()


@pytest.fixture(scope="module")
def judge(instance: Instance) -> keyless.Judge:
    return keyless.Judge.of(instance.trusted_root())


def packed(bundle: dict[str, Any]) -> bytes:
    return json.dumps(bundle).encode()


def simple(signer: KeylessSigner, of: str = DIGEST, **changed: str) -> keyless.Simple:
    said = signer.simple(payload(of))
    made = keyless.Simple(payload(of), said[cosign.SIGNATURE], said[cosign.CERTIFICATE], said[cosign.LOG_ENTRY])
    return msgspec.structs.replace(made, **changed)


# What is accepted


def test_both_layouts_are_accepted_and_who_signed_is_named(instance: Instance, judge: keyless.Judge) -> None:
    signer = KeylessSigner(instance)
    for who in (judge.bundle(packed(signer.bundle(DIGEST)), DIGEST, OURS), judge.simple(simple(signer), DIGEST, OURS)):
        assert who == f"{SUBJECT} (by {ISSUER})"
    mail = KeylessSigner(instance, subject="alice@example.org")
    people = (*OURS, Identity.parse(ISSUER, r"[a-z]+@example\.org"))
    assert judge.simple(simple(mail), DIGEST, people) == f"alice@example.org (by {ISSUER})"


def test_the_certificate_has_to_be_valid_when_the_log_saw_it_not_today(
    instance: Instance, judge: keyless.Judge
) -> None:
    old = KeylessSigner(instance, at=datetime.now(UTC) - timedelta(days=400))
    assert judge.bundle(packed(old.bundle(DIGEST)), DIGEST, OURS)
    assert judge.simple(simple(old), DIGEST, OURS)
    old.logged_at = datetime.now(UTC)
    with pytest.raises(keyless.NotProven, match="valid"):
        judge.bundle(packed(old.bundle(DIGEST)), DIGEST, OURS)
    with pytest.raises(keyless.NotProven, match="valid"):
        judge.simple(simple(old), DIGEST, OURS)


def test_the_roots_of_the_public_instance_come_with_the_package() -> None:
    assert keyless.Judge.of(None)


# What is refused


def test_somebody_elses_signature_on_the_same_digest_is_refused_by_name(
    instance: Instance, judge: keyless.Judge
) -> None:
    for subject, issuer in (
        ("https://github.example/evil/shop/.github/workflows/release.yaml@refs/heads/main", ISSUER),
        (f"https://evil.example/?x={SUBJECT}", ISSUER),
        (SUBJECT, "https://token.actions.example.evil.example"),
        (SUBJECT, f"https://evil.example/{ISSUER}"),
    ):
        signer = KeylessSigner(instance, subject=subject, issuer=issuer)
        for attempt in (
            lambda signer=signer: judge.bundle(packed(signer.bundle(DIGEST)), DIGEST, OURS),
            lambda signer=signer: judge.simple(simple(signer), DIGEST, OURS),
        ):
            with pytest.raises(keyless.NotProven, match="who is not trusted") as refusal:
                attempt()
            assert subject in str(refusal.value)


@pytest.mark.parametrize("of", ["sha256:" + "b" * 64, "sha256:", "sha512:" + "a" * 64, ""])
def test_a_signature_of_another_digest_is_refused(instance: Instance, judge: keyless.Judge, of: str) -> None:
    signer = KeylessSigner(instance)
    with pytest.raises(keyless.NotProven, match="not a signature of this digest"):
        judge.bundle(packed(signer.bundle(of)), DIGEST, OURS)
    with pytest.raises(keyless.NotProven, match="not a signature of this digest"):
        judge.simple(simple(signer, of), DIGEST, OURS)


def test_a_statement_about_something_else_is_no_signature(instance: Instance, judge: keyless.Judge) -> None:
    signer = KeylessSigner(instance)
    for predicate in ("https://slsa.dev/provenance/v1", "https://spdx.dev/Document", ""):
        with pytest.raises(keyless.NotProven, match="not a signature of this digest"):
            judge.bundle(packed(signer.bundle(DIGEST, predicate)), DIGEST, OURS)


def test_another_instance_is_not_believed(instance: Instance, judge: keyless.Judge) -> None:
    other = Instance()
    stranger = KeylessSigner(other)
    with pytest.raises(keyless.NotProven):
        judge.bundle(packed(stranger.bundle(DIGEST)), DIGEST, OURS)
    with pytest.raises(keyless.NotProven):
        judge.simple(simple(stranger), DIGEST, OURS)
    assert keyless.Judge.of(other.trusted_root()).simple(simple(stranger), DIGEST, OURS)
    # each of the three that have to be right, wrong by itself
    unseen = KeylessSigner(instance, log=Log())
    unlogged = KeylessSigner(instance)
    unlogged.instance = other
    foreign = KeylessSigner(other)
    foreign.instance = instance
    for signer, words in ((unseen, "(?i)sct|timestamp"), (unlogged, "signature|checkpoint"), (foreign, "chain")):
        with pytest.raises(keyless.NotProven, match=words):
            judge.bundle(packed(signer.bundle(DIGEST)), DIGEST, OURS)
        with pytest.raises(keyless.NotProven, match=words):
            judge.simple(simple(signer), DIGEST, OURS)


@pytest.mark.parametrize("missing", ["signature", "certificate", "log_entry"])
def test_a_missing_annotation_is_refused(instance: Instance, judge: keyless.Judge, missing: str) -> None:
    """Without what the log promised there is no time, and a certificate of ten minutes is always expired."""
    with pytest.raises(keyless.NotProven, match="missing"):
        judge.simple(simple(KeylessSigner(instance), **{missing: ""}), DIGEST, OURS)


def test_parts_of_different_signatures_are_not_one(instance: Instance, judge: keyless.Judge) -> None:
    signer, other = KeylessSigner(instance), KeylessSigner(instance)
    mine, theirs = simple(signer), simple(other)
    for changed in (
        {"log_entry": theirs.log_entry},
        {"certificate": theirs.certificate},
        {"signature": theirs.signature},
        {"payload": payload(DIGEST) + b" "},
    ):
        with pytest.raises(keyless.NotProven):
            judge.simple(msgspec.structs.replace(mine, **changed), DIGEST, OURS)
    again = simple(signer)
    with pytest.raises(keyless.NotProven, match="about another signature"):
        judge.simple(msgspec.structs.replace(mine, log_entry=again.log_entry), DIGEST, OURS)
    # the same key, with a certificate in another name that nobody logged
    named = instance.certificate(signer.key, subject=f"{SUBJECT}/other").public_bytes(Encoding.PEM).decode()
    with pytest.raises(keyless.NotProven, match="about another signature"):
        judge.simple(msgspec.structs.replace(mine, certificate=named), DIGEST, OURS)


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle["dsseEnvelope"].update(payload=b64(b'{"_type": "x"}')),
        lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=bundle["dsseEnvelope"]["signatures"] * 2),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[{"sig": b64(b"\x30\x00")}]),
        lambda bundle: bundle["verificationMaterial"].update(tlogEntries=[]),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].pop("inclusionPromise"),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].pop("inclusionProof"),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].update(integratedTime="1"),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].update(integratedTime="9" * 18),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].update(integratedTime="-1"),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].update(logIndex="9" * 30),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"].update(treeSize="0"),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0].update(canonicalizedBody=b64(b"{}")),
        lambda bundle: bundle["verificationMaterial"].pop("certificate"),
        lambda bundle: bundle["verificationMaterial"].update(certificate={"rawBytes": b64(b"x")}),
        lambda bundle: bundle.pop("dsseEnvelope"),
        lambda bundle: bundle.update(mediaType="application/json"),
    ],
)
def test_a_bundle_that_was_changed_is_refused(
    instance: Instance, judge: keyless.Judge, change: Callable[[dict[str, Any]], Any]
) -> None:
    bundle = KeylessSigner(instance).bundle(DIGEST)
    change(bundle)
    with pytest.raises(keyless.NotProven):
        judge.bundle(packed(bundle), DIGEST, OURS)


@settings(deadline=None, max_examples=60)
@given(st.integers(min_value=0), st.binary(min_size=1, max_size=6))
def test_damage_anywhere_never_does_anything_but_fail(at: int, noise: bytes) -> None:
    judge, bundle, made = _made()
    place = at % len(bundle)
    damaged = bundle[:place] + noise + bundle[place + len(noise) :]
    if damaged != bundle:
        with pytest.raises(keyless.NotProven):
            judge.bundle(damaged, DIGEST, (Identity.parse(ISSUER, "alice@.*"),))
    for field in ("signature", "certificate", "log_entry"):
        text = getattr(made, field)
        place = at % len(text)
        changed = text[:place] + noise.decode("latin-1") + text[place + len(noise) :]
        if changed != text:
            with pytest.raises(keyless.NotProven):
                judge.simple(msgspec.structs.replace(made, **{field: changed}), DIGEST, (OURS[0],))


_cache: list[Any] = []


def _made() -> Any:
    if not _cache:
        own = Instance()
        signer = KeylessSigner(own, subject="mallory@example.org")
        _cache.append((keyless.Judge.of(own.trusted_root()), packed(signer.bundle(DIGEST)), simple(signer)))
    return _cache[0]


@pytest.mark.parametrize("root", [b"", b"{}", b"[]", b"x", b'{"mediaType": "x"}', b"[" * 100_000, b" " * (5 << 20)])
def test_roots_that_cannot_be_used_are_refused(root: bytes) -> None:
    with pytest.raises(keyless.BadRoot, match=r"trusted_root\.json"):
        keyless.Judge.of(root)


@pytest.mark.parametrize(
    ("issuer", "subject", "words"),
    [
        ("", "x", "admits an empty name"),
        ("x", "", "admits an empty name"),
        ("x", ".*", "admits an empty name"),
        (".*", "x", "admits an empty name"),
        ("x", "a|", "admits an empty name"),
        ("x", "^$", "admits an empty name"),
        ("x", "(?:", "unclosed|regex"),
        ("x", "a)|(?:b", "unopened|regex"),
        ("x", "(?=a)b", "look"),
        ("x", "a" * 1025, "limit"),
    ],
)
def test_an_expression_that_anybody_would_match_is_refused(issuer: str, subject: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Identity.parse(issuer, subject)


def test_an_expression_is_compiled_once_and_not_for_every_look() -> None:
    assert Identity.parse("once", "team")._subject is Identity.parse("other", "team")._subject


def test_expressions_are_anchored_at_both_ends_however_they_are_written() -> None:
    for text in ("abc", "^abc$", "(?i)ABC", "x|abc", "abc|x", r"\Aabc\z", "(?m)^abc$", "(?s)a.c"):
        wanted = Identity.parse("i", text)
        assert wanted.matches("i", "abc"), text
        for other in ("abcd", "zabc", "abc\nx", "x\nabc", "xabc", "abcx"):
            assert not wanted.matches("i", other), (text, other)
    assert not Identity.parse("i", "abc").matches("ii", "abc")


# In a registry


def demand(instance: Instance) -> Identities:
    return Identities(OURS, instance.trusted_root())


async def pushed(public: RegistryServer, source: OciSource, name: str) -> Head:
    public.push(name, "latest", FILES)
    return await source.look(spec_of(public, name), Access())


async def test_a_bundle_is_found_where_the_registry_has_no_api_for_it(
    public: RegistryServer, source: OciSource, instance: Instance
) -> None:
    head, spec = await pushed(public, source, "keyless"), spec_of(public, "keyless")
    assert "it is not signed" in await refused(source, spec, head, demand(instance))
    stranger = KeylessSigner(instance, subject="https://github.example/evil/x")
    attach(public, "keyless", head.digest, packed(stranger.bundle(head.digest)))
    assert "evil" in await refused(source, spec, head, demand(instance))
    good = packed(KeylessSigner(instance).bundle(head.digest))
    attach(public, "keyless", head.digest, packed(stranger.bundle(head.digest)), good)
    assert await source.verify(spec, Access(), head, demand(instance)) == f"{SUBJECT} (by {ISSUER})"
    other = Identities(OURS, Instance().trusted_root())
    assert "none of its 2 signatures" in await refused(source, spec, head, other)
    assert "trusted_root.json" in await refused(source, spec, head, Identities(OURS, b"{}"))


async def test_the_older_layout_is_found_under_its_tag(
    public: RegistryServer, source: OciSource, instance: Instance
) -> None:
    head, spec = await pushed(public, source, "older"), spec_of(public, "older")
    good = payload(head.digest)
    annotations = KeylessSigner(instance).simple(good)
    lacking = {name: value for name, value in annotations.items() if name != cosign.LOG_ENTRY}
    sign(public, "older", head.digest, (good, descriptor(good, cosign.PAYLOAD, annotations=lacking)))
    assert "missing" in await refused(source, spec, head, demand(instance))
    sign(public, "older", head.digest, (good, descriptor(good, cosign.PAYLOAD, annotations=annotations)))
    assert await source.verify(spec, Access(), head, demand(instance)) == f"{SUBJECT} (by {ISSUER})"


async def test_a_bundle_by_a_key_is_accepted_as_well(public: RegistryServer, source: OciSource) -> None:
    """As `cosign sign --key` of cosign 3 makes it: the same envelope, and no certificate."""
    head, spec = await pushed(public, source, "keyed"), spec_of(public, "keyed")
    signer, other = Signer(), Signer()

    def bundle(of: str, by: Signer = signer, predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {"sha256": of.removeprefix("sha256:")}}],
                "predicateType": predicate,
                "predicate": {},
            }
        ).encode()
        kind = "application/vnd.in-toto+json"
        signature = by.raw(f"DSSEv1 {len(kind)} {kind} {len(statement)} ".encode() + statement)
        envelope = {"payload": b64(statement), "payloadType": kind, "signatures": [{"sig": b64(signature)}]}
        material = {"publicKey": {"hint": "x"}}
        return packed({"mediaType": cosign.BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope})

    keys = Keys({"team.pub": signer.public})
    for bad in (bundle(head.digest, other), bundle(DIGEST), bundle(head.digest, predicate="https://x"), b"{}", b"x"):
        attach(public, "keyed", head.digest, bad)
        assert "none of its 1 signatures" in await refused(source, spec, head, keys)
    attach(public, "keyed", head.digest, bundle(head.digest))
    assert await source.verify(spec, Access(), head, keys) == "the key team.pub"
