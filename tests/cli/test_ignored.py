"""Which files of a directory commands leave out, as a source does."""

from pathlib import Path

from trimtab.cli.render.rendering import ignored


def test_the_ignore_file_of_the_root_counts_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_text("*.yaml\n")
    own = root / ".sourceignore"
    own.symlink_to(outside)
    assert not ignored(root)("web.yaml")
    own.unlink()
    own.write_text("*.yaml\n")
    assert ignored(root)("web.yaml")
