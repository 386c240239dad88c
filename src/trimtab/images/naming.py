"""The name of an image as people write it, as the repository of a registry that it means."""

from typing import NamedTuple

from trimtab.base.errors import Terminal
from trimtab.images.reference import name_of
from trimtab.remotes.oci.reference import DOCKER_HUB, Repository, parse_repository
from trimtab.remotes.shown import shown

_DOCKER_HUB = "docker.io"
_INVALID = "ImageURLInvalid"


class Named(NamedTuple):
    """A repository, and its name in full, such as `docker.io/library/alpine` for `alpine`."""

    repository: Repository
    canonical: str


def parse(image: str, *, insecure: bool = False) -> Named:
    """What `spec.image` means. Raises Terminal (ImageURLInvalid).

    As everywhere, the first part is a registry if there is a dot or a colon in it, or if it is `localhost`.
    """
    if "://" in image:
        raise _refused(image, f"write it without a scheme: {shown(image.partition('://')[2])}")
    if name_of(image) != image:
        raise _refused(image, "all tags of it are looked at, so that it is written without one, and without a digest")
    host, slash, path = image.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = _DOCKER_HUB, image
    try:
        repository = parse_repository(f"oci://{host}/{path}", insecure=insecure)
    except Terminal as problem:
        raise Terminal(_INVALID, f"spec.image: {problem.message}") from None
    written = _DOCKER_HUB if repository.host in DOCKER_HUB else repository.origin.raw_authority
    return Named(repository, f"{written}/{repository.path}")


def _refused(image: str, why: str) -> Terminal:
    return Terminal(_INVALID, f"spec.image {shown(image)} is not the name of a repository: {why}")
