"""Log lines: one per record, for a person on a terminal and as JSON for everything else.

What is logged contains words of other people: names, commit messages, answers of servers. So control characters,
line ends and the marks that reorder text are escaped in both forms: no input can forge a line or move a cursor.
Credentials in URLs and in authorization headers are struck out; secrets have no business in a message at all, this is
only the last net.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

_ABOUT: ContextVar[str] = ContextVar("about", default="")

MAX_MESSAGE = 16 * 1024

# C0, DEL, C1, line and paragraph separators, bidirectional controls and marks, zero-width characters, surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]",
)
# Every repetition is bounded: a message may be made to be slow to search.
_SECRETS = (
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@]{0,256}):[^\s/@]{1,2048}@"), r"\1:***@"),
    (re.compile(r"(?i)\b(https?://)[^\s/:@]{1,2048}@"), r"\1***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s{1,8}[a-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END|\Z)", re.DOTALL), "***"),
)
_LEVEL_LETTERS = {"DEBUG": "D", "INFO": "I", "WARNING": "W", "ERROR": "E", "CRITICAL": "C"}
_COLOURS = {"W": "33", "E": "31", "C": "1;31", "D": "2"}


def escape(text: str) -> str:
    """`text` on one line, with every character visible that could change how the rest is read."""
    return _UNSAFE.sub(_visible, text)


def redact(text: str) -> str:
    """`text` without the credentials that are known by their form: in URLs, after Bearer or Basic, private keys."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Name `subject`, the object being reconciled, in every line logged within, also by tasks started there."""
    token = _ABOUT.set(str(subject))
    try:
        yield
    finally:
        _ABOUT.reset(token)


def setup(
    level: int | str = logging.INFO, *, form: Literal["auto", "text", "json"] = "auto", stream: TextIO | None = None
) -> logging.Handler:
    """Send the log of the whole process to `stream` (stderr). `auto` is text on a terminal and JSON otherwise."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines(colour=terminal) if form == "text" or (form == "auto" and terminal) else JsonLines())
    handler.addFilter(remember_subject)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # One line per request is a flood at our rates; their warnings remain.
    for noisy in ("aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


class TextLines(logging.Formatter):
    """`12:03:44.120 W runtime.controller [Kustomization/apps/web] message`, a traceback indented below."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = _LEVEL_LETTERS.get(record.levelname, record.levelname)
        moment = datetime.fromtimestamp(record.created, UTC).astimezone()
        subject = getattr(record, "about", "")
        logger = record.name.removeprefix("trimtab.")
        line = escape(f"{logger}{f' [{subject}]' if subject else ''} {_message(record)}")
        if trace := _trace(record):
            line += "\n  " + "\n  ".join(escape(row) for row in trace.splitlines())
        head = f"{moment:%H:%M:%S}.{round(record.msecs) % 1000:03d} {level}"
        if self._colour and (code := _COLOURS.get(level)):
            head = f"\x1b[{code}m{head}\x1b[0m"
        return f"{head} {line}"


class JsonLines(logging.Formatter):
    """One JSON object per line: ts, level, logger, about, msg, and trace where there is one. Plain ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "ts": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "about": escape(getattr(record, "about", "")),
            "msg": escape(_message(record)),
            "trace": _trace(record),
        }
        return json.dumps({name: value for name, value in fields.items() if value})


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit their format must not cost the line
        message = f"{record.msg} {record.args!r}"
    return _bounded(message)


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_info[0] is None:
        return ""
    return _bounded(logging.Formatter().formatException(record.exc_info))


def _bounded(text: str) -> str:
    """Redacted before it is cut, so that no cut hides the end by which a secret is known."""
    safe = redact(text[: 2 * MAX_MESSAGE])
    return safe if len(safe) <= MAX_MESSAGE else f"{safe[:MAX_MESSAGE]}… (cut, {len(text)} characters)"


def remember_subject(record: logging.LogRecord) -> bool:
    """The filter that notes `about` on a record; a filter runs where the record was made, a formatter may not."""
    record.about = _ABOUT.get()
    return True


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if match.group() in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[match.group()]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
