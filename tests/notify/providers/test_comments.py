"""What pull requests are told: one comment for each object, kept up to date."""

from dataclasses import replace
from typing import Any

import pytest

from tests.notify.providers.notices import HOSTILE, NOTICES
from tests.notify.providers.talk import Talk, said
from trimtab.notify.notice import Notice
from trimtab.notify.provider import Answer, Conversing, Delivered, Outcome, Refused, Retry, Settings
from trimtab.notify.providers.comment import mark_of, text_of
from trimtab.notify.providers.table import TABLE

PLACES = {
    "githubpullrequestcomment": (
        "https://github.com/acme/fleet",
        "https://api.github.com/repos/acme/fleet/issues/12/comments",
        ("PATCH", "https://api.github.com/repos/acme/fleet/issues/comments/7"),
        "?per_page=20&page={}",
    ),
    "giteapullrequestcomment": (
        "https://git.example/acme/fleet",
        "https://git.example/api/v1/repos/acme/fleet/issues/12/comments",
        ("PATCH", "https://git.example/api/v1/repos/acme/fleet/issues/comments/7"),
        "?since=1970-01-01T00:00:00Z",
    ),
    "gitlabmergerequestcomment": (
        "https://gitlab.com/acme/infra/fleet",
        "https://gitlab.com/api/v4/projects/acme%2Finfra%2Ffleet/merge_requests/12/notes",
        ("PUT", "https://gitlab.com/api/v4/projects/acme%2Finfra%2Ffleet/merge_requests/12/notes/7"),
        "?per_page=20&page={}&sort=asc&order_by=created_at",
    ),
}
TYPES = sorted(PLACES)


def asking(what: str = "opened", number: str = "12") -> Notice:
    notice = NOTICES[what]
    return replace(notice, fields={**notice.fields, "change_request": number})


def settings(name: str) -> Settings:
    return Settings(type=name, namespace="shop", name="pr", uid="u-1", address=PLACES[name][0], token="forge-token")


async def tell(what: Notice, how: Settings, talk: Talk) -> Outcome:
    provider = TABLE[how.type]
    assert isinstance(provider, Conversing)
    return await provider.send(what, how, talk)


def comment(number: int, text: str) -> dict[str, Any]:
    return {"id": number, "body": text, "user": {"login": "somebody"}}


@pytest.mark.parametrize("name", TYPES)
async def test_the_first_time_a_comment_is_made(name: str) -> None:
    talk = Talk(said([comment(1, "nice work"), comment(2, f"see {mark_of(asking(), settings(name))}")]), said({}, 201))
    assert await tell(asking(), settings(name), talk) == Delivered()
    _, comments, _, query = PLACES[name]
    assert talk.steps == [("GET", comments + query.format(1)), ("POST", comments)]
    assert talk.told == {"body": text_of(asking(), settings(name))}


@pytest.mark.parametrize("name", TYPES)
async def test_the_next_time_it_is_changed_and_not_if_it_says_so_already(name: str) -> None:
    old = text_of(asking("opened"), settings(name)).replace("\n", "\r\n")
    talk = Talk(said([comment(7, old)]), said({}))
    assert await tell(asking("closed"), settings(name), talk) == Delivered()
    assert talk.steps[-1] == PLACES[name][2]
    assert await tell(asking("opened"), settings(name), Talk(said([comment(7, old)]))) == Delivered(known=True)


@pytest.mark.parametrize("name", ["githubpullrequestcomment", "gitlabmergerequestcomment"])
async def test_a_long_conversation_is_looked_through_page_by_page(name: str) -> None:
    others = [comment(100 + number, "…") for number in range(20)]
    old = text_of(asking("opened"), settings(name))
    talk = Talk(said(others), said([comment(7, old)]), said({}))
    assert await tell(asking("closed"), settings(name), talk) == Delivered()
    assert talk.steps[1][1] == PLACES[name][1] + PLACES[name][3].format(2)


@pytest.mark.parametrize("name", TYPES)
async def test_a_copied_mark_does_not_keep_us_from_telling(name: str) -> None:
    forged = mark_of(asking(), settings(name)) + "\nall is well"
    talk = Talk(said([comment(3, forged)]), said({"message": "Forbidden"}, 403), said({}, 201))
    assert await tell(asking(), settings(name), talk) == Delivered()
    assert talk.steps[-1] == ("POST", PLACES[name][1])


@pytest.mark.parametrize("name", TYPES)
async def test_without_a_pull_request_nobody_is_asked(name: str) -> None:
    assert await tell(NOTICES["opened"], settings(name), Talk()) == Delivered()
    for number in ("", "x", "12/../../secrets", "-1", "٣", "9" * 40):
        if number:
            assert isinstance(await tell(asking(number=number), settings(name), Talk()), Refused)


@pytest.mark.parametrize("name", TYPES)
async def test_refusals_and_limits_are_told_apart(name: str) -> None:
    assert isinstance(await tell(asking(), settings(name), Talk(said({}, 404))), Refused)
    assert isinstance(await tell(asking(), settings(name), Talk(said({}, 500))), Retry)
    outcome = await tell(asking(), settings(name), Talk(said([]), Answer(403, {}, b"", 30.0)))
    assert isinstance(outcome, Retry)
    assert outcome.after == 30.0
    assert isinstance(await tell(asking(), settings(name), Talk(Answer(200, {}, b"[" + b" " * 99))), Refused)


def test_each_object_and_each_provider_has_a_comment_of_its_own() -> None:
    one, other = settings(TYPES[0]), replace(settings(TYPES[0]), uid="u-2")
    assert mark_of(asking("opened"), one) == mark_of(asking("closed"), one)
    assert mark_of(asking(), one) != mark_of(asking(), other)


def test_words_of_strangers_are_in_a_block_they_cannot_end() -> None:
    text = text_of(replace(asking(), message=HOSTILE + "\n-->\n```\n@all"), settings(TYPES[0]))
    head, _, rest = text.partition("```text\n")
    block, _, tail = rest.partition("\n```")
    assert "@here" in block
    assert "@all" in block
    assert tail.strip() == ""
    assert "@" not in head
    assert len(text_of(replace(asking(), message="`" * 39_000), settings(TYPES[0]))) < 60_000
