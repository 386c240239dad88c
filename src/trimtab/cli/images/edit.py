"""What `trimtab images edit` does: wishes from options, edits of files on disk, and what is told about them."""

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import click

from trimtab.base.logs import escape
from trimtab.cli.connect import Code, Failure
from trimtab.cli.output import document, say, table
from trimtab.images import local
from trimtab.images.editing import Kind, Wish
from trimtab.images.places import InKustomization, InWorkload
from trimtab.images.reference import Image
from trimtab.images.sweep import Sweep, sweep
from trimtab.manifests.refs import Key

W = TypeVar("W", bound=Wish)

_MOST_NOTES = 20


def wishes_of(policies: tuple[str, ...], workloads: tuple[str, ...], entries: tuple[str, ...]) -> dict[Wish, Image]:
    """What the options ask for. Raises Failure."""
    found: dict[Wish, Image] = {}
    for option, given, read in (
        ("--set", policies, _key),
        ("--workload", workloads, _workload),
        ("--kustomize", entries, _entry),
    ):
        for text in given:
            wish, image = _wish(option, text, read)
            if found.setdefault(wish, image) != image:
                raise Failure(Code.WRONG, f"{option} is given twice for {_label(wish)}, with two images")
    if not found:
        raise Failure(Code.WRONG, "nothing to write: give --set NAMESPACE:POLICY=IMAGE:TAG, --workload or --kustomize")
    return found


async def edited(path: Path, wishes: Mapping[Wish, Image], *, dry_run: bool, output: str) -> int:
    """Edit what is at `path`, print, and return the exit code."""
    root = path.resolve()
    result = sweep(local.read(root), wishes)
    if not dry_run:
        for name, data in result.changed.items():
            local.write(root, name, result.originals[name], data)
    shown = _named_as_given(result, path)
    if output == "json":
        click.echo(document(_json(shown, written=not dry_run), "json"))
    elif dry_run:
        for name, data in shown.changed.items():
            _print("".join(_diff(name, shown.originals[name], data)))
    elif shown.changes:
        rows = [
            (f"{name}:{one.line}", one.object, one.path, one.old, one.new, one.setter) for name, one in shown.changes
        ]
        click.echo(table(("PLACE", "OBJECT", "FIELD", "OLD", "NEW", "BY"), rows))
    complete = _tell(shown, path)
    if not complete:
        return Code.WRONG
    return Code.DIFFERS if dry_run and result.changes else Code.OK


def _named_as_given(result: Sweep, path: Path) -> Sweep:
    """`result` with its files named from where the command was given, as editors and git find them."""

    def name(below: str) -> str:
        return (path / below if path.is_dir() else path).as_posix()

    return result._replace(
        edited={name(below): one for below, one in result.edited.items()},
        originals={name(below): data for below, data in result.originals.items()},
    )


def _wish(option: str, text: str, read: Callable[[str], W | None]) -> tuple[W, Image]:
    target, separator, image = text.partition("=")
    wish = read(target) if separator else None
    if wish is None:
        raise Failure(Code.WRONG, f"{option} wants {_FORMS[option]}; it was given {text[:200]!r}")
    try:
        return wish, Image.parse(image)
    except ValueError as problem:
        raise Failure(Code.WRONG, f"{option} {target}: {problem}") from None


_FORMS = {
    "--set": "NAMESPACE:POLICY=IMAGE:TAG[@DIGEST]",
    "--workload": "[KIND/][NAMESPACE/]NAME[:CONTAINER]=IMAGE:TAG[@DIGEST]",
    "--kustomize": "NAME=IMAGE:TAG[@DIGEST]",
}


def _key(text: str) -> Wish | None:
    namespace, _, name = text.partition(":")
    return Key(namespace, name) if namespace and name and ":" not in name else None


def _workload(text: str) -> Wish | None:
    """KIND begins with a capital letter, so that KIND/NAME and NAMESPACE/NAME are told apart."""
    named, _, container = text.partition(":")
    *before, name = named.split("/")
    kind = before.pop(0) if before and before[0][:1].isupper() else ""
    namespace = before.pop(0) if before else ""
    return InWorkload(kind, namespace, name, container) if name and not before else None


def _entry(text: str) -> Wish | None:
    return InKustomization(text) if text else None


def _label(wish: Wish) -> str:
    return ":".join(wish) if isinstance(wish, Key) else str(wish)


def _json(result: Sweep, *, written: bool) -> dict[str, object]:
    return {
        "written": written,
        "changes": [{"file": name, **change._asdict()} for name, change in result.changes],
        "notes": [
            {"file": name, "line": note.line, "kind": str(note.kind), "text": note.text}
            for name, note in result.notes()
        ],
        "unused": [_label(wish) for wish in result.unused],
    }


def _tell(result: Sweep, path: Path) -> bool:
    """Say on stderr what else there is to know. Returns whether everything that was asked for could be done."""
    refused = result.notes(Kind.REFUSED, Kind.PAUSED)
    for name, note in refused:
        say("✗", f"{name}:{note.line}: {note.text}")
    for wish in result.unused:
        what = (
            f'there is no marker # {{"$imagepolicy": "{_label(wish)}"}}' if isinstance(wish, Key) else "it is not found"
        )
        say("✗", f"{_label(wish)}: {what} below {path}")
    others = [one for one in result.notes() if one not in refused]
    for name, note in others[:_MOST_NOTES]:
        place = f"{name}:{note.line}" if note.line else name
        click.echo(f"! {escape(place)}: {escape(note.text)}", err=True)
    if len(others) > _MOST_NOTES:
        click.echo(f"! … and {len(others) - _MOST_NOTES:,} more (-o json tells them all)", err=True)
    if not result.changes and not refused and not result.unused:
        say("✔", "all is as asked: nothing to change")
    return not refused and not result.unused


def _diff(name: str, before: bytes, after: bytes) -> Iterator[str]:
    """A unified diff that git and patch apply; bytes that are no text are kept by surrogates."""
    old, new = (data.decode(errors="surrogateescape").split("\n") for data in (before, after))
    old, new = (_lines(lines) for lines in (old, new))
    for line in difflib.unified_diff(old, new, f"a/{name.lstrip('/')}", f"b/{name.lstrip('/')}"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(parts: list[str]) -> list[str]:
    """Lines with their ends, as diff counts them: a line ends at a line feed and nowhere else."""
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _print(text: str) -> None:
    """As it is for programs; on a terminal without what could take it over."""
    if sys.stdout.isatty():
        for line in text.splitlines():
            click.secho(escape(line), fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))
        return
    sys.stdout.buffer.write(text.encode(errors="surrogateescape"))
    sys.stdout.buffer.flush()
