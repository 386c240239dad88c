"""`trimtab diff APP`: what the controller would do, from an artifact that a double of a source serves on loopback."""

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cluster, Command
from tests.sops.conftest import FIXTURES, KEYS
from trimtab.cluster.plane import ControlPlane
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Ref

REVISION = "main@sha1:67e2c98ac4b5a7f2a1d7c8e9f00112233445566a"
PASSWORD = "correct horse"


class Source:
    """Serves archives, as the artifact server of a source does."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        archives = self.archives

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = archives.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, cluster: Cluster, files: Mapping[str, str], *, broken: bool = False) -> None:
        """Publish `files` as what the GitRepository `shop` has fetched."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        data = packed.getvalue()
        path = f"/gitrepository/{cluster.namespace}/shop/{hashlib.sha256(data).hexdigest()}.tar.gz"
        self.archives[path] = data
        digest = hashlib.sha256(b"other" if broken else data).hexdigest()
        url = f"http://127.0.0.1:{self.server.server_port}{path}"
        artifact = {"path": path[1:], "url": url, "revision": REVISION, "digest": f"sha256:{digest}"}
        artifact |= {"lastUpdateTime": "2026-01-01T00:00:00Z", "size": len(data)}
        cluster.ready("gitrepository", "shop", artifact=artifact)


@pytest.fixture
def source() -> Iterator[Source]:
    found = Source()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def shop(cluster: Cluster, source: Source) -> Cluster:
    """The app `web`, applied as its controller would: one ConfigMap."""
    cluster.source("shop")
    cluster.app("web", targetNamespace=cluster.namespace)
    source.publish(cluster, {"web/settings.yaml": config_map("settings", colour="blue")})
    apply(cluster, "web", "settings", colour="blue")
    record(cluster, "web", "settings")
    return cluster


def config_map(name: str, **data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}, indent=1)


def apply(cluster: Cluster, app: str, name: str, kind: str = "ConfigMap", **data: str) -> None:
    labels = {f"kustomize.toolkit.fluxcd.io/{field}": value for field, value in owner(cluster, app).items()}
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}
    manager = "--field-manager=kustomize-controller"
    cluster.kubectl("apply", "--server-side", manager, "-f", "-", stdin=json.dumps(body))


def owner(cluster: Cluster, app: str) -> dict[str, str]:
    return {"name": app, "namespace": cluster.namespace}


def record(cluster: Cluster, app: str, *names: str) -> None:
    ids = [{"id": encode_id(Ref("", "ConfigMap", cluster.namespace, name)), "v": "v1"} for name in names]
    cluster.ready("kustomization", app, lastAppliedRevision=REVISION, inventory={"entries": ids})


def test_an_app_that_is_as_published_is_no_output(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("diff", "web", "-n", shop.namespace)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_controller_would_change_and_delete_is_told(trimtab: Command, shop: Cluster, source: Source) -> None:
    apply(shop, "web", "old")
    record(shop, "web", "settings", "old")
    files = {"web/settings.yaml": config_map("settings", colour="red"), "web/new.yaml": config_map("new")}
    source.publish(shop, files)
    done = trimtab("diff", "ks", "web", "-n", shop.namespace)
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        f"+ ConfigMap/{shop.namespace}/new (web/new.yaml:1): only in git",
        f"- ConfigMap/{shop.namespace}/old: only in the cluster: it left git: the app deletes it",
        f"~ ConfigMap/{shop.namespace}/settings (web/settings.yaml:1)",
        '    data.colour: "blue" → "red"',
    ]
    found = json.loads(trimtab("diff", "web", "-n", shop.namespace, "-o", "json").stdout)["findings"]
    assert {finding["app"]["name"] for finding in found} == {"web"}


@pytest.mark.parametrize(
    ("spec", "files", "words"),
    [
        ({"prune": False}, {"web/other.yaml": config_map("other")}, "it left git and stays: spec.prune is false"),
        ({}, {"web/README": "nothing"}, "it left git with everything else, and stays: an empty render deletes nothing"),
    ],
    ids=["without prune", "everything left"],
)
def test_what_would_stay_is_told(
    trimtab: Command, shop: Cluster, source: Source, spec: dict[str, Any], files: dict[str, str], words: str
) -> None:
    patch = json.dumps({"spec": spec})
    shop.kubectl("-n", shop.namespace, "patch", "kustomization", "web", "--type=merge", f"-p={patch}")
    source.publish(shop, files)
    done = trimtab("diff", "web", "-n", shop.namespace)
    assert done.returncode == 2
    assert f"- ConfigMap/{shop.namespace}/settings: only in the cluster: {words}" in done.stdout.splitlines()


def test_a_directory_here_stands_in_for_what_was_published(trimtab: Command, shop: Cluster, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(config_map("settings", colour="green"))
    done = trimtab("diff", "web", "-n", shop.namespace, "--path", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout.splitlines()[1:] == ['    data.colour: "blue" → "green"']


def test_all_apps_are_compared_and_one_that_cannot_be_is_unknown(
    trimtab: Command, shop: Cluster, source: Source
) -> None:
    shop.app("far", kubeConfig={"secretRef": {"name": "elsewhere"}})
    shop.app("lost", path="./lost")
    done = trimtab("diff", "--all", "-n", shop.namespace)
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert lines[::2] == [f"{shop.namespace}/far:", f"{shop.namespace}/lost:"]
    assert lines[1].startswith(
        f"? Kustomization/{shop.namespace}/far: unknown: it cannot be compared: its objects go to another cluster"
    )
    assert lines[3].startswith(f"? Kustomization/{shop.namespace}/lost: unknown: it cannot be compared: ")
    assert "1 as declared, 2 unknown" in done.stderr


def test_an_artifact_that_is_not_what_was_promised_is_not_believed(
    trimtab: Command, shop: Cluster, source: Source
) -> None:
    source.publish(shop, {"web/settings.yaml": config_map("settings", colour="blue")}, broken=True)
    done = trimtab("diff", "web", "-n", shop.namespace)
    assert done.returncode == 3
    assert "is not what the source's status promises" in done.stdout


def test_an_artifact_at_an_address_that_is_never_contacted_is_not_asked_for(trimtab: Command, shop: Cluster) -> None:
    artifact = shop.get("gitrepository", "shop")["status"]["artifact"]
    shop.ready("gitrepository", "shop", artifact={**artifact, "url": "http://169.254.169.254/latest/a.tar.gz"})
    done = trimtab("diff", "web", "-n", shop.namespace)
    assert done.returncode == 3
    assert "is never contacted" in done.stdout


def test_an_artifact_inside_the_cluster_is_asked_of_the_api_server(trimtab: Command, shop: Cluster) -> None:
    artifact = shop.get("gitrepository", "shop")["status"]["artifact"]
    url = f"http://source-controller.{shop.namespace}.svc.cluster.local./a.tar.gz"
    shop.ready("gitrepository", "shop", artifact={**artifact, "url": url})
    done = trimtab("diff", "web", "-n", shop.namespace)
    assert done.returncode == 3
    assert 'through the API server: services "source-controller" not found' in done.stdout


def test_orphans_are_told_also_of_apps_that_are_gone(trimtab: Command, shop: Cluster) -> None:
    apply(shop, "web", "lost")
    apply(shop, "gone", "left")
    assert trimtab("diff", "web", "-n", shop.namespace).returncode == 0
    done = trimtab("diff", "web", "-n", shop.namespace, "--orphans")
    place = shop.namespace
    lost = f"an orphan: it carries the labels of {place}/web, which has it on no record"
    assert done.returncode == 2
    assert done.stdout == f"- ConfigMap/{place}/lost: only in the cluster: {lost}\n"
    done = trimtab("diff", "--all", "-n", place, "--orphans")
    left = f"an orphan: it carries the labels of {place}/gone, which is gone"
    assert done.stdout.splitlines() == [
        "of no app:",
        f"- ConfigMap/{place}/left: only in the cluster: {left}",
        f"{place}/web:",
        f"- ConfigMap/{place}/lost: only in the cluster: {lost}",
    ]


def test_unmanaged_objects_beside_an_app_are_told(trimtab: Command, shop: Cluster) -> None:
    shop.kubectl("-n", shop.namespace, "create", "configmap", "by-hand")
    told = trimtab("diff", "web", "-n", shop.namespace, "--unmanaged").stdout
    assert f"- ConfigMap/{shop.namespace}/by-hand: only in the cluster: no app manages it" in told.splitlines()
    assert "settings" not in told


def test_a_value_of_a_secret_is_hidden_where_it_was_put_into(trimtab: Command, shop: Cluster, source: Source) -> None:
    shop.kubectl("-n", shop.namespace, "create", "secret", "generic", "db", f"--from-literal=PASSWORD={PASSWORD}")
    refs = {"spec": {"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "db"}]}}}
    shop.kubectl("-n", shop.namespace, "patch", "kustomization", "web", "--type=merge", f"-p={json.dumps(refs)}")
    source.publish(shop, {"web/settings.yaml": config_map("settings", colour="x-${PASSWORD}")})
    for form in ("text", "json"):
        done = trimtab("diff", "web", "-n", shop.namespace, "--owners", "-o", form)
        assert done.returncode == 2
        assert "data.colour" in done.stdout
        assert not any(word in done.stdout + done.stderr for word in (PASSWORD, "blue"))


def test_what_is_encrypted_is_opened_with_the_app_s_own_key_and_hidden(
    trimtab: Command, shop: Cluster, source: Source
) -> None:
    sealed = (FIXTURES / "keyed" / "age.yaml").read_text()
    decryption = {"spec": {"decryption": {"provider": "sops", "secretRef": {"name": "sops"}}}}
    shop.kubectl("-n", shop.namespace, "patch", "kustomization", "web", "--type=merge", f"-p={json.dumps(decryption)}")
    source.publish(shop, {"web/a.yaml": sealed, "web/settings.yaml": config_map("settings", colour="blue")})
    shut = trimtab("diff", "web", "-n", shop.namespace)
    assert shut.returncode == 3
    assert "it is encrypted by SOPS, and its key cannot be had: Secret" in shut.stdout
    key = f"--from-file=a.agekey={KEYS / 'age.agekey'}"
    shop.kubectl("-n", shop.namespace, "create", "secret", "generic", "sops", key)
    apply(shop, "web", "database", "Secret", password=base64.b64encode(b"before").decode())
    for form in ("text", "json"):
        done = trimtab("diff", "web", "-n", shop.namespace, "-o", form)
        assert done.returncode == 2
        assert "data.password" in done.stdout
        assert not any(word in done.stdout + done.stderr for word in ("correct horse", "Y29ycmVjdC", "YmVmb3Jl"))


def test_a_missing_app_is_an_error_that_names_the_way_out(trimtab: Command, shop: Cluster) -> None:
    done = trimtab("diff", "nobody", "-n", shop.namespace)
    assert done.returncode == 1
    assert "there is no kustomization nobody" in done.stderr


def test_no_apps_at_all_is_an_error_and_not_a_clean_state(trimtab: Command, cluster: Cluster) -> None:
    done = trimtab("diff", "--all", "-n", cluster.namespace)
    assert done.returncode == 1
    assert "there are no kustomizations" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("web", "--offline"),
        ("--all", "web"),
        ("web", "-A"),
        ("source", "git", "shop"),
        ("web", "--substitute", "A=b"),
        ("./x.yaml", "--orphans"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_a_usage_error(
    trimtab: Command, served: ControlPlane, arguments: tuple[str, ...]
) -> None:
    done = trimtab("diff", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
