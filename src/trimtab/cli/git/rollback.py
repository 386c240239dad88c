"""`trimtab rollback`: an app goes back to what it was, by a commit that says so."""

import re
from typing import TYPE_CHECKING, Final

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.git.committing import Desk, Pen, desk, pen_options, requester, source_of, tell
from trimtab.cli.questions.inventory import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.api.kustomize import Kustomization
    from trimtab.cli.git.reverting import Reverted
    from trimtab.commits import Changes, Message, Outcome, Snapshot
    from trimtab.kube.client import Client

_EXAMPLES = """\b
Examples:
  trimtab rollback shop --dry-run
  trimtab rollback shop -n team-a --message 'Checkout is slow, see INC-7'
  trimtab rollback shop --to 2f9c1ab --sign ~/.ssh/id_ed25519
  trimtab rollback shop --branch trimtab/rollback-shop
"""
_SUCCEEDED: Final = "ReconciliationSucceeded"
_MOST_LOGGED: Final = 200
_FULL: Final = re.compile("[0-9a-f]{40}")


@click.command("rollback", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar="APP")
@click.option("--to", metavar="REVISION", help="The revision to go back to; else the last good one that differs.")
@click.option("--shared", is_flag=True, help="Go back also where other apps are rendered from the same files.")
@pen_options
@cluster_options
def rollback(options: Options, words: tuple[str, ...], to: str | None, shared: bool, pen: Pen) -> None:
    """Bring an app back to the state of an earlier revision, by a commit on its repository.

    The files that the app is rendered from, now or then, are as they were: what was deleted comes back, what was added
    goes. Nothing else changes. The loop applies the commit like any other, and image automation leaves alone what was
    undone until there is something newer. The commit is printed.

    Your own git signs in: its credential helpers, your ssh and its agent. --secret takes the Secret of the source.

    Exit codes: 0 committed, or it is that state already; 2 with --dry-run: there is something to commit; 3 the cluster
    or the repository cannot be asked; 1 an error.
    """

    async def work(client: "Client") -> int:
        ks = await app(client, options.namespace, words)
        source = await source_of(client, ks)
        others = await _others(client, ks)
        # what is written in full is fetched by its id
        deep = _MOST_LOGGED if to and not _FULL.fullmatch(_digits(to)) else None
        async with desk(client, source, pen, options.timeout_s, lookback=deep) as at:
            back = _Back(at, ks, others, pen, shared=shared)
            candidates = [await back.named(to)] if to else back.good()
            for candidate in candidates:
                outcome = await back.to(candidate)
                if not back.same or to:
                    await _warn_of_let_go(client, back.held)
                    return tell(outcome, quiet=options.quiet, same=f"{ks.key} is as it was at {candidate[:12]} already")
        raise Failure(
            Code.WRONG,
            f"{ks.key} has no good state on record that differs from its branch: name a revision with --to "
            "(`git log` has them)",
        )

    perform(options, work)


class _Back:
    """One rollback, which may have to look at several revisions."""

    def __init__(
        self, at: Desk, ks: "Kustomization", others: "Sequence[Kustomization]", pen: Pen, *, shared: bool
    ) -> None:
        self._at = at
        self._ks = ks
        self._others = others
        self._pen = pen
        self._shared = shared
        self.same = False
        """Whether the last one that was looked at is what the branch is."""
        self.held: tuple[str, ...] = ()
        """The bumps of images that go back with it, each as its policy and what stood there."""

    def good(self) -> list[str]:
        """The commits of good states on record, the latest first."""
        revisions = [
            one.metadata.get("revision", "")
            for one in self._ks.status.history
            if one.last_reconciled_status == _SUCCEEDED
        ]
        found = [revision.rpartition(":")[2] for revision in revisions]
        return [commit for commit in found if _FULL.fullmatch(commit)]

    async def named(self, text: str) -> str:
        """The commit that a person means. Raises Failure."""
        written = _digits(text)
        if _FULL.fullmatch(written):
            return written
        if not re.fullmatch(r"[0-9a-f]{6,39}", written):
            raise Failure(Code.WRONG, f"--to {text[:100]!r} is no commit: at least six digits of its id are needed")
        known = {*self.good(), *(one.commit for one in await self._at.writer.recent(_MOST_LOGGED))}
        meant = [commit for commit in known if commit.startswith(written)]
        if len(meant) != 1:
            why = f"means {len(meant)} commits" if meant else f"is not among the last {_MOST_LOGGED} commits"
            raise Failure(Code.WRONG, f"--to {written} {why}: write the whole id")
        return meant[0]

    async def to(self, commit: str) -> "Outcome":
        """Go back to `commit`."""
        from trimtab.commits import Message, Order

        order = Order(
            message=Message("Roll back"),
            author=self._at.author,
            reads=lambda _: True,
            signer=self._at.signer,
            past=(commit,),
            push=self._at.push,
            dry=self._pen.dry_run,
        )
        return await self._at.writer.write(lambda snapshot: self._edit(snapshot, commit), order)

    def _edit(self, snapshot: "Snapshot", commit: str) -> "Changes":
        from trimtab.cli.git.reverting import reverted
        from trimtab.commits import Changes

        source = self._at.source
        found = reverted(snapshot, snapshot.past[commit], source.spec.ignore, self._ks, self._others)
        self.same = not found.restored
        self.held = found.held
        if found.shared and not self._shared:
            raise _theirs(self._ks, found)
        return Changes(restored=found.restored, message=self._message(snapshot, commit, found))

    def _message(self, snapshot: "Snapshot", commit: str, found: "Reverted") -> "Message":
        from trimtab.commits import HELD, REQUESTED_BY, Message

        key = self._ks.key
        text = self._pen.message or (
            f"Roll back {key} to {commit[:12]}\n\nIts files are as they were at {commit}, before {snapshot.commit}."
        )
        also = sorted({str(other) for keys in found.shared.values() for other in keys})
        trailers = [
            ("Trimtab-Rollback", f"Kustomization/{key}"),
            *(("Trimtab-Rollback-Also", f"Kustomization/{other}") for other in also),
            ("Trimtab-Rollback-From", snapshot.commit),
            ("Trimtab-Rollback-To", commit),
            (REQUESTED_BY, requester()),
            *((HELD, value) for value in found.held),
        ]
        return Message(text, tuple(trailers))


def _digits(revision: str) -> str:
    return revision.rpartition(":")[2].lower()


async def _others(client: "Client", ks: "Kustomization") -> "list[Kustomization]":
    """The other apps of the same source: what they are rendered from is not only this app's."""
    from trimtab.api.gvk import KUSTOMIZATION
    from trimtab.api.kustomize import Kustomization
    from trimtab.kube.errors import Forbidden

    resource = await client.discovery.find(KUSTOMIZATION)
    try:
        found = (await client.list(resource, "", type=Kustomization)).items
    except Forbidden:
        found = (await client.list(resource, ks.metadata.namespace, type=Kustomization)).items
        output.say("◎", f"only apps of namespace {ks.metadata.namespace} are known: others may share files with it")
    same = (ks.spec.source_ref.kind, ks.source_key)
    return [one for one in found if one.key != ks.key and (one.spec.source_ref.kind, one.source_key) == same]


async def _warn_of_let_go(client: "Client", held: "Sequence[str]") -> None:
    """Say which images the automation writes again at once, because their policy let them go (`trimtab unhold`)."""
    from trimtab.api.gvk import IMAGE_POLICY
    from trimtab.api.names import Annotation
    from trimtab.base.errors import Transient
    from trimtab.base.http import TransportError
    from trimtab.images.pauses import LetGo
    from trimtab.kube.errors import ApiError, NotFound, UnknownKind, Unreachable

    for one in held:
        policy, _, value = one.partition(" ")
        namespace, _, name = policy.partition("/")
        try:
            body = await client.get(await client.discovery.find(IMAGE_POLICY), name, namespace, type=dict)
        except (NotFound, ValueError):
            continue
        except (ApiError, Unreachable, UnknownKind, TransportError, Transient):
            return  # the commit is made; what can be seen is told of it
        try:
            let_go = LetGo.parse((body["metadata"].get("annotations") or {}).get(Annotation.UNHOLD, ""))
        except ValueError:
            continue
        tagged = let_go.image.partition("@")[0]
        if not let_go.after and value.partition("@")[0] in (tagged, tagged.rpartition(":")[2]):
            output.say(
                "◎",
                f"ImagePolicy {policy} has {Annotation.UNHOLD}: {let_go}, so that image automation writes it again at "
                "once: take that out of the policy, or `trimtab hold` it",
            )


def _theirs(ks: "Kustomization", found: "Reverted") -> Failure:
    apps = sorted({str(key) for keys in found.shared.values() for key in keys})
    files = sorted(found.shared)
    told = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    return Failure(
        Code.WRONG,
        f"{ks.key} shares what would go back with {', '.join(apps[:5])}{' and others' if len(apps) > 5 else ''}: "
        f"{told}. --shared takes them back for all of them",
    )
