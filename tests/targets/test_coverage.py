"""Which objects are managed, by whom, and which are nobody's."""

from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.coverage import Apps, Share, judged
from trimtab.targets.kubernetes.desired import PREFIX
from trimtab.targets.kubernetes.estate import Live, Record

APPLY = "apply.trimtab.dev/"
HELM = "helm.toolkit.fluxcd.io/"


def live(kind, name, namespace="shop", group="", app="", prefix=PREFIX, owner="", **metadata):
    labels = dict(metadata.pop("labels", {}))
    if app:
        labels |= {f"{prefix}name": app, f"{prefix}namespace": "apps"}
    owners = [{"kind": "X", "name": owner, "uid": owner, "controller": True}] if owner else []
    ref = Ref(group, kind, namespace, name)
    return Live(
        ref, {"name": name, "namespace": namespace, "uid": name, "labels": labels, "ownerReferences": owners} | metadata
    )


def apps(**records):
    kustomizations = {Key("apps", name): Record(refs) for name, refs in records.items()}
    return Apps({PREFIX: kustomizations, HELM: {Key("apps", "chart"): Record((), "Helm's")}, APPLY: {}})


def shares(found, known):
    return {one.ref.name: (one.share, one.by) for one in judged(found, known)}


def test_what_belongs_to_a_managed_object_is_managed_and_to_a_stranger_is_not():
    web = live("Deployment", "web", group="apps", app="shop")
    found = [
        web,
        live("ReplicaSet", "web-1", group="apps", owner="web"),
        live("Pod", "web-1-a", owner="web-1", app="shop"),
        live("Pod", "lost", owner="somebody"),
    ]
    told = shares(found, apps(shop=[web.ref]))
    assert {name: share for name, (share, _) in told.items()} == {
        "web": Share.MANAGED,
        "web-1": Share.MANAGED,
        "web-1-a": Share.MANAGED,
        "lost": Share.UNMANAGED,
    }
    assert told["lost"][1] == "X/somebody, its owner"


def test_an_app_that_is_gone_or_has_lost_an_object_leaves_an_orphan():
    found = [live("ConfigMap", "a", app="shop"), live("ConfigMap", "b", app="gone"), live("ConfigMap", "c", app="shop")]
    told = shares(found, apps(shop=[found[2].ref]))
    assert told == {
        "a": (Share.ORPHANED, "Kustomization apps/shop, which has it on no record"),
        "b": (Share.ORPHANED, "Kustomization apps/gone, which is gone"),
        "c": (Share.MANAGED, "Kustomization apps/shop"),
    }


def test_what_cannot_be_told_is_not_called_lost():
    damaged = Apps({PREFIX: {Key("apps", "shop"): Record((), "damaged")}, HELM: None, APPLY: {}})
    found = [live("ConfigMap", "a", app="shop"), live("ConfigMap", "b", app="chart", prefix=HELM)]
    assert [share for share, _ in shares(found, damaged).values()] == [Share.MANAGED] * 2


def test_other_tools_are_named():
    chart = {"meta.helm.sh/release-name": "pg", "meta.helm.sh/release-namespace": "db"}
    found = [
        live("ConfigMap", "a", annotations=chart),
        live("ConfigMap", "b", annotations={"argocd.argoproj.io/tracking-id": "web:/ConfigMap:shop/b"}),
        live("ConfigMap", "c", annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"}),
        live("ConfigMap", "d", managedFields=[{"manager": "an-operator"}]),
    ]
    assert [by for _, by in shares(found, apps()).values()] == [
        *("helm release db/pg", "Argo CD application web", "kubectl apply", "an-operator")
    ]


def test_what_a_cluster_makes_for_itself_does_not_count():
    nobodys = [
        live("ConfigMap", "kube-root-ca.crt"),
        live("ServiceAccount", "default"),
        live("Secret", "sh.helm.release.v1.pg.v1"),
        live("Secret", "shop.apply.inventory.trimtab.dev"),
        live("ClusterRole", "system:node", "", "rbac.authorization.k8s.io"),
        live("ClusterRole", "edit", "", "rbac.authorization.k8s.io", labels={"kubernetes.io/bootstrapping": "x"}),
        live("Node", "n1", ""),
        live("CustomResourceDefinition", "kustomizations.kustomize.toolkit.fluxcd.io", "", "apiextensions.k8s.io"),
        live("Service", "kubernetes", "default"),
    ]
    assert shares(nobodys, apps()) == {}


def test_an_installation_does_not_count_and_its_label_on_what_is_none_of_it_hides_nothing():
    rbac, ours = "rbac.authorization.k8s.io", {"app.kubernetes.io/part-of": "flux"}
    installed = [
        live("Namespace", "flux-system", "", labels=ours),
        live("Namespace", "gitops", "", labels={"app.kubernetes.io/part-of": "trimtab"}),
        live("Deployment", "helm-controller", "flux-system", "apps", labels=ours),
        live("ReplicaSet", "helm-controller-1", "flux-system", "apps", owner="helm-controller"),
        live("Service", "source-controller", "gitops", labels=ours),
        live("ClusterRole", "crd-controller-flux-system", "", rbac, labels=ours),
        live("ClusterRoleBinding", "trimtab-sync", "", rbac, labels=ours),
    ]
    others = [
        live("Deployment", "miner", group="apps", labels=ours),
        live("Secret", "keys", "flux-system", labels=ours),
        live("ClusterRoleBinding", "all-for-me", "", rbac, labels=ours),
    ]
    assert shares([*installed, *others], apps()).keys() == {"miner", "keys", "all-for-me"}
