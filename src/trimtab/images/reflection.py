"""When the digest of a chosen tag is looked up: `spec.digestReflectionPolicy`, as one pure decision."""

from trimtab.api.image import ImageRef, ReflectionPolicy


def known_digest(policy: str, before: ImageRef | None, name: str, tag: str) -> str | None:
    """The digest that `name:tag` has without a look at the registry; None where it has to be looked up.

    `before` is what was chosen last time. With `Always` it is looked up each interval, with `IfNotPresent` once for an
    image, and never otherwise: then there is none.
    """
    if policy == ReflectionPolicy.ALWAYS:
        return None
    if policy == ReflectionPolicy.IF_NOT_PRESENT:
        same = before is not None and (before.name, before.tag) == (name, tag)
        return before.digest or None if same and before is not None else None
    return ""
