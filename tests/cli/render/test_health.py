"""`trimtab health`: verdicts offline, in both forms, with rules of the user's own, and what the exit code says."""

import json
from pathlib import Path

import pytest

from tests.cli.calling import Done, called

JOB = """apiVersion: batch/v1
kind: Job
metadata: {name: nightly, namespace: shop}
status: {conditions: [{type: Failed, status: "True", message: "backoff limit reached"}]}
"""
CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
"""
WIDGET = """apiVersion: example.com/v1
kind: Widget
metadata: {name: w}
status: {colour: green}
"""
RULES = """- apiVersion: example.com/v1
  kind: Widget
  failed: status.colour == 'red'
  current: status.colour == 'blue'
"""


def health(*arguments: str, cwd: Path, stdin: str = "") -> Done:
    return called("health", *arguments, cwd=cwd, stdin=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in {"job": JOB, "config": CONFIG, "widget": WIDGET, "rules": RULES}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def test_json_is_a_list_of_ref_state_and_message(files: Path) -> None:
    done = health("config.yaml", "job.yaml", "-o", "json", cwd=files)
    assert json.loads(done.stdout) == [
        {"ref": "ConfigMap/shop/settings", "state": "Current", "message": ""},
        {"ref": "Job/shop/nightly", "state": "Failed", "message": "backoff limit reached"},
    ]
    assert done.returncode == 2


def test_text_says_the_same_in_columns_and_0_means_all_good(files: Path) -> None:
    done = health("config.yaml", cwd=files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["OBJECT", "STATE", "MESSAGE", "ConfigMap/shop/settings", "Current"]


def test_lists_and_standard_input_are_read(files: Path) -> None:
    body = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret"}]}
    done = health("-", "-o", "json", cwd=files, stdin=json.dumps(body))
    assert [each["ref"] for each in json.loads(done.stdout)] == ["Secret"]


def test_rules_of_the_users_own_decide(files: Path) -> None:
    assert health("widget.yaml", cwd=files).returncode == 0
    done = health("widget.yaml", "--rules", "rules.yaml", cwd=files)
    assert done.returncode == 2
    assert "no expression is true yet" in done.stdout
    (files / "widget.yaml").write_text(WIDGET.replace("green", "blue"))
    assert health("widget.yaml", "--rules", "rules.yaml", cwd=files).returncode == 0


@pytest.mark.parametrize(
    ("file", "rules", "words"),
    [
        ("a: [", RULES, "objects.yaml:2"),
        ("just text", RULES, "needs apiVersion and kind"),
        ("", RULES, "no objects"),
        (WIDGET, "current: x", "not a list"),
        (WIDGET, RULES.replace("failed", "in_progress"), "has in_progress"),
        (WIDGET, RULES.replace("== 'red'", "=="), "[0].failed: Syntax error"),
        (WIDGET, "- {apiVersion: v1}", "current"),
    ],
)
def test_bad_input_exits_with_1_and_says_what_is_wrong(tmp_path: Path, file: str, rules: str, words: str) -> None:
    (tmp_path / "objects.yaml").write_text(file)
    (tmp_path / "rules.yaml").write_text(rules)
    done = health("objects.yaml", "--rules", "rules.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = health("missing.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "missing.yaml" in done.stderr


def test_the_help_shows_how_to_write_rules(tmp_path: Path) -> None:
    assert "--rules rules.yaml" in health("--help", cwd=tmp_path).stdout
