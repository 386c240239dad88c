"""Kubeconfig files, service accounts, credentials that change, and what a stranger's kubeconfig may not ask for."""

import base64
import json
import os
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yarl import URL

from tests.kube.conftest import CONFIG_MAPS
from tests.kube.faults import Canned, Faults
from trimtab.base.http import AiohttpTransport
from trimtab.kube import config, errors
from trimtab.kube.auth import BearerToken, TokenFile
from trimtab.kube.client import Client
from trimtab.kube.proxy import from_environment
from trimtab.kube.tls import Trust


@dataclass
class Hands:
    """A clock that is moved by hand."""

    wall: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    ticks: float = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    async def sleep(self, seconds: float) -> None:
        self.ticks += seconds


def pair(name: str = "client") -> tuple[bytes, bytes]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), secret


def kubeconfig(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **rest: Any) -> bytes:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "preferences": {},
        "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://example.com:6443"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {"token": "s3cret"}}],
    } | rest
    return yaml.dump(body).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, trusted: bool = True, **rest: Any):
    return config.parse_kubeconfig(kubeconfig(user, cluster, **rest), trusted=trusted)


async def test_a_token_an_address_and_a_namespace():
    found = parse(cluster={"tls-server-name": "kubernetes"})
    assert (found.server, found.namespace, found.tls_server_name) == (
        URL("https://example.com:6443"),
        "team",
        "kubernetes",
    )
    assert await found.auth.headers() == {"Authorization": "Bearer s3cret"}
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert "s3cret" not in repr(found)


def test_embedded_certificates():
    certificate, key = pair()
    user = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
    found = parse(user, {"certificate-authority-data": b64(certificate)}, trusted=False)
    assert found.tls is not None
    assert found.tls.cert_store_stats()["x509"] == 1
    assert found.tls is found.tls, "one context, so that connections are shared"


def test_verification_can_be_switched_off_by_the_user_only():
    found = parse(cluster={"insecure-skip-tls-verify": True})
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE
    with pytest.raises(errors.ConfigError, match="insecure-skip-tls-verify"):
        parse(cluster={"insecure-skip-tls-verify": True}, trusted=False)


@pytest.mark.parametrize(
    ("user", "cluster", "word"),
    [
        ({"exec": {"command": "/bin/sh", "apiVersion": "client.authentication.k8s.io/v1"}}, {}, "exec"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"tokenFile": "/etc/shadow"}, {}, "tokenFile"),
        ({"client-certificate": "/etc/a", "client-key": "/etc/b"}, {}, "client-certificate"),
        ({"client-certificate-data": "YQ==", "client-key": "/etc/b"}, {}, "client-key"),
        ({}, {"certificate-authority": "/etc/ca"}, "certificate-authority"),
        ({}, {"proxy-url": "http://evil:3128"}, "proxy-url"),
        ({}, {"server": "http://example.com"}, "https"),
    ],
)
def test_a_strangers_kubeconfig_may_not_run_read_or_reroute(user, cluster, word):
    with pytest.raises(errors.ConfigError, match=word):
        parse(user or None, cluster, trusted=False)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"a: [", "kubeconfig"),
        (b"[]", "one mapping"),
        (b"x" * ((1 << 20) + 1), "larger"),
        (kubeconfig(clusters=[]), "no cluster is named 'c'"),
        (kubeconfig(users=[]), "no user is named 'u'"),
        (kubeconfig(contexts=None), "no context is named 'it'"),
        (kubeconfig(**{"current-context": ""}), "no current-context"),
        (kubeconfig({"username": "u", "password": "p"}), "user name and password"),
        (kubeconfig({"token": "a b"}), "bearer token"),
        (kubeconfig({"client-certificate-data": "YQ=="}), "needs its key"),
        (kubeconfig({"client-certificate-data": "%", "client-key-data": "%"}), "not base64"),
        (kubeconfig(cluster={"server": "https://u:p@example.com"}), "without user"),
        (kubeconfig(cluster={"server": "unix:///run/x"}), "http or https"),
        (kubeconfig(cluster={"proxy-url": "socks5://x:1"}), "socks5"),
        (kubeconfig({"token": 5}), "str"),
        (kubeconfig({"token": "t", "as-groups": ["system:masters"]}), "as-groups"),
    ],
)
def test_what_is_wrong_is_said(text, word):
    with pytest.raises(errors.ConfigError, match=word):
        config.parse_kubeconfig(text, trusted=True)


def test_broken_certificates_are_said_when_they_are_needed():
    found = parse(cluster={"certificate-authority-data": b64(b"nonsense")})
    with pytest.raises(errors.ConfigError, match="certificate authority"):
        _ = found.tls
    certificate, _ = pair()
    _, other = pair()
    found = parse({"client-certificate-data": b64(certificate), "client-key-data": b64(other)})
    with pytest.raises(errors.ConfigError, match="client certificate and key"):
        _ = found.tls


def test_of_several_files_the_first_to_name_something_wins(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(kubeconfig({"token": "one"}, **{"current-context": ""}))
    two.write_bytes(kubeconfig({"token": "two"}, {"server": "https://other"}))
    missing = tmp_path / "missing"
    environment = {"KUBECONFIG": os.pathsep.join(map(str, [missing, one, two])), "HOME": str(tmp_path)}
    found = config.load(environment=environment)
    assert found.server == URL("https://example.com:6443")
    with pytest.raises(errors.ConfigError, match="no context is named 'prod'; there is it"):
        config.load(one, "prod")
    with pytest.raises(errors.ConfigError, match="none of the files"):
        config.load(environment={"KUBECONFIG": str(missing)})
    with pytest.raises(errors.ConfigError, match="No such file"):
        config.load(missing)
    with pytest.raises(errors.ConfigError, match="--kubeconfig"):
        config.load(environment={"HOME": str(tmp_path)})


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path):
    certificate, key = pair()
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "crt").write_bytes(certificate)
    (tmp_path / "pki" / "key").write_bytes(key)
    (tmp_path / "config").write_bytes(kubeconfig({"client-certificate": "pki/crt", "client-key": "pki/key"}))
    assert config.load(tmp_path / "config").tls is not None


async def test_a_pod_uses_its_service_account_and_the_token_of_the_day(tmp_path: Path):
    certificate, _ = pair()
    (tmp_path / "token").write_text("monday\n")
    (tmp_path / "ca.crt").write_bytes(certificate)
    (tmp_path / "namespace").write_text("flux-system")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = config.in_cluster(environment=environment, directory=tmp_path)
    assert (str(found.server), found.namespace) == ("https://[fd00::1]", "flux-system")
    assert found.tls is not None
    assert await found.auth.headers() == {"Authorization": "Bearer monday"}
    (tmp_path / "new").write_text("tuesday")
    (tmp_path / "new").rename(tmp_path / "token")
    assert await found.auth.headers() == {"Authorization": "Bearer tuesday"}
    (tmp_path / "token").unlink()
    assert await found.auth.headers() == {"Authorization": "Bearer tuesday"}
    with pytest.raises(errors.ConfigError, match="not in a Pod"):
        config.in_cluster(environment={}, directory=tmp_path)


async def test_a_token_file_that_never_held_a_token_is_an_error_without_its_content(tmp_path: Path):
    (tmp_path / "token").write_text("not a token")
    with pytest.raises(errors.CredentialError, match="holds no token") as caught:
        await TokenFile(tmp_path / "token").headers()
    assert "not a token" not in str(caught.value)
    with pytest.raises(errors.CredentialError, match="No such file"):
        await TokenFile(tmp_path / "none").headers()


def test_a_replaced_certificate_makes_a_fresh_context_once_it_fits_its_key(tmp_path: Path):
    clock = Hands()
    certificate, key = tmp_path / "crt", tmp_path / "key"

    def put(path: Path, data: bytes) -> None:
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").rename(path)

    for path, data in zip((certificate, key), pair(), strict=True):
        put(path, data)
    trust = Trust(clock, certificate=certificate, key=key)
    first = trust.context()
    clock.ticks += 5
    assert trust.context() is first
    new_certificate, new_key = pair("new")
    put(certificate, new_certificate)
    clock.ticks += 5
    assert trust.context() is first, "half a replacement is not used"
    put(key, new_key)
    clock.ticks += 5
    assert trust.context() is not first


# Plugins --------------------------------------------------------------------------------------------------------------

V1 = "client.authentication.k8s.io/v1"


def plugin(directory: Path, answer: str, code: int = 0) -> dict[str, Any]:
    """A real plugin that counts its runs and keeps what it was told."""
    script = directory / "plugin"
    script.write_text(
        f'#!/bin/sh\nprintf x >> "$RUNS"\nprintf %s "$KUBERNETES_EXEC_INFO" > "$RUNS.info"\n'
        f"cat <<'END'\n{answer}\nEND\necho 'not logged in' >&2\nexit {code}\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environment = [{"name": "RUNS", "value": str(directory / "runs")}]
    return {"command": "./plugin", "apiVersion": V1, "env": environment, "args": None, "provideClusterInfo": True}


def credential(**status: Any) -> str:
    return json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": status})


def load_with(directory: Path, described: dict[str, Any], clock: Hands | None = None) -> config.ClusterConfig:
    (directory / "config").write_bytes(kubeconfig({"exec": described}))
    return config.load(directory / "config", clock=clock or Hands())


async def test_a_plugin_is_asked_again_when_its_token_expires_or_is_refused(tmp_path: Path):
    clock = Hands()
    answer = credential(token="t1", expirationTimestamp="2026-01-01T01:00:00Z")
    found = load_with(tmp_path, plugin(tmp_path, answer), clock)
    runs = tmp_path / "runs"
    for _ in range(3):
        assert await found.auth.headers() == {"Authorization": "Bearer t1"}
    assert runs.read_text() == "x"
    assert json.loads((tmp_path / "runs.info").read_text())["spec"]["cluster"]["server"] == "https://example.com:6443"
    clock.wall += timedelta(minutes=59, seconds=55)
    await found.auth.headers()
    assert runs.read_text() == "xx"
    assert found.auth.refused()
    await found.auth.headers()
    assert runs.read_text() == "xxx"
    assert "t1" not in repr(found)


async def test_a_plugin_may_bring_a_certificate(tmp_path: Path):
    certificate, key = pair()
    answer = credential(clientCertificateData=certificate.decode(), clientKeyData=key.decode())
    found = load_with(tmp_path, plugin(tmp_path, answer))
    before = found.tls
    assert await found.auth.headers() == {}
    assert found.tls is not before


@pytest.mark.parametrize(
    ("change", "answer", "code", "word"),
    [
        ({}, "secret", 0, "printed no ExecCredential"),
        ({}, credential(), 0, "neither a token nor a certificate"),
        ({}, credential(clientCertificateData="x"), 0, "without its key"),
        ({}, credential(token="t"), 7, "ended with 7: not logged in"),
        ({"apiVersion": "client.authentication.k8s.io/v1beta1"}, credential(token="t"), 0, "the kubeconfig asks for"),
        ({"command": "./nothing"}, "", 0, "No such file"),
        ({"command": "no-such-plugin", "installHint": "install it"}, "", 0, "not on PATH: install it"),
    ],
)
async def test_a_plugin_that_fails_says_why_and_its_output_is_not_repeated(tmp_path: Path, change, answer, code, word):
    found = load_with(tmp_path, plugin(tmp_path, answer, code) | change)
    with pytest.raises(errors.CredentialError, match=word) as caught:
        await found.auth.headers()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1"),
        ({"interactiveMode": "Always"}, "terminal"),
    ],
)
def test_plugins_that_cannot_be_served_are_refused_at_once(tmp_path: Path, change, word):
    with pytest.raises(errors.ConfigError, match=word):
        load_with(tmp_path, plugin(tmp_path, "") | change)


# Proxies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "rules", "goes_through"),
    [
        ("https://example.com", "", True),
        ("https://localhost:6443", "", False),
        ("https://127.0.0.1:6443", "", False),
        ("https://[::1]:6443", "", False),
        ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://11.1.2.3", "10.0.0.0/8", True),
        ("https://[fd00::5]", "fd00::/8", False),
        ("https://a.example.com", "example.com", False),
        ("https://a.example.com", ".example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://badexample.com", "example.com", True),
        ("https://example.com:6443", "example.com:443", True),
        ("https://example.com:6443", "other, example.com:6443", False),
        ("https://example.com", "*", False),
    ],
)
def test_the_environments_proxy_by_the_rules_of_go(address, rules, goes_through):
    environment = {"HTTPS_PROXY": "proxy:3128", "no_proxy": rules}
    expected = URL("http://proxy:3128") if goes_through else None
    assert from_environment(URL(address), environment) == expected


# The real server ------------------------------------------------------------------------------------------------------


async def test_a_refused_token_is_read_again_once(plane, tmp_path: Path, faults: Faults):
    token = tmp_path / "token"
    token.write_text("expired")
    admin = config.load(plane.kubeconfig)
    found = config.ClusterConfig(server=admin.server, auth=TokenFile(token), trust=Trust(Hands(), ca=plane.ca))
    client = Client(found, faults)

    async def rotate(request: Any) -> Canned | None:
        token.write_text(plane.token)
        return None

    with pytest.raises(errors.Unauthorized):
        await client.list(CONFIG_MAPS, "default")
    assert len(faults.requests) == 2
    faults.faults.append(rotate)
    token.write_text("expired")
    assert (await client.list(CONFIG_MAPS, "default")).resource_version
    fixed = Client(config.ClusterConfig(found.server, BearerToken("wrong"), found.trust), faults)
    faults.requests.clear()
    with pytest.raises(errors.Unauthorized):
        await fixed.list(CONFIG_MAPS, "default")
    assert len(faults.requests) == 1


async def test_a_server_that_cannot_prove_itself_is_not_spoken_to(plane):
    admin = config.load(plane.kubeconfig)
    transport = AiohttpTransport()
    certificate, _ = pair("somebody else")
    try:
        for trust in (Trust(Hands()), Trust(Hands(), ca=certificate)):
            client = Client(config.ClusterConfig(admin.server, admin.auth, trust), transport, seed=1)
            with pytest.raises(errors.Unreachable, match=r"(?i)certificate"):
                await client.exchange("GET", "/version", repeatable=False)
    finally:
        await transport.close()
