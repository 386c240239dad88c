"""Every secret place, with canaries in it: each plant is created, then seen to arrive, then harmed.

A plant goes on in steps, so that all of them grow at the same time.
"""

import base64
import json
import os
import re
from collections.abc import Generator
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.buckets.store import Moto
from tests.charts.world import ChartServer, index, listed
from tests.charts.world import chart as packed_chart
from tests.e2e.canary_ground import PLAIN, Answers, Ground, config_map, kubeconfig_of_account, sealed
from tests.e2e.releases import Home, chart
from tests.e2e.test_decryption import DECRYPTION, EVERYWHERE
from tests.e2e.test_git_fields import running
from tests.e2e.test_receivers import signed
from tests.e2e.world import until
from tests.registry.server import CONTENT, MANIFEST, RegistryServer, archive, descriptor, digest, manifest
from tests.remotes.forge import Forge
from tests.remotes.proxies import proxy
from tests.remotes.world import Authority, Sshd
from tests.sops import vault_double
from tests.sops.conftest import FIXTURES, KEYS
from tests.sops.make_fixtures import VAULT
from trimtab.cluster.gitserver import GitServer

Plant = Generator[None, None, None]
HTPASSWD = "reader:$2b$04$AlYfTvWP7/CW2yB0CxwV2Oy7LZjArIB0JvrVMhpyt5Apc5Z7iVRIi\n"
REGISTRY_PASSWORD = "canary-in-a-registry-login"


def files_of_sops(ground: Ground) -> Plant:
    """Values of every format, keys of every kind, in every way in which they do not fit."""
    ns = ground.namespace("sops")
    repo = ground.repo(ns)
    vault = ground.closing.enter_context(vault_double.running())
    of_vault = (FIXTURES / "keyed" / "vault.yaml").read_text().replace(VAULT, vault.address)
    kustomization = str(EVERYWHERE["app/kustomization.yaml"]).replace("token.json, ", "token.json, token.ini, ")
    repo.commit(
        {
            **EVERYWHERE,
            "app/kustomization.yaml": kustomization,
            "json/kustomization.yaml": "resources: [manifest.json]\n",
            "json/manifest.json": sealed("manifest.json"),
            "refused/refused.yaml": sealed("refused.yaml"),
            "pgp/secret.yaml": (FIXTURES / "keyed" / "cv25519.yaml").read_text(),
            "vault/secret.yaml": of_vault,
        }
    )
    ground.source(ns, repo.url)
    keys: dict[str, str | bytes] = {name: (KEYS / name).read_bytes() for name in ("age.agekey", "cv25519.asc")}
    ground.needles.add("the key of age", (KEYS / "age.agekey").read_bytes().split(b"\n")[1])
    ground.needles.add("the key of OpenPGP", (KEYS / "cv25519.asc").read_bytes())
    ground.needles.add("the token of Vault", vault_double.TOKEN)
    ground.needles.add("the token that Vault gave an account", vault_double.LOGGED_IN)
    ground.needles.add("a decrypted value", "correct horse battery staple")
    at = {"sops.vault-address": vault.address}
    ground.secret(ns, "sops-keys", {**keys, **at, "sops.vault-token": vault_double.TOKEN})
    ground.secret(ns, "wrong-keys", {"age.agekey": (KEYS / "other.agekey").read_bytes()})
    ground.secret(ns, "bad-keys", {"age.agekey": "AGE-SECRET-KEY-1canary-in-a-bad-key"})
    ground.secret(ns, "bad-token", {**at, "sops.vault-token": "canary-in-a-vault-token"})
    ground.needles.add("the other key of age", (KEYS / "other.agekey").read_bytes().split(b"\n")[1])
    for name in ("app", "json", "refused", "pgp", "vault"):
        ground.app(ns, name, f"./{name}", decryption=DECRYPTION, namePrefix=f"{name}-")
    for name, path in (("wrong-keys", "json"), ("bad-keys", "json"), ("bad-token", "vault")):
        ground.app(ns, name, f"./{path}", decryption={"provider": "sops", "secretRef": {"name": name}})
    account = {"provider": "sops", "serviceAccountName": "opener"}
    ground.app(ns, "account", "./vault", decryption=account, namePrefix="account-")
    ground.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "opener"}})
    may = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["opener"], "verbs": ["create"]}
    rights = "/apis/rbac.authorization.k8s.io/v1/namespaces"
    ground.api.create(f"{rights}/{ns}/roles", {"metadata": {"name": "opener"}, "rules": [may]})
    subject = {"kind": "ServiceAccount", "name": "opener", "namespace": ns}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "opener"}
    bound = {"metadata": {"name": "opener"}, "roleRef": role, "subjects": [subject]}
    ground.api.create(f"{rights}/{ns}/rolebindings", bound)
    listed_vaults = yaml.safe_dump({"instances": [{"address": vault.address, "loginPath": "auth/kubernetes/login"}]})
    ground.api.create(
        "/api/v1/namespaces/flux-system/configmaps",
        {"metadata": {"name": "canary-vaults"}, "data": {"config.yaml": listed_vaults}},
    )
    ground.closing.callback(ground.api.delete, "/api/v1/namespaces/flux-system/configmaps/canary-vaults")
    yield
    for name in ("app", "json", "pgp", "vault", "account"):
        ground.ready(ns, name)
    ground.needles.add(
        "the token of an account", next(b["jwt"] for path, _, b in vault.asked if path.endswith("login"))
    )
    assert base64.b64decode(ground.data(ns, "secrets", "app-sources")["TOKEN"]) == b"canary-in-an-env-file"
    ground.failed(ns, "refused", "ValidationFailed", "spec.sessionAffinity")
    ground.failed(ns, "wrong-keys", "BuildFailed", "none of the age keys")
    ground.failed(ns, "bad-keys", "BuildFailed", "age.agekey")
    ground.failed(ns, "bad-token", "BuildFailed", "403")
    settings = f"/api/v1/namespaces/{ns}/configmaps/app-settings"
    ground.api.merge(settings, {"data": {"setting": "somebody-was-here"}})
    ground.api.merge(f"/api/v1/namespaces/{ns}/secrets/app-manifest", {"data": {"token": "c29tZWJvZHk="}})
    yield
    until(lambda: ground.api.get(settings)["data"]["setting"] != "somebody-was-here", "drift is corrected")
    ground.event(ns, "app-settings")
    ground.event(ns, "app-manifest")
    repo.commit({"app/token.env": sealed("token.env").replace("TOKEN", "OTHER")})
    ground.poke(ns)
    yield
    ground.failed(ns, "app", "BuildFailed", "token.env cannot be decrypted")
    repo.commit({"app/token.env": sealed("token.env"), "app/patch.yaml": sealed("patch.yaml").replace("ENC[", "enc[")})
    ground.poke(ns)
    ground.failed(ns, "app", "BuildFailed", "cannot be decrypted")


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: "registry.example/a:1", env: [{name: P, value: "${password}"}]}]}
"""


def variables(ground: Ground) -> Plant:
    """Values of Secrets where substitution puts them."""
    ns = ground.namespace("variables")
    repo = ground.repo(ns)
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec:\n  sessionAffinity: %s\n  ports: [{port: 1}]\n"
    held = {
        "password": "canary-in-a-variable-and-its-tail-7f3a9c41",
        "odd": "canary-in-an-odd-variable-/+\"'\\&?",
        "broken": 'canary-in-a-broken-variable": [',
        "encoded": base64.b64encode(b"canary-in-an-encoded-variable").decode(),
        "address": "https://bot:canary-in-an-address@nowhere.invalid/",
    }
    ground.needles.add("the tail of a variable", "its-tail-7f3a9c41")
    held_by = ground.secret(ns, "vars", held)
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n"
    told = {"plain": "${password}", "head": "x${password}y", "tail": "${password:20}", "capitals": "${password^^}"}
    told |= {"address": "${address}", "replaced": "${password/canary/bird}"}
    lines = "".join(f'  {name}: "{value}"\n' for name, value in told.items()) + "  odd: ${odd}\n"
    repo.commit(
        {
            "app/web.yaml": DEPLOYMENT,
            "app/config.yaml": config + lines,
            "app/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: '${encoded}'}\n",
            "refused/service.yaml": service % "${password}",
            "tail/service.yaml": service % "${password:20}",
            "odd/service.yaml": service % "${odd}",
            "bytes/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\ndata: {p: '${password}'}\n",
            "broken/service.yaml": service % '"${broken}"',
            "unset/service.yaml": service % "${password}${nothing_of_that_name}",
            "named/config.yaml": config_map("n", a="b").replace('"b"', '"${password"'),
        }
    )
    ground.source(ns, repo.url)
    from_ = {"substituteFrom": [{"kind": "Secret", **held_by}]}
    for name in ("app", "refused", "tail", "odd", "bytes", "broken", "unset", "named"):
        ground.app(ns, name, f"./{name}", postBuild=from_, namePrefix=f"{name}-")
    yield
    ground.ready(ns, "app")
    assert ground.data(ns, "configmaps", "app-c")["head"] == f"x{held['password']}y"
    for name in ("refused", "tail", "odd", "bytes"):
        ground.failed(ns, name, "ValidationFailed")
    for name in ("broken", "unset", "named"):
        ground.failed(ns, name, "BuildFailed")
    for name in ("plain", "head", "tail", "capitals", "address", "replaced", "odd"):
        ground.api.merge(f"/api/v1/namespaces/{ns}/configmaps/app-c", {"data": {name: f"changed-{name}"}})
        until(lambda name=name: "changed" not in ground.data(ns, "configmaps", "app-c")[name], f"{name} is corrected")
    deployment = f"/apis/apps/v1/namespaces/{ns}/deployments/app-web"
    drifted = {"name": "a", "image": "registry.example/a:1", "env": [{"name": "P", "value": "changed"}]}
    ground.api.merge(deployment, {"spec": {"template": {"spec": {"containers": [drifted]}}}})
    ground.api.merge(f"/api/v1/namespaces/{ns}/secrets/app-s", {"data": {"p": "eA=="}})
    yield
    ground.event(ns, "Deployment/")
    # Another value: the one before is in force until it is replaced.
    ground.api.merge(
        f"/api/v1/namespaces/{ns}/secrets/vars", {"stringData": {"password": "canary-in-a-second-variable"}}
    )
    ground.poke_app(ns, "app")
    until(lambda: ground.data(ns, "configmaps", "app-c")["plain"] == "canary-in-a-second-variable", "it is replaced")


def generators(ground: Ground) -> Plant:
    """What is plain in git is in the artifact, and in nothing that is told."""
    ns = ground.namespace("generators")
    repo = ground.repo(ns)
    literal = {"name": "g", "literals": [f"password={PLAIN}"], "files": ["file.txt"], "envs": ["file.env"]}
    kustomization = {"resources": ["s.yaml"], "secretGenerator": [literal]}
    kustomization["generatorOptions"] = {"disableNameSuffixHash": True}
    shown = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": PLAIN}}
    repo.commit(
        {
            "app/kustomization.yaml": json.dumps(kustomization),
            "app/file.txt": f"{PLAIN}-file",
            "app/file.env": f"A={PLAIN}-env",
            "app/s.yaml": json.dumps(shown),
            "refused/s.yaml": json.dumps({**shown, "stringData": None, "data": {"p": f"{PLAIN}-no-base64"}}),
            "typed/s.yaml": json.dumps({**shown, "type": "kubernetes.io/tls"}),
        }
    )
    ground.source(ns, repo.url)
    for name in ("app", "refused", "typed"):
        ground.app(ns, name, f"./{name}", namePrefix=f"{name}-")
    yield
    ground.ready(ns, "app")
    ground.failed(ns, "refused")
    ground.failed(ns, "typed")
    for name in ("app-g", "app-s"):
        ground.api.merge(f"/api/v1/namespaces/{ns}/secrets/{name}", {"data": {"password": "eA==", "p": "eA=="}})
    yield
    ground.event(ns, "app-g")
    ground.event(ns, "app-s")


def git(ground: Ground) -> Plant:
    """Passwords, tokens, keys, and proxies of git."""
    ns = ground.namespace("git")
    repo = ground.repo(ns)
    commit = repo.commit({"a.yaml": config_map("a", a="b")})
    pki = ground.directory / "pki"
    strict = ground.directory / "strict"
    for place in (pki, strict, ground.directory / "sshd"):
        place.mkdir()
    authority, demanding = Authority.create(pki), Authority.create(strict, demanding=True)
    certificate, key = demanding.client()
    app_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = serialization.load_pem_private_key(app_key, None).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    ground.needles.add("the key of a GitHub App", app_key)
    ground.needles.add("the key of a client certificate", key)

    class Bearing(GitServer):
        def _signed_in(self, request: Any) -> str | None:
            return "bot" if request.headers.get("Authorization") == "Bearer canary-in-a-bearer-token" else None

    class OfApp(GitServer):
        def _signed_in(self, request: Any) -> str | None:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            password = base64.b64decode(token).decode().partition(":")[2] if scheme == "Basic" else ""
            return "app" if forge.good(password) else None

    forge = Forge(authority.context, public, stem="canary-in-a-token-of-an-app-")
    password = 'canary-in-a-git-password-/+"@:%'
    servers = ground.closing.enter_context(
        running(
            GitServer(ground.git_root, accounts={"reader": password}, tls=authority.context),
            Bearing(ground.git_root, tls=authority.context),
            GitServer(ground.git_root, tls=demanding.context),
            OfApp(ground.git_root, tls=authority.context),
            forge,
            proxy("bot:canary-in-a-proxy-login"),
        )
    )
    basic, bearer, mutual, of_app, _, way = servers
    way.leads["git.nowhere.invalid"] = int(repo.url.split(":")[2].split("/")[0])
    ca = {"ca.crt": authority.ca}
    data: dict[str, tuple[str, dict[str, str | bytes]]] = {
        "basic": (basic.url(ns), {**ca, "username": "reader", "password": password}),
        "wrong": (basic.url(ns), {**ca, "username": "reader", "password": "canary-in-a-wrong-git-password"}),
        "bearer": (bearer.url(ns), {**ca, "bearerToken": "canary-in-a-bearer-token"}),
        "wrong-bearer": (bearer.url(ns), {**ca, "bearerToken": "canary-in-a-wrong-bearer-token"}),
        "mutual": (mutual.url(ns), {"ca.crt": demanding.ca, "tls.crt": certificate, "tls.key": key}),
        "plain": (repo.url, {"username": "reader", "password": "canary-in-a-password-for-plain-http"}),
    }
    good, bad = ["basic", "bearer", "mutual"], ["wrong", "wrong-bearer", "plain"]
    if Sshd.available():
        sshd = Sshd.start(ground.directory / "sshd")
        ground.closing.callback(sshd.stop)
        ground.needles.add("the key of ssh", sshd.identity)
        ground.needles.add("the locked key of ssh", sshd.locked_identity)
        ground.needles.add("the passphrase of a key of ssh", sshd.passphrase)
        url = f"ssh://{os.environ.get('USER', 'root')}@127.0.0.1:{sshd.port}{repo.bare}"
        known: dict[str, str | bytes] = {"known_hosts": sshd.known_hosts}
        data["ssh"] = (url, {**known, "identity": sshd.identity})
        data["locked"] = (url, {**known, "identity": sshd.locked_identity, "password": sshd.passphrase})
        wrong = "canary-in-a-wrong-passphrase"
        data["still-locked"] = (url, {**known, "identity": sshd.locked_identity, "password": wrong})
        good += ["ssh", "locked"]
        bad += ["still-locked"]
    for name, (url, entries) in data.items():
        ground.source(ns, url, name, secretRef=ground.secret(ns, name, entries))
    of = {"githubAppID": "1234", "githubAppInstallationOwner": "acme", "githubAppPrivateKey": app_key}
    for name, more in (("app", {}), ("app-away", {"githubAppBaseURL": "https://127.0.0.1:1/api/v3"})):
        entries = {**of, "githubAppBaseURL": forge.url, **ca, **more}
        ground.source(ns, of_app.url(ns), name, provider="github", secretRef=ground.secret(ns, name, entries))
    for name, word in (("proxied", "canary-in-a-proxy-login"), ("proxied-wrong", "canary-in-a-wrong-proxy-login")):
        entries = {"address": f"http://127.0.0.1:{way.port}", "username": "bot", "password": word}
        ref = ground.secret(ns, name, entries)
        ground.source(ns, f"http://git.nowhere.invalid/{ns}.git", name, proxySecretRef=ref, timeout="10s")
    answers = ground.closing.enter_context(Answers())
    to = "https://bot:canary-in-a-redirect@127.0.0.1:1/x.git?token=canary-in-the-query-of-a-redirect"
    answers.by_path["/x.git/info/refs"] = (302, {"Location": to}, b"")
    away = "https://127.0.0.1:1/y.git/info/refs?X-Amz-Signature=canary-in-a-signed-redirect&service=git-upload-pack"
    answers.by_path["/y.git/info/refs"] = (302, {"Location": away}, b"")
    for name in ("x", "y"):
        ground.source(ns, f"http://{answers.host}/{name}.git", f"redirected-{name}")
    ground.source(ns, "https://bot:canary-in-the-address-of-a-repository@127.0.0.1:1/x.git", "addressed")
    ground.source(ns, "https://canary-in-the-user-of-an-address@127.0.0.1:1/x.git", "addressed-too")
    good += ["app", "proxied"]
    bad += ["app-away", "proxied-wrong", "redirected-x", "redirected-y", "addressed", "addressed-too"]
    yield
    for name in good:
        ground.comes(ns, "gitrepositories", name, "True", commit)
    for name in bad:
        ground.comes(ns, "gitrepositories", name, "False")
    forge.tokens.clear()
    ground.poke(ns, "app")
    yield
    until(lambda: forge.tokens, "a new token is asked for")
    ground.api.delete(f"/api/v1/namespaces/{ns}/secrets/basic")
    ground.secret(ns, "basic", {**ca, "username": "reader", "password": "canary-in-a-later-password"})
    ground.poke(ns, "basic")
    ground.comes(ns, "gitrepositories", "basic", "False")


def docker(host: str, password: str) -> dict[str, str | bytes]:
    auth = base64.b64encode(f"reader:{password}".encode()).decode()
    return {".dockerconfigjson": json.dumps({"auths": {host: {"auth": auth}}})}


def registries(ground: Ground) -> Plant:
    """Logins of registries, and the tokens that they give for them."""
    ns = ground.namespace("registries")
    root = ground.directory / "registry"
    server = RegistryServer(root, private=True, login=(f"reader:{REGISTRY_PASSWORD}", HTPASSWD))
    server.start()
    ground.closing.callback(server.stop)
    server.push("app", "latest", {"a.yaml": config_map("a", a="b")})
    answers = ground.closing.enter_context(Answers())
    token = "canary-in-a-token-of-a-registry"
    realm = f'Bearer realm="http://{answers.host}/token",service="here"'
    answers.by_path["/token"] = (200, {}, json.dumps({"token": token}).encode())
    answers.by_path["/v2/asked/manifests/latest"] = (401, {"WWW-Authenticate": realm}, f"not with {token}".encode())
    layer = archive({"a.yaml": config_map("a", a="b")})
    body = manifest([descriptor(layer, CONTENT)])
    kind = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(body)}
    away = "https://127.0.0.1:1/blob?X-Amz-Signature=canary-in-the-signature-of-a-blob"
    elsewhere = "http://bot:canary-in-the-redirect-of-a-blob@127.0.0.1:1/blob"
    for name, to in (("signed", away), ("sent", elsewhere)):
        for reference in ("latest", digest(body)):
            answers.by_path[f"/v2/{name}/manifests/{reference}"] = (200, kind, body)
        for blob in (layer, b"{}"):
            answers.by_path[f"/v2/{name}/blobs/{digest(blob)}"] = (307, {"Location": to}, b"")
    right, wrong = docker(server.host, REGISTRY_PASSWORD), docker(server.host, "canary-in-a-wrong-registry-login")
    for name, entries in (("right", right), ("wrong", wrong), ("asking", docker(answers.host, "canary-in-a-login"))):
        ground.secret(ns, name, entries, labels={"a": "b"})
    ground.secret(ns, "broken", {".dockerconfigjson": '{"auths": {"x": {"auth": "canary-in-a-broken-login"'})
    ground.secret(ns, "unread", {".dockerconfigjson": '{"auths": {"x": {"auth": "canary-in-an-auth"}}}'})
    urls = {
        **dict.fromkeys(("right", "wrong", "broken", "unread"), f"oci://{server.host}/app"),
        "asking": f"oci://{answers.host}/asked",
        "signed": f"oci://{answers.host}/signed",
        "sent": f"oci://{answers.host}/sent",
        "refused": f"oci://{answers.host}/refused",
        "addressed": f"oci://bot:canary-in-the-address-of-a-registry@{server.host}/app",
        "away": "oci://bot:canary-in-the-address-of-a-registry-that-is-away@127.0.0.1:1/app",
    }
    for name, url in urls.items():
        ref = {} if name in ("signed", "sent", "addressed", "away") else {"secretRef": {"name": name}}
        ref = {"secretRef": {"name": "asking"}} if name == "refused" else ref
        ground.make(ns, "OCIRepository", name, url=url, insecure=True, **ref)
    yield
    ground.comes(ns, "ocirepositories", "right", "True")
    for name in urls.keys() - {"right"}:
        ground.comes(ns, "ocirepositories", name, "False")


def charts(ground: Ground) -> Plant:
    """Passwords of repositories of charts."""
    ns = ground.namespace("charts")
    password = "canary-in-a-chart-password"
    server = ChartServer(ground.directory / "charts", password=password)
    server.start()
    ground.closing.callback(server.close)
    packed = packed_chart("app", "1.0.0")
    server.publish(("app", "1.0.0", packed))
    answers = ground.closing.enter_context(Answers())
    to = "https://127.0.0.1:1/index.yaml?X-Amz-Signature=canary-in-the-signature-of-an-index"
    answers.by_path["/signed/index.yaml"] = (302, {"Location": to}, b"")
    at = f"https://bot:{PLAIN}-address@127.0.0.1:1/app.tgz?sig={PLAIN}-query"
    answers.by_path["/listed/index.yaml"] = (200, {}, index([listed("app", "1.0.0", packed, at)]))
    ground.secret(ns, "right", {"username": "reader", "password": password})
    ground.secret(ns, "wrong", {"username": "reader", "password": "canary-in-a-wrong-chart-password"})
    urls = {
        "right": server.url,
        "wrong": server.url,
        "signed": f"http://{answers.host}/signed",
        "listed": f"http://{answers.host}/listed",
        "refused": f"http://{answers.host}/refused",
        "addressed": "https://bot:canary-in-the-address-of-charts@127.0.0.1:1/charts",
    }
    for name, url in urls.items():
        ref = {"secretRef": {"name": "right" if name == "refused" else name}}
        ref = {} if name in ("signed", "listed", "addressed") else ref
        ground.make(ns, "HelmRepository", name, url=url, insecure=True, **ref)
        source = {"kind": "HelmRepository", "name": name}
        ground.make(ns, "HelmChart", name, chart="app", version="1.x", sourceRef=source)
    yield
    ground.comes(ns, "helmcharts", "right", "True")
    for name in urls.keys() - {"right"}:
        ground.comes(ns, "helmcharts", name, "False")


def buckets(ground: Ground) -> Plant:
    """Keys of buckets."""
    ns = ground.namespace("buckets")
    moto = Moto()
    ground.closing.callback(moto.stop)
    moto.bucket("the-bucket", {"a.yaml": config_map("a", a="b")})
    answers = ground.closing.enter_context(Answers())
    ref = ground.secret(ns, "keys", {"accesskey": "canary-in-an-access-key", "secretkey": "canary-in-a-secret-key"})
    for name, endpoint in (("right", moto.host), ("refused", answers.host), ("away", "127.0.0.1:1")):
        ground.make(ns, "Bucket", name, bucketName="the-bucket", endpoint=endpoint, insecure=True, secretRef=ref)
    at = "bot:canary-in-the-endpoint-of-a-bucket@127.0.0.1:1"
    ground.make(ns, "Bucket", "addressed", bucketName="the-bucket", endpoint=at, insecure=True, secretRef=ref)
    lines = {"accesskey": "canary-in-an-access-key\nof-two-lines", "secretkey": "canary-in-a-secret-key"}
    ground.make(
        ns,
        "Bucket",
        "lines",
        bucketName="the-bucket",
        endpoint=moto.host,
        insecure=True,
        secretRef=ground.secret(ns, "lines", lines),
    )
    yield
    ground.comes(ns, "buckets", "right", "True")
    for name in ("refused", "away", "addressed", "lines"):
        ground.comes(ns, "buckets", name, "False")


def receivers(ground: Ground) -> Plant:
    """Tokens of webhooks, and the paths that are made of them."""
    ns = ground.namespace("receivers")
    repo = ground.repo(ns)
    repo.commit({"a.yaml": config_map("a", a="b")})
    ground.source(ns, repo.url)
    token = "canary-in-a-webhook-token"
    ground.token(ns, token=token)
    kinds = {"hook": {}, "generic": {"type": "generic"}, "hmac": {"type": "generic-hmac"}, "gitlab": {"type": "gitlab"}}
    for name, spec in kinds.items():
        ground.receiver(ns, name, **spec)
    ground.secret(ns, "bad", {"token": "canary-in-a-token\nwith-two-lines"})
    ground.receiver(ns, "bad", secretRef={"name": "bad"})
    ground.receiver(ns, "denied", resources=[{"kind": "GitRepository", "name": "repo", "namespace": "kube-system"}])
    yield
    paths = [ground.path(ns, name) for name in kinds]
    ground.paths += paths
    body = json.dumps({"ref": "refs/heads/main", "repository": {"full_name": "canary-free/shop"}}).encode()
    assert ground.post(paths[0], body, signed(body, token))[0] == 200
    for path in paths:
        for headers in (signed(body, "canary-in-a-wrong-token"), {"X-Gitlab-Token": token}, {}):
            for said in (ground.post(path, body, headers), ground.post(path, b"not JSON " + token.encode(), headers)):
                assert not ground.needles.leaks("an answer to a webhook", said[1])
    ground.post(f"/hook/{token}", body)


def clusters(ground: Ground) -> Plant:
    """Tokens in kubeconfigs of other clusters."""
    ns = ground.namespace("clusters")
    home = Home(ground, "clusters")
    repo = ground.repo(ns)
    repo.commit({"a.yaml": config_map("a", a="b")})
    ground.source(ns, repo.url)
    home.charts(chart())
    good, token = kubeconfig_of_account(ground.api, ns, "far")
    ground.needles.add("the token in a kubeconfig", token)
    bad = good.replace(token.encode(), b"canary-in-the-token-of-a-kubeconfig")
    away = re.sub(rb"https://[^\s\"']+", b"https://127.0.0.1:1", bad)
    texts = {"good": good, "bad": bad, "away": away, "broken": b"canary-in-a-broken-kubeconfig: [" + good[:40]}
    texts["asking"] = good.replace(b'"token":', b'"exec": {"command": "canary-in-a-command"}, "token":')
    for name, text in texts.items():
        for where in (ns, home.ns):
            ground.secret(where, name, {"value": text})
        ground.app(ns, name, namePrefix=f"{name}-", kubeConfig={"secretRef": {"name": name}})
        home.release(name, kubeConfig={"secretRef": {"name": name}})
    yield
    ground.ready(ns, "good")
    home.ready("good")
    for name in texts.keys() - {"good"}:
        ground.failed(ns, name, timeout=60)
        home.failed(name, timeout=60)


FORMS = {
    "plain": ".Values.password",
    "within": 'printf "user:%s@host" .Values.token',
    "encoded": "b64enc .Values.password",
    "shifted": 'printf "u:%s" .Values.password | b64enc',
    "shifted-again": 'printf "us:%s!" .Values.token | b64enc',
    "hex": 'printf "%x" .Values.password',
    "query": "urlquery .Values.password",
    "json": ".Values.password | toJson | toJson",
    "decrypted": ".Values.encrypted",
}
IN_TEMPLATES = (
    *("$v.password", "$v.token", "$v.encrypted", "b64enc $v.password", 'printf "u:%s" $v.password | b64enc'),
    *('printf "us:%s!" $v.token | b64enc', 'printf "%x" $v.password', 'printf "%X" $v.password'),
    *("urlquery $v.password", "$v.password | toJson | toJson", "$v.password | quote | quote", "html $v.password"),
)
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {name: '{{ .Release.Name }}-%s'}
spec: {sessionAffinity: {{ cat "is" (%s) | quote }}, ports: [{port: 1}]}
"""
WORKLOAD = """\
apiVersion: %(api)s
kind: %(kind)s
metadata:
  name: '{{ .Release.Name }}-%(name)s'
  annotations: {%(notes)s}
spec:
  %(more)s
  template:
    metadata: {labels: {app: '{{ .Release.Name }}'}}
    spec:
      %(pod)s
      containers:
        - name: a
          image: registry.example/a:1
          args: ['{{ .Values.token }}']
          env: [{name: P, value: {{ .Values.password | quote }}}]
"""
LOOKING = """\
{{ with lookup "v1" "Secret" .Release.Namespace "looked" }}
{{ fail (printf "%s or %s" .data.p (.data.p | b64dec)) }}
{{ end }}
"""


def hook(event: str, *, fails: bool = False, policy: str = "Never") -> str:
    pod = f"restartPolicy: {policy}" + ("\n      nodeSelector: {nowhere: 'true'}" if fails else "")
    more = "activeDeadlineSeconds: 1" if fails else "backoffLimit: 1"
    notes = f"helm.sh/hook: '{event}'"
    return WORKLOAD % {"api": "batch/v1", "kind": "Job", "name": event, "notes": notes, "more": more, "pod": pod}


def releases(ground: Ground) -> Plant:
    """Values of releases, wherever a chart puts them, and however it fails."""
    home = Home(ground, "releases")
    ns = home.ns
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Release.Name }}'}\n"
    secret += "stringData: {p: {{ .Values.password | quote }}}\n"
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata:\n"
    config += "".join(f"  {name}: {{{{ ({form}) | quote }}}}\n" for name, form in FORMS.items())
    selector = "selector: {matchLabels: {app: '{{ .Release.Name }}'}}"
    deployment = WORKLOAD % {
        "api": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "notes": "",
        "more": selector,
        "pod": "",
    }
    every = ' " " '.join(f"({word})" for word in IN_TEMPLATES)
    failing = f"{{{{ $v := .Values }}}}{{{{ fail (print {every}) }}}}\n"
    services = "".join(SERVICE % (number, form.replace("$v", ".Values")) for number, form in enumerate(IN_TEMPLATES))
    wrong_schema = {
        "properties": {"password": {"pattern": "^[0-9]+$", "maxLength": 5, "enum": ["a"], "type": "integer"}}
    }
    made = {
        "good": {
            "templates/s.yaml": secret,
            "templates/c.yaml": config,
            "templates/d.yaml": deployment,
            "templates/h.yaml": hook("pre-install"),
            "templates/t.yaml": hook("test"),
        },
        "failing": {"templates/f.yaml": failing},
        "refused": {"templates/s.yaml": services},
        "no-hook": {"templates/h.yaml": hook("pre-install", fails=True)},
        "bad-hook": {"templates/h.yaml": hook("pre-install", policy="{{ .Values.password }}")},
        "bad-test": {"templates/t.yaml": hook("test", fails=True), "templates/c.yaml": config},
        "schema": {"values.schema.json": json.dumps(wrong_schema)},
        "no-yaml": {"templates/y.yaml": "a: {{ .Values.password }}: [\n b"},
        "no-object": {"templates/y.yaml": "{{ .Values.password }}"},
        "no-map": {"templates/y.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ .Values.password }}\n"},
        "no-number": {"templates/y.yaml": "a: {{ int64 .Values.password }}{{ .Values.password.nothing }}"},
        "looking": {"templates/l.yaml": LOOKING},
    }
    home.charts(*(chart(name=name, files={"templates/config.yaml": "", **files}) for name, files in made.items()))
    ground.secret(ns, "values", {"values.yaml": 'password: "canary-in-values-/+\\"&?"\nempty: ""\n'})
    ground.secret(ns, "one", {"one": "canary-in-a-single-value"})
    ground.secret(ns, "looked", {"p": "canary-in-a-secret-that-is-looked-up"})
    ground.secret(ns, "broken", {"values.yaml": "password: canary-in-broken-values: [\n"})
    ground.secret(ns, "listed", {"values.yaml": "[canary-in-values-that-are-a-list]"})
    ground.secret(ns, "sops-keys", {"age.agekey": (KEYS / "age.agekey").read_bytes()})
    sealed_values = ground.repo(f"{ns}-values")
    sealed_values.commit({"v/values.yaml": sealed("release-values.yaml")})
    ground.source(ns, sealed_values.url, "sealed")
    ground.app(ns, "values", "./v", decryption=DECRYPTION, sourceRef={"kind": "GitRepository", "name": "sealed"})
    ground.ready(ns, "values")
    from_ = [
        {"kind": "Secret", "name": "values"},
        {"kind": "Secret", "name": "release-values"},
        {"kind": "Secret", "name": "one", "valuesKey": "one", "targetPath": "token"},
    ]
    patch = {"target": {"kind": "ConfigMap"}, "patch": "- {op: add, path: /data/patched, value: 'yes'}"}
    post = [{"kustomize": {"patches": [patch]}}]
    home.release(
        "good", "good", valuesFrom=from_, postRenderers=post, test={"enable": True}, driftDetection={"mode": "enabled"}
    )
    for name in made.keys() - {"good"}:
        more = {"test": {"enable": True}} if name == "bad-test" else {}
        home.release(name, name, valuesFrom=from_, **more)
    for name in ("broken", "listed"):
        home.release(name, "good", valuesFrom=[{"kind": "Secret", "name": name}])
    at = {"kind": "Secret", "name": "one", "valuesKey": "one", "targetPath": "password.deep[0].x"}
    home.release("unplaced", "good", valuesFrom=[*from_, at])
    yield
    home.ready("good", timeout=90)
    assert ground.data(ns, "configmaps", "good")["patched"] == "yes"
    assert ground.data(ns, "configmaps", "good")["decrypted"] == "canary-in-encrypted-values"
    for name in [*(made.keys() - {"good"}), "broken", "listed", "unplaced"]:
        home.failed(name, timeout=90)
    # Each by itself: a correction of the next may come before the event of the first.
    for name in ("plain", "within", "encoded", "shifted", "hex", "query"):
        ground.api.merge(f"/api/v1/namespaces/{ns}/configmaps/good", {"data": {name: f"changed-{name}"}})
        until(lambda name=name: "changed" not in ground.data(ns, "configmaps", "good")[name], f"{name} is corrected")
    ground.api.merge(f"/api/v1/namespaces/{ns}/secrets/good", {"data": {"p": "eA=="}})
    yield
    ground.event(ns, "Secret/")
    # Upgraded by another value, and rolled back, and gone.
    ground.api.merge(f"/api/v1/namespaces/{ns}/secrets/one", {"stringData": {"one": "canary-in-another-value"}})
    home.ask("good")
    home.ready("good", revision=2, timeout=90)
    ground.api.delete(home.path("bad-test"))
    home.gone("bad-test")


PLANTS = [files_of_sops, variables, generators, git, registries, charts, buckets, receivers, clusters, releases]
