"""Ignore rules: git's own judgement is the standard; where Flux reads negation otherwise, a table says how."""

import itertools
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trimtab.base.errors import Terminal
from trimtab.sources.ignore import Rules, rules, split_lines

ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}

names = st.text(alphabet="abA.-é[] !#*", min_size=1, max_size=4).filter(
    lambda name: name.strip(".") and name.lower() != ".git" and "//" not in name
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
# Short paths over few letters, so that patterns over the same letters often match.
COMPONENTS = ("a", "b", "ab", "aab", "é", ".a")
EVERY = ["/".join(parts) for depth in (1, 2, 3) for parts in itertools.product(COMPONENTS, repeat=depth)]
tokens = st.sampled_from(
    [
        "a",
        "b",
        "A",
        ".",
        "-",
        "é",
        "/",
        "/",
        "*",
        "**",
        "**/",
        "/**",
        "?",
        "[ab]",
        "[!a]",
        "[^b]",
        "[a-c]",
        "[]a]",
        "[[:alpha:]]",
        "[[:bogus:]]",
        "[",
        "\\",
        "\\*",
        "\\ ",
        " ",
        "[a\\]]",
        "[-a]",
        "***",
        "!",
        "#",
        "[a-]",
        "[z-a]",
    ]
)
patterns = st.lists(tokens, min_size=1, max_size=6).map("".join) | st.text("aab**/?[]-!\\é.", min_size=1, max_size=8)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "-q", str(root)], check=True, env=ENVIRONMENT)
    return root


def git_ignores(repository: Path, lines: list[str], candidates: list[str]) -> set[str]:
    (repository / ".gitignore").write_bytes("\n".join(lines).encode() + b"\n")
    done = subprocess.run(
        ["git", "-C", str(repository), "-c", "core.ignoreCase=false", "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(candidates).encode() + b"\0",
        capture_output=True,
        env=ENVIRONMENT,
    )
    assert done.returncode in (0, 1), done.stderr
    return {path.decode() for path in done.stdout.split(b"\0") if path}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["a**/b", "aa**/**/b"], [])
@example(["*a*ab"], [])
@example(["**/*a*ab/**/b"], [])
@example(["[\\a-c]"], [])
@example(["a/**", "!", "/", "**", "!b"], [])
@given(
    lines=st.lists(st.tuples(st.sampled_from(["", "", "!"]), patterns).map("".join), min_size=1, max_size=5),
    others=st.lists(paths, max_size=12, unique=True),
)
def test_rules_judge_as_git_does(repository: Path, lines: list[str], others: list[str]):
    candidates = list(dict.fromkeys(EVERY + others))
    ours = Rules(split_lines("\n".join(lines).encode()), reading="git")
    theirs = git_ignores(repository, lines, candidates)
    assert {path for path in candidates if ours.excludes(path)} == theirs


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(patterns.filter(lambda line: not line.startswith("!")), min_size=1, max_size=5),
    others=st.lists(paths, max_size=12, unique=True),
)
def test_without_negation_both_readings_are_one(repository: Path, lines: list[str], others: list[str]):
    candidates = list(dict.fromkeys(EVERY + others))
    ours = Rules(split_lines("\n".join(lines).encode()))
    theirs = git_ignores(repository, lines, candidates)
    assert {path for path in candidates if ours.excludes(path)} == theirs


@pytest.mark.parametrize(
    ("lines", "path", "excluded"),
    [
        (["/*", "!/deploy"], "deploy/app.yaml", False),
        (["/*", "!/deploy"], "src/main.go", True),
        (["/*", "!/apps/prod"], "apps/prod/x.yaml", False),
        (["/*", "!/apps/prod"], "apps/dev/x.yaml", True),
        (["/*", "!/deploy", "/deploy/**/*.md"], "deploy/a/b/README.md", True),
        (["*.md", "!/docs/"], "docs/a.md", False),
    ],
)
def test_negation_speaks_for_everything_below_as_in_flux(lines: list[str], path: str, excluded: bool):
    assert Rules(lines).excludes(path) is excluded


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        (".git/config", True),
        ("apps/.gitignore", True),
        ("docs/logo.png", True),
        ("charts/app.tar.gz", True),
        (".github/workflows/ci.yaml", True),
        ("apps/.github/x.yaml", True),
        ("a/b/.sops.yaml", True),
        (".flux.yaml", True),
        ("apps/cloudbuild.yaml", True),
        ("apps/deployment.yaml", False),
        ("github/x.yaml", False),
    ],
)
def test_default_exclusions(path: str, excluded: bool):
    assert rules(None).excludes(path) is excluded


def test_spec_ignore_replaces_the_defaults_but_never_gits_own_files():
    chosen = rules("*.md")
    assert not chosen.excludes("logo.png")
    assert chosen.excludes("README.md")
    assert chosen.excludes(".gitignore")


def test_ignore_file_adds_to_the_defaults_and_spec_ignore_may_take_back():
    added = rules(None, b"\xef\xbb\xbfsecret/\r\n# comment\r\n")
    assert added.excludes("secret/x.yaml")
    assert added.excludes("logo.png")
    assert not rules("!/secret/", b"secret/\n").excludes("secret/x.yaml")


@pytest.mark.parametrize(
    "pattern", ["*a*a*a*a*a*a*a*a*a*a*b", "**/a*/**/a*/**/a*/**/a*/**/b", "a" * 100 + "*?" * 50 + "b"]
)
def test_hostile_patterns_cost_next_to_nothing(pattern: str):
    hostile = Rules([pattern, "/" + pattern])
    started = time.process_time()
    for path in ("a" * 250, "/".join(["a"] * 60), "/".join(["aaaa"] * 60) + "/" + "a" * 250):
        hostile.excludes(path)
    assert time.process_time() - started < 0.5


def test_a_pattern_file_of_megabytes_is_refused():
    with pytest.raises(Terminal, match="limit"):
        rules("a\n" * 200_000)
