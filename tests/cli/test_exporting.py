"""What is exported, as files."""

from pathlib import Path

from trimtab.cli import exporting


def test_names_that_are_too_long_for_files_are_cut_and_told_apart(tmp_path: Path) -> None:
    names = ["a" * 253, "a" * 252 + "b"]
    bodies = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in names]
    assert exporting.write(tmp_path / "out", bodies, split=False, secrets="omit") == 3
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(found) == 3
    assert all(len(name) < 255 for name in found)
