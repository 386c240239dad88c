"""Addresses as they may be told: without what signs in, which people write before an `@` and servers into queries."""

import re
from typing import Final

from yarl import URL

_MOST: Final = 200
_CREDENTIALS = re.compile(r"^([^/?#@]*//)?[^/?#]*@")


def shown(address: URL | str, most: int = _MOST) -> str:
    """`address`, in ASCII and in quotes: of user, password, query and fragment only that they are there.

    A redirect to a signed address is a password to whoever reads it, and who wrote one may have meant it for nobody.
    """
    place, mark, _ = re.sub(r"[?#]", "?", str(address), count=1).partition("?")
    # Before it is cut: what is long enough would lose the @ that it is known by.
    place = _CREDENTIALS.sub(r"\1***@", place)
    return ascii(place[:most] + ("?***" if mark else ""))
