"""What can go wrong with a write, beyond what goes wrong with a read.

All of them are tried again: a Secret, a right or a rule of the server can be changed where nothing of ours sees it.
"""

from trimtab.base.errors import Transient


class ReadOnly(Transient):
    """The credentials read this repository and may not write to it. Nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__("ReadOnly", message, hopeless=True)


class Refused(Transient):
    """The server took the commit and would not put it on the branch: the branch is protected, or a hook said no."""

    def __init__(self, message: str) -> None:
        super().__init__("PushRefused", message, hopeless=True)


class Contended(Transient):
    """Others pushed first, each time. Their commits are there, ours is not."""

    def __init__(self, message: str) -> None:
        super().__init__("GitOperationFailed", message)


class SigningFailed(Transient):
    """The key cannot sign, so there is no commit."""

    def __init__(self, message: str) -> None:
        super().__init__("SigningFailed", message, hopeless=True)
