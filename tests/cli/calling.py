"""The command, called in this process: one of its own costs most of a second of a core."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner

from trimtab.cli.main import cli


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def called(
    *arguments: object, cwd: Path | None = None, stdin: str = "", env: Mapping[str, str | None] | None = None
) -> Done:
    """`trimtab` with `arguments`; what it should have caught is raised here."""
    with contextlib.chdir(cwd or Path.cwd()):
        runner = CliRunner(env=env, catch_exceptions=False)
        done = runner.invoke(cli, [*map(str, arguments)], input=stdin, prog_name="trimtab")
    return Done(done.exit_code, done.stdout, done.stderr)
