"""Every write to git: an edit becomes a commit on a branch, by plumbing on a mirror, without a work tree.

    writers = Writers(cache_dir, transport, clock)                      # one in a process: it owns the mirrors
    writer = writers.of(Repository(address, credentials), "main")
    order = Order(
        reads=lambda path: path.endswith(".yaml"),                      # whose contents the edit gets
        message=Message("Use web:2", (("Trimtab-Change", "42"),)),
        author=Person("Robot", "robot@example.org"),
        signer=signing_key(secret_bytes, passphrase),                   # None: not signed, and never by fallback
        within="clusters/prod",                                         # nothing outside is ever changed
    )
    match await writer.write(edit, order):                              # edit: Callable[[Snapshot], Changes], pure
        case Written(): ...                                             # it is on the branch
        case Already(): ...                                             # a commit with this Trimtab-Change is there
        case Nothing(): ...                                             # the edit changes nothing: no commit
        case Planned(): ...                                             # Order.dry: what would be written

`edit` is called again with the new head whenever somebody else was faster, so it decides by the snapshot it is given
and by nothing else. What it returns is `Changes`: contents of files that are there, files to create (said so
explicitly), and, for reverts alone, entries put back or taken away. Modes stay, links and submodules stay, and what
lies outside `within`, behind a link or in no plain path is refused (Terminal), with nothing written.

A branch is only ever moved from the commit that the edit was made on to its child: a push names the old value, so
nothing that somebody pushed, or took away, meanwhile is lost or comes back. Only branches below `trimtab/` are made
anew from the head of the branch they were made from (`Push(branch=…)`). After a lost answer the branch is asked, so a
commit that did arrive is `Written`; after a crash, the change of the order is looked for in the last commits: never a
second commit.

What goes wrong: AuthenticationFailed, `ReadOnly` (the credentials may read only), `Refused` (a protected branch, a
hook: in the server's words), `Contended` (others were faster each time), `SigningFailed` (no commit was made),
Transient and Terminal (GitOperationFailed, URLInvalid, UpdateFailed). docs/commits.md tells the whole story.
"""

from trimtab.commits.changes import Changes
from trimtab.commits.errors import Contended, ReadOnly, Refused, SigningFailed
from trimtab.commits.message import HELD, REQUESTED_BY, Message, Person, held_in, trailers_of
from trimtab.commits.outcome import Already, Nothing, Outcome, Planned, Written
from trimtab.commits.pushing import Push
from trimtab.commits.signing import Signer, signing_key
from trimtab.commits.snapshot import Entry, Logged, Snapshot
from trimtab.commits.way import Repository
from trimtab.commits.writer import Edit, Order, Writer
from trimtab.commits.writers import Writers

__all__ = [
    "HELD",
    "REQUESTED_BY",
    "Already",
    "Changes",
    "Contended",
    "Edit",
    "Entry",
    "Logged",
    "Message",
    "Nothing",
    "Order",
    "Outcome",
    "Person",
    "Planned",
    "Push",
    "ReadOnly",
    "Refused",
    "Repository",
    "Signer",
    "SigningFailed",
    "Snapshot",
    "Writer",
    "Writers",
    "Written",
    "held_in",
    "signing_key",
    "trailers_of",
]
