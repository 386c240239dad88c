"""GitOps Promoter: Ready must be there, and a promotion is under way while the commits of an environment differ."""

from typing import Final

from trimtab.health.context import Context
from trimtab.health.generic import behind
from trimtab.health.kinds.contract import Rules
from trimtab.health.shape import condition, explained, is_number, says, section, sections
from trimtab.health.verdict import State, Verdict
from trimtab.manifests.refs import Body


def ready(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001 - a rule's signature
    """Ready alone: what a CommitStatus reports of a commit is not its own health."""
    return _not_ready(body) or Verdict(State.Current)


def transfer(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """One environment."""
    return (
        _not_ready(body)
        or _promoting(section(body, "status"), "the environment", checks=True)
        or Verdict(State.Current)
    )


def strategy(body: Body, context: Context) -> Verdict | None:  # noqa: ARG001
    """All environments, each of which must hold what is proposed for it, and all be proposed the same commit."""
    unready = _not_ready(body)
    if unready is not None:
        return unready
    environments = sections(section(body, "status"), "environments")
    if not environments:
        return Verdict(State.Failed, "no environments are configured")
    proposed = {_proposed(each) for each in environments}
    if len(proposed) > 1:
        return Verdict(State.InProgress, "not all environments are proposed the same commit yet")
    for each in environments:
        verdict = _promoting(each, f"environment {each.get('branch')}", checks=True)
        if verdict is not None:
            return verdict
    return Verdict(State.Current, "all environments hold what is proposed")


def _not_ready(body: Body) -> Verdict | None:
    item = condition(body, "Ready")
    late = behind(body)
    if late is not None:
        return late
    if item is None:
        return Verdict(State.InProgress, "no condition Ready yet")
    generation, observed = section(body, "metadata").get("generation"), item.get("observedGeneration")
    if is_number(generation) and is_number(observed) and observed < generation:
        return Verdict(State.InProgress, f"generation {generation} not observed yet, at {observed}")
    match says(item):
        case "True":
            return None
        case "False":
            return Verdict(State.Failed, explained(item))
    return Verdict(State.InProgress, explained(item))


def _proposed(environment: Body) -> str:
    """The commit proposed; a note on it says what it stands for, where rendering changed nothing."""
    proposed = section(environment, "proposed")
    return str(section(proposed, "note").get("drySha") or section(proposed, "dry").get("sha") or "")


def _promoting(environment: Body, what: str, *, checks: bool) -> Verdict | None:
    active = str(section(environment, "active", "dry").get("sha") or "")
    bare = str(section(environment, "proposed", "dry").get("sha") or "")
    if not active:
        return Verdict(State.InProgress, f"{what} has no active commit yet")
    if not bare:
        return Verdict(State.InProgress, f"{what} has no proposed commit yet")
    if active not in (bare, _proposed(environment)):
        waiting = [
            f"{each.get('key')} is {each.get('phase')}"
            for each in sections(section(environment, "proposed"), "commitStatuses")
            if checks and each.get("phase") != "success"
        ]
        return Verdict(State.InProgress, f"{what} is being promoted" + (f": {', '.join(waiting)}" if waiting else ""))
    return None


RULES: Final[Rules] = {
    ("promoter.argoproj.io", "PromotionStrategy"): strategy,
    ("promoter.argoproj.io", "ChangeTransferPolicy"): transfer,
    ("promoter.argoproj.io", "*"): ready,
}
