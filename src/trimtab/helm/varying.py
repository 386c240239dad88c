"""Whether a chart could render something else the next time, by the names of the functions in its templates. Pure.

Only a hint that saves work: a chart that mentions none of them renders the same, and is rendered once instead of twice.
Values may be templates too (`tpl`), and are looked at as well.
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
