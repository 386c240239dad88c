"""What `trimtab diff` was asked, and the answer."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trimtab.cli.connect import Code, Failure, Options
from trimtab.cli.diff import against
from trimtab.cli.render.rendering import Recipe

if TYPE_CHECKING:
    from trimtab.diff.report import Finding, Report
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Ref
    from trimtab.targets.kubernetes.comparing import Terms

STDIN = Path("-")


class Subject(NamedTuple):
    """What is compared: the files at `path`; else an app by name, or (no name) all in the namespace, or everywhere.

    With a name, `path` is what is taken in place of what the source of the app has published.
    """

    path: Path | None = None
    name: str = ""
    namespace: str = ""

    @property
    def is_files(self) -> bool:
        """Whether it is no app at all."""
        return self.path is not None and not self.name

    def __str__(self) -> str:
        if self.is_files:
            return "standard input" if self.path == STDIN else str(self.path)
        if self.name:
            return f"kustomization {self.namespace}/{self.name}"
        return f"all kustomizations in namespace {self.namespace}" if self.namespace else "all kustomizations"


class Asked(NamedTuple):
    """What is to be compared, and what is to be told."""

    subject: Subject
    recipe: Recipe
    options: Options
    unmanaged: bool = False
    orphans: bool = False
    owners: bool = False
    read_only: bool = False

    async def of_cluster(self, client: "Client") -> "Report":
        """The subject against a cluster. Raises Failure, and what a request for the app itself raises."""
        from trimtab.targets.kubernetes import estate
        from trimtab.targets.kubernetes.comparing import Terms

        terms = Terms(
            rehearsing=not self.read_only,
            owners=self.owners,
            timeout_s=self.options.timeout_s,
            until=asyncio.get_running_loop().time() + self.options.timeout_s,
        )
        found, known = await (self._files(client, terms) if self.subject.is_files else self._apps(client, terms))
        if self.unmanaged:
            namespaces = {finding.ref.namespace for finding in found if finding.ref in known}
            told = {finding.ref for finding in found}
            extra = await estate.unmanaged(client, namespaces, known)
            found += [finding for finding in extra if finding.ref not in told]
        return self._report(found)

    async def of_dump(self, live: Path | None) -> "Report":
        """Files against a dump, or against nothing. Raises Failure."""
        assert self.subject.path is not None  # noqa: S101 - whoever asks has looked
        wish = await against.wanted(self.subject.path, self.recipe)
        if live is not None:
            namespace, everything = self.options.asked, self.unmanaged
            try:
                return self._report(against.dump(wish, live, namespace=namespace, everything=everything))
            except RecursionError:
                raise Failure(Code.WRONG, f"{live}: something in it is nested too deeply") from None
        why = "offline, and nothing live was given to compare it with (--live FILE)"
        return self._report(against.hidden(against.nothing(wish.rendered.manifests, why), wish))

    async def _files(self, client: "Client", terms: "Terms") -> "tuple[list[Finding], Collection[Ref]]":
        assert self.subject.path is not None  # noqa: S101
        wish = await against.wanted(self.subject.path, self.recipe)
        if (key := wish.declared.key) is not None and not key.namespace:
            key = key._replace(namespace=self.options.namespace)
            wish = wish._replace(declared=wish.declared._replace(key=key))
        namespace = self.options.asked or client.config.namespace
        found = await against.compared(client, wish, terms, namespace=namespace)
        return against.hidden(found, wish), {finding.ref for finding in found}

    async def _apps(self, client: "Client", terms: "Terms") -> "tuple[list[Finding], Collection[Ref]]":
        from trimtab.cli.diff import apps
        from trimtab.targets.kubernetes import estate

        name, namespace = self.subject.name, self.subject.namespace
        wanted = await apps.find(client, name, namespace)
        if not wanted:
            raise Failure(Code.WRONG, f"there are no kustomizations in namespace {namespace}: -A looks everywhere")
        async with apps.apps(client, terms, self.recipe, self.subject.path) as looking:
            looks = await looking.look_at(wanted)
        found = [finding for look in looks for finding in look.findings]
        known = {ref for look in looks for ref in look.record.refs}
        if self.orphans:
            records = {look.key: look.record for look in looks}
            found += await estate.orphans(client, records, None if name else namespace)
        return found, known

    def _report(self, found: "Sequence[Finding]") -> "Report":
        from trimtab.diff.report import gathered

        return gathered(str(self.subject), datetime.now(UTC), found)
