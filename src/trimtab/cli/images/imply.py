"""What `trimtab images imply` does: the objects that annotations of Flux v1 stand for, from files on disk."""

from pathlib import Path

import click

from trimtab.base.durations import parse_duration
from trimtab.base.logs import escape
from trimtab.cli.connect import Code, Failure
from trimtab.images import local
from trimtab.images.implying import objects_for
from trimtab.images.reaching import Files
from trimtab.images.workloads import workloads
from trimtab.manifests.emit import to_yaml


async def implied(path: Path, namespace: str, interval: str) -> int:
    """Print them, and return the exit code."""
    try:
        parse_duration(interval)
        files = Files(dict(local.read(path.resolve())))
        made = objects_for(workloads(files), namespace, interval)
    except ValueError as problem:
        raise Failure(Code.WRONG, str(problem)) from None
    for note in made.notes:
        click.echo(f"! {escape(note)}", err=True)
    for body in made.bodies:
        click.echo("---")
        click.echo(to_yaml(body), nl=False)
    return Code.OK if made.bodies else Code.DIFFERS
