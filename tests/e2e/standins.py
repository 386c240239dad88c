"""Charts that stand in for cert-manager's and Envoy Gateway's: their shape, without the programs.

They have what matters to whoever releases them: definitions as templates or in `crds/`, roles of the whole cluster,
hooks with accounts of their own, a Deployment, values that reach a file. Images are never pulled.
"""

from collections.abc import Mapping

from tests.charts.world import chart_yaml, tgz
from tests.registry.server import RegistryServer, descriptor, manifest

CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

_DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
  # Without it the API server takes nothing in a group of Kubernetes' own, which Gateway API's is.
  annotations: {{api-approved.kubernetes.io: https://github.com/kubernetes-sigs/gateway-api/pull/1}}
spec:
  group: {group}
  scope: {scope}
  names: {{plural: {plural}, singular: {singular}, kind: {kind}, listKind: {kind}List}}
  versions:
    - name: v1
      served: true
      storage: true
      subresources: {{status: {{}}}}
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
            status: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""

_WORKLOAD = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
data:
  config.yaml: |
    {{- toYaml .Values.config | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "{{ .Release.Name }}-controller"}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "{{ .Release.Name }}-controller"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "{{ .Release.Name }}-controller"}
subjects:
  - {kind: ServiceAccount, name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      serviceAccountName: {{ .Release.Name }}
      containers: [{name: controller, image: "registry.example/{{ .Chart.Name }}:{{ .Chart.AppVersion }}"}]
"""

_HOOK = """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}-%(name)s
  namespace: {{ .Release.Namespace }}
  annotations: {helm.sh/hook: %(event)s, helm.sh/hook-weight: "-1", helm.sh/hook-delete-policy: %(policy)s}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-%(name)s
  namespace: {{ .Release.Namespace }}
  annotations: {helm.sh/hook: %(event)s, helm.sh/hook-delete-policy: %(policy)s}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      serviceAccountName: {{ .Release.Name }}-%(name)s
      containers: [{name: job, image: "registry.example/{{ .Chart.Name }}-%(name)s:{{ .Chart.AppVersion }}"}]
"""
_POLICY = '"before-hook-creation,hook-succeeded"'


def definition(group: str, kind: str, plural: str, *, cluster: bool = False) -> str:
    """A kind with a status, and any spec."""
    scope = "Cluster" if cluster else "Namespaced"
    return _DEFINITION.format(group=group, kind=kind, plural=plural, singular=kind.lower(), scope=scope)


def hook(name: str, event: str) -> str:
    """A Job that runs at `event`, with an account that comes and goes with it."""
    return _HOOK % {"name": name, "event": event, "policy": _POLICY}


def cert_manager(version: str) -> bytes:
    """Definitions are templates that a value turns on, and a check runs after each install and before the end."""
    kinds = [
        definition("cert-manager.io", "Certificate", "certificates"),
        definition("cert-manager.io", "ClusterIssuer", "clusterissuers", cluster=True),
    ]
    return packed(
        "cert-manager",
        version,
        {
            "values.yaml": "crds: {enabled: false, keep: true}\nconfig: {}\n",
            "templates/crds.yaml": "{{- if .Values.crds.enabled }}\n" + "---\n".join(kinds) + "{{- end }}\n",
            "templates/controller.yaml": _WORKLOAD,
            "templates/check.yaml": hook("startupapicheck", "post-install"),
            "templates/leave.yaml": hook("leave", "pre-delete"),
        },
    )


def gateway(version: str) -> bytes:
    """Definitions are in `crds/`, and certificates are made by a Job before anything else."""
    group = "gateway.networking.k8s.io"
    return packed(
        "gateway-helm",
        version,
        {
            "values.yaml": "config: {envoyGateway: {gateway: {controllerName: gateway.envoyproxy.io/gatewayclass}}}\n",
            "crds/classes.yaml": definition(group, "GatewayClass", "gatewayclasses", cluster=True),
            "crds/gateways.yaml": definition(group, "Gateway", "gateways"),
            "crds/routes.yaml": definition(group, "HTTPRoute", "httproutes"),
            "templates/controller.yaml": _WORKLOAD,
            "templates/certgen.yaml": hook("certgen", '"pre-install,pre-upgrade"'),
        },
    )


def packed(name: str, version: str, files: Mapping[str, str]) -> bytes:
    """A packaged chart of exactly these files and a Chart.yaml."""
    every = {"Chart.yaml": chart_yaml(name, version, appVersion=f"v{version}"), **files}
    return tgz({f"{name}/{path}": text for path, text in every.items()})


def push(registry: RegistryServer, repository: str, tag: str, chart: bytes) -> str:
    """What `helm push` leaves in a registry; the digest of its manifest."""
    for blob in (b"{}", chart):
        registry.blob(repository, blob)
    return registry.tag(repository, tag, manifest([descriptor(chart, CONTENT)]))
