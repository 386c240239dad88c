"""A history that was rewritten: the new head does not descend from what was published before (ENGINE.md, P14)."""

from trimtab.api.source import Artifact
from trimtab.remotes.git.history import Descent
from trimtab.sources.git import Credentials, GitSource, GitSpec


async def words(
    source: GitSource, spec: GitSpec, credentials: Credentials, before: Artifact | None, revision: str
) -> str:
    """What has to be said about the step from `before` to `revision`; nothing if it is a step forward."""
    if before is None or before.revision == revision:
        return ""
    if spec.is_range and _reference(before.revision) != _reference(revision):
        return ""  # the next version need not descend from the last one: it may come from a branch of its own
    found, why = await source.descent(spec, credentials, _commit(before.revision), revision)
    if found is Descent.DESCENDS:
        return ""
    step = f"from {before.revision} to {revision}"
    if found is Descent.UNKNOWN:
        return f"whether history was rewritten {step} cannot be told: {why}"
    if _reference(before.revision) != _reference(revision):
        return f"another reference is followed now, {step}, and it does not descend from the one before"
    return (
        f"history was rewritten {step}: the new head does not descend from the one before. It is applied; deletions "
        "are within the budget of each app"
    )


def _commit(revision: str) -> str:
    return revision.rpartition(":")[2]


def _reference(revision: str) -> str:
    return revision.rpartition("@")[0]
