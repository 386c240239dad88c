"""What the server, its controllers and other writers make of an object is no drift: nothing told, nothing rewritten."""

import time

import pytest

from tests.e2e.world import condition, until
from trimtab.manifests import codec


def deployment(spec="", container="", pod=""):
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: x}}
spec:
  selector: {{matchLabels: {{app: x}}}}
{spec}
  template:
    metadata: {{labels: {{app: x}}}}
    spec:
{pod}
      containers:
      - name: app
        image: registry.example/web:1
{container}
"""


DEPLOYMENTS = "/apis/apps/v1/namespaces/{ns}/deployments/x"
CONFIG_MAPS = "/api/v1/namespaces/{ns}/configmaps/x"
SERVICES = "/api/v1/namespaces/{ns}/services/x"
RBAC = "/apis/rbac.authorization.k8s.io/v1/clusterroles/x-{ns}"

CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.NS.example.org}
spec:
  group: NS.example.org
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, default: 3}
              ratio: {type: number}
              port: {x-kubernetes-int-or-string: true}
              parts:
                type: array
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, weight: {type: integer, default: 1}}
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
---
apiVersion: NS.example.org/v1
kind: Thing
metadata: {name: x}
spec: {ratio: 1.0, port: 80, parts: [{name: b}, {name: a, weight: 2}]}
"""

AGGREGATED = """apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: x-NS}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {aggregate-to: x-NS}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: part-NS, labels: {aggregate-to: x-NS}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""

SCALED = (
    deployment()
    + """---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: x}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}
  minReplicas: 1
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
"""
)

WEBHOOK = """apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: x-NS}
webhooks:
- name: x.example.org
  clientConfig: {service: {name: x, namespace: NS, path: /x}}
  rules: [{apiGroups: [none.example.org], apiVersions: [v1], resources: [none], operations: [CREATE]}]
  sideEffects: None
  admissionReviewVersions: [v1]
"""

CASES = {
    "quantities in other units": (
        DEPLOYMENTS,
        deployment(
            container="        resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {cpu: '2.0', memory: 1.5Gi}}"
        ),
    ),
    "defaults": (DEPLOYMENTS, deployment(container="        ports: [{containerPort: 8080}, {containerPort: 9090}]")),
    "a Service with defaults and addresses": (
        SERVICES,
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {selector: {app: x}, ports: [{port: 80}]}\n",
    ),
    "ports as numbers and as names": (
        SERVICES,
        """apiVersion: v1
kind: Service
metadata: {name: x}
spec:
  selector: {app: x}
  ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81, targetPort: 8080}]
""",
    ),
    "probes with ports as numbers and as names": (
        DEPLOYMENTS,
        deployment(
            container="        livenessProbe: {httpGet: {path: /, port: http}}\n"
            "        readinessProbe: {tcpSocket: {port: 8080}}"
        ),
    ),
    "replicas that an autoscaler owns": (DEPLOYMENTS, SCALED),
    "an aggregated ClusterRole": (RBAC, AGGREGATED),
    "defaults of a CRD, floats, a keyed list in an order of its own": (
        "/apis/{ns}.example.org/v1/namespaces/{ns}/things/x",
        CRD,
    ),
    "stringData": (
        "/api/v1/namespaces/{ns}/secrets/x",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: b}\ndata: {c: ZA==}\n",
    ),
    "explicit null": (
        DEPLOYMENTS,
        deployment(
            "  replicas: null\n  strategy: null",
            "        resources: null\n        command: null",
            "      nodeSelector: null\n      volumes: null",
        ),
    ),
    "empty maps": (
        DEPLOYMENTS,
        deployment(
            "  strategy: {}",
            "        resources: {}\n        securityContext: {}\n        volumeMounts: [{name: v, mountPath: /v}]",
            "      securityContext: {}\n      nodeSelector: {}\n      volumes: [{name: v, emptyDir: {}}]",
        ),
    ),
    "empty lists": (
        DEPLOYMENTS,
        deployment(
            "", "        env: []\n        ports: []\n        args: []", "      tolerations: []\n      volumes: []"
        ),
    ),
    "empty data, labels and annotations": (
        CONFIG_MAPS,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {}, annotations: {}}\ndata: {}\n",
    ),
    "zero values": (
        DEPLOYMENTS,
        deployment(
            "  replicas: 0\n  minReadySeconds: 0\n  paused: false", "        tty: false\n        workingDir: ''"
        ),
    ),
    "a budget in percent": (
        "/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets/x",
        """apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: x}
spec: {minAvailable: 50%, selector: {matchLabels: {app: x}}}
""",
    ),
    "a CronJob with defaults": (
        "/apis/batch/v1/namespaces/{ns}/cronjobs/x",
        """apiVersion: batch/v1
kind: CronJob
metadata: {name: x}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: registry.example/a}]}}}}
""",
    ),
    "a caBundle that somebody injects": (
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/x-{ns}",
        WEBHOOK,
    ),
    "a Namespace with what the server adds": (
        "/api/v1/namespaces/more-{ns}",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: more-NS}\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_no_drift(world, ns, plane, case):
    path, text = CASES[case]
    check(world, ns, plane, path.format(ns=ns), text.replace("NS", ns))


def test_what_an_admission_policy_makes_of_an_object_is_no_drift(world, ns, plane):
    """A policy that adds a field, and one that rewrites a declared value, every time."""
    group = "/apis/admissionregistration.k8s.io/v1"
    served = {found["name"] for found in world.api.get(group)["resources"]}
    assert "mutatingadmissionpolicies" in served, served
    expression = (
        'Object{metadata: Object.metadata{labels: {"injected": "yes"}}, data: {"colour": "#" + object.data.colour}}'
    )
    names = {"name": ns}
    constraint = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
        ],
    }
    policy = {
        "reinvocationPolicy": "Never",
        "matchConstraints": constraint,
        "matchConditions": [{"name": "not-yet", "expression": "!object.data.colour.startsWith('#')"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    api_version = "admissionregistration.k8s.io/v1"
    bodies = {
        "mutatingadmissionpolicies": {"kind": "MutatingAdmissionPolicy", "spec": policy},
        "mutatingadmissionpolicybindings": {"kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": ns}},
    }
    for plural, body in bodies.items():
        world.api.create(f"{group}/{plural}", {"apiVersion": api_version, "metadata": names, **body})
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"colour": "red"}}
    configmaps = f"/api/v1/namespaces/{ns}/configmaps"

    def works():
        answer = world.api.call("POST", f"{configmaps}?dryRun=All", probe)
        return answer["data"]["colour"] == "#red"

    until(works, "the policy is in force")
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {colour: red}\n"
    check(world, ns, plane, f"{configmaps}/x", text)
    assert world.api.get(f"{configmaps}/x")["data"]["colour"] == "#red"


def test_env_names_that_occur_twice_are_refused_in_clear_words(world, ns):
    """The server cannot own one of two equal keys: it would answer differently every time."""
    env = "        env: [{name: A, value: '1'}, {name: A, value: '2'}]"
    start(world, ns, deployment(container=env))
    message = world.failed(ns, "shop", words="A")
    assert f"Deployment/{ns}/x (app/x.yaml:1)" in message
    assert "duplicate" in message


def start(world, ns, text):
    repo = world.repo(ns)
    repo.commit({"app/x.yaml": text})
    world.source(ns, repo.url)
    # the namespace of a Kustomization would rename a Namespace
    world.app(ns, "shop", "./app", targetNamespace=None if "kind: Namespace" in text else ns)


def check(world, ns, plane, path, text):
    start(world, ns, text)
    world.ready(ns, "shop")
    if "autoscaling" in text:
        world.api.merge(f"{path}/scale", {"spec": {"replicas": 4}})
    if "Webhook" in text:
        live = world.api.get(path)
        bundle = live["webhooks"][0]["clientConfig"] | {"caBundle": CA}
        world.api.merge(path, {"webhooks": [live["webhooks"][0] | {"clientConfig": bundle}]})
    time.sleep(1)
    mark = plane.audit_log.stat().st_size
    world.api.merge(path, {"metadata": {"annotations": {"example.org/touched": "yes"}}})
    time.sleep(1)
    moment = world.poke_app(ns, "shop")
    until(lambda: world.get_app(ns, "shop")["status"].get("lastHandledReconcileAt") == moment, "the second pass")
    time.sleep(0.5)
    assert condition(world.get_app(ns, "shop"), "Ready")["status"] == "True"
    events = world.api.get(f"/api/v1/namespaces/{ns}/events")["items"]
    assert not [event["message"] for event in events if event["reason"] == "DriftDetected"]
    assert applies(plane, mark, path) == []
    live = world.api.get(path)
    assert live["metadata"]["annotations"]["example.org/touched"] == "yes"
    if "autoscaling" in text:
        assert live["spec"]["replicas"] == 4
    if "Webhook" in text:
        assert live["webhooks"][0]["clientConfig"]["caBundle"] == CA


CA = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJmekNDQVNXZ0F3SUJBZ0lVYg=="


def applies(plane, mark, path):
    """Our applies and dry-runs of one object since `mark`, from the server's own record."""
    with plane.audit_log.open("rb") as log:
        log.seek(mark)
        lines = [codec.decode(line) for line in log if line.endswith(b"\n")]
    return [
        line["requestURI"]
        for line in lines
        if line["stage"] == "ResponseComplete"
        and "fieldManager=kustomize-controller" in line["requestURI"]
        and line["requestURI"].split("?")[0] == path
    ]
