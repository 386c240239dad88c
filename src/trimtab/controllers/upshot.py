"""What the status of an ImageUpdateAutomation says of a run: what was pushed, left alone, or fits nothing. Pure."""

from datetime import datetime
from typing import Final

import msgspec

from trimtab.api import names
from trimtab.api.imageupdate import HeldImage, ImageUpdateAutomationStatus
from trimtab.api.names import ConditionType, Reason
from trimtab.base.clock import rfc3339
from trimtab.controllers import bumping, progress
from trimtab.controllers.bumping import Place
from trimtab.controllers.wanted import Wanted
from trimtab.controllers.writingback import Ran

_MOST_HELD: Final = 200


def still_held(status: ImageUpdateAutomationStatus, wanted: Wanted) -> dict[Place, str]:
    """What was undone before, of the images that are still the choice, and the newest commit of when that was seen."""
    images = {str(policy): (policy, str(image)) for policy, image in wanted.images.items()}
    held: dict[Place, str] = {}
    for one in status.held:
        policy, image = images.get(one.policy, (None, ""))
        if policy is not None and image == one.image:
            held[Place(policy, one.path)] = one.commit
    return held


def observed(status: ImageUpdateAutomationStatus, branch: str) -> str:
    """The commit of `branch` that was looked at last, empty if another branch was."""
    name, _, commit = status.observed_source_revision.rpartition("@sha1:")
    return commit if name == branch else ""


def after(
    status: ImageUpdateAutomationStatus, wanted: Wanted, branch: str, ran: Ran, now: datetime
) -> ImageUpdateAutomationStatus:
    """The status with what a run found and did."""
    commit, at = status.last_push_commit, status.last_push_time
    if ran.pushed:
        commit, at = ran.pushed[-1].written.commit, rfc3339(now)
    elif ran.before is not None and ran.before.commit != commit:
        # pushed by a process that was gone before it could say so
        commit, at = ran.before.commit, rfc3339(datetime.fromtimestamp(ran.before.at, now.tzinfo))
    places = _undone(wanted, ran)
    news = {place.policy for place in places if place not in ran.remembered}
    held = [
        HeldImage(
            policy=str(place.policy),
            image=str(wanted.images[place.policy]),
            path=place.path,
            # one commit for all places of a policy: whoever lets it go names one
            commit=ran.newest if place.policy in news else ran.remembered[place],
        )
        for place in places
    ]
    return msgspec.structs.replace(
        status,
        last_push_commit=commit,
        last_push_time=at,
        observed_policies=dict(wanted.observed),
        observed_source_revision=f"{branch}@sha1:{ran.head}" if ran.head else status.observed_source_revision,
        held=tuple(held[:_MOST_HELD]),
    )


def noted(
    status: ImageUpdateAutomationStatus, generation: int, wanted: Wanted, ran: Ran, now: datetime
) -> ImageUpdateAutomationStatus:
    """What is left alone, and what fits nothing, as conditions."""
    undone = [_words(wanted, ran, place) for place in _undone(wanted, ran)]
    held = [*(f"{policy} has {why}" for policy, why in wanted.held.items()), *undone]
    held += bumping.paused(ran.bumped) if ran.bumped is not None else []
    strange = [f"the choice of {policy} cannot be written: {why}" for policy, why in wanted.strange.items()]
    if ran.bumped is not None and (words := bumping.unmatched(ran.bumped, wanted.images, wanted.held.keys())):
        strange.append(words)
    reason = Reason.REVERTED if undone else names.Annotation.HOLD.rpartition("/")[2].capitalize()
    for kind, found, why in (
        (ConditionType.HELD, held, reason),
        (ConditionType.UNMATCHED, strange, Reason.UNMATCHED),
    ):
        if not found:
            status = progress.unflagged(status, kind)
            continue
        status = progress.flagged(status, kind, generation, why, "; ".join(found), now)
    return status


def freshly_undone(before: ImageUpdateAutomationStatus, wanted: Wanted, ran: Ran) -> list[str]:
    """What was undone and is not in the status `before` the run: one line each, to be told once."""
    told = {(one.policy, one.path) for one in before.held}
    return [_words(wanted, ran, place) for place in _undone(wanted, ran) if (str(place.policy), place.path) not in told]


def _undone(wanted: Wanted, ran: Ran) -> list[Place]:
    return [place for place in ran.undone if place.policy in wanted.images]


def _words(wanted: Wanted, ran: Ran, place: Place) -> str:
    image, who = wanted.images[place.policy], ran.undone[place]
    return (
        f"{image} of {place.policy} was undone in {place.path}{f' {who}' if who else ''}: it is left so until there is "
        f"another image, or until the ImagePolicy has {names.Annotation.UNHOLD}: {image} (`trimtab unhold`)"
    )
