"""An object in files by what it is called: `[KIND/][NAMESPACE/]NAME`."""

from typing import Final, NamedTuple

from trimtab.images.nodes import Mapping

FORM: Final = "[KIND/][NAMESPACE/]NAME"
_WORDS: Final = {
    word: kind
    for kind, words in {
        "Deployment": "deploy deployment deployments",
        "StatefulSet": "sts statefulset statefulsets",
        "DaemonSet": "ds daemonset daemonsets",
        "ReplicaSet": "rs replicaset replicasets",
        "CronJob": "cj cronjob cronjobs",
        "Job": "job jobs",
        "Pod": "po pod pods",
        "HelmRelease": "hr helmrelease helmreleases",
        "ImagePolicy": "imgpol imagepol imagepolicy imagepolicies",
    }.items()
    for word in words.split()
}
"""What kubectl calls the kinds that run images."""


class Named(NamedTuple):
    """What people call an object. An empty kind or namespace: any. The case of the kind does not matter."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Named":
        """Read it. Of two words the first is a kind if it begins with a capital letter, or if kubectl calls one so.

        Raises ValueError.
        """
        *before, name = text.split("/")
        is_kind = bool(before) and (len(before) > 1 or before[0][:1].isupper() or before[0] in _WORDS)
        kind = before.pop(0) if is_kind else ""
        kind = _WORDS.get(kind, kind)
        namespace = before.pop(0) if before else ""
        if not name or before or any(char.isspace() for char in text):
            raise ValueError(f"{text[:200]!a} names no object: write {FORM}, such as Deployment/shop/cart")
        return cls(kind, namespace, name)

    def fits(self, body: Mapping) -> bool:
        """Whether `body` is it. An object that names no namespace fits any."""
        kind, namespace = body.text("kind"), body.text("metadata", "namespace")
        return (
            body.text("metadata", "name") == self.name
            and (not self.kind or self.kind.lower() == kind.lower())
            and (not self.namespace or namespace in ("", self.namespace))
        )

    def __str__(self) -> str:
        return "/".join(part for part in self if part)
