"""Which repository a command changes: that of an app, of a GitRepository, or of a clone; and what is in it now."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from trimtab.cli.connect import Code, Failure, Options, perform, perform_alone

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization
    from trimtab.api.source import GitRepository
    from trimtab.cli.git.committing import Desk, Pen
    from trimtab.commits import Changes, Edit, Message, Outcome, Snapshot
    from trimtab.images.named import Named
    from trimtab.kube.client import Client


class Where(NamedTuple):
    """What was said about the repository."""

    app: str
    source: str
    path: str


class Ground(NamedTuple):
    """A repository, and the directory in it that is meant; empty: all of it. Without a cluster there is no client.

    `overridden` are names of images whose tags the app itself sets (spec.images), so that files do not.
    """

    desk: "Desk"
    within: str
    client: "Client | None"
    overridden: frozenset[str] = frozenset()

    async def look(self) -> "Snapshot":
        """The head of the branch, with all its YAML."""
        from trimtab.commits import Changes, Message, Order
        from trimtab.images.sweep import may_be_edited

        found: list[Snapshot] = []

        def keep(snapshot: "Snapshot") -> "Changes":
            found.append(snapshot)
            return Changes()

        author = self.desk.author
        await self.desk.writer.write(keep, Order(Message("Look"), author, reads=may_be_edited, push=self.desk.push))
        return found[-1]

    async def write(self, edit: "Edit", message: "Message", *, dry: bool) -> "Outcome":
        """Commit what `edit` makes of the YAML files."""
        from trimtab.commits import Order
        from trimtab.images.sweep import may_be_edited

        desk = self.desk
        order = Order(message, desk.author, reads=may_be_edited, signer=desk.signer, push=desk.push, dry=dry)
        return await desk.writer.write(edit, order)


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let `command(…, where=…)` take which repository is meant."""

    @click.option("--app", default="", help="The app (a Kustomization) whose files are meant (that of the object).")
    @click.option("--source", default="", metavar="NAME", help="The GitRepository whose repository is meant.")
    @click.option("--path", default="", metavar="DIRECTORY", help="Look below this directory of the repository only.")
    def with_where(*arguments: Any, app: str, source: str, path: str, **rest: Any) -> Any:
        return command(*arguments, where=Where(app, source, path), **rest)

    options = with_where.__click_params__  # type: ignore[attr-defined]
    wrapped = functools.update_wrapper(with_where, command)
    wrapped.__click_params__ = [*getattr(command, "__click_params__", ()), *options]  # type: ignore[attr-defined]
    return wrapped


def perform_on(
    options: Options, where: Where, pen: "Pen", names: "Sequence[Named]", work: "Callable[[Ground], Awaitable[int]]"
) -> None:
    """Run `work` on the repository that is meant, and leave with its code. Raises UsageError if none is.

    Where nothing is said of it, it is that of the app that the first of the objects belongs to in the cluster.
    """
    if where.app and where.source:
        raise click.UsageError("--app has its own source: give --app or --source")
    if where.app or where.source or (names and pen.repo is None):

        async def on_cluster(client: "Client") -> int:
            async with _of_cluster(client, options, where, pen, names) as ground:
                return await work(ground)

        perform(options, on_cluster)
        return
    if pen.repo is None:
        raise click.UsageError("say in which repository: --app APP, --source GITREPOSITORY, or --repo DIRECTORY")
    repo = pen.repo

    async def on_clone() -> int:
        async with _of_clone(repo, options, where, pen) as ground:
            return await work(ground)

    perform_alone(on_clone)


@asynccontextmanager
async def _of_cluster(
    client: "Client", options: Options, where: Where, pen: "Pen", names: "Sequence[Named]"
) -> AsyncIterator[Ground]:
    from trimtab.cli.git.committing import desk, source_of
    from trimtab.cli.questions.inventory import app
    from trimtab.commits.changes import inside

    overridden: frozenset[str] = frozenset()
    if not where.source:
        ks = await (
            app(client, options.namespace, (where.app,)) if where.app else _owner(client, names[0], options.namespace)
        )
        source, path = await source_of(client, ks), where.path or ks.spec.path
        overridden = frozenset(image.name for image in ks.spec.images if image.new_tag or image.digest)
    else:
        source, path = await _named(client, options.namespace, where.source), where.path
    async with desk(client, source, pen, options.timeout_s) as at:
        yield Ground(at, inside(path), client, overridden)


@asynccontextmanager
async def _of_clone(repo: Path, options: Options, where: Where, pen: "Pen") -> AsyncIterator[Ground]:
    from trimtab.api.meta import ObjectMeta
    from trimtab.api.source import GitRef, GitRepository, GitRepositorySpec
    from trimtab.cli.git.committing import desk
    from trimtab.commits.changes import inside
    from trimtab.commits.own import Clone

    clone = await Clone.at(repo)
    if not clone.branch:
        raise Failure(Code.WRONG, f"{repo}: HEAD is detached, so there is no branch to commit to: check one out")
    spec = GitRepositorySpec(url=clone.remote or "https://unknown", interval="1m", ref=GitRef(branch=clone.branch))
    source = GitRepository(metadata=ObjectMeta(name=repo.name or "clone"), spec=spec)
    # a clone has no Secret to read, so that nobody asks the cluster
    async with desk(cast("Client", None), source, pen, options.timeout_s) as at:
        yield Ground(at, inside(where.path), None)


async def _owner(client: "Client", named: "Named", namespace: str) -> "Kustomization":
    """The app that a live object belongs to. Raises Failure."""
    from trimtab.api import names
    from trimtab.cli.questions.inventory import app
    from trimtab.images.running import WORKLOADS
    from trimtab.kube.errors import NotFound

    kinds = [named.kind] if named.kind else [gvk.kind for gvk in WORKLOADS]
    where = named.namespace or namespace
    for kind in kinds:
        try:
            resource = await client.discovery.find_by_name(kind)
            live = await client.get(resource, named.name, where if resource.namespaced else "", type=dict)
        except NotFound:
            continue
        labels = live["metadata"].get("labels") or {}
        if name := labels.get(names.OWNER_NAME):
            return await app(client, labels.get(names.OWNER_NAMESPACE, ""), ("kustomization", name))
        if release := labels.get(names.RELEASE_OWNER_NAME):
            home = labels.get(names.RELEASE_OWNER_NAMESPACE, "")
            raise Failure(
                Code.WRONG, f"{kind} {where}/{named.name} is made by a chart: name HelmRelease/{home}/{release} instead"
            )
        raise Failure(
            Code.WRONG, f"{kind} {where}/{named.name} belongs to no app: say where it is with --app or --source"
        )
    raise Failure(
        Code.WRONG,
        f"there is no {named} in namespace {where} of the cluster: name its namespace, or the repository with --app, "
        "--source or --repo",
    )


async def _named(client: "Client", namespace: str, name: str) -> "GitRepository":
    from trimtab.api.gvk import GIT_REPOSITORY
    from trimtab.api.source import GitRepository
    from trimtab.kube.errors import NotFound

    try:
        return await client.get(await client.discovery.find(GIT_REPOSITORY), name, namespace, type=GitRepository)
    except NotFound:
        raise Failure(Code.WRONG, f"there is no GitRepository {name} in namespace {namespace}") from None
