"""Events between two processes, as an installation runs them: the controllers in one, who tells of them in another."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.telling import API, Sink, Telling
from tests.e2e.test_least_rights import create
from tests.e2e.test_main_job import config
from tests.e2e.world import Api, Controller, World, free_port, until
from trimtab.api.install import install_manifests
from trimtab.api.installed import NOTIFY

BAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'Not A Name'}\n"
KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
PODS = "/api/v1/namespaces/flux-system/pods"


class Apart(Telling):
    """`controller` does the work, `teller` tells of it."""

    teller: Controller


def modest(api: Api, directory: Path) -> Path:
    """A kubeconfig of the account trimtab-notify, with the rights of an installation and nothing more."""
    for body in install_manifests(namespace="flux-system", image="trimtab:test"):
        if body["metadata"]["name"].startswith(NOTIFY) and body["kind"] in KINDS:
            create(api, body)
    who = {"user": f"system:serviceaccount:flux-system:{NOTIFY}", "groups": ["system:authenticated"]}

    def may(verb: str, group: str, resource: str) -> bool:
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": "flux-system"}
        review = {"spec": {**who, "resourceAttributes": attributes}}
        answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    until(lambda: may("list", "", "pods") and may("get", "", "secrets"), "the server knows of the bindings")
    until(lambda: may("watch", "notification.toolkit.fluxcd.io", "alerts"), "the server knows of the role")
    token = api.create(f"/api/v1/namespaces/flux-system/serviceaccounts/{NOTIFY}/token", {"spec": {}})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": api.cluster}],
        "users": [{"name": "u", "user": {"token": token["status"]["token"]}}],
    }
    directory.mkdir(exist_ok=True)
    (directory / "kubeconfig").write_text(json.dumps(config))
    return directory / "kubeconfig"


@pytest.fixture(scope="module")
def apart(world: World, api: Api, kubeconfig, git_root, git_url, tmp_path_factory) -> Iterator[Apart]:
    """The session's controller gives way to two, as they are installed: who tells has an account with few rights.

    It holds no Lease, so that nobody waits for the end of one.
    """
    world.controller.stop()
    sink, events = Sink(), free_port()
    directory = tmp_path_factory.mktemp("teller")
    teller = Controller(
        modest(api, directory),
        directory,
        "--controllers=notification",
        "--no-leader-elect",
        f"--receiver-addr=127.0.0.1:{free_port()}",
        f"--events-listen-addr=127.0.0.1:{events}",
    )
    work = Controller(
        kubeconfig,
        tmp_path_factory.mktemp("work"),
        "--controllers=source,kustomize",
        f"--events-addr=http://127.0.0.1:{events}/",
    )
    teller.start()
    work.start()
    found = Apart(api, git_url, git_root, work)
    found.sink, found.events, found.teller = sink, events, teller
    yield found
    sink.close()
    assert [work.stop(), teller.stop()] == [0, 0]
    assert "Traceback" not in work.log + teller.log, (work.log + teller.log)[-4000:]
    assert "orbidden" not in teller.log, teller.log[-4000:]
    world.controller.start()


@pytest.fixture
def ns(apart: Apart, request: pytest.FixtureRequest) -> Iterator[str]:
    name = apart.namespace(request.node.name.removeprefix("test_").replace("_", "-"))
    yield name
    apart.let_go(name)


def test_what_happens_while_who_tells_is_killed_is_told_when_it_is_back(apart: Apart, ns: str) -> None:
    repo = apart.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    apart.alert(ns)
    apart.source(ns, repo.url)
    apart.app(ns, "shop", "./app")
    apart.ready(ns, "shop")
    first = apart.heard(ns, "once", "ReconciliationSucceeded")
    assert first.event["reportingController"] == "kustomize-controller"
    apart.teller.kill()
    second = repo.commit({"app/more.yaml": config(name="more")})
    apart.poke(ns)
    apart.ready(ns, "shop", second)
    third = repo.commit({"app/more.yaml": BAD})
    apart.poke(ns)
    apart.failed(ns, "shop", "ValidationFailed")
    apart.teller.start()
    apart.heard(ns, "opened", "ValidationFailed")
    fourth = repo.commit({"app/more.yaml": config(name="more", colour="blue")})
    apart.poke(ns)
    closed = apart.heard(ns, "closed", "ReconciliationSucceeded")
    heard = apart.of(ns)
    told = list({one.key: one for one in heard}.values())
    twice = Counter(one.key for one in heard) - Counter(one.key for one in told)
    assert twice <= Counter([first.key]), "only what was told as it was killed, and by the same key"
    assert {one.event["reportingController"] for one in told} == {"kustomize-controller"}, "all of it was posted"
    revisions = [
        (one.phase, one.event["reason"], one.event["metadata"]["revision"].rpartition(":")[2])
        for one in told
        if one.event["reason"] != "Progressing"
    ]
    assert revisions[1:] == [
        ("once", "ReconciliationSucceeded", second),
        ("opened", "ValidationFailed", third),
        ("closed", "ReconciliationSucceeded", fourth),
    ]
    assert closed.key == told[-1].key
    changes = [one.event["message"] for one in told if one.event["reason"] == "Progressing"]
    assert any(f"ConfigMap/{ns}/more created" in one for one in changes), "progress was not lost either"


def test_who_is_no_pod_of_the_install_namespace_posts_nothing(apart: Apart, ns: str) -> None:
    apart.alert(ns)
    until(lambda: apart.api.get(f"{API}/namespaces/{ns}/alerts/all"), "the Alert is there")
    event = {
        "involvedObject": {"kind": "Kustomization", "namespace": ns, "name": "shop"},
        "severity": "info",
        "timestamp": "2026-11-26T22:00:00Z",
        "message": "all is well",
        "reason": "ReconciliationSucceeded",
        "reportingController": "kustomize-controller",
    }
    body, stranger = json.dumps(event).encode(), "127.0.0.9"
    assert apart.post(body, stranger) == 403
    assert f"events of {stranger} are refused" in apart.teller.log
    assert apart.of(ns) == []
    spec = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "c"}]}
    apart.api.create(PODS, {"metadata": {"name": ns}, "spec": spec})
    try:
        apart.api.merge(f"{PODS}/{ns}/status", {"status": {"podIP": stranger, "podIPs": [{"ip": stranger}]}})
        assert until(lambda: apart.post(body, stranger) in (202, 429), "it is a Pod of the namespace now")
    finally:
        apart.api.delete(f"{PODS}/{ns}")
    assert apart.heard(ns, "once", "ReconciliationSucceeded").event["message"] == "all is well"
