"""The two objects that point a cluster at its repository. Everything else follows from what they find there."""

from trimtab.api.gvk import GIT_REPOSITORY, KUSTOMIZATION
from trimtab.cli.connect import DEFAULT_NAMESPACE
from trimtab.manifests.refs import Body

NAME = "flux-system"  # of both, as Flux's bootstrap names them: the example's Kustomizations refer to it
PATH = "./clusters/demo"


def source(url: str) -> Body:
    """The repository. Looked at often, since nobody tells the demo of a push: one small request each time."""
    return {
        "apiVersion": GIT_REPOSITORY.api_version,
        "kind": GIT_REPOSITORY.kind,
        "metadata": {"name": NAME, "namespace": DEFAULT_NAMESPACE},
        "spec": {"interval": "2s", "url": url, "ref": {"branch": "main"}},
    }


def root() -> Body:
    """The app that brings all others."""
    return {
        "apiVersion": KUSTOMIZATION.api_version,
        "kind": KUSTOMIZATION.kind,
        "metadata": {"name": NAME, "namespace": DEFAULT_NAMESPACE},
        "spec": {
            "interval": "10m",
            "retryInterval": "30s",
            "path": PATH,
            "prune": True,
            "sourceRef": {"kind": GIT_REPOSITORY.kind, "name": NAME},
        },
    }
