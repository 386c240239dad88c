"""What docs/validate.md and the hook say is so."""

import re
from pathlib import Path

from tests.validate.conftest import Validate
from trimtab.manifests.yaml import load

ROOT = Path(__file__).parents[2]


def test_the_example_says_what_the_page_says(validate: Validate) -> None:
    page = (ROOT / "docs" / "validate.md").read_text()
    manifest, said = re.findall(r"```(?:yaml)?\n(.*?)```", page, re.DOTALL)[:2]
    found = validate({"shop/web.yaml": manifest}, "-o", "text")
    assert said.splitlines()[1:] == [*found.out.splitlines(), *found.err.splitlines()]
    assert found.code == 2


def test_the_hook_judges_the_whole_of_where_it_is(validate: Validate) -> None:
    (document,) = load((ROOT / ".pre-commit-hooks.yaml").read_bytes(), "hooks", dialect="kubernetes")
    (hook,) = document.value
    command, name, *options = hook["entry"].split()
    assert (command, name, hook["pass_filenames"]) == ("trimtab", "validate", False)
    bad = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndota: {}\n"
    found = validate({"deep/down/a.yaml": bad}, *options, *hook["args"])
    assert found.findings == [("unknown-field", "deep/down/a.yaml", 4)]
    pattern = re.compile(hook["files"])
    assert [one for one in ("a.yaml", "x/b.yml", "app/Kustomization", "c.py") if pattern.search(one)] == [
        "a.yaml",
        "x/b.yml",
        "app/Kustomization",
    ]
