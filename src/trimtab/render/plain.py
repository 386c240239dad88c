"""Plain directories in process: what kustomize would make of them, without a process.

Only what is understood completely is built here. Anything out of the ordinary (annotations that steer kustomize, a
value that is not what the field wants, an image name that is a pattern) raises `Unsure`, and kustomize decides.
"""

from collections.abc import Sequence
from typing import Final

from trimtab.api.kustomize import CommonMetadata
from trimtab.base.errors import Terminal
from trimtab.manifests import codec
from trimtab.manifests.refs import Manifest
from trimtab.manifests.yaml import load, manifests_of
from trimtab.render.files import Files, refuse_pointer
from trimtab.render.images import set_images
from trimtab.render.namespace import check_references, set_namespace
from trimtab.render.options import Options
from trimtab.render.unsure import Unsure

_STEERING: Final = ("config.kubernetes.io/", "config.k8s.io/", "kustomize.config.k8s.io/", "internal.config.kubernetes")


def read_manifests(files: Files, paths: Sequence[str]) -> list[Manifest]:
    """The objects of all `paths` in kustomize's order. Raises Terminal naming file and line."""
    return [manifest for path in paths for manifest in objects(files.read(path), path)]


def objects(data: bytes, path: str) -> list[Manifest]:
    """The objects in the file `path`. Raises Terminal naming file and line."""
    refuse_pointer(data, path)
    documents = load(data, path)
    # kustomize takes lists apart at the end of their file.
    found = manifests_of([document for document in documents if not _is_list(document.value)])
    return found + manifests_of([document for document in documents if _is_list(document.value)])


def build(manifests: Sequence[Manifest], options: Options) -> list[Manifest]:
    """`manifests`, changed in place, as kustomize gives them back. Raises Terminal; after Unsure, read them anew."""
    for manifest in manifests:
        _check_plain(manifest)
    if options.target_namespace:
        set_namespace(manifests, options.target_namespace)
    else:
        for body, origin in manifests:
            check_references(body, origin)
    for image in options.images:
        for body, _ in manifests:
            set_images(body, image)
    for body, _ in manifests:
        metadata = body["metadata"]
        if "annotations" in metadata and not metadata["annotations"]:
            del metadata["annotations"]
    return list(manifests)


def stamp(manifests: Sequence[Manifest], common: CommonMetadata | None) -> None:
    """Put the common labels and annotations on every object, over its own: on metadata only, never on selectors."""
    if common is None:
        return
    for body, origin in manifests:
        metadata = body["metadata"]
        for field, values in (("labels", common.labels), ("annotations", common.annotations)):
            if not values:
                continue
            present = metadata.get(field) or {}
            if not isinstance(present, dict):
                raise Terminal("BuildFailed", f"{origin}: metadata.{field} has to be a mapping")
            metadata[field] = {**present, **values}


def _check_plain(manifest: Manifest) -> None:
    body = manifest.body
    annotations = body["metadata"].get("annotations")
    if annotations:
        if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
            raise Unsure("annotations that are not text")
        if any(key.startswith(_STEERING) for key in annotations):
            raise Unsure("annotations for kustomize")
    elif annotations is not None and not isinstance(annotations, dict):
        raise Unsure("annotations that are not text")
    text = codec.encode(body)
    if b"null" in text and (b"[null" in text or b",null" in text):
        raise Unsure("an empty item in a list, perhaps")


def _is_list(value: object) -> bool:
    return isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and "items" in value
