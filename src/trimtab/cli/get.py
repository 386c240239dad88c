"""`trimtab get`: what there is, at which revision, and whether it is ready. The columns are Flux's."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import (
    APP,
    EXTERNAL,
    NOTIFICATIONS,
    POLICY,
    Kind,
    condition,
    on_one_line,
    revision,
    several,
    shortened,
    static,
    suspended,
    title,
)
from trimtab.kube.errors import UnknownKind
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_STATIC: Body = {"status": "True", "message": "static: its charts are looked for when they are asked for"}
_HEEDED: Body = {"status": "True", "message": "static: heeded as it is; its Events say what is wrong"}


@click.command("get", epilog="\b\nExample:\n  trimtab get all -A\n  trimtab get source git shop -n flux-system")
@click.argument("words", nargs=-1, metavar="[KIND [NAME]]")
@click.option("-A", "--all-namespaces", is_flag=True, help="In every namespace.")
@click.option("-o", "--output", "form", type=click.Choice(output.FORMS), default="text", help="How to print.")
@click.option("-w", "--watch", is_flag=True, help="Go on, with a line for every change.")
@click.option("-l", "--label-selector", default="", help="Only objects with these labels.")
@click.option("--status-selector", default="", metavar="TYPE=STATUS", help="Only with this condition: ready=false.")
@click.option("--show-source", is_flag=True, help="Also where an app comes from.")
@click.option("--no-header", is_flag=True, help="Without the names of the columns.")
@cluster_options
def get(
    options: Options,
    words: tuple[str, ...],
    all_namespaces: bool,
    form: output.Form,
    watch: bool,
    label_selector: str,
    status_selector: str,
    show_source: bool,
    no_header: bool,
) -> None:
    """List objects.

    KIND is one of: all (the default), sources all, source git, source oci, source bucket, source helm, source chart,
    source external, artifact generators (ag), kustomizations (ks), helmreleases (hr), receivers, alerts,
    alert-providers (providers), images all, image repositories (imgrepo), image policies (imgpol), image updates (iua).
    """

    async def work(client: "Client") -> int:
        kinds, name = several(words)
        kinds = await _installed(client, kinds) if len(kinds) > 1 else kinds
        namespace = "" if all_namespaces else options.namespace
        wanted = Wanted(kinds, namespace, name, label_selector, status_test(status_selector))
        columns = Columns(namespaced=all_namespaces, titled=len(kinds) > 1, sources=show_source)
        if watch:
            if form != "text":
                raise Failure(Code.WRONG, "--watch prints text only")
            await _follow(client, wanted, columns, header=not no_header)
        groups = [await _list(client, wanted, kind) for kind in kinds]
        if form != "text":
            found = [output.presentable(body) for group in groups for body in group]
            click.echo(output.document(found[0] if name and len(found) == 1 else output.listing(found), form))
        else:
            _print(wanted, columns, groups, header=not no_header)
        if name and not any(groups):
            raise Failure(Code.WRONG, _missing(kinds[0], name, namespace))
        return Code.OK

    perform(options, work)


class Wanted:
    """Which objects were asked for."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        namespace: str,
        name: str = "",
        label_selector: str = "",
        admits: Callable[[Body], bool] | None = None,
    ) -> None:
        self.kinds = kinds
        self.namespace = namespace
        self.name = name
        self.label_selector = label_selector
        self.admits = admits or (lambda _body: True)


class Columns:
    """Which columns a table has, and how an object fills them."""

    def __init__(self, *, namespaced: bool = False, titled: bool = False, sources: bool = False) -> None:
        self._namespaced = namespaced
        self._titled = titled
        self._sources = sources

    def header(self, kind: Kind) -> list[str]:
        """The names of the columns."""
        source = ["SOURCE"] if self._sources and kind is APP else []
        # nobody here looks after what another producer writes, so that it cannot be suspended
        third = "SOURCE" if kind is EXTERNAL else "TAG" if kind is POLICY else "SUSPENDED"
        return [
            *(["NAMESPACE"] if self._namespaced else []),
            "NAME",
            *source,
            *([kind.column] if kind.column else []),
            third,
            "READY",
            "MESSAGE",
        ]

    def row(self, kind: Kind, body: Body) -> list[str]:
        """The cells of one object."""
        ready = (_HEEDED if kind in NOTIFICATIONS else _STATIC) if static(body) else condition(body, "Ready")
        metadata = body["metadata"]
        second, third = shortened(revision(body)), str(suspended(body))
        if kind is EXTERNAL:
            third = _source(body)
        elif kind is POLICY:
            latest = body.get("status", {}).get("latestRef") or {}
            second, third = str(latest.get("name", "")), str(latest.get("tag", ""))
        return [
            *([metadata.get("namespace", "")] if self._namespaced else []),
            title(body) if self._titled else metadata["name"],
            *([_source(body)] if self._sources and kind is APP else []),
            *([second] if kind.column else []),
            third,
            ready.get("status", "Unknown"),
            on_one_line(ready.get("message", "waiting to be reconciled")),
        ]


def status_test(selector: str) -> Callable[[Body], bool]:
    """Whether an object has the condition that `ready=false` asks for. Raises Failure for another form."""
    if not selector:
        return lambda _body: True
    type_, equals, status = selector.partition("=")
    if not equals or not type_ or status.lower() not in ("true", "false", "unknown"):
        raise Failure(Code.WRONG, f"--status-selector {selector!r}: expected a condition and a status, as ready=false")
    return lambda body: str(condition(body, type_).get("status", "")).lower() == status.lower()


def _print(wanted: Wanted, columns: Columns, groups: Sequence[Sequence[Body]], *, header: bool) -> None:
    tables = [
        output.table(columns.header(kind), [columns.row(kind, body) for body in group], show_header=header)
        for kind, group in zip(wanted.kinds, groups, strict=True)
        if group
    ]
    if tables:
        click.echo("\n\n".join(tables))
    elif not wanted.name:
        place = f"in namespace {wanted.namespace}" if wanted.namespace else "in any namespace"
        what = " or ".join(kind.gvk.kind for kind in wanted.kinds)
        click.echo(f"no {what} objects found {place}", err=True)


async def _installed(client: "Client", kinds: Sequence[Kind]) -> tuple[Kind, ...]:
    """Who asks for everything means what there is: an older installation may lack a kind."""
    found: list[Kind] = []
    for kind in kinds:
        with contextlib.suppress(UnknownKind):
            await client.discovery.find(kind.gvk)
            found.append(kind)
    return tuple(found) or tuple(kinds)


async def _list(client: "Client", wanted: Wanted, kind: Kind) -> list[Body]:
    resource = await client.discovery.find(kind.gvk)
    field = f"metadata.name={wanted.name}" if wanted.name else ""
    found = await client.list(
        resource, wanted.namespace, label_selector=wanted.label_selector, field_selector=field, type=dict
    )
    return [body for body in found.items if wanted.admits(body)]


async def _follow(client: "Client", wanted: Wanted, columns: Columns, *, header: bool) -> None:
    """Print a line for every object and for every change that can be seen in it, until interrupted."""
    from trimtab.cli.follow import follow

    shown: dict[tuple[str, str, str], list[str]] = {}
    headed = not header

    async def one_kind(kind: Kind) -> None:
        nonlocal headed
        async for body, deleted in follow(
            client, kind, wanted.namespace, name=wanted.name, label_selector=wanted.label_selector
        ):
            if deleted or not wanted.admits(body):
                continue
            row = columns.row(kind, body)
            key = (kind.gvk.kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])
            if shown.get(key) == row:
                continue
            shown[key] = row
            click.echo(_line(columns.header(kind) if not headed else None, row))
            headed = True

    async with asyncio.TaskGroup() as group:
        for kind in wanted.kinds:
            group.create_task(one_kind(kind))


def _line(header: Iterable[str] | None, row: Sequence[str]) -> str:
    return output.table(list(header or row), [row], show_header=header is not None, least=9)


def _source(body: Body) -> str:
    ref = body.get("spec", {}).get("sourceRef") or {}
    return "/".join(part for part in (ref.get("kind"), ref.get("namespace"), ref.get("name")) if part)


def _missing(kind: Kind, name: str, namespace: str) -> str:
    place = f"in namespace {namespace}" if namespace else "in any namespace"
    return f"no {kind.gvk.kind} {name} {place}; another namespace is named with -n, all of them with -A"
