"""What adopting writes into a file, byte for byte, and what it refuses; rendered for real, without a cluster."""

import msgspec
import pytest

from tests.cli.git.test_rollback import app
from trimtab.api.kustomize import Patch, Selector
from trimtab.cli.connect import Failure
from trimtab.cli.git.adopt import _chosen, _owner
from trimtab.cli.git.adopting import Adoption, written
from trimtab.commits import Entry, Snapshot
from trimtab.diff.compare import Difference
from trimtab.manifests.refs import Origin, Ref
from trimtab.render.variables import Variables

WEB = Ref("apps", "Deployment", "shop", "web")
DEPLOYMENT = b"""# the shop
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # of old
  namespace: shop
  annotations: {note: 'it''s', "on": "true"}
spec:
  replicas: 2 # two are enough
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: side
          image: side:1
        - name: web
          image: web:1
          ports: [{containerPort: 80}]
          resources: {limits: {cpu: 1}}
          args: [-v, "2"]
"""


def change(path: str, live: object, declared: object) -> Difference:
    return Difference(path, "changed", live, declared)


REPLICAS = change("spec.replicas", 5, 2)


def adoption(*values: Difference, **more: object) -> Adoption:
    given = {"app": app("shop", "shop"), "variables": Variables(), **more}
    return Adoption(  # type: ignore[arg-type]
        ref=WEB, values=values, ignore=None, keys=None, title="Adopt", trailers=(("Trimtab-Adopt", str(WEB)),), **given
    )


def snapshot(**files: bytes) -> Snapshot:
    contents = {name.replace("__", "/").replace("_", "."): data for name, data in files.items()}
    return Snapshot(
        "1" * 40, {path: Entry("100644", f"{len(d):040x}", len(d)) for path, d in contents.items()}, contents
    )


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_one_value_is_replaced_and_no_other_byte(ending: bytes, bom: bytes):
    before = bom + DEPLOYMENT.replace(b"\n", ending)
    found = adoption(REPLICAS).edit(snapshot(shop__web_yaml=before))
    assert found.contents == {"shop/web.yaml": before.replace(b"replicas: 2 #", b"replicas: 5 #")}
    assert str(found.message) == (
        "Adopt\n\n  spec.replicas: 2 → 5 (shop/web.yaml:13)\n\nTrimtab-Adopt: Deployment/shop/web\n"
    )


def test_several_values_of_all_kinds_are_replaced_in_the_style_that_they_have():
    values = (
        change("spec.template.spec.containers[name=web].image", "web:2", "web:1"),
        change("metadata.annotations.note", "it's 'new'", "it's"),
        change('metadata.annotations["on"]', "false", "true"),
        change("spec.template.spec.containers[name=web].ports[containerPort=80,protocol=TCP].containerPort", 81, 80),
        change("spec.template.spec.containers[name=web].resources.limits.cpu", "500m", 1),
        change("spec.template.spec.containers[name=web].args[1]", "9", "2"),
    )
    edited = written(DEPLOYMENT, Origin("web.yaml", 6, 2), WEB, values).data
    expected = DEPLOYMENT
    for old, new in (
        (b"image: web:1", b"image: web:2"),
        (b"'it''s'", b"'it''s ''new'''"),
        (b'"on": "true"', b'"on": "false"'),
        (b"containerPort: 80", b"containerPort: 81"),
        (b"cpu: 1", b"cpu: 500m"),
        (b'[-v, "2"]', b'[-v, "9"]'),
    ):
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert edited == expected


def test_a_name_that_is_lengthened_on_the_way_is_found_by_its_line():
    renamed = DEPLOYMENT.replace(b"name: web   #", b"name: w     #")
    kustomization = b"resources: [web.yaml]\nnameSuffix: eb\n"
    found = adoption(REPLICAS).edit(snapshot(shop__web_yaml=renamed, shop__kustomization_yaml=kustomization))
    assert found.contents == {"shop/web.yaml": renamed.replace(b"replicas: 2", b"replicas: 5")}


def test_what_the_branch_says_already_is_no_change_and_what_it_says_otherwise_is_refused():
    five = DEPLOYMENT.replace(b"replicas: 2", b"replicas: 5")
    assert adoption(REPLICAS).edit(snapshot(shop__web_yaml=five)).contents == {}
    with pytest.raises(Failure, match=r"spec\.replicas is 7 on the branch by now"):
        adoption(REPLICAS).edit(snapshot(shop__web_yaml=DEPLOYMENT.replace(b"replicas: 2", b"replicas: 7")))


PATCH = b"""resources: [web.yaml]
patches:
  - patch: |-
      - {op: replace, path: /spec/replicas, value: 2}
    target: {kind: Deployment}
"""
SAME = DEPLOYMENT.replace(b"replicas: 2", b"replicas: &r 2").replace(b"containerPort: 80", b"containerPort: *r")
GENERATED = (
    b"configMapGenerator: [{name: c, literals: [a=1]}]\nresources: [web.yaml]\nreplicas: [{name: web, count: 2}]\n"
)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"shop__web_yaml": DEPLOYMENT.replace(b"  replicas: 2 # two are enough\n", b"")}, "is gone on the branch"),
        ({"shop__web_yaml": DEPLOYMENT, "shop__kustomization_yaml": PATCH}, "has no effect"),
        (
            {"shop__web_yaml": DEPLOYMENT.replace(b"replicas: 2", b"replicas: 3"), "shop__kustomization_yaml": PATCH},
            "is '3' here and comes out as 2",
        ),
        (
            {
                "shop__web_yaml": DEPLOYMENT.replace(b"  replicas: 2 # two are enough\n", b""),
                "shop__kustomization_yaml": GENERATED,
            },
            "does not say spec.replicas",
        ),
        ({"shop__web_yaml": SAME}, "as well"),
        ({"shop__web_yaml": b"kind: x\n  bad"}, "cannot be rendered"),
        ({"shop__other_yaml": DEPLOYMENT.replace(b"name: web   #", b"name: api   #")}, "is not declared by"),
    ],
    ids=["gone", "patched", "patched-over", "added", "anchor", "broken", "left"],
)
def test_what_is_made_on_the_way_is_refused_with_what_to_edit(files: dict[str, bytes], why: str):
    with pytest.raises(Failure) as refusal:
        adoption(REPLICAS).edit(snapshot(**files))
    assert why in refusal.value.message


def test_a_patch_of_the_app_itself_has_the_last_word():
    patched = app("shop", "shop")
    patch = Patch(patch='[{"op": "replace", "path": "/spec/replicas", "value": 2}]', target=Selector(kind="Deployment"))
    patched = msgspec.structs.replace(patched, spec=msgspec.structs.replace(patched.spec, patches=(patch,)))
    with pytest.raises(Failure, match="has no effect"):
        adoption(REPLICAS, app=patched).edit(snapshot(shop__web_yaml=DEPLOYMENT.split(b"---\n")[1]))


def test_what_is_filled_in_from_a_variable_is_refused_by_its_name():
    filled = DEPLOYMENT.replace(b"replicas: 2", b"replicas: ${COUNT}")
    variables = Variables(values={"COUNT": "2"})
    with pytest.raises(Failure, match=r"filled in from \$\{COUNT\}"):
        adoption(REPLICAS, variables=variables).edit(snapshot(shop__web_yaml=filled))


def test_what_is_generated_is_refused_with_the_place_it_is_generated_at():
    kustomization = (
        b"generatorOptions: {disableNameSuffixHash: true}\nconfigMapGenerator:\n- name: c\n  literals: [a=1]\n"
    )
    wish = Adoption(
        app("shop", "shop"),
        Ref("", "ConfigMap", "", "c"),
        [change("data.a", "2", "1")],
        None,
        Variables(),
        None,
        "Adopt",
        (),
    )
    with pytest.raises(Failure, match=r"shop/kustomization.yaml:3: does not hold ConfigMap/c itself: it is generated"):
        wish.edit(snapshot(shop__kustomization_yaml=kustomization))


@pytest.mark.parametrize(
    ("kind", "labels", "why"),
    [
        ("Secret", {"kustomize.toolkit.fluxcd.io/name": "shop"}, "never written to git in clear text"),
        ("Deployment", {"helm.toolkit.fluxcd.io/name": "web"}, "made by the chart of HelmRelease"),
        ("Deployment", {}, "belongs to no app"),
    ],
    ids=["secret", "release", "nobody"],
)
async def test_what_no_file_of_an_app_declares_is_refused(kind: str, labels: dict[str, str], why: str):
    live = {"metadata": {"labels": labels}}
    with pytest.raises(Failure, match=why):
        await _owner(None, live, WEB._replace(kind=kind))  # type: ignore[arg-type]


def test_what_was_added_or_removed_there_is_refused_and_the_rest_can_be_chosen():
    added = Difference("spec.paused", "removed", True, None)
    values = [REPLICAS, added, Difference("spec.x", "added", None, 1), change("spec.list", [1], [2])]
    assert _chosen(WEB, values, ["spec.replicas"]) == [REPLICAS]
    for path, why in (("spec.paused", "was added"), ("spec.x", "was removed"), ("spec.list", "more than one value")):
        with pytest.raises(Failure, match=f"{path} of {WEB} {why}|{path} of {WEB} is {why}"):
            _chosen(WEB, values, [path])
    with pytest.raises(Failure, match=r"does not differ; what does: spec\.replicas"):
        _chosen(WEB, values, ["spec.other"])


def test_an_encrypted_file_a_block_and_an_alias_are_refused():
    origin = Origin("web.yaml", 6, 2)
    with pytest.raises(Failure, match="is encrypted"):
        written(DEPLOYMENT + b"sops: {mac: 'ENC[AES256_GCM,data:x]', version: 3.0.0}\n", origin, WEB, [REPLICAS])
    block = b"kind: Deployment\nmetadata: {name: web}\ndata:\n  a: |\n    one\n    two\n  b: &x y\n  c: *x\n"
    origin = Origin("web.yaml", 1, 1)
    with pytest.raises(Failure, match="block of text"):
        written(block, origin, WEB, [change("data.a", "one\n", "one\ntwo\n")])
    with pytest.raises(Failure, match="is an alias"):
        written(block, origin, WEB, [change("data.c", "z", "y")])
    with pytest.raises(Failure, match="does not hold"):
        written(b"resources: []\n", origin, WEB, [REPLICAS])
