"""What goes wrong while something is opened. No message holds a value, neither sealed nor open."""

from trimtab.base.errors import Terminal, Transient

REASON = "BuildFailed"


class Undecryptable(Terminal):
    """A file that is not opened: nothing of it is used."""

    def __init__(self, message: str) -> None:
        super().__init__(REASON, message)


class NoKey(Transient):
    """A file that no key opens as yet. Tried again, and so with the keys that there are then: a Secret may change."""

    def __init__(self, message: str, *, hopeless: bool = True) -> None:
        super().__init__(REASON, message, hopeless=hopeless)


class Damaged(Exception):
    """What is in a file cannot be opened. The words go without the file, whose name is known further up."""


class Locked(Exception):
    """One key does not open what was locked with it; the words say why. `passing`: that may change by itself."""

    def __init__(self, why: str, *, passing: bool = False) -> None:
        super().__init__(why)
        self.passing = passing


class BadKeys(Exception):
    """A key that cannot be used as it is. The words never hold a part of it."""
