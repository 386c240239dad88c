"""What is built in process equals what kustomize builds, object by object and in the same order."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.api.kustomize import Image
from trimtab.render import plain
from trimtab.render.closure import read
from trimtab.render.local import LocalFiles
from trimtab.render.options import Options
from trimtab.render.render import Renderer
from trimtab.render.scopes import CLUSTER_SCOPED
from trimtab.render.unsure import Unsure

from .conftest import SHARED, kustomize_build, write

REAL = SHARED / "realworld"
PLAIN = [
    "microservices-demo/istio-manifests",
    "microservices-demo/release",
    "podinfo/kustomize",
    "microservices-demo/kubernetes-manifests",
    "flux2-kustomize-helm-example/clusters/production",
    "flux2-kustomize-helm-example/clusters/staging",
    "flux2-kustomize-helm-example/apps/base/podinfo",
]
OVERLAYS = {
    "podinfo/kustomize": 3,
    "podinfo/deploy/bases/backend": 3,
    "podinfo/deploy/bases/cache": 3,
    "podinfo/deploy/bases/database": 12,
    "podinfo/deploy/bases/frontend": 6,
    "podinfo/deploy/overlays/dev": 25,
    "podinfo/deploy/overlays/production": 25,
    "podinfo/deploy/overlays/staging": 25,
    "microservices-demo/kubernetes-manifests": 33,
    "microservices-demo/kustomize": 35,
    "microservices-demo/kustomize/base": 35,
    "microservices-demo/kustomize/tests/memorystore-with-all-components": 49,
    "microservices-demo/kustomize/tests/spanner-with-all-components": 49,
    "microservices-demo/kustomize/tests/service-mesh-istio-with-all-components": 55,
    "flux2-kustomize-helm-example/apps/base/podinfo": 3,
    "flux2-kustomize-helm-example/apps/production": 3,
    "flux2-kustomize-helm-example/apps/staging": 3,
    "flux2-kustomize-helm-example/infrastructure/controllers": 6,
    "flux2-kustomize-helm-example/infrastructure/configs": 3,
    "flux2-kustomize-helm-example/clusters/production": 4,
    "flux2-kustomize-helm-example/clusters/staging": 4,
    "flux2-kustomize-helm-example/clusters/production/flux-system": 0,
    "flux2-kustomize-helm-example/clusters/staging/flux-system": 0,
    "microservices-demo/istio-manifests": 5,
    "microservices-demo/release": 40,
}
OPTIONS = {
    "nothing": Options(),
    "namespace": Options(target_namespace="elsewhere"),
    "images": Options(
        images=(
            Image(name="redis", new_name="mirror.example/redis"),
            Image(name="redis", new_tag="9"),
            Image(name="busybox", digest="sha256:" + "a" * 64),
            Image(name="ghcr.io/stefanprodan/podinfo", new_tag="v9", digest="sha256:" + "b" * 64),
            Image(name="mirror.example/redis", new_tag="10"),
        )
    ),
}
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the shared real repositories are not there")


def in_process(root: Path, options: Options) -> list[dict[str, Any]]:
    files = LocalFiles(root)
    manifests = plain.build(plain.read_manifests(files, read(files, "", options).manifests), options)
    return [manifest.body for manifest in manifests]


def by_kustomize(kustomize: Path, root: Path, options: Options) -> list[dict[str, Any]]:
    body = dict(read(LocalFiles(root), "", options).body)
    (root / "kustomization.yaml").write_text(json.dumps(body))
    try:
        return kustomize_build(kustomize, root)
    finally:
        (root / "kustomization.yaml").unlink()


@needs_real
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("folder", PLAIN)
def test_real_manifests_read_as_a_plain_directory(kustomize, tmp_path, folder, options):
    root = tmp_path / "copy"
    shutil.copytree(REAL / folder, root)
    for file in root.rglob("kustomization.yaml"):
        file.unlink()
    ours, theirs = in_process(root, options), by_kustomize(kustomize, root, options)
    assert ours == theirs


@needs_real
@pytest.mark.parametrize("folder", OVERLAYS)
async def test_real_directory(kustomize, renderer, folder):
    root, _, path = folder.partition("/")
    files = LocalFiles(REAL / root)
    rendered = await renderer.render(files, path, Options())
    assert len(rendered.manifests) == OVERLAYS[folder]
    if (REAL / folder / "kustomization.yaml").exists():
        assert [one.body for one in rendered.manifests] == kustomize_build(kustomize, REAL / folder)
    for manifest in rendered.manifests:
        text = files.read(manifest.origin.file).decode().splitlines()
        assert manifest.origin.line > 0
        assert text[manifest.origin.line - 1].strip(), "the line of an object is where its text starts"


CORNERS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: subjects, namespace: x}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}
subjects:
- {kind: ServiceAccount, name: here}
- {kind: ServiceAccount, name: here, namespace: x}
- {kind: ServiceAccount, name: here, namespace: y}
- {kind: ServiceAccount, name: here, namespace: unknown}
- {kind: ServiceAccount, name: here, namespace: target}
- {kind: ServiceAccount, name: stranger}
- {kind: ServiceAccount, name: default}
- {kind: ServiceAccount, name: default, namespace: y}
- {kind: User, name: default}
- {kind: Group, name: here}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: subjects}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}
subjects:
- {kind: ServiceAccount, name: there, namespace: default}
- {kind: ServiceAccount, name: there}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: here, namespace: x}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: there}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: marks-y, namespace: y}}
---
{apiVersion: v1, kind: Service, metadata: {name: hook, namespace: x}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hooks}
webhooks:
- {name: a, clientConfig: {service: {name: hook, namespace: x, path: /a}}}
- {name: b, clientConfig: {service: {name: hook, namespace: y}}}
- {name: c, clientConfig: {service: {name: other, namespace: x}}}
- {name: d, clientConfig: {url: "https://example.org"}}
---
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: local}, spec: {group: a}}
---
{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: remote}, spec: {service: {name: hook}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: with-conversion}
spec: {conversion: {webhook: {clientConfig: {service: {name: hook, namespace: x}}}}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: without}
spec: {conversion: {webhook: {clientConfig: {service: {name: hook}}}}, containers: [{image: app}]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: was}}
---
{apiVersion: example.org/v1, kind: Namespace, metadata: {name: custom}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: empty, annotations: {}, labels: {}, namespace: null}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: images}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers: [{image: "app:v1"}, {image: application}, {image: "registry:5000/app:v1@sha256:ab"}, {}]
          initContainers: [{image: "app@sha256:ab"}]
          ephemeralContainers: [{image: app}]
          volumes: [{name: v, image: {reference: "app:v1"}}, {name: w}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: volumes}
spec: {template: {spec: {volumes: [{name: v, image: {reference: "app:v1"}}], containers: [{image: "redis"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: volumes}
spec: {volumes: [{name: v, image: {reference: "app"}}], nodeName: null}
"""
CORNER_OPTIONS = {
    **OPTIONS,
    "default": Options(target_namespace="default"),
    "target": Options(target_namespace="target"),
    "both": Options(
        target_namespace="y",
        images=(
            Image(name="app", new_name="mirror/app", new_tag="v2"),
            Image(name="registry:5000/app", digest="sha256:cd"),
            Image(name="redi.", new_name="valkey"),
        ),
    ),
}


@pytest.mark.parametrize("options", CORNER_OPTIONS.values(), ids=CORNER_OPTIONS)
def test_corners(kustomize, tmp_path, options):
    write(tmp_path, {"corners.yaml": CORNERS})
    ours, theirs = in_process(tmp_path, options), by_kustomize(kustomize, tmp_path, options)
    assert ours == theirs


# Namespaces and names repeat on purpose, so that references are found, missed, and ambiguous.
names = st.sampled_from(["a", "b", "default", "app.v1"])
namespaces = st.sampled_from([None, "", "default", "x", "target"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from(["1", "true", "1e3", "yes", "null", "2001-01-01", "0x1F", "", "é", "a: b", "- c", "~", "12:30:45"]),
)
image_names = st.sampled_from(["app", "example/app", "example:5000/app", "app:v1", "app@sha256:ab", "app:v1@sha256:ab"])
containers = st.lists(st.fixed_dictionaries({"name": names}, optional={"image": image_names}), max_size=2)
pod_spec = st.fixed_dictionaries(
    {},
    optional={
        "containers": containers,
        "initContainers": containers,
        "volumes": st.lists(
            st.fixed_dictionaries(
                {"name": names}, optional={"image": st.fixed_dictionaries({"reference": image_names})}
            ),
            max_size=1,
        ),
    },
)
references = st.fixed_dictionaries({"name": names}, optional={"namespace": st.sampled_from(["default", "x", "y"])})
subjects = st.lists(
    st.builds(lambda one, kind: {**one, "kind": kind}, references, st.sampled_from(["ServiceAccount", "User"])),
    max_size=3,
)
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}


def kind(api_version: str, kind_: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        "namespace": namespaces,
        "annotations": st.dictionaries(names, st.text("ab \n:", max_size=4), max_size=2) | st.none(),
        "labels": st.dictionaries(names, scalars, max_size=2),
        "creationTimestamp": st.none(),
    }
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just(api_version),
            "kind": st.just(kind_),
            "metadata": st.fixed_dictionaries({"name": names}, optional=optional),
        },
        optional=fields,
    )


objects = st.one_of(
    kind("v1", "ConfigMap", data=st.dictionaries(names, scalars, max_size=3)),
    kind("v1", "ServiceAccount"),
    kind(
        "v1", "Service", spec=st.fixed_dictionaries({"ports": st.lists(st.fixed_dictionaries({"port": st.just(80)}))})
    ),
    kind("serving.knative.dev/v1", "Service"),
    kind("v1", "Namespace"),
    kind("v1", "Pod", spec=pod_spec),
    kind("apps/v1", "Deployment", spec=st.fixed_dictionaries({"template": st.fixed_dictionaries({"spec": pod_spec})})),
    kind("example.org/v1", "Namespace"),
    kind(
        "example.org/v1",
        "Custom",
        spec=st.fixed_dictionaries({"jobTemplate": st.fixed_dictionaries({"deep": pod_spec})}),
    ),
    kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    kind("rbac.authorization.k8s.io/v1", "RoleBinding", subjects=subjects | st.none(), roleRef=st.just(ROLE)),
    kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", subjects=subjects, roleRef=st.just(ROLE)),
    kind(
        "apiregistration.k8s.io/v1",
        "APIService",
        spec=st.fixed_dictionaries({}, optional={"service": references | st.none()}) | st.none(),
    ),
    kind(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        webhooks=st.lists(
            st.fixed_dictionaries(
                {"name": names},
                optional={"clientConfig": st.fixed_dictionaries({}, optional={"service": references, "url": names})},
            ),
            max_size=2,
        ),
    ),
    kind(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        spec=st.fixed_dictionaries(
            {},
            optional={
                "conversion": st.fixed_dictionaries(
                    {"webhook": st.fixed_dictionaries({"clientConfig": st.fixed_dictionaries({"service": references})})}
                )
            },
        ),
    ),
)


def identity(body: dict[str, Any], namespace: str) -> tuple[Any, ...]:
    """What may occur once: kustomize takes no namespace for `default`, and under one namespace all fall together."""
    group = body["apiVersion"].rpartition("/")[0]
    if namespace:
        name = namespace if (group, body["kind"]) == ("", "Namespace") else body["metadata"]["name"]
        return group, body["kind"], name
    place = body["metadata"].get("namespace") or "default"
    if (body["apiVersion"], body["kind"]) in CLUSTER_SCOPED:
        place = ""
    return group, body["kind"], body["metadata"]["name"], place


images = st.lists(
    st.builds(
        Image,
        name=st.sampled_from(["app", "example/app", "example:5000/app", "a.p"]),
        new_name=st.sampled_from(["", "mirror/app", "app"]),
        new_tag=st.sampled_from(["", "v2"]),
        digest=st.sampled_from(["", "sha256:cd"]),
    ),
    max_size=2,
    unique_by=lambda image: image.name,
).map(tuple)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    bodies=st.lists(objects, min_size=1, max_size=6),
    namespace=st.sampled_from(["", "target", "default"]),
    images=images,
    listed=st.booleans(),
)
def test_any_plain_directory(kustomize, bodies, namespace, images, listed):
    unique = list({identity(body, namespace): body for body in bodies}.values())
    options = Options(target_namespace=namespace, images=images)
    text = "---\n".join(json.dumps(body) + "\n" for body in unique[1:])
    first = {"apiVersion": "v1", "kind": "List", "items": unique[:1]} if listed else unique[0]
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write(root, {"one.yaml": json.dumps(first) + "\n---\n" + text})
        theirs = by_kustomize(kustomize, root, options)
        try:
            ours = in_process(root, options)
        except Unsure:
            return
    assert ours == theirs


async def test_where_this_is_unsure_kustomize_decides(kustomize, tmp_path):
    """Values of annotations that are not text, and notes for kustomize itself."""
    write(
        tmp_path / "app",
        {
            "a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {n: 1.0, d: 2001-01-01}}}",
            "b.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: b, annotations: "
            "{config.kubernetes.io/local-config: 'true'}}}",
        },
    )
    renderer = Renderer(None, kustomize, tmp_path / "work")
    rendered = await renderer.render(LocalFiles(tmp_path / "app"), "", Options())
    assert [one.body["metadata"] for one in rendered.manifests] == [
        {"name": "a", "annotations": {"n": "1.0", "d": "2001-01-01"}}
    ]
    assert [str(one.origin) for one in rendered.manifests] == ["a.yaml:1"]
