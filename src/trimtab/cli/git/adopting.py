"""What `adopt` writes: live values in the place of those that a file declares, and the proof that it means just that.

The file is edited byte for byte. Then what it declares is rendered again: the object has to come out with the live
values, and everything else as before. Whatever is made on the way (patches, generators, variables, charts) shows there.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import TrimtabError
from trimtab.cli.connect import Code, Failure
from trimtab.cli.git.gitfiles import GitFiles
from trimtab.cli.render import rendering
from trimtab.commits import Changes, Message, Snapshot
from trimtab.diff.compare import Difference, compare, same
from trimtab.images import nodes
from trimtab.images.events import Unreadable
from trimtab.images.writing import Unwritable, replacement
from trimtab.manifests.pointers import ABSENT, Keys, Part, get, parse_path
from trimtab.manifests.refs import Manifest, Origin, Ref
from trimtab.manifests.scalars import ScalarError, resolve
from trimtab.render.files import normal
from trimtab.render.options import Options
from trimtab.render.render import Rendered
from trimtab.render.variables import Variables
from trimtab.sops.formats import Format, has_sealed, is_encrypted
from trimtab.sops.keyring import Keyring

_BOM: Final = b"\xef\xbb\xbf"


class Edited(NamedTuple):
    """A file with the live values in it, and the lines that they are on, by path."""

    data: bytes
    lines: Mapping[str, int]


def written(data: bytes, origin: Origin, ref: Ref, wishes: Sequence[Difference]) -> Edited:
    """`data` with what is live (`before`) in the place of what is declared (`after`). Raises Failure."""
    if is_encrypted(data, Format.YAML) or has_sealed(data):
        raise _refused(origin.file, "is encrypted: a change would break it; edit it with `sops`")
    bom = _BOM if data.startswith(_BOM) else b""
    try:
        text = data[len(bom) :].decode()
        stream = nodes.parse(text)
    except (UnicodeDecodeError, Unreadable) as problem:
        raise _refused(origin.file, f"cannot be read: {problem}") from problem
    body = _object(stream, origin, ref)
    pieces: list[tuple[int, int, str]] = []
    lines: dict[str, int] = {}
    for wish in wishes:
        scalar = _scalar(body, origin, wish)
        try:
            pieces.append(_piece(text, scalar, wish.before))
        except Unwritable as problem:
            raise _refused(f"{origin.file}:{scalar.line}", f"{wish.path} {problem}") from problem
        lines[wish.path] = scalar.line
    for start, end, new in sorted(pieces, reverse=True):
        text = text[:start] + new + text[end:]
    return Edited(bom + text.encode(), lines)


def _object(stream: nodes.Stream, origin: Origin, ref: Ref) -> nodes.Mapping:
    found = [one for one in nodes.objects(stream.documents) if one.text("kind") == ref.kind]
    here = [one for one in found if one.line == origin.line]
    named = [one for one in found if one.text("metadata", "name") == ref.name]
    for candidates in (here, named):
        if len(candidates) == 1:
            return candidates[0]
    raise _refused(
        str(origin),
        f"does not hold {ref} itself: it is generated there, or made by what stands there; edit that",
    )


def _scalar(body: nodes.Mapping, origin: Origin, wish: Difference) -> nodes.Scalar:
    """The value at the path of `wish`, if it is what the object comes out with."""
    node: nodes.Node | None = body
    for part in parse_path(wish.path):
        node = _step(node, part)
        if isinstance(node, nodes.Alias):
            raise _refused(f"{origin.file}:{node.line}", f"{wish.path} is an alias (*{node.anchor}): edit its anchor")
    if node is None:
        raise _refused(
            str(origin), f"does not say {wish.path}: a patch, a component or a field of the app's own spec adds it"
        )
    if not isinstance(node, nodes.Scalar):
        raise _refused(f"{origin.file}:{node.line}", f"{wish.path} is not a single value: edit it by hand")
    if "${" in node.value and not same(_value(node), wish.after):
        raise _refused(f"{origin.file}:{node.line}", f"{wish.path} is filled in from {node.value}: change the variable")
    if not same(_value(node), wish.after):
        raise _refused(
            f"{origin.file}:{node.line}",
            f"{wish.path} is {node.value!r} here and comes out as {_short(wish.after)}: a patch, images, replicas or a "
            "field of the app's own spec (spec.patches, spec.images) changes it on the way; edit that",
        )
    return node


def _step(node: nodes.Node | None, part: Part) -> nodes.Node | None:
    match part, node:
        case str(), nodes.Mapping():
            return node.get(part)
        case int(), nodes.Sequence() if 0 <= part < len(node.items):
            return node.items[part]
        case Keys(pairs), nodes.Sequence():
            fitting = [one for one in node.items if isinstance(one, nodes.Mapping) and _fits(one, pairs)]
            return fitting[0] if len(fitting) == 1 else None
    return None


def _fits(item: nodes.Mapping, pairs: Sequence[tuple[str, Any]]) -> bool:
    for key, value in pairs:
        node = item.get(key)
        if node is None and (key, value) == ("protocol", "TCP"):
            continue  # what the server fills in
        if not isinstance(node, nodes.Scalar) or not same(_value(node), value):
            return False
    return True


def _value(node: nodes.Scalar) -> Any:
    """What a value means, as the renderer reads it."""
    if not node.plain or node.tag is not None:
        return node.value
    try:
        return resolve(node.value, "kustomize")
    except ScalarError:
        return node.value


def _piece(text: str, old: nodes.Scalar, new: Any) -> tuple[int, int, str]:
    """What is put where to make `old` mean `new`."""
    if isinstance(new, str):
        return replacement(text, old, new)
    if old.tag is not None or old.block:
        raise Unwritable("has a tag, or is a block of text: edit it by hand")
    spaced = " " if old.empty and text[old.start - 1 : old.start].strip() else ""
    return old.start, old.end, spaced + json.dumps(new)


@dataclass(frozen=True, slots=True)
class Adoption:
    """One object whose live values are to be written; `values` lead from what is live to what is declared."""

    app: Kustomization
    ref: Ref
    values: Sequence[Difference]
    ignore: str | None
    variables: Variables
    keys: Keyring | None
    title: str
    trailers: tuple[tuple[str, str], ...]

    def edit(self, snapshot: Snapshot) -> Changes:
        """The edit of a commit. Runs in a thread, where it may take its time. Raises Failure."""
        try:
            return asyncio.run(self._edited(snapshot))
        except (TrimtabError, FileNotFoundError) as problem:
            raise Failure(Code.WRONG, f"commit {snapshot.commit[:12]} cannot be rendered: {problem}") from problem

    async def _edited(self, snapshot: Snapshot) -> Changes:
        before = await self._rendered(snapshot, {})
        mine = self._mine(before)
        if self.ref in before.secret:
            raise _refused(str(mine.origin), f"{self.ref} has something secret in it, which is never written to git")
        if mine.origin.file not in snapshot.contents:
            raise _refused(str(mine.origin), f"{self.ref} comes from another repository: edit it there")
        wishes = self._still_wished(mine)
        if not wishes:
            return Changes()
        edited = written(snapshot.contents[mine.origin.file], mine.origin, self.ref, wishes)
        after = await self._rendered(snapshot, {mine.origin.file: edited.data})
        self._prove(before, after, wishes, mine.origin)
        file, lines = mine.origin.file, edited.lines
        said = [
            f"  {one.path}: {_short(one.after)} → {_short(one.before)} ({file}:{lines[one.path]})" for one in wishes
        ]
        message = Message("\n".join([self.title, "", *said]), self.trailers)
        return Changes({mine.origin.file: edited.data}, message=message)

    async def _rendered(self, snapshot: Snapshot, edited: Mapping[str, bytes]) -> Rendered:
        files = GitFiles(snapshot, self.ignore, edited)
        with rendering.renderer() as build:
            options = Options.from_spec(self.app.spec)
            return await build.render(files, self.app.spec.path, options, self.variables, self.keys)

    def _mine(self, rendered: Rendered) -> Manifest:
        found = next((one for one in rendered.manifests if one.ref == self.ref), None)
        if found is None:
            raise _refused(
                normal(self.app.spec.path) or "the root", f"{self.ref} is not declared by {self.app.key} any more"
            )
        return found

    def _still_wished(self, mine: Manifest) -> list[Difference]:
        """What the head of the branch does not say yet. Raises Failure where it says something else by now."""
        wishes: list[Difference] = []
        for one in self.values:
            says = get(mine.body, parse_path(one.path))
            if says is not ABSENT and same(says, one.before):
                continue
            if says is ABSENT or not same(says, one.after):
                raise _refused(
                    str(mine.origin),
                    f"{one.path} is {'gone' if says is ABSENT else _short(says)} on the branch by now, and "
                    f"{_short(one.after)} was compared: let the app converge first",
                )
            wishes.append(one)
        return wishes

    def _prove(self, before: Rendered, after: Rendered, wishes: Sequence[Difference], origin: Origin) -> None:
        """Raise Failure unless the edit changes what was meant, in the way that was meant, and nothing else."""
        was, now = ({one.ref: one.body for one in side.manifests} for side in (before, after))
        other = [str(ref) for ref in was.keys() | now.keys() if ref != self.ref and was.get(ref) != now.get(ref)]
        if other or self.ref not in now:
            raise _refused(
                str(origin),
                f"an edit here would change {', '.join(sorted(other)[:5]) or self.ref} as well: edit by hand",
            )
        meant = {wish.path: wish.before for wish in wishes}
        for path, value in meant.items():
            if not same(get(now[self.ref], parse_path(path)), value):
                raise _refused(
                    str(origin),
                    f"an edit of {path} here has no effect: a patch, images, replicas or a field of the app's own spec "
                    "has the last word; edit that",
                )
        if surprise := [one.path for one in compare(was[self.ref], now[self.ref]) if one.path not in meant]:
            raise _refused(str(origin), f"an edit here would change {', '.join(surprise[:5])} as well: edit by hand")


def _refused(where: str, why: str) -> Failure:
    return Failure(Code.WRONG, f"{where}: {why}. Nothing is committed")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"
