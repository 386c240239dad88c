"""ValidatingAdmissionPolicies, judged without a server: as a server would judge the creation of an object.

What cannot be known from files (who asks, parameters that are not there, what the server would fill in) makes the
answer unknown, and never a yes. Expressions are those of `health.expressions`, with its limits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from trimtab.health import expressions
from trimtab.health.expressions import Bindings, EvaluationError, Expression, ExpressionError, Term
from trimtab.manifests import selectors
from trimtab.manifests.refs import Body, Gvk
from trimtab.validate.reading import Item

_GROUP: Final = "admissionregistration.k8s.io/"
POLICY: Final = "ValidatingAdmissionPolicy"
BINDING: Final = "ValidatingAdmissionPolicyBinding"
_VARIABLES: Final = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
_CREATING: Final = ("CREATE", "*")
_DENY: Final = ("Deny",)
_ALL: Final = ("*", "*/*")


class Answer(NamedTuple):
    """What a policy says of an object: why it is refused, or why that cannot be told. `hard`: it is refused."""

    item: Item
    policy: str
    message: str
    known: bool
    hard: bool = True


class Policies:
    """Policies and what they are bound to. One that nothing binds is taken to deny everywhere it matches."""

    def __init__(self, items: Sequence[Item]) -> None:
        bindings = [one.body for one in items if _is(one.body, BINDING)]
        self._params = [one.body for one in items if not _is(one.body, BINDING) and not _is(one.body, POLICY)]
        self._policies = [_Policy(one.body, _bound(one.body, bindings)) for one in items if _is(one.body, POLICY)]

    def judge(
        self, items: Iterable[Item], resources: Mapping[Gvk, str], namespaces: Mapping[str, Body]
    ) -> Iterator[Answer]:
        """What the policies say of `items`; `resources` are plurals of kinds, `namespaces` those that are declared.

        Of a kind whose plural is not known, what is said of all resources holds, and what names resources is unknown.
        """
        for item in items:
            plural = resources.get(Gvk.of(item.body["apiVersion"], item.body["kind"]), "")
            for policy in self._policies:
                yield from policy.judge(item, plural, namespaces, self._params)


class _Policy:
    def __init__(self, body: Body, bindings: Sequence[Body]) -> None:
        self._name = str(body["metadata"]["name"])
        spec = body.get("spec")
        self._spec: Mapping[str, Any] = spec if isinstance(spec, dict) else {}
        self._bindings = bindings
        self._broken = ""
        self._conditions: list[Expression] = []
        self._variables: list[tuple[str, Term]] = []
        self._validations: list[tuple[Mapping[str, Any], Expression]] = []
        for one in _maps(self._spec, "matchConditions"):
            self._conditions += self._compiled(one)
        for one in _maps(self._spec, "variables"):
            self._variables += self._named(one)
        for one in _maps(self._spec, "validations"):
            self._validations += [(one, expression) for expression in self._compiled(one)]

    def _compiled(self, holder: Mapping[str, Any]) -> list[Expression]:
        """The expression in `holder`; nothing, and a note of it, where it is none of ours."""
        try:
            return [expressions.compile(str(holder.get("expression")), _VARIABLES)]
        except ExpressionError as wrong:
            self._broken = f"{str(holder.get('expression')).strip()!r}: {wrong}"
            return []

    def _named(self, holder: Mapping[str, Any]) -> list[tuple[str, Term]]:
        try:
            return [(str(holder.get("name")), expressions.compile_term(str(holder.get("expression")), _VARIABLES))]
        except ExpressionError as wrong:
            self._broken = f"{str(holder.get('expression')).strip()!r}: {wrong}"
            return []

    def judge(
        self, item: Item, plural: str, namespaces: Mapping[str, Body], params: Sequence[Body]
    ) -> Iterator[Answer]:
        meant = _matches(self._spec.get("matchConstraints"), item.body, plural, namespaces)
        if meant is False:
            return
        for binding in self._bindings or ({},):
            spec = binding.get("spec", {}) if isinstance(binding.get("spec", {}), dict) else {}
            matching = spec.get("matchResources")
            bound = True if matching is None else _matches(matching, item.body, plural, namespaces)
            if bound is None or (bound and meant is None):
                yield Answer(item, self._name, _NAMELESS, known=False)
            elif bound:
                hard = "Deny" in (spec.get("validationActions") or _DENY)
                yield from self._bound_to(spec, item, plural, namespaces, params, hard=hard)

    def _bound_to(
        self,
        binding: Mapping[str, Any],
        item: Item,
        plural: str,
        namespaces: Mapping[str, Body],
        params: Sequence[Body],
        *,
        hard: bool,
    ) -> Iterator[Answer]:
        if self._broken:
            yield Answer(item, self._name, self._broken, known=False)
            return
        found = self._parameter(binding, params, item.body["metadata"].get("namespace"))
        if found is _UNKNOWN:
            yield Answer(
                item, self._name, "its parameters are not among the files: add them to --policies", known=False
            )
            return
        bindings = _given(item.body, plural, namespaces, found)
        try:
            if not all(condition.evaluate(bindings) for condition in self._conditions):
                return
            values: dict[str, Any] = {}
            for name, term in self._variables:
                values[name] = term.answer(bindings)
                bindings.set("variables", dict(values))
        except EvaluationError as failure:
            yield Answer(item, self._name, f"{failure}: the server may know more", known=False)
            return
        for validation, expression in self._validations:
            try:
                if not expression.evaluate(bindings):
                    message = validation.get("message") or f"failed expression: {validation.get('expression')}"
                    yield Answer(item, self._name, str(message).strip(), known=True, hard=hard)
            except EvaluationError as failure:
                words = f"{str(validation.get('expression')).strip()!r}: {failure}: the server may know more"
                yield Answer(item, self._name, words, known=False)

    def _parameter(self, binding: Mapping[str, Any], params: Sequence[Body], own: Any) -> Any:
        """What the policy is to be judged by. Where the binding names no namespace, it is the object's `own`."""
        kind = self._spec.get("paramKind")
        if not isinstance(kind, dict):
            return None
        ref = binding.get("paramRef")
        if not isinstance(ref, dict) or not isinstance(ref.get("name"), str):
            return _UNKNOWN
        wanted = (kind.get("apiVersion"), kind.get("kind"), ref["name"])
        namespace = ref.get("namespace") or own
        for one in params:
            metadata = one["metadata"]
            there = metadata.get("namespace") in (None, namespace)
            if there and (one["apiVersion"], one["kind"], metadata["name"]) == wanted:
                return one
        return _UNKNOWN


_UNKNOWN: Final = object()
_NAMELESS: Final = "it names resources, and that of this kind is not known here: give its definition with --schema"


def _given(body: Body, plural: str, namespaces: Mapping[str, Body], params: Any) -> Bindings:
    """What expressions may speak of. What is left out is unknown: an expression that asks for it has no answer."""
    gvk = Gvk.of(body["apiVersion"], body["kind"])
    metadata = body["metadata"]
    request = {
        "operation": "CREATE",
        "name": metadata["name"],
        "kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        "resource": {"group": gvk.group, "version": gvk.version, **({"resource": plural} if plural else {})},
        "subResource": "",
        "dryRun": False,
    }
    given: dict[str, Any] = {"object": body, "oldObject": None, "request": request, "variables": {}, "params": params}
    if isinstance(namespace := metadata.get("namespace"), str):
        request["namespace"] = namespace
        if namespace in namespaces:
            given["namespaceObject"] = namespaces[namespace]
    return Bindings(given)


def _bound(policy: Body, bindings: Sequence[Body]) -> list[Body]:
    name = policy["metadata"]["name"]
    return [one for one in bindings if isinstance(one.get("spec"), dict) and one["spec"].get("policyName") == name]


def _matches(constraints: Any, body: Body, plural: str, namespaces: Mapping[str, Body]) -> bool | None:
    """Whether the creation of `body` is what is meant; None where that depends on a plural that is not known.

    A namespace that is not declared is taken to be meant.
    """
    if not isinstance(constraints, dict):
        return False
    gvk = Gvk.of(body["apiVersion"], body["kind"])
    rules = _maps(constraints, "resourceRules")
    included = _any(_meant(rule, gvk, plural, body) for rule in rules) if "resourceRules" in constraints else True
    excluded = _any(_meant(rule, gvk, plural, body) for rule in _maps(constraints, "excludeResourceRules"))
    if included is False or excluded is True:
        return False
    answer = None if included is None or excluded is None else True
    metadata = body["metadata"]
    if not _selected(constraints.get("objectSelector"), metadata.get("labels")):
        return False
    namespace = namespaces.get(str(metadata.get("namespace")))
    if namespace is None or _selected(constraints.get("namespaceSelector"), namespace["metadata"].get("labels")):
        return answer
    return False


def _meant(rule: Mapping[str, Any], gvk: Gvk, plural: str, body: Body) -> bool | None:
    names = rule.get("resourceNames")
    if not (
        _one_of(rule, "apiGroups", (gvk.group, "*"))
        and _one_of(rule, "apiVersions", (gvk.version, "*"))
        and _one_of(rule, "operations", _CREATING)
        and (not isinstance(names, list) or not names or body["metadata"]["name"] in names)
    ):
        return False
    if _one_of(rule, "resources", (plural, "*", "*/*") if plural else _ALL):
        return True
    return False if plural or not _names_one(rule) else None


def _names_one(rule: Mapping[str, Any]) -> bool:
    """Whether a resource is named that is no subresource."""
    found = rule.get("resources")
    return isinstance(found, list) and any(isinstance(one, str) and one and "/" not in one for one in found)


def _any(answers: Iterable[bool | None]) -> bool | None:
    """Whether one is true; None where one may be."""
    known = list(answers)
    return True if True in known else None if None in known else False


def _one_of(rule: Mapping[str, Any], field: str, wanted: Sequence[str]) -> bool:
    found = rule.get(field)
    return isinstance(found, list) and any(one in wanted for one in found)


def _selected(selector: Any, labels: Any) -> bool:
    if not isinstance(selector, dict) or not selector:
        return True
    return selectors.selected(selector, labels if isinstance(labels, dict) else {})


def _maps(holder: Any, field: str) -> list[Mapping[str, Any]]:
    found = holder.get(field) if isinstance(holder, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _is(body: Body, kind: str) -> bool:
    return bool(body["kind"] == kind and body["apiVersion"].startswith(_GROUP))
