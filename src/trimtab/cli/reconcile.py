"""`trimtab reconcile`: look at a source, or converge an app, now; and tell how it went."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import click

from trimtab.api.names import FORCE_AT, REQUESTED_AT, RESET_AT, Annotation
from trimtab.api.requests import requested_by
from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.kinds import (
    APP,
    CHART,
    NAMED,
    RELEASE,
    SOURCES,
    Kind,
    asked,
    condition,
    one,
    reconciled,
    revision,
    static,
    suspended,
)
from trimtab.manifests.refs import Body

if TYPE_CHECKING:
    from trimtab.kube.client import Client

_LONGEST_NAME = 200
_EXAMPLES = """\b
Examples:
  trimtab reconcile shop --with-source
  trimtab reconcile source git shop -n team-a
  trimtab reconcile shop --correct
  trimtab reconcile helmrelease podinfo --force
"""


@click.command("reconcile", epilog=_EXAMPLES)
@click.argument("words", nargs=-1, required=True, metavar=NAMED)
@click.option("--with-source", is_flag=True, help="Look at the source of the app, or of the release's chart, first.")
@click.option("--correct", is_flag=True, help="Also undo drift, once, where it is only told of.")
@click.option("--force", is_flag=True, help="Of a HelmRelease: make a new revision, even if nothing is new.")
@click.option("--reset", is_flag=True, help="Of a HelmRelease: forget its failures, and try again.")
@cluster_options
def reconcile(
    options: Options, words: tuple[str, ...], with_source: bool, correct: bool, force: bool, reset: bool
) -> None:
    """Ask for a reconcile now and wait for its end.

    An app that only tells of drift (trimtab.dev/drift: alert or ignore) applies what is new and tells of drift;
    --correct has it undo the drift as well, once. What is suspended is not asked. Who asked, as the API server knows
    them, is noted with the request (trimtab.dev/requested-by), in an event, and in the history of the app.

    Exit codes: 0 it is ready, 2 it failed or is not ready in time, 3 the cluster cannot be asked.
    """

    async def work(client: "Client") -> int:
        kind, name = one(words)
        reconciled(kind)
        also = (*((FORCE_AT,) if force else ()), *((RESET_AT,) if reset else ()))
        if also and kind is not RELEASE:
            raise Failure(Code.WRONG, f"--force and --reset are for HelmReleases, and {name} is a {kind.gvk.kind}")
        if correct and kind not in (APP, RELEASE):
            raise Failure(Code.WRONG, f"--correct is for apps and HelmReleases, and {name} is a {kind.gvk.kind}")
        also = (*also, *((Annotation.CORRECT_AT,) if correct else ()))
        teller = Teller(quiet=options.quiet)
        async with deadline(options.timeout_s, f"{kind.gvk.kind} {name}"):
            sources = await _sources_of(client, kind, options.namespace, name) if with_source else ()
            by = await requester(client)
            for of, namespace, source in sources:
                await reconcile_one(client, of, namespace, source, teller, by=by)
            await reconcile_one(client, kind, options.namespace, name, teller, also, by=by)
        return Code.OK

    perform(options, work)


@dataclass(frozen=True, slots=True)
class Teller:
    """Says what happens, or keeps quiet."""

    quiet: bool = False

    def say(self, sign: Literal["►", "✔", "◎", "✗"], text: str) -> None:
        output.say(sign, text, quiet=self.quiet)


@dataclass(frozen=True, slots=True)
class Pending:
    """Not over yet; `message` is what the object says about itself."""

    message: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Over, and good."""

    revision: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Over, and not good: waiting longer does not help unless somebody changes something."""

    reason: str
    message: str


def judge(body: Body, token: str = "") -> Pending | Ready | Broken:
    """How the reconcile asked for with `token` went; without a token, how the object is now.

    A failure that is retried is a failure: whoever waits wants to know at once. Waiting for a dependency is not.
    """
    if token and body.get("status", {}).get("lastHandledReconcileAt") != token:
        return Pending("")
    ready, generation = condition(body, "Ready"), body["metadata"].get("generation", 0)
    message = str(ready.get("message", ""))
    if ready.get("observedGeneration", generation) != generation:
        return Pending(message)
    reconciling = condition(body, "Reconciling")
    at_work = reconciling.get("status") == "True" and reconciling.get("reason") != "ProgressingWithRetry"
    if condition(body, "Stalled").get("status") == "True":
        return Broken(str(ready.get("reason", "Stalled")), message)
    if ready.get("status") == "False" and not at_work and ready.get("reason") != "DependencyNotReady":
        return Broken(str(ready.get("reason", "")), message)
    if ready.get("status") == "True" and reconciling.get("status") != "True":
        return Ready(revision(body))
    return Pending(message)


async def reconcile_one(
    client: "Client",
    kind: Kind,
    namespace: str,
    name: str,
    teller: Teller,
    also: Sequence[str] = (),
    *,
    by: str = "",
) -> None:
    """Annotate one object and wait until the request is honoured. Raises Failure when it did not end well.

    `also` are annotations that ask for more than a look, by the same token; `by` is who asks, empty where that is not
    known: then what is said of an earlier request goes.
    """
    resource = await client.discovery.find(kind.gvk)
    body = await client.get(resource, name, namespace, type=dict)
    if suspended(body):
        command = f"trimtab resume {kind.human} {name} -n {namespace}"
        raise Failure(Code.WRONG, f"{kind.gvk.kind} {namespace}/{name} is suspended; `{command}` ends that")
    if static(body):
        teller.say("✔", f"{kind.gvk.kind} {name} is static: there is nothing to fetch until a chart is asked for")
        return
    teller.say("►", f"annotating {kind.gvk.kind} {name} in {namespace} namespace")
    token = datetime.now(UTC).isoformat(timespec="microseconds")
    asks: dict[str, str | None] = dict.fromkeys((REQUESTED_AT, *also), token)
    asks[Annotation.REQUESTED_BY] = requested_by(by, token) if by else None
    patch = {"metadata": {"annotations": asks}}
    await client.merge_patch(resource, name, namespace, patch, field_manager="trimtab", type=dict)
    teller.say("✔", f"{kind.gvk.kind} annotated")
    await wait_for(client, kind, namespace, name, teller, token=token)


async def requester(client: "Client") -> str:
    """Who the API server takes us for; nothing where it does not say. Nobody is guessed."""
    from trimtab.kube.errors import ApiError
    from trimtab.manifests.codec import decode, encode

    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    try:
        answer = decode(await client.request("POST", path, body=encode(review)))
        return str(answer["status"]["userInfo"]["username"])[:_LONGEST_NAME]
    except (ApiError, KeyError, TypeError, ValueError):
        return ""


async def wait_for(client: "Client", kind: Kind, namespace: str, name: str, teller: Teller, *, token: str = "") -> None:
    """Follow one object until it is ready. Raises Failure when it is broken or gone."""
    from trimtab.cli.follow import follow

    teller.say("◎", f"waiting for {kind.gvk.kind} reconciliation")
    said = ""
    async with aclosing(follow(client, kind, namespace, name=name)) as changes:
        async for body, deleted in changes:
            if deleted:
                raise Failure(Code.DIFFERS, f"{kind.gvk.kind} {namespace}/{name} was deleted")
            match judge(body, token):
                case Ready(at):
                    teller.say("✔", f"{kind.done} {at}" if at else f"{kind.gvk.kind} is ready")
                    return
                case Broken(reason, message):
                    raise Failure(Code.DIFFERS, f"{kind.gvk.kind} {namespace}/{name}: {reason}: {message}")
                case Pending(message):
                    if message and message != said:
                        teller.say("◎", message)
                        said = message


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """Give up on the block after `seconds`, with a message that names `what` it waited for."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Failure(Code.DIFFERS, f"{what} is not ready after {seconds:g} s; --timeout allows more") from None


async def _sources_of(client: "Client", kind: Kind, namespace: str, name: str) -> list[tuple[Kind, str, str]]:
    """What an app or a release comes from, by namespace and name: that which has to look first comes first."""
    if kind not in (APP, RELEASE):
        return []
    body = await client.get(await client.discovery.find(kind.gvk), name, namespace, type=dict)
    spec = body["spec"]
    if kind is APP:
        return [_named(name, spec["sourceRef"], namespace)]
    if (ref := spec.get("chartRef")) is not None:
        of, home, chart = _named(name, ref, namespace)
        return [*(await _of_chart(client, home, chart) if of is CHART else ()), (of, home, chart)]
    source = _named(name, spec["chart"]["spec"]["sourceRef"], namespace)
    home, _, chart = body.get("status", {}).get("helmChart", "").partition("/")
    return [source, *([(CHART, home, chart)] if chart else ())]


async def _of_chart(client: "Client", namespace: str, name: str) -> list[tuple[Kind, str, str]]:
    chart = await client.get(await client.discovery.find(CHART.gvk), name, namespace, type=dict)
    return [_named(name, chart["spec"]["sourceRef"], namespace)]


def _named(name: str, ref: Body, namespace: str) -> tuple[Kind, str, str]:
    """The source that `ref` of the object `name` means. Raises Failure for one that cannot be asked."""
    kind = next((one for one in SOURCES if one.gvk.kind == ref["kind"]), None)
    if kind is None:
        raise Failure(
            Code.WRONG, f"{name} comes from {ref['kind']} {ref['name']}, which cannot be asked for a look yet"
        )
    return asked(kind), ref.get("namespace") or namespace, ref["name"]
