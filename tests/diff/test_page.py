"""The page: complete in itself, and nothing that others wrote can do anything in it."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from trimtab.diff.compare import Difference
from trimtab.diff.fields import Writer
from trimtab.diff.page import MOST_FINDINGS, POLICY, page
from trimtab.diff.report import Finding, Report, State, gathered
from trimtab.manifests.refs import Key, Origin, Ref

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x1b[2J&'


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def finding(state: State = State.DIFFERS, name: str = "web", **more: object) -> Finding:
    return Finding(Ref("apps", "Deployment", "shop", name), state, Origin("a.yaml", 3), **more)  # type: ignore[arg-type]


def report(*findings: Finding) -> Report:
    return gathered("apps/shop", AT, findings)


def test_the_page_has_the_verdict_the_objects_and_the_time() -> None:
    change = Difference("spec.replicas", "changed", 3, 1)
    owner = (Writer("kubectl", "Update", "scale", "2026-01-01T00:00:00Z"),)
    text = page(
        report(finding(differences=(change,), owners=(owner,), app=Key("team", "shop")), finding(State.SAME, "b"))
    )
    assert "There are differences: 2 compared: 1 as declared, 1 differ" in text
    assert "Deployment/shop/web (a.yaml:3)</h2>" in re.sub(r" <small>.*</small>", "", text)
    assert "spec.replicas: 3 → 1\n  owned by kubectl (Update of scale) 2026-01-01T00:00:00Z" in text
    assert "2026-01-02T03:04:05+00:00" in text
    assert "shop/b" not in text


@pytest.mark.parametrize(
    "words",
    [
        Finding(Ref("g", EVIL, EVIL, EVIL), State.UNKNOWN, Origin(EVIL, 1), note=EVIL, app=Key(EVIL, EVIL)),
        finding(differences=(Difference(EVIL, "changed", EVIL, EVIL + "\n" * 5 + EVIL),)),
        finding(differences=(Difference("a", "added", None, {EVIL: [EVIL] * 20}),)),
        finding(differences=(Difference("a", "changed", 1, 2),), owners=((Writer(EVIL, EVIL, EVIL, EVIL),),)),
    ],
    ids=["names", "values", "long values", "owners"],
)
def test_nothing_that_others_wrote_becomes_a_part_of_the_page(words: Finding) -> None:
    plain = Tags(page(report(finding(differences=(Difference("a", "changed", 1, 2),))))).found
    text = page(Report(EVIL, AT, (words,)), problem=EVIL)
    assert {tag for tag, _ in Tags(text).found} <= {tag for tag, _ in plain} | {"small", "span"}
    assert not {"\u202e", "\x1b"} & set(text)
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in Tags(text).found for name in attrs)


def test_the_page_loads_nothing_and_its_policy_allows_its_own_style_alone() -> None:
    text = page(report(finding()))
    tags = Tags(text).found
    [policy] = [attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == POLICY
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    [style] = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert not {"script", "img", "link", "iframe", "form", "a"} & {tag for tag, _ in tags}
    assert not any("style" in attrs for _, attrs in tags)


def test_a_failed_comparison_is_unknown_whatever_was_known_before() -> None:
    text = page(report(finding(State.SAME)), problem="no route to host")
    assert '<p class="verdict unknown">Unknown: the last comparison failed</p>' in text
    assert 'class="verdict same"' not in text
    assert "no route to host" in text
    assert "Nothing has been compared yet" in page(None, about="x")


def test_a_page_has_a_bounded_length() -> None:
    long = Difference("a", "changed", "x\n" * 5_000, "y\n" * 5_000)
    many = [finding(name=f"n{number}", differences=(long,)) for number in range(MOST_FINDINGS + 20)]
    text = page(report(*many))
    assert "… and 20 more objects" in text
    assert text.count("<section>") == MOST_FINDINGS + 1
    assert len(text) < MOST_FINDINGS * 20_000
