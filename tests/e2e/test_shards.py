"""Several processes that share the apps of a cluster by their label, and what they must know of each other."""

import contextlib
import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from tests.e2e.automations import IMAGES, Automating, count, installed
from tests.e2e.releases import Home, chart
from tests.e2e.test_main_job import config
from tests.e2e.world import SOURCES, Controller, condition, until
from trimtab.api import names, shards
from trimtab.cli.main import cli

HOME = "/apis/coordination.k8s.io/v1/namespaces/flux-system/leases"
LEASES = (
    *(names.SOURCE_LEASE, names.KUSTOMIZE_LEASE, names.HELM_LEASE, names.WATCHER_LEASE),
    *(names.REFLECTOR_LEASE, names.AUTOMATION_LEASE),
)
PARTS = "--controllers=source,kustomize,helm,source-watcher,image-reflector,image-automation"
TIMES = (
    *("--leader-election-lease-duration", "6s"),
    *("--leader-election-renew-deadline", "4s", "--leader-election-retry-period", "1s"),
)
ONE = {names.SHARD_LABEL: "one"}


def process(kubeconfig, directory, selector):
    return Controller(kubeconfig, directory, PARTS, "--watch-label-selector", selector, *TIMES)


class Shards(Automating):
    """`one` looks after the shard of that name, the world's own controller after what has no label."""

    one: Controller

    def _why(self, namespace, name):
        logs = "\n".join(each.log[-3000:] for each in (self.controller, self.one))
        return f"{super()._why(namespace, name)}\n{logs}"


@pytest.fixture(scope="module")
def split(world, api, kubeconfig, git_root, git_url, tmp_path_factory):
    """The session's controller gives way to two that share the work."""
    until(lambda: "running: " in world.controller.log, lambda: world.controller.log)
    installed(api)
    world.controller.stop()
    both = [
        process(kubeconfig, tmp_path_factory.mktemp(name), selector)
        for name, selector in (("rest", shards.REST), ("one", shards.selector_of("one")))
    ]
    for controller in both:
        controller.start()
    made = Shards(api, git_url, git_root, both[0])
    made.one = both[1]
    yield made
    stopped = [one.stop() for one in (made.controller, made.one)]
    log = made.controller.log + made.one.log
    for lease in LEASES:  # nobody shall wait until the guards have run out
        api.delete(f"{HOME}/{lease}")
    world.controller.start()
    assert stopped == [0, 0]
    assert "Traceback" not in log, log[-6000:]


def stem(request):
    return "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).removeprefix("test-")


def let_go(split, ns):
    for plural in ("imageupdateautomations", "imagepolicies", "imagerepositories"):
        path = f"{IMAGES}/namespaces/{ns}/{plural}"
        for item in split.api.get(path)["items"]:
            split.api.delete(f"{path}/{item['metadata']['name']}")
    super(Automating, split).let_go(ns)


@pytest.fixture
def ns(split, request):
    name = split.namespace(stem(request))
    yield name
    let_go(split, name)


@pytest.fixture
def home(split, request):
    """A repository with a chart, of no shard."""
    made = Home(split, stem(request))
    made.charts(chart())
    yield made
    let_go(split, made.ns)


def settings(split, ns, name="settings"):
    return split.api.get(f"/api/v1/namespaces/{ns}/configmaps/{name}")


def owner(split, ns, name="settings"):
    found = settings(split, ns, name)
    return found["metadata"]["labels"][names.OWNER_NAME] if found else None


def test_each_process_does_its_own_apps_and_takes_artifacts_of_the_other(split, ns):
    repo = split.repo(ns)
    first = repo.commit({f"{name}/{name}.yaml": config(name) for name in ("app", "other")})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.app(ns, "other", "./other")
    for name in ("app", "other"):
        split.ready(ns, name, first, 10)
    served = split.get_source(ns)["status"]["artifact"]["url"]
    assert f":{split.controller.storage_port}/" in served
    second = repo.commit({"app/app.yaml": config("app", colour="blue")})
    split.poke(ns)
    split.ready(ns, "app", second)
    assert settings(split, ns, "app")["data"]["colour"] == "blue"


def test_an_app_of_a_shard_that_nobody_serves_says_so(split, ns, kubeconfig):
    repo = split.repo(ns)
    repo.commit({"app/settings.yaml": config()})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels={names.SHARD_LABEL: "forgotten"})
    asked = ["why", "app", "-n", ns, "--kubeconfig", str(kubeconfig), "-o", "json"]
    found = CliRunner().invoke(cli, asked)
    assert found.exit_code == 2
    blocker, *_ = json.loads(found.stdout)["blockers"]  # what it comes from may not be there yet
    assert blocker["why"] == "no process serves the shard forgotten as controller kustomize"
    assert "trimtab run --watch-label-selector='sharding.fluxcd.io/key=forgotten'" in blocker["wayOut"]


def test_the_leases_keep_out_who_would_drive_the_objects_of_all(split):
    held = {name: split.api.get(f"{HOME}/{name}")["spec"]["holderIdentity"] for name in LEASES}
    assert set(held.values()) == {shards.TOGETHER}
    mine = split.api.get(f"{HOME}/{shards.lease_name(names.KUSTOMIZE_LEASE, shards.selector_of('one'))}")
    assert mine["metadata"]["annotations"] == {shards.SELECTOR: "sharding.fluxcd.io/key=one"}
    assert mine["metadata"]["name"] == "kustomize-controller-leader-election-" + mine["metadata"]["name"][-8:]


@pytest.fixture
def pair(split, ns):
    """One repository, an app of each process; the first has the settings."""
    repo = split.repo(ns)
    base = {f"{name}/own.yaml": config(f"{name}-own") for name in ("app", "other")}
    first = repo.commit({**base, "app/settings.yaml": config()})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.app(ns, "other", "./other")
    for name in ("app", "other"):
        split.ready(ns, name, first)
    return repo


@contextlib.contextmanager
def standing_still(controller):
    """Whatever is done meanwhile, another process has done."""
    controller.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        controller.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("loses", "gains", "told"),
    [("other", "app", "leaving"), ("app", "other", "revision")],
    ids=["who has it looks first", "who gets it looks first"],
)
def test_an_object_that_moves_between_shards_in_one_commit_is_handed_over(split, ns, pair, loses, gains, told):
    if loses == "other":  # it has to get it first
        pair.commit({"app/settings.yaml": None, "other/settings.yaml": config()})
        split.poke(ns)
    until(lambda: owner(split, ns) == loses, lambda: split._why(ns, loses))
    uid = settings(split, ns)["metadata"]["uid"]
    moved = pair.commit({f"{loses}/settings.yaml": None, f"{gains}/settings.yaml": config(colour="blue")})

    def looked():
        plan = split.get_app(ns, "other")["status"]["planned"]
        return moved in plan["revision"] and plan.get(told)

    split.poke(ns)
    with standing_still(split.one):
        until(looked, lambda: split._why(ns, "other"), 4)
    for name in ("app", "other"):
        split.ready(ns, name, moved)
    until(lambda: owner(split, ns) == gains, lambda: split._why(ns, gains))
    until(lambda: "settings" not in str(split.get_app(ns, loses)["status"]["inventory"]), lambda: split._why(ns, loses))
    assert settings(split, ns)["metadata"]["uid"] == uid
    assert settings(split, ns)["data"]["colour"] == "blue"


def test_an_object_that_apps_of_two_shards_want_stays_with_the_first_and_the_other_says_so(split, ns, pair):
    pair.commit({"other/settings.yaml": config(colour="blue")})
    split.poke(ns)
    split.failed(ns, "other", "Conflict", f"is managed by Kustomization {ns}/app")
    assert owner(split, ns) == "app"
    assert settings(split, ns)["data"]["colour"] == "red"


def test_an_app_waits_for_one_of_another_shard(split, ns):
    repo = split.repo(ns)
    first = repo.commit({f"{name}/{name}.yaml": config(name) for name in ("app", "other")})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE, dependsOn=[{"name": "other"}])
    split.failed(ns, "app", "DependencyNotReady", "does not exist")
    split.app(ns, "other", "./other")
    split.ready(ns, "other", first)
    split.ready(ns, "app", first)


def test_an_app_that_changes_its_shard_is_taken_over_and_nothing_is_deleted_or_written_again(split, ns, pair):
    path = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ns}/kustomizations/app"
    before = settings(split, ns)["metadata"]
    split.api.merge(path, {"metadata": {"labels": {names.SHARD_LABEL: None}}})
    moved = pair.commit({"app/own.yaml": config("app-own", colour="blue")})
    split.poke(ns)
    split.ready(ns, "app", moved)
    after = settings(split, ns)["metadata"]
    assert (after["uid"], after["resourceVersion"]) == (before["uid"], before["resourceVersion"])


# --- releases


def put(split, path, shard):
    split.api.merge(path, {"metadata": {"labels": {names.SHARD_LABEL: shard}}})


def chart_of(home, name="app"):
    return home.api.get(f"{SOURCES}/namespaces/{home.ns}/helmcharts/{home.ns}-{name}")


def serves(controller, source):
    return f":{controller.storage_port}/" in (source["status"].get("artifact") or {"url": ""})["url"]


def live(home, name="app"):
    return home.api.get(f"/api/v1/namespaces/{home.ns}/configmaps/{name}")["metadata"]


def actions(home):
    """What was done with releases, by the events of it."""
    reasons = [one["reason"] for one in home.api.get(f"/api/v1/namespaces/{home.ns}/events")["items"]]
    return sorted(one for one in reasons if one.startswith(("Install", "Upgrade", "Uninstall", "Rollback")))


def test_a_release_and_its_chart_are_of_one_process_and_the_other_leaves_them_alone(split, home):
    home.release(labels=ONE)
    home.release("other")
    for name in ("app", "other"):
        home.ready(name, 1)
    assert serves(split.one, chart_of(home)), "its HelmChart has the label too"
    assert serves(split.controller, chart_of(home, "other"))
    with standing_still(split.one):
        for name in ("app", "other"):
            home.change(name, values={"colour": "red"})
        home.ready("other", 2)
        assert home.data("app")["colour"] == "blue"
    home.ready("app", 2)
    assert home.data("app")["colour"] == "red"


def test_a_release_that_changes_its_shard_goes_on_with_its_chart_and_is_not_installed_again(split, home):
    home.release(labels=ONE)
    home.ready(revision=1)
    before = live(home)
    with standing_still(split.one):
        put(split, home.path(), None)
        home.ask()
        home.ready(revision=1)
        until(lambda: serves(split.controller, chart_of(home)), lambda: home.why("app"), 4)
    assert names.SHARD_LABEL not in chart_of(home)["metadata"]["labels"]
    assert live(home) == before
    home.change(values={"colour": "red"})
    home.ready(revision=2)
    assert live(home)["uid"] == before["uid"]
    until(lambda: actions(home) == ["InstallSucceeded", "UpgradeSucceeded"], lambda: str(actions(home)), 5)
    records = home.api.get(f"/api/v1/namespaces/{home.ns}/secrets?labelSelector=owner=helm")["items"]
    assert len(records) == 2


STUCK = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {{ .Values.nodes | toJson }}
      containers: [{name: web, image: web}]
"""


def test_a_release_that_changes_its_shard_while_it_is_installed_is_brought_to_its_end_by_the_other(split, home):
    home.charts(chart("1.1.0", "slow", {"templates/web.yaml": STUCK}))
    home.release(chart="slow", labels=ONE, values={"nodes": {"of": "nobody"}})
    until(lambda: home.data("app"), lambda: home.why("app"))
    before = live(home)
    wish = {"spec": {"values": {"nodes": {"of": None}, "colour": "red"}}}
    home.api.merge(home.path(), {"metadata": {"labels": {names.SHARD_LABEL: None}}, **wish})
    home.ready(revision=2, timeout=15)
    assert home.data("app")["colour"] == "red"
    assert live(home)["uid"] == before["uid"]
    assert not [one for one in actions(home) if one.startswith(("Uninstall", "Rollback"))]


def test_a_release_waits_for_one_of_another_shard(split, home):
    home.release(labels=ONE, dependsOn=[{"name": "other"}], interval="1s")
    home.failed(reason="DependencyNotReady", words="does not exist")
    home.release("other")
    home.ready("other")
    home.ready()


# --- images


class Tags(ThreadingHTTPServer):
    """A double of a registry: every image has the same tags, and who asks for them is counted."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.host = f"127.0.0.1:{self.server_port}"
        self.tags, self.asked = ["1.0.0"], []


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        image = self.path.removeprefix("/v2/").partition("/tags/list")[0]
        self.server.asked.append(image)
        body = json.dumps({"name": image, "tags": self.server.tags}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with Tags() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def image(ns, plural, name="app"):
    return f"{IMAGES}/namespaces/{ns}/{plural}/{name}"


def looked_at(split, ns, registry, name, labels, policy_labels=None):
    spec = {"image": f"{registry.host}/{name}", "interval": "60m", "insecure": True}
    for kind, plural, wish, label in (
        ("ImageRepository", "imagerepositories", spec, labels),
        (
            *("ImagePolicy", "imagepolicies"),
            {"imageRepositoryRef": {"name": name}, "policy": {"semver": {"range": "*"}}},
            labels if policy_labels is None else policy_labels,
        ),
    ):
        body = {"apiVersion": "image.toolkit.fluxcd.io/v1", "kind": kind, "spec": wish}
        split.api.create(
            f"{IMAGES}/namespaces/{ns}/{plural}", {**body, "metadata": {"name": name, "labels": dict(label)}}
        )


def chosen(split, ns, tag, name="app"):
    def reached():
        found = split.api.get(image(ns, "imagepolicies", name))
        ready = condition(found, "Ready").get("status") == "True"
        return ready and found["status"]["latestRef"]["tag"] == tag

    both = [split.api.get(image(ns, plural, name)) for plural in ("imagerepositories", "imagepolicies")]
    until(reached, lambda: json.dumps([one["status"] for one in both], indent=1) + split.one.log[-2000:], 10)


def test_images_are_scanned_by_the_process_of_their_label_and_once_after_it_changed(split, ns, registry):
    looked_at(split, ns, registry, "app", ONE)
    looked_at(split, ns, registry, "other", {})
    for name in ("app", "other"):
        chosen(split, ns, "1.0.0", name)
    registry.tags.append("1.1.0")
    with standing_still(split.one):
        for name in ("app", "other"):
            split._request(image(ns, "imagerepositories", name))
        chosen(split, ns, "1.1.0", "other")
        assert registry.asked.count("app") == 1
        for plural in ("imagerepositories", "imagepolicies"):
            put(split, image(ns, plural), None)
        chosen(split, ns, "1.1.0")
        assert registry.asked.count("app") == 2
    for plural in ("imagerepositories", "imagepolicies"):
        put(split, image(ns, plural, "other"), "one")
    registry.tags.append("1.2.0")
    for name in ("other", "app"):
        split._request(image(ns, "imagerepositories", name))
        chosen(split, ns, "1.2.0", name)
    assert registry.asked.count("app") == 3, "the process that had it has let go"


def test_a_policy_whose_repository_is_of_another_shard_says_so(split, ns, registry):
    looked_at(split, ns, registry, "app", ONE, {})
    told = f"it has {names.SHARD_LABEL}=one, and this policy has no label {names.SHARD_LABEL}"
    until(
        lambda: told in condition(split.api.get(image(ns, "imagepolicies")), "Ready").get("message", ""),
        lambda: json.dumps(split.api.get(image(ns, "imagepolicies"))["status"]),
        5,
    )
    put(split, image(ns, "imagepolicies"), "one")
    chosen(split, ns, "1.0.0")


def test_an_automation_that_changes_its_shard_commits_every_choice_once(split, ns):
    repo = split.repo(ns)
    marker = json.dumps({"$imagepolicy": f"{ns}:app"})
    repo.commit({"apps/app.yaml": f"{config('app')}# by hand\nimage: acme/app:1.0.0  # {marker}\n"})
    split.source(ns, repo.url)
    split.policy(ns, "app", "acme/app:1.0.0")
    split.automation(ns)
    split.is_ready(ns)
    with standing_still(split.controller):
        put(split, image(ns, "imageupdateautomations", "auto"), "one")
        split.choose(ns, "app", "acme/app:1.1.0")
        until(lambda: count(repo) == 2, lambda: split.why(ns), 10)
    put(split, image(ns, "imageupdateautomations", "auto"), None)  # both look at what was chosen meanwhile
    split.choose(ns, "app", "acme/app:1.2.0")
    until(lambda: count(repo) == 3, lambda: split.why(ns), 10)
    split.poke_automation(ns)
    assert count(repo) == 3


def test_a_standby_takes_the_shard_of_a_process_that_was_killed(split, ns, kubeconfig, tmp_path):
    repo = split.repo(ns)
    first = repo.commit({"app/settings.yaml": config()})
    split.source(ns, repo.url)
    split.app(ns, "app", "./app", labels=ONE)
    split.ready(ns, "app", first)
    standby = process(kubeconfig, tmp_path, shards.selector_of("one"))
    standby.start()
    until(lambda: "standing by" in standby.log, lambda: standby.log)
    split.one.kill()
    split.one = standby
    split.api.merge(f"/api/v1/namespaces/{ns}/configmaps/settings", {"data": {"colour": "pink"}})
    # the Lease's six seconds and what a busy machine takes; the next look by itself is an hour away
    until(lambda: settings(split, ns)["data"]["colour"] != "pink", lambda: standby.log[-3000:], 60)
