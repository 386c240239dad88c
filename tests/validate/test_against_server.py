"""The verdict without a server is that of a real one: server-side apply, dry run, fieldValidation Strict."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.validate.conftest import Validate, written
from trimtab.api.kubernetes import bundled
from trimtab.base.http import AiohttpTransport
from trimtab.cli.main import cli
from trimtab.cluster.plane import ControlPlane
from trimtab.kube import config
from trimtab.kube.client import Client
from trimtab.kube.errors import ApiError
from trimtab.kube.wire import APPLY_PATCH
from trimtab.manifests import codec
from trimtab.manifests.documents import choices, reduced
from trimtab.manifests.refs import Body, Gvk, Origin
from trimtab.manifests.yaml import load
from trimtab.validate.catalog import Catalog
from trimtab.validate.finding import Level
from trimtab.validate.judging import Terms, Unit, judge
from trimtab.validate.reading import Item, Sources

GOOD = Path(__file__).parent / "good.yaml"
REALWORLD = Path(__file__).parents[2].parent / "shared" / "realworld"
POD = "spec.template.spec"
APP = f"{POD}.containers.0"

CHANGES: list[tuple[str, str, Any]] = [
    # kind, path, what stands there instead; ABSENT is None
    ("Deployment", "spec.replica", 3),
    ("Deployment", "spec.replicas", "3"),
    ("Deployment", "spec.replicas", -1),
    ("Deployment", "spec.selector.matchLabels.app", "other"),
    ("Deployment", "spec.strategy.type", "Rolling"),
    ("Deployment", "spec.strategy.rollingUpdate.maxSurge", "many"),
    ("Deployment", f"{APP}.image", None),
    ("Deployment", f"{APP}.name", "Upper"),
    ("Deployment", f"{APP}.ports.0.containerPort", 70000),
    ("Deployment", f"{APP}.ports.0.protocol", "tcp"),
    ("Deployment", f"{APP}.resources.limits.memory", "128 Mi"),
    ("Deployment", f"{APP}.env.0.value", 8080),
    ("Deployment", f"{APP}.env.1.valueFrom", {}),
    ("Deployment", f"{APP}.volumeMounts.0.name", "missing"),
    ("Deployment", f"{APP}.livenessProbe", {"periodSeconds": 3}),
    ("Deployment", f"{APP}.securityContext.readOnlyRootFilesystem", "yes"),
    ("Deployment", f"{POD}.containers", []),
    ("Deployment", f"{POD}.volumes.0.configMap.itemz", []),
    ("Deployment", "metadata.labels.app", "not a label"),
    ("Deployment", "metadata.annotations.a", True),
    ("Service", "spec.ports.0.port", 0),
    ("Service", "spec.ports.0.name", None),
    ("Service", "spec.type", "ClusterIp"),
    ("ConfigMap", "data.a", 1),
    ("ConfigMap", "binaryData.c", "no base64"),
    ("Secret", "data.a", "no base64"),
    ("Namespace", "metadata.name", "Team"),
    ("PersistentVolumeClaim", "spec.accessModes", []),
    ("PersistentVolumeClaim", "spec.resources.requests.storage", "lots"),
    ("StatefulSet", "spec.serviceNam", "db"),
    ("Job", f"{POD}.restartPolicy", "Always"),
    ("CronJob", "spec.schedule", "every night"),
    ("Ingress", "spec.rules.0.http.paths.0.pathType", "prefix"),
    ("Ingress", "spec.rules.0.http.paths.0.backend.service.port", {}),
    ("NetworkPolicy", "spec.policyTypes.0", "ingress"),
    ("HorizontalPodAutoscaler", "spec.maxReplicas", None),
    ("Role", "rules.0.verbs", []),
    ("RoleBinding", "roleRef.name", ""),
    ("RoleBinding", "subjects.0.kind", "Account"),
    ("ValidatingWebhookConfiguration", "webhooks.0.sideEffects", "none"),
    ("CustomResourceDefinition", "spec.names.plural", "stuff"),
    ("CustomResourceDefinition", "spec.versions.0.schema.openAPIV3Schema.propertie", {}),
    # and what looks odd and is taken
    ("Deployment", "spec.replicas", None),
    ("Deployment", f"{APP}.resources.limits.memory", "0.5Gi"),
    ("Deployment", f"{APP}.livenessProbe.httpGet.port", 8080),
    ("Deployment", "spec.strategy.rollingUpdate.maxSurge", 2),
    ("Service", "spec.ports.1.targetPort", "http"),
    ("LimitRange", "spec", {}),
    ("Role", "metadata.name", "system:one:two"),
    ("Pod", "spec.terminationGracePeriodSeconds", -1),
]


def changed(body: Body, path: str, value: Any) -> Body:
    copy = codec.clone(body)
    *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    holder: Any = copy
    for part in above:
        holder = holder[part]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return copy


@pytest.fixture(scope="module")
def strict(plane: ControlPlane) -> Callable[[list[Body]], list[str]]:
    """`strict(bodies)`: why the server refuses each of them; empty where it does not."""

    async def ask(bodies: list[Body]) -> list[str]:
        transport = AiohttpTransport()
        client = Client(config.load(plane.kubeconfig), transport)

        async def one(body: Body) -> str:
            resource = await client.discovery.find(Gvk.of(body["apiVersion"], body["kind"]))
            path = resource.path(body["metadata"].get("namespace", ""), body["metadata"]["name"])
            query = {"dryRun": "All", "fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
            try:
                await client.request("PATCH", path, query=query, body=codec.encode(body), content_type=APPLY_PATCH)
            except ApiError as refused:
                return str(refused)
            return ""

        try:
            return await asyncio.gather(*map(one, bodies))
        finally:
            await transport.close()

    return lambda bodies: asyncio.run(ask(bodies))


def without_server(bodies: list[Body]) -> list[list[str]]:
    terms = Terms(Catalog(bundled()), Sources({}))
    found = []
    for body in bodies:
        findings = judge([Unit("one", [Item(body, Origin("file", 1))])], terms)
        found.append([str(one) for one in findings if one.level is Level.ERROR])
    return found


def test_the_verdict_is_that_of_the_server(strict: Callable[[list[Body]], list[str]]) -> None:
    good = [document.value for document in load(GOOD.read_bytes(), "good.yaml", dialect="kubernetes")]
    by_kind = {body["kind"]: body for body in good}
    bodies = [*good, *(changed(by_kind[kind], path, value) for kind, path, value in CHANGES)]
    names = [*(body["kind"] for body in good), *(f"{kind} {path} {value!r}" for kind, path, value in CHANGES)]
    refused, found = strict(bodies), without_server(bodies)
    assert [(name, why, said) for name, why, said in zip(names, refused, found, strict=True)
            if bool(why) is not bool(said)] == []  # fmt: skip
    assert not any(refused[: len(good)])
    assert sum(map(bool, refused)) == 42


def test_what_comes_along_is_what_a_server_of_that_version_says(
    plane: ControlPlane, kubectl: Callable[..., str]
) -> None:
    # where the toolchain has moved on, `make schemas` makes them again
    bundle = bundled()
    assert codec.decode(kubectl("get", "--raw", "/version"))["gitVersion"] == f"v{bundle.version}"
    documents = {
        path: codec.decode(kubectl("get", "--raw", f"/openapi/v3/{path}")) for path in ("api/v1", "apis/apps/v1")
    }
    told = reduced(documents, choices(documents))
    differing = {name for name, schema in told["schemas"].items() if bundle.schemas[name] != schema}
    # what only servers write is not judged
    assert {name for name in differing if not name.endswith("Status")} == set()
    assert {Gvk(*one[:3]) for one in told["kinds"]} <= bundle.kinds.keys()


def test_the_schemas_of_a_cluster_are_used_where_one_can_be_reached(
    plane: ControlPlane,
    validate: Validate,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written(tmp_path, {"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}\ndota: {}\n"})
    said = {}
    for kubeconfig in (plane.kubeconfig, tmp_path / "missing"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["validate", "a.yaml", f"--kubeconfig={kubeconfig}"], standalone_mode=False)
        told = capsys.readouterr()
        said[kubeconfig] = (ended.value.code, told.out.count("✗ a.yaml:"), plane.server in told.err)
    assert list(said.values()) == [(2, 2, True), (1, 0, False)]
    # nobody has named one, or it does not answer: then what comes along will do
    closed = tmp_path / "closed"
    closed.write_text(plane.kubeconfig.read_text().replace(plane.server, "https://127.0.0.1:1"))
    for kubeconfig, word in (("", "✗"), (str(closed), "!")):
        monkeypatch.setenv("KUBECONFIG", kubeconfig)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(SystemExit) as ended:
            cli.main(["validate", "a.yaml"], standalone_mode=False)
        told = capsys.readouterr()
        assert (ended.value.code, told.out.count("✗ a.yaml:"), told.err[:1]) == (2, 2, word)
        assert "schemas of Kubernetes 1.36." in told.err


@pytest.mark.skipif(not REALWORLD.is_dir(), reason="the folder shared/realworld is not beside the checkout")
def test_real_repositories_have_no_errors(validate: Validate) -> None:
    said = validate({}, str(REALWORLD))
    counts = said.body["counts"]
    assert (counts["error"], counts["objects"] > 400) == (0, True)
    assert {one["rule"] for one in said.body["findings"]} == {"kind"}
