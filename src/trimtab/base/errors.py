"""The one tree of errors that the runtime understands.

TrimtabError
├── Transient    the world may heal by itself: retried with backoff
├── Terminal     a person must change something: not retried until the object or its source changes
└── Waiting      something else has to happen first: tried again when it does, or after a while

Every error carries a `reason` (CamelCase, it becomes the reason of a condition) and a message that names the object
or the file and line, the cause, and the way out. Errors of the network and of the operating system pass as they are
inside a package and are wrapped where the package's promise ends; the original is always chained.
"""


class TrimtabError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class Transient(TrimtabError):
    """May heal by itself. `retry_after` (seconds) is what the other side asked for, if it did.

    `hopeless` says that it will not without a person, who may act where it is not seen: it is tried again all the same.
    """

    def __init__(self, reason: str, message: str, *, retry_after: float | None = None, hopeless: bool = False) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after
        self.hopeless = hopeless


class Terminal(TrimtabError):
    """A person must change the object, its source or its rights first."""


class Waiting(TrimtabError):
    """Something else has to happen first; `after` (seconds) bounds the wait for the signal that it did."""

    def __init__(self, reason: str, message: str, *, after: float = 30.0) -> None:
        super().__init__(reason, message)
        self.after = after
