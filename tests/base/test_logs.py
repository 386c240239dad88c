import asyncio
import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.base import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root():
    """The process's logging as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream(root) -> io.StringIO:
    stream = io.StringIO()
    logs.setup(stream=stream)
    return stream


log = logging.getLogger("trimtab.test")


def test_what_is_no_terminal_gets_one_json_object_per_line(stream):
    log.warning("pod %s failed", "web")
    log.info("second")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["msg"]) == ("warning", "trimtab.test", "pod web failed")
    assert first["ts"].endswith("Z")
    assert second["msg"] == "second"


def test_a_terminal_gets_lines_for_people(root):
    stream = Terminal()
    logs.setup(stream=stream)
    with logs.about("Kustomization/apps/web"):
        log.info("applied")
    assert stream.getvalue().endswith(" test [Kustomization/apps/web] applied\n")
    assert "\x1b" not in stream.getvalue()


def test_every_line_names_the_object_being_reconciled_also_in_tasks_started_for_it(stream):
    async def part() -> None:
        log.info("in a task")

    async def reconcile(name: str) -> None:
        with logs.about(name):
            async with asyncio.TaskGroup() as group:
                group.create_task(part())
        log.info("after %s", name)

    async def both() -> None:
        await asyncio.gather(reconcile("web"), reconcile("db"))

    asyncio.run(both())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sorted(line["about"] for line in lines if line["msg"] == "in a task") == ["db", "web"]
    assert all("about" not in line for line in lines if line["msg"].startswith("after"))


@given(text=st.text(st.characters(), max_size=200), form=st.sampled_from(["text", "json"]))
def test_no_message_makes_a_second_line_or_moves_a_cursor(text, form):
    formatter = logs.TextLines() if form == "text" else logs.JsonLines()
    record = logging.LogRecord("trimtab.test", logging.INFO, "", 0, "said %s", (text,), None)
    record.about = text
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert line.isprintable() or not any(unicode_control(letter) for letter in line)
    line.encode()  # a lone surrogate would end the stream's writing


def unicode_control(letter: str) -> bool:
    return ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 or letter in "\u202e\u2066\u200f\u2028\ufeff"


def test_a_forged_line_and_terminal_escapes_become_visible_text(root):
    stream = Terminal()
    logs.setup(stream=stream)
    log.info("commit says: %s", "fine\n12:00:00 E auth root logged in\x1b[2J\u202eevil")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert r"fine\n12:00:00 E auth root logged in\x1b[2J\u202eevil" in line


@pytest.mark.parametrize(
    "secret",
    [
        "https://bot:hunter2secret@git.example.com/x",
        "https://hunter2secret@git.example.com/x",
        "Authorization: Bearer hunter2secret.x.y",
        "authorization: basic hunter2secretZm9v",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2secret\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2secret and no end",
    ],
)
def test_credentials_of_known_form_are_struck_out_of_messages_and_tracebacks(stream, secret):
    try:
        raise RuntimeError(f"cannot clone: {secret}")
    except RuntimeError as failure:
        log.exception("failed: %s", failure)
    assert "hunter2secret" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_addresses_without_a_secret_stay_as_they_are():
    for text in ("ssh://git@example.com:22/x", "https://example.com:8443/a@b", "git@example.com:x/y"):
        assert logs.redact(text) == text


def test_a_secret_is_not_revealed_by_the_cut_of_a_long_message(stream):
    log.info("%s", "x" * (logs.MAX_MESSAGE - 20) + " https://bot:hunter2secret" + "s" * 500 + "@example.com")
    assert "hunter2" not in stream.getvalue()


def test_a_huge_message_is_cut_and_says_so_quickly(stream):
    log.info("%s", "a.a://" * 1_000_000)
    assert len(stream.getvalue()) < 2 * logs.MAX_MESSAGE
    assert "6000000 characters" in stream.getvalue()


def test_a_traceback_on_a_terminal_is_indented_so_that_it_cannot_pass_for_lines(root):
    stream = Terminal()
    logs.setup(stream=stream)
    try:
        raise ValueError("first\n12:00:00 E forged")
    except ValueError:
        log.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("test failed")
    assert rest
    assert all(line.startswith("  ") for line in rest)


def test_arguments_that_do_not_fit_do_not_cost_the_line():
    record = logging.LogRecord("trimtab.test", logging.INFO, "", 0, "%d pods", ("many",), None)
    assert "many" in logs.JsonLines().format(record)


def test_setup_twice_writes_once(root):
    first, second = io.StringIO(), io.StringIO()
    logs.setup(stream=first)
    logs.setup(stream=second)
    log.info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)
