"""The newest version that a watch has heard of, to notice when the server's memory goes back. Pure."""


class Horizon:
    """The highest resourceVersion so far. Lists and bookmarks of one server never go back, unless it was restored."""

    def __init__(self) -> None:
        self._highest = 0

    def rewound(self, version: str) -> bool:
        """Take notice of `version`; whether it is older than what was there before. Then it is the new beginning."""
        if not version.isdecimal():
            return False
        number, before = int(version), self._highest
        self._highest = number
        return number < before

    def forget(self) -> None:
        """Expect anything."""
        self._highest = 0
