"""Pulling from Debian's docker-registry: references, layers, signing in, signatures, and what is wrong in the store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.registry.server import CONTENT, INDEX, MANIFEST, RegistryServer, archive, descriptor, digest, manifest
from tests.registry.signing import Signer, payload, sign
from tests.remotes.world import Authority
from trimtab.api.oci import OCIRepositorySpec
from trimtab.base.errors import Terminal, Transient
from trimtab.crypto import cosign
from trimtab.remotes.oci.wire import Access, PullFailed
from trimtab.sources.oci import AuthenticationFailed, Head, Logins, OciSource, OciSpec, Pulled
from trimtab.sources.signatures import Demand, Keys

FILES = {"app.yaml": "kind: A\n", "base/b.yaml": "kind: B\n"}


def spec_of(server: RegistryServer, name: str, **fields: Any) -> OciSpec:
    body = {"url": f"oci://{server.host}/{name}", "interval": "1m", "insecure": True, **fields}
    return OciSpec.from_api(msgspec.convert(body, OCIRepositorySpec))


async def pull(source: OciSource, spec: OciSpec, access: Access | None = None) -> tuple[Head, Pulled]:
    head = await source.look(spec, access or Access())
    return head, await source.fetch(spec, access or Access(), head)


def files(pulled: Pulled) -> dict[str, bytes]:
    return {entry.path: pulled.snapshot.read(entry.path) for entry in pulled.snapshot.tree.entries}


def test_no_timeout_holds_a_slot_for_longer_than_ten_minutes(public: RegistryServer) -> None:
    assert spec_of(public, "any", timeout="30s").bound_s == 30
    assert spec_of(public, "any", timeout="99h").bound_s == 600


# References


async def test_an_artifact_is_pulled_by_its_tag_with_its_files_revision_and_annotations(
    public: RegistryServer, source: OciSource
) -> None:
    annotations = {"org.opencontainers.image.revision": "main@sha1:abc", "trimtab.dev/left-out": "spoofed"}
    pushed = public.push("by-tag", "latest", FILES, annotations)
    head, pulled = await pull(source, spec_of(public, "by-tag"))
    assert head.revision == pulled.snapshot.revision == f"latest@{pushed}"
    assert files(pulled) == {name: text.encode() for name, text in FILES.items()}
    assert pulled.metadata == {"org.opencontainers.image.revision": "main@sha1:abc"}


async def test_a_digest_goes_before_a_range_and_a_range_before_a_tag(public: RegistryServer, source: OciSource) -> None:
    pushed = {tag: public.push("order", tag, {"v.yaml": tag}) for tag in ("1.0.0", "1.9.0", "1.10.0", "2.0.0", "other")}
    every = {"digest": pushed["other"], "semver": "1.x", "tag": "2.0.0"}
    head, pulled = await pull(source, spec_of(public, "order", ref=every))
    assert (head.revision, files(pulled)) == (pushed["other"], {"v.yaml": b"other"})
    head = await source.look(spec_of(public, "order", ref={"semver": "1.x", "tag": "2.0.0"}), Access())
    assert head.revision == f"1.10.0@{pushed['1.10.0']}"
    head = await source.look(spec_of(public, "order", ref={"tag": "2.0.0"}), Access())
    assert head.revision == f"2.0.0@{pushed['2.0.0']}"


async def test_only_tags_in_which_the_filter_is_found_take_part_in_the_range(
    public: RegistryServer, source: OciSource
) -> None:
    for tag in ("1.0.0-rc.1", "1.1.0-rc.2", "1.2.0-dev.1", "v1.0.0"):
        public.push("filter", tag, {"v.yaml": tag})
    ref = {"semver": ">=1.0.0-0", "semverFilter": ".*-rc.*"}
    assert (await source.look(spec_of(public, "filter", ref=ref), Access())).tag == "1.1.0-rc.2"
    nothing = spec_of(public, "filter", ref={"semver": ">=1.0.0-0", "semverFilter": "^nightly"})
    with pytest.raises(
        PullFailed, match=r"none of 4 tags in which '\^nightly' is found is a version that '>=1\.0\.0-0'"
    ):
        await source.look(nothing, Access())


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"digest": "sha256:../../x"}, "not a digest"),
        ({"digest": "sha512:" + "a" * 128}, "not a digest"),
        ({"tag": "../x"}, "not a tag"),
        ({"semver": "not a range"}, r"spec\.ref\.semver:"),
        ({"semver": "*", "semverFilter": "("}, r"spec\.ref\.semverFilter:"),
        ({"semver": "*", "semverFilter": "(?=a)"}, r"spec\.ref\.semverFilter:"),
        ({"semver": "*", "semverFilter": "(a{1000}){1000}"}, r"spec\.ref\.semverFilter:"),
        ({"semver": "*", "semverFilter": "a" * 1025}, r"spec\.ref\.semverFilter:"),
    ],
)
def test_a_reference_that_makes_no_sense_is_refused_before_anything_is_asked(ref: dict[str, str], words: str) -> None:
    body = {"url": "oci://127.0.0.1:1/a", "interval": "1m", "ref": ref}
    with pytest.raises(Terminal, match=words):
        OciSpec.from_api(msgspec.convert(body, OCIRepositorySpec))


async def test_what_is_not_there_is_named(public: RegistryServer, source: OciSource) -> None:
    public.push("there", "latest", FILES)
    missing = "sha256:" + "0" * 64
    for fields, words in (
        ({"ref": {"tag": "none"}}, "manifests/none.*404"),
        ({"ref": {"digest": missing}}, f"manifests/{missing}.*404.*MANIFEST_UNKNOWN"),
    ):
        with pytest.raises(PullFailed, match=words):
            await pull(source, spec_of(public, "there", **fields))
    with pytest.raises(PullFailed, match=r"tags/list.*404.*NAME_UNKNOWN"):
        await pull(source, spec_of(public, "nowhere", ref={"semver": "*"}))


# Layers


async def test_the_layer_with_the_media_type_is_taken_and_unpacked_or_kept_as_it_is(
    public: RegistryServer, source: OciSource
) -> None:
    first, second = archive({"first.yaml": "1"}), archive({"second.yaml": "2", "picture.png": "x"})
    for blob in (b"{}", first, second):
        public.blob("layers", blob)
    public.tag("layers", "latest", manifest([descriptor(first, CONTENT), descriptor(second, "application/x.other")]))
    _, pulled = await pull(source, spec_of(public, "layers"))
    assert files(pulled) == {"first.yaml": b"1"}
    other = {"mediaType": "application/x.other"}
    _, pulled = await pull(source, spec_of(public, "layers", layerSelector=other))
    assert (files(pulled), pulled.layer) == ({"second.yaml": b"2"}, "")  # pictures are among the default exclusions
    _, pulled = await pull(source, spec_of(public, "layers", layerSelector={**other, "operation": "copy"}))
    assert pulled.layer == digest(second).removeprefix("sha256:")
    assert pulled.snapshot.store.read(pulled.layer) == second
    with pytest.raises(
        Transient, match=r"no layer has the media type nothing; there is .*cncf.flux.content"
    ) as refused:
        await pull(source, spec_of(public, "layers", layerSelector={"mediaType": "nothing"}))
    assert refused.value.reason == "OCIArtifactLayerOperationFailed"


async def test_what_is_ignored_stays_out_as_from_git(public: RegistryServer, source: OciSource) -> None:
    public.push("ignored", "latest", {**FILES, ".sourceignore": "/base\n", ".github/x.yaml": "", "a.zip": ""})
    _, pulled = await pull(source, spec_of(public, "ignored"))
    assert set(files(pulled)) == {"app.yaml", ".sourceignore"}
    _, pulled = await pull(source, spec_of(public, "ignored", ignore="app.yaml"))
    assert "a.zip" in files(pulled)
    assert "app.yaml" not in files(pulled)


async def test_of_an_index_the_manifest_for_linux_on_amd64_is_pulled(public: RegistryServer, source: OciSource) -> None:
    entries = []
    for architecture in ("arm64", "amd64"):
        layer = archive({"arch.yaml": architecture})
        body = manifest([descriptor(layer, CONTENT)])
        public.blob("index", b"{}")
        public.blob("index", layer)
        public.tag("index", digest(body), body)
        entries.append(descriptor(body, MANIFEST, platform={"os": "linux", "architecture": architecture}))
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    public.tag("index", "latest", body, INDEX)
    head, pulled = await pull(source, spec_of(public, "index"))
    assert head.digest == digest(body)
    assert files(pulled) == {"arch.yaml": b"amd64"}


async def test_a_layer_that_is_no_archive_or_a_hostile_one_leaves_nothing(
    public: RegistryServer, source: OciSource
) -> None:
    for number, layer in enumerate((b"no gzip", archive({"../evil": "x"}), archive(FILES)[:-30])):
        name = f"hostile{number}"
        public.blob(name, b"{}")
        public.blob(name, layer)
        public.tag(name, "latest", manifest([descriptor(layer, CONTENT)]))
        with pytest.raises(Transient, match=f"layer {digest(layer)} .*nothing of it is used") as refused:
            await pull(source, spec_of(public, name))
        assert refused.value.reason == "OCIArtifactLayerOperationFailed"


async def test_a_store_that_was_tampered_with_is_noticed_by_the_digest(
    public: RegistryServer, source: OciSource
) -> None:
    public.push("tampered", "latest", FILES)
    layer = digest(archive(FILES))
    stored = public.directory / "data/docker/registry/v2/blobs/sha256" / layer[7:9] / layer[7:] / "data"
    honest = stored.read_bytes()
    try:
        stored.write_bytes(bytes([honest[0], honest[1] ^ 1]) + honest[2:])
        with pytest.raises(PullFailed, match=f"for the layer {layer} .* has the digest sha256:"):
            await pull(source, spec_of(public, "tampered"))
    finally:
        stored.write_bytes(honest)


# Signing in


def logins(server: RegistryServer, password: str) -> Access:
    auths = {server.host: {"username": "reader", "password": password}}
    return Access(logins=Logins.parse(json.dumps({"auths": auths}).encode()))


async def test_a_private_registry_is_read_with_the_right_password_and_refuses_any_other(
    private: RegistryServer, source: OciSource
) -> None:
    private.push("secret", "1.0.0", FILES)
    spec = spec_of(private, "secret", ref={"semver": "*"})
    _, pulled = await pull(source, spec, logins(private, "right"))
    assert set(files(pulled)) == set(FILES)
    with pytest.raises(AuthenticationFailed, match=r"refuses these credentials; check the Secret of spec\.secretRef"):
        await pull(source, spec, logins(private, "wr0ng"))
    with pytest.raises(AuthenticationFailed, match=r"wants credentials.*name a Secret in spec\.secretRef"):
        await pull(source, spec)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    directory = tmp_path_factory.mktemp("tls")
    return Authority.create(directory), directory / "server.pem"


@pytest.fixture(scope="session")
def secure(authority: tuple[Authority, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry that speaks TLS, to those who show a certificate of the same authority only."""
    own, pem = authority
    directory = tmp_path_factory.mktemp("secure")
    (directory / "ca.crt").write_bytes(own.ca)
    server = RegistryServer(directory, certificate=pem, key=pem, client_ca=directory / "ca.crt")
    server.start()
    yield server
    server.stop()


async def test_a_registry_with_certificates_of_its_own_is_trusted_by_its_authority_and_shown_ours(
    secure: RegistryServer, authority: tuple[Authority, Path], source: OciSource
) -> None:
    own, pem = authority
    secure.client_certificate = pem
    secure.push("tls", "latest", FILES)
    spec = spec_of(secure, "tls", insecure=False)
    pair = pem.read_bytes()
    _, pulled = await pull(source, spec, Access(ca=own.ca, certificate=pair, key=pair))
    assert set(files(pulled)) == set(FILES)
    with pytest.raises(PullFailed, match=r"(?i)certificate"):
        await pull(source, spec, Access(certificate=pair, key=pair))
    with pytest.raises(PullFailed):
        await pull(source, spec, Access(ca=own.ca))
    with pytest.raises(AuthenticationFailed, match=r"ca\.crt in the Secret"):
        await pull(source, spec, Access(ca=b"rubbish"))


# Signatures


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=lambda key: type(key).__name__,
)
async def test_a_signature_by_one_of_the_keys_is_accepted_and_the_key_is_named(
    public: RegistryServer, source: OciSource, key: Any
) -> None:
    signer, spec = Signer(key), spec_of(public, "signed")
    public.push("signed", "latest", FILES)
    head = await source.look(spec, Access())
    good, other = payload(head.digest), Signer()
    sign(public, "signed", head.digest, (good, other.layer(good)), (good, signer.layer(good)))
    keys = {"unused.pub": Signer().public, "team.pub": signer.public}
    assert await source.verify(spec, Access(), head, Keys(keys)) == "the key team.pub"


async def refused(source: OciSource, spec: OciSpec, head: Head, keys: Demand | dict[str, bytes]) -> str:
    with pytest.raises(Transient) as failure:
        await source.verify(spec, Access(), head, Keys(keys) if isinstance(keys, dict) else keys)
    assert failure.value.reason == "VerificationError"
    assert head.revision in failure.value.message
    return failure.value.message


async def test_what_is_not_signed_or_not_for_this_digest_by_this_key_is_refused(
    public: RegistryServer, source: OciSource
) -> None:
    signer, spec = Signer(), spec_of(public, "badly")
    public.push("badly", "latest", FILES)
    head = await source.look(spec, Access())
    good, keys = payload(head.digest), {"team.pub": signer.public}
    assert "it is not signed" in await refused(source, spec, head, keys)
    elsewhere, kind = payload("sha256:" + "0" * 64), payload(head.digest, "another kind")
    for content, layer in (
        (good, Signer().layer(good)),  # another key
        (elsewhere, signer.layer(elsewhere)),  # another digest
        (kind, signer.layer(kind)),  # signed, and no signature
        (good, signer.layer(good, b"")),
        (good, signer.layer(good, b"\x30\x00")),
        (good, signer.layer(good, signer.raw(good + b" "))),  # the payload was changed
        (good, descriptor(good, cosign.PAYLOAD)),  # no annotation
        (good, {**signer.layer(good), "mediaType": CONTENT}),
        (b"[]", signer.layer(b"[]")),
    ):
        sign(public, "badly", head.digest, (content, layer))
        told = await refused(source, spec, head, keys)
        assert "none of its 1 signatures" in told or (layer["mediaType"] == CONTENT and "it is not signed" in told)
    sign(public, "badly", head.digest, (good, signer.layer(good)))
    assert await source.verify(spec, Access(), head, Keys(keys)) == "the key team.pub"


async def test_without_a_usable_key_nothing_is_accepted(public: RegistryServer, source: OciSource) -> None:
    signer, spec = Signer(), spec_of(public, "keys")
    public.push("keys", "latest", FILES)
    head = await source.look(spec, Access())
    good = payload(head.digest)
    sign(public, "keys", head.digest, (good, signer.layer(good)))
    assert "no public key" in await refused(source, spec, head, {})
    for bad, words in (
        (b"", "not a public key"),
        (b"rubbish", "not a public key"),
        (Signer(rsa.generate_private_key(65537, 1024)).public, "1024 bits"),  # noqa: S505 - it is to be refused
    ):
        # Also where another key would do: a key that cannot be read may be the one that was meant.
        told = await refused(source, spec, head, {"bad.pub": bad, "team.pub": signer.public})
        assert "the key bad.pub" in told
        assert words in told


async def test_a_registry_that_fails_during_verification_does_not_open_the_door(
    public: RegistryServer, source: OciSource
) -> None:
    signer, spec = Signer(), spec_of(public, "failing")
    public.push("failing", "latest", FILES)
    head = await source.look(spec, Access())
    good = payload(head.digest)
    sign(public, "failing", head.digest, (good, signer.layer(good)))
    name = digest(good)
    stored = public.directory / "data/docker/registry/v2/blobs/sha256" / name[7:9] / name[7:] / "data"
    stored.unlink()
    with pytest.raises(PullFailed, match=name):
        await source.verify(spec, Access(), head, Keys({"team.pub": signer.public}))
