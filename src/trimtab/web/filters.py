"""CEL over what was sent and over the objects that may be asked for a look. Pure."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from trimtab.api.receiver import ReceiverResource, ReceiverSpec
from trimtab.health.expressions import Bindings, EvaluationError, Expression, ExpressionError, Term
from trimtab.health.expressions import compile as compile_expression
from trimtab.health.expressions import compile_term as compile_any
from trimtab.manifests.refs import Body
from trimtab.web.delivery import Refused, Why

MOST_BODY: Final = 256 << 10
"""Bytes of a body that expressions may be asked about: it is read and measured while everybody waits."""
MOST_STEPS: Final = 10_000_000
"""Steps of all expressions about all objects of one delivery."""
_MOST_COMPILED: Final = 2048


@lru_cache(maxsize=_MOST_COMPILED)
def compiled(text: str, variables: tuple[str, ...]) -> Expression:
    """The expression `text` over `variables`, compiled once. Raises ExpressionError."""
    return compile_expression(text, variables)


@lru_cache(maxsize=_MOST_COMPILED)
def compiled_term(text: str, variables: tuple[str, ...]) -> Term:
    """As `compiled`, where any answer will do."""
    return compile_any(text, variables)


def filtered(spec: ReceiverSpec) -> bool:
    """Whether any object has to be looked at before it may be asked."""
    return bool(spec.resource_filter) or any(resource.filter for resource in spec.resources)


class Filter:
    """What the expressions of a Receiver say about objects, for one delivery: its body is translated once."""

    def __init__(self, spec: ReceiverSpec, request: Mapping[str, Any], claims: Mapping[str, Any] | None) -> None:
        """Raise Refused for a body that expressions cannot be asked about."""
        self._spec = spec
        values: dict[str, Any] = {"req": dict(request), "res": {}}
        if "claims" in spec.filter_variables:
            values["claims"] = dict(claims or {})
        try:
            self._bindings = Bindings(values, budget=MOST_STEPS)
        except (ValueError, TypeError, OverflowError) as failure:
            raise Refused(400, Why.PAYLOAD, "the body has values that no expression can be asked about") from failure

    def admits(self, resource: ReceiverResource, body: Body) -> bool:
        """Whether both expressions are true of the object. Raises EvaluationError where one has no answer."""
        texts = [text for text in (self._spec.resource_filter, resource.filter) if text]
        if not texts:
            return True
        try:
            self._bindings.set("res", body)
            return all(compiled(text, self._spec.filter_variables).evaluate(self._bindings) for text in texts)
        except ExpressionError as failure:
            raise EvaluationError(str(failure)) from failure
