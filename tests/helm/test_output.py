"""The output of the real helm taken apart, and put together again as Helm itself keeps it."""

import pytest

from tests.helm.conftest import SHARED, write_chart
from trimtab.base.errors import Terminal
from trimtab.helm import kinds, output
from trimtab.helm.output import DeletePolicy, Event
from trimtab.helm.record import Hook
from trimtab.manifests.refs import Ref

PODINFO = SHARED / "realworld" / "podinfo" / "charts" / "podinfo"

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n"
HOOK = CONFIG + "  annotations:\n    helm.sh/hook: {events}\n"
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {name}.example.com
"""


def config(name: str) -> str:
    return CONFIG.format(name=name)


def hook(name: str, events: str, more: str = "") -> str:
    return HOOK.format(name=name, events=events) + more


@pytest.fixture
def rendered(helm, tmp_path):
    def render(templates, **options):
        chart = write_chart(tmp_path / "app", templates, **options)
        return output.split(helm("template", "me", chart, "--include-crds").encode())

    return render


def names(text: str) -> list[str]:
    return [manifest.ref.name for manifest in output.objects(text)]


def test_objects_hooks_and_definitions_are_told_apart(rendered):
    out = rendered(
        {
            "a.yaml": config("a") + "---\n" + hook("h", "pre-install,post-upgrade"),
            "crds/d.yaml": CRD.format(name="one") + "---\n" + CRD.format(name="two"),
            "crds.yaml": config("not-a-definition"),
        }
    )
    assert names(out.manifest) == ["a", "not-a-definition"]
    assert names(out.crds) == ["one.example.com", "two.example.com"]
    assert [(one.name, one.kind, one.path, one.events) for one in out.hooks] == [
        ("h", "ConfigMap", "app/templates/a.yaml", ("pre-install", "post-upgrade"))
    ]
    assert [manifest.ref for manifest in output.objects_of_hook(out.hooks[0])] == [Ref("", "ConfigMap", "", "h")]


def test_an_object_tells_its_template(rendered):
    out = rendered({"deep/er.yaml": config("a")})
    # A path without a directory would be a template; this one is a file of the chart.
    assert out.manifest == ""
    out = rendered({"templates/deep/er.yaml": config("a")})
    [manifest] = output.objects(out.manifest)
    assert manifest.origin.file == "app/templates/deep/er.yaml"


def test_a_hook_has_its_weight_and_policies(rendered):
    more = "    helm.sh/hook-weight: '-5'\n    helm.sh/hook-delete-policy: hook-succeeded, Hook-Failed\n"
    out = rendered({"h.yaml": hook("h", "test-success", more)})
    [one] = out.hooks
    assert (one.events, one.weight, one.delete_policies) == (("test",), -5, ("hook-succeeded", "hook-failed"))
    assert output.deletes(one, DeletePolicy.SUCCEEDED)
    assert not output.deletes(one, DeletePolicy.BEFORE_CREATION)


def test_a_hook_without_a_policy_is_deleted_before_it_is_created_again():
    assert output.deletes(Hook(), DeletePolicy.BEFORE_CREATION)
    assert not output.deletes(Hook(), DeletePolicy.FAILED)


def test_hooks_run_by_weight_and_then_by_name():
    hooks = [Hook(name=name, weight=weight, events=("pre-install",)) for name, weight in [("c", 0), ("b", 1), ("a", 0)]]
    hooks.append(Hook(name="x", events=("post-install",)))
    assert [one.name for one in output.running(hooks, Event.PRE_INSTALL)] == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("filters", "run"), [([], "ab"), ([("a", False)], "a"), ([("a", True)], "b"), ([("a", False), ("a", True)], "")]
)
def test_tests_are_chosen_by_name(filters, run):
    hooks = [Hook(name=name, events=("test",)) for name in "ab"]
    assert "".join(one.name for one in output.selected(hooks, filters)) == run


def test_helms_word_for_keeping_an_object_counts():
    assert output.keeps({"metadata": {"annotations": {"helm.sh/resource-policy": "Keep "}}})
    assert not output.keeps({"metadata": {"annotations": None}})


def test_an_unknown_event_leaves_the_object_out_as_in_helm(rendered):
    out = rendered({"h.yaml": hook("h", "crd-install")})
    assert (out.manifest, out.hooks) == ("", ())


def test_a_document_that_looks_like_a_source_line_changes_no_origin(rendered):
    text = f"{config('a')}data:\n  x: |\n    ---\n    # Source: app/crds/x.yaml\n    y\n"
    out = rendered({"a.yaml": text + "---\n# Source: app/crds/evil.yaml\n" + config("b")})
    assert (names(out.manifest), out.crds) == (["a", "b"], "")
    assert {one.origin.file for one in output.objects(out.manifest)} == {"app/templates/a.yaml"}


def test_nothing_rendered_is_nothing(rendered):
    assert rendered({"a.yaml": "{{ if false }}x{{ end }}"}) == output.Output("", (), "")
    assert names(rendered({"a.yaml": "# only a comment\n"}).manifest) == []


def test_what_kubernetes_cannot_read_names_the_template_and_shows_no_value(rendered):
    text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  a: s3cret\n  a: s3cret\n"
    out = rendered({"a.yaml": text})
    with pytest.raises(Terminal, match=r"app/templates/a\.yaml .* line 7 .*duplicate key 'a'") as problem:
        output.objects(out.manifest)
    assert "s3cret" not in str(problem.value)
    out = rendered({"a.yaml": "s3cret: 1\n"})
    with pytest.raises(Terminal, match=r"app/templates/a\.yaml .*object has no apiVersion"):
        output.objects(out.manifest)
    out = rendered({"a.yaml": config("a") + "  labels: s3cret\n"})
    with pytest.raises(Terminal, match=r"app/templates/a\.yaml .*ConfigMap a: metadata\.labels is not a map"):
        output.objects(out.manifest)


def test_the_parts_of_podinfo_are_all_that_helm_printed(helm):
    printed = helm("template", "me", PODINFO, "--include-crds", "-n", "apps", "--set", "redis.enabled=true")
    out = output.split(printed.encode())
    hooks = "".join(f"---\n# Source: {one.path}\n{one.manifest}" for one in out.hooks)
    assert [line for line in (out.manifest + hooks).splitlines() if line] == [
        line for line in printed.splitlines() if line
    ]
    listed = [manifest.ref.kind for manifest in output.objects(out.manifest)]
    assert listed == sorted(listed, key=kinds.install_key)
    assert {event for one in out.hooks for event in one.events} == {"test"}
