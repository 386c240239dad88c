"""Directories on disk: which files are read, that links lead nowhere, and that a file is never half written."""

import os
import stat
from pathlib import Path

import pytest

from trimtab.base.errors import Terminal
from trimtab.images import sweep as sweeping
from trimtab.images.editing import Kind
from trimtab.images.local import read, write
from trimtab.images.reference import Image
from trimtab.images.sweep import may_be_edited, sweep
from trimtab.manifests.refs import Key

TEXT = b'a: app:v1 # {"$imagepolicy": "ns:p"}\n'
WISH = {Key("ns", "p"): Image.of("app", "v2")}


def test_yaml_is_read_wherever_it_lies_and_nothing_else(tmp_path: Path) -> None:
    for name in (
        "a.yaml",
        "b/c.yml",
        "b/Kustomization",
        "b/.d/e.yaml",
        ".git/f.yaml",
        "g.json",
        "h.yaml.tpl",
        "kustomization",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TEXT)
    assert [name for name, _ in read(tmp_path)] == ["a.yaml", "b/.d/e.yaml", "b/Kustomization", "b/c.yml"]
    assert list(read(tmp_path / "a.yaml")) == [("a.yaml", TEXT)]
    assert not may_be_edited("x/Kustomization/y.json")


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "a.yaml").write_bytes(TEXT)
    (root / "file.yaml").symlink_to(outside / "a.yaml")
    (root / "directory").symlink_to(outside, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    os.mkfifo(root / "pipe.yaml")
    assert list(read(root)) == []
    with pytest.raises(OSError, match="symbolic links"):
        write(root, "file.yaml", TEXT, b"")
    assert (outside / "a.yaml").read_bytes() == TEXT


def test_a_file_keeps_its_mode_and_is_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(TEXT)
    file.chmod(0o640)
    write(tmp_path, "a.yaml", TEXT, b"new")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_what_somebody_else_wrote_meanwhile_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"theirs")
    with pytest.raises(Terminal, match="somebody else"):
        write(tmp_path, "a.yaml", TEXT, b"ours")
    assert (tmp_path / "a.yaml").read_bytes() == b"theirs"


def test_a_file_that_is_too_large_is_skipped_and_told() -> None:
    found = sweep([("big.yaml", TEXT * 300_000), ("a.yaml", TEXT)], WISH)
    assert [(path, note.kind) for path, note in found.notes()] == [("big.yaml", Kind.SKIPPED)]
    assert list(found.changed) == ["a.yaml"]


def test_more_than_can_be_looked_into_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "MOST_FILES", 2)
    with pytest.raises(Terminal, match="more than 2 files"):
        sweep([(f"{number}.yaml", TEXT) for number in range(3)], WISH)
    monkeypatch.setattr(sweeping, "MOST_CHANGED", 10)
    with pytest.raises(Terminal, match="would change at once"):
        sweep([("a.yaml", TEXT)], WISH)
