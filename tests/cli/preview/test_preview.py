"""`trimtab preview` against a real API server and a real registry: four branches get four verdicts, and the like."""

import base64
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.conftest import Cluster, allowed, command_line
from tests.e2e.world import until
from tests.registry.server import RegistryServer
from trimtab.cli.main import cli
from trimtab.cluster.plane import ControlPlane
from trimtab.manifests.inventory import encode_id
from trimtab.manifests.refs import Ref

APP = "kustomize.toolkit.fluxcd.io"


def git(repository: Path, *words: str) -> str:
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(repository)}
    who = ("-c", "user.name=Dev", "-c", "user.email=dev@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *who, *words], cwd=repository, env={**os.environ, **alone}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def deployment(image: str, replicas: Any = 3, **pod: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "image": image, "envFrom": [{"configMapRef": {"name": "settings"}}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def policy(namespace: str) -> list[dict[str, Any]]:
    """At most five replicas; a word of warning beyond four."""
    group = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    found = []
    for name, most, action in (("few-replicas", 5, "Deny"), ("fewer-replicas", 4, "Warn")):
        words = f"at most {most} replicas"
        spec = {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": f"object.spec.replicas <= {most}", "message": words}],
        }
        named = {"name": f"{name}-{namespace}"}
        binding = {"policyName": named["name"], "validationActions": [action], "matchResources": chosen}
        found.append({"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": named, "spec": spec})
        found.append(
            {"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": named, "spec": binding}
        )
    return found


class Shop:
    """A repository with an app whose branch `main` is live, a registry, and a policy."""

    def __init__(self, root: Path, served: ControlPlane, kubectl: Callable[..., str], registry: RegistryServer) -> None:
        self.root, self.served, self.kubectl, self.registry = root, served, kubectl, registry
        self.namespace = "t-preview"
        kubectl("create", "namespace", self.namespace)
        for body in policy(self.namespace):
            kubectl("create", "-f", "-", stdin=json.dumps(body))
        for tag in ("1", "2"):
            registry.push("web", tag, {"version": tag})
        root.mkdir()
        git(root, "init", "--quiet")
        self.commit({"web": deployment(self.image("1")), "settings": config_map(colour="blue")})
        kubectl("apply", "--server-side", "-n", self.namespace, "-f", str(root / "before"))
        until(lambda: "at most 5" in self.refusal(), "the policy is enforced")

    def image(self, tag: str) -> str:
        return f"{self.registry.host}/web:{tag}"

    def refusal(self) -> str:
        many = json.dumps(deployment(self.image("1"), 9))
        try:
            self.kubectl("apply", "--server-side", "--dry-run=server", "-n", self.namespace, "-f", "-", stdin=many)
        except subprocess.CalledProcessError as refused:
            return str(refused.cmd)
        return ""

    def write(self, files: dict[str, Any]) -> None:
        (self.root / "before").mkdir(exist_ok=True)
        for name, body in files.items():
            path = self.root / "before" / f"{name}.yaml"
            path.write_bytes(body if isinstance(body, bytes) else json.dumps(body, indent=1).encode())

    def commit(self, files: dict[str, Any], more: dict[str, list[Any]] = {}) -> None:  # noqa: B006
        self.write(files)
        for name, bodies in more.items():
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text("---\n".join(json.dumps(body) + "\n" for body in bodies))
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--message", "a change")

    def branch(self, name: str, files: dict[str, Any]) -> None:
        git(self.root, "switch", "--quiet", "--create", name, "main")
        self.commit(files)
        git(self.root, "switch", "--quiet", "main")

    def preview(self, *arguments: str, path: str = "before", kubeconfig: Path | None = None) -> Result:
        """The command in this process: to import all of it again each time takes longer than what it does."""
        words = ["preview", *([path] if path else []), "-n", self.namespace, "--insecure-registry", self.registry.host]
        env = {"KUBECONFIG": str(kubeconfig or self.served.kubeconfig), "DOCKER_CONFIG": str(self.root)}
        with contextlib.chdir(self.root):
            return CliRunner(env=env).invoke(cli, [*words, *arguments])

    def found(self, *arguments: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """The exit code, and the objects by kind and name."""
        done = self.preview(*arguments, "-o", "json", **more)
        assert done.stdout, done.stderr
        objects = json.loads(done.stdout)["objects"]
        return done.exit_code, {f"{one['kind']}/{one['name']}": one for one in objects}


@pytest.fixture(scope="module")
def shop(served: ControlPlane, kubectl: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    place = tmp_path_factory.mktemp("preview")
    registry = RegistryServer(place / "registry")
    registry.start()
    try:
        yield Shop(place / "repository", served, kubectl, registry)
    finally:
        registry.stop()


def test_four_branches_get_four_verdicts(shop: Shop) -> None:
    shop.branch("bad-schema", {"web": deployment(shop.image("2"), hostname=["a", "list"])})
    shop.branch("missing-image", {"web": deployment(shop.image("9"))})
    shop.branch("breach", {"web": deployment(shop.image("1"), 6)})
    shop.branch("fine", {"web": deployment(shop.image("2"), 4)})
    answers = {}
    found: dict[str, Any] = {}
    for branch in ("bad-schema", "missing-image", "breach", "fine"):
        code, found[branch] = shop.found("--base", "main", "--head", branch)
        objects = found[branch]
        assert list(objects) == ["Deployment/web"]
        answers[branch] = code, objects["Deployment/web"]["verdict"]
        assert objects["Deployment/web"]["origin"] == {"file": "before/web.yaml", "line": 1}
    assert answers == {
        "bad-schema": (2, "refused-schema"),
        "missing-image": (2, "image-missing"),
        "breach": (2, "refused-policy"),
        "fine": (0, "restart"),
    }
    [judgement] = [one for one in found["breach"]["Deployment/web"]["judgements"] if one["verdict"] == "refused-policy"]
    name = f"few-replicas-{shop.namespace}"
    assert (judgement["policy"], judgement["binding"], judgement["message"]) == (name, name, "at most 5 replicas")
    command, env = command_line(shop.served.kubeconfig, "preview", "before", "--head", "fine", "-n", shop.namespace)
    command += ["--insecure-registry", shop.registry.host]
    told = subprocess.run(command, cwd=shop.root, env=env, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0
    assert f"✔ fine: spec.template.spec.containers[name=web].image: {shop.image('2')} is sha256:" in told.stdout
    assert "! restart: spec.template: 3 Pods are replaced: the template changes" in told.stdout
    assert told.stderr.startswith("✔ it will succeed")


def test_what_is_missing_is_named_and_what_comes_with_the_change_counts_as_there(shop: Shop) -> None:
    other = f"{shop.namespace}-other"
    far = deployment(shop.image("1"), serviceAccountName="robot")
    far["metadata"] = {"name": "far", "namespace": other}
    pod = far["spec"]["template"]["spec"]
    pod["containers"][0]["envFrom"] = [{"configMapRef": {"name": "far-settings"}}]
    pod["containers"][0]["env"] = [secret_key("password", "there"), secret_key("password", "gone")]
    kind = {"kind": "Widget", "plural": "widgets", "singular": "widget"}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.preview.example.org"},
        "spec": {"group": "preview.example.org", "names": kind, "scope": "Namespaced", "versions": versions},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": other}}
    files = {
        "namespace": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}},
        "far": far,
        "far-settings": {**config_map(), "metadata": {"name": "far-settings", "namespace": other}},
        "secret": {**secret, "stringData": {"there": "correct horse"}},
        "definition": definition,
        "good": {
            "apiVersion": "preview.example.org/v1",
            "kind": "Widget",
            "metadata": {"name": "good"},
            "spec": {"size": 1},
        },
        "bad": {
            "apiVersion": "preview.example.org/v1",
            "kind": "Widget",
            "metadata": {"name": "bad"},
            "spec": {"size": "big"},
        },
        "alien": {"apiVersion": "nowhere.example.org/v1", "kind": "Alien", "metadata": {"name": "alien"}},
        "lost": {**config_map("lost"), "metadata": {"name": "lost", "namespace": "t-preview-nowhere"}},
        "settings": config_map("renamed"),
    }
    shop.branch("leaning", files)
    code, objects = shop.found("--base", "main", "--head", "leaning")
    assert code == 2
    verdicts = {name: one["verdict"] for name, one in objects.items()}
    assert verdicts == {
        "Namespace/t-preview-other": "fine",
        "Deployment/far": "reference-missing",
        "ConfigMap/settings": "kept",  # and so it is there for the Deployment that names it
        "ConfigMap/far-settings": "fine",
        "ConfigMap/renamed": "fine",
        "ConfigMap/lost": "reference-missing",
        "Secret/password": "fine",
        "CustomResourceDefinition/widgets.preview.example.org": "fine",
        "Widget/good": "fine",
        "Widget/bad": "refused-schema",
        "Alien/alien": "reference-missing",
    }
    said = {one["message"] for one in objects["Deployment/far"]["judgements"] if one["verdict"] == "reference-missing"}
    assert said == {
        f"ServiceAccount/{other}/robot does not exist, and nothing here makes it",
        f"Secret/{other}/password has no entry gone",
    }
    assert "correct horse" not in json.dumps(objects)


def secret_key(name: str, key: str) -> dict[str, Any]:
    return {"name": key.upper(), "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def test_what_cannot_change_what_finds_no_room_and_what_is_warned_of_are_told_apart(shop: Shop) -> None:
    namespace = f"{shop.namespace}-tight"
    shop.kubectl("create", "namespace", namespace)
    shop.kubectl("create", "quota", "tight", "-n", namespace, "--hard=requests.memory=4Gi")
    until(
        lambda: (
            "requests.memory" in shop.kubectl("get", "quota", "tight", "-n", namespace, "-o", "jsonpath={.status.hard}")
        ),
        "the quota is counted",
    )
    large = deployment(shop.image("1"))
    large["metadata"] = {"name": "large", "namespace": namespace}
    container = large["spec"]["template"]["spec"]["containers"][0]
    container |= {"resources": {"requests": {"memory": "2Gi"}}, "envFrom": []}
    other = deployment(shop.image("1"), 5)
    other["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    other["spec"]["template"]["metadata"] = {"labels": {"app": "other"}}
    shop.branch("tight", {"large": large, "web": other})
    code, objects = shop.found("--head", "tight")
    assert code == 2
    web, big = objects["Deployment/web"], objects["Deployment/large"]
    assert (web["verdict"], big["verdict"]) == ("immutable", "quota-exceeded")
    assert web["judgements"][0]["path"] == "spec.selector"
    assert [one["message"] for one in big["judgements"] if one["verdict"] == "quota-exceeded"] == [
        "6Gi more requests.memory, and the quota tight has 4Gi left of 4Gi"
    ]
    shop.branch("warned", {"web": deployment(shop.image("1"), 5)})
    code, objects = shop.found("--head", "warned")
    [warning] = [one for one in objects["Deployment/web"]["judgements"] if one["verdict"] == "warning"]
    assert (code, warning["policy"], warning["message"]) == (
        0,
        f"fewer-replicas-{shop.namespace}",
        "at most 4 replicas",
    )


def test_pods_that_would_never_be_admitted_are_told_though_their_workload_would_be_taken(shop: Shop) -> None:
    namespace = f"{shop.namespace}-strict"
    shop.kubectl("create", "namespace", namespace)
    shop.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    strict = deployment(shop.image("1"), priorityClassName="not-there")
    strict["metadata"] = {"name": "strict", "namespace": namespace}
    strict["spec"]["template"]["spec"]["containers"][0]["envFrom"] = []
    shop.branch("strict", {"strict": strict})
    code, objects = shop.found("--head", "strict", "--no-images")
    said = {one["verdict"]: one for one in objects["Deployment/strict"]["judgements"]}
    assert code == 2
    assert "PriorityClass/not-there does not exist" in said["reference-missing"]["message"]
    del strict["spec"]["template"]["spec"]["priorityClassName"]
    shop.branch("stricter", {"strict": strict})
    code, objects = shop.found("--head", "stricter", "--no-images")
    [refused] = [one for one in objects["Deployment/strict"]["judgements"] if one["verdict"] == "refused-policy"]
    assert (code, refused["policy"]) == (2, 'PodSecurity "restricted:latest"')
    assert refused["message"].startswith("of its Pods: allowPrivilegeEscalation != false")


def test_without_rights_what_is_forbidden_is_unknown_and_the_rest_is_judged(shop: Shop) -> None:
    user = "preview-reader"
    rights = ("--verb=get,patch", "--resource=deployments.apps")
    shop.kubectl("create", "role", user, "-n", shop.namespace, *rights)
    shop.kubectl("create", "rolebinding", user, "-n", shop.namespace, f"--role={user}", f"--user={user}")
    allowed(shop.kubectl, user, "patch", "deployments.apps", "-n", shop.namespace)
    file = shop.root.parent / "reader.kubeconfig"
    file.write_bytes(shop.served.kubeconfig_for(user))
    code, objects = shop.found("--no-images", kubeconfig=file)
    assert (code, objects["ConfigMap/settings"]["verdict"]) == (3, "unknown")
    assert "Deployment/web" not in objects
    shop.branch("few-rights", {"web": deployment(shop.image("1"), 6)})
    code, objects = shop.found("--no-images", "--head", "few-rights", kubeconfig=file)
    assert (code, objects["Deployment/web"]["verdict"]) == (2, "refused-policy")
    app = shop.preview("--app", "team/none", "--no-images", path="", kubeconfig=file)
    assert (app.exit_code, "kustomization team/none is not known" in app.stderr) == (3, True)


def test_an_app_is_followed_into_the_tree_and_what_leaves_it_meets_the_guards_of_the_controller(
    shop: Shop, cluster: Cluster
) -> None:
    ns = cluster.namespace
    git(shop.root, "switch", "--quiet", "--create", "fleet", "main")
    variables = {**config_map("variables", COLOUR="red"), "metadata": {"name": "variables", "namespace": ns}}
    filled = {"substituteFrom": [{"kind": "ConfigMap", "name": "variables"}]}
    cluster.source("shop")
    cluster.app("fleet", path="./fleet")
    cluster.app("inner", path="./inner", targetNamespace=ns, postBuild=filled)
    inner = {"apiVersion": f"{APP}/v1", "kind": "Kustomization", "metadata": {"name": "inner", "namespace": ns}}
    inner["spec"] = cluster.get("kustomization", "inner")["spec"]
    afar = {**inner, "metadata": {"name": "afar", "namespace": ns}}
    afar["spec"] = {**inner["spec"], "path": "./afar"}
    third = {**inner, "metadata": {"name": "third", "namespace": ns}}
    third["spec"] = {**inner["spec"], "path": "./third"}
    web = deployment(shop.image("1"))
    web["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "old"}}]
    fleet = {
        "fleet/all.yaml": [inner, afar, third, variables],
        "inner/app.yaml": [web, config_map(colour="${COLOUR}")],
        "third/all.yaml": [config_map("moved")],
    }
    shop.commit({}, fleet)
    labels = {f"{APP}/name": "inner", f"{APP}/namespace": ns}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    data = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim}
    entries = []
    for body in (config_map(colour="blue"), config_map("old"), config_map("moved"), data):
        body["metadata"] |= {"namespace": ns, "labels": labels}
        manager = "--field-manager=kustomize-controller"
        cluster.kubectl("apply", "--server-side", manager, "-f", "-", stdin=json.dumps(body))
        entries.append({"id": encode_id(Ref.of(body)), "v": "v1"})
    cluster.ready("kustomization", "inner", inventory={"entries": entries})
    code, objects = shop.found("--head", "fleet", path="fleet")
    git(shop.root, "switch", "--quiet", "main")
    assert code == 2
    assert {name: one["verdict"] for name, one in objects.items()} == {
        "Kustomization/inner": "fine",
        "Kustomization/afar": "build-failed",
        "Kustomization/third": "fine",
        "ConfigMap/moved": "fine",
        "ConfigMap/variables": "fine",
        "ConfigMap/settings": "fine",
        "ConfigMap/old": "pruned",
        "PersistentVolumeClaim/data": "held",
        "Deployment/web": "reference-missing",
    }
    assert objects["ConfigMap/settings"]["differences"] == [
        {"path": "data.colour", "kind": "changed", "before": "blue", "after": "red"}
    ]
    assert objects["ConfigMap/settings"]["app"] == {"namespace": ns, "name": "inner"}
    [held] = objects["PersistentVolumeClaim/data"]["judgements"]
    assert held["message"].startswith(
        "its deletion is held: it holds data; to approve exactly these 1, set the annotation"
    )
    [judgement] = [one for one in objects["Deployment/web"]["judgements"] if one["verdict"] == "reference-missing"]
    assert judgement["message"] == f"ConfigMap/{ns}/old is deleted by the same change"
    code, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="fleet")
    assert set(objects) == {f"ConfigMap/{name}" for name in ("settings", "old", "moved")} | {
        "PersistentVolumeClaim/data",
        "Deployment/web",
    }
    [kept] = objects["ConfigMap/moved"]["judgements"]
    assert (kept["verdict"], kept["message"]) == ("kept", f"it goes over to {ns}/third")
    # by its path, and then as plain files, which no app is known to own
    cluster.app("twin", path="inner/", targetNamespace=ns)
    several = shop.preview("--head", "fleet", "--no-images", path="inner")
    assert several.exit_code == 1
    for word in ("is built by several apps", f"{ns}/inner", f"{ns}/twin"):
        assert word in several.stderr
    _, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="inner")
    assert objects["Kustomization/inner"]["verdict"] == "build-failed"  # the variables are not in the cluster
    _, objects = shop.found("--head", "fleet", "--app", f"{ns}/twin", "--no-images", path="")
    [warning] = objects["ConfigMap/settings"]["judgements"]
    assert warning["message"].startswith(f"it is of the app {ns}/inner, which is not looked into")
    _, objects = shop.found("--head", "fleet", "--as-files", "--no-images", path="inner")
    assert {one["app"] for one in objects.values()} == {None}
    # as the app is in the cluster, with a budget of its own, and then with an approval
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(variables))
    annotate = ("-n", ns, "annotate", "kustomization", "inner")
    cluster.kubectl(*annotate, "trimtab.dev/deletion-budget=1")
    leaving = ("ConfigMap/old", "ConfigMap/moved", "PersistentVolumeClaim/data")
    _, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="")
    assert [objects[name]["verdict"] for name in leaving] == ["held", "held", "held"]
    words = objects["ConfigMap/old"]["judgements"][0]["message"]
    assert "2 objects would be deleted at once, more than 1 objects" in words
    cluster.kubectl(*annotate, f"trimtab.dev/approve-prune={words.rpartition(' ')[2]}")
    _, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="")
    assert [objects[name]["verdict"] for name in leaving] == ["pruned", "pruned", "pruned"]
    freeze = ("-n", "flux-system", "configmap", "trimtab-freeze")
    cluster.kubectl("create", *freeze)
    try:
        _, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="")
    finally:
        cluster.kubectl("delete", *freeze)
    assert {objects[name]["judgements"][0]["message"] for name in leaving} == {
        "ConfigMap flux-system/trimtab-freeze freezes all deletions"
    }
    cluster.kubectl("-n", ns, "patch", "kustomization", "inner", "--type=merge", '-p={"spec":{"prune":false}}')
    _, objects = shop.found("--head", "fleet", "--app", f"{ns}/inner", "--no-images", path="")
    assert {objects[name]["judgements"][0]["message"] for name in leaving} == {"it stays: spec.prune is false"}
    # by the rights of the account that the app has
    patch = '-p={"spec":{"serviceAccountName":"robot"}}'
    cluster.kubectl("-n", ns, "patch", "kustomization", "inner", "--type=merge", patch)
    cluster.kubectl("-n", ns, "create", "role", "robot", "--verb=patch,create", "--resource=configmaps")
    cluster.kubectl("-n", ns, "create", "rolebinding", "robot", "--role=robot", f"--serviceaccount={ns}:robot")
    asked = ("--head", "fleet", "--app", f"{ns}/inner", "--no-images", "--as-account")
    until(  # a binding takes effect a little later
        lambda: shop.found(*asked, path="")[1]["ConfigMap/settings"]["verdict"] == "fine", "the account may"
    )
    code, objects = shop.found(*asked, path="")
    assert code == 2
    [forbidden] = [one for one in objects["Deployment/web"]["judgements"] if one["verdict"] == "forbidden"]
    assert forbidden["message"].startswith("the account of the app may not: deployments.apps")


def naming(name: str) -> dict[str, Any]:
    variables = [{"name": name, "valueFrom": {"secretKeyRef": {"name": name, "key": name}}}]
    return {"containers": [{"name": "a", "image": "b", "env": variables}], "serviceAccountName": name}


@pytest.mark.parametrize("form", ["text", "json", "markdown", "sarif"])
def test_values_of_secrets_are_in_no_form_of_what_is_told_and_are_told_to_no_registry(
    shop: Shop, cluster: Cluster, form: str
) -> None:
    # a short value is in too many words to be looked for: what it was put into is not shown as a whole
    ns, value, short = cluster.namespace, "correct-horse-battery", "qzx9"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "variables", "namespace": ns}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({**secret, "stringData": {"VALUE": value, "SHORT": short}}))
    cluster.source("shop")
    cluster.app("hush", path="./hush", postBuild={"substituteFrom": [{"kind": "Secret", "name": "variables"}]})
    bodies = [
        config_map("plain", a="${VALUE}", b="${SHORT}"),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}, "stringData": {"b": "${VALUE}"}},
        deployment("127.0.0.1:1/${VALUE}:1", hostname="${VALUE}_", restartPolicy="${SHORT}"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "${VALUE}"}},
        config_map("${VALUE}"),
        config_map("c-${SHORT}"),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": naming("${SHORT}")},
    ]
    for body in bodies:
        body["metadata"]["namespace"] = ns
    live = config_map("plain", a="before", b="before")
    cluster.kubectl("apply", "--server-side", "-n", ns, "-f", "-", stdin=json.dumps(live))
    (shop.root / "hush").mkdir(exist_ok=True)
    (shop.root / "hush" / "all.yaml").write_text("---\n".join(json.dumps(body) + "\n" for body in bodies))
    done = shop.preview("--app", f"{ns}/hush", "-o", form, path="")
    assert done.exit_code == 2
    assert "refused-schema" in done.output
    assert "its images are not asked for" in done.output
    told = re.sub(r"[^a-zA-Z0-9]", "", done.output)
    assert ("data.a" in done.output) == (form != "sarif")
    assert "correcthorsebattery" not in told
    assert short not in done.output
    assert base64.b64encode(value.encode()).decode().rstrip("=") not in told
