"""Canaries: secrets that are known by their song. They are put where secrets are, and nobody may hear them elsewhere.

Every canary holds `canary-in-`, so that one look finds all of them, in whatever way they were written down; what
cannot be chosen (keys, tokens that a server made) is looked for as it is.
"""

import base64
import contextlib
import json
import os
import re
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

MARK: Final = "canary-in-"
_SHOWN: Final = 60
_MOST: Final = 64 << 20
_WHILE_AT_WORK: Final = 256 << 10


class Leak(NamedTuple):
    """What was found where, and how it was written there; around it, so that one sees who wrote it."""

    place: str
    secret: str
    form: str
    around: str

    def __str__(self) -> str:
        return f"{self.secret} ({self.form}) in {self.place}: {self.around}"


def forms(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """The ways in which `secret` may be written down, each with its name."""
    yield "as it is", secret
    for shift in range(3):
        # What stands before and after it decides about the outermost characters.
        whole = base64.b64encode(b"\0" * shift + secret)
        sure = whole[(0, 2, 3)[shift] : len(whole) - (0, 3, 2)[(shift + len(secret)) % 3]].rstrip(b"=")
        if sure:
            yield f"base64, {shift} before it", sure
            yield f"base64url, {shift} before it", sure.translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", secret.hex().encode()
    yield "upper-case hex", secret.hex().upper().encode()
    with contextlib.suppress(UnicodeDecodeError):
        text = secret.decode()
        once = json.dumps(text)[1:-1]
        yield "JSON", once.encode()
        yield "JSON, twice", json.dumps(once)[1:-1].encode()
        yield "JSON, not only ASCII", json.dumps(text, ensure_ascii=False)[1:-1].encode()
        for safe in ("", "/", "!$&'()*+,;=:@"):
            quoted = urllib.parse.quote(text, safe=safe)
            yield "percent-encoded", quoted.encode()
            yield "percent-encoded, in lower case", re.sub("%..", lambda code: code[0].lower(), quoted).encode()
        yield "as in a form", urllib.parse.quote_plus(text).encode()


class Needles:
    """Everything that is looked for: the mark of all canaries, and what is secret and bears none."""

    def __init__(self, unmarked: Mapping[str, bytes | str] | None = None) -> None:
        self._forms: dict[bytes, tuple[str, str]] = {}
        self.add("a canary", MARK)
        for name, secret in (unmarked or {}).items():
            self.add(name, secret)

    def add(self, name: str, secret: bytes | str) -> None:
        """Look for `secret`, too; of one with many lines, for each that is long enough to be told from chance."""
        data = secret.encode() if isinstance(secret, str) else secret
        lines = data.splitlines()
        known = dict(self._forms)
        for part in {data, *(line for line in lines if len(lines) > 1 and len(line) > 30 and b"-----" not in line)}:
            for form, written in forms(part):
                known.setdefault(written, (name, form))
        self._forms = known  # a new one: a lookout's threads may be at the old

    def leaks(self, place: str, data: bytes | str) -> list[Leak]:
        """What of it is in `data`."""
        whole = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        found = []
        for written, (name, form) in self._forms.items():
            at = whole.find(written)
            if at >= 0:
                around = whole[max(0, at - _SHOWN) : at + len(written) + _SHOWN].decode(errors="replace")
                found.append(Leak(place, name, form, repr(around)))
        return found

    def leaks_of(self, path: Path) -> list[Leak]:
        """What of it is in a file, also where that is compressed."""
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST:
                return []
            data = path.read_bytes()
        except OSError:
            return []  # gone by now
        return self.leaks(str(path), data) + self.leaks(f"{path}, unpacked", _unpacked(data))


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return b""
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj(31).decompress(data, _MOST)
    return b""


def files_below(places: Iterable[Path]) -> Iterator[Path]:
    """All files, as far as they stay while one looks."""
    for place in places:
        for folder, _, names in os.walk(place):
            yield from (Path(folder, name) for name in names)


class Lookout:
    """Looks, as often as it can, into a process's children and into all files below `places`, while they work."""

    def __init__(self, pid: int, places: Iterable[Path], needles: Needles) -> None:
        self._pid, self._places, self._needles = pid, list(places), needles
        self.leaks: dict[tuple[str, str, str], Leak] = {}
        self.seen: set[str] = set()
        """The names of the programs that were seen at work."""
        self._known: set[tuple[str, int, int, int]] = set()
        self._looked: dict[tuple[int, str], bytes] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._processes, self._files)]

    def __enter__(self) -> "Lookout":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _note(self, found: Iterable[Leak]) -> None:
        for leak in found:
            # One is enough of each: a directory of a run has another name every time.
            self.leaks.setdefault((re.sub(r"[0-9a-z_]{8}|\d+", "_", leak.place), leak.secret, leak.form), leak)

    def _processes(self) -> None:
        while not self._stop.is_set():
            for child in descendants(self._pid):
                self.look_at(child)
            time.sleep(0.002)

    def look_at(self, pid: int) -> None:
        """Look into one process: its arguments and its environment."""
        program = ""
        for part in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{pid}/{part}").read_bytes()
            except OSError:
                continue
            if self._looked.get((pid, part)) == data:
                continue
            self._looked[pid, part] = data
            name = data.split(b"\0")[0].decode(errors="replace").rpartition("/")[2]
            if part == "cmdline":
                program = name
                self.seen.add(name)
            self._note(self._needles.leaks(f"the {part} of {program or pid}", data))

    def _files(self) -> None:
        while not self._stop.is_set():
            for path in files_below(self._places):
                with contextlib.suppress(OSError):
                    stat = path.stat()
                    if stat.st_size > _WHILE_AT_WORK:
                        continue  # the databases: nothing is taken out of them that was in them
                    state = (str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
                    if state in self._known:
                        continue
                    self._known.add(state)
                    self._note(self._needles.leaks_of(path))
            time.sleep(0.005)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    try:
        # Who started a child may be any thread.
        lists = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    found = [int(child) for text in lists for child in text.split()]
    return [*found, *(one for child in found for one in descendants(child))]
