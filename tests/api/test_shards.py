from trimtab.api import shards
from trimtab.api.install import install_manifests
from trimtab.manifests.refs import Ref


def test_the_leases_of_a_shard_have_the_names_that_flux_gives_them():
    # the first eight hexadecimal digits of SHA-256 over the selector as it was given
    assert shards.lease_name("x-leader-election", "sharding.fluxcd.io/key=shard1") == "x-leader-election-73fdc1be"
    assert shards.lease_name("x-leader-election", "") == "x-leader-election"


def test_an_installation_with_shards_has_a_process_and_an_address_for_each():
    bodies = {str(Ref.of(body)): body for body in install_manifests(image="i", shards=["a"])}
    rest, one = (
        bodies[f"Deployment/flux-system/{name}"]["spec"]["template"]["spec"]["containers"][0]["args"]
        for name in ("trimtab", "trimtab-a")
    )
    assert "--watch-label-selector=!sharding.fluxcd.io/key" in rest
    assert "--watch-label-selector=sharding.fluxcd.io/key=a" in one
    assert "--storage-adv-addr=source-controller-a.flux-system.svc.cluster.local." in one
    labels = bodies["Deployment/flux-system/trimtab-a"]["spec"]["template"]["metadata"]["labels"]
    others = bodies["Deployment/flux-system/trimtab"]["spec"]["selector"]["matchLabels"]
    assert bodies["Service/flux-system/source-controller-a"]["spec"]["selector"].items() <= labels.items()
    assert not others.items() <= labels.items()
    allowed = str(bodies["Role/flux-system/trimtab-sync"])
    for selector in (shards.REST, shards.selector_of("a")):
        assert shards.lease_name("kustomize-controller-leader-election", selector) in allowed


def test_without_shards_nothing_is_selected():
    assert "watch-label-selector" not in str(install_manifests(image="i"))
