"""What `trimtab images choose` does: an ImagePolicy from a file, tags from a file, and the choice in words or JSON."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from trimtab.api.crd import schema_of
from trimtab.api.gvk import IMAGE_GROUP, IMAGE_POLICY, IMAGE_REPOSITORY
from trimtab.api.image import SIGNATURES, ImagePolicy, ImageRepository
from trimtab.base.clock import rfc3339
from trimtab.cli.connect import Code, Failure
from trimtab.cli.output import document, table
from trimtab.images import listing
from trimtab.images.choosing import Choice, Rules
from trimtab.manifests.refs import Body
from trimtab.manifests.yaml import load, manifests_of

_VERSIONS = ("v1", "v1beta2")
"""Of the API group: the older one has the same fields."""


async def chosen(policy_file: Path, tags_file: Path, show: int, output: str) -> int:
    """Choose, print, and return the exit code."""
    policy, exclusions = _policy(policy_file)
    tags = _tags(tags_file)
    rules = Rules.of(policy, exclusions=exclusions, created=tags.created)
    choice = rules.choose(tags.tags)
    click.echo(document(reasons(policy, choice), "json") if output == "json" else explained(policy, choice, show))
    return Code.OK if choice.tag is not None else Code.DIFFERS


def _policy(file: Path) -> tuple[ImagePolicy, Sequence[str]]:
    """The policy in `file`, and the expressions by which its repository leaves tags out."""
    bodies = [
        manifest.body
        for manifest in manifests_of(load(file.read_bytes(), str(file), dialect="kubernetes"))
        if manifest.gvk.group == IMAGE_GROUP
    ]
    for body in bodies:
        if body["apiVersion"].rpartition("/")[2] not in _VERSIONS:
            raise Failure(Code.WRONG, f"{file}: {body['apiVersion']} is not served; write {IMAGE_POLICY.api_version}")
    policies = [body for body in bodies if body["kind"] == IMAGE_POLICY.kind]
    if len(policies) != 1:
        raise Failure(Code.WRONG, f"{file} holds {len(policies)} ImagePolicy objects; one is needed")
    policy = _converted(policies[0], ImagePolicy, file)
    named = policy.spec.image_repository_ref.name
    for body in bodies:
        if body["kind"] == IMAGE_REPOSITORY.kind and body["metadata"]["name"] == named:
            return policy, _converted(body, ImageRepository, file).spec.exclusions
    return policy, (SIGNATURES,)


def _converted(body: Body, kind: "type[Any]", file: Path) -> Any:
    unknown = list(_unknown(body.get("spec"), schema_of(kind)["properties"]["spec"], "spec"))
    if unknown:
        raise Failure(Code.WRONG, f"{file}: the {body['kind']} has {', '.join(unknown)}, which means nothing")
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise Failure(Code.WRONG, f"{file}: the {body['kind']} is not valid: {error}") from error


def _unknown(value: Any, schema: Body, path: str) -> Iterator[str]:
    """The fields that a server would drop without a word: misspelt ones, above all."""
    if isinstance(value, list):
        for item in value:
            yield from _unknown(item, schema.get("items", {}), f"{path}[]")
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            if key in schema["properties"]:
                yield from _unknown(item, schema["properties"][key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"


def _tags(file: Path) -> listing.Listing:
    name = "standard input" if str(file) == "-" else str(file)
    try:
        if str(file) == "-":
            return listing.read(sys.stdin.buffer.read(listing.MAX_BYTES + 1))
        with file.open("rb") as opened:
            return listing.read(opened.read(listing.MAX_BYTES + 1))
    except OSError as wrong:
        raise Failure(Code.WRONG, f"{name}: {wrong.strerror}") from wrong
    except ValueError as wrong:
        raise Failure(Code.WRONG, f"{name}: {wrong}") from wrong


def reasons(policy: ImagePolicy, choice: Choice) -> Body:
    """A choice with every tag, as JSON says it."""
    best = choice.candidates[0] if choice.candidates else None
    return {
        "policy": str(policy.key),
        "tag": best.tag if best else None,
        "value": best.value if best else None,
        "why": choice.why,
        "digestReflectionPolicy": policy.spec.digest_reflection_policy,
        "candidates": [one._asdict() for one in choice.candidates],
        "dropped": [one._asdict() for one in choice.dropped],
    }


def explained(policy: ImagePolicy, choice: Choice, show: int, *, created: Mapping[str, datetime] | None = None) -> str:
    """A choice in words; `created` says when images were created, where that is known."""
    lines = [f"{policy.key}: {choice.tag or 'no tag'}", choice.why]
    if choice.candidates and show:
        header, rows = ["CANDIDATE", "ORDERED BY"], [list(one) for one in choice.candidates[:show]]
        if created is not None:
            header.append("CREATED")
            rows = [[*row, rfc3339(created[row[0]]) if row[0] in created else "-"] for row in rows]
        lines += ["", table(header, rows)]
        lines += _more(len(choice.candidates), show)
    if choice.dropped and show:
        lines += ["", table(("DROPPED", "BY", "WHY"), choice.dropped[:show]), *_more(len(choice.dropped), show)]
    return "\n".join(lines)


def _more(count: int, show: int) -> list[str]:
    return [f"… and {count - show:,} more (--show {count})"] if count > show else []
