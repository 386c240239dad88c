"""What is remembered of a release between two looks at it, apart from Helm's own records. Pure.

Kept in the status of the HelmRelease, in Flux's fields. The records say what happened; this says which of them are our
own doing, what was tried last, and how often in vain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, TypeAlias

from trimtab.helm.record import Phase, Record, fingerprint

SNAPSHOT_VERSION: Final = "trimtab/v1"
"""How the digest of a snapshot is made. A snapshot without it is of Flux, whose digest is of another kind."""

DIGEST_PREFIX: Final = "trimtab:"
"""Before our digests of post-renderers and common metadata, for the same reason."""

Release: TypeAlias = Literal["install", "upgrade"]


class Attempt(NamedTuple):
    """What was tried: another one is another chance, whatever the counters say."""

    generation: int = 0
    chart_version: str = ""
    config_digest: str = ""
    chart_digest: str = ""


class Wish(NamedTuple):
    """What the release should be. The last two are digests of the post-renderers and the common metadata, if any."""

    generation: int
    chart_name: str
    chart_version: str
    config_digest: str
    chart_digest: str = ""
    post_renderers: str = ""
    common_metadata: str = ""

    @property
    def attempt(self) -> Attempt:
        return Attempt(self.generation, self.chart_version, self.config_digest, self.chart_digest)


class Seen(NamedTuple):
    """A revision that we made or took over. `tests` is None before they ran, and has their phases by name then."""

    version: int
    fingerprint: str = ""
    tests: Mapping[str, str] | None = None

    @property
    def tests_failed(self) -> bool:
        return Phase.FAILED in (self.tests or {}).values()


@dataclass(frozen=True, slots=True)
class Memory:
    """`seen` has the newest revision first. `begun` is the one whose action we are in, or were when we died.

    `proven` is the last one that was all that was wished of it, tests included, since the release was installed.
    """

    seen: tuple[Seen, ...] = ()
    attempt: Attempt = field(default=Attempt())
    action: Release | None = None
    failures: int = 0
    install_failures: int = 0
    upgrade_failures: int = 0
    observed_generation: int = -1
    post_renderers: str = ""
    common_metadata: str = ""
    begun: int = 0
    proven: int = 0

    def forgiven(self) -> "Memory":
        """Without the failures, as somebody asked; kept together with the mark that the request is honoured."""
        return replace(self, failures=0, install_failures=0, upgrade_failures=0)

    def facing(self, wish: Wish) -> "Memory":
        """As it counts for `wish`: what failed when another was tried does not."""
        return self if self.attempt == wish.attempt else self.forgiven()

    def of(self, record: Record) -> Seen | None:
        """What is known of `record`; None if somebody else made it or has changed it since."""
        for one in self.seen:
            if one.version == record.version:
                return one if not one.fingerprint or one.fingerprint == fingerprint(record) else None
        # We died after it was made and before that was written down.
        return Seen(record.version) if record.version == self.begun else None

    def starting(self, action: Release | None, wish: Wish, version: int) -> "Memory":
        """Before an action makes revision `version`; `action` is None for one that is no release, as a rollback."""
        facing = self.facing(wish)
        if action is None:
            return replace(facing, begun=version)
        return replace(facing, begun=version, action=action, attempt=wish.attempt)

    def made(self, record: Record, limit: int) -> "Memory":
        """After a revision was made, in whatever state, or was changed by us; at most `limit` are remembered."""
        known = next((one for one in self.seen if one.version == record.version), Seen(record.version))
        fresh = known._replace(fingerprint=fingerprint(record))
        others = [one for one in self.seen if one.version != record.version]
        seen = sorted([fresh, *others], key=lambda one: one.version, reverse=True)
        return replace(self, seen=tuple(seen[:limit]))

    def succeeded(self, wish: Wish, version: int, *, untested: bool) -> "Memory":
        """After an install or an upgrade made `version` well, which is proven unless it is still `untested`.

        Failures are forgotten only once there is nothing left to do: `settled`.
        """
        return replace(
            self,
            begun=0,
            proven=self.proven if untested else version,
            observed_generation=wish.generation,
            post_renderers=wish.post_renderers,
            common_metadata=wish.common_metadata,
        )

    def failed(self) -> "Memory":
        """After an install, an upgrade, or the tests of one failed."""
        installing = self.action == "install"
        return replace(
            self,
            begun=0,
            failures=self.failures + 1,
            install_failures=self.install_failures + installing,
            upgrade_failures=self.upgrade_failures + (not installing),
        )

    def interrupted(self) -> "Memory":
        """After an action that did not end was put on record as such: nobody is to blame for it."""
        return replace(self, begun=0)

    def tested(self, version: int, phases: Mapping[str, str]) -> "Memory":
        """After the tests of a revision ran, or there were none."""
        seen = (one._replace(tests=dict(phases)) if one.version == version else one for one in self.seen)
        failed = Phase.FAILED in phases.values()
        return replace(self, seen=tuple(seen), proven=self.proven if failed else version)

    def settled(self, version: int) -> "Memory":
        """When there is nothing left to do: revision `version` is proven, and what failed on the way counts no more."""
        return replace(self.forgiven(), begun=0, proven=version)

    def without_release(self) -> "Memory":
        """After it was uninstalled."""
        return replace(self, seen=(), begun=0, proven=0)

    def keeping(self, versions: Iterable[int]) -> "Memory":
        """Without the revisions that are no longer recorded."""
        kept = frozenset(versions)
        return replace(self, seen=tuple(one for one in self.seen if one.version in kept))
