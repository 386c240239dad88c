"""When a digest is looked up."""

import pytest

from trimtab.api.image import ImageRef
from trimtab.images.reflection import known_digest

BEFORE = ImageRef(name="app", tag="v1", digest="sha256:1")


@pytest.mark.parametrize(
    ("policy", "before", "tag", "known"),
    [
        ("Never", BEFORE, "v1", ""),
        ("", BEFORE, "v1", ""),
        ("Always", BEFORE, "v1", None),
        ("IfNotPresent", BEFORE, "v1", "sha256:1"),
        ("IfNotPresent", BEFORE, "v2", None),
        ("IfNotPresent", ImageRef(name="other", tag="v1", digest="sha256:1"), "v1", None),
        ("IfNotPresent", ImageRef(name="app", tag="v1"), "v1", None),
        ("IfNotPresent", None, "v1", None),
    ],
)
def test_a_digest_is_looked_up_as_the_policy_says(policy: str, before: ImageRef | None, tag: str, known: str) -> None:
    assert known_digest(policy, before, "app", tag) == known
