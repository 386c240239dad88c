"""No message of a commit calls a room, or hides where a link leads."""

import re
from dataclasses import replace

import msgspec
import pytest

from tests.notify.providers.notices import HOSTILE, NOTICES, SETTINGS, composed
from trimtab.notify.event import cleaned
from trimtab.notify.providers import escaping

# What would have a meaning in the raw body of a request, by sink.
LIVE = {
    "slack": (r"<!channel>", r"<https?:[^>]*\|"),
    "discord": (r"(?<!\\)\]\(", r"(?<!\\)<"),
    "msteams": (r"(?<!\\)\]\(", r"(?<!\\)<at"),
    "rocket": (r"@everyone", r"@all", r"@here", r"\]\(", r"<https"),
    "googlechat": (r"<users/all>", r"<https", r"<b>"),
    "telegram": (r"@everyone", r"@here"),
    "datadog": (r"@everyone", r"%%%"),
    "grafana": (r"<b>", r"<https"),
}


@pytest.mark.parametrize("name", sorted(LIVE))
def test_what_is_special_to_the_sink_has_no_meaning(name: str) -> None:
    (request,) = composed(name, NOTICES["hostile"])
    text = request.body.decode().replace("\\\\", "\\")
    if name in ("grafana", "datadog"):
        text = text.partition('"tags":')[0]  # tags are never read as markup
    for pattern in LIVE[name]:
        assert not re.search(pattern, text), pattern


def test_discord_and_matrix_are_told_to_mention_nobody() -> None:
    (discord,), (matrix,) = composed("discord", NOTICES["hostile"]), composed("matrix", NOTICES["hostile"])
    assert b'"allowed_mentions":{"parse":[]}' in discord.body
    assert b'"m.mentions":{}' in matrix.body


def test_a_block_cannot_be_ended_from_within() -> None:
    for text in (HOSTILE, "```\nx", "~~~\n@**all**", "`" * 300):
        block = escaping.fenced(text, 9000)
        assert block.startswith("```text\n")
        assert "```" not in block[3:-3]
        assert "~~~" not in block
        assert len(block) <= 9000


def test_words_stay_readable() -> None:
    assert escaping.markdown("a_b [c](d)") == r"a\_b \[c\]\(d\)"
    assert escaping.defused("mail a@b.example, see <x>") == "mail a@\u2060b.example, see <\u2060x>"
    assert escaping.html("a<b>&") == "a&lt;b&gt;&amp;"


def test_every_provider_has_settings_that_show_no_secret() -> None:
    for settings in SETTINGS.values():
        for secret in (settings.token, settings.password):
            assert not secret or secret not in repr(settings)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_what_moves_a_cursor_or_turns_text_around_reaches_no_sink(name: str) -> None:
    words = "fix \x1b[31mred\x1b[0m \u202egnp.exe\u202c \u2066x\u2069 \x07\x00\x9b2J \ufeff" + "a" * 100_000
    hostile = NOTICES["opened"]
    event = cleaned(msgspec.structs.replace(hostile.event, message=words, reason="Build\x1b]0;x\x07Failed"))
    for request in composed(name, replace(hostile, event=event, message=event.message, fields={"author": words[:0]})):
        text = request.body.decode()
        for mark in ("\x1b", "\u202e", "\u2066", "\x07", "\x00", "\x9b", "\ufeff", "\\u001b", "%1B", "%E2%80%AE"):
            assert mark not in text
        assert len(text) < 3 << 20
