"""`trimtab history --ledger`: what is chosen, how it is told, and what is said of a ledger that was changed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.audit.ground import Desk, SetClock
from trimtab.audit.book import stamp
from trimtab.audit.record import (
    Actor,
    Cause,
    Event,
    Intent,
    Missed,
    Object,
    Outcome,
    Settled,
    Source,
    Subject,
    Switched,
)
from trimtab.cli.main import cli
from trimtab.cli.questions.ledger import moment

SHOP = Subject(kind="Kustomization", namespace="team-a", name="shop")
POD = Subject(kind="HelmRelease", namespace="team-a", name="podinfo")
SOURCE = Source(revision="main@sha1:17bd2ecf529ddc472878091f8753e9e74409cb49")
WEB = Object(id="Deployment.apps/team-a/web", effect="created")
EVENTS: tuple[Event, ...] = (
    Intent(attempt="1", subject=SHOP, cause=Cause.REVISION, actor=Actor(author="Ada"), source=SOURCE, objects=(WEB,)),
    Outcome(attempt="1", subject=SHOP, cause=Cause.REVISION, result="done", source=SOURCE, objects=(WEB,)),
    Settled(subject=SHOP, actor=Actor(author="Ada"), source=SOURCE, result="HealthCheckFailed", message="x\n" * 200),
    Switched(subject=SHOP, what="suspended", after="true", actor=Actor(requester="grace")),
    Intent(attempt="2", subject=POD, cause=Cause.UPGRADE, actor=Actor(), source=Source(), what="upgrade podinfo"),
    Missed(count=3, since="2026-11-27T01:00:00.000000Z", until="2026-11-27T01:00:09.000000Z", why="no space"),
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A ledger with an hour between its records."""
    desk = Desk(tmp_path / "ledger", SetClock())
    book = desk.book()
    for event in EVENTS:
        book.append([stamp(event, desk.clock, "c")])
        desk.clock.turn(hours=1)
    book.close()
    return desk


def history(desk: Desk, *words: str) -> Result:
    return CliRunner().invoke(cli, ["history", "--ledger", str(desk.directory), *words])


def kinds(desk: Desk, *words: str) -> list[str]:
    done = history(desk, *words, "-o", "json")
    assert done.exit_code == 0, done.output
    return [one["record"]["event"]["kind"] for one in json.loads(done.stdout)["records"]]


def test_an_intent_is_told_with_its_outcome_and_alone_where_there_is_none(desk: Desk) -> None:
    rows = [[cell.strip() for cell in line.split("\t")] for line in history(desk).stdout.splitlines()[1:]]
    assert [(row[1], row[2], row[5], row[6]) for row in rows] == [
        ("revision", "team-a/shop", "Ada", "+Deployment.apps/team-a/web"),
        ("settled", "team-a/shop", "Ada", "-"),
        ("suspended", "team-a/shop", "asked by grace", "-"),
        ("upgrade podinfo", "HelmRelease/team-a/podinfo", "-", "-"),
        ("missing", "-", "-", "-"),
    ]
    assert rows[0][3] == "main@sha1:17bd2ecf"
    assert rows[1][4].startswith("HealthCheckFailed: x x")
    assert rows[3][4] == "no outcome on record"


def test_records_are_chosen_by_app_by_object_and_by_time(desk: Desk) -> None:
    assert kinds(desk, "shop", "-n", "team-a") == ["intent", "outcome", "settled", "switched"]
    assert kinds(desk, "shop") == []  # that is another namespace
    assert kinds(desk, "helmrelease", "podinfo", "-n", "team-a") == ["intent"]
    assert kinds(desk, "-n", "team-a") == ["intent", "outcome", "settled", "switched", "intent"]
    for name in ("Deployment/web", "deployment.apps/team-a/web"):
        assert kinds(desk, "--object", name) == ["intent", "outcome"]
    assert kinds(desk, "--object", "Deployment/eb") == []
    assert kinds(desk, "--since", "2026-11-27T02:30:00Z", "--until", "2026-11-27T04:30:00+00:00") == [
        "settled",
        "switched",
    ]


def test_a_moment_is_written_out_or_so_long_ago() -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert moment("24h", "--since", now) == moment("1d", "--since", now) == "2026-11-26T12:00:00.000000Z"
    assert moment("2026-11-26", "--since", now) == "2026-11-26T00:00:00.000000Z"
    assert moment("2026-11-26T13:00:00+01:00", "--since", now) == "2026-11-26T12:00:00.000000Z"
    for nonsense in ("yesterday", "12", "2026-99-99", f"{timedelta.max.days}9d"):
        with pytest.raises(click.BadParameter, match="neither a moment"):
            moment(nonsense, "--since", now)


def test_a_ledger_that_is_whole_tells_its_head_and_one_that_was_changed_where(desk: Desk) -> None:
    done = history(desk, "--verify")
    assert done.exit_code == 0
    assert "7 records, 1 to 7" in done.stdout
    assert "3 records are missing" in done.stderr
    [file] = desk.files
    file.write_bytes(file.read_bytes().replace(b'"Ada"', b'"Eve"', 1))
    done = history(desk, "--verify")
    assert done.exit_code == 2
    assert f"{file}:2: it was changed" in done.stderr
    report = json.loads(history(desk, "--verify", "-o", "json").stdout)["chains"][0]
    assert (report["broken"]["line"], report["records"]) == (2, 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--verify", "shop"], 1, "the whole ledger"),
        (["--commits"], 1, "ask the cluster"),
        (["source", "git", "x"], 0, "nothing of that"),
    ],
    ids=["both", "commits", "nothing"],
)
def test_what_makes_no_sense_is_said(desk: Desk, words: list[str], code: int, said: str) -> None:
    done = history(desk, *words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.output


def test_a_directory_without_a_ledger_is_unknown_and_not_whole(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["history", "--ledger", str(tmp_path), "--verify"])
    assert done.exit_code == 3
    assert "there is no ledger" in done.stderr


@pytest.mark.parametrize("words", [["--verify"], ["--since", "7d", "shop"], []], ids=["verify", "since", "nothing"])
def test_without_a_ledger_its_options_are_refused(words: list[str]) -> None:
    done = CliRunner().invoke(cli, ["history", *words])
    assert done.exit_code == 1
    assert "--ledger" in done.stderr
