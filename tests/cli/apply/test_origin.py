"""Where `trimtab apply` takes an app from, where that is a directory on this machine."""

import json
import os
from pathlib import Path

from tests.cli.preview.test_preview import config_map, git
from trimtab.cli.apply.origin import Build, Local
from trimtab.cli.render.rendering import Recipe
from trimtab.render.variables import Variables


async def test_files_that_look_like_a_repository_of_their_own_run_nothing(tmp_path: Path) -> None:
    root = tmp_path / "part"
    git(tmp_path, "init", "--quiet", "--bare", str(root))
    (root / "app.yaml").write_text(json.dumps(config_map()))
    (root / ".gitattributes").write_text("* filter=odd\n")
    git(root, "config", "core.bare", "false")
    git(root, "config", "core.worktree", str(root))
    git(root, "--git-dir", ".", "add", "app.yaml")
    git(root, "config", "filter.odd.clean", f"touch '{tmp_path}/owned'; cat")
    # of the same size and another time, so that git has to look into it
    os.utime(root / "app.yaml", (0, 0))
    recipe = Recipe(None, root, (), (), True, (), ())
    place = await Local(root, Build(recipe, None, Variables(), None)).look()
    assert place.revision == ""
    assert not (tmp_path / "owned").exists()
