"""The policies that annotations of Flux v1 stand for: by our own rules, they choose what the annotations choose."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.cli.main import cli
from trimtab.images.choosing import Rules
from trimtab.images.implied import read
from trimtab.images.implying import objects_for
from trimtab.images.reaching import Files
from trimtab.images.workloads import workloads

TAGS = ["1.4.0", "1.4.9", "2.0.0", "latest", "main-1", "main-2", "2.0.0.sig"]
CREATED = {tag: datetime(2026, 1, day, tzinfo=UTC) for day, tag in enumerate(TAGS, 1)}
POD = "kind: Pod\nmetadata: {name: %s, annotations: {fluxcd.io/automated: 'true', a/b: c%s}}\n"
POD += "spec: {containers: [{name: app, image: '%s'}]}\n"


def pod(name: str, image: str = "acme/app:1.4.0", more: str = "") -> str:
    return POD % (name, more and f", {more}", image)


@pytest.mark.parametrize(
    "pattern", ["semver:~1.4", "glob:main-*", "main-1*", "regexp:^main", "regex:[.]0$", "glob:latest", "glob:*"]
)
def test_an_object_chooses_what_the_annotation_chooses(pattern: str) -> None:
    files = {"a.yaml": pod("a", more=f"filter.fluxcd.io/app: '{pattern}'").encode()}
    repository, policy = objects_for(workloads(Files(files)), "ns", "5m").bodies
    read_policy = msgspec.convert(policy, ImagePolicy)
    exclusions = msgspec.convert(repository, ImageRepository).spec.exclusions
    chosen = Rules.of(read_policy, exclusions=exclusions, created=CREATED).choose(TAGS).tag
    said = read({"filter.fluxcd.io/app": pattern}, ["app"]).of("app")
    assert said is not None
    assert chosen == said.rules(CREATED).choose([tag for tag in TAGS if not tag.endswith(".sig")]).tag


def test_images_are_told_once_and_what_needs_a_person_is_told() -> None:
    texts = [pod("a"), pod("b", "docker.io/acme/app:1"), pod("c", "ghcr.io/other/app:1")]
    texts += [pod("d", more="filter.fluxcd.io/app: 'semver:*'"), pod("e", more="filter.fluxcd.io/app: 'semver:one'")]
    texts += [pod("f", "x/y:1").replace("'true'", "'false', filter.fluxcd.io/app: glob:1")]
    made = objects_for(workloads(Files({"a.yaml": "---\n".join(texts).encode()})), "ns", "5m")
    assert [(body["kind"], body["metadata"]["name"]) for body in made.bodies] == [
        ("ImageRepository", "app"),
        ("ImagePolicy", "app"),
        ("ImagePolicy", "app-2"),
        ("ImageRepository", "other-app"),
        ("ImagePolicy", "other-app"),
    ]
    assert len(made.notes) == 3
    assert "nothing follows" in made.notes[0]
    assert "it is not automated" in made.notes[1]
    assert "acme/app is filtered in 2 ways (glob:*: Pod/a:app, Pod/b:app; semver:*: Pod/d:app)" in made.notes[2]


def test_the_command_prints_them_or_says_that_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    done = CliRunner().invoke(cli, ["images", "imply", str(tmp_path), "-n", "ns"])
    assert (done.exit_code, done.stdout.count("---\n")) == (0, 2)
    assert "namespace: ns" in done.stdout
    (tmp_path / "a.yaml").write_text(pod("a").replace("'true'", "'false'"))
    assert CliRunner().invoke(cli, ["images", "imply", str(tmp_path)]).exit_code == 2
    assert CliRunner().invoke(cli, ["images", "imply", str(tmp_path), "--interval", "soon"]).exit_code == 1
