"""One object of a repository, found by what people call it, and the annotations on it. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from trimtab.base.errors import Terminal
from trimtab.images.annotating import Annotated, Unfit, annotate
from trimtab.images.events import Unreadable
from trimtab.images.named import Named
from trimtab.images.nodes import objects
from trimtab.images.pauses import annotations_of
from trimtab.images.reaching import Files
from trimtab.images.workloads import workloads

POLICY: Final = "ImagePolicy"
_ASKED: Final = frozenset({POLICY})
"""Kinds beside those that run images that are meant by a name without a kind."""
_MOST_NAMED: Final = 5


class Subject(NamedTuple):
    """An object in a file."""

    path: str
    line: int
    named: Named
    annotations: Mapping[str, str]

    def __str__(self) -> str:
        return str(self.named)


def find(files: Files, named: Named, within: str = "") -> Subject:
    """The object that is called so: one that runs images, or a policy; of a kind that is named, any. Raises Terminal.

    A patch has the name of what it patches, and is not it.
    """
    found: dict[tuple[str, int], Subject] = {}
    try:
        running = workloads(files, within)
        for one in running:
            if one.fits(named):
                name = Named(one.kind, one.namespace, one.name)
                found[one.path, one.line] = Subject(one.path, one.line, name, one.annotations)
        if not found:
            for top in files.tops(within):
                for reached in files.reach(top):
                    stream = files.stream(reached.path)
                    for body in objects(stream.documents) if stream is not None else ():
                        kind = body.text("kind")
                        namespace = reached.namespace or body.text("metadata", "namespace")
                        name = Named(kind, namespace, body.text("metadata", "name"))
                        if (named.kind or kind in _ASKED) and _is(named, name):
                            subject = Subject(reached.path, body.line, name, annotations_of(body))
                            found[reached.path, body.line] = subject
    except ValueError as problem:
        raise Terminal("UpdateFailed", str(problem)) from None
    if not found:
        where = f"below {within}" if within else "in the repository"
        kinds = "" if named.kind else "; one that runs no image has to be named with its kind"
        raise Terminal("UpdateFailed", f"there is no {named} {where}{kinds}")
    if len(found) > 1:
        several = sorted(f"{subject} ({subject.path}:{subject.line})" for subject in found.values())
        more = f" and {len(several) - _MOST_NAMED} more" if len(several) > _MOST_NAMED else ""
        told = ", ".join(several[:_MOST_NAMED])
        raise Terminal("UpdateFailed", f"{named} can be {told}{more}: name its kind and namespace, or give --path")
    return next(iter(found.values()))


def annotated(files: Files, subject: Subject, wanted: Mapping[str, str | None]) -> Annotated:
    """The file of `subject` with these annotations on it. Raises Terminal."""
    try:
        return annotate(files.contents[subject.path], subject.named, wanted, line=subject.line)
    except (Unfit, Unreadable) as problem:
        line = problem.line or subject.line
        raise Terminal("UpdateFailed", f"{subject.path}:{line}: {problem}; nothing is changed") from None


def _is(named: Named, other: Named) -> bool:
    return (
        named.name == other.name
        and (not named.kind or named.kind.lower() == other.kind.lower())
        and (not named.namespace or other.namespace in ("", named.namespace))
    )
