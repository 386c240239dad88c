"""Which binaries there are, where their source is, and which versions of them will do.

One Go module per family, so that the versions of one do not pull on those of another. The modules lie beside this file
as package data; their go.sum pins every byte that is compiled.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

MODULES = Path(__file__).parent / "modules"

FamilyName: TypeAlias = Literal["controlplane", "render", "secrets"]
Version: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Companion:
    """Files of a Go module that a binary needs at run time: kept in `folder` beside it."""

    module: str
    folder: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """One binary. A version found elsewhere fits if it is at least `oldest` and below `below`."""

    name: str
    package: str
    oldest: Version
    below: Version
    ldflags: str = ""
    version_args: tuple[str, ...] = ("--version",)
    companion: Companion | None = None

    def fits(self, version: Version) -> bool:
        return self.oldest <= version < self.below


@dataclass(frozen=True, slots=True)
class Family:
    """Binaries that are built from one Go module. `version` is that of the member it is known for.

    What is `for_tests` is built where somebody asks for it by name.
    """

    name: FamilyName
    version: str
    tools: tuple[Tool, ...]
    for_tests: bool = False

    @property
    def module(self) -> Path:
        return MODULES / self.name

    @property
    def label(self) -> str:
        """Names the cache entry: another pin in go.mod or go.sum is another label."""
        pins = hashlib.sha256()
        for file in ("go.mod", "go.sum"):
            pins.update((self.module / file).read_bytes())
        return f"{self.name}-{self.version}-{pins.hexdigest()[:12]}"


KUBERNETES = "1.36.3"
KUSTOMIZE = "5.8.2"
SOPS = "3.13.3"
SEALED_SECRETS = "0.27.1"
HELM = "4.3.1"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")

# Without these, the version is a template that clients fail to parse: v0.0.0-master+$Format:%H$.
_KUBERNETES_LDFLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (
        ("gitVersion", f"v{KUBERNETES}"),
        ("gitMajor", _MAJOR),
        ("gitMinor", _MINOR),
        ("gitTreeState", "clean"),
    )
)

_KWOK_STAGES = Companion(
    module="sigs.k8s.io/kwok",
    folder="kwok-stages",
    files=(
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/fast/pod-complete.yaml",
        "kustomize/stage/pod/fast/pod-delete.yaml",
    ),
)

_SEALED_SECRETS_KIND = Companion(
    module="github.com/bitnami-labs/sealed-secrets",
    folder="sealed-secrets",
    files=("helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml",),
)


def _kubernetes(name: str, *version_args: str) -> Tool:
    # Components of one minor version only: a controller-manager newer than its API server is not supported upstream.
    return Tool(
        name=name,
        package=f"k8s.io/kubernetes/cmd/{name}",
        oldest=(1, 36, 0),
        below=(1, 37, 0),
        ldflags=_KUBERNETES_LDFLAGS,
        version_args=version_args or ("--version",),
    )


def _sealed_secrets(name: str, command: str, companion: Companion | None = None) -> Tool:
    # Newer releases carry another module path than the one they are published under.
    return Tool(
        name=name,
        package=f"github.com/bitnami-labs/sealed-secrets/cmd/{command}",
        oldest=(0, 27, 0),
        below=(1, 0, 0),
        ldflags=f"-X main.VERSION={SEALED_SECRETS}",
        companion=companion,
    )


FAMILIES: Mapping[FamilyName, Family] = {
    "controlplane": Family(
        name="controlplane",
        version=KUBERNETES,
        tools=(
            Tool("etcd", "go.etcd.io/etcd/server/v3", oldest=(3, 6, 0), below=(4, 0, 0)),
            _kubernetes("kube-apiserver"),
            _kubernetes("kube-controller-manager"),
            _kubernetes("kube-scheduler"),
            _kubernetes("kubectl", "version", "--client"),
            Tool(
                "kwok",
                "sigs.k8s.io/kwok/cmd/kwok",
                oldest=(0, 8, 0),
                below=(0, 9, 0),
                ldflags="-X sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0",
                companion=_KWOK_STAGES,
            ),
        ),
    ),
    "render": Family(
        name="render",
        version=KUSTOMIZE,
        tools=(
            Tool(
                "kustomize",
                "sigs.k8s.io/kustomize/kustomize/v5",
                oldest=(5, 4, 0),
                below=(6, 0, 0),
                version_args=("version",),
            ),
            Tool(
                "helm",
                "helm.sh/helm/v4/cmd/helm",
                oldest=(4, 0, 0),
                below=(5, 0, 0),
                ldflags=f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",
                version_args=("version", "--short"),
            ),
        ),
    ),
    # What we open in process is made by the program itself, so that the tests do not believe our own reading of it; and
    # what makes Secrets beside us is the real one.
    "secrets": Family(
        name="secrets",
        version=SOPS,
        tools=(
            Tool(
                "sops",
                "github.com/getsops/sops/v3/cmd/sops",
                oldest=(3, 13, 0),
                below=(4, 0, 0),
                version_args=("--version", "--disable-version-check"),
            ),
            _sealed_secrets("kubeseal", "kubeseal"),
            _sealed_secrets("sealed-secrets-controller", "controller", _SEALED_SECRETS_KIND),
        ),
        for_tests=True,
    ),
}


def stages(kwok: Path) -> tuple[Path, ...]:
    """The Stage files that belong to this kwok: it has none built in and does nothing without them."""
    folder = kwok.parent / _KWOK_STAGES.folder
    return tuple(folder / Path(file).name for file in _KWOK_STAGES.files)


def sealed_secrets_kind(controller: Path) -> Path:
    """The definition of SealedSecrets that belongs to this controller."""
    return controller.parent / _SEALED_SECRETS_KIND.folder / Path(_SEALED_SECRETS_KIND.files[0]).name
