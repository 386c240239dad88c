"""What an OCIRepository may demand: refused before anything is asked if it makes no sense, or proves nothing."""

from typing import Any

import msgspec
import pytest

from trimtab.api.oci import OciVerification
from trimtab.base.errors import Terminal
from trimtab.controllers import ociverification
from trimtab.controllers.ociverification import check_verification

KEYS = {"secretRef": {"name": "keys"}}
ROOT = {"trustedRootSecretRef": {"name": "root"}}
SOMEBODY = {"matchOIDCIdentity": [{"issuer": "^https://i$", "subject": "^s$"}]}


def verification(**fields: Any) -> OciVerification:
    return msgspec.convert(fields, OciVerification)


@pytest.mark.parametrize(
    "fields",
    [KEYS, {"provider": "cosign", **KEYS}, SOMEBODY, {**SOMEBODY, **ROOT}, {"provider": "notation", **KEYS}],
)
def test_a_demand_that_names_somebody_is_served(fields: dict[str, Any]) -> None:
    pytest.importorskip("sigstore")
    check_verification(verification(**fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "anybody's signature"),
        (ROOT, "anybody's signature"),
        ({**KEYS, **SOMEBODY}, "say which"),
        ({**KEYS, **ROOT}, "say which"),
        ({"provider": "gpg", **KEYS}, "not known"),
        ({"provider": "notation"}, "needs a secretRef"),
        ({"provider": "notation", **KEYS, **SOMEBODY}, "are for cosign"),
        ({"provider": "notation", **KEYS, **ROOT}, "are for cosign"),
        ({"matchOIDCIdentity": [{"issuer": "", "subject": "s"}]}, "empty name"),
        ({"matchOIDCIdentity": [{"issuer": "i", "subject": ".*"}]}, "empty name"),
        ({"matchOIDCIdentity": [{"issuer": "i", "subject": "("}]}, "subject"),
        ({"matchOIDCIdentity": [{"issuer": "i", "subject": "s"}] * 17}, "has 17 identities, more than 16"),
    ],
)
def test_a_demand_that_proves_nothing_is_refused_and_says_what_to_write(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Terminal, match=words) as refusal:
        check_verification(verification(**fields))
    assert refusal.value.reason == "VerificationError"


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ociverification.keyless, "installed", lambda: False)
    with pytest.raises(Terminal, match="install Trimtab with its extra sigstore") as refusal:
        check_verification(verification(**SOMEBODY))
    assert refusal.value.reason == "FeatureGateDisabled"
    check_verification(verification(**KEYS))
