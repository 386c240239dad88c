"""After the cluster's memory went back to an older state (etcd restored from a backup): who is sure again. No I/O."""

from trimtab.manifests.refs import Key

WORDS = (
    "the API server went back to an older state, as when etcd is restored from a backup: deletions wait until one pass "
    "has found, or made, everything as it is declared"
)


class Epoch:
    """Counts restorations, and knows which apps have had a clean pass since the last one."""

    def __init__(self) -> None:
        self.number = 0
        self._clean: dict[Key, int] = {}

    def begin(self) -> None:
        """What was known is of another history."""
        self.number += 1
        self._clean.clear()

    def clean(self, app: Key) -> None:
        """A pass of `app` succeeded in everything that it applied."""
        if self.number:
            self._clean[app] = self.number

    def holds(self, app: Key) -> str:
        """Why `app` must not delete anything yet; empty if it may."""
        return WORDS if self.number and self._clean.get(app) != self.number else ""
