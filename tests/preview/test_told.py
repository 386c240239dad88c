"""How previews are told: as text, JSON, Markdown and SARIF."""

import json
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.preview.conftest import MISSING, preview, step
from trimtab.diff.report import State
from trimtab.manifests import codec
from trimtab.preview import text
from trimtab.preview.markdown import LONGEST, MARK, code, markdown
from trimtab.preview.sarif import sarif
from trimtab.preview.structured import structured
from trimtab.preview.verdict import Declared, Judgement, Preview, Verdict

POLICY = Judgement(Verdict.REFUSED_POLICY, "at most 5", policy="few", binding="few-here")
EVIL = "x`\n# head\n</details>\n```\n@everyone <script> [a](https://evil.example.org) ![](x) \x1b[2J \u202e | --"


def everything() -> Preview:
    return preview(
        step(MISSING, POLICY, differences=[("spec.replicas", "changed", 3, 6)], declared=Declared.CHANGED),
        step(Judgement(Verdict.PRUNED, "it is deleted"), name="old", state=State.EXTRA, declared=Declared.REMOVED),
        step(name="quiet", state=State.SAME),
        step(Judgement(Verdict.UNKNOWN, "forbidden"), name="dark", state=State.UNKNOWN, file="apps/a b#?%/ü.yaml"),
        unasked=("no registry is asked",),
    )


def test_text_says_the_place_the_verdict_and_the_reason() -> None:
    [first, *_] = everything().notable
    assert text.headline(first) == "Deployment/shop/web (apps/web.yaml:3): changes [image-missing]"
    assert list(text.body(first)) == [
        "✗ image-missing: spec.x: web:9 is not in its registry",
        "✗ refused-policy: few (binding few-here): at most 5",
        "spec.replicas: 3 → 6",
    ]
    unchanged = step(declared=Declared.SAME)
    assert text.headline(unchanged).endswith("changes, not declared otherwise than in the base")


def test_json_is_stable() -> None:
    found = json.loads(codec.encode(structured(everything())))
    assert {key: found[key] for key in ("version", "about", "base", "head", "observedAt", "outcome", "unasked")} == {
        "version": 1,
        "about": "apps/shop",
        "base": "what is live",
        "head": "the working tree",
        "observedAt": "2026-01-02T03:04:05Z",
        "outcome": "fails",
        "unasked": ["no registry is asked"],
    }
    assert (
        found["counts"] | {"objects": 4, "changing": 3, "image-missing": 1, "pruned": 1, "unknown": 1}
        == found["counts"]
    )
    assert [one["name"] for one in found["objects"]] == ["web", "dark", "old"]
    assert found["objects"][0] == {
        "group": "apps",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
        "verdict": "image-missing",
        "state": "differs",
        "declared": "changed",
        "message": "",
        "origin": {"file": "apps/web.yaml", "line": 3},
        "app": {"namespace": "team", "name": "shop"},
        "judgements": [
            {"verdict": "image-missing", "message": "web:9 is not in its registry", "path": "spec.x", "image": "web:9"},
            {"verdict": "refused-policy", "message": "at most 5", "policy": "few", "binding": "few-here"},
        ],
        "differences": [{"path": "spec.replicas", "kind": "changed", "before": 3, "after": 6}],
    }


def outside_of_code(words: str) -> str:
    """What Markdown and HTML get to see of a comment: all but fenced blocks and spans of code."""
    words = re.sub(r"(?ms)^(`{3,})\n.*?^\1$", "", words)
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", words)


@pytest.mark.parametrize(
    "evil",
    [EVIL, "`", "``", "a`b``c```", "````\n```\n`", " ", "\n", "`a", "a`"],
    ids=["all at once", "a tick", "two", "several", "fences", "a blank", "a line", "in front", "behind"],
)
def test_nothing_of_others_becomes_markdown(evil: str) -> None:
    judgement = Judgement(Verdict.REFUSED_POLICY, evil, path=evil, policy=evil, binding=evil)
    steps = step(judgement, name=evil, file=evil or "x", differences=[("data.x", "changed", evil, evil + "y\n\n\n\nz")])
    clean = step(
        Judgement(Verdict.REFUSED_POLICY, "m", path="p", policy="q", binding="r"),
        differences=[("data.x", "changed", "a", "b")],
    )
    seen, wanted = (
        outside_of_code(markdown(preview(one, unasked=(words,), about=words)))
        for one, words in ((steps, evil), (clean, "u"))
    )
    # but for the line of the fold, where it is escaped for HTML
    fold = re.compile(r"<summary>.*?</summary>")
    assert fold.sub("", seen) == fold.sub("", wanted)
    for line in fold.findall(seen):
        inner = line.removeprefix("<summary>").removesuffix("</summary>").replace("<code>", "").replace("</code>", "")
        assert not set("<>@\n\x1b\u202e") & set(inner)


@given(st.text(alphabet="`a \n\\<@", max_size=40))
def test_a_span_of_code_is_closed_by_its_own_end_only(words: str) -> None:
    span = code(words)
    ticks = re.match(r"`+", span)
    assert ticks is not None
    inner = span[len(ticks[0]) : -len(ticks[0])]
    assert "\n" not in span
    assert inner.strip() or not words.strip()
    assert ticks[0] not in re.findall(r"`+", inner)


def test_markdown_says_what_is_wrong_first_and_is_never_too_long() -> None:
    said = markdown(everything())
    assert said.startswith(f"{MARK}\n### ❌ It will not succeed\n")
    assert "- ❌ **image-missing** `Deployment/shop/web` at `apps/web.yaml:3` in `spec.x`: `web:9 is not" in said
    assert "- ❌ **refused-policy** `Deployment/shop/web` at `apps/web.yaml:3` by `few` (binding `few-here`)" in said
    long = [("spec.x", "changed", "a" * 9_000, "b" * 9_000)] * 9
    many = preview(*(step(MISSING, name=f"n{number}", differences=long) for number in range(120)))
    bounded = markdown(many)
    assert len(bounded) <= LONGEST
    assert "60 more" in bounded
    assert bounded.count("<details>") == bounded.count("</details>") > 1
    huge = preview(step(MISSING), unasked=tuple("u" * 100_000 for _ in range(1_000)), about="a" * 100_000)
    assert len(markdown(huge)) <= LONGEST


def test_sarif_is_what_its_specification_says() -> None:
    document = json.loads(codec.encode(sarif(everything())))
    check_log(document)
    [run] = document["runs"]
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels == {"image-missing": "error", "refused-policy": "error", "unknown": "warning", "pruned": "note"}
    located = [result["locations"][0] for result in run["results"] if "locations" in result]
    assert located[0]["physicalLocation"] == {
        "artifactLocation": {"uri": "apps/web.yaml", "uriBaseId": "ROOT"},
        "region": {"startLine": 3},
    }
    assert "apps/a%20b%23%3F%25/%C3%BC.yaml" in {one["physicalLocation"]["artifactLocation"]["uri"] for one in located}
    [invocation] = run["invocations"]
    assert [one["message"]["text"] for one in invocation["toolExecutionNotifications"]] == ["no registry is asked"]
    check_log(json.loads(codec.encode(sarif(preview()))))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("[a](https://evil.example.org)", r"\[a\](https://evil.example.org)"),
        (r"\[a\](https://evil.example.org)", r"\\\[a\\\](https://evil.example.org)"),
        (r"C:\dir", r"C:\dir"),
    ],
    ids=["a link", "one that is escaped already", "no bracket"],
)
def test_no_words_of_others_are_a_link_in_sarif(words: str, text: str) -> None:
    document = json.loads(codec.encode(sarif(preview(step(Judgement(Verdict.UNKNOWN, words)), unasked=(words,)))))
    [run] = document["runs"]
    [invocation] = run["invocations"]
    assert run["results"][0]["message"]["text"].endswith(f": {text}")
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == text


def check_log(log: dict[str, Any]) -> None:
    """The rules of SARIF 2.1.0 (OASIS, §3) for all properties that are used here, and no others."""
    known(log, required={"version", "runs"}, optional={"$schema"})
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        more = {"columnKind", "originalUriBaseIds", "properties", "invocations"}
        known(run, required={"tool", "results"}, optional=more)
        for invocation in run["invocations"]:
            known(invocation, required={"executionSuccessful"}, optional={"toolExecutionNotifications"})
            for notified in invocation["toolExecutionNotifications"]:
                known(notified, required={"message"}, optional={"level"})
                known(notified["message"], required={"text"})
                assert notified["level"] in ("none", "note", "warning", "error")
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        known(run["tool"], required={"driver"})
        driver = run["tool"]["driver"]
        known(driver, required={"name"}, optional={"semanticVersion", "rules"})
        rules = driver["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for rule in rules:
            known(rule, required={"id"}, optional={"name", "shortDescription", "defaultConfiguration"})
            known(rule["shortDescription"], required={"text"})
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
        for result in run["results"]:
            check_result(result, rules, run["originalUriBaseIds"])


def check_result(result: dict[str, Any], rules: list[Any], bases: dict[str, Any]) -> None:
    known(result, required={"message"}, optional={"ruleId", "ruleIndex", "level", "locations", "partialFingerprints"})
    known(result["message"], required={"text"})
    assert result["message"]["text"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["level"] in ("none", "note", "warning", "error")
    assert all(isinstance(value, str) for value in result.get("partialFingerprints", {}).values())
    for location in result.get("locations", []):
        known(location, required=set(), optional={"physicalLocation", "logicalLocations"})
        for logical in location["logicalLocations"]:
            known(logical, required=set(), optional={"name", "fullyQualifiedName", "kind"})
        if "physicalLocation" not in location:
            continue
        known(location["physicalLocation"], required={"artifactLocation"}, optional={"region"})
        artifact = location["physicalLocation"]["artifactLocation"]
        known(artifact, required={"uri"}, optional={"uriBaseId"})
        assert artifact["uriBaseId"] in bases
        assert re.fullmatch(r"[A-Za-z0-9%._~/!$&'()*+,;=@-]+", artifact["uri"])
        assert not PurePosixPath(unquote(artifact["uri"])).is_absolute()
        assert location["physicalLocation"]["region"]["startLine"] >= 1


def known(value: dict[str, Any], *, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    assert required <= value.keys() <= required | optional
