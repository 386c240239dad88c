"""The message of a commit: from the template of an automation, over what was changed, with trailers that say why.

The data are those that Flux documents: `.AutomationObject`, `.Changed` with `.FileChanges`, `.Objects` and `.Changes`,
and `.Values`. What Flux had before and took away is told apart, since templates of old still ask for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trimtab.images.editing import Change
from trimtab.images.templates.errors import TemplateError
from trimtab.images.templates.execute import execute, parse
from trimtab.images.templates.tree import Action, Block, Command, Dot, Group, If, Pipe, Range, Variable
from trimtab.images.templates.values import Record
from trimtab.manifests.refs import Key

DEFAULT: Final = "Update from image update automation"


class RemovedField(TemplateError):
    """The template asks for something that is not there any more."""


class Message(NamedTuple):
    """A template, understood."""

    template: Block

    @classmethod
    def of(cls, template: str) -> "Message":
        """Read `template`; an empty one is Flux's default text. Raises TemplateError, RemovedField."""
        found = cls(parse(template or DEFAULT))
        for fields, line in _asked(found.template, narrowed=False):
            if fields[:1] == ("Updated",) or fields[:2] == ("Changed", "ImageResult"):
                gone = fields[:1] if fields[0] == "Updated" else fields[:2]
                raise RemovedField(
                    line,
                    f".{'.'.join(gone)} was removed: write .Changed.FileChanges, .Changed.Objects or "
                    ".Changed.Changes, as docs/automation.md shows",
                )
        return found

    def written(self, automation: Key, changes: Sequence[tuple[str, Change]], values: Mapping[str, str]) -> str:
        """The text for `changes`, each with its file: blanks at the ends of lines and of the text are gone.

        Raises TemplateError, also if nothing is left.
        """
        text = execute(self.template, _data(automation, changes, values)).replace("\0", "")
        lines = [line.rstrip() for line in text.replace("\r", "").split("\n")]
        message = "\n".join(lines).strip("\n")
        if not message:
            raise TemplateError(1, "makes an empty message, which git does not take")
        return message


def _data(automation: Key, changes: Iterable[tuple[str, Change]], values: Mapping[str, str]) -> Record:
    files: dict[str, dict[Record, tuple[Record, ...]]] = {}
    objects: dict[Record, tuple[Record, ...]] = {}
    flat: list[Record] = []
    for path, change in changes:
        subject = _object(change.object)
        told = (("OldValue", change.old), ("NewValue", change.new), ("Setter", change.setter))
        record = Record("change", told)
        in_file = files.setdefault(path, {})
        in_file[subject] = (*in_file.get(subject, ()), record)
        objects[subject] = (*objects.get(subject, ()), record)
        flat.append(record)
    named = Record("name", (("Namespace", automation.namespace), ("Name", automation.name)), str(automation))
    result: tuple[tuple[str, Any], ...] = (("FileChanges", files), ("Objects", objects), ("Changes", tuple(flat)))
    fields = (("AutomationObject", named), ("Changed", Record("result", result)), ("Values", dict(values)))
    return Record("template", fields)


def _object(identity: str) -> Record:
    """apiVersion/kind/namespace/name, as far as the manifest says them."""
    parts = identity.split("/")
    at = next((number for number, part in enumerate(parts) if part[:1].isupper()), len(parts))
    version, kind, rest = "/".join(parts[:at]), "".join(parts[at : at + 1]), parts[at + 1 :]
    namespace, name = (rest[0], rest[1]) if len(rest) > 1 else ("", "".join(rest))
    fields = (("APIVersion", version), ("Kind", kind), ("Name", name), ("Namespace", namespace))
    return Record("object", fields)


def _asked(block: Block, *, narrowed: bool) -> Iterable[tuple[tuple[str, ...], int]]:
    """The fields of the data that are asked for, with their lines. `narrowed`: there `.` is something else."""
    for node in block:
        match node:
            case Action(pipe):
                yield from _of_pipe(pipe, narrowed=narrowed)
            case If(pipe, narrows, body, otherwise):
                yield from _of_pipe(pipe, narrowed=narrowed)
                yield from _asked(body, narrowed=narrowed or narrows)
                yield from _asked(otherwise, narrowed=narrowed)
            case Range(pipe, body, otherwise):
                yield from _of_pipe(pipe, narrowed=narrowed)
                yield from _asked(body, narrowed=True)
                yield from _asked(otherwise, narrowed=narrowed)


def _of_pipe(pipe: Pipe, *, narrowed: bool) -> Iterable[tuple[tuple[str, ...], int]]:
    for command in pipe.commands:
        yield from _of_command(command, narrowed=narrowed)


def _of_command(command: Command, *, narrowed: bool) -> Iterable[tuple[tuple[str, ...], int]]:
    for operand in command.operands:
        match operand:
            case Dot(line, fields) if not narrowed:
                yield fields, line
            case Variable(line, "$", fields):
                yield fields, line
            case Group(_, inner, _):
                yield from _of_pipe(inner, narrowed=narrowed)
