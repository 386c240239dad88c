"""Paths of objects."""

import pytest

from trimtab.kube.resource import Resource
from trimtab.manifests.refs import Gvk

DEPLOYMENTS = Resource(Gvk("apps", "v1", "Deployment"), "deployments", True)
ROLES = Resource(Gvk("rbac.authorization.k8s.io", "v1", "ClusterRole"), "clusterroles", False)
PODS = Resource(Gvk("", "v1", "Pod"), "pods", True)


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (PODS, ("", ), "/api/v1/pods"),
        (PODS, ("ns", ), "/api/v1/namespaces/ns/pods"),
        (PODS, ("ns", "a", "log"), "/api/v1/namespaces/ns/pods/a/log"),
        (DEPLOYMENTS, ("ns", "a", "scale"), "/apis/apps/v1/namespaces/ns/deployments/a/scale"),
        (ROLES, ("ns", "system:x"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:x"),
        (ROLES, ("", "a/b?c#d%e f"), "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%2Fb%3Fc%23d%25e%20f"),
    ],
)  # fmt: skip
def test_paths(resource, arguments, path):
    assert resource.path(*arguments) == path


def test_a_name_without_the_namespace_it_needs_is_refused():
    with pytest.raises(ValueError, match="'a' needs a namespace"):
        PODS.path("", "a")


@pytest.mark.parametrize("name", [".", ".."])
def test_names_that_would_walk_up_the_path_are_refused(name):
    with pytest.raises(ValueError, match="cannot be the name"):
        ROLES.path("", name)
