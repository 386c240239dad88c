"""What `trimtab images` shows: which images workloads run, what was chosen of them, and why.

What was chosen stands in the status of ImagePolicies. Why it was is found as the controller finds it, by the same code:
the registry is asked from here, with the credentials that the ImageRepository names, if they may be read. Where that is
not possible, it is said, and judged by the ten tags that the controller tells of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from trimtab.api.gvk import IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import ImagePolicy, ImageRepository
from trimtab.base.abreast import abreast
from trimtab.base.clock import SystemClock, rfc3339
from trimtab.base.errors import TrimtabError
from trimtab.base.http import AiohttpTransport
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure
from trimtab.cli.images.choose import explained, reasons
from trimtab.controllers import registryaccess
from trimtab.images import creation
from trimtab.images.choosing import Choice, Rules
from trimtab.images.running import WORKLOADS, Running, canonical, containers
from trimtab.images.scanning import Scanner, ScanSpec
from trimtab.kube.errors import ApiError, Forbidden, UnknownKind
from trimtab.manifests.refs import Body, Gvk, Key
from trimtab.remotes.oci.wire import Access
from trimtab.remotes.outbound import Outbound

if TYPE_CHECKING:
    from datetime import datetime

    from trimtab.kube.client import Client

MOST_AGES: Final = 100
"""Images whose age a look from here asks for."""
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown: `workload` is `NAME` or `KIND/NAME`, all of them where it is empty."""

    workload: str
    namespace: str
    show: int
    form: output.Form


class Row(NamedTuple):
    """A container, and a policy that chooses from its image, if there is one."""

    running: Running
    policy: ImagePolicy | None

    @property
    def chosen(self) -> str:
        """What the policy chose."""
        latest = self.policy.status.latest_ref if self.policy else None
        return latest.tag if latest else ""

    @property
    def state(self) -> str:
        """How the two stand to each other."""
        if self.policy is None:
            return "no policy"
        if not self.chosen:
            return "nothing chosen yet"
        return "as chosen" if self.chosen == self.running.tag else "another is chosen"


class Explained(NamedTuple):
    """A choice as it would be made now, or from what the controller tells; `note` says so."""

    choice: Choice | None
    created: "dict[str, datetime]"
    note: str


async def looked(client: "Client", asked: Asked) -> int:
    """Print what was asked for; the exit code."""
    repositories = {one.key: one for one in await _ours(client, IMAGE_REPOSITORY, ImageRepository, asked.namespace)}
    policies = await _ours(client, IMAGE_POLICY, ImagePolicy, asked.namespace)
    rows = _rows(await _running(client, asked), policies, repositories)
    if asked.workload and not rows:
        raise Failure(Code.WRONG, f"there is no workload {asked.workload} with containers in {_where(asked)}")
    found: dict[Key, Explained] = {}
    if asked.workload:
        transport = AiohttpTransport()
        try:
            scanner = Scanner(Outbound(transport, SystemClock()), SystemClock())
            for row in rows:
                if row.policy is not None and row.policy.key not in found:
                    repository = repositories[row.policy.repository_key]
                    also = {one.running.tag for one in rows if one.policy is row.policy}
                    found[row.policy.key] = await explain(client, scanner, row.policy, repository, asked.show, also)
        finally:
            await transport.close()
    if asked.form != "text":
        click.echo(output.document([_body(row, found) for row in rows], asked.form))
    else:
        click.echo(_text(rows, found, asked))
    return Code.OK


async def _ours(client: "Client", gvk: Gvk, struct: type[Any], namespace: str) -> list[Any]:
    """All objects of a kind, or those of one namespace where more may not be seen."""
    resource = await client.discovery.find(gvk)
    try:
        return list((await client.list(resource, "", type=struct)).items)
    except Forbidden:
        if not namespace:
            raise
        return list((await client.list(resource, namespace, type=struct)).items)


async def _running(client: "Client", asked: Asked) -> list[Running]:
    kind, slash, name = asked.workload.rpartition("/")
    found: list[Running] = []
    for gvk in WORKLOADS:
        if slash and gvk.kind.lower() != kind.lower():
            continue
        try:
            resource = await client.discovery.find(gvk)
        except UnknownKind:
            continue
        field = f"metadata.name={name}" if name else ""
        listed = await client.list(resource, asked.namespace, field_selector=field, type=dict)
        for body in listed.items:
            found += containers({**body, "kind": gvk.kind})
    return found


def _rows(
    running: Sequence[Running], policies: Sequence[ImagePolicy], repositories: dict[Key, ImageRepository]
) -> list[Row]:
    by_image: dict[str, list[ImagePolicy]] = {}
    for policy in policies:
        if (repository := repositories.get(policy.repository_key)) is not None:
            by_image.setdefault(canonical(repository.spec.image), []).append(policy)
    return [
        Row(container, policy)
        for container in running
        for policy in (by_image.get(canonical(container.image)) or (None,))
    ]


async def explain(
    client: "Client",
    scanner: Scanner,
    policy: ImagePolicy,
    repository: ImageRepository,
    show: int,
    also: set[str],
) -> Explained:
    """Why the policy chooses what it chooses; `also` are tags whose age is of interest beside those that are shown."""
    exclusions = repository.spec.exclusions
    try:
        spec = ScanSpec.from_api(repository.spec)
        access = await registryaccess.of(client, repository, spec.timeout_s)
        listed = await scanner.tags(spec, access)
        assert listed is not None  # noqa: S101 - it was not asked whether it is another
        tags = listed.tags
    except (TrimtabError, ApiError) as failure:
        result = repository.status.last_scan_result
        tags = list(result.latest_tags) if result else []
        note = f"the registry cannot be asked from here: {failure}; judged by the {len(tags)} tags of the status"
        try:
            return Explained(Rules.of(policy, exclusions=exclusions).choose(tags), {}, note)
        except TrimtabError as wrong:
            return Explained(None, {}, f"{note}; {wrong}")
    try:
        rules = Rules.of(policy, exclusions=exclusions)
        wanted = rules.in_question(tags) if rules.by_age else []
        if len(wanted) > MOST_AGES:
            words = (
                f"{len(wanted):,} images could be the newest, and only {MOST_AGES} are asked for their age from here"
            )
            return Explained(None, {}, words)
        ages = await _ages(scanner, spec, access, wanted)
        choice = Rules.of(policy, exclusions=exclusions, created=ages).choose(tags)
        top = [one.tag for one in choice.candidates[:show]]
        shown = [tag for tag in (*top, *sorted(also & set(tags) - set(top))) if tag not in ages]
        return Explained(choice, {**ages, **await _ages(scanner, spec, access, shown)}, "")
    except TrimtabError as failure:
        return Explained(None, {}, str(failure))


async def _ages(scanner: Scanner, spec: ScanSpec, access: Access, tags: Sequence[str]) -> "dict[str, datetime]":
    """When images were created; of one that cannot be asked, nothing is known."""
    found: dict[str, datetime] = {}

    async def look(tag: str) -> None:
        try:
            digest = await scanner.digest(spec, access, tag)
            async with scanner.asking(spec, access):
                moment = await creation.created(scanner.registry, spec.repository, access, digest)
        except TrimtabError:
            return
        if moment is not None:
            found[tag] = moment

    await abreast(look, tags, _AT_ONCE)
    return found


def _text(rows: Sequence[Row], found: dict[Key, Explained], asked: Asked) -> str:
    if not rows:
        return f"no workloads in {_where(asked)}"
    everywhere = not asked.namespace
    header = (*(("NAMESPACE",) if everywhere else ()), "WORKLOAD", "CONTAINER", "IMAGE", "RUNNING", "CHOSEN", "POLICY")
    cells = [
        [
            *((row.running.namespace,) if everywhere else ()),
            row.running.workload,
            row.running.container,
            row.running.image,
            row.running.version or "latest",
            row.chosen or "-",
            str(row.policy.key) if row.policy else "-",
        ]
        for row in rows
    ]
    parts = [output.table(header, cells)]
    said: set[Key] = set()
    for row in rows:
        if row.policy is not None and row.policy.key in found and row.policy.key not in said:
            said.add(row.policy.key)
            parts.append(_explanation(row, found[row.policy.key], asked.show))
    return "\n\n".join(parts)


def _explanation(row: Row, found: Explained, show: int) -> str:
    assert row.policy is not None  # noqa: S101 - only those with one are explained
    lines = []
    if found.note:
        lines.append(output.escape(f"{row.policy.key}: {found.note}"))
    if found.choice is not None:
        lines.append(explained(row.policy, found.choice, show, created=found.created))
        lines.append(output.escape(distance(row, found)))
    return "\n".join(line for line in lines if line)


def distance(row: Row, found: Explained) -> str:
    """How far what runs is behind, in candidates and in time."""
    assert found.choice is not None  # noqa: S101 - the caller has looked
    tags = [one.tag for one in found.choice.candidates]
    tag = row.running.tag
    if tag not in tags:
        dropped = next((one for one in found.choice.dropped if one.tag == tag), None)
        why = f"{dropped.by}: {dropped.why}" if dropped else "the registry does not list it"
        return f"\n{row.running.workload} runs {tag or row.running.version}, which is no candidate: {why}"
    newer = tags.index(tag)
    if not newer:
        return f"\n{row.running.workload} runs {tag}, the one that is chosen"
    ages = [found.created.get(one) for one in (tag, tags[0])]
    days = f", {(ages[1] - ages[0]).days} days between them" if ages[0] is not None and ages[1] is not None else ""
    return f"\n{row.running.workload} runs {tag}; {newer} candidate{'s are' if newer > 1 else ' is'} better{days}"


def _body(row: Row, found: dict[Key, Explained]) -> Body:
    body: Body = {**row.running._asdict(), "tag": row.running.tag, "state": row.state, "chosen": row.chosen or None}
    if row.policy is None:
        return body | {"policy": None}
    body["policy"] = str(row.policy.key)
    body["latestRef"] = msgspec.to_builtins(row.policy.status.latest_ref)
    if (explanation := found.get(row.policy.key)) is not None:
        body["note"] = explanation.note
        body["created"] = {tag: rfc3339(moment) for tag, moment in sorted(explanation.created.items())}
        if explanation.choice is not None:
            body["choice"] = reasons(row.policy, explanation.choice)
    return body


def _where(asked: Asked) -> str:
    return f"namespace {asked.namespace}; -n names another, -A means all" if asked.namespace else "any namespace"
