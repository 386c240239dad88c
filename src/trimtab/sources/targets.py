"""What of a repository is followed, and which commit that is among the references a server lists. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from trimtab.api.source import DEFAULT_BRANCH, GitRef
from trimtab.base.errors import Terminal
from trimtab.manifests.semver import Constraint, latest
from trimtab.remotes.git.names import check_commit, check_ref

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Branch:
    """The tip of a branch."""

    name: str


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag."""

    name: str


@dataclass(frozen=True, slots=True)
class Semver:
    """The highest tag in a range of versions."""

    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """The tip of any reference, by its full name."""

    name: str


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; the branch it is on, for servers that hand out nothing by id."""

    id: str
    branch: str


Target: TypeAlias = Branch | Tag | Semver | Name | Commit


class Head(NamedTuple):
    """What a target is now: `revision` as Flux writes it, the commit, and the full reference it was found under.

    `tag` is the id of the annotated tag that points to the commit, if one does.
    """

    revision: str
    commit: str
    ref: str
    tag: str = ""

    def moved(self, commit: str) -> "Head":
        """The same target, at another commit."""
        return Head(self.revision.removesuffix(self.commit) + commit, commit, self.ref, self.tag)


def target_of(ref: GitRef | None) -> Target:
    """What `spec.ref` asks for: commit before name before semver before tag before branch. Raises Terminal."""
    if ref is None:
        return Branch(DEFAULT_BRANCH)
    try:
        if ref.commit:
            if ref.branch:
                _short(ref.branch, "refs/heads/")
            return Commit(check_commit(ref.commit), ref.branch)
        if ref.name:
            if not ref.name.startswith("refs/") and ref.name != "HEAD":
                raise ValueError(f"{ref.name!a} is not a full name, such as refs/heads/{DEFAULT_BRANCH}")
            return Name(check_ref(ref.name))
        if ref.semver:
            Constraint.parse(ref.semver)
            return Semver(ref.semver)
        if ref.tag:
            return Tag(_short(ref.tag, "refs/tags/"))
        return Branch(_short(ref.branch or DEFAULT_BRANCH, "refs/heads/"))
    except ValueError as failure:
        raise Terminal("URLInvalid", f"spec.ref is refused: {failure}") from failure


def prefixes(target: Target) -> tuple[str, ...]:
    """Which references a server has to list to find `target`; none for a commit, which needs no look."""
    match target:
        case Branch(name):
            return (f"refs/heads/{name}",)
        case Tag(name):
            return (f"refs/tags/{name}",)
        case Semver():
            return ("refs/tags/",)
        case Name(name):
            return (name,)
        case Commit():
            return ()


def neighbours(target: Target) -> tuple[str, ...]:
    """Which references to list to tell what there is instead of `target`."""
    match target:
        case Branch():
            return ("refs/heads/",)
        case Tag() | Semver():
            return ("refs/tags/",)
        case _:
            return ("refs/heads/", "refs/tags/")


def pick(target: Target, ids: Mapping[str, str]) -> Head | None:
    """Find `target` among the ids by full reference name (`name^{}`: peeled). None if it is not there."""
    match target:
        case Branch(name):
            return _head(f"refs/heads/{name}", name, ids)
        case Tag(name):
            return _head(f"refs/tags/{name}", name, ids)
        case Name(name):
            return _head(name, name, ids)
        case Semver(text):
            name = latest(_names(ids, "refs/tags/"), Constraint.parse(text)) or ""
            return _head(f"refs/tags/{name}", name, ids) if name else None
        case Commit(commit, branch):
            revision = f"{branch}@sha1:{commit}" if branch else f"sha1:{commit}"
            return Head(revision, commit, f"refs/heads/{branch}" if branch else "")


def missing(target: Target, ids: Mapping[str, str]) -> str:
    """Say that `target` is not there, and what is."""
    name, what, there = "", "nothing found", list[str]()
    match target:
        case Branch(name):
            what, there = f"branch {name!r} not found", _names(ids, "refs/heads/")
        case Tag(name):
            what, there = f"tag {name!r} not found", _names(ids, "refs/tags/")
        case Semver(name):
            what, there = f"no tag is a version in {name!r}", _names(ids, "refs/tags/")
        case Name(name):
            what, there = f"reference {name!r} not found", _names(ids, "")
        case Commit():
            what = f"commit {target.id!r} not found"
    if not there:
        return f"{what}; the remote has none like it"
    close = difflib.get_close_matches(name, there, _SHOWN, 0.5)
    shown = list(dict.fromkeys([*close, *there]))[:_SHOWN]
    more = f" and {len(there) - len(shown)} more" if len(there) > len(shown) else ""
    return f"{what}; the remote has {', '.join(shown)}{more}"


def _head(ref: str, shown: str, ids: Mapping[str, str]) -> Head | None:
    peeled = ids.get(f"{ref}^{{}}")
    commit = peeled or ids.get(ref)
    return Head(f"{shown}@sha1:{commit}", commit, ref, ids.get(ref, "") if peeled else "") if commit else None


def _names(ids: Iterable[str], prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in ids if name.startswith(prefix) and not name.endswith("^{}")]


def _short(name: str, prefix: str) -> str:
    check_ref(prefix + name)
    return check_ref(name)
