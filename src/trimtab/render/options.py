"""The fields of a Kustomization that shape a build."""

import msgspec

from trimtab.api.kustomize import CommonMetadata, Image, KustomizationSpec, Patch
from trimtab.manifests import codec


class Options(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is merged into a directory's own kustomization, and what is stamped on the result."""

    target_namespace: str = ""
    name_prefix: str = ""
    name_suffix: str = ""
    common_metadata: CommonMetadata | None = None
    patches: tuple[Patch, ...] = ()
    images: tuple[Image, ...] = ()
    components: tuple[str, ...] = ()
    ignore_missing_components: bool = False
    build_metadata: tuple[str, ...] = ()
    remotes: tuple[tuple[str, str], ...] = ()
    """How bases in other repositories are written, and the directory each of them lies in."""

    @classmethod
    def from_spec(cls, spec: KustomizationSpec) -> "Options":
        """The build fields of `spec`."""
        return cls(**{name: getattr(spec, name) for name in cls.__struct_fields__ if name != "remotes"})

    @property
    def needs_kustomize(self) -> bool:
        """Whether a plain directory cannot be built in process with these."""
        return bool(self.name_prefix or self.name_suffix or self.patches or self.components or self.build_metadata)

    @property
    def digest(self) -> str:
        """Equal for equal options."""
        return codec.digest(msgspec.to_builtins(self))
