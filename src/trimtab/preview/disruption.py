"""Which Pods a change replaces, begins or ends, and how."""

from collections.abc import Iterable
from typing import Any, Final

from trimtab.diff.compare import same
from trimtab.manifests.refs import Body
from trimtab.preview.verdict import Judgement, Verdict

_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_ONE: Final = 1


def disruption(live: Body | None, after: Body | None) -> list[Judgement]:
    """What happens to the Pods of an object that is `live`, or not there, and will be `after`, or gone."""
    body = after if after is not None else live
    if body is None or body.get("kind") not in _WORKLOADS or not str(body.get("apiVersion")).startswith("apps/"):
        return []
    if live is None:
        return []
    if after is None:
        return [_restart(f"{_pods(live)} end{'s' if _number(live) == _ONE else ''}: the {live['kind']} is deleted")]
    found = []
    was, will = _number(live), _number(after)
    old, new = _map(live.get("spec")).get("template"), _map(after.get("spec")).get("template")
    if not same(old, new) and was:
        found.append(_restart(_replaced(live, after), "spec.template"))
    if was is not None and will is not None and was != will:
        found.append(_restart(f"{abs(will - was)} Pods {'begin' if will > was else 'end'}", "spec.replicas"))
    return found


def unevictable(body: Body, budgets: Iterable[Body]) -> list[Judgement]:
    """Which PodDisruptionBudgets allow no Pod of an object to be evicted now: a rollout goes on, a drain does not."""
    template = _map(_map(_map(body.get("spec")).get("template")).get("metadata"))
    labels = {name: value for name, value in _map(template.get("labels")).items() if isinstance(value, str)}
    found = []
    for budget in budgets:
        selector = _map(budget.get("spec")).get("selector")
        if not isinstance(selector, dict) or _map(budget.get("status")).get("disruptionsAllowed") != 0:
            continue
        if _selects(selector, labels):
            name = _map(budget.get("metadata")).get("name")
            words = f"PodDisruptionBudget {name} allows no eviction now: a rollout goes on, draining a node waits"
            found.append(Judgement(Verdict.RESTART, words))
    return found


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of the API chooses `labels`; an empty one chooses all."""
    if any(labels.get(name) != value for name, value in _map(selector.get("matchLabels")).items()):
        return False
    for one in _list(selector.get("matchExpressions")):
        key, values = str(_map(one).get("key")), _list(_map(one).get("values"))
        match _map(one).get("operator"):
            case "In" if labels.get(key) not in values:
                return False
            case "NotIn" if key in labels and labels[key] in values:
                return False
            case "Exists" if key not in labels:
                return False
            case "DoesNotExist" if key in labels:
                return False
    return True


def _replaced(live: Body, after: Body) -> str:
    spec = _map(after.get("spec"))
    strategy = _map(spec.get("strategy") or spec.get("updateStrategy")).get("type")
    pods, one = _pods(live), _number(live) == _ONE
    if strategy == "OnDelete":
        return f"{pods} stay{'s' if one else ''} as {'it is' if one else 'they are'} until deleted by hand (OnDelete)"
    if strategy == "Recreate":
        return f"{pods} end{'s' if one else ''} before new ones begin (Recreate): the template changes"
    return f"{pods} {'is' if one else 'are'} replaced: the template changes"


def _pods(body: Body) -> str:
    number = _number(body)
    if number is None:
        return "the Pods"
    return f"{number} Pod{'' if number == _ONE else 's'}"


def _number(body: Body) -> int | None:
    if body.get("kind") == "DaemonSet":
        number = _map(body.get("status")).get("desiredNumberScheduled")
    else:
        number = _map(body.get("spec")).get("replicas", 1)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _restart(words: str, path: str = "") -> Judgement:
    return Judgement(Verdict.RESTART, words, path=path)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
