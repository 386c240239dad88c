"""Bases in other repositories: what an address in a kustomization means, and where its files lie once they are here.

The forms are those that kustomize clones by git (its documentation of remote targets):
https://github.com/kubernetes-sigs/kustomize/blob/master/examples/remoteBuild.md. Here they are read strictly, and
whoever builds fetches them first: kustomize itself sees files only.
"""

import hashlib
import posixpath
import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from trimtab.base.errors import Terminal

DIRECTORY: Final = ".trimtab-remote"
"""Where fetched repositories lie in what is built, each below a name of its own."""
_SCHEME = re.compile(r"(?:git::)?(?P<scheme>https?)://", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_BARE: Final = "github.com/"
_OWNER_AND_NAME: Final = 2
_IGNORED: Final = frozenset({"timeout", "submodules", "depth"})
_REF: Final = ("ref", "version")


class RemoteBase(NamedTuple):
    """A directory in another repository. `ref` is a branch, a tag or a commit; empty for the default branch."""

    url: str
    ref: str
    path: str

    @property
    def home(self) -> str:
        """Where the repository lies in what is built."""
        digest = hashlib.sha256(f"{self.url}\n{self.ref}".encode()).hexdigest()[:8]
        words = _UNSAFE.sub("-", f"{self.url.partition('://')[2]} {self.ref}".strip())[:80]
        return f"{DIRECTORY}/{words}-{digest}"


class Unfetched(Terminal):
    """A base in another repository that is not here. `reference` is how it is written, `base` what that means."""

    def __init__(self, where: str, reference: str, base: RemoteBase) -> None:
        self.reference, self.base, self.where = reference, base, where
        super().__init__(
            "BuildFailed",
            f"{where} names a base in another repository, {base.url}, and nothing is fetched while building: copy "
            f"(vendor) it into the repository, give it a source and a Kustomization of its own, or let the operator "
            f"allow it: trimtab run --remote-bases {base.url}",
        )


def parse(reference: str) -> RemoteBase | None:
    """What `reference` names, if that is a repository over HTTP. None for anything else."""
    address, _, query = reference.partition("?")
    if address.startswith(_BARE):
        address = f"https://{address}"
    if (found := _SCHEME.match(address)) is None:
        return None
    rest = address[found.end() :]
    host, slash, path = rest.partition("/")
    if not host or "@" in host or not slash:
        return None
    repository, below = _split(path)
    path = posixpath.normpath("/" + below).strip("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    ref = next((options[name] for name in _REF if options.get(name)), "")
    strange = options.keys() - _IGNORED - {*_REF}
    if strange or not repository or ".." in below.split("/") or not all(map(str.isprintable, (repository, ref, path))):
        return None
    return RemoteBase(f"{found['scheme']}://{host}/{repository}", ref, path)


def allowed(base: RemoteBase, patterns: tuple[str, ...]) -> bool:
    """Whether one of `patterns` is the repository of `base`, or ends in `/*` and is above it."""
    url = base.url.removesuffix(".git")
    for pattern in patterns:
        above = pattern.removesuffix("*")
        if url == pattern.removesuffix(".git") or (pattern.endswith("/*") and url.startswith(above)):
            return True
    return False


def home_of(directory: str) -> str:
    """The fetched repository that `directory` of a build lies in; empty for the artifact itself."""
    first, _, rest = directory.partition("/")
    return f"{first}/{rest.partition('/')[0]}" if first == DIRECTORY and rest else ""


def _split(path: str) -> tuple[str, str]:
    """The repository and the directory in it: at `//`, after `.git`, else after owner and name."""
    repository, separator, below = path.partition("//")
    if separator:
        return repository, below
    repository, separator, below = path.partition(".git/")
    if separator or path.endswith(".git"):
        return f"{repository.removesuffix('.git')}.git", below
    if path.endswith((".yaml", ".yml", ".json")):
        return "", ""  # kustomize would get one file, without git
    parts = path.split("/")
    return "/".join(parts[:_OWNER_AND_NAME]), "/".join(parts[_OWNER_AND_NAME:])
