"""Addresses of chart repositories, and of what is in them. Pure."""

from typing import Final

from yarl import URL

from trimtab.base.errors import Terminal
from trimtab.remotes.reach import host_of
from trimtab.remotes.shown import shown

_LONGEST: Final = 4096


def parse_address(text: str) -> URL:
    """The repository behind `http(s)://host[:port]/path`. Raises Terminal (URLInvalid)."""
    scheme, separator, rest = text.partition("://")
    authority = rest.partition("/")[0]
    if "@" in authority:
        raise _refused(
            f"{scheme}://***@{rest.rpartition('@')[2]}",
            "credentials do not belong here: name a Secret in spec.secretRef",
        )
    if scheme.lower() == "oci":
        raise _refused(text, "registries need type: oci")
    if scheme not in ("http", "https") or not separator:
        raise _refused(text, "expected http://… or https://…")
    try:
        url = URL(text)
        host_of(url)
    except ValueError as problem:
        raise _refused(text, str(problem)) from problem
    if url.fragment or len(text) > _LONGEST or not text.isprintable() or "\\" in text:
        raise _refused(text, "it has a fragment, a character that cannot be in an address, or is too long")
    return url


def index_of(repository: URL) -> URL:
    """Where the index of `repository` is."""
    return _below(repository, "index.yaml")


def chart_of(repository: URL, reference: str) -> URL:
    """Where a chart is whose address in the index is `reference`. Raises ValueError for what is no address.

    A relative one begins in the directory of the index, and takes the query of the repository along, as Helm does.
    """
    if not reference:
        raise ValueError("the index has no address for it")
    if not reference.isprintable() or "\\" in reference:
        raise ValueError(f"{shown(reference)} is not an address")
    found = URL(reference)
    if not found.absolute:
        base = _below(repository, "")
        found = base.join(found)
        if not found.query_string and repository.query_string:
            found = found.with_query(repository.query_string)
    if found.scheme not in ("http", "https") or found.user is not None:
        raise ValueError(f"{shown(reference)} is not an http or https address without credentials")
    host_of(found)
    return found.with_fragment(None)


def _below(repository: URL, name: str) -> URL:
    path = repository.raw_path.rstrip("/") + "/" + name
    return repository.with_path(path, encoded=True, keep_query=True)


def _refused(text: str, why: str) -> Terminal:
    return Terminal("URLInvalid", f"{shown(text)} is not the address of a chart repository: {why}")
