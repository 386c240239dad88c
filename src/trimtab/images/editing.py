"""One file: what is to be set in it, the bytes that say so, and the proof that nothing else has changed.

Values are replaced in the text, so comments, order, quotes, line ends and every other byte stay. Before a result is
handed out, it is parsed again: it has to consist of the same events as before, but for the values that were meant.
"""

from collections.abc import Collection
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from trimtab.images.events import Unreadable, events, signature
from trimtab.images.following import MARK, Complaint, Follower, followers
from trimtab.images.marks import TOKEN, Mark, Part, find_marks
from trimtab.images.nodes import Mapping, Scalar, Stream, identity, object_of, parse, path_of
from trimtab.images.pauses import Kind as Paused
from trimtab.images.pauses import Pause, annotations_of, pause_of
from trimtab.images.places import Where, find, may_have
from trimtab.images.reference import Image
from trimtab.images.shapes import Misfit, Setting, in_parts
from trimtab.images.writing import Unwritable, is_text, replacement
from trimtab.manifests.refs import Key
from trimtab.manifests.yaml import MAX_BYTES
from trimtab.sops.formats import Format, has_sealed, is_encrypted
from trimtab.sops.metadata import BLOCK

_BOM: Final = b"\xef\xbb\xbf"
_MARK: Final = TOKEN.encode()
_ENCRYPTED: Final = (
    "is in a file that SOPS encrypted: a change would break its MAC. Keep the image in a file of its own, edit with "
    "`sops`, or encrypt with --mac-only-encrypted"
)

Wish: TypeAlias = Key | Where
"""What is to be set: everything that an ImagePolicy marks, or a place that has no marker."""


class Kind(StrEnum):
    """Kinds of notes."""

    REFUSED = "refused"  # what was asked for and cannot be done
    UNKNOWN = "unknown policy"  # a marker of a policy that is not among those asked for
    BROKEN = "marks nothing"  # a marker that cannot be read, or stands where there is no value
    PAUSED = "paused"  # what is kept as it is by a lock or a hold on its object
    CAUTION = "caution"  # a value that is right, and is read as something else
    SKIPPED = "skipped"  # a file that was not looked into


class Note(NamedTuple):
    """Something that a person should know of: at a line of the file, 0 for all of it."""

    line: int
    kind: Kind
    text: str


class Change(NamedTuple):
    """One value that was replaced. `object` is apiVersion/kind/namespace/name, `setter` who asked for it."""

    line: int
    object: str
    path: str
    old: str
    new: str
    setter: str


class Stood(NamedTuple):
    """What was at one of the places, by object and path as in changes, whether it had to change or not."""

    object: str
    path: str
    value: str


class Edited(NamedTuple):
    """A file with everything set; `data` is the same as before if nothing had to be. `served`: whose places it has."""

    data: bytes
    changes: tuple[Change, ...] = ()
    notes: tuple[Note, ...] = ()
    served: frozenset[Wish] = frozenset()
    before: tuple[Stood, ...] = ()


def concerns(data: bytes, wishes: Dictionary[Wish, Image]) -> bool:
    """Whether a file with this content has to be parsed: whether it has a marker, a follower, or could have a place."""
    return _MARK in data or MARK in data or any(not isinstance(wish, Key) and may_have(data, wish) for wish in wishes)


def edit(data: bytes, wishes: Dictionary[Wish, Image], over: Collection[Paused] = ()) -> Edited:
    """`data` with everything set that `wishes` ask for. It never raises: what cannot be done is in the notes.

    What is locked, held or ignored stays as it is, but for what is only so in a way that `over` names.
    """
    if len(data) > MAX_BYTES:
        return Edited(data, notes=(Note(0, Kind.SKIPPED, f"has more than the {MAX_BYTES:,} bytes that are read"),))
    if not concerns(data, wishes):
        return Edited(data)
    try:
        bom = _BOM if data.startswith(_BOM) else b""
        text = _decoded(data, len(bom))
        stream = parse(text)
    except Unreadable as problem:
        return Edited(data, notes=(Note(problem.line, Kind.SKIPPED, f"{problem}: the file is left alone"),))
    plan = _Plan(text, stream, locked=_is_locked(data, stream), over=over)
    marks = find_marks(text, stream)
    for mark in marks:
        plan.add_mark(mark, wishes)
    if MARK in data:
        images = {wish: image for wish, image in wishes.items() if isinstance(wish, Key)}
        for one in followers(stream, images, frozenset(id(mark.target) for mark in marks)):
            plan.add_follower(one)
    for wish, image in wishes.items():
        if not isinstance(wish, Key):
            plan.add_places(wish, image)
    return plan.carried_out(data, bom)


@dataclass(frozen=True, slots=True)
class _Intent:
    """One value to be set, who asks for it and at which line, and what is put where; nothing if it is right already."""

    setting: Setting
    setter: str
    line: int
    piece: tuple[int, int, str] | None


@dataclass(slots=True)
class _Plan:
    """What is to be set in one file, by the number of the value's event, and what came up on the way."""

    text: str
    stream: Stream
    locked: bool
    over: Collection[Paused] = ()
    intents: dict[int, _Intent] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    served: set[Wish] = field(default_factory=set)

    def add_mark(self, mark: Mark, wishes: Dictionary[Wish, Image]) -> None:
        image = wishes.get(mark.policy) if mark.policy is not None else None
        if mark.policy is None or (mark.target is None and image is None):
            self.notes.append(Note(mark.line, Kind.BROKEN, f"the marker {mark.trouble}"))
        elif image is None:
            self.notes.append(Note(mark.line, Kind.UNKNOWN, f"the marker is of the policy {mark.policy}"))
        elif mark.target is None:
            self._refuse(mark.line, f"the marker {mark.trouble}", mark.policy)
        elif isinstance(mark.target, Mapping):
            self._add_shape(mark, mark.target, image, mark.policy)
        else:
            self._add([Setting(mark.target, _wanted(image, mark.part))], mark.setter, mark.line, mark.policy)

    def add_follower(self, one: Follower | Complaint) -> None:
        match one:
            case Complaint(line, words):
                self.notes.append(Note(line, Kind.BROKEN, words))
            case Follower(policy, found, line) if found is not None:
                self._add(found.settings, ":".join(policy), line, policy)
            case Follower(policy, _, line, words, mild) if mild:
                self.notes.append(Note(line, Kind.PAUSED, words))
                self.served.add(policy)
            case Follower(policy, _, line, words):
                self._refuse(line, words, policy)

    def add_places(self, where: Where, image: Image) -> None:
        for found in find(self.stream, where, image):
            if isinstance(found, Misfit):
                self._refuse(found.line, f"{where} {found}", where)
            else:
                self._add(found.settings, str(where), found.line, where)

    def _add_shape(self, mark: Mark, mapping: Mapping, image: Image, policy: Key) -> None:
        if mark.part is not Part.WHOLE:
            self._refuse(mark.line, f"the marker asks for the {mark.part} only: put it behind that value", policy)
            return
        try:
            self._add(in_parts(mapping, image), mark.setter, mark.line, policy)
        except Misfit as misfit:
            self._refuse(misfit.line, f"what the marker at line {mark.line} marks {misfit}", policy)

    def _refuse(self, line: int, text: str, wish: Wish) -> None:
        self.notes.append(Note(line, Kind.REFUSED, text))
        self.served.add(wish)

    def _add(self, settings: list[Setting], setter: str, line: int, wish: Wish) -> None:
        """All of `settings` or none: they are one image."""
        self.served.add(wish)
        intents: dict[int, _Intent] = {}
        for setting in settings:
            scalar, new = setting
            try:
                piece = None if scalar.value == new else replacement(self.text, scalar, new)
            except Unwritable as problem:
                self._refuse(scalar.line, f"{path_of(scalar)}, which {setter} asks for, {problem}", wish)
                return
            if piece is not None and (pause := self._pause(scalar)) is not None:
                self.notes.append(
                    Note(scalar.line, Kind.PAUSED, f"{path_of(scalar)}, which {setter} asks for, is {pause}")
                )
                return
            if piece is not None and (self.locked or has_sealed(scalar.value.encode())):
                self._refuse(line, f"what {setter} asks for {_ENCRYPTED}", wish)
                return
            other = self.intents.get(scalar.event)
            if other is not None and other.setting.new != new:
                said = f"{other.setter} (line {other.line}) wants {other.setting.new}, {setter} wants {new}"
                self._refuse(line, f"one value is asked to be two: {said}", wish)
                return
            intents[scalar.event] = _Intent(setting, setter, line, piece)
        for event, intent in intents.items():
            self.intents.setdefault(event, intent)

    def carried_out(self, data: bytes, bom: bytes) -> Edited:
        pieces: list[tuple[int, int, str]] = []
        changes: list[Change] = []
        before: list[Stood] = []
        for intent in self.intents.values():
            scalar, new = intent.setting
            before.append(Stood(identity(object_of(scalar)), path_of(scalar), scalar.value))
            if intent.piece is not None:
                pieces.append(intent.piece)
                body, path, old = before[-1]
                changes.append(Change(scalar.line, body, path, old, new, intent.setter))
            elif scalar.plain and new and scalar.tag is None and not is_text(new):
                said = f"{path_of(scalar)}: {new} without quotes is read as something else; put it in quotes"
                self.notes.append(Note(scalar.line, Kind.CAUTION, said))
        changes.sort()
        edited = _spliced(self.text, pieces)
        if pieces and (doubt := self._doubt(edited)):
            self.notes.append(Note(changes[0].line, Kind.REFUSED, f"{doubt}: the file is not changed"))
            pieces, changes = [], []
        result = bom + edited.encode() if pieces else data
        return Edited(result, tuple(changes), tuple(sorted(self.notes)), frozenset(self.served), tuple(before))

    def _pause(self, scalar: Scalar) -> Pause | None:
        body = object_of(scalar)
        pause = pause_of(annotations_of(body)) if body is not None else None
        return pause if pause is not None and pause.kind not in self.over else None

    def _doubt(self, edited: str) -> str:
        """Why `edited` is not read as what was there before, but for what was meant; nothing if it is."""
        try:
            # both end with the end of a stream, so that a shorter one differs there
            for number, (before, after) in enumerate(zip(events(self.text), events(edited), strict=False)):
                said, found = signature(before), signature(after)
                if (intent := self.intents.get(number)) is not None:
                    said = (*said[:-2], intent.setting.new, said[-1])
                if found != said and not (intent is not None and _only_quoted(found, said)):
                    break
            else:
                return ""
        except Unreadable as problem:
            return f"with the new values it {problem}"
        return "with the new values it is read as something else than was meant"


def _only_quoted(found: tuple[object, ...], wanted: tuple[object, ...]) -> bool:
    """Whether a value that was set differs by the quotes alone that it had to be given."""
    return found[:-1] == wanted[:-1] and (found[-1], wanted[-1]) == ('"', "")


def _wanted(image: Image, part: Part) -> str:
    match part:
        case Part.NAME:
            return image.name
        case Part.TAG:
            return image.tag
        case Part.DIGEST:
            return image.digest
        case Part.WHOLE:
            return str(image)


def _decoded(data: bytes, start: int) -> str:
    try:
        return data[start:].decode()
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, start + problem.start) + 1
        raise Unreadable(line, "is not UTF-8") from None


def _spliced(text: str, pieces: list[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, new in sorted(pieces):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _is_locked(data: bytes, stream: Stream) -> bool:
    """Whether a change of a value would break a MAC of SOPS: it is over all values, unless the file says otherwise."""
    if not (is_encrypted(data, Format.YAML) or is_encrypted(data, Format.JSON)):
        return False
    blocks = [document.get(BLOCK) for document in stream.documents if isinstance(document, Mapping)]
    given = [block for block in blocks if isinstance(block, Mapping)]
    return not given or any(block.text("mac_only_encrypted") != "true" for block in given)
