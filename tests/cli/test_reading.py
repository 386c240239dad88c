"""What commands make of their words and of the objects they see. No cluster."""

from typing import Any

import pytest

from trimtab.cli import kinds, output
from trimtab.cli.connect import Code, Failure, Options
from trimtab.cli.demo.board import Board
from trimtab.cli.get import Columns, status_test
from trimtab.cli.kinds import ALL, APP, BUCKETS, CHART, EXTERNAL, GENERATOR, GIT, HELM, HOOK, OCI, SOURCES
from trimtab.cli.reconcile import Broken, Pending, Ready, judge

COMMIT = "67e2c98ac4b5a7f2a1d7c8e9f00112233445566a"
REVISION = f"main@sha1:{COMMIT}"


def app(name: str = "web", *conditions: tuple[str, str, str, str], **status: Any) -> dict[str, Any]:
    """A Kustomization of generation 2; conditions are (type, status, reason, message)."""
    listed = [
        {"type": type_, "status": state, "reason": reason, "message": message, "observedGeneration": 2}
        for type_, state, reason, message in conditions
    ]
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system", "generation": 2},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "shop"}},
        "status": {"conditions": listed, **status},
    }


GOOD = ("Ready", "True", "ReconciliationSucceeded", f"Applied revision: {REVISION}")
RETRYING = ("Reconciling", "True", "ProgressingWithRetry", "will try again")
WORKING = ("Reconciling", "True", "Progressing", "applying")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], (ALL, "")),
        (["all"], (ALL, "")),
        (["sources"], (SOURCES, "")),
        (["sources", "all"], (SOURCES, "")),
        (["source", "git"], ((GIT,), "")),
        (["source", "oci", "shop"], ((OCI,), "shop")),
        (["ocirepo"], ((OCI,), "")),
        (["source", "bucket", "shop"], ((BUCKETS,), "shop")),
        (["sources", "bucket"], ((BUCKETS,), "")),
        (["bucket"], ((BUCKETS,), "")),
        (["sources", "helm"], ((HELM,), "")),
        (["helmrepo", "stable"], ((HELM,), "stable")),
        (["source", "chart", "app"], ((CHART,), "app")),
        (["hc"], ((CHART,), "")),
        (["source", "external"], ((EXTERNAL,), "")),
        (["ea"], ((EXTERNAL,), "")),
        (["artifacts", "generators"], ((GENERATOR,), "")),
        (["artifact", "generator", "shop"], ((GENERATOR,), "shop")),
        (["sources", "git", "shop"], ((GIT,), "shop")),
        (["ks"], ((APP,), "")),
        (["Kustomizations", "web"], ((APP,), "web")),
        (["receivers"], ((HOOK,), "")),
        (["receiver", "github"], ((HOOK,), "github")),
    ],
)
def test_get_understands_the_words_of_flux(words: list[str], wanted: object) -> None:
    assert kinds.several(words) == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["web"], (APP, "web")),
        (["ks", "web"], (APP, "web")),
        (["kustomization", "source"], (APP, "source")),
        (["source", "git", "shop"], (GIT, "shop")),
        (["source", "oci", "shop"], (OCI, "shop")),
        (["source", "bucket", "shop"], (BUCKETS, "shop")),
        (["receiver", "github"], (HOOK, "github")),
        (["source", "helm", "stable"], (HELM, "stable")),
        (["source", "chart", "app"], (CHART, "app")),
    ],
)
def test_one_object_is_named_with_its_kind_or_as_an_app(words: list[str], wanted: object) -> None:
    assert kinds.one(words) == wanted


@pytest.mark.parametrize("words", [["web", "shop"], ["source", "git"], ["source", "nothing", "shop"], ["ks"], []])
def test_words_that_name_no_object_are_refused(words: list[str]) -> None:
    with pytest.raises(Failure) as refusal:
        kinds.one(words)
    assert refusal.value.code == Code.WRONG


def test_a_generator_is_suspended_by_the_annotation_that_flux_reads() -> None:
    patch = kinds.suspension(GENERATOR, suspend=True)
    assert patch == {"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": "disabled"}}}
    assert kinds.suspended({"kind": "ArtifactGenerator", "metadata": patch["metadata"]})
    assert not kinds.suspended({"kind": "ArtifactGenerator", "metadata": {}})
    taken_back = kinds.suspension(GENERATOR, suspend=False)
    assert taken_back == {"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": None}}}
    assert kinds.suspension(APP, suspend=True) == {"spec": {"suspend": True}}


def test_what_another_producer_writes_is_listed_with_where_it_comes_from() -> None:
    body = {
        "kind": "ExternalArtifact",
        "metadata": {"name": "made"},
        "spec": {"sourceRef": {"kind": "Thing", "name": "x"}},
        "status": {"artifact": {"revision": "v1"}},
    }
    columns = Columns()
    assert dict(zip(columns.header(EXTERNAL), columns.row(EXTERNAL, body), strict=True)) == {
        "NAME": "made",
        "REVISION": "v1",
        "SOURCE": "Thing/x",
        "READY": "Unknown",
        "MESSAGE": "waiting to be reconciled",
    }


def test_an_object_that_its_producer_alone_looks_after_cannot_be_asked_for_anything() -> None:
    assert kinds.asked(GIT) is GIT
    with pytest.raises(Failure, match="written by its producer"):
        kinds.asked(EXTERNAL)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (app("web", GOOD, lastAppliedRevision=REVISION), Ready(REVISION)),
        (app("web", GOOD, WORKING, lastAppliedRevision=REVISION), Pending(GOOD[3])),
        (app("web"), Pending("")),
        (app("web", ("Ready", "Unknown", "Progressing", "fetching"), WORKING), Pending("fetching")),
        (app("web", ("Ready", "False", "BuildFailed", "a.yaml:3"), RETRYING), Broken("BuildFailed", "a.yaml:3")),
        (app("web", ("Ready", "False", "HealthCheckFailed", "x"), WORKING), Pending("x")),
        (app("web", ("Ready", "False", "DependencyNotReady", "db"), RETRYING), Pending("db")),
        (
            app("web", ("Ready", "False", "ArtifactFailed", "path"), ("Stalled", "True", "ArtifactFailed", "path")),
            Broken("ArtifactFailed", "path"),
        ),
    ],
)  # fmt: skip
def test_an_object_is_ready_broken_or_on_its_way(body: dict[str, Any], verdict: object) -> None:
    assert judge(body) == verdict


def test_a_request_that_was_not_honoured_yet_is_pending_whatever_the_object_says() -> None:
    body = app("web", GOOD, lastAppliedRevision=REVISION, lastHandledReconcileAt="before")
    assert judge(body, "now") == Pending("")
    assert judge(body, "before") == Ready(REVISION)


def test_what_was_said_about_an_older_generation_does_not_count() -> None:
    body = app("web", GOOD, lastAppliedRevision=REVISION)
    body["metadata"]["generation"] = 3
    assert isinstance(judge(body), Pending)


def test_the_columns_are_those_of_flux() -> None:
    body = app("web", GOOD, lastAppliedRevision=REVISION)
    columns = Columns(namespaced=True, sources=True)
    assert dict(zip(columns.header(APP), columns.row(APP, body), strict=True)) == {
        "NAMESPACE": "flux-system",
        "NAME": "web",
        "SOURCE": "GitRepository/shop",
        "REVISION": "main@sha1:67e2c98a",
        "SUSPENDED": "False",
        "READY": "True",
        "MESSAGE": "Applied revision: main@sha1:67e2c98a",
    }


def test_get_all_says_the_kind_with_the_name() -> None:
    assert Columns(titled=True).row(APP, app("web"))[0] == "kustomization/web"
    hook = app("hook", ("Ready", "True", "Succeeded", "initialized")) | {"kind": "Receiver"}
    assert Columns().header(HOOK) == ["NAME", "SUSPENDED", "READY", "MESSAGE"]
    assert Columns().row(HOOK, hook) == ["hook", "False", "True", "initialized"]


def test_hashes_in_messages_are_shortened_also_between_quotes() -> None:
    message = f"stored artifact for revision '{REVISION}'"
    assert kinds.on_one_line(message) == "stored artifact for revision 'main@sha1:67e2c98a'"


@pytest.mark.parametrize(
    ("selector", "admits"), [("ready=true", True), ("Ready=False", False), ("stalled=true", False)]
)
def test_the_status_selector_looks_at_a_condition_in_any_case(selector: str, admits: bool) -> None:
    assert status_test(selector)(app("web", GOOD)) is admits


@pytest.mark.parametrize("selector", ["ready", "=true", "ready=maybe"])
def test_a_status_selector_of_another_form_is_refused(selector: str) -> None:
    with pytest.raises(Failure, match="ready=false"):
        status_test(selector)


def test_tables_are_aligned_and_parted_by_tabs() -> None:
    assert output.table(["NAME", "READY"], [["a-long-name", "True"]]) == "NAME       \tREADY\na-long-name\tTrue"


def test_control_characters_of_a_message_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in output.table(["MESSAGE"], [["\x1b[2Jgone"]])


def test_options_after_the_command_win_over_those_before_it() -> None:
    before = Options.given(None, "east", "apps", "10s")
    after = Options.given(None, None, "shop", None, before=before)
    assert (after.context, after.namespace, after.timeout_s) == ("east", "shop", 10.0)


def test_the_board_is_settled_when_all_apps_are_ready_on_the_revision_of_the_root() -> None:
    board = Board()
    board.update(app("flux-system", GOOD, lastAppliedRevision=REVISION))
    assert board.settled
    board.update(app("web", ("Ready", "False", "DependencyNotReady", "db"), RETRYING))
    assert not board.settled
    board.update(app("web", GOOD, lastAppliedRevision="main@sha1:" + "0" * 40))
    assert not board.settled
    board.update(app("web", GOOD, lastAppliedRevision=REVISION))
    assert board.settled


def test_the_board_is_not_settled_before_the_root_is_seen() -> None:
    board = Board()
    board.update(app("web", GOOD, lastAppliedRevision=REVISION))
    assert not board.settled


def test_the_board_tells_a_change_once_and_forgets_what_is_deleted() -> None:
    board, body = Board(), app("web", GOOD, lastAppliedRevision=REVISION)
    assert board.update(body) is not None
    assert board.update(body) is None
    board.update(body, deleted=True)
    assert list(board) == []


def test_a_repository_in_a_registry_is_shown_as_static_and_never_as_waiting() -> None:
    body = {
        "kind": "HelmRepository",
        "metadata": {"name": "charts", "namespace": "ns"},
        "spec": {"type": "oci", "url": "oci://registry.example.org/charts"},
        "status": {"observedGeneration": -1},
    }
    assert kinds.static(body)
    assert Columns().row(HELM, body)[-2:] == ["True", "static: its charts are looked for when they are asked for"]
    body["spec"] = {"url": "https://charts.example.org"}
    assert not kinds.static(body)
    assert Columns().row(HELM, body)[-2:] == ["Unknown", "waiting to be reconciled"]
