"""A double of Google Cloud KMS and of Azure Key Vault, and of where one signs in for them, by HTTP, in a thread.

It is no cloud. That it speaks as one is what the real sops says of it, which signs in and asks with the clients that
Google and Microsoft made: by way of a proxy that leads every name of theirs here.
"""

import asyncio
import base64
import datetime as dt
import functools
import hashlib
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from yarl import URL

GOOGLE, KMS = "oauth2.googleapis.com", "cloudkms.googleapis.com"
MICROSOFT, VAULT = "login.microsoftonline.com", "fixtures.vault.azure.net"
RESOURCE = "projects/fixtures/locations/global/keyRings/ring/cryptoKeys/key"
ACCOUNT = "opener@fixtures.iam.gserviceaccount.com"
TENANT, CLIENT = "6a0d3d1e-tenant", "9f3b7c52-client"
CLIENT_SECRET = "secret-of-the-client~1"
GOOGLE_TOKEN, MICROSOFT_TOKEN = "ya29.token-of-the-double", "eyJ.token-of-the-double"
KEY, VERSION = "fixtures", "0123456789abcdef0123456789abcdef"
AZURE_KEY = Path(__file__).parent / "fixtures" / "clouds" / "azure-key.pem"
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


@functools.cache
def account_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*kinds).decode()


def google_credentials(**more: Any) -> bytes:
    """The key of the account that the double knows, in JSON as Google gives it."""
    written = {
        "type": "service_account",
        "project_id": "fixtures",
        "private_key_id": "0123456789",
        "private_key": pem(account_key()),
        "client_email": ACCOUNT,
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"https://{GOOGLE}/token",
        "universe_domain": "googleapis.com",
    }
    return json.dumps(written | more).encode()


class CloudsDouble:
    """Keys of Google are of their names, and the one of Azure is a fixture: what was encrypted opens in every run."""

    def __init__(self) -> None:
        self.port = 0
        self.proxy = ""
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        """Host, path with query, headers and body of every request."""
        self.answers: dict[str, tuple[int, Any]] = {}
        """What a host says to everything instead; text as it is."""
        self.meant: list[URL] = []
        """The addresses that our client meant, which `to` led here."""

    def to(self, url: URL) -> URL:
        """Where the double answers for an address."""
        self.meant.append(url)
        return URL(f"http://127.0.0.1:{self.port}/~{url.raw_authority}{url.raw_path_qs}", encoded=True)

    async def serve(self, request: web.Request) -> web.Response:
        host, path = request.host, request.raw_path
        if path.startswith("/~"):
            host, _, rest = path[2:].partition("/")
            path = f"/{rest}"
        body = await request.read()
        self.asked.append((host, path, dict(request.headers), body))
        if host in self.answers:
            status, said = self.answers[host]
            return web.Response(text=said, status=status) if isinstance(said, str) else _json(said, status)
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        shown = request.headers.get("Authorization", "")
        match host:
            case "oauth2.googleapis.com":
                return _google_signs_in(request.method, path, kind, body)
            case "cloudkms.googleapis.com":
                return _kms(request.method, path.partition("?")[0], kind, shown, body)
            case "login.microsoftonline.com":
                return _microsoft_signs_in(request.method, path.partition("?")[0], kind, body)
            case "fixtures.vault.azure.net":
                return _vault(request.method, URL(path, encoded=True), kind, shown, body)
        return web.Response(status=421)


def _google_signs_in(method: str, path: str, kind: str, body: bytes) -> web.Response:
    form = dict(parse_qsl(body.decode(), strict_parsing=True))
    if (method, path, kind) != ("POST", "/token", _FORM):
        return _json({"error": "invalid_request"}, 400)
    if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
        return _json({"error": "unsupported_grant_type"}, 400)
    claims = _claims(form.get("assertion", ""))
    if claims is None:
        return _json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
    scopes = {"https://www.googleapis.com/auth/cloudkms", "https://www.googleapis.com/auth/cloud-platform"}
    if claims.get("aud") != f"https://{GOOGLE}/token" or not scopes & set(claims.get("scope", "").split()):
        return _json({"error": "invalid_scope"}, 400)
    return _json({"access_token": GOOGLE_TOKEN, "expires_in": 3599, "token_type": "Bearer"})


def _claims(token: str) -> dict[str, Any] | None:
    """What a statement of the account says, or None if it is not signed by its key, or not for now."""
    try:
        head, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
        signed = token.rpartition(".")[0].encode()
        account_key().public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return None
    said: dict[str, Any] = json.loads(claims)
    now = time.time()
    lives = said["iat"] <= now + 300 and now < said["exp"] <= said["iat"] + 3600
    return said if json.loads(head)["alg"] == "RS256" and said["iss"] == ACCOUNT and lives else None


def _kms(method: str, path: str, kind: str, shown: str, body: bytes) -> web.Response:
    name, _, verb = path.removeprefix("/v1/").rpartition(":")
    if shown != f"Bearer {GOOGLE_TOKEN}":
        return _google_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
    if method != "POST" or kind != _JSON:
        return _google_error(400, "INVALID_ARGUMENT", "Invalid request.")
    if "denied" in name:
        return _google_error(403, "PERMISSION_DENIED", f"Permission denied on resource '{name}' for {shown}.")
    if "missing" in name:
        return _google_error(404, "NOT_FOUND", f"CryptoKey {name} not found.")
    key, told = AESGCM(hashlib.sha256(name.encode()).digest()), json.loads(body)
    if verb == "encrypt":
        nonce = os.urandom(12)
        sealed = nonce + key.encrypt(nonce, base64.b64decode(told["plaintext"]), None)
        return _json({"name": f"{name}/cryptoKeyVersions/1", "ciphertext": base64.b64encode(sealed).decode()})
    try:
        sealed = base64.b64decode(told["ciphertext"], validate=True)
        plain = key.decrypt(sealed[:12], sealed[12:], None)
    except (InvalidTag, ValueError):
        return _google_error(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
    return _json({"plaintext": base64.b64encode(plain).decode(), "usedPrimary": True, "protectionLevel": "SOFTWARE"})


def _google_error(status: int, said: str, message: str) -> web.Response:
    return _json({"error": {"code": status, "message": message, "status": said}}, status)


def _microsoft_signs_in(method: str, path: str, kind: str, body: bytes) -> web.Response:
    base = f"https://{MICROSOFT}/{TENANT}"
    if path == "/common/discovery/instance":
        names = {"preferred_network": MICROSOFT, "preferred_cache": MICROSOFT, "aliases": [MICROSOFT]}
        at = f"{base}/v2.0/.well-known/openid-configuration"
        return _json({"tenant_discovery_endpoint": at, "api-version": "1.1", "metadata": [names]})
    if path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
        at = f"{base}/oauth2/v2.0"
        ends = {"token_endpoint": f"{at}/token", "authorization_endpoint": f"{at}/authorize", "issuer": f"{base}/v2.0"}
        return _json(ends)
    if method != "POST" or kind != _FORM or path != f"/{TENANT}/oauth2/v2.0/token":
        return _json({"error": "invalid_request", "error_description": "AADSTS90002: Tenant not found."}, 400)
    form = dict(parse_qsl(body.decode(), strict_parsing=True))
    if form.get("grant_type") != "client_credentials" or "https://vault.azure.net/.default" not in form["scope"]:
        return _json({"error": "invalid_scope"}, 400)
    if (form.get("client_id"), form.get("client_secret")) != (CLIENT, CLIENT_SECRET):
        words = f"AADSTS7000215: Invalid client secret provided: {form.get('client_secret')}."
        return _json({"error": "invalid_client", "error_description": words, "error_codes": [7000215]}, 401)
    return _json({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": MICROSOFT_TOKEN})


def _vault(method: str, url: URL, kind: str, shown: str, body: bytes) -> web.Response:
    if shown != f"Bearer {MICROSOFT_TOKEN}":
        answer = _azure_error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        challenge = f'Bearer authorization="https://{MICROSOFT}/{TENANT}", resource="https://vault.azure.net"'
        answer.headers["WWW-Authenticate"] = challenge
        return answer
    _, keys, name, version, verb = url.raw_parts
    if method != "POST" or kind != _JSON or keys != "keys" or "api-version" not in url.query:
        return _azure_error(400, "BadParameter", "Invalid request.")
    if name == "denied":
        return _azure_error(403, "Forbidden", f"Caller with {shown} is not authorized.", "ForbiddenByRbac")
    if (name, version) != (KEY, VERSION):
        return _azure_error(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
    told = json.loads(body)
    if told["alg"] != "RSA-OAEP-256":
        return _azure_error(400, "BadParameter", "The algorithm is not supported.")
    key = serialization.load_pem_private_key(AZURE_KEY.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    value = base64.urlsafe_b64decode(told["value"] + "=" * (-len(told["value"]) % 4))
    try:
        out = key.public_key().encrypt(value, _OAEP) if verb == "encrypt" else key.decrypt(value, _OAEP)
    except ValueError:
        return _azure_error(400, "BadParameter", "The parameter is incorrect.")
    kid = f"https://{VAULT}/keys/{name}/{version}"
    return _json({"kid": kid, "value": base64.urlsafe_b64encode(out).rstrip(b"=").decode()})


def _azure_error(status: int, code: str, message: str, inner: str = "") -> web.Response:
    error: dict[str, Any] = {"code": code, "message": message}
    return _json({"error": error | ({"innererror": {"code": inner}} if inner else {})}, status)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.json_response(data, status=status)


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for the names of the clouds that vouches for itself, and the file it is in."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clouds")])
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in (GOOGLE, KMS, MICROSOFT, VAULT)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    file, both = directory / "clouds.crt", directory / "clouds.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_text(file.read_text() + pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, file


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[CloudsDouble]:
    """The double at work on a port of loopback; with `tls` also behind a proxy that leads every name to it."""
    double, loop = CloudsDouble(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", double.serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        double.port = runner.addresses[0][1]
        if tls is not None:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            double.proxy = f"http://127.0.0.1:{await _proxy(runner.addresses[1][1])}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield double
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        asyncio.run_coroutine_threadsafe(_end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


async def _proxy(target: int) -> int:
    """The port of a proxy that leads every name to one port."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _end() -> None:
    """Lines of the proxy that are still open end with the loop."""
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def environment(double: CloudsDouble, authority: Path, home: Path) -> dict[str, str]:
    """What leads the real sops to the double, with credentials for it."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "HTTPS_PROXY": double.proxy,
        "SSL_CERT_FILE": str(authority),
        "SOPS_GCP_KMS_CLIENT_TYPE": "rest",
        "GOOGLE_CREDENTIALS": google_credentials().decode(),
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
    }


KEYS_OF_SOPS = {
    "gcp_kms": ("--gcp-kms", RESOURCE),
    "azure_kv": ("--azure-kv", f"https://{VAULT}/keys/{KEY}/{VERSION}"),
}
