"""Apps whose objects go to another cluster: what they do there, and what becomes of them when it is not there."""

import asyncio
import base64
import contextlib
import socket
import threading

import pytest
import yaml

from tests.e2e.test_main_job import config
from tests.e2e.test_prune import annotate, configs, digest_in, held
from tests.e2e.test_tenancy import app_path, bind
from tests.e2e.world import Api, condition, until
from trimtab.cluster.plane import ControlPlane
from trimtab.toolchain import binaries


class Bridge:
    """The road to a server, which can be cut."""

    def __init__(self, server):
        self._target = ("127.0.0.1", int(server.rpartition(":")[2]))
        self._open = []
        self._up = threading.Event()
        self._up.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self._up.clear()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._up.set()

    def close(self):
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._up.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def far_plane(tmp_path_factory):
    """A second control plane."""
    plane = ControlPlane(tmp_path_factory.mktemp("far"), kwok=False, audit=True, binaries=binaries.find("controlplane"))
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(plane.start())
        yield plane
        loop.run_until_complete(plane.stop())
    finally:
        loop.close()


@pytest.fixture(scope="module")
def far(far_plane):
    return Api(far_plane.kubeconfig)


@pytest.fixture
def bridge(far_plane):
    """A road to the other cluster that the test can cut."""
    bridge = Bridge(far_plane.server)
    yield bridge
    bridge.close()


@pytest.fixture
def there(far, ns):
    """The namespace of the test in the other cluster, by the same name."""
    far.create("/api/v1/namespaces", {"metadata": {"name": ns}})
    return ns


def kubeconfig(world, ns, text, name="far", key="value"):
    """Put a kubeconfig into a Secret; the field that refers to it."""
    data = {key: base64.b64encode(text).decode()}
    path = f"/api/v1/namespaces/{ns}/secrets"
    if world.api.get(f"{path}/{name}"):
        world.api.merge(f"{path}/{name}", {"data": data})
    else:
        world.api.create(path, {"metadata": {"name": name}, "data": data})
    return {"secretRef": {"name": name}}


def altered(plane, *, cluster=None, user=None, drop=()):
    """The kubeconfig of `plane` with other fields."""
    body = yaml.safe_load(plane.kubeconfig.read_bytes())
    body["clusters"][0]["cluster"] |= cluster or {}
    body["users"][0]["user"] |= user or {}
    for name in drop:
        body["clusters"][0]["cluster"].pop(name, None)
        body["users"][0]["user"].pop(name, None)
    return yaml.safe_dump(body).encode()


def start(world, ns, plane, text=None, **spec):
    repo = world.repo(ns)
    commit = repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    ref = kubeconfig(world, ns, text or plane.kubeconfig.read_bytes())
    world.app(ns, "shop", "./app", kubeConfig=ref, **spec)
    return repo, commit


def settings(api, ns):
    return api.get(f"/api/v1/namespaces/{ns}/configmaps/settings")


def system(api):
    return api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]


def test_objects_go_to_the_other_cluster_and_all_that_is_told_stays_here(world, ns, there, far, far_plane):
    repo, commit = start(world, ns, far_plane)
    app = world.ready(ns, "shop", commit)
    assert settings(far, ns)
    assert settings(world.api, ns) is None
    recorded = app["status"]["inventory"]
    assert recorded["cluster"] == system(far) != system(world.api)
    assert [entry["id"] for entry in recorded["entries"]] == [f"{ns}_settings__ConfigMap"]
    far.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "drifted"}})
    until(lambda: settings(far, ns)["data"]["colour"] != "drifted", "drift is corrected by watch")
    repo.commit({"app/settings.yaml": None, "app/more.yaml": config(name="more")})
    world.poke(ns)
    until(lambda: settings(far, ns) is None, "it is pruned there")
    world.api.delete(app_path(ns))
    until(lambda: world.get_app(ns, "shop") is None, "the app is gone")
    assert far.get(f"/api/v1/namespaces/{ns}/configmaps/more") is None


def test_a_cluster_that_does_not_answer_is_the_trouble_of_its_own_apps(world, ns, there, far, far_plane, bridge):
    repo, commit = start(world, ns, far_plane, altered(far_plane, cluster={"server": bridge.server}))
    world.app(ns, "local", "./app")
    for app in ("shop", "local"):
        world.ready(ns, app, commit)
    bridge.cut()
    message = world.failed(ns, "shop", "ReconciliationFailed", "cannot be used")
    assert bridge.server in message
    assert f"Secret {ns}/far" in message
    commit = repo.commit({"app/settings.yaml": config(colour="blue")})
    world.poke(ns)
    world.ready(ns, "local", commit)
    assert settings(world.api, ns)["data"]["colour"] == "blue"
    bridge.mend()
    world.ready(ns, "shop", commit)
    until(lambda: settings(far, ns)["data"]["colour"] == "blue", "what was missed is made up for")


def test_a_deletion_waits_for_a_cluster_that_does_not_answer(world, ns, there, far, far_plane, bridge):
    text = altered(far_plane, cluster={"server": bridge.server})
    _, commit = start(world, ns, far_plane, text)
    ref = {"secretRef": {"name": "far"}}
    world.app(ns, "other", "./app", kubeConfig=ref, namePrefix="other-")
    world.ready(ns, "shop", commit)
    world.ready(ns, "other", commit)
    bridge.cut()
    for app in ("shop", "other"):
        world.failed(ns, app, words="cannot be used")
        world.api.delete(app_path(ns, app))
        until(lambda app=app: world.get_app(ns, app)["metadata"].get("deletionTimestamp"), "it is on its way out")
        world.failed(ns, app, words="cannot be used")
    assert settings(far, ns)
    world.api.merge(app_path(ns, "other"), {"spec": {"deletionPolicy": "Orphan"}})
    until(lambda: world.get_app(ns, "other") is None, "who gives up the objects is let go")
    assert world.get_app(ns, "shop"), "the deletion of the first one is still held"
    bridge.mend()
    until(lambda: world.get_app(ns, "shop") is None, "it goes on", 60)
    assert settings(far, ns) is None
    assert far.get(f"/api/v1/namespaces/{ns}/configmaps/other-settings"), "what was given up stays"


def test_an_app_that_moves_to_another_cluster_deletes_nothing_and_tells_what_it_leaves(
    world, ns, there, far, far_plane
):
    repo = world.repo(ns)
    commit = repo.commit({"app/settings.yaml": config(), "app/old.yaml": config(name="old")})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app")
    world.ready(ns, "shop", commit)
    far.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "old"}, "data": {"is": "not ours"}})
    world.api.merge(app_path(ns), {"spec": {"suspend": True}})
    commit = repo.commit({"app/old.yaml": None})
    world.poke(ns)
    until(lambda: commit in world.get_source(ns)["status"]["artifact"]["revision"], "the source has moved")
    ref = kubeconfig(world, ns, far_plane.kubeconfig.read_bytes())
    world.api.merge(app_path(ns), {"spec": {"kubeConfig": ref, "suspend": False}})

    def arrived():
        recorded = world.get_app(ns, "shop")["status"].get("inventory") or {}
        return recorded.get("cluster") == system(far)

    until(arrived, "the list is about the other cluster")
    app = world.ready(ns, "shop", commit)
    assert [entry["id"] for entry in app["status"]["inventory"]["entries"]] == [f"{ns}_settings__ConfigMap"]
    assert far.get(f"/api/v1/namespaces/{ns}/configmaps/old")["data"] == {"is": "not ours"}
    assert settings(world.api, ns), "what is left behind stays"

    def told():
        events = world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
        return [e for e in events if e["reason"] == "Orphaned" and f"ConfigMap/{ns}/settings" in e["message"]]

    assert system(world.api) in until(told, "what is left behind is told")[0]["message"]


def test_two_apps_with_the_same_object_in_two_clusters_do_not_meet(world, ns, there, far, far_plane):
    _, commit = start(world, ns, far_plane)
    world.app(ns, "local", "./app")
    world.ready(ns, "shop", commit)
    world.ready(ns, "local", commit)
    owner = "kustomize.toolkit.fluxcd.io/name"
    assert settings(far, ns)["metadata"]["labels"][owner] == "shop"
    assert settings(world.api, ns)["metadata"]["labels"][owner] == "local"
    world.api.delete(app_path(ns, "local"))
    until(lambda: world.get_app(ns, "local") is None, "one goes")
    assert settings(world.api, ns) is None
    assert settings(far, ns), "the other one keeps its own"


def test_other_credentials_in_the_secret_are_used_without_a_restart(world, ns, there, far, far_plane):
    stranger = far_plane.kubeconfig_for("stranger")
    start(world, ns, far_plane, stranger)
    world.failed(ns, "shop", words='"stranger" cannot')
    name = {"metadata": {"name": f"again-{ns}"}}
    far.create(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        name
        | {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "friend"}],
        },
    )
    kubeconfig(world, ns, far_plane.kubeconfig_for("friend"))
    world.ready(ns, "shop")
    assert settings(far, ns)
    world.api.delete(f"/api/v1/namespaces/{ns}/secrets/far")
    message = world.failed(ns, "shop", words="does not exist", timeout=60)
    assert f"Secret {ns}/far" in message


def test_the_account_is_one_of_the_other_cluster(world, ns, there, far, far_plane):
    start(world, ns, far_plane, serviceAccountName="ship")
    world.api.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "ship"}})
    message = world.failed(ns, "shop", words=f"ServiceAccount {ns}/ship does not exist in the cluster at")
    assert far_plane.server in message
    far.create(f"/api/v1/namespaces/{ns}/serviceaccounts", {"metadata": {"name": "ship"}})
    world.failed(ns, "shop", words=f'"system:serviceaccount:{ns}:ship" cannot')
    assert settings(far, ns) is None
    bind(far, ns, "ship")
    world.ready(ns, "shop")
    assert settings(far, ns)


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """A file that must not appear, one that must not be read, and a port that nobody may come to."""
    directory = tmp_path_factory.mktemp("trap")
    script = directory / "run"
    script.write_text(f"#!/bin/sh\ntouch {directory}/ran\n")
    script.chmod(0o755)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    yield {"script": str(script), "marker": directory / "ran", "listener": listener, "file": str(directory / "token")}
    listener.close()


def address(trap, scheme):
    host, port = trap["listener"].getsockname()
    return f"{scheme}://{host}:{port}"


def execution(trap):
    return {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": trap["script"], "interactiveMode": "Never"}
    }


TAMPERED = {
    "exec": ("exec", lambda t: {"user": execution(t)}),
    "exec-instead-of-credentials": (
        "exec",
        lambda t: {"user": execution(t), "drop": ["client-certificate-data", "client-key-data"]},
    ),
    "auth-provider": (
        "auth-provider",
        lambda t: {"user": {"auth-provider": {"name": "gcp", "config": {"cmd-path": t["script"]}}}},
    ),
    "token-file": ("tokenFile", lambda t: {"user": {"tokenFile": t["file"]}}),
    "certificate-file": ("client-certificate", lambda t: {"user": {"client-certificate": t["file"]}}),
    "key-file": ("client-key", lambda t: {"user": {"client-key": t["file"]}}),
    "authority-file": ("certificate-authority", lambda t: {"cluster": {"certificate-authority": t["file"]}}),
    "proxy": ("proxy-url", lambda t: {"cluster": {"proxy-url": address(t, "http")}}),
    "unix-socket": ("server must be", lambda t: {"cluster": {"server": "unix:///run/secret.sock"}}),
    "plain-http": ("is not https", lambda t: {"cluster": {"server": address(t, "http")}}),
    "unverified": (
        "insecure-skip-tls-verify",
        lambda t: {
            "cluster": {"insecure-skip-tls-verify": True, "server": address(t, "https")},
            "drop": ["certificate-authority-data"],
        },
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_kubeconfig_that_asks_for_more_than_an_address_and_credentials_is_refused_by_name(
    world, ns, far, far_plane, trap, case
):
    words, change = TAMPERED[case]
    start(world, ns, far_plane, altered(far_plane, **change(trap)))
    message = world.failed(ns, "shop", "ReconciliationFailed", words)
    assert f"Secret {ns}/far" in message
    assert condition(world.get_app(ns, "shop"), "Stalled")["status"] == "True"
    assert not trap["marker"].exists(), "a program was run"
    with pytest.raises(BlockingIOError):
        trap["listener"].accept()
    if case == "exec":
        far.create("/api/v1/namespaces", {"metadata": {"name": ns}})
        kubeconfig(world, ns, far_plane.kubeconfig.read_bytes())
        world.ready(ns, "shop")
        assert settings(far, ns), "a corrected Secret is found without a restart"


def test_a_config_map_with_an_identity_is_refused_by_name(world, ns):
    repo = world.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    world.source(ns, repo.url)
    world.app(ns, "shop", "./app", kubeConfig={"configMapRef": {"name": "far"}})
    world.failed(ns, "shop", "FeatureGateDisabled", "spec.kubeConfig.configMapRef")
    assert settings(world.api, ns) is None


def configs_there(api, ns):
    query = "labelSelector=kustomize.toolkit.fluxcd.io/name"
    return {item["metadata"]["name"] for item in api.get(f"/api/v1/namespaces/{ns}/configmaps?{query}")["items"]}


def test_the_budget_and_the_freeze_hold_deletions_in_the_other_cluster_as_well(world, ns, there, far, far_plane):
    repo, _ = start(world, ns, far_plane)
    commit = repo.commit(configs(*(f"c{number:02}" for number in range(15))))
    world.poke(ns)
    world.ready(ns, "shop", commit)
    repo.commit(dict.fromkeys(configs(*(f"c{number:02}" for number in range(12)))))
    world.poke(ns)
    message = held(world, ns)
    assert len(configs_there(far, ns)) == 16
    switch = "/api/v1/namespaces/flux-system/configmaps"
    world.api.create(switch, {"metadata": {"name": "trimtab-freeze"}})
    try:
        annotate(world, ns, approve_prune=digest_in(message))
        held(world, ns, words="flux-system/trimtab-freeze")
        assert len(configs_there(far, ns)) == 16
    finally:
        world.api.delete(f"{switch}/trimtab-freeze")
    until(lambda: configs_there(far, ns) == {"settings", "c12", "c13", "c14"}, "what was approved goes")


@pytest.fixture
def third_plane(tmp_path_factory):
    """One more control plane."""
    plane = ControlPlane(tmp_path_factory.mktemp("third"), kwok=False, binaries=binaries.find("controlplane"))
    with asyncio.Runner() as runner:
        runner.run(plane.start())
        yield plane
        runner.run(plane.stop())


def test_an_app_that_moves_from_one_other_cluster_to_the_next_leaves_the_first_as_it_was(
    world, ns, there, far, far_plane, third_plane
):
    third = Api(third_plane.kubeconfig)
    third.create("/api/v1/namespaces", {"metadata": {"name": ns}})
    repo, _ = start(world, ns, far_plane)
    commit = repo.commit(configs("old"))
    world.poke(ns)
    world.ready(ns, "shop", commit)
    third.create(f"/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": "old"}, "data": {"is": "not ours"}})
    commit = repo.commit(dict.fromkeys(configs("old")))
    world.api.merge(app_path(ns), {"spec": {"suspend": True}})
    world.poke(ns)
    until(lambda: commit in world.get_source(ns)["status"]["artifact"]["revision"], "the source has moved")
    kubeconfig(world, ns, third_plane.kubeconfig.read_bytes())
    world.api.merge(app_path(ns), {"spec": {"suspend": False}})

    def arrived():
        recorded = world.get_app(ns, "shop")["status"].get("inventory") or {}
        return recorded.get("cluster") == system(third)

    until(arrived, "the list is about the third cluster", 60)
    entries = world.get_app(ns, "shop")["status"]["inventory"]["entries"]
    assert [entry["id"] for entry in entries] == [f"{ns}_settings__ConfigMap"]
    world.ready(ns, "shop", commit)
    assert configs_there(far, ns) == {"settings", "old"}, "what is left behind stays"
    assert third.get(f"/api/v1/namespaces/{ns}/configmaps/old")["data"] == {"is": "not ours"}
    assert settings(third, ns)
