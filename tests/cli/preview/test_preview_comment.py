"""A preview in one comment on a pull request: at doubles of the forges, over real HTTPS on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from tests.cli.preview.test_preview import config_map, deployment, git
from tests.cli.preview.test_preview_files import commit, write
from tests.e2e.automations import played
from tests.remotes.pull_forge import NAMES, TOKEN, PullForge
from tests.remotes.world import Authority
from trimtab.cli.preview import commenting
from trimtab.cli.preview.commenting import PullRequest, pull_request, token_for
from trimtab.cli.preview.preview import preview
from trimtab.preview.markdown import LONGEST

PLACES = {"github": "pull/12", "gitlab": "-/merge_requests/12", "gitea": "pulls/12"}
ONE_FORGE = pytest.mark.parametrize("job", ["github"], indirect=True)
CI = ("GITHUB_", "GITLAB_", "CI_", "GITEA_", "FORGEJO_", "GH_", "TRIMTAB_")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"))


class Job:
    """A checkout with a change, and a pull request of one kind of forge that it is for."""

    def __init__(self, root: Path, forge: PullForge, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.forge, self._ca = root, forge, ca
        self.address = f"https://127.0.0.1:{forge.port}/acme/shop/{PLACES[forge.kind]}"
        self.set = monkeypatch.setenv

    def change(self, **files: Any) -> None:
        write(self.root, **files)

    def __call__(self, *arguments: str, where: str = "") -> Result:
        given = ["shop", "--offline", "--base", "main", "--comment", where or self.address]
        return CliRunner().invoke(preview, [*given, "--comment-ca", str(self._ca), *arguments])

    @property
    def said(self) -> list[str]:
        return [one["body"] for one in self.forge.comments]


@pytest.fixture(params=sorted(NAMES))
def job(
    request: pytest.FixtureRequest, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Job]:
    root = tmp_path / "repository"
    (root / "shop").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    write(root, web=deployment("web:1"), settings=config_map(colour="blue"))
    commit(root)
    write(root, settings=config_map(colour="red"))
    monkeypatch.chdir(root)
    quiet(monkeypatch)
    monkeypatch.setenv("TRIMTAB_FORGE_TOKEN", TOKEN)
    monkeypatch.setattr(commenting, "_PAUSES_S", (0.0,))
    (tmp_path / "ca.pem").write_bytes(authority.ca)
    with played(PullForge(request.param, authority.context)) as forge:
        yield Job(root, forge, tmp_path / "ca.pem", monkeypatch)


def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were no job of anybody."""
    import os

    for name in [one for one in os.environ if one.startswith(CI)]:
        monkeypatch.delenv(name)


def test_one_comment_says_what_the_plan_is_and_is_kept_up_to_date(job: Job) -> None:
    job.forge.remark("ann", "nice work")
    first = job()
    assert first.exit_code == 3, "the answer is that of the preview"
    assert "the comment on pull request 12 of" in first.stderr
    assert len(job.said) == 2
    assert 'data.colour: "blue" → "red"' in job.said[1]
    job.forge.asked.clear()
    assert "says so already" in job().stderr
    assert job.forge.asked == ["GET"], "what it says already is not written again"
    job.change(settings=config_map(colour="green"))
    job()
    assert len(job.said) == 2
    assert 'data.colour: "blue" → "green"' in job.said[1]
    assert TOKEN not in first.output + "".join(job.said)


def test_each_path_has_a_comment_of_its_own_and_a_copied_mark_is_not_taken_for_it(job: Job) -> None:
    job()
    mark = job.said[0].partition("\r\n")[0]
    job.forge.comments.clear()
    job.forge.locked = False
    job.forge.remark("mallory", f"{mark}\r\n### ✅ It will succeed")
    job()
    assert [one.startswith(mark) for one in job.said] == [True, True]
    assert job.said[0].endswith("It will succeed"), (
        "what somebody else wrote is left alone, also where we could change it"
    )
    CliRunner().invoke(
        preview,
        [".", "--offline", "--base", "main", "--comment", job.address, "--comment-ca", str(job._ca)],
    )
    assert len({one.partition("\r\n")[0] for one in job.said}) == 2


@ONE_FORGE
def test_in_a_job_of_actions_nothing_has_to_be_said_but_that_it_is_to_comment(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIMTAB_FORGE_TOKEN")
    server = f"https://127.0.0.1:{job.forge.port}"
    for name, value in (GITHUB | {"GITHUB_SERVER_URL": server, "GITHUB_REPOSITORY": "acme/shop"}).items():
        job.set(name, TOKEN if name == "GITHUB_TOKEN" else value)
    job.set("GITHUB_ACTIONS", "true")
    job.forge.me, job.forge.locked = None, False
    job(where="ci")
    mark = job.said[0].partition("\r\n")[0]
    job.forge.comments.insert(0, {"id": 1, "body": f"{mark}\r\nall is well", "user": {"login": "mallory"}})
    job.change(settings=config_map(colour="green"))
    assert job(where="ci").exit_code == 3
    assert len(job.said) == 2
    assert job.said[0].endswith("all is well"), "the token of a job may not ask who it is, and knows it all the same"


@ONE_FORGE
def test_what_others_wrote_is_code_in_the_comment_and_secrets_are_not_in_it(job: Job) -> None:
    hostile = "@everyone <img src=x> [click](https://evil.example) ``` <!channel> \u202e ![x](y)"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"k": "hunter2-value"}}
    job.change(settings=config_map(colour=hostile), keys=secret)
    job()
    (said,) = job.said
    assert "hunter2" not in said
    outside, fenced = [], False
    for line in said.split("\r\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            outside.append(line)
    for mark in ("@everyone", "<img", "](https", "<!channel"):
        assert mark not in "\n".join(outside), outside
    assert "\u202e" not in said


@ONE_FORGE
def test_a_plan_of_any_size_fits_into_one_comment(job: Job) -> None:
    job.change(**{f"c{number}": named(f"{'c' * 200}{number}") for number in range(300)})
    job()
    (said,) = job.said
    assert len(said.replace("\r\n", "\n")) <= LONGEST
    assert "and more" in said


def named(name: str) -> dict[str, Any]:
    return config_map(colour="red") | {"metadata": {"name": name}}


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "may the token"), (404, "is it there"), (302, "sends us elsewhere")],
    ids=["unknown token", "nowhere", "elsewhere"],
)
def test_where_it_cannot_be_written_that_is_an_error_after_the_answer(job: Job, status: int, words: str) -> None:
    job.forge.says = web.json_response({"message": "no"}, status=status, headers={"Location": "https://evil.example/"})
    done = job()
    assert done.exit_code == 1
    assert words in done.stderr
    assert "settings" in done.stdout, "the answer is told all the same"
    assert (job.said, job.forge.asked) == ([], ["GET"])
    assert TOKEN not in done.output


@ONE_FORGE
def test_a_forge_that_is_out_of_order_for_a_moment_is_asked_again(job: Job) -> None:
    job.forge.says = web.json_response({"message": "later"}, status=503)
    assert job().exit_code == 3
    assert len(job.said) == 1


GITHUB = {
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/fleet",
    "GITHUB_REF": "refs/pull/12/merge",
    "GITHUB_TOKEN": "of-the-job",
}
GITLAB = {
    "CI_MERGE_REQUEST_IID": "12",
    "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.example/acme/infra/fleet",
    "CI_SERVER_URL": "https://gitlab.example",
    "GITLAB_TOKEN": "of-the-job",
}
GITEA = GITHUB | {"GITHUB_SERVER_URL": "https://git.example", "GITEA_ACTIONS": "true"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        (GITHUB, PullRequest("github", "https://github.com/acme/fleet", 12)),
        (GITLAB, PullRequest("gitlab", "https://gitlab.example/acme/infra/fleet", 12)),
        (GITEA, PullRequest("gitea", "https://git.example/acme/fleet", 12)),
        (GITHUB | {"GITHUB_REF": "refs/heads/main"}, None),
        ({}, None),
    ],
    ids=["github", "gitlab", "gitea", "github without one", "no job"],
)
def test_a_job_knows_its_pull_request(environment: dict[str, str], found: PullRequest | None) -> None:
    if found is None:
        with pytest.raises(ValueError, match="give the address of the pull request"):
            pull_request("ci", environment)
        return
    assert pull_request("ci", environment) == found
    assert token_for(found, environment) == "of-the-job"


def test_a_job_that_has_its_pull_request_in_a_file_only_knows_it_too(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}))
    environment = GITHUB | {"GITHUB_REF": "refs/heads/main", "GITHUB_EVENT_PATH": str(event)}
    assert pull_request("ci", environment).number == 12
    for nonsense in ("{", "[]", '{"pull_request": {"number": "12/../x"}}', "[" * 100_000):
        event.write_text(nonsense)
        with pytest.raises(ValueError, match="give the address"):
            pull_request("ci", environment)


@pytest.mark.parametrize(
    "address",
    [
        "http://github.com/acme/fleet/pull/12",
        "https://github.com/acme/fleet",
        "https://github.com/acme/fleet/pull/x",
        "https://github.com/acme/fleet/pull/12?token=x",
        "12",
        "",
    ],
    ids=["plain", "repository", "no number", "query", "number", "nothing"],
)
def test_what_is_no_address_of_a_pull_request_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of a pull request"):
        pull_request(address, GITHUB)


@pytest.mark.parametrize("environment", [GITHUB, GITLAB, GITEA], ids=["github", "gitlab", "gitea"])
def test_the_token_of_a_job_goes_to_no_other_forge(environment: dict[str, str]) -> None:
    for place in PLACES.values():
        elsewhere = pull_request(f"https://evil.example/acme/fleet/{place}", environment)
        with pytest.raises(ValueError, match="needs a token: set the variable TRIMTAB_FORGE_TOKEN"):
            token_for(elsewhere, environment)
        assert token_for(elsewhere, environment | {"TRIMTAB_FORGE_TOKEN": "own"}) == "own"


@ONE_FORGE
def test_without_a_token_nothing_is_looked_at(job: Job) -> None:
    job.set("TRIMTAB_FORGE_TOKEN", "")
    done = job()
    assert done.exit_code == 2
    assert "needs a token" in done.stderr
    assert (done.stdout, job.forge.asked) == ("", [])
