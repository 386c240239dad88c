"""Which images an automation has to write: what the policies of its namespace chose, and nobody holds. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trimtab.api import names
from trimtab.api.image import ImagePolicy, ImageRef
from trimtab.images.pauses import LetGo
from trimtab.images.reference import Image
from trimtab.manifests.refs import Key
from trimtab.manifests.selectors import Selects


class Wanted(NamedTuple):
    """The images by policy; what they look like in a status; and why the other policies do not count.

    `released` are the policies whose owner wants just that image in spite of somebody having undone it: then, up to the
    commit that is said there, or ever where none is.
    """

    images: Mapping[Key, Image]
    observed: Mapping[str, ImageRef]
    held: Mapping[Key, str]
    strange: Mapping[Key, str]
    released: Mapping[Key, str]

    @classmethod
    def among(cls, policies: Iterable[ImagePolicy], namespace: str, selects: Selects) -> "Wanted":
        """The choice of those of `policies` that are in `namespace` and selected, in the order of their names."""
        images: dict[Key, Image] = {}
        observed: dict[str, ImageRef] = {}
        held: dict[Key, str] = {}
        strange: dict[Key, str] = {}
        released: dict[Key, str] = {}
        mine = [one for one in policies if one.metadata.namespace == namespace and selects(one.metadata.labels)]
        for policy in sorted(mine, key=lambda one: one.key):
            ref, key = policy.status.latest_ref, policy.key
            if ref is None or policy.metadata.deleted:
                continue
            try:
                image = Image.of(ref.name, ref.tag, ref.digest)
            except ValueError as problem:
                strange[key] = str(problem)
                continue
            observed[policy.metadata.name] = ref
            if why := _hold(policy):
                held[key] = why
                continue
            images[key] = image
            let_go = _let_go(policy)
            if let_go is not None and let_go.image in (str(image), f"{image.name}:{image.tag}"):
                released[key] = let_go.after
        return cls(images, observed, held, strange, released)


def _let_go(policy: ImagePolicy) -> LetGo | None:
    try:
        return LetGo.parse(policy.metadata.annotations.get(names.Annotation.UNHOLD, ""))
    except ValueError:
        return None  # what makes no sense lets nothing go; the policy itself says so


def _hold(policy: ImagePolicy) -> str:
    for name in (names.Annotation.LOCK, names.Annotation.HOLD):
        if name in policy.metadata.annotations:
            return f"{name}: {policy.metadata.annotations[name][:200]}"
    return ""
