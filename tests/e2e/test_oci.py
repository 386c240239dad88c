"""Apps whose manifests are in a registry: Debian's docker-registry, artifacts as `flux push artifact` makes them."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.world import SOURCES, World, condition, until
from tests.registry.notation_double import Issued, envelope, policy
from tests.registry.server import RegistryServer, archive, digest
from tests.registry.signing import Signer, payload, sign
from tests.registry.sigstore_double import ISSUER, SUBJECT, Instance, KeylessSigner, attach
from trimtab.crypto import notation


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry of the test's own, to be stopped."""
    server = RegistryServer(tmp_path_factory.mktemp("mortal"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    server = RegistryServer(tmp_path_factory.mktemp("private"), private=True)
    server.start()
    yield server
    server.stop()


def settings(value: str) -> dict[str, str | bytes]:
    return {
        "settings.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{of: {value!r}}}\n"
    }


def path(ns: str) -> str:
    return f"{SOURCES}/namespaces/{ns}/ocirepositories"


def source(world: World, ns: str, url: str, **spec: Any) -> None:
    body = {"url": url, "interval": "60m", "insecure": True, **spec}
    kind = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository"}
    world.api.create(path(ns), {**kind, "metadata": {"name": "repo", "namespace": ns}, "spec": body})


def app(world: World, ns: str) -> None:
    world.app(ns, "app", sourceRef={"kind": "OCIRepository", "name": "repo"})


def get(world: World, ns: str) -> Any:
    return world.api.get(f"{path(ns)}/repo")


def change(world: World, ns: str, **spec: Any) -> None:
    world.api.merge(f"{path(ns)}/repo", {"spec": spec})


def look(world: World, ns: str) -> None:
    """Ask for a look, and wait until it is over."""
    moment = world._request(f"{path(ns)}/repo")
    until(lambda: get(world, ns)["status"].get("lastHandledReconcileAt") == moment, lambda: why(world, ns))


def why(world: World, ns: str) -> str:
    return json.dumps([(get(world, ns) or {}).get("status"), (world.get_app(ns, "app") or {}).get("status")], indent=1)


def ready(world: World, ns: str, revision: str) -> Any:
    def reached() -> Any:
        item = get(world, ns)
        there = (item["status"].get("artifact") or {}).get("revision") == revision
        return item if there and condition(item, "Ready").get("status") == "True" else None

    return until(reached, lambda: why(world, ns), 60)


def failed(world: World, ns: str, reason: str, *words: str) -> str:
    def reached() -> str | None:
        found = condition(get(world, ns), "Ready")
        wanted = found.get("status") == "False" and found["reason"] == reason
        return found["message"] if wanted and all(word in found["message"] for word in words) else None

    message: str = until(reached, lambda: why(world, ns), 60)
    return message


def applied(world: World, ns: str) -> str | None:
    found = world.api.get(f"/api/v1/namespaces/{ns}/configmaps/settings")
    return found and found["data"]["of"]


def secret(world: World, ns: str, name: str, data: dict[str, bytes]) -> None:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    world.api.create(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": name}, "data": encoded})


def test_an_artifact_is_applied_and_says_where_it_came_from(world: World, ns: str, registry: RegistryServer) -> None:
    origin = "main@sha1:0123456789"
    pushed = registry.push("first", "latest", settings("one"), {"org.opencontainers.image.revision": origin})
    source(world, ns, f"oci://{registry.host}/first")
    app(world, ns)
    found = world.ready(ns, "app", pushed)
    assert applied(world, ns) == "one"
    assert found["status"]["lastAppliedRevision"] == f"latest@{pushed}"
    assert found["status"]["lastAppliedOriginRevision"] == origin
    status = ready(world, ns, f"latest@{pushed}")["status"]
    assert status["artifact"]["path"].startswith(f"ocirepository/{ns}/repo/")
    assert status["artifact"]["metadata"] == {"org.opencontainers.image.revision": origin}
    assert status["url"] == status["artifact"]["url"]


def test_a_new_version_in_the_range_is_applied_and_one_beyond_it_is_not(
    world: World, ns: str, registry: RegistryServer
) -> None:
    registry.push("range", "1.2.0", settings("1.2.0"))
    source(world, ns, f"oci://{registry.host}/range", ref={"semver": "1.x"})
    app(world, ns)
    world.ready(ns, "app", "1.2.0@")
    registry.push("range", "2.0.0", settings("2.0.0"))
    newer = registry.push("range", "1.10.0", settings("1.10.0"))
    look(world, ns)
    world.ready(ns, "app", f"1.10.0@{newer}")
    assert applied(world, ns) == "1.10.0"


def test_while_the_registry_is_down_the_last_artifact_is_enforced_and_a_new_one_comes_after(
    world: World, ns: str, mortal: RegistryServer
) -> None:
    mortal.push("down", "latest", settings("before"))
    source(world, ns, f"oci://{mortal.host}/down", interval="2s")
    app(world, ns)
    world.ready(ns, "app", "latest@")
    mortal.stop()
    failed(world, ns, "OCIArtifactPullFailed", mortal.host)
    world.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"of": "drifted"}})
    until(lambda: applied(world, ns) == "before", lambda: why(world, ns))
    world.api.delete(f"/api/v1/namespaces/{ns}/configmaps/settings")
    until(lambda: applied(world, ns) == "before", lambda: why(world, ns))
    mortal.start()
    pushed = mortal.push("down", "latest", settings("after"))
    world.ready(ns, "app", pushed)
    assert applied(world, ns) == "after"


def test_a_digest_that_is_not_there_or_lies_is_refused_by_name_and_the_last_artifact_stays(
    world: World, ns: str, registry: RegistryServer
) -> None:
    good = registry.push("digest", "good", settings("good"))
    source(world, ns, f"oci://{registry.host}/digest", ref={"digest": good})
    app(world, ns)
    world.ready(ns, "app", good)
    nowhere = "sha256:" + "0" * 64
    change(world, ns, ref={"digest": nowhere})
    failed(world, ns, "OCIArtifactPullFailed", nowhere)

    lying = registry.push("digest", "lying", settings("lying"))
    honest = archive(settings("lying"))
    layer = digest(honest)
    stored = registry.directory / "data/docker/registry/v2/blobs/sha256" / layer[7:9] / layer[7:] / "data"
    # As long as the honest one, so that nothing but the digest tells them apart.
    evil = next(made for n in range(1000) if len(made := archive(settings(f"e{n}"))) == len(honest))
    stored.write_bytes(evil)
    change(world, ns, ref={"digest": lying})
    failed(world, ns, "OCIArtifactPullFailed", layer)
    assert get(world, ns)["status"]["artifact"]["revision"] == good

    # The app looks at what there is again, and it is still the good one.
    asked = world.poke_app(ns, "app")
    until(
        lambda: world.get_app(ns, "app")["status"].get("lastHandledReconcileAt") == asked,
        lambda: why(world, ns),
    )
    assert world.ready(ns, "app", good)
    assert applied(world, ns) == "good"


def test_what_is_signed_by_another_key_is_held_and_the_last_good_one_stays_in_force(
    world: World, ns: str, registry: RegistryServer
) -> None:
    ours, theirs = Signer(), Signer()
    secret(world, ns, "keys", {"team.pub": ours.public})

    def push(version: str, signer: Signer) -> str:
        pushed = registry.push("signed", version, settings(version))
        words = payload(pushed)
        sign(registry, "signed", pushed, (words, signer.layer(words)))
        return pushed

    first = push("1.0.0", ours)
    verify = {"provider": "cosign", "secretRef": {"name": "keys"}}
    source(world, ns, f"oci://{registry.host}/signed", ref={"semver": "*"}, verify=verify)
    app(world, ns)
    world.ready(ns, "app", first)
    verified = condition(get(world, ns), "SourceVerified")
    assert (verified["status"], verified["message"]) == ("True", f"1.0.0@{first} is signed by the key team.pub")

    second = push("1.1.0", theirs)
    look(world, ns)
    told = failed(world, ns, "VerificationError", second, "team.pub")
    assert f"revision '1.0.0@{first}' stays in force" in told
    assert condition(get(world, ns), "SourceVerified")["status"] == "False"
    assert applied(world, ns) == "1.0.0"

    third = registry.push("signed", "1.2.0", settings("1.2.0"))
    look(world, ns)
    failed(world, ns, "VerificationError", third, "it is not signed")
    assert applied(world, ns) == "1.0.0"

    push("1.2.0", ours)
    look(world, ns)
    world.ready(ns, "app", third)
    assert applied(world, ns) == "1.2.0"

    # Another key: what was good is not good any more, and stays until something better comes.
    world.api.merge(
        f"/api/v1/namespaces/{ns}/secrets/keys", {"data": {"team.pub": base64.b64encode(theirs.public).decode()}}
    )
    look(world, ns)
    failed(world, ns, "VerificationError", third, "stays in force")
    assert applied(world, ns) == "1.2.0"


def test_a_private_registry_is_read_with_the_secret_and_a_repaired_secret_is_enough(
    world: World, ns: str, private: RegistryServer
) -> None:
    def config(password: str) -> bytes:
        return json.dumps({"auths": {private.host: {"username": "reader", "password": password}}}).encode()

    pushed = private.push("private", "latest", settings("private"))
    secret(world, ns, "login", {".dockerconfigjson": config("wr0ng")})
    source(world, ns, f"oci://{private.host}/private", secretRef={"name": "login"})
    app(world, ns)
    told = failed(world, ns, "AuthenticationFailed", "refuses these credentials")
    assert "wr0ng" not in told
    right = base64.b64encode(config("right")).decode()
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/login", {"data": {".dockerconfigjson": right}})
    look(world, ns)
    world.ready(ns, "app", pushed)
    assert "wr0ng" not in world.controller.log

    change(world, ns, secretRef=None, serviceAccountName="puller")
    failed(world, ns, "AuthenticationFailed", f"ServiceAccount {ns}/puller does not exist")
    account = {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "login"}]}
    world.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", account)
    again = private.push("private", "latest", settings("again"))
    look(world, ns)
    world.ready(ns, "app", again)
    assert applied(world, ns) == "again"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"provider": "aws"}, "spec.provider aws"),
        ({"provider": "azure"}, "spec.provider azure"),
        ({"provider": "gcp"}, "spec.provider gcp"),
    ],
    ids=["aws", "azure", "gcp"],
)
def test_what_is_not_served_is_refused_by_name_and_nothing_is_pulled(
    world: World, ns: str, spec: dict[str, Any], words: str
) -> None:
    source(world, ns, "oci://127.0.0.1:1/nowhere", **spec)
    told = failed(world, ns, "FeatureGateDisabled", words)
    assert "of an OCIRepository" in told
    item = get(world, ns)
    assert condition(item, "Stalled")["status"] == "True"
    assert "artifact" not in item["status"]


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        ({"provider": "cosign"}, "would take anybody's signature"),
        ({"matchOIDCIdentity": [{"issuer": "^i$", "subject": ""}]}, "admits an empty name"),
        ({"provider": "notation"}, "needs a secretRef"),
    ],
    ids=["nobody", "anybody", "notation"],
)
def test_a_demand_that_proves_nothing_is_refused_and_nothing_is_pulled(
    world: World, ns: str, verify: dict[str, Any], words: str
) -> None:
    source(world, ns, "oci://127.0.0.1:1/nowhere", verify=verify)
    failed(world, ns, "VerificationError", words, "there is no artifact yet")
    assert condition(get(world, ns), "Stalled")["status"] == "True"


def test_only_what_a_trusted_identity_signed_is_applied(world: World, ns: str, registry: RegistryServer) -> None:
    instance = Instance()
    secret(world, ns, "root", {"trusted_root.json": instance.trusted_root()})
    repository = f"{ns}/keyless"

    def push(version: str, *signers: KeylessSigner) -> str:
        pushed = registry.push(repository, "latest", settings(version))
        bundles = [json.dumps(signer.bundle(pushed)).encode() for signer in signers]
        if bundles:
            attach(registry, repository, pushed, *bundles)
        return pushed

    first = push("one", KeylessSigner(instance))
    team = {"issuer": ISSUER, "subject": r"https://github\.example/team/.*"}
    verify = {"provider": "cosign", "matchOIDCIdentity": [team], "trustedRootSecretRef": {"name": "root"}}
    source(world, ns, f"oci://{registry.host}/{repository}", verify=verify)
    app(world, ns)
    world.ready(ns, "app", first)
    verified = condition(get(world, ns), "SourceVerified")
    assert (verified["status"], verified["message"]) == ("True", f"latest@{first} is signed by {SUBJECT} (by {ISSUER})")

    stranger = KeylessSigner(instance, subject="https://github.example/evil/shop")
    second = push("two", stranger)
    look(world, ns)
    failed(world, ns, "VerificationError", second, "https://github.example/evil/shop", "stays in force", first)
    third = push("three")
    look(world, ns)
    failed(world, ns, "VerificationError", third, "it is not signed")
    assert applied(world, ns) == "one"
    attach(registry, repository, third, json.dumps(KeylessSigner(instance).bundle(third)).encode())
    look(world, ns)
    world.ready(ns, "app", third)
    assert applied(world, ns) == "three"


def test_only_what_the_trust_policy_of_notation_accepts_is_applied(
    world: World, ns: str, registry: RegistryServer
) -> None:
    root = Issued.create(ca=True)
    team = "x509.subject: C=DE, ST=HH, O=Team"
    repository = f"{ns}/notary"
    document = policy(team, scope=f"{registry.host}/{repository}")
    secret(world, ns, "trust", {"trustpolicy.json": document, "root.crt": root.pem})
    kind = {"kind": notation.ARTIFACT_TYPE, "layer": notation.JWS}
    first = registry.push(repository, "latest", settings("one"))
    attach(registry, repository, first, envelope(Issued.create(root), first), **kind)
    verify = {"provider": "notation", "secretRef": {"name": "trust"}}
    source(world, ns, f"oci://{registry.host}/{repository}", verify=verify)
    app(world, ns)
    world.ready(ns, "app", first)
    assert "CN=signer,O=Team" in condition(get(world, ns), "SourceVerified")["message"]

    second = registry.push(repository, "latest", settings("two"))
    stranger = Issued.create(root, C="DE", ST="HH", O="Other", CN="x")
    attach(registry, repository, second, envelope(stranger, second), **kind)
    look(world, ns)
    failed(world, ns, "VerificationError", second, "O=Other", "stays in force")
    assert applied(world, ns) == "one"
    broken = base64.b64encode(policy(team, level="skip")).decode()
    world.api.merge(f"/api/v1/namespaces/{ns}/secrets/trust", {"data": {"trustpolicy.json": broken}})
    look(world, ns)
    failed(world, ns, "VerificationError", f"Secret {ns}/trust", "strict or permissive")
    assert applied(world, ns) == "one"


def test_an_address_that_carries_a_password_is_refused_without_repeating_it(world: World, ns: str) -> None:
    source(world, ns, "oci://user:s3cret@registry.example/app")
    told = failed(world, ns, "URLInvalid", "spec.secretRef")
    assert "s3cret" not in told
