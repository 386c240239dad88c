"""`trimtab images`: choices and edits offline, in both forms, and what the exit code says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import Done, called

POLICY = """apiVersion: image.toolkit.fluxcd.io/v1
kind: ImagePolicy
metadata: {name: shop, namespace: flux-system}
spec:
  imageRepositoryRef: {name: shop}
  policy: {semver: {range: 1.x}}
"""
REPOSITORY = """---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: shop, namespace: flux-system}
spec: {image: ghcr.io/acme/shop, interval: 1m, exclusionList: ['^1\\.9']}
"""
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  template:
    spec:
      containers:
      - name: app
        image: ghcr.io/acme/shop:1.4.1 # {"$imagepolicy": "flux-system:shop"}
"""
DIGEST = "sha256:" + "0123456789abcdef" * 4
NEW = "ghcr.io/acme/shop:1.4.2"
SET = ("--set", f"flux-system:shop={NEW}")


def images(*arguments: object, cwd: Path, stdin: str = "") -> Done:
    return called("images", *arguments, cwd=cwd, stdin=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "cart.yaml").write_text(DEPLOYMENT)
    return tmp_path


def choose(files: Path, tags: str, *more: str, policy: str = POLICY) -> Done:
    (files / "policy.yaml").write_text(policy)
    return images("choose", "--policy", "policy.yaml", "--tags", "-", *more, cwd=files, stdin=tags)


def test_a_choice_is_told_with_its_candidates_and_what_was_dropped(files: Path) -> None:
    done = choose(files, "1.4.1\n1.4.2\n2.0.0\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "flux-system/shop: 1.4.2",
        "the highest version in 1.x, of 2 that are left of 3 tags; next 1.4.1",
    ]
    assert "'2.0.0' is not in the range 1.x" in done.stdout


def test_json_has_every_tag_with_its_reason(files: Path) -> None:
    done = choose(files, json.dumps({"Repository": "r", "Tags": ["1.4.1", "latest", "1.9.0"]}), "-o", "json",
                  policy=POLICY + REPOSITORY)  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["policy"], told["tag"], told["digestReflectionPolicy"]) == ("flux-system/shop", "1.4.1", "Never")
    assert told["candidates"] == [{"tag": "1.4.1", "value": "1.4.1"}]
    assert [(one["tag"], one["by"]) for one in told["dropped"]] == [
        ("1.9.0", "spec.exclusionList"),
        ("latest", "spec.policy"),
    ]


def test_signatures_are_left_out_where_no_repository_says_otherwise(files: Path) -> None:
    alphabetical = POLICY.replace("semver: {range: 1.x}", "alphabetical: {}")
    told = json.loads(choose(files, "sha256-aa.sig\na\n", "-o", "json", policy=alphabetical).stdout)
    assert (told["tag"], told["dropped"][0]["by"]) == ("a", "spec.exclusionList")


def test_no_tag_that_fits_is_told_by_the_exit_code(files: Path) -> None:
    done = choose(files, "2.0.0\n")
    assert done.returncode == 2
    assert done.stdout.startswith("flux-system/shop: no tag\nnone of 1 tags is left")
    assert choose(files, "").returncode == 2


def test_the_newest_image_is_chosen_by_the_times_beside_the_tags(files: Path) -> None:
    newest = POLICY.replace("flux-system}", "flux-system, annotations: {trimtab.dev/policy: newest}}")
    newest = newest.replace("semver: {range: 1.x}", "")
    tags = "a 2026-01-02T00:00:00Z\nb 2026-01-01T23:00:00.123456789-02:00 # later\nc\nd 1970-01-01T00:00:00Z\n"
    done = choose(files, tags, "-o", "json", policy=newest)
    assert json.loads(done.stdout)["tag"] == "b"
    assert [one["tag"] for one in json.loads(done.stdout)["dropped"]] == ["c", "d"]
    listed = json.dumps([{"tag": "a", "created": "2026-01-02T00:00:00Z"}, {"name": "b"}])
    assert choose(files, listed, policy=newest).stdout.startswith("flux-system/shop: a\n")


def test_the_older_version_of_the_kind_is_read_as_well(files: Path) -> None:
    assert choose(files, "1.0.0", policy=POLICY.replace("/v1", "/v1beta2")).returncode == 0
    assert "v1beta1 is not served" in choose(files, "1.0.0", policy=POLICY.replace("/v1", "/v1beta1")).stderr


@pytest.mark.parametrize(
    ("policy", "tags", "words"),
    [
        (POLICY.replace("policy: {semver", "polcy: {semver"), "1.0.0", "spec.polcy, which means nothing"),
        (POLICY.replace("range", "ranges"), "1.0.0", "spec.policy.semver.ranges, which means nothing"),
        (POLICY.replace("1.x", "1x"), "1.0.0", "spec.policy.semver.range: '1x' is not a semver range"),
        (POLICY.replace("{semver: {range: 1.x}}", "{}"), "1.0.0", "spec.policy says nothing"),
        (POLICY + "---\n" + POLICY, "1.0.0", "holds 2 ImagePolicy objects"),
        ("a: 1", "1.0.0", "object has no apiVersion"),
        (POLICY, "a b c", "standard input: line 1: expected a tag"),
        (POLICY, "a yesterday", "'yesterday', of 'a', is not a time"),
        (POLICY, "[1]", "[0] is neither a tag"),
        (POLICY, '{"x": []}', "expected a list of tags"),
        (POLICY, "[", "it is not JSON"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(files: Path, policy: str, tags: str, words: str) -> None:
    done = choose(files, tags, policy=policy)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


def test_an_image_is_written_where_its_policy_is_named(files: Path) -> None:
    done = images("edit", ".", *SET, cwd=files)
    assert done.returncode == 0, done.stderr
    assert (files / "apps" / "cart.yaml").read_text() == DEPLOYMENT.replace("1.4.1", "1.4.2")
    assert "apps/cart.yaml:9" in done.stdout
    assert "apps/v1/Deployment/shop/cart" in done.stdout
    assert "flux-system:shop" in done.stdout
    again = images("edit", "apps/cart.yaml", *SET, cwd=files)
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to change" in again.stderr


def test_json_tells_changes_notes_and_what_nobody_marks(files: Path) -> None:
    (files / "apps" / "template.yaml").write_text('{{ if x }}\na: b # {"$imagepolicy": "flux-system:shop"}\n')
    more = (*SET, "--set", "flux-system:other=a:1", "--workload", "shop/none=a:1", "-o", "json")
    done = images("edit", "apps", *more, cwd=files)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["written"] is True
    assert told["changes"] == [
        {"file": "apps/cart.yaml", "line": 9, "object": "apps/v1/Deployment/shop/cart",
         "path": "spec.template.spec.containers[0].image", "old": "ghcr.io/acme/shop:1.4.1", "new": NEW,
         "setter": "flux-system:shop"}
    ]  # fmt: skip
    assert [(note["file"], note["kind"]) for note in told["notes"]] == [("apps/template.yaml", "skipped")]
    assert told["unused"] == ["flux-system:other", "shop/none"]


def test_a_dry_run_is_a_diff_that_git_applies(files: Path) -> None:
    file = files / "apps" / "cart.yaml"
    text = b"\xef\xbb\xbf" + DEPLOYMENT.replace("\n", "\r\n").encode().removesuffix(b"\r\n")
    file.write_bytes(text)
    command = [sys.executable, "-m", "trimtab.cli.main", "images", "edit", ".", *SET, "--dry-run"]
    done = subprocess.run(command, cwd=files, capture_output=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert file.read_bytes() == text
    assert b"\n\\ No newline at end of file\n" in done.stdout
    subprocess.run(["git", "apply", "-p1"], cwd=files, input=done.stdout, check=True, timeout=60)
    assert file.read_bytes() == text.replace(b"1.4.1", b"1.4.2")
    assert images("edit", ".", *SET, "--dry-run", cwd=files).returncode == 0


def test_places_without_markers_are_named_by_options(files: Path) -> None:
    (files / "kustomization.yaml").write_text("images: [{name: cart, newName: a, newTag: v1}]\n")
    done = images("edit", ".", "--workload", f"Deployment/shop/cart:app={NEW}@{DIGEST}", "--kustomize", "cart=b:v2",
                  cwd=files)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{NEW}@{DIGEST}" in (files / "apps" / "cart.yaml").read_text()
    assert (files / "kustomization.yaml").read_text() == "images: [{name: cart, newName: b, newTag: v2}]\n"


def test_markers_of_other_policies_are_told_with_file_and_line(files: Path) -> None:
    (files / "apps" / "other.yaml").write_text('a: b:1 # {"$imagepolicy": "flux-system:other"}\n' * 30)
    done = images("edit", ".", *SET, cwd=files)
    assert done.returncode == 0
    assert "! apps/other.yaml:1: the marker is of the policy flux-system/other" in done.stderr
    assert "… and 10 more" in done.stderr


def test_what_cannot_be_written_is_an_error_and_the_rest_is_written(files: Path) -> None:
    (files / "apps" / "alias.yaml").write_text('a: &x b:1\nc: *x # {"$imagepolicy": "flux-system:shop"}\n')
    done = images("edit", ".", *SET, cwd=files)
    assert done.returncode == 1
    assert "✗ apps/alias.yaml:2: the marker marks an alias of x" in done.stderr
    assert "1.4.2" in (files / "apps" / "cart.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to write: give --set"),
        (("--set", "shop=a:1"), "--set wants NAMESPACE:POLICY=IMAGE:TAG"),
        (("--set", "a:b"), "--set wants NAMESPACE:POLICY=IMAGE:TAG"),
        (("--set", "a:b:tag=a:1"), "--set wants NAMESPACE:POLICY=IMAGE:TAG"),
        (("--set", "a:b=app"), "names no tag"),
        (("--set", "a:b=app:v1\n# x"), "is not a tag"),
        (("--set", 'a:b=app:"v1"'), "is not a tag"),
        (("--set", f"a:b=app:{'x' * 10_000}"), "is not a tag"),
        (("--set", "a:b=a:1", "--set", "a:b=a:2"), "given twice for a:b"),
        (("--workload", "a/b/c/d=a:1"), "--workload wants"),
        (("--kustomize", "=a:1"), "--kustomize wants"),
    ],
)
def test_bad_options_write_nothing(files: Path, arguments: tuple[str, ...], words: str) -> None:
    done = images("edit", ".", *arguments, cwd=files)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert (files / "apps" / "cart.yaml").read_text() == DEPLOYMENT


def test_a_link_is_no_way_out_of_the_directory(files: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(DEPLOYMENT)
    (files / "apps" / "link.yaml").symlink_to(outside)
    assert images("edit", "apps", *SET, cwd=files).returncode == 0
    assert outside.read_text() == DEPLOYMENT


@pytest.mark.parametrize("command", ["choose", "edit"])
def test_the_help_has_examples(command: str, tmp_path: Path) -> None:
    done = images(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"trimtab images {command} " in done.stdout
    assert "Exit code 0" in done.stdout
