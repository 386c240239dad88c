"""How commands write to the repository of an app: where it is, as whom, signed by what, and what is told of it."""

import functools
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization
    from trimtab.api.source import GitRepository
    from trimtab.commits import Outcome, Person, Push, Signer, Writer
    from trimtab.commits.own import Clone
    from trimtab.commits.way import Way
    from trimtab.kube.client import Client

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Pen(NamedTuple):
    """What was said about the commit."""

    message: str | None
    branch: str | None
    dry_run: bool
    repo: Path | None
    remote: str | None
    secret: bool
    author: str | None
    sign: Path | None
    passphrase: Path | None
    no_sign: bool


class Desk(NamedTuple):
    """All that a commit needs besides what it changes."""

    writer: "Writer"
    author: "Person"
    signer: "Signer | None"
    push: "Push"
    source: "GitRepository"


def pen_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `command(…, pen=…)` take what a commit takes."""

    @click.option("-m", "--message", help="What the commit says, in place of what it would say by itself.")
    @click.option("--branch", help="Push to this branch in place of the one that the source follows.")
    @click.option("--dry-run", is_flag=True, help="Show what would be committed, and commit nothing.")
    @click.option(
        "--repo",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="A clone whose remote and settings are used. It is only read; pull afterwards.",
    )
    @click.option("--remote", metavar="URL", help="Where the repository is for you, if not where the source says.")
    @click.option("--secret", is_flag=True, help="Sign in with the Secret of the source, not with your own git.")
    @click.option("--author", metavar="'NAME <ADDRESS>'", help="In whose name; else in that of your git.")
    @click.option("--sign", metavar="FILE", type=_FILE, help="Private key of SSH or OpenPGP that signs the commit.")
    @click.option("--sign-passphrase", metavar="FILE", type=_FILE, help="File with the passphrase of that key.")
    @click.option("--no-sign", is_flag=True, help="Do not sign, though your git or the source wants it.")
    def with_pen(
        *arguments: Any,
        message: str | None,
        branch: str | None,
        dry_run: bool,
        repo: Path | None,
        remote: str | None,
        secret: bool,
        author: str | None,
        sign: Path | None,
        sign_passphrase: Path | None,
        no_sign: bool,
        **rest: Any,
    ) -> Any:
        if secret and repo is not None:
            raise click.UsageError("--secret signs in with the Secret of the source, --repo with a clone: one of them")
        if sign is not None and no_sign:
            raise click.UsageError("--sign and --no-sign exclude each other")
        pen = Pen(message, branch, dry_run, repo, remote, secret, author, sign, sign_passphrase, no_sign)
        return command(*arguments, pen=pen, **rest)

    options = with_pen.__click_params__  # type: ignore[attr-defined]
    wrapped = functools.update_wrapper(with_pen, command)
    wrapped.__click_params__ = [*getattr(command, "__click_params__", ()), *options]  # type: ignore[attr-defined]
    return wrapped


async def source_of(client: "Client", ks: "Kustomization") -> "GitRepository":
    """The repository that an app comes from. Raises Failure for one that no commit can change."""
    from trimtab.api.gvk import GIT_REPOSITORY
    from trimtab.api.source import GitRepository
    from trimtab.kube.errors import NotFound

    if ks.spec.source_ref.kind != GIT_REPOSITORY.kind:
        raise Failure(
            Code.WRONG,
            f"{ks.key} comes from {ks.spec.source_ref.kind} {ks.source_key}, which is not a git repository: change it "
            "where that is made",
        )
    resource = await client.discovery.find(GIT_REPOSITORY)
    try:
        return await client.get(resource, ks.source_key.name, ks.source_key.namespace, type=GitRepository)
    except NotFound:
        raise Failure(Code.WRONG, f"GitRepository {ks.source_key} of {ks.key} does not exist") from None


@asynccontextmanager
async def desk(
    client: "Client", source: "GitRepository", pen: Pen, timeout_s: float, *, lookback: int | None = None
) -> "AsyncIterator[Desk]":
    """What writes to the repository of `source`. Raises Failure, Transient and Terminal.

    With `lookback`, so many commits come along with the head; by themselves it is few.
    """
    from trimtab.base.clock import SystemClock
    from trimtab.base.http import AiohttpTransport
    from trimtab.commits import Push, Writers
    from trimtab.commits.own import Clone
    from trimtab.commits.writer import LOOKBACK

    deep = LOOKBACK if lookback is None else lookback
    clone = None
    if pen.repo is not None:
        clone = await Clone.at(pen.repo)
        if clone.merging:
            output.say("◎", f"{pen.repo} is in the middle of a merge or a rebase, and stays as it is")
    branch = _branch(source, clone, pen)
    author, signer = await _author(pen), await _signer(source, pen)
    transport = AiohttpTransport()
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-commits-") as directory:
            writers = Writers(Path(directory), transport, SystemClock())
            if pen.secret:
                writer = await _by_secret(client, source, pen, writers, branch, transport, deep)
            else:
                writer = writers.by(_own(source, clone, pen, timeout_s), branch, lookback=deep)
            yield Desk(writer, author, signer, Push(branch=pen.branch or ""), source)
    finally:
        await transport.close()


def tell(outcome: "Outcome", *, quiet: bool, same: str) -> Code:
    """Say what became of it; on standard output the commit alone, for programs. `same` is said of no change."""
    from trimtab.commits import Already, Nothing, Planned, Written

    match outcome:
        case Written():
            for path in outcome.paths:
                output.say("►", path, quiet=quiet)
            output.say("✔", f"committed to {outcome.branch}, on top of {outcome.parent[:12]}", quiet=quiet)
            for note in outcome.notes:
                output.say("◎", note)
            click.echo(outcome.commit)
        case Already():
            output.say("✔", f"{outcome.branch} has it already", quiet=quiet)
            click.echo(outcome.commit)
        case Nothing():
            output.say("✔", same, quiet=quiet)
        case Planned():
            for line in outcome.diff.splitlines():
                click.echo(output.escape(line))
            output.say("►", f"nothing is committed; on {outcome.parent[:12]} of {outcome.branch} it would say:")
            for line in outcome.message.splitlines():
                click.echo(f"    {output.escape(line)}", err=True)
            return Code.DIFFERS
    return Code.OK


def requester(on_behalf_of: str = "") -> str:
    """Who runs the command, and where; and before that, in whose name that is."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    here = f"{user}@{socket.gethostname()}"
    return f"{on_behalf_of} ({here})" if on_behalf_of else here


def _branch(source: "GitRepository", clone: "Clone | None", pen: Pen) -> str:
    """The branch that the commit is made on: the one that the source follows."""
    from trimtab.sources.targets import Branch, Commit, Name, target_of

    match target_of(source.spec.ref):
        case Branch(name):
            return name
        case Name(name) if name.startswith("refs/heads/"):
            return name.removeprefix("refs/heads/")
        case Commit(_, branch) if branch:
            why = f"follows one commit of the branch {branch}, not its head"
        case _:
            why = "follows no branch"
    if clone is not None and clone.branch and pen.branch:
        return clone.branch
    if clone is not None and pen.branch:
        raise Failure(Code.WRONG, f"{clone.directory}: HEAD is detached, so there is no branch to begin from")
    raise Failure(
        Code.WRONG,
        f"GitRepository {source.metadata.namespace}/{source.metadata.name} {why}: no commit changes what it follows. "
        "Change its spec.ref, or name --branch with --repo and open a pull request from it",
    )


def _own(source: "GitRepository", clone: "Clone | None", pen: Pen, timeout_s: float) -> "Way":
    from trimtab.commits.own import Own

    settings = clone.settings if clone is not None else ()
    if clone is not None and not clone.remote and pen.remote is None:
        raise Failure(Code.WRONG, f"{clone.directory} has no remote: name it with --remote URL")
    url = pen.remote or (clone.remote if clone is not None else source.spec.url)
    return Own(url, min(timeout_s, 120.0), settings)


async def _by_secret(
    client: "Client", source: "GitRepository", pen: Pen, writers: Any, branch: str, transport: Any, lookback: int
) -> "Writer":
    from trimtab.commits import Repository
    from trimtab.controllers.gitaccess import GitAccess
    from trimtab.remotes.git.address import parse_address
    from trimtab.remotes.git.github import Apps
    from trimtab.sources.git import GitSpec

    spec = GitSpec.from_api(source.spec)
    access = GitAccess(client, Apps(transport, client.clock))
    reads = await access.credentials(source, spec)
    # a GitHub App hands out a token that only reads, and another that writes; what is only shown needs no such right
    writes = await access.credentials(source, spec, writes=not pen.dry_run)
    address = spec.address
    if pen.remote is not None and (address := parse_address(pen.remote)).origin != spec.address.origin:
        raise Failure(Code.WRONG, f"--secret is for {spec.address}, and is not sent to another place")
    way = Repository(address, reads, writes, timeout_s=spec.timeout_s)
    writer: Writer = writers.of(way, branch, lookback=lookback)
    return writer


async def _author(pen: Pen) -> "Person":
    import re

    from trimtab.commits import Person
    from trimtab.commits.own import identity

    if pen.author is not None:
        if not (found := re.fullmatch(r"\s*([^<>]*?)\s*<([^<>\s]+)>\s*", pen.author)):
            raise Failure(Code.WRONG, f"--author wants 'NAME <ADDRESS>', not {pen.author[:100]!r}")
        return Person(found[1], found[2])
    if (person := await identity()) is None:
        raise Failure(
            Code.WRONG,
            "your git does not know your name: set user.name and user.email, or give --author 'NAME <ADDRESS>'",
        )
    return person


async def _signer(source: "GitRepository", pen: Pen) -> "Signer | None":
    """What signs. Where a signature is wanted and there is no key, that is an error and no unsigned commit."""
    from trimtab.commits import signing_key
    from trimtab.commits.own import setting

    if pen.no_sign:
        return None
    key = pen.sign
    if key is None and await setting("commit.gpgsign", "bool") == "true":
        key = await _ssh_key()
        if key is None:
            raise Failure(
                Code.WRONG,
                "your git signs commits (commit.gpgSign), and the key is not a file that can be read here: give "
                "--sign FILE, or --no-sign to go without",
            )
    if key is None:
        if source.spec.verify is not None:
            raise Failure(
                Code.WRONG,
                f"GitRepository {source.metadata.namespace}/{source.metadata.name} takes signed commits only "
                "(spec.verify): give --sign FILE, or --no-sign if somebody signs it later",
            )
        return None
    passphrase = pen.passphrase.read_bytes().rstrip(b"\r\n") if pen.passphrase is not None else b""
    return signing_key(key.read_bytes(), passphrase, where=f"the key {key}")


async def _ssh_key() -> Path | None:
    """The file of the private key that the person's git signs with, if it is one of SSH."""
    from trimtab.commits.own import setting

    named = await setting("user.signingkey", "path")
    if await setting("gpg.format") != "ssh" or not named:
        return None
    file = Path(named).with_suffix("") if named.endswith(".pub") else Path(named)
    return file if file.is_file() else None
