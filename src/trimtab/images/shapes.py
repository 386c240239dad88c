"""Images that are written in parts: an entry of `images:` in a kustomization, and `image:` in the values of a chart.

Only values that are there are replaced; no line is ever added. Where the image cannot be said in the parts that there
are, it is refused with the line that is missing: half an image would be another one.
"""

from typing import Final, NamedTuple

from trimtab.images.nodes import Mapping, Node, Scalar
from trimtab.images.reference import Image

_NAMES: Final = ("repository", "name")
_TAGS: Final = ("tag", "imageTag")


class Setting(NamedTuple):
    """One value that is to read `new`."""

    scalar: Scalar
    new: str


class Misfit(ValueError):
    """The image cannot be written in this form; `line` is where the form begins."""

    def __init__(self, line: int, cause: str) -> None:
        super().__init__(cause)
        self.line = line


def in_parts(mapping: Mapping, image: Image) -> list[Setting]:
    """What to set so that `mapping` says `image`: of a kustomization's entry, or of a chart. Raises Misfit."""
    if mapping.get("newTag") is not None or mapping.get("newName") is not None:
        return in_entry(mapping, image)
    return in_values(mapping, image)


def in_entry(entry: Mapping, image: Image) -> list[Setting]:
    """What to set in an entry of a kustomization's `images:`. Raises Misfit."""
    tag, name, digest = (entry.get(key) for key in ("newTag", "newName", "digest"))
    if name is None and entry.text("name") != image.name:
        raise Misfit(
            entry.line, f"has no newName, and its name is not {image.name}: add the line `newName: {image.name}`"
        )
    settings = [] if name is None else [Setting(_scalar(name, "newName"), image.name)]
    if tag is not None:
        settings.append(Setting(_scalar(tag, "newTag"), image.tag))
    elif not (image.digest and digest is not None):
        raise Misfit(entry.line, "has no newTag: add the line `newTag: latest` for it to be set")
    return settings + _digest(entry, image, digest)


def in_values(values: Mapping, image: Image) -> list[Setting]:
    """What to set in `repository` (or `name`), `registry`, `tag` and `digest` of a chart's values. Raises Misfit."""
    key = next((key for key in _NAMES if values.get(key) is not None), None)
    tag = next((node for key in _TAGS if (node := values.get(key)) is not None), None)
    if key is None or tag is None:
        raise Misfit(values.line, "is no image in a form that is known: repository and tag, or newName and newTag")
    settings = _named(values, _scalar(values.get(key), key), image)
    digest = values.get("digest")
    written = _scalar(tag, "tag")
    if digest is None and "@" in written.value:
        if not image.digest:
            raise Misfit(written.line, "is pinned to a digest in its tag, and the policy resolves none")
        return [*settings, Setting(written, image.version)]
    return [*settings, Setting(written, image.tag), *_digest(values, image, digest)]


def beside(values: Mapping, image_key: str, image: Image) -> list[Setting]:
    """What to set where the image is a text: all of it, or its name where its tag is a value beside it."""
    whole = _scalar(values.get(image_key), image_key)
    tag = next((node for key in _TAGS if image_key == "image" and (node := values.get(key)) is not None), None)
    if tag is None or ":" in whole.value.rpartition("/")[2]:
        return [Setting(whole, str(image))]
    written = _scalar(tag, "tag")
    return [Setting(whole, image.name), Setting(written, image.tag), *_digest(values, image, values.get("digest"))]


def _named(values: Mapping, repository: Scalar, image: Image) -> list[Setting]:
    """The name, shared out as it is: with the registry apart, where it is kept apart."""
    registry = values.get("registry")
    if registry is None or (isinstance(registry, Scalar) and not registry.value):
        return [Setting(repository, image.name)]
    host = _scalar(registry, "registry")
    if image.name.startswith(f"{host.value}/"):
        return [Setting(repository, image.name.removeprefix(f"{host.value}/"))]
    first, slash, rest = image.name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        raise Misfit(host.line, f"has the registry {host.value}, and {image.name} names none")
    return [Setting(host, first), Setting(repository, rest)]


def _digest(holder: Mapping, image: Image, digest: Node | None) -> list[Setting]:
    """The digest goes before the tag wherever it is said: an old one beside a new tag would run the old image."""
    if digest is None:
        if image.digest:
            raise Misfit(holder.line, 'has no digest, and the policy resolves one: add the line `digest: ""`')
        return []
    scalar = _scalar(digest, "digest")
    if not image.digest and scalar.value:
        raise Misfit(
            scalar.line, "is pinned to a digest, and the policy resolves none: set its digestReflectionPolicy, or unpin"
        )
    return [Setting(scalar, image.digest)] if image.digest else []


def _scalar(node: Node | None, key: str) -> Scalar:
    """`node` as a value that can be set. Raises Misfit."""
    if isinstance(node, Scalar):
        return node
    line = node.line if node is not None else 0
    raise Misfit(line, f"has {key} in a form that is not set, such as an alias: write the value there")
