"""A preview as a comment on a pull request: on which one, in whose name, and one comment that is kept up to date."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from yarl import URL

from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal
from trimtab.base.http import AiohttpTransport
from trimtab.cli.connect import Code, Failure
from trimtab.notify.notice import key_of
from trimtab.notify.provider import Delivered, NoAnswer, Outcome, Request, Retry, Settings
from trimtab.notify.providers import comment as comments
from trimtab.notify.providers.answers import fields
from trimtab.notify.wire import ProviderWire
from trimtab.preview.markdown import markdown
from trimtab.preview.verdict import Preview
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.outbound import Outbound

THIS_JOB: Final = "ci"
TOKEN: Final = "TRIMTAB_FORGE_TOKEN"  # noqa: S105 - the name of a variable
_ADDRESSES: Final = (
    ("gitlab", re.compile(r"(https://[^\s?#]+?)/-/merge_requests/([0-9]{1,9})/?")),
    ("gitea", re.compile(r"(https://[^\s?#]+)/pulls/([0-9]{1,9})/?")),
    ("github", re.compile(r"(https://[^\s?#]+)/pull/([0-9]{1,9})/?")),
)
_REF: Final = re.compile(r"refs/pull/([0-9]{1,9})/(?:merge|head)")
_DENIED: Final = re.compile(r"\b40[134]\b")
_MOST_EVENT: Final = 16 << 20
_PAUSES_S: Final = (1.0, 4.0, 16.0)
_LONGEST_PAUSE_S: Final = 30.0
_ACTIONS: Final = "github-actions[bot]"


class PullRequest(NamedTuple):
    """One of the repository at an address of the web; `forge` is the name of its dialect."""

    forge: str
    repository: str
    number: int

    def __str__(self) -> str:
        return f"pull request {self.number} of {self.repository}"


def pull_request(text: str, environment: Mapping[str, str]) -> PullRequest:
    """The one at the address `text`, or that of the job in whose `environment` we are. Raises ValueError."""
    if text == THIS_JOB:
        return _of_job(environment)
    for forge, form in _ADDRESSES:
        if (found := form.fullmatch(text)) is not None:
            return PullRequest(forge, found[1], int(found[2]))
    raise ValueError(
        f"{text[:200]!a} is no address of a pull request: https://HOST/OWNER/NAME/pull/1 (GitHub), "
        f"…/pulls/1 (Gitea, Forgejo), …/-/merge_requests/1 (GitLab), or `{THIS_JOB}`"
    )


def token_for(request: PullRequest, environment: Mapping[str, str]) -> str:
    """The token to comment with. One that a job was given goes to the forge of that job alone. Raises ValueError."""
    if own := environment.get(TOKEN):
        return own
    actions = environment.get("GITHUB_SERVER_URL", "")
    match request.forge:
        case "github":
            home, names = actions or "https://github.com", ["GITHUB_TOKEN", "GH_TOKEN"]
        case "gitlab":
            home, names = environment.get("CI_SERVER_URL", "") or "https://gitlab.com", ["GITLAB_TOKEN"]
        case _:
            home, names = actions, ["GITEA_TOKEN", "FORGEJO_TOKEN", *(["GITHUB_TOKEN"] if actions else [])]
    given = next((found for name in names if (found := environment.get(name))), "")
    if given and _same_origin(home, request.repository):
        return given
    more = f", or {' or '.join(names)} in a job of that forge" if names else ""
    raise ValueError(f"a comment on {request} needs a token: set the variable {TOKEN}{more}")


async def comment(request: PullRequest, token: str, ca: bytes, found: Preview, environment: Mapping[str, str]) -> str:
    """See to it that one comment says what was `found`; what was done, in words. Raises Failure."""
    mark = f"<!-- trimtab preview {key_of(found.about)} -->"
    transport = AiohttpTransport()
    try:
        wire = ProviderWire(Outbound(transport, SystemClock()), Settings(type=request.forge, token=token, ca=ca))
        try:
            thread = comments.THREADS[request.forge]
            place = comments.Place.of(thread, parse_address(request.repository), token, request.number)
        except (ValueError, Terminal) as problem:
            raise Failure(Code.WRONG, f"{request}: {problem}") from problem
        place = place._replace(author=await _author(place, wire, environment))
        outcome = await _patiently(place, wire, mark, markdown(found, mark=mark))
    finally:
        await transport.close()
    if isinstance(outcome, Delivered):
        return f"the comment on {request} {'says so already' if outcome.known else 'is up to date'}"
    denied = _DENIED.search(outcome.why) is not None
    hint = f"; is it there, and may the token of {TOKEN} or of the job write comments there?" if denied else ""
    raise Failure(Code.WRONG, f"no comment on {request}: {outcome.why}{hint}")


async def _patiently(place: comments.Place, wire: ProviderWire, mark: str, text: str) -> Outcome:
    """What may be better later is tried again, as long as somebody waits for a job."""
    for pause_s in _PAUSES_S:
        outcome = await _once(place, wire, mark, text)
        if not isinstance(outcome, Retry):
            return outcome
        await asyncio.sleep(min(max(outcome.after or 0.0, pause_s), _LONGEST_PAUSE_S))
    return await _once(place, wire, mark, text)


async def _once(place: comments.Place, wire: ProviderWire, mark: str, text: str) -> Outcome:
    try:
        return await comments.keep(place, wire, mark, text)
    except NoAnswer as failure:
        return failure.outcome


async def _author(place: comments.Place, wire: ProviderWire, environment: Mapping[str, str]) -> str:
    """Who we are there: a comment of somebody else that has our mark is none of ours. Nothing if nobody says."""
    try:
        answer = await wire.ask(Request(method="GET", url=f"{place.api}/user", headers=place.headers))
    except NoAnswer:
        return ""
    said: Any = fields(answer) if answer.status == 200 else {}
    name = said.get("username" if place.thread.forge == "gitlab" else "login")
    if isinstance(name, str):
        return name
    # The token of a job may not ask who it is.
    actions = place.thread.forge == "github" and environment.get("GITHUB_ACTIONS") == "true"
    return _ACTIONS if actions and answer.status == 403 and not environment.get(TOKEN) else ""


def _of_job(environment: Mapping[str, str]) -> PullRequest:
    if number := environment.get("CI_MERGE_REQUEST_IID", ""):
        project = environment.get("CI_MERGE_REQUEST_PROJECT_URL") or environment.get("CI_PROJECT_URL", "")
        return pull_request(f"{project}/-/merge_requests/{number}", environment)
    server, repository = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
    gitea = "true" in (environment.get("GITEA_ACTIONS"), environment.get("FORGEJO_ACTIONS"))
    if server and repository and (number := _number(environment)):
        return pull_request(f"{server}/{repository}/{'pulls' if gitea else 'pull'}/{number}", environment)
    raise ValueError(
        f"`{THIS_JOB}` is for jobs of GitHub, GitLab, Gitea and Forgejo that run for a pull request, and this is none: "
        "give the address of the pull request"
    )


def _number(environment: Mapping[str, str]) -> str:
    if (found := _REF.fullmatch(environment.get("GITHUB_REF", ""))) is not None:
        return found[1]
    path = environment.get("GITHUB_EVENT_PATH", "")
    try:
        with Path(path).open("rb") as file:
            event = msgspec.json.decode(file.read(_MOST_EVENT)) if path else None
    except (OSError, msgspec.DecodeError, RecursionError):
        return ""
    pull = event.get("pull_request") if isinstance(event, dict) else None
    number = pull.get("number") if isinstance(pull, dict) else None
    return json.dumps(number) if type(number) is int and number > 0 else ""


def _same_origin(one: str, other: str) -> bool:
    try:
        return bool(one) and URL(one).origin() == URL(other).origin()
    except ValueError:
        return False
