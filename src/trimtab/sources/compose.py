"""Several snapshots as one: what others publish, laid into what a repository has. No content is copied."""

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.artifacts.snapshot import Snapshot
from trimtab.artifacts.tree import Entry, Tree, without_collisions
from trimtab.base.errors import Terminal, Transient
from trimtab.remotes.git.mirror import MAX_DEPTH, MAX_PATH_BYTES
from trimtab.sources.checkout import MAX_BYTES, MAX_FILES
from trimtab.sources.ignore import IGNORE_FILE, Rules, rules


@dataclass(frozen=True, slots=True)
class Overlay:
    """What of `snapshot`, which `name` published, goes where. Paths as `inside` gives them; the root is empty."""

    name: str
    snapshot: Snapshot
    from_path: str
    to_path: str


def inside(path: str, field: str) -> str:
    """`path` as one below a root, which is empty. Raises Terminal (InvalidPath) for one that leads out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    strange = not path.isprintable() or "\\" in path
    if strange or any(part == ".." or part.lower() == ".git" for part in parts):
        raise Terminal("InvalidPath", f"{field}: {path[:200]!a} is not a path inside the artifact")
    if len(parts) > MAX_DEPTH:
        raise Terminal("InvalidPath", f"{field}: {path[:200]!a}… is deeper than {MAX_DEPTH} directories")
    return "/".join(parts)


def compose(own: Snapshot, overlays: Sequence[Overlay], ignore: str | None) -> Snapshot:
    """`own`, with each of `overlays` laid over it, the last one on top; saved.

    What `own` leaves out by its rules is left out of what is laid into it as well, as in Flux.
    Raises Transient where they do not fit together, and Corrupt.
    """
    ignored = rules(ignore, own.read(IGNORE_FILE) if own.exists(IGNORE_FILE) else b"")
    entries = {entry.path: entry for entry in own.tree.entries}
    left_out = set(own.tree.left_out)
    for overlay in overlays:
        for entry in _moved(overlay, ignored):
            entries[entry.path] = entry
            left_out.discard(entry.path)
        left_out |= _left_out(overlay, ignored)
    _check(entries, overlays)
    kept, collided = without_collisions(entries.values())
    tree = Tree.of(kept, [*(path for path in left_out if path not in entries), *collided])
    own.store.save(tree)
    return Snapshot(own.store, tree, own.revision)


def _moved(overlay: Overlay, ignored: Rules) -> list[Entry]:
    tree, start = overlay.snapshot.tree, overlay.from_path
    exact = tree.get(start) if start else None
    if exact is not None:
        moved = [exact._replace(path=overlay.to_path or start.rpartition("/")[2])]
    elif not tree.has_directory(start):
        missing = tree.left_out_at(start)
        why = (
            f"{missing} is a link or a submodule, and was left out" if missing else "there is no such file or directory"
        )
        raise Transient("InvalidPath", f"{_shown(overlay)}: fromPath {start!a}: {why}")
    else:
        above = f"{overlay.to_path}/" if overlay.to_path else ""
        skip = len(start) + 1 if start else 0
        moved = [entry._replace(path=above + entry.path[skip:]) for entry in tree.under(start)]
    return [entry for entry in moved if not ignored.excludes(entry.path)]


def _left_out(overlay: Overlay, ignored: Rules) -> set[str]:
    above = f"{overlay.to_path}/" if overlay.to_path else ""
    skip = len(overlay.from_path) + 1 if overlay.from_path else 0
    moved = {above + path[skip:] for path in overlay.snapshot.tree.left_out_under(overlay.from_path)}
    return {path for path in moved if not ignored.excludes(path)}


def _check(entries: dict[str, Entry], overlays: Sequence[Overlay]) -> None:
    """Raise Transient for what cannot be, or is too much."""
    names = " and ".join(_shown(overlay) for overlay in overlays)[:500]
    size = sum(entry.size for entry in entries.values())
    if len(entries) > MAX_FILES or size > MAX_BYTES:
        raise Transient(
            "InvalidPath",
            f"with {names} there are {len(entries)} files of {size} bytes; the limits are {MAX_FILES} and {MAX_BYTES}. "
            "Leave some out by spec.ignore",
        )
    for path in entries:
        if len(path.encode()) > MAX_PATH_BYTES or path.count("/") >= MAX_DEPTH:
            raise Transient("InvalidPath", f"with {names} there is a path that is too long: {path[:80]!a}…")
        above = path.rpartition("/")[0]
        while above:
            if above in entries:
                raise Transient(
                    "InvalidPath", f"with {names}, {above!a} would be a file and a directory; change its toPath"
                )
            above = above.rpartition("/")[0]


def _shown(overlay: Overlay) -> str:
    return f"GitRepository {overlay.name} at {overlay.snapshot.revision}"
