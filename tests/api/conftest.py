"""The definitions of our kinds on the session's control plane."""

from collections.abc import Callable

import pytest

from trimtab.api.crd import crds
from trimtab.manifests.codec import encode


@pytest.fixture(scope="module")
def served(kubectl: Callable[..., str]) -> Callable[..., str]:
    """kubectl for a server that serves our kinds."""
    bodies = crds()
    text = encode({"apiVersion": "v1", "kind": "List", "items": bodies}).decode()
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    names = [f"crd/{body['metadata']['name']}" for body in bodies]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    return kubectl
