"""What forges are told of a commit: once, in their words, by a name of its own."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.notify.providers.notices import COMMIT, NOTICES, event, notice
from tests.notify.providers.talk import Talk, said
from trimtab.notify.notice import Link, Notice, Phase
from trimtab.notify.provider import Answer, Conversing, Delivered, Misconfigured, Outcome, Refused, Retry, Settings
from trimtab.notify.providers.status import State, context, status_of, words
from trimtab.notify.providers.table import TABLE

CONTEXT = "kustomization/checkout/11112222"
REPOSITORY = {
    "github": "https://github.com/acme/fleet",
    "gitlab": "https://gitlab.com/acme/infra/fleet.git",
    "gitea": "https://git.example/acme/fleet",
    "bitbucket": "https://bitbucket.org/acme/fleet",
    "bitbucketserver": "https://bb.example/ctx/scm/acme/fleet.git",
    "azuredevops": "https://dev.azure.com/acme/infra/_git/fleet",
}
LOOK = {
    "github": f"https://api.github.com/repos/acme/fleet/commits/{COMMIT}/statuses?per_page=100",
    "gitlab": f"https://gitlab.com/api/v4/projects/acme%2Finfra%2Ffleet/repository/commits/{COMMIT}/statuses"
    "?name=kustomization%2Fcheckout%2F11112222&per_page=100",
    "gitea": f"https://git.example/api/v1/repos/acme/fleet/statuses/{COMMIT}?sort=recentupdate&limit=50",
    "bitbucket": f"https://api.bitbucket.org/2.0/repositories/acme/fleet/commit/{COMMIT}/statuses/build/KEY",
    "bitbucketserver": "https://bb.example/ctx/rest/api/latest/projects/acme/repos/fleet"
    f"/commits/{COMMIT}/builds?key=KEY",
    "azuredevops": f"https://dev.azure.com/acme/infra/_apis/git/repositories/fleet/commits/{COMMIT}/statuses"
    "?latestOnly=true&top=1000&api-version=7.1",
}
TELL = {
    "github": f"https://api.github.com/repos/acme/fleet/statuses/{COMMIT}",
    "gitlab": f"https://gitlab.com/api/v4/projects/acme%2Finfra%2Ffleet/statuses/{COMMIT}",
    "gitea": f"https://git.example/api/v1/repos/acme/fleet/statuses/{COMMIT}",
    "bitbucket": f"https://api.bitbucket.org/2.0/repositories/acme/fleet/commit/{COMMIT}/statuses/build",
    "bitbucketserver": f"https://bb.example/ctx/rest/api/latest/projects/acme/repos/fleet/commits/{COMMIT}/builds",
    "azuredevops": f"https://dev.azure.com/acme/infra/_apis/git/repositories/fleet/commits/{COMMIT}/statuses"
    "?api-version=7.1",
}
SIGNED = {
    "github": ("Authorization", "Bearer forge-token"),
    "gitlab": ("PRIVATE-TOKEN", "forge-token"),
    "gitea": ("Authorization", "token forge-token"),
    "bitbucket": ("Authorization", "Bearer forge-token"),
    "bitbucketserver": ("Authorization", "Bearer forge-token"),
    "azuredevops": ("Authorization", "Basic OmZvcmdlLXRva2Vu"),
}
WORDS = {
    "github": ("pending", "success", "failure"),
    "gitlab": ("pending", "success", "failed"),
    "gitea": ("pending", "success", "failure"),
    "bitbucket": ("INPROGRESS", "SUCCESSFUL", "FAILED"),
    "bitbucketserver": ("INPROGRESS", "SUCCESSFUL", "FAILED"),
    "azuredevops": ("pending", "succeeded", "failed"),
}
PROGRESS = notice(Phase.ONCE, event(reason="Progressing", message="Deployment/shop/checkout configured"), key="e" * 32)
BY_STATE = {State.PENDING: PROGRESS, State.SUCCESS: NOTICES["once"], State.FAILURE: NOTICES["opened"]}
DESCRIPTIONS = {
    State.PENDING: "progressing",
    State.SUCCESS: "reconciliation succeeded",
    State.FAILURE: "health check failed",
}
FORGES = sorted(REPOSITORY)


def settings(name: str, **more: Any) -> Settings:
    return replace(
        Settings(
            type=name,
            namespace="shop",
            name="tell",
            uid="11112222-3333-4444-8555-666677778888",
            address=REPOSITORY[name],
            token="forge-token",
        ),
        **more,
    )


async def tell(what: Notice, how: Settings, talk: Talk) -> Outcome:
    provider = TABLE[how.type]
    assert isinstance(provider, Conversing)
    return await provider.send(what, how, talk)


def known(name: str, state: State) -> Any:
    """What the forge answers when it has a status of our name, among others."""
    word, description = WORDS[name][list(State).index(state)], DESCRIPTIONS[state]
    match name:
        case "github":
            other = {"context": "ci/build", "state": "failure", "description": "x"}
            old = {"context": CONTEXT, "state": "error", "description": "older"}
            return [other, {"context": CONTEXT, "state": word, "description": description}, old]
        case "gitlab":
            old = {"id": 1, "name": CONTEXT, "status": "canceled", "description": "older"}
            return [old, {"id": 7, "name": CONTEXT, "status": word, "description": description}]
        case "gitea":
            return [{"context": CONTEXT, "status": word, "description": description}]
        case "azuredevops":
            foreign = {"state": "failed", "description": "x", "context": {"name": CONTEXT, "genre": "other"}}
            own = {"state": word, "description": description, "context": {"name": CONTEXT, "genre": "fluxcd"}}
            return {"value": [foreign, own], "count": 2}
        case _:
            return {"key": "x", "state": word, "description": description}


@pytest.mark.parametrize("name", FORGES)
@pytest.mark.parametrize("state", list(State), ids=str)
async def test_a_commit_gets_its_status_in_the_words_of_the_forge(name: str, state: State) -> None:
    talk = Talk(said({"message": "Not Found"}, 404), said({}, 201))
    assert await tell(BY_STATE[state], settings(name), talk) == Delivered()
    key = talk.told.get("key", "")
    assert talk.steps == [("GET", LOOK[name].replace("KEY", key)), ("POST", TELL[name])]
    header, value = SIGNED[name]
    assert all(one.headers[header] == value for one in talk.asked)
    assert talk.told["state"] == WORDS[name][list(State).index(state)]
    assert talk.told["description"] == DESCRIPTIONS[state]
    called = talk.told.get("context") or talk.told["name"]
    assert called == ({"name": CONTEXT, "genre": "fluxcd"} if name == "azuredevops" else CONTEXT)
    if key:
        assert len(key) == 40
        assert talk.told["url"].startswith("https://b")


@pytest.mark.parametrize("name", FORGES)
async def test_what_the_forge_has_is_not_said_again(name: str) -> None:
    for state in State:
        talk = Talk(said(known(name, state)))
        assert await tell(BY_STATE[state], settings(name), talk) == Delivered(known=True)


@pytest.mark.parametrize("name", FORGES)
async def test_a_failure_takes_the_place_of_a_success_and_progress_of_nothing(name: str) -> None:
    talk = Talk(said(known(name, State.SUCCESS)), said({}, 201))
    assert await tell(NOTICES["opened"], settings(name), talk) == Delivered()
    for state in (State.SUCCESS, State.FAILURE):
        assert await tell(PROGRESS, settings(name), Talk(said(known(name, state)))) == Delivered(known=True)


@pytest.mark.parametrize("name", FORGES)
async def test_what_a_forge_refuses_is_not_tried_again_and_what_it_cannot_do_now_is(name: str) -> None:
    refused = await tell(NOTICES["once"], settings(name), Talk(said({"message": "Bad credentials"}, 401)))
    assert isinstance(refused, Refused)
    assert "forge-token" not in refused.why
    assert isinstance(await tell(NOTICES["once"], settings(name), Talk(said({}, 502))), Retry)
    waiting = await tell(NOTICES["once"], settings(name), Talk(Answer(403, {"x-ratelimit-remaining": "0"}, b"")))
    assert waiting == Retry("the server asks for patience (403)", 60.0)
    late = await tell(NOTICES["once"], settings(name), Talk(said([]), Answer(429, {}, b"", 9.0)))
    assert isinstance(late, Retry)
    assert late.after == 9.0


@pytest.mark.parametrize("name", FORGES)
async def test_an_answer_that_makes_no_sense_is_taken_for_nothing_known(name: str) -> None:
    for body in (b"", b"[1,null,[]]", b'{"value":7,"state":{},"context":[]}', b'[{"id":"x","name":1}]', b"[" * 999):
        talk = Talk(Answer(200, {}, body), said({}, 201))
        assert await tell(NOTICES["once"], settings(name), talk) == Delivered()


@pytest.mark.parametrize("name", FORGES)
async def test_an_address_that_is_no_repository_or_has_no_tls_gets_no_token(name: str) -> None:
    for address in ("", "http://git.example/acme/fleet", "https://git.example/x", "https://u:p@git.example/a/b", "no"):
        with pytest.raises(Misconfigured) as caught:
            await tell(NOTICES["once"], settings(name, address=address), Talk())
        assert "forge-token" not in caught.value.message


async def test_gitlab_that_has_the_state_already_is_content() -> None:
    words_ = {"message": "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition)"}
    assert await tell(PROGRESS, settings("gitlab"), Talk(said([]), said(words_, 400))) == Delivered(known=True)


async def test_a_page_to_sign_in_is_not_taken_for_success() -> None:
    outcome = await tell(NOTICES["once"], settings("azuredevops"), Talk(Answer(203, {}, b"<html>")))
    assert isinstance(outcome, Refused)


async def test_bitbucket_takes_a_user_and_a_password_in_the_token() -> None:
    talk = Talk(said({}, 404), said({}, 201))
    await tell(NOTICES["once"], settings("bitbucket", token="bot:app-password"), talk)
    assert talk.asked[0].headers["Authorization"] == "Basic Ym90OmFwcC1wYXNzd29yZA=="


async def test_a_link_leads_where_the_notice_says() -> None:
    talk = Talk(said([]), said({}, 201))
    linked = replace(NOTICES["once"], links=(Link("diff", "https://trimtab.example/diff/1"),))
    await tell(linked, settings("github"), talk)
    assert talk.told["target_url"] == "https://trimtab.example/diff/1"


SILENT = {
    "no commit": notice(Phase.ONCE, event()),
    "a source": replace(
        NOTICES["once"],
        event=msgspec.structs.replace(
            event(reason="NewArtifact"),
            involved_object=msgspec.structs.replace(event().involved_object, kind="GitRepository"),
        ),
    ),
    "drift": notice(Phase.OPENED, event(severity="error", reason="DriftDetected", message="drifted")),
    "a failure that was derived": replace(
        NOTICES["opened"],
        event=msgspec.structs.replace(
            event(severity="error", reason="HealthCheckFailed"),
            reporting_controller="notification-controller",
            metadata={"topic": "failure", "revision": f"main@sha1:{COMMIT}"},
        ),
    ),
    "a note": notice(Phase.ONCE, event(severity="error", reason="PlaintextSecret", message="in clear text")),
    "something": notice(Phase.ONCE, event(reason="Suspended", message="suspended")),
}


@pytest.mark.parametrize("case", sorted(SILENT))
async def test_what_says_nothing_of_a_commit_is_not_said(case: str) -> None:
    what = SILENT[case]
    if case == "no commit":
        what = replace(what, event=msgspec.structs.replace(what.event, metadata={}))
    assert await tell(what, settings("github"), Talk()) == Delivered()


def test_an_artifact_speaks_of_the_commit_it_was_made_from() -> None:
    other = "b" * 40
    metadata = {"kustomize.toolkit.fluxcd.io/originRevision": f"main@sha1:{other}", "revision": "latest@sha256:1"}
    status = status_of(
        replace(NOTICES["once"], event=msgspec.structs.replace(event(), metadata=metadata)), settings("github")
    )
    assert status is not None
    assert status.commit == other


def test_a_source_is_told_of_when_it_fails_or_asks_for_it() -> None:
    involved = msgspec.structs.replace(event().involved_object, kind="GitRepository")
    failed = msgspec.structs.replace(event(severity="error", reason="GitOperationFailed"), involved_object=involved)
    status = status_of(replace(NOTICES["once"], event=failed), settings("github"))
    assert status is not None
    assert status.state is State.FAILURE
    metadata = {"commit_status": "update", "revision": f"main@sha1:{COMMIT}"}
    asks = msgspec.structs.replace(event(reason="NewArtifact"), involved_object=involved, metadata=metadata)
    status = status_of(replace(NOTICES["once"], event=asks), settings("github"))
    assert status is not None
    assert status.state is State.SUCCESS


def test_a_revision_that_changed_nothing_is_a_success_too() -> None:
    moved = msgspec.structs.replace(
        event(),
        reporting_controller="notification-controller",
        metadata={"topic": "revision", "revision": f"main@sha1:{COMMIT}", "commit_status": "update"},
    )
    status = status_of(replace(NOTICES["once"], event=moved), settings("github"))
    assert status is not None
    assert status.state is State.SUCCESS


def test_the_name_can_be_an_expression() -> None:
    text = "(event.involvedObject.name + '/' + provider.metadata.uid.split('-')[0] + '/' + alert.metadata.labels.team)"
    assert context(NOTICES["once"], settings("github", commit_status_expr=text)) == "checkout/11112222/shop"
    prefix = "event.metadata.revision.split('@')[0] + '-' + event.involvedObject.kind.lowerAscii()"
    assert context(NOTICES["once"], settings("github", commit_status_expr=prefix)) == "main-kustomization"


@pytest.mark.parametrize(
    "text", ["1 + 1", "''", "'a\\nb'", "event.metadata.absent", "secrets.token", "event.", "open('/etc/passwd')"]
)
def test_an_expression_that_makes_no_name_is_told_to_the_owner(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"spec\.commitStatusExpr"):
        context(NOTICES["once"], settings("github", commit_status_expr=text))


def test_a_reason_is_told_in_words() -> None:
    assert words("HealthCheckFailed") == "health check failed"
    assert words("OCIPullFailed") == "oci pull failed"
    assert words("ok") == "ok"


def test_an_annotation_or_an_alert_cannot_say_which_commit_is_meant() -> None:
    other = f"main@sha1:{'f' * 40}"
    silent = msgspec.structs.replace(event(severity="error", reason="BuildFailed"), metadata={})
    named = notice(Phase.OPENED, silent, fields={"revision": other})
    assert named.revision == other, "it is shown to people"
    assert status_of(named, settings("github")) is None
    assert status_of(replace(NOTICES["opened"], fields={"revision": other}), settings("github")).commit == COMMIT
