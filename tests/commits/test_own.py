"""A person's own git, by a clone of theirs."""

import subprocess
from pathlib import Path

import pytest

from trimtab.commits.own import Clone, Own


async def test_what_a_clone_is_set_to_is_taken_as_often_and_in_the_order_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[credential]\nhelper = store\n")
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "-q", clone], check=True)
    for name, value in (
        ("credential.helper", ""),
        ("credential.helper", "cache"),
        ("url.https://git.example/.insteadOf", "one:"),
        ("url.https://git.example/.insteadOf", "two:"),
    ):
        subprocess.run(["git", "-C", clone, "config", "--add", name, value], check=True)
    own = Own("one:apps", settings=(await Clone.at(clone)).settings)
    async with own.git() as (git, _):
        helpers = (await git.run("config", ["--get-all", "credential.helper"])).decode().splitlines()
        places = (await git.run("config", ["--get-all", "url.https://git.example/.insteadOf"])).decode().splitlines()
    assert helpers[-2:] == ["", "cache"], "store, which writes passwords down, is not asked"
    assert places == ["one:", "two:"]
