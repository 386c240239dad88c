"""Whether a chart could render something else the next time, or elsewhere, by the names in its templates. Pure.

Only hints that save work: a chart that mentions no function of chance renders the same, and is rendered once instead of
twice; one that asks nothing of the cluster need not be able to. Values may be templates too (`tpl`), and are looked at
as well.
"""

import re
from collections.abc import Iterable
from typing import Final

# Chance (rand…, gen…, uuidv4, shuffle, salts, initialisation vectors), time (now, ago, what takes a time and falls back
# to now), and the order of a map's keys, which is another one every time.
_VARYING: Final = re.compile(
    rb"(?<![.\w])(?:rand\w*|gen[A-Z]\w*|uuid\w*|shuffle|bcrypt|htpasswd|encryptAES|now|ago|duration\w*|keys|values"
    rb"|(?:must_?)?(?:html|to)?[dD]ate(?:InZone|Modify|_in_zone|_modify)?)\b"
)


def may_vary(texts: Iterable[bytes]) -> bool:
    """Whether one of `texts` is a template and mentions a function whose result is another every time.

    Comments count too: where an action ends is for Helm to know.
    """
    return any(b"{{" in text and _VARYING.search(text) for text in texts)


# `lookup`, the list of API versions, and capabilities as a whole; the version of Kubernetes is told in any case.
_ASKING: Final = re.compile(rb"lookup|APIVersions|Capabilities\b(?!\.\w)")


def may_ask(texts: Iterable[bytes]) -> bool:
    """Whether one of `texts` is a template and mentions what only the cluster can tell."""
    return any(b"{{" in text and _ASKING.search(text) for text in texts)
