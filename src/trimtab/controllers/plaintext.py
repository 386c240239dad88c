"""What happens to Secrets that stand in git in clear text, as the app's annotation says. Pure."""

from collections.abc import Sequence
from typing import Final

from trimtab.api import names
from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Terminal
from trimtab.controllers.app import Build
from trimtab.render.plaintext import Exposed

REASON: Final = "PlaintextSecret"
"""Of the Warning."""
_SHOWN: Final = 5
_ENTRIES_SHOWN: Final = 5
_WAY_OUT: Final = (
    "Encrypt it (SOPS, Sealed Secrets) or have an operator fetch it, and change what could be read until now"
)


def check(ks: Kustomization, build: Build) -> None:
    """Raise Terminal where `ks` refuses such Secrets and `build` has some: then nothing of it is written."""
    if build.plaintext and _policy(ks) == names.PlaintextSecrets.REFUSE:
        raise Terminal(
            names.Reason.VALIDATION_FAILED,
            f"nothing is applied, as the annotation {names.Annotation.PLAINTEXT_SECRETS} is "
            f"{names.PlaintextSecrets.REFUSE}: {_listed(ks, build.plaintext)}. {_WAY_OUT}",
        )


def warning(ks: Kustomization, build: Build, revision: str) -> str:
    """What is to be told of the Secrets in `build`, which is of `revision`; nothing where `ks` means them to be so."""
    if not build.plaintext or _policy(ks) == names.PlaintextSecrets.ALLOW:
        return ""
    return (
        f"at {revision}: {_listed(ks, build.plaintext)}. {_WAY_OUT}; or say that it is meant, by the annotation "
        f"{names.Annotation.PLAINTEXT_SECRETS}: {names.PlaintextSecrets.ALLOW}"
    )


def _policy(ks: Kustomization) -> str:
    return ks.metadata.annotations.get(names.Annotation.PLAINTEXT_SECRETS, names.PlaintextSecrets.WARN)


def _listed(ks: Kustomization, found: Sequence[Exposed]) -> str:
    listed = "; ".join(map(_one, found[:_SHOWN]))
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"Secrets in clear text in the {ks.spec.source_ref.kind}: {listed}{more}"


def _one(found: Exposed) -> str:
    more = len(found.entries) - _ENTRIES_SHOWN
    entries = ", ".join(found.entries[:_ENTRIES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"{found.ref} ({found.origin}): {entries}"
