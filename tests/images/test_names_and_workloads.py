"""Names of images as people write them, and what workloads run."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.images import naming
from trimtab.images.running import Running, canonical, containers


@pytest.mark.parametrize(
    ("image", "full", "host"),
    [
        ("alpine", "docker.io/library/alpine", "index.docker.io"),
        ("acme/app", "docker.io/acme/app", "index.docker.io"),
        ("docker.io/alpine", "docker.io/library/alpine", "index.docker.io"),
        ("ghcr.io/acme/app", "ghcr.io/acme/app", "ghcr.io"),
        ("localhost/app", "localhost/app", "localhost"),
        ("registry:5000/app", "registry:5000/app", "registry"),
        ("[::1]:5000/app", "[::1]:5000/app", "::1"),
        ("ghcr.io:443/acme/app", "ghcr.io/acme/app", "ghcr.io"),
    ],
)
def test_a_name_means_a_repository(image: str, full: str, host: str) -> None:
    named = naming.parse(image)
    assert (named.canonical, named.repository.host) == (full, host)
    assert canonical(image) == full


@pytest.mark.parametrize("image", ["", "a b", "ghcr.io/", "ghcr.io/A", "ghcr.io/a\n", "-x/y", "169.254.1.1/../a"])
def test_what_is_no_name_is_refused(image: str) -> None:
    with pytest.raises(Terminal) as refused:
        naming.parse(image)
    assert refused.value.reason == "ImageURLInvalid"
    assert canonical(image) == image


def test_every_container_of_a_workload_is_found_with_what_it_runs() -> None:
    pod = {
        "initContainers": [{"name": "setup", "image": "registry:5000/setup"}],
        "containers": [
            {"name": "app", "image": "ghcr.io/acme/app:1.0.0@sha256:abc"},
            {"name": "pinned", "image": "ghcr.io/acme/app@sha256:abc"},
        ],
    }
    spec = {"template": {"spec": pod}}
    found = list(containers({"kind": "Deployment", "metadata": {"name": "cart", "namespace": "shop"}, "spec": spec}))
    assert found == [
        Running("shop", "Deployment/cart", "setup", "registry:5000/setup", ""),
        Running("shop", "Deployment/cart", "app", "ghcr.io/acme/app", "1.0.0@sha256:abc"),
        Running("shop", "Deployment/cart", "pinned", "ghcr.io/acme/app", "@sha256:abc"),
    ]
    assert [one.tag for one in found] == ["latest", "1.0.0", ""]
    job = {"kind": "CronJob", "metadata": {"name": "tidy"}, "spec": {"jobTemplate": {"spec": spec}}}
    assert [one.container for one in containers(job)] == ["setup", "app", "pinned"]
    assert list(containers({"kind": "Deployment", "metadata": {"name": "bare"}})) == []
