"""What every annotation that we honour may say, and on which kinds. Pure.

A value without a meaning is refused for whatever it governs, never taken for the default: who writes `prune: disbled`
does not want the object to be pruned. A name of ours that nobody knows was written by a newer release, or misspelt: it
is told, with the name that is nearest to it.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from trimtab.api import names
from trimtab.base.durations import parse_duration

MANAGED: Final = "*"
"""In the place of a kind: every object that is applied from git."""
UNKNOWN: Final = "UnknownAnnotation"
"""Reason of the Warning about a name of ours without a meaning."""
_SHOWN = 60
_DIGEST = r"sha256:[0-9a-f]{64}"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = rf"{_LABEL}(\.{_LABEL})*"
_DEPENDENCY = rf"[A-Z][A-Za-z0-9]{{0,62}}/({_LABEL})?/[A-Za-z0-9]([-A-Za-z0-9.:_]{{0,251}}[A-Za-z0-9])?"
_NAMESPACES = r"[a-z0-9*]([-a-z0-9*]{0,61}[a-z0-9*])?"
_KIND = r"(\*|[A-Z][A-Za-z0-9]{0,62})(\.[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?"
_ZONE = r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}"
_CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_CRON_NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}


class Rule(NamedTuple):
    """One annotation: the kinds it has a meaning on, what it may say in words, and the check of that.

    `folded`: on managed objects a label may say it as well, and the case of the value does not matter, as in Flux.
    """

    on: frozenset[str]
    allowed: str
    admits: Callable[[str], bool]
    folded: bool = False


def complaints(kind: str, annotations: Mapping[str, str]) -> list[str]:
    """What makes no sense among the annotations of an object of ours: name, value and what is allowed."""
    return [
        f"{name}: {_cut(value)} (it must be {rule.allowed})"
        for name, value in sorted(annotations.items())
        if (rule := RULES.get(name)) is not None and kind in rule.on and not rule.admits(value)
    ]


def object_complaint(kind: str, annotations: Mapping[str, object], labels: Mapping[str, object]) -> str:
    """The first rule on a managed object that makes no sense, or nothing. Annotations win over labels, as in Flux."""
    for name, rule in RULES.items():
        if not rule.on & {MANAGED, kind} or (kind in _OURS and MANAGED not in rule.on):
            continue
        places = (annotations.get(name), labels.get(name) if rule.folded else None)
        for value in [place for place in places if place not in (None, "")][:1]:
            if not isinstance(value, str) or not rule.admits(value.lower() if rule.folded else value):
                return f"{name}: {_cut(value)}: it must be {rule.allowed}"
    return ""


def deletion_complaint(metadata: Mapping[str, Any]) -> str:
    """Why a live object is not deleted: somebody wrote a rule on it, about just that, which makes no sense."""
    notes, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    about = (names.OBJECT_PRUNE, names.OBJECT_RECONCILE)
    said = object_complaint(
        MANAGED, *({name: place[name] for name in about if name in place} for place in (notes, labels))
    )
    return f"is not deleted while it has {said}" if said else ""


def strangers(kind: str, annotations: Mapping[str, str]) -> list[str]:
    """Names under our prefix without a meaning on an object of ours of `kind`: each with what may have been meant."""
    found = []
    for name in sorted(annotations):
        rule = RULES.get(name)
        if not name.startswith(names.OURS) or (rule is not None and rule.on & {MANAGED, kind}):
            continue
        if rule is not None:
            found.append(f"{name} has no meaning on a {kind}, only on {' and '.join(sorted(rule.on))}")
            continue
        known = [other for other, rule in RULES.items() if other.startswith(names.OURS) and kind in rule.on]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        found.append(f"{_cut(name)} is not known" + (f": is {near[0]} meant?" if near else ""))
    return found


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(str(value))} characters)"


def _one_of(*words: str) -> tuple[str, Callable[[str], bool]]:
    allowed = ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]
    return allowed, lambda value: value in words


def _form(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


def _any(_value: str) -> bool:
    return True


def _text(value: str) -> bool:
    return bool(value.strip())


def _is_budget(value: str) -> bool:
    matched = re.fullmatch(r"(\d{1,9})(%?)", value.strip(), re.ASCII)
    return matched is not None and not (matched[2] and int(matched[1]) > 100)


def _are_dependencies(value: str) -> bool:
    admits = _form(_DEPENDENCY)
    return all(admits(part.strip()) for part in value.split(","))


def _list_of(pattern: str) -> Callable[[str], bool]:
    admits = _form(pattern)
    return lambda value: all(admits(part.strip()) for part in value.split(",") if part.strip())


def _are_windows(value: str) -> bool:
    return all(_is_window(window.split()) for window in value.split(";"))


def _is_window(words: list[str]) -> bool:
    """Five fields of cron, a duration, and a time zone."""
    if len(words) != 7:
        return False
    *cron, duration, zone = words
    try:
        long_enough = parse_duration(duration) > 0
    except ValueError:
        return False
    return long_enough and _form(_ZONE)(zone) and all(_is_cron(place, field) for place, field in enumerate(cron))


def _is_cron(place: int, field: str) -> bool:
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isdecimal() and int(step) > 0):
            return False
        if span == "*":
            continue
        ends = [_cron_number(place, end) for end in span.split("-")]
        if len(ends) > 2 or None in ends or ends != sorted(ends, key=lambda end: end or 0):
            return False
    return True


def _cron_number(place: int, word: str) -> int | None:
    least, most = _CRON[place]
    if word.lower() in _CRON_NAMES.get(place, ()):
        return _CRON_NAMES[place].index(word.lower()) + least
    return int(word) if word.isascii() and word.isdecimal() and least <= int(word) <= most else None


def _rule(on: str, allowed: str, admits: Callable[[str], bool], *, folded: bool = False) -> Rule:
    return Rule(frozenset(on.split()), allowed, admits, folded)


_GIT, _APPS, _RELEASES = "GitRepository", "Kustomization", "Kustomization HelmRelease"
_POLICY, _AUTOMATION = "ImagePolicy", "ImageUpdateAutomation"
_GENERATOR = "ArtifactGenerator"
_OURS = frozenset(
    (
        f"{_GIT} OCIRepository Bucket HelmRepository HelmChart {_GENERATOR} {_RELEASES} {_POLICY} {_AUTOMATION} "
        "ImageRepository Alert Provider Receiver"
    ).split()
)
_SWITCH = _one_of("enabled", "disabled")
_BOOLEAN = ('"true" or "false"', lambda value: value in ("true", "false"))

RULES: Final[Mapping[str, Rule]] = {
    # by name; one that ends in `/` stands for all that begin so
    names.Annotation.DRIFT: _rule(f"{_RELEASES} {MANAGED}", *_one_of(*names.DriftMode), folded=True),
    names.Annotation.GATE: _rule(_RELEASES, *_one_of(*names.GateMode)),
    names.Annotation.DELETION_BUDGET: _rule(
        _RELEASES, "a number of objects, such as 15, or a share up to 100%, such as 20%", _is_budget
    ),
    names.Annotation.APPROVE_PRUNE: _rule(
        _RELEASES, "a digest as the condition PruneHeld shows it", _form(f"({_DIGEST})?")
    ),
    names.Annotation.ALLOW_EMPTY: _rule(_RELEASES, *_BOOLEAN),
    names.Annotation.DEPENDS_ON: _rule(_RELEASES, "Kind/namespace/name, several by commas", _are_dependencies),
    names.Annotation.WAIT_FOR_ADDRESS: _rule("Service Ingress", *_BOOLEAN),
    names.Annotation.VERIFY: _rule(_GIT, *_one_of(*names.AncestryMode)),
    names.Annotation.ALLOW_ROLLBACK: _rule(_GIT, "a whole commit hash, 40 or 64 hexadecimal digits", _form(_COMMIT)),
    names.Annotation.PLAINTEXT_SECRETS: _rule(_APPS, *_one_of(*names.PlaintextSecrets)),
    names.Annotation.HELM_LOOKUP: _rule("HelmRelease", *_BOOLEAN),
    names.Annotation.WRITE_SECRET: _rule(_AUTOMATION, "the name of a Secret", _form(_NAME)),
    names.Annotation.POLICY: _rule(_POLICY, *_one_of("newest")),
    names.Annotation.HOLD: _rule(f"{_POLICY} {MANAGED}", "the reason, in words", _text),
    names.Annotation.LOCK: _rule(f"{_POLICY} {MANAGED}", "the reason, in words", _text),
    names.Annotation.FILTER_GLOB: _rule(_POLICY, "a glob over tags", _text),
    names.Annotation.FREEZE: _rule(
        f"{_AUTOMATION} {_APPS}",
        "`cron duration timezone`, such as `0 18 * * fri 60h Europe/Berlin`, several by semicolons",
        _are_windows,
    ),
    names.Annotation.SIGNER_MATCHES_COMMITTER: _rule(_GIT, *_BOOLEAN),
    names.Annotation.TEMPLATE: _rule("Alert", "name/key of a ConfigMap", _form(rf"{_NAME}/[-._a-zA-Z0-9]+")),
    names.Annotation.COMMITS: _rule(_AUTOMATION, *_one_of(*names.CommitMode)),
    names.Annotation.PULL_REQUEST: _rule(_AUTOMATION, *_one_of(*names.PullRequests)),
    names.Annotation.PULL_REQUEST_SECRET: _rule(_AUTOMATION, "the name of a Secret", _form(_NAME)),
    names.Annotation.SKIP_CI: _rule(_AUTOMATION, *_BOOLEAN),
    names.Annotation.UNHOLD: _rule(
        _POLICY,
        "the image that is held, as IMAGE:TAG or `IMAGE:TAG after COMMIT`",
        _form(r"\S+( after [0-9a-f]{7,64})?"),
    ),
    names.ALLOWED_NAMESPACES: _rule(
        "Namespace", "names of namespaces by commas, `*` for any characters", _list_of(_NAMESPACES)
    ),
    names.ALLOWED_KINDS: _rule("Namespace", "Kind or Kind.group, several by commas", _list_of(_KIND)),
    names.OBJECT_RECONCILE: _rule(MANAGED, *_SWITCH, folded=True),
    names.OBJECT_FORCE: _rule(MANAGED, *_SWITCH, folded=True),
    names.OBJECT_PRUNE: _rule(MANAGED, *_SWITCH, folded=True),
    names.OBJECT_SUBSTITUTE: _rule(MANAGED, *_SWITCH, folded=True),
    names.OBJECT_DECRYPT: _rule(MANAGED, *_SWITCH, folded=True),
    names.OBJECT_SSA: _rule(
        MANAGED,
        "Override, Merge, IfNotPresent or Ignore",
        lambda value: value in [mode.lower() for mode in names.ApplyMode],
        folded=True,
    ),
    names.OBJECT_DRIFT_DETECTION: _rule(MANAGED, *_SWITCH, folded=True),
    names.GENERATOR_RECONCILE: _rule(
        _GENERATOR, _SWITCH[0], lambda value: value.lower() in (names.ENABLED, names.DISABLED)
    ),
    # any text is a request, and any text may be handed on to who listens to events
    names.REQUESTED_AT: _rule(" ".join(sorted(_OURS)), "any text", _any),
    names.Annotation.REQUESTED_BY: _rule(" ".join(sorted(_OURS)), "any text", _any),
    names.Annotation.CORRECT_AT: _rule(_RELEASES, "any text", _any),
    names.FORCE_AT: _rule("HelmRelease", "any text", _any),
    names.RESET_AT: _rule("HelmRelease", "any text", _any),
    names.EVENT_PREFIX: _rule(" ".join(sorted(_OURS)), "any text", _any),
}
