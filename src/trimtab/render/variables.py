"""The variables that expressions in built objects are filled with."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from trimtab.api.kustomize import PostBuild, SubstituteStrategy
from trimtab.base.errors import Terminal

NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
MAX_BYTES: Final = 8 << 20
"""All values of one app together."""
_KEY: Final = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class Variables:
    """Values by name, and how they are used. Nothing that shows one of these shows a value.

    `strict`: a variable that is not set is an error. `always`: expressions count also where there is no variable at
    all. `confidential` are the names whose values come from Secrets, `unreadable` those whose values are no text.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    strict: bool = True
    always: bool = False
    confidential: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()

    @property
    def active(self) -> bool:
        """Whether expressions are looked at at all."""
        return self.always or bool(self.values or self.unreadable)

    @property
    def digest(self) -> str:
        """Equal for equal variables, within this process: keyed, as a short value could be guessed from a plain one."""
        state = hmac.new(_KEY, digestmod=hashlib.sha256)
        for name, value in sorted(self.values.items()):
            for part in (name.encode(), value.encode()):
                state.update(len(part).to_bytes(8) + part)
        return f"{state.hexdigest()}:{self.strict}:{self.active}:{','.join(sorted(self.unreadable))}"


class Found(NamedTuple):
    """The entries of a ConfigMap or a Secret; `holder` is its name in messages, `confidential` says that it is one."""

    holder: str
    entries: Mapping[str, str | bytes]
    confidential: bool = False


def collected(
    post_build: PostBuild | None, found: Iterable[Found] = (), *, strict: bool = True, given: Mapping[str, str] = {}
) -> Variables:
    """The variables of an app: those of `found`, later ones winning, then those of the spec, then those `given`.

    Values lose their line breaks, as in Flux. Raises Terminal for names that none can have, and for too much.
    """
    inline = post_build.substitute if post_build is not None else {}
    sources = [*found, Found("spec.postBuild.substitute", inline), Found("what was given", given)]
    values: dict[str, str] = {}
    confidential: set[str] = set()
    unreadable: set[str] = set()
    for source in sources:
        for name, value in source.entries.items():
            _check(name, source.holder)
            for known in (confidential, unreadable):
                known.discard(name)
            if source.confidential:
                confidential.add(name)
            try:
                text = value if isinstance(value, str) else value.decode()
                values[name] = text.replace("\n", "")
            except UnicodeDecodeError:
                values.pop(name, None)
                unreadable.add(name)
    size = sum(len(name) + len(value.encode()) for name, value in values.items())
    if size > MAX_BYTES:
        raise Terminal("BuildFailed", f"the variables have {size:,} bytes; at most {MAX_BYTES:,} are taken")
    always = post_build is not None and post_build.substitute_strategy == SubstituteStrategy.ALWAYS
    return Variables(values, strict, always, frozenset(confidential), frozenset(unreadable))


def _check(name: str, holder: str) -> None:
    if not NAME.fullmatch(name):
        raise Terminal(
            "BuildFailed",
            f"{holder}: {name[:100]!r} cannot be the name of a variable, which has letters, digits and underscores "
            "only and does not begin with a digit: rename it, or keep it elsewhere",
        )
