"""Which artifacts a generator makes, and by which steps: its rules checked, and its pattern of directories filled in.

Pure. What is wrong with the object itself is ValidationFailed; what a source turns out to hold is BuildFailed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from trimtab.api.generator import MOST_COPIES, ArtifactGeneratorSpec, Output
from trimtab.api.names import Reason
from trimtab.artifacts.recipe import Step
from trimtab.artifacts.tree import Tree
from trimtab.base.errors import Terminal

MOST: Final = 2_000
"""So many artifacts one generator makes: each is a line of its status."""
MOST_LOOKS: Final = 20_000_000
"""So many files are looked at for all artifacts of one generator: a minute or so of work."""
MOST_MORE: Final = 20_000
"""So many more patterns than are written all braces of one generator may stand for: each takes a millisecond."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LONGEST_NAME: Final = 253
_LABEL_VALUE = re.compile(r"[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?", re.ASCII)
_CAPTURE = re.compile(r"[A-Za-z]([A-Za-z0-9_]{0,61}[A-Za-z0-9])?", re.ASCII)
_PATTERN = re.compile(r"@([a-z0-9](?:[a-z0-9_-]*[a-z0-9])?)/(.*)", re.DOTALL)


class Wanted(NamedTuple):
    """One artifact to make. `revision` and `origin` are aliases of sources; `found` says where the pattern found it."""

    name: str
    steps: tuple[Step, ...]
    revision: str
    origin: str
    labels: Mapping[str, str]
    found: str = ""


class _Text(NamedTuple):
    """A part of a directory's name that is as it is."""

    text: str


class _Capture(NamedTuple):
    """A part of a directory's name that is captured."""

    name: str


def check(spec: ArtifactGeneratorSpec) -> None:
    """Raise Terminal (ValidationFailed) for what makes no sense whatever the sources hold."""
    aliases: set[str] = set()
    for source in spec.sources:
        if source.alias in aliases:
            raise _invalid(f"the alias {source.alias!a} is there twice among spec.sources")
        aliases.add(source.alias)
    seen: set[str] = set()
    for output in spec.artifacts:
        if output.name in seen:
            raise _invalid(f"the name {output.name!a} is there twice among spec.artifacts")
        seen.add(output.name)
        # The server refuses that of new objects, and this those which were there before.
        if len(output.copy) > MOST_COPIES:
            raise _invalid(f"artifact {output.name}: copy has {len(output.copy)} rules; the limit is {MOST_COPIES}")
        for field, value in (("revision", output.revision), ("originRevision", output.origin_revision)):
            if value and value.removeprefix("@") not in aliases:
                raise _invalid(f"artifact {output.name}: {field} {value!a} names no alias of spec.sources")
    if spec.path_pattern:
        alias, path = _split(spec.path_pattern)
        if alias not in aliases:
            raise _invalid(f"spec.pathPattern: {alias!a} is no alias of spec.sources")
        captures = {part.name for parts in _parts(path) for part in parts if isinstance(part, _Capture)}
        example = dict.fromkeys(captures, "a")
        outputs: Iterable[Output] = [_filled(output, example, example) for output in spec.artifacts]
    else:
        outputs = spec.artifacts
        for output in outputs:
            if not _is_name(output.name):
                raise _invalid(f"{output.name[:100]!a} cannot be the name of an ExternalArtifact")
    more = 0
    for output in outputs:
        for step in _steps(output):
            more = _counted(more, step)
            if step.alias not in aliases:
                raise _invalid(f"artifact {output.name}: copy takes from @{step.alias}, no alias of spec.sources")


def plan(spec: ArtifactGeneratorSpec, trees: Mapping[str, Tree]) -> list[Wanted]:
    """The artifacts to make, by name, of a spec that passed `check`. `trees` are those of the sources, by alias.

    Raises Terminal: BuildFailed where the directories that are found make no names, or none is found, and where there
    is more work in it than is done for one generator.
    """
    if not spec.path_pattern:
        return _bounded([_wanted(output, {}, "") for output in spec.artifacts], trees)
    alias, path = _split(spec.path_pattern)
    wanted: dict[str, Wanted] = {}
    more = 0
    for directory, raw in _directories(trees[alias], _parts(path)):
        folded = {name: value.lower() for name, value in raw.items()}
        for name, value in folded.items():
            if not _LABEL_VALUE.fullmatch(value):
                raise _built(f"spec.pathPattern finds {directory!a}, and {value!a} for {{{name}}} cannot be a label")
        for output in spec.artifacts:
            one = _wanted(_filled(output, folded, raw), folded, directory)
            if not _is_name(one.name):
                raise _built(f"spec.pathPattern finds {directory!a}, which makes no name: {one.name[:100]!a}")
            if (other := wanted.get(one.name)) is not None:
                both = f"{other.found!a} and {directory!a}" if other.found != directory else f"{directory!a} twice"
                raise _built(f"spec.pathPattern finds {both}: both would be the ExternalArtifact {one.name}")
            wanted[one.name] = one
            more = _counted(more, *one.steps)
            if len(wanted) > MOST:
                raise _built(f"spec.pathPattern makes more than {MOST} artifacts: split it into several generators")
    if not wanted:
        # None at all is more likely a mistake than a wish, and what exists would be deleted by it.
        raise _built(f"spec.pathPattern {spec.path_pattern!a} finds no directory: nothing is made, and nothing deleted")
    return _bounded([wanted[name] for name in sorted(wanted)], trees)


def _bounded(found: list[Wanted], trees: Mapping[str, Tree]) -> list[Wanted]:
    if sum(step.looks(trees[step.alias]) for one in found for step in one.steps) > MOST_LOOKS:
        raise _built(
            f"the rules of all {len(found)} artifacts together look at more than {MOST_LOOKS:,} files: begin `from` "
            "with the directory that is meant, or split it into several generators"
        )
    return found


def _counted(more: int, *steps: Step) -> int:
    more += sum(step.more for step in steps)
    if more > MOST_MORE:
        raise _invalid(
            f"the braces in the patterns of all artifacts stand for more than {MOST_MORE:,} others: use fewer of them, "
            "or split it into several generators"
        )
    return more


def _wanted(output: Output, labels: Mapping[str, str], found: str) -> Wanted:
    revision, origin = output.revision.removeprefix("@"), output.origin_revision.removeprefix("@")
    return Wanted(output.name, tuple(_steps(output)), revision, origin, labels, found)


def _steps(output: Output) -> Iterator[Step]:
    for number, rule in enumerate(output.copy):
        try:
            yield Step.parse(rule.from_, rule.to, rule.exclude, rule.strategy)
        except ValueError as failure:
            raise _invalid(f"artifact {output.name}: copy[{number}]: {failure}") from failure


# --- the pattern of directories


def _split(pattern: str) -> tuple[str, str]:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise _invalid(f"spec.pathPattern {pattern!a} is not of the form @alias/path")
    return found[1], found[2]


def _parts(path: str) -> list[list[_Text | _Capture]]:
    """The directories of a pattern, each as what it is made of. Raises Terminal."""
    seen: set[str] = set()
    found: list[list[_Text | _Capture]] = []
    for directory in path.split("/"):
        if directory in ("", "."):
            continue
        parts: list[_Text | _Capture] = []
        for text, name in _pieces(directory, "spec.pathPattern"):
            if text:
                parts.append(_Text(text))
            if name is None:
                continue
            if name in seen:
                raise _invalid(f"spec.pathPattern has the capture {{{name}}} twice")
            seen.add(name)
            parts.append(_Capture(name))
        found.append(parts)
    return found


def _pieces(text: str, field: str) -> Iterator[tuple[str, str | None]]:
    """Plain text, each time with the name in braces after it. Raises Terminal for braces that make no sense."""
    while text:
        plain, opened, rest = text.partition("{")
        if "}" in plain:
            raise _invalid(f"{field} has a }} that nothing opens")
        if not opened:
            yield plain, None
            return
        name, closed, text = rest.partition("}")
        if not closed:
            raise _invalid(f"{field} has a {{ that is not closed")
        if not _CAPTURE.fullmatch(name):
            raise _invalid(f"{field}: {name[:60]!a} cannot be the name of a capture (letters and digits, _ inside)")
        yield plain, name


def _filled(output: Output, folded: Mapping[str, str], raw: Mapping[str, str]) -> Output:
    """Names are in lower case, as they have to be; paths are as they were found."""

    def fill(text: str, field: str, values: Mapping[str, str]) -> str:
        filled: list[str] = []
        for plain, name in _pieces(text, field):
            filled.append(plain)
            if name is not None:
                if name not in values:
                    raise _invalid(f"{field} has {{{name}}}, which spec.pathPattern does not capture")
                filled.append(values[name])
        return "".join(filled)

    name = fill(output.name, "artifacts[].name", folded)
    copy = tuple(
        type(rule)(
            from_=fill(rule.from_, f"artifact {output.name}: from", raw),
            to=fill(rule.to, f"artifact {output.name}: to", raw),
            exclude=rule.exclude,
            strategy=rule.strategy,
        )
        for rule in output.copy
    )
    return Output(name=name, revision=output.revision, origin_revision=output.origin_revision, copy=copy)


def _directories(tree: Tree, pattern: list[list[_Text | _Capture]]) -> Iterator[tuple[str, dict[str, str]]]:
    """The directories that match, in order, and what was captured."""
    seen: set[str] = set()
    for entry in tree.entries:
        parts = entry.path.split("/")[:-1]
        if len(parts) < len(pattern):
            continue
        directory = "/".join(parts[: len(pattern)])
        if directory in seen:
            continue
        seen.add(directory)
        captured: dict[str, str] = {}
        if all(_captures(pieces, part, captured) for pieces, part in zip(pattern, parts, strict=False)):
            yield directory, captured


def _captures(pieces: list[_Text | _Capture], text: str, into: dict[str, str]) -> bool:
    """Whether the name of a directory is made of `pieces`; an earlier capture gets as much as it can.

    From the end backwards it is found out where each piece may begin, so that no name takes long.
    """
    begins: list[set[int]] = [{len(text)}]
    for piece in reversed(pieces):
        after = begins[-1]
        if isinstance(piece, _Text):
            size = len(piece.text)
            begins.append({end - size for end in after if end >= size and text[end - size : end] == piece.text})
        else:
            begins.append(set(range(max(after, default=0))))
    begins.reverse()
    if 0 not in begins[0]:
        return False
    at = 0
    for piece, after in zip(pieces, begins[1:], strict=True):
        if isinstance(piece, _Text):
            at += len(piece.text)
        else:
            end = max(place for place in after if place > at)
            into[piece.name] = text[at:end]
            at = end
    return True


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _invalid(words: str) -> Terminal:
    return Terminal(Reason.VALIDATION_FAILED, words)


def _built(words: str) -> Terminal:
    return Terminal(Reason.BUILD_FAILED, words)
