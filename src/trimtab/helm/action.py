"""From the state of a release to the one thing to do next. Pure, and without a dead end.

Whoever carries out an action tells `Memory` how it went and asks again, until there is nothing to do, something to wait
for, or no try left. A new revision, new values, another spec or a request leads out of the latter, always. A release
that was ever healthy is uninstalled as a remedy only where the spec names that strategy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from trimtab.api.names import Reason
from trimtab.helm.memory import DIGEST_PREFIX, Memory, Wish
from trimtab.helm.policy import Policy, Remedy
from trimtab.helm.record import Record, Status
from trimtab.helm.values import digest_of


@dataclass(frozen=True, slots=True)
class Install:
    """Make the first revision, or the first after an uninstall."""

    why: str


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Make a new revision as it is wished. `forced` because somebody asked for it."""

    why: str
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Correct:
    """Bring the objects of the newest revision back to what it says, without a new one."""

    why: str


@dataclass(frozen=True, slots=True)
class Unlock:
    """Record that the action of `version` did not end: it counts as failed, but not as a failure of the wish."""

    version: int
    why: str


@dataclass(frozen=True, slots=True)
class RunTests:
    """Run the tests of revision `version`."""

    version: int
    why: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Make a new revision of what revision `to` was."""

    to: Record
    why: str


@dataclass(frozen=True, slots=True)
class Uninstall:
    """Remove the release. As a `remedy` it is installed again afterwards, if there is a try left."""

    why: str
    remedy: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait `after_s` seconds, and ask again."""

    after_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Leave it as it is until the wish changes or somebody asks. `reason` is that of the condition Stalled."""

    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """It is as it is wished; `drifted` if only reported drift is left."""

    drifted: bool = False


Action: TypeAlias = Install | Upgrade | Correct | Unlock | RunTests | Rollback | Uninstall | Retry | Exhausted | Nothing


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the next action depends on.

    `history` has the records of the release, the newest first; `moved` says what of its place or name has changed, if
    anything, and the records are those of the old place then. `preserved` is the digest of the values where they are
    laid over those of the last revision, and they are judged by it. `idle_s` is how long ago the last attempt ended,
    `untouched_s` how long the newest record has not changed. `forced` is a request that was not honoured yet; one to
    start anew is `Memory.forgiven`.
    """

    wish: Wish
    history: tuple[Record, ...]
    memory: Memory
    policy: Policy
    drifted: bool = False
    forced: bool = False
    moved: str = ""
    preserved: str = ""
    idle_s: float = inf
    untouched_s: float = inf


def decide(facts: Facts) -> Action:
    """What to do next."""
    newest = facts.history[0] if facts.history else None
    if newest is None:
        return _absent(facts, "there is no release")
    if newest.pending or newest.status == Status.UNINSTALLING:
        return _interrupted(facts, newest)
    if newest.status == Status.UNINSTALLED:
        return _absent(facts, "the release was uninstalled")
    if facts.moved:
        return Uninstall(f"{facts.moved} has changed")
    if facts.memory.of(newest) is None:
        return Upgrade(f"revision {newest.version} was not made here")
    if facts.policy.reinstalls and newest.chart_name != facts.wish.chart_name:
        return Uninstall(f"the chart is {facts.wish.chart_name} now and no longer {newest.chart_name}")
    match newest.status:
        case Status.FAILED:
            return _failed(facts, f"revision {newest.version} failed")
        case Status.DEPLOYED:
            return _deployed(facts, newest)
        case other:
            return Upgrade(f"revision {newest.version} is {other}")


def farewell(history: tuple[Record, ...]) -> Uninstall | Nothing:
    """What to do when the HelmRelease is deleted: whatever there is of the release goes, half done or not."""
    if not history or history[0].status == Status.UNINSTALLED:
        return Nothing()
    return Uninstall("the HelmRelease was deleted")


def _absent(facts: Facts, why: str) -> Action:
    memory = facts.memory.facing(facts.wish)
    if not facts.forced:
        if facts.policy.install.exhausted(memory.install_failures):
            return _exhausted(memory.install_failures, "install")
        if wait := _wait(facts.policy.install, memory.install_failures, facts.idle_s):
            return wait
    return Install(why)


def _interrupted(facts: Facts, newest: Record) -> Action:
    """An action that did not end: ours, because we died; or that of somebody else, who may be at it still."""
    doing = f"revision {newest.version} is {newest.status}"
    if newest.version != facts.memory.begun and facts.untouched_s < facts.policy.timeout_s:
        return Retry(facts.policy.timeout_s - facts.untouched_s, f"{doing} by somebody else")
    return Unlock(newest.version, f"{doing}, and nobody is at it")


def _deployed(facts: Facts, newest: Record) -> Action:
    wish, policy = facts.wish, facts.policy
    memory = facts.memory.facing(wish)
    if facts.forced:
        return Upgrade("it was asked for", forced=True)
    if change := _change(facts, memory, newest):
        if policy.upgrade.exhausted(memory.upgrade_failures):
            if facts.drifted and policy.corrects_drift:
                return Correct("objects have drifted from the last revision that stood")
            return _exhausted(memory.upgrade_failures, "upgrade")
        return _wait(policy.upgrade, memory.upgrade_failures, facts.idle_s) or Upgrade(change)
    seen = memory.of(newest)
    if policy.tests and seen is not None:
        if seen.tests is None:
            return RunTests(newest.version, f"revision {newest.version} was not tested")
        if seen.tests_failed and not _remedy(policy, memory).ignores_tests:
            return _failed(facts, f"tests of revision {newest.version} failed")
    if facts.drifted and policy.corrects_drift:
        return Correct("objects have drifted")
    return Nothing(drifted=facts.drifted)


def _failed(facts: Facts, why: str) -> Action:
    memory = facts.memory.facing(facts.wish)
    remedy = _remedy(facts.policy, memory)
    failures = memory.install_failures if memory.action == "install" else memory.upgrade_failures
    if facts.forced:
        return Upgrade(f"{why}, and it was asked for", forced=True)
    if failures == 0:
        return Upgrade(f"{why}, but what is wished has changed since, or it was interrupted")
    if remedy.retry_s is not None:
        return _wait(remedy, failures, facts.idle_s) or Upgrade(f"{why}, and it is time to try again")
    exhausted = remedy.exhausted(failures)
    if exhausted and not remedy.last_too:
        return _exhausted(failures, memory.action or "upgrade")
    good = next((record for record in _life(facts.history[1:]) if _healthy(record, memory)), None)
    if remedy.uninstalls and (memory.action == "upgrade" or (good is None and not memory.proven)):
        return Uninstall(why, remedy=True)
    if good is not None:
        return Rollback(good, why)
    if exhausted:
        return Exhausted(Reason.MISSING_ROLLBACK_TARGET, f"{why}, and there is no revision to roll back to")
    return Upgrade(f"{why}, and there is no revision to roll back to")


def _change(facts: Facts, memory: Memory, newest: Record) -> str:
    """What is wished differently than it is; nothing if it is as wished."""
    wish = facts.wish
    if newest.chart_name != wish.chart_name:
        return f"the chart is {wish.chart_name} now"
    if newest.chart_version != wish.chart_version:
        return f"the chart is {wish.chart_version} now and was {newest.chart_version}"
    if digest_of(newest.values) != (facts.preserved or wish.config_digest):
        return "the values have changed"
    respecified = memory.observed_generation != wish.generation
    if _differs(memory.post_renderers, wish.post_renderers, respecified=respecified):
        return "the post-renderers have changed"
    if _differs(memory.common_metadata, wish.common_metadata, respecified=respecified):
        return "the common metadata has changed"
    return ""


def _differs(kept: str, wished: str, *, respecified: bool) -> bool:
    """Whether a digest is another. Flux's of the same thing is: it counts only once the spec has changed."""
    foreign = bool(kept) and not kept.startswith(DIGEST_PREFIX)
    return kept != wished and (respecified or not foreign)


def _remedy(policy: Policy, memory: Memory) -> Remedy:
    return policy.install if memory.action == "install" else policy.upgrade


def _life(records: tuple[Record, ...]) -> Iterator[Record]:
    """Those of `records` that are of the release's present life: what was before an uninstall is gone."""
    for record in records:
        if record.status == Status.UNINSTALLED:
            return
        yield record


def _healthy(record: Record, memory: Memory) -> bool:
    seen = memory.of(record)
    return record.status in (Status.DEPLOYED, Status.SUPERSEDED) and not (seen is not None and seen.tests_failed)


def _wait(remedy: Remedy, failures: int, idle_s: float) -> Retry | None:
    if remedy.retry_s is None or failures == 0 or idle_s >= remedy.retry_s:
        return None
    return Retry(remedy.retry_s - idle_s, f"tried in vain {_times(failures)}")


def _exhausted(failures: int, action: str) -> Exhausted:
    return Exhausted(
        Reason.RETRIES_EXCEEDED,
        f"the {action} failed {_times(failures)}, and no try is left; change the chart, the values or the spec, or ask "
        "for another with `reconcile.fluxcd.io/resetAt`",
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
