"""`trimtab diff` against a real API server: what it finds, what it cannot know, and what it asks for."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Done, called
from tests.cli.conftest import allowed, command_line
from trimtab.cluster.plane import ControlPlane

PASSWORD = "correct horse"
MANAGER = "--field-manager=kustomize-controller"


class Shop:
    """Files of an app, and its objects in a namespace of their own."""

    def __init__(self, directory: Path, plane: ControlPlane, kubectl: Callable[..., str], namespace: str) -> None:
        self.directory = directory
        self.plane = plane
        self.kubectl = kubectl
        self.namespace = namespace
        kubectl("create", "namespace", namespace)

    def write(self, **files: Any) -> None:
        """Write `name=object` as name.yaml."""
        for name, body in files.items():
            (self.directory / f"{name}.yaml").write_text(body if isinstance(body, str) else json.dumps(body, indent=1))

    def apply(self, *arguments: str) -> None:
        """Apply the files as the controller does, unless `arguments` say how."""
        how = arguments or ("--server-side", MANAGER)
        self.kubectl("apply", "-n", self.namespace, "-f", str(self.directory), *how)

    def diff(self, *arguments: str, kubeconfig: Path | None = None) -> Done:
        env = {"KUBECONFIG": str(kubeconfig or self.plane.kubeconfig), "NO_COLOR": ""}
        return called("diff", self.directory, "-n", self.namespace, *arguments, env=env)

    def of(self, user: str, *verbs: str) -> Path:
        """The kubeconfig of a user who may do this to all but Secrets."""
        name = f"{user}-{self.namespace}"
        resources = "configmaps,deployments.apps,services,horizontalpodautoscalers.autoscaling"
        self.kubectl(
            *("create", "role", name, "-n", self.namespace, f"--verb={','.join(verbs)}", f"--resource={resources}")
        )
        self.kubectl("create", "rolebinding", name, "-n", self.namespace, f"--role={name}", f"--user={name}")
        allowed(self.kubectl, name, verbs[0], "configmaps", "-n", self.namespace)
        file = self.directory.parent / f"{name}.kubeconfig"
        file.write_bytes(self.plane.kubeconfig_for(name))
        return file


@pytest.fixture
def shop(plane: ControlPlane, kubectl: Callable[..., str], namespace: Callable[[], str], tmp_path: Path) -> Shop:
    directory = tmp_path / "app"
    directory.mkdir()
    found = Shop(directory, plane, kubectl, namespace())
    found.write(web=deployment(), settings=config_map(data={"colour": "blue"}))
    return found


def config_map(name: str = "settings", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def secret(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, **more}


def deployment(**spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": "web:1.0",
        "args": ["serve", "--fast"],
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
            "template": template,
            **spec,
        },
    }


HOWS = pytest.mark.parametrize(
    "how",
    [("--server-side", MANAGER), ("--server-side",), ("--server-side=false",)],
    ids=["as the controller", "by kubectl on the server", "by kubectl apply"],
)


@HOWS
def test_after_an_apply_nothing_differs_and_a_scaling_is_exactly_one_path(shop: Shop, how: tuple[str, ...]) -> None:
    shop.apply(*how)
    clean = shop.diff()
    assert (clean.returncode, clean.stdout, clean.stderr) == (0, "", "")
    shop.kubectl("scale", "-n", shop.namespace, "deployment/web", "--replicas=3")
    done = shop.diff()
    assert done.returncode == 2
    assert done.stdout.splitlines() == [f"~ Deployment/{shop.namespace}/web (web.yaml:1)", "    spec.replicas: 3 → 1"]
    told = json.loads(shop.diff("-o", "json").stdout)
    assert [len(finding["differences"]) for finding in told["findings"]] == [1]
    assert shop.diff("--read-only").stdout == done.stdout


@HOWS
def test_what_left_git_is_a_removal_whoever_declared_it(shop: Shop, how: tuple[str, ...]) -> None:
    shop.write(settings=config_map(data={"colour": "blue", "size": "xl"}))
    shop.apply(*how)
    shop.write(settings=config_map(data={"colour": "blue"}))
    for arguments in ((), ("--read-only",)):
        done = shop.diff(*arguments)
        assert (done.returncode, done.stdout.splitlines()[1:]) == (2, ['    data.size: removed "xl"'])


def test_what_others_added_is_no_difference(shop: Shop) -> None:
    shop.apply()
    shop.kubectl("label", "-n", shop.namespace, "configmap/settings", "team=blue")
    shop.kubectl("patch", "-n", shop.namespace, "configmap/settings", "-p", '{"data":{"of": "others"}}')
    assert shop.diff().returncode == 0


def test_the_owners_of_what_differs_are_named(shop: Shop) -> None:
    shop.apply()
    shop.kubectl("scale", "-n", shop.namespace, "deployment/web", "--replicas=3")
    shop.kubectl("set", "image", "-n", shop.namespace, "deployment/web", "web=web:2.0")
    lines = shop.diff("--owners").stdout.splitlines()
    assert lines[1:3] == ["    spec.replicas: 3 → 1", "      owned by kubectl (Update of scale)"]
    assert lines[4].startswith("      owned by kubectl-set (Update) 20")
    [finding] = json.loads(shop.diff("--owners", "-o", "json").stdout)["findings"]
    [[owner], [setter]] = [difference["owners"] for difference in finding["differences"]]
    assert (setter["manager"], setter["time"][:2]) == ("kubectl-set", "20")
    assert (owner["manager"], owner["operation"], owner["subresource"]) == ("kubectl", "Update", "scale")


def test_what_an_autoscaler_sets_is_no_difference(shop: Shop) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": spec}
    shop.write(hpa=hpa)
    shop.apply()
    shop.kubectl("scale", "-n", shop.namespace, "deployment/web", "--replicas=3")
    assert shop.diff().stdout == ""
    assert shop.diff("--read-only").stdout == ""


def test_what_is_not_there_is_only_in_git_also_where_its_kind_or_namespace_is_not(shop: Shop) -> None:
    shop.apply()
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    elsewhere = {**config_map("far"), "metadata": {"name": "far", "namespace": f"{shop.namespace}-none"}}
    shop.write(new=config_map("new"), widget=widget, elsewhere=elsewhere)
    done = shop.diff()
    assert done.returncode == 2
    lines = sorted(done.stdout.splitlines())
    assert lines[0] == f"+ ConfigMap/{shop.namespace}-none/far (elsewhere.yaml:1): only in git"
    assert lines[1] == f"+ ConfigMap/{shop.namespace}/new (new.yaml:1): only in git"
    assert lines[2].startswith("+ Widget/w (widget.yaml:1): only in git: the cluster serves no Widget example.com/v1")


def test_what_the_server_refuses_is_told_with_what_differs(shop: Shop) -> None:
    shop.apply()
    labels = {"app": "other"}
    changed = deployment(selector={"matchLabels": labels})
    changed["spec"]["template"]["metadata"]["labels"] = labels
    shop.write(web=changed)
    done = shop.diff()
    assert done.returncode == 2
    assert "the server refuses it: " in done.stdout
    assert "field is immutable" in done.stdout
    assert '    spec.selector.matchLabels.app: "web" → "other"' in done.stdout.splitlines()


def test_unmanaged_objects_are_told_and_what_the_cluster_makes_is_not(shop: Shop) -> None:
    shop.apply()
    shop.kubectl("create", "configmap", "by-hand", "-n", shop.namespace)
    shop.write(settings={**config_map(data={"colour": "blue"})})
    assert shop.diff().returncode == 0
    done = shop.diff("--unmanaged")
    assert done.returncode == 2
    assert done.stdout == f"- ConfigMap/{shop.namespace}/by-hand: only in the cluster: no app manages it\n"


def test_an_object_of_the_controller_keeps_its_owner(shop: Shop) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    owned = config_map(data={"colour": "blue"})
    owned["metadata"]["labels"] = labels
    shop.write(settings=owned)
    shop.apply()
    shop.write(settings=config_map(data={"colour": "blue"}))
    assert shop.diff().stdout == ""
    ks = (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}, namespace: "
        "flux-system}}\nspec: {{interval: 1m, prune: true, sourceRef: {{kind: GitRepository, name: a}}, "
        f"targetNamespace: {shop.namespace}}}}}\n"
    )
    (shop.directory / "web.yaml").unlink()
    for name, code in (("shop", 0), ("other", 2)):
        file = shop.directory.parent / f"{name}.yaml"
        file.write_text(ks.format(name=name))
        assert shop.diff("--kustomization-file", str(file)).returncode == code


def test_nothing_is_written(shop: Shop) -> None:
    shop.apply()
    shop.write(settings=config_map(data={"colour": "red"}))
    before = shop.kubectl("get", "all,configmaps", "-n", shop.namespace, "-o", "yaml", "--show-managed-fields")
    assert shop.diff("--owners", "--unmanaged").returncode == 2
    after = shop.kubectl("get", "all,configmaps", "-n", shop.namespace, "-o", "yaml", "--show-managed-fields")
    assert after == before


REALWORLD = Path(__file__).parents[3].parent / "shared" / "realworld"
BUILDS = ("podinfo/deploy/bases/database", "microservices-demo/kubernetes-manifests")


@pytest.mark.skipif(not REALWORLD.is_dir(), reason=f"no repositories at {REALWORLD}")
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("how", [("--server-side", MANAGER), ("--server-side=false",)], ids=["controller", "kubectl"])
def test_real_repositories_do_not_differ_after_an_apply(
    shop: Shop, build: str, how: tuple[str, ...], tmp_path: Path
) -> None:
    for file in shop.directory.iterdir():
        file.unlink()
    command, env = command_line(shop.plane.kubeconfig, "build", str(REALWORLD / build))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    shop.write(all=done.stdout)
    shop.apply(*how)
    assert shop.diff().stdout == ""
    assert shop.diff("--read-only").stdout == ""


# --- what kubediff got wrong (DIFF.md)


@pytest.mark.parametrize("form", ["text", "json"])
def test_kubediff_1_values_of_secrets_are_masked(shop: Shop, form: str) -> None:
    lines = f"-----BEGIN-----\none\ntwo\nthree\n{PASSWORD}\n"
    shop.write(db=secret(stringData={"k": "beforehand", "same": "same"}))
    shop.apply()
    assert shop.diff("-o", form).returncode == 0
    shop.write(db=secret(stringData={"k": lines, "same": "same"}))
    done = shop.diff("-o", form, "--owners")
    assert done.returncode == 2
    assert "data.k" in done.stdout
    assert "data.same" not in done.stdout
    assert not any(word in done.stdout for word in (PASSWORD, "BEGIN", "YmVmb3JlaGFuZA", "beforehand"))


def test_kubediff_2_missing_is_2_forbidden_is_3_and_the_rest_is_compared(shop: Shop) -> None:
    shop.write(db=secret(stringData={"k": PASSWORD}))
    shop.apply()
    reader = shop.of("writer", "get", "list", "patch")
    done = shop.diff(kubeconfig=reader)
    assert done.returncode == 3
    assert done.stdout.startswith(f'? Secret/{shop.namespace}/db (db.yaml:1): unknown: secrets "db" is forbidden')
    shop.kubectl("delete", "configmap", "settings", "-n", shop.namespace)
    assert shop.diff().returncode == 2
    told = json.loads(shop.diff("-o", "json", kubeconfig=reader).stdout)
    assert (told["verdict"], told["counts"]["unknown"], told["counts"]["differences"]) == ("unknown", 1, 1)


def test_kubediff_2_a_user_who_may_only_read_is_told_how_to(shop: Shop) -> None:
    shop.apply()
    reader = shop.of("reader", "get", "list")
    done = shop.diff(kubeconfig=reader)
    assert done.returncode == 3
    assert "cannot patch resource" in done.stdout
    assert "--read-only" in done.stdout
    assert shop.diff("--read-only", kubeconfig=reader).returncode == 0


def test_kubediff_2_an_unreachable_server_is_3_and_every_object_unknown(shop: Shop) -> None:
    elsewhere = shop.directory.parent / "kubeconfig"
    elsewhere.write_text(shop.plane.kubeconfig.read_text().replace(shop.plane.server, "https://127.0.0.1:1"))
    done = shop.diff(kubeconfig=elsewhere)
    assert done.returncode == 3
    assert [line[0] for line in done.stdout.splitlines()] == ["?", "?"]
    assert "127.0.0.1:1 cannot be reached" in done.stdout


def test_kubediff_3_a_document_that_is_no_object_is_an_error_before_anything_is_asked(shop: Shop) -> None:
    shop.apply()
    shop.write(broken="kind: ConfigMap\nmetadata: {name: a}\n")
    done = shop.diff()
    assert (done.returncode, done.stdout) == (1, "")
    assert "broken.yaml:1" in done.stderr
    assert "no apiVersion" in done.stderr


def test_kubediff_4_the_server_s_forms_make_no_noise_and_the_order_of_args_is_a_difference(shop: Shop) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "tls", "port": 443, "targetPort": 8443}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "annotations": {}, "labels": None},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }
    shop.write(service=service, db=secret(stringData={"k": "v"}), empty=config_map("empty", data={}))
    shop.apply()
    assert shop.diff().stdout == ""
    service["spec"]["ports"] = list(reversed(ports))
    other = deployment()
    other["spec"]["template"]["spec"]["containers"][0]["args"].reverse()
    other["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "500m", "memory": "1Gi"}}
    shop.write(service=service, web=other)
    done = shop.diff("-o", "json")
    paths = [change["path"] for finding in json.loads(done.stdout)["findings"] for change in finding["differences"]]
    assert {path for path in paths if "args" not in path} <= {"spec.ports"}
    assert any("args" in path for path in paths)


def test_kubediff_7_an_object_costs_two_requests_side_by_side(shop: Shop) -> None:
    shop.write(many="---\n".join(json.dumps(config_map(f"c{number}")) + "\n" for number in range(60)))
    shop.apply()
    mark = shop.plane.audit_log.stat().st_size
    done = shop.diff("-o", "json")
    assert json.loads(done.stdout)["counts"]["same"] == 62
    with shop.plane.audit_log.open() as log:
        log.seek(mark)
        place = f"/{shop.namespace}/configmaps/"
        events = [json.loads(line) for line in log if line.endswith("\n")]
        asked = [event["requestURI"] for event in events if place in event["requestURI"]]
    assert len(asked) == 2 * 61
    assert sum("dryRun=All" in uri for uri in asked) == 61


def test_kubediff_7_a_clean_comparison_says_when_it_was_made(shop: Shop) -> None:
    shop.apply()
    assert json.loads(shop.diff("-o", "json").stdout)["observedAt"].startswith("20")
