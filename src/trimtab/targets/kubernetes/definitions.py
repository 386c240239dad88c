"""What of a stage has to wait for definitions of an earlier one (ENGINE.md §1, §2). Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from trimtab.health.verdict import Verdict
from trimtab.manifests.definition import definition
from trimtab.manifests.refs import Ref
from trimtab.targets.contract import Change, Effect, Outcome
from trimtab.targets.kubernetes.desired import Desired


class _Block(NamedTuple):
    """A definition that cannot be used; `kind` is what it defines, None where it is only not ready yet."""

    kind: tuple[str, str] | None
    words: str


def held_up(
    stages: Iterable[Sequence[Change[Desired]]], todo: Sequence[Change[Desired]], verdict: Callable[[Ref], Verdict]
) -> dict[Ref, Outcome]:
    """What of `todo` cannot go ahead because of a definition in the earlier `stages`.

    Behind a definition that is on its way everything waits; one that is refused for good (its names are taken) holds
    up only the objects of its own kind, which is a failure and not a matter of time.
    """
    if not todo:
        return {}
    blocks = [block for stage in stages for change in stage if (block := _block(change, verdict(change.ref)))]
    found: dict[Ref, Outcome] = {}
    for change in todo:
        kind = (change.ref.group, change.ref.kind)
        for block in [block for block in blocks if block.kind in (None, kind)][:1]:
            effect = Effect.WAITING if block.kind is None else Effect.FAILED
            found[change.ref] = Outcome(change.ref, effect, block.words, change.origin)
    return found


def _block(change: Change[Desired], verdict: Verdict) -> _Block | None:
    if change.ref.kind != "CustomResourceDefinition" or verdict.good:
        return None
    if not verdict.bad or change.after is None:
        return _Block(None, f"waits until {change.ref} is established")
    defined = definition(change.after.body)
    return _Block(
        (defined.group, defined.kind) if defined else ("", ""),
        f"{change.ref} ({change.origin}) cannot be established: {verdict.message}",
    )
