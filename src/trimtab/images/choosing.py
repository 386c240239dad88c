"""The choice of a tag, and what led to it: which tags took part, which filter dropped which, and why this one."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from trimtab.api.image import ImagePolicy, TagOrder
from trimtab.api.names import Annotation
from trimtab.base.errors import Terminal
from trimtab.images.filters import Exclusions, Glob, Kept, TagFilter
from trimtab.images.ordering import Alphabetical, Newest, NotOrdered, Numerical, Order, Place, SemVer
from trimtab.images.reference import is_tag
from trimtab.manifests.semver import Constraint

NEWEST: Final = "newest"
MOST_TAGS: Final = 200_000
"""Of one repository: as many as are listed of one."""

NOT_A_TAG: Final = "tag"
EXCLUSIONS: Final = "spec.exclusionList"
GLOB: Final = Annotation.FILTER_GLOB.value
FILTER: Final = "spec.filterTags"
POLICY: Final = "spec.policy"
AGE: Final = Annotation.POLICY.value
SAME: Final = "same value"


class Dropped(NamedTuple):
    """A tag that takes no part: by which filter, and why."""

    tag: str
    by: str
    why: str


class Candidate(NamedTuple):
    """A tag that takes part, and the value it is ordered by, which `spec.filterTags.extract` may have made."""

    tag: str
    value: str


class Choice(NamedTuple):
    """What was chosen, if anything; the candidates are in order, the best first."""

    candidates: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]
    why: str

    @property
    def tag(self) -> str | None:
        """The tag that is chosen."""
        return self.candidates[0].tag if self.candidates else None


class Rules(NamedTuple):
    """An ImagePolicy, read and compiled."""

    order: Order
    filter: TagFilter | None = None
    glob: Glob | None = None
    exclusions: Exclusions | None = None

    @classmethod
    def of(
        cls,
        policy: ImagePolicy,
        *,
        exclusions: Iterable[str] = (),
        created: Mapping[str, datetime] | None = None,
    ) -> "Rules":
        """Read `policy`; `exclusions` are those of its repository, `created` says when images were built, by tag.

        Raises Terminal (InvalidPolicy) for what makes no sense: never is it taken for a filter that admits everything.
        """
        try:
            spec = policy.spec
            glob = policy.metadata.annotations.get(Annotation.FILTER_GLOB)
            pattern = spec.filter_tags
            return cls(
                _order(policy, created or {}),
                TagFilter(pattern.pattern, pattern.extract) if pattern is not None else None,
                _glob(glob) if glob is not None else None,
                Exclusions(exclusions),
            )
        except ValueError as problem:
            raise Terminal("InvalidPolicy", f"ImagePolicy {policy.metadata.key}: {problem}") from None

    @property
    def by_age(self) -> bool:
        """Whether it has to be known when images were created."""
        return isinstance(self.order, Newest)

    def in_question(self, tags: Iterable[str]) -> list[str]:
        """The tags that pass every filter, and a range of versions where there is one: whose age decides."""
        within = self.order.within if isinstance(self.order, Newest) else None
        passed = (kept.tag for kept in self._filtered(sorted(set(tags)), []))
        return [tag for tag in passed if within is None or not isinstance(within.place(tag, tag), str)]

    def choose(self, tags: Iterable[str]) -> Choice:
        """The tag to run, and why. The order of `tags` makes no difference. Raises Terminal (InvalidPolicy)."""
        listed = sorted(set(tags))
        if len(listed) > MOST_TAGS:
            raise Terminal("InvalidPolicy", f"{len(listed):,} tags are more than the {MOST_TAGS:,} that are judged")
        dropped: list[Dropped] = []
        placed: list[tuple[Place, Candidate]] = []
        for tag, value in self._filtered(listed, dropped):
            try:
                place = self.order.place(tag, value)
            except NotOrdered as problem:
                raise Terminal("InvalidPolicy", str(problem)) from None
            if isinstance(place, str):
                dropped.append(Dropped(tag, AGE if self.by_age else POLICY, place))
            else:
                placed.append((place, Candidate(tag, value)))
        placed.sort(key=lambda one: (one[0], one[1].tag), reverse=True)
        candidates = tuple(candidate for _, candidate in placed)
        return Choice(candidates, tuple(dropped), self._reason(candidates, len(listed)))

    def _filtered(self, tags: Iterable[str], dropped: list[Dropped]) -> list[Kept]:
        """Those of `tags` that pass all filters. Of two that are ordered by one value, the greater tag stays."""
        passed: dict[str, Kept] = {}
        for tag in tags:
            kept = self._judged(tag)
            if isinstance(kept, Dropped):
                dropped.append(kept)
                continue
            ordered_by = tag if self.by_age else kept.value
            if (before := passed.get(ordered_by)) is not None:
                why = f"{tag} has the same value {kept.value!a}, and is the greater"
                dropped.append(Dropped(before.tag, SAME, why))
            passed[ordered_by] = kept
        return list(passed.values())

    def _judged(self, tag: str) -> Kept | Dropped:
        if not is_tag(tag):
            return Dropped(tag, NOT_A_TAG, "it is not a tag: up to 128 letters, digits, `_`, `.` and `-`")
        if self.exclusions is not None and (why := self.exclusions.judge(tag)):
            return Dropped(tag, EXCLUSIONS, why)
        if self.glob is not None and not self.glob.admits(tag):
            return Dropped(tag, GLOB, f"{self.glob.text} does not match it")
        if self.filter is None:
            return Kept(tag, tag)
        kept = self.filter.judge(tag)
        return kept if isinstance(kept, Kept) else Dropped(tag, FILTER, kept)

    def _reason(self, candidates: tuple[Candidate, ...], listed: int) -> str:
        if not candidates:
            return f"none of {listed:,} tags is left to choose from" if listed else "there are no tags"
        if len(candidates) == 1:
            return f"{self.order.words}: the only one left of {listed:,} tags"
        return f"{self.order.words}, of {len(candidates):,} that are left of {listed:,} tags; next {candidates[1].tag}"


def _order(policy: ImagePolicy, created: Mapping[str, datetime]) -> Order:
    """Raises ValueError."""
    choice = policy.spec.policy
    given = [name for name in ("semver", "alphabetical", "numerical") if getattr(choice, name) is not None]
    wanted = policy.metadata.annotations.get(Annotation.POLICY)
    if wanted not in (None, NEWEST):
        raise ValueError(f"the annotation {Annotation.POLICY} is {wanted!a}; it can be {NEWEST}")
    if len(given) > 1:
        raise ValueError(f"spec.policy has {' and '.join(given)}; keep one of them")
    within = SemVer(_range(choice.semver.range)) if choice.semver is not None else None
    if wanted is not None:
        return Newest(created, within)
    if within is not None:
        return within
    if choice.alphabetical is not None:
        return Alphabetical(_descending("alphabetical", choice.alphabetical.order))
    if choice.numerical is not None:
        return Numerical(_descending("numerical", choice.numerical.order))
    raise ValueError(
        f"spec.policy says nothing: give semver, alphabetical or numerical, or the annotation {Annotation.POLICY}"
    )


def _range(text: str) -> Constraint:
    try:
        return Constraint.parse(text)
    except ValueError as problem:
        raise ValueError(f"spec.policy.semver.range: {problem}") from None


def _descending(policy: str, order: str) -> bool:
    if order.lower() not in ("", *TagOrder):
        raise ValueError(f"spec.policy.{policy}.order is {order!a}; it can be asc or desc")
    return order.lower() == TagOrder.DESC


def _glob(text: str) -> Glob:
    try:
        return Glob(text)
    except ValueError as problem:
        raise ValueError(f"the annotation {Annotation.FILTER_GLOB}: {problem}") from None
