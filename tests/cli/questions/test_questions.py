"""The commands that answer questions, before any cluster is asked: what makes no sense, and what is printed."""

import pytest
from click.testing import CliRunner

from trimtab.cli import output
from trimtab.cli.kinds import APP
from trimtab.cli.main import cli
from trimtab.cli.questions.stations import View
from trimtab.cli.questions.tracing import Drift, Traced
from trimtab.cli.questions.why import Asked, Ours, _app_told, _target, code_of
from trimtab.health.stages import Account, Source
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Ref


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["wait", "a;b"], "not the name of an object"),
        (["wait", "shop", "--revision", "$(id)"], "is not a revision"),
        (["wait", "shop", "--for", "happy"], "'ready', 'fetched'"),
        (["wait", "receiver", "x"], "no revision to wait for"),
        (["wait", "one", "two"], "kustomization (ks)"),
        (["history", "source", "git", "x"], "has no history"),
        (["history", "$HOME"], "not the name of an object"),
        (["why", "deployment/a`b`"], "neither a kind nor a name"),
        (["why", "deployment/a/b/c"], "not the name of an object"),
        (["why", "-o", "html", "shop"], "'text', 'json', 'yaml'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_a_usage_error_that_says_why(arguments, words):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("words", "kind", "namespace", "name"),
    [
        ("shop", "Kustomization", "", "shop"),
        ("ks shop", "Kustomization", "", "shop"),
        ("ks/shop", "Kustomization", "", "shop"),
        ("kustomization/team/shop", "Kustomization", "team", "shop"),
        ("hr/podinfo", "HelmRelease", "", "podinfo"),
        ("source git repo", "GitRepository", "", "repo"),
        ("gitrepository/repo", "GitRepository", "", "repo"),
        ("deployment/web", "deployment", "", "web"),
        ("deployments.apps/shop/web", "deployments.apps", "shop", "web"),
        ("pod web-1", "pod", "", "web-1"),
        ("clusterrole/system:node", "clusterrole", "", "system:node"),
    ],
)
def test_why_is_asked_of_an_app_or_of_any_object(words, kind, namespace, name):
    match _target(words.split()):
        case Ours(of, where, called):
            found = (of.gvk.kind, where, called)
        case Asked(of, where, called):
            found = (of, where, called)
    assert found == (kind, namespace, name)


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(output, "_columns", lambda: 40)


def test_on_a_terminal_long_words_hang_below_their_beginning(narrow):
    lines = output.hanging("  drift    ", "spec.replicas: 1 → 5 and so on and on and on")
    assert lines == ["  drift     spec.replicas: 1 → 5 and so", "            on and on and on"]
    assert all(len(line) <= 40 for line in lines)


def test_elsewhere_a_thing_is_said_on_one_line():
    words = "word " * 60
    assert output.hanging("  drift", words) == [f"  drift {words}".rstrip()]


def test_what_others_wrote_moves_no_cursor():
    assert "\x1b" not in "".join(output.hanging("a\x1b[2J", "b\x1b]0;t\x07"))


def test_nor_does_the_name_of_a_revision():
    ref = Ref("kustomize.toolkit.fluxcd.io", "Kustomization", "team", "shop")
    view = View({}, Account((), "v1\x1b[2J"), Source(Ref("", "ExternalArtifact", "team", "made")))
    lines = _app_told(APP, ref, view, (), good=True)
    assert "v1" in lines[0]
    assert "\x1b[2J" not in "".join(lines)


@pytest.mark.parametrize(
    ("drift", "chart", "code"),
    [(None, "shop@1.0.0", 3), (None, "", 3), ((), "shop@1.0.0", 0), ((Drift("it differs"),), "shop@1.0.0", 2)],
    ids=["a release that does not look", "an app that cannot be rendered", "none", "some"],
)
def test_an_object_whose_drift_is_unknown_is_unknown_also_where_a_chart_made_it(drift, chart, code):
    ref, app = Ref("", "ConfigMap", "shop", "a"), Ref("helm.toolkit.fluxcd.io", "HelmRelease", "shop", "shop")
    assert code_of(Traced(ref, Verdict(State.Current, ""), app=app, chart=chart, drift=drift)) == code
