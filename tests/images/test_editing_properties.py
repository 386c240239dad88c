"""Edits of random documents and of all YAML there is: exactly what was meant changes, and nothing the second time."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.images.editing import Kind, edit
from trimtab.images.events import Unreadable, events, signature
from trimtab.images.nodes import Scalar, parse
from trimtab.images.reference import Image
from trimtab.images.writing import is_text
from trimtab.manifests.refs import Key

MARKER = '{"$imagepolicy": "ns:p"}'
NEW = Image.of("registry.example.org/team/app", "v2.0.0-rc.1")
WISH = {Key("ns", "p"): NEW}
EOL = "@@"  # where a line ends, in what is drawn

words = st.sampled_from(
    ["app:v1", "x", "a b", "1.5", "true", "#no", "a#b", "ä€😀", "it's", '"', "- x", "k: v", "", "~", "[a]", "{b}", "*c",
     "&d", "!e", "%f", "@g", "|", ">", "a: b # c", MARKER, f"# {MARKER}", "multi  space", "tab\there", "\\n"]
)  # fmt: skip
plain_words = st.sampled_from(["app:v1", "x", "a b", "1.5", "true", "a#b", "ä€😀", "it's", "x-y", "http://h/p?q=1&r"])
comments = st.sampled_from(["", " # note", "  #", ' # {"$imagepolicy": "other:p"}', " # ä 'x' \"y\""])


@st.composite
def scalars(draw, flow: bool):
    """A value as it is written, and how the new one is in its place."""
    style = draw(st.sampled_from(["plain", "single", "double"]))
    before = draw(st.sampled_from(["", "", "&a1 ", "!!str ", "!!str &a2 "]))
    if style == "plain":
        text = draw(plain_words)
        if flow and re.search(r"[:,?]", text):
            text = "x"
        return before + text, before + str(NEW)
    text = draw(words)
    if style == "single":
        return f"{before}'" + text.replace("'", "''").replace("\\n", " ") + "'", f"{before}'{NEW}'"
    return before + json.dumps(text, ensure_ascii=False), f'{before}"{NEW}"'


@st.composite
def blocks(draw, indent: int, depth: int):
    """Lines of a mapping or a list, before and after."""
    before: list[str] = []
    after: list[str] = []
    listed = draw(st.booleans())
    for number in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 4)) == 0:
            line = " " * indent + draw(st.sampled_from(["# alone", "", "# 'odd\" {["]))
            before.append(line)
            after.append(line)
        head = " " * indent + (
            "- " if listed else draw(st.sampled_from([f"k{number}: ", f"'k {number}': ", f'"k#{number}": ']))
        )
        kind = draw(st.sampled_from(["value", "value", "value", "block", "flow", "nested" if depth else "value"]))
        comment = draw(comments)
        if kind == "nested":
            inner, changed = draw(blocks(indent + 2, depth - 1))
            before += [head.rstrip() + comment, *inner]
            after += [head.rstrip() + comment, *changed]
        elif kind == "block":
            style = draw(st.sampled_from(["|", ">-", "|+", ">"]))
            body = [
                " " * (indent + 2) + text
                for text in draw(
                    st.lists(st.sampled_from(["a", "b: c # d", f"x: app:v1 # {MARKER}", "# e"]), min_size=1, max_size=3)
                )
            ]
            before += [head + style + comment, *body]
            after += [head + style + comment, *body]
        elif kind == "flow":
            parts = [draw(scalars(flow=True)) for _ in range(draw(st.integers(1, 3)))]
            marked = draw(st.integers(-1, len(parts) - 1))
            opening, closing = draw(st.sampled_from([("[", "]"), ("{", "}")]))
            for lines, which in ((before, 0), (after, 1)):
                lines.append(head + opening)
                for place, part in enumerate(parts):
                    said = part[which] if place == marked else part[0]
                    key = f'"f{place}": ' if opening == "{" else ""
                    tail = f" # {MARKER}" if place == marked else ""
                    comma = "," if place < len(parts) - 1 else ""
                    lines.append(" " * (indent + 2) + key + said + comma + tail)
                lines.append(" " * (indent + 2) + closing + comment)
        else:
            old, new = draw(scalars(flow=False))
            if draw(st.booleans()):
                before.append(f"{head}{old}  # {MARKER}")
                after.append(f"{head}{new}  # {MARKER}")
            else:
                before.append(head + old + comment)
                after.append(head + old + comment)
    return before, after


@st.composite
def streams(draw):
    documents = draw(st.lists(blocks(0, 2), min_size=1, max_size=3))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    last = draw(st.sampled_from([end, ""]))
    start = draw(st.sampled_from(["", "\ufeff"]))
    joined = [f"{end}--- # next{end}".join(end.join(pair[side]) for pair in documents) for side in (0, 1)]
    return (start + joined[0] + last).encode(), (start + joined[1] + last).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams())
def test_exactly_the_marked_values_of_a_random_stream_change(pair: tuple[bytes, bytes]) -> None:
    before, after = pair
    result = edit(before, WISH)
    assert result.data == after
    assert [note for note in result.notes if note.kind in (Kind.REFUSED, Kind.SKIPPED)] == []
    again = edit(after, WISH)
    assert (again.data, again.changes) == (after, ())


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-#{}[]&*!|>'\" \n\t\r%@`,?$ä\u2028", max_size=60), st.integers(0, 60))
def test_no_text_makes_an_edit_fail_or_change_more_than_one_value(text: str, place: int) -> None:
    text = f"{text[:place]} # {MARKER}\n{text[place:]}"
    result = edit(text.encode(), WISH)
    if not result.changes:
        assert result.data == text.encode()
        return
    after = result.data.decode().removeprefix("\ufeff")
    pairs = zip(events(text.removeprefix("\ufeff")), events(after), strict=True)
    differing = [new.value for old, new in pairs if signature(old) != signature(new)]
    assert differing == [str(NEW)] * len(result.changes)


@given(st.from_regex(r"[A-Za-z0-9._/:@-]{1,12}", fullmatch=True))
def test_what_is_written_without_quotes_is_read_back_as_that_text(text: str) -> None:
    import yaml

    if is_text(text):
        assert yaml.load(f"a: {text} # x\n", yaml.CSafeLoader) == {"a": text}
        assert yaml.load(f"{{a: {text}}}\n", yaml.CSafeLoader) == {"a": text}


SHARED = Path(__file__).parents[2].parent / "shared"
FILES = sorted(path for suffix in ("yaml", "yml") for path in SHARED.rglob(f"*.{suffix}") if path.is_file())
MOST_OF_A_FILE = int(os.environ.get("TRIMTAB_VALUES_OF_A_FILE", "4"))


@pytest.mark.skipif(not FILES, reason="the shared repositories are not beside this repository")
def test_one_value_of_every_file_there_is_can_be_changed_alone() -> None:
    """A marker is put behind a value, and the edit has to be the one that a person would make."""
    tried = 0
    for path in FILES:
        data = path.read_bytes()
        try:
            text = data.decode()
            tokens = parse(text).tokens
        except (UnicodeDecodeError, Unreadable):
            assert edit(data + f"\n# {MARKER}".encode(), WISH).changes == ()
            continue
        values = [
            token
            for token in tokens
            if isinstance(token, Scalar) and not token.is_key and not token.block and token.tag is None
            and "\n" not in text[token.start : token.end] and not text[token.end :].partition("\n")[0].strip()
        ]  # fmt: skip
        for token in values[:: len(values) // MOST_OF_A_FILE + 1]:
            quote = token.style
            new = f" {quote}{NEW}{quote}" if token.empty else f"{quote}{NEW}{quote}"
            rest = f" # {MARKER}{text[token.end :]}"
            result = edit((text[: token.end] + rest).encode(), WISH)
            if "ENC[AES256_GCM" in text:
                assert "MAC" in result.notes[0].text
                continue
            assert result.data.decode() == text[: token.start] + new + rest, f"{path}:{token.line}"
            assert len(result.changes) == 1
            tried += 1
    assert tried > len(FILES) / 2
