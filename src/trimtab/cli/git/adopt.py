"""`trimtab adopt`: what somebody changed in the cluster is written into the file that declares it, as a commit."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from trimtab.cli import output
from trimtab.cli.connect import Code, Failure, Options, cluster_options, perform
from trimtab.cli.git.committing import Pen, desk, pen_options, requester, source_of, tell
from trimtab.cli.render.rendering import Recipe

if TYPE_CHECKING:
    from trimtab.api.kustomize import Kustomization
    from trimtab.api.source import GitRepository
    from trimtab.cli.git.adopting import Adoption
    from trimtab.diff.compare import Difference
    from trimtab.kube.client import Client
    from trimtab.manifests.refs import Body, Ref
    from trimtab.render.variables import Variables
    from trimtab.sops.keyring import Keyring

_EXAMPLES = """\b
Examples:
  trimtab adopt deployment/web -n shop --dry-run
  trimtab adopt Deployment/shop/web --only spec.replicas
  trimtab adopt deploy/web -n shop --corrected --branch trimtab/adopt-web
"""
_RECIPE: Final = Recipe(None, None, (), (), strict=True, age_key=(), gpg_key=())
_SCALARS: Final = (str, int, float, bool, type(None))


@click.command("adopt", epilog=_EXAMPLES)
@click.argument("name", metavar="OBJECT")
@click.option("--only", metavar="PATH", multiple=True, help="Only this path of those that differ (several times).")
@click.option("--corrected", is_flag=True, help="What the loop has corrected last, from the status of the app.")
@pen_options
@cluster_options
def adopt(options: Options, name: str, only: tuple[str, ...], corrected: bool, pen: Pen) -> None:
    """Write a live change of an object into the file that it comes from, by a commit.

    OBJECT is KIND/NAME in the namespace of -n, or KIND/NAMESPACE/NAME as `trimtab diff` prints it. Every path in which
    it differs from what git declares is adopted, or those of --only: the value in the file is replaced, and every other
    byte stays. The result is rendered to prove that it means the live object and nothing else.

    Refused, with the place to edit instead: what a patch, a generator, a variable or a chart makes; what is encrypted
    or secret; fields and items that were added or removed. All of it is adopted or nothing.

    Exit codes: 0 committed, or nothing differs; 2 with --dry-run: there is something to commit; 3 the cluster or the
    repository cannot be asked; 1 an error, or it is refused.
    """

    async def work(client: "Client") -> int:
        from trimtab.commits import Message, Order

        live, ref = await _live(client, options.namespace, name)
        ks = await _owner(client, live, ref)
        source = await source_of(client, ks)
        wish = await (_corrected(client, ks, ref) if corrected else _drifted(client, ks, ref, options))
        if not wish.values:
            output.say(
                "✔", f"{ref} is as it is declared: there is nothing to adopt{_hint(ks, ref)}", quiet=options.quiet
            )
            return Code.OK
        adoption = _adoption(ks, source, ref, wish, only, pen)
        async with desk(client, source, pen, options.timeout_s) as at:
            order = Order(
                message=Message(adoption.title),
                author=at.author,
                reads=lambda _: True,
                signer=at.signer,
                push=at.push,
                dry=pen.dry_run,
            )
            outcome = await at.writer.write(adoption.edit, order)
        return tell(outcome, quiet=options.quiet, same=f"the branch says already what is to be adopted of {ref}")

    perform(options, work)


class _Wish(NamedTuple):
    """What is to be adopted: from what was found to what is declared; who did it; and how the app is rendered."""

    values: "Sequence[Difference]"
    managers: Sequence[str]
    variables: "Variables"
    keys: "Keyring | None"


async def _live(client: "Client", namespace: str, name: str) -> "tuple[Body, Ref]":
    """The object that a person means. Raises Failure."""
    from trimtab.kube.errors import NotFound
    from trimtab.manifests.refs import Ref

    kind, *rest = name.split("/")
    if not kind or len(rest) not in (1, 2) or not all(rest):
        raise Failure(Code.WRONG, f"OBJECT is KIND/NAME or KIND/NAMESPACE/NAME, not {name[:200]!r}")
    resource = await client.discovery.find_by_name(kind)
    where = (rest[0] if len(rest) == 2 else namespace) if resource.namespaced else ""
    try:
        body = await client.get(resource, rest[-1], where, type=dict)
    except NotFound:
        raise Failure(Code.WRONG, f"there is no {resource.gvk.kind} {rest[-1]} in namespace {where}") from None
    return body, Ref(resource.gvk.group, resource.gvk.kind, where, rest[-1])


async def _owner(client: "Client", live: "Body", ref: "Ref") -> "Kustomization":
    """The app that the object belongs to. Raises Failure where no file of an app declares it."""
    from trimtab.api import names
    from trimtab.cli.diff import apps

    if ref.kind == "Secret":
        raise Failure(Code.WRONG, f"{ref} is a Secret: its values are never written to git in clear text")
    labels = live["metadata"].get("labels") or {}
    if release := labels.get(names.RELEASE_OWNER_NAME):
        raise Failure(
            Code.WRONG,
            f"{ref} is made by the chart of HelmRelease {labels.get(names.RELEASE_OWNER_NAMESPACE, '')}/{release}: "
            "change its values (spec.values, spec.valuesFrom)",
        )
    if not (name := labels.get(names.OWNER_NAME)):
        raise Failure(Code.WRONG, f"{ref} belongs to no app (it has no label {names.OWNER_NAME}): no file declares it")
    [ks] = await apps.find(client, name, labels.get(names.OWNER_NAMESPACE, ""))
    if ks.spec.kube_config is not None:
        raise Failure(
            Code.WRONG, f"{ks.key} applies to another cluster (spec.kubeConfig): {ref} of this one is not its own"
        )
    return ks


async def _drifted(client: "Client", ks: "Kustomization", ref: "Ref", options: Options) -> _Wish:
    """What differs now. Raises Failure where that cannot be told or must not be."""
    import asyncio

    from trimtab.cli.diff import apps
    from trimtab.diff.report import State
    from trimtab.targets.kubernetes.comparing import Terms

    until = asyncio.get_running_loop().time() + options.timeout_s
    terms = Terms(stamped=True, owners=True, timeout_s=options.timeout_s, until=until)
    async with apps.apps(client, terms, _RECIPE, None) as looking:
        finding, wish = await looking.object(ks, ref)
        keys = await looking.keys(ks)
    if finding is None:
        raise Failure(Code.WRONG, f"{ks.key} does not declare {ref}: it left git, or what makes it is not known here")
    if ref in wish.rendered.secret:
        raise Failure(Code.WRONG, f"{ref} has something secret in it, which is never written to git")
    if finding.state in (State.UNKNOWN, State.SKIPPED):
        code = Code.UNKNOWN if finding.state is State.UNKNOWN else Code.WRONG
        raise Failure(code, f"{ref} cannot be compared: {finding.note}")
    managers = dict.fromkeys(writer.manager for writers in finding.owners for writer in writers)
    return _Wish(finding.differences, tuple(managers), wish.variables, keys)


async def _corrected(client: "Client", ks: "Kustomization", ref: "Ref") -> _Wish:
    """What the loop found last and put right. Raises Failure where the status does not tell it whole."""
    from trimtab.cli.diff import apps
    from trimtab.controllers.substituting import Substituting
    from trimtab.diff.compare import Difference
    from trimtab.targets.kubernetes.comparing import Terms

    # that it returned says nothing of the values
    known = (one for one in ks.status.drift if one.object == str(ref) and one.answer != "returned")
    record = next((one for one in known if one.change == "changed"), None)
    if record is None:
        raise Failure(Code.WRONG, f"no drift of {ref} is on record in the status of {ks.key}")
    if record.more_fields:
        raise Failure(Code.WRONG, f"{record.more_fields} more fields of {ref} differed than are on record")
    values: list[Difference] = []
    for field in record.fields:
        try:
            found, declared = (json.loads(text) if text else None for text in (field.found, field.declared))
        except ValueError:
            raise Failure(Code.WRONG, f"{field.path} of {ref} is on record only in part: change it by hand") from None
        if field.found and field.declared:
            values.append(Difference(field.path, "changed", found, declared))
        else:
            values.append(Difference(field.path, "added" if field.declared else "removed", found, declared))
    variables = await Substituting(client, strict=True).variables(ks)
    async with apps.apps(client, Terms(), _RECIPE, None) as looking:
        keys = await looking.keys(ks)
    return _Wish(values, (record.manager,) if record.manager else (), variables, keys)


def _adoption(
    ks: "Kustomization", source: "GitRepository", ref: "Ref", wish: _Wish, only: Sequence[str], pen: Pen
) -> "Adoption":
    from trimtab.cli.git.adopting import Adoption
    from trimtab.commits import REQUESTED_BY

    chosen = _chosen(ref, wish.values, only)
    what = chosen[0].path if len(chosen) == 1 else f"{len(chosen)} live values"
    trailers = (
        ("Trimtab-Adopt", str(ref)),
        ("Trimtab-App", f"Kustomization/{ks.key}"),
        *(("Trimtab-Changed-By", manager) for manager in wish.managers),
        (REQUESTED_BY, requester()),
    )
    title = pen.message or f"Adopt {what} of {ref}"
    return Adoption(ks, ref, chosen, source.spec.ignore, wish.variables, wish.keys, title, trailers)


def _chosen(ref: "Ref", values: "Sequence[Difference]", only: Sequence[str]) -> "list[Difference]":
    """The differences that are meant, each a value in the place of another. Raises Failure."""
    known = {one.path: one for one in values}
    if missing := [path for path in only if path not in known]:
        raise Failure(Code.WRONG, f"{missing[0]} of {ref} does not differ; what does: {', '.join(known)}")
    chosen = [known[path] for path in only] or list(values)
    for one in chosen:
        if one.kind != "changed" or not isinstance(one.before, _SCALARS) or not isinstance(one.after, _SCALARS):
            done = {"added": "was removed there", "removed": "was added there"}.get(one.kind, "is more than one value")
            raise Failure(
                Code.WRONG,
                f"{one.path} of {ref} {done}: only values in the place of others are adopted. Edit the file by hand, "
                "and adopt the others by --only PATH",
            )
    return chosen


def _hint(ks: "Kustomization", ref: "Ref") -> str:
    last = next((one for one in ks.status.drift if one.object == str(ref)), None)
    return f"; what was found at {last.seen_at} and put right is adopted by --corrected" if last is not None else ""
