"""What is allowed and still asks for trouble: told once, where it was written. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from trimtab.manifests.refs import Body
from trimtab.targets.kubernetes.desired import Desired
from trimtab.targets.kubernetes.notices import Notice

_WITH_BUNDLES = (
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "CustomResourceDefinition",
    "APIService",
)


def of(items: Iterable[Desired]) -> Iterator[Notice]:
    """The cautions about `items`."""
    for item in items:
        if item.ref.kind in _WITH_BUNDLES and any(_empty_bundles(item.body)):
            words = (
                f"{item.ref} ({item.origin}) declares an empty caBundle: whoever fills it in will be undone. Remove "
                "the field, and it is left to others"
            )
            yield Notice("EmptyCABundle", words)


def _empty_bundles(body: Body) -> Iterator[bool]:
    spec = body.get("spec") or {}
    places: list[Any] = [spec, ((spec.get("conversion") or {}).get("webhook") or {}).get("clientConfig")]
    places += [webhook.get("clientConfig") for webhook in body.get("webhooks") or () if isinstance(webhook, dict)]
    for place in places:
        yield isinstance(place, dict) and "caBundle" in place and not place["caBundle"]
