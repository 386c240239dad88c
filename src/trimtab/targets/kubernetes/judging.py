"""Which rules the health of each object is judged by: those of its kind, or of the app that owns it."""

from collections.abc import Callable
from typing import TypeAlias

from trimtab.api.kustomize import HealthExpr
from trimtab.health.assess import assess
from trimtab.health.checks import Checks, compiled
from trimtab.health.context import Context
from trimtab.health.verdict import Verdict
from trimtab.manifests.refs import Body, Gvk, Key
from trimtab.targets.kubernetes.desired import PREFIX, Owner

Judge: TypeAlias = Callable[[Body, Context], Verdict]


class Judges:
    """The rules of the apps of one kind, which is told by the `prefix` of its labels.

    Verdicts are computed as objects are seen, and the objects are not kept: whoever changes the rules of an app has to
    look at the objects they are for once more (`changed`).
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._written: dict[Key, tuple[HealthExpr, ...]] = {}
        self._checks: dict[Key, Checks] = {}
        self._changed: dict[Key, set[tuple[str, str]]] = {}

    def set(self, app: Key, rules: tuple[HealthExpr, ...]) -> None:
        """From now on judge the objects of `app` by `rules`. Raises ExpressionError, and keeps the old ones then."""
        known = self._written.get(app, ())
        if known == rules:
            return
        self._checks[app], self._written[app] = compiled(rules), rules
        kinds = {(rule.api_version.rpartition("/")[0], rule.kind) for rule in (*known, *rules)}
        self._changed.setdefault(app, set()).update(kinds)

    def forget(self, app: Key) -> None:
        """The app is gone."""
        for held in (self._written, self._checks, self._changed):
            held.pop(app, None)

    def of(self, app: Key) -> Judge:
        """The rules of `app`."""
        checks = self._checks.get(app)
        return checks.assess if checks is not None else assess

    def assess(self, body: Body, context: Context) -> Verdict:
        """The verdict on an object by the rules of the app it belongs to."""
        owner = Owner.of(body, self._prefix)
        return self.of(owner.key)(body, context) if owner is not None else assess(body, context)

    def changed(self, app: Key, gvk: Gvk) -> bool:
        """Whether the rules for this kind changed since `settled` was said."""
        kinds = self._changed.get(app, ())
        return (gvk.group, gvk.kind) in kinds or (gvk.group, "") in kinds

    def settled(self, app: Key) -> None:
        """All objects of `app` have been looked at once more."""
        self._changed.pop(app, None)
