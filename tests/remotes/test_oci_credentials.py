"""Which login is shown to which registry: the rules by which Kubernetes chooses one for an image."""

import base64
import json
from typing import Any

import pytest

from trimtab.remotes.oci.credentials import Logins, from_secret
from trimtab.remotes.outbound import AuthenticationFailed


def config(**auths: str) -> bytes:
    """A document in which each address has a user of that name."""
    entries = {name: {"auth": base64.b64encode(f"{user}:p".encode()).decode()} for name, user in auths.items()}
    return json.dumps({"auths": entries}).encode()


def user(logins: Logins, host: str, port: int | None = None, path: str = "") -> str | None:
    login = logins.find(host, port, path)
    return login.username if login else None


@pytest.mark.parametrize(
    ("entry", "host", "port", "path", "found"),
    [
        ("ghcr.io", "ghcr.io", None, "org/app", True),
        ("https://ghcr.io", "ghcr.io", None, "org/app", True),
        ("https://ghcr.io/v2/", "ghcr.io", None, "org/app", True),
        ("ghcr.io:443", "ghcr.io", None, "org/app", True),
        ("GHCR.IO", "ghcr.io", None, "org/app", True),
        ("ghcr.io", "ghcr.io.evil.example", None, "org/app", False),
        ("ghcr.io", "evil-ghcr.io", None, "org/app", False),
        ("ghcr.io", "ghcr.io", 5000, "org/app", False),
        ("ghcr.io:5000", "ghcr.io", 5000, "org/app", True),
        ("ghcr.io:5000", "ghcr.io", None, "org/app", False),
        ("ghcr.io/org", "ghcr.io", None, "org/app", True),
        ("ghcr.io/org", "ghcr.io", None, "org", True),
        ("ghcr.io/org", "ghcr.io", None, "organisation/app", False),
        ("ghcr.io/org", "ghcr.io", None, "", False),
        ("ghcr.io/org/v2", "ghcr.io", None, "org/app", False),
        ("*.ghcr.io", "a.ghcr.io", None, "org/app", True),
        ("*.ghcr.io", "ghcr.io", None, "org/app", False),
        ("*.ghcr.io", "a.b.ghcr.io", None, "org/app", False),
        ("a*c.ghcr.io", "abc.ghcr.io", None, "", True),
        ("a*a.ghcr.io", "a.ghcr.io", None, "", False),
        ("https://index.docker.io/v1/", "index.docker.io", None, "library/nginx", True),
        ("docker.io", "index.docker.io", None, "org/app", True),
        ("[::1]:5000", "::1", 5000, "a", True),
        ("::1", "::1", None, "a", False),
    ],
)
def test_a_login_goes_to_the_registry_port_and_path_it_is_written_for_and_to_no_other(
    entry: str, host: str, port: int | None, path: str, found: bool
) -> None:
    assert user(Logins.parse(config(**{entry: "u"})), host, port, path) == ("u" if found else None)


def test_the_most_precise_entry_wins_and_then_the_earlier_document() -> None:
    logins = Logins.parse(
        config(**{"r.example": "whole", "r.example/team": "team", "*.example": "pattern"}),
        config(**{"r.example": "later", "other.example": "other"}),
    )
    assert user(logins, "r.example", None, "team/app") == "team"
    assert user(logins, "r.example", None, "else/app") == "whole"
    assert user(logins, "s.example", None, "app") == "pattern"
    assert user(logins, "other.example", None, "app") == "other"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "cannot be read"),
        (b'{"auths": {"r.example": {"auth": 7}}}', "cannot be read"),
        (b'{"auths": {"r.example": {"auth": "%%"}}}', "not base64"),
        (json.dumps({"auths": {"r.example": {"auth": base64.b64encode(b"secret").decode()}}}).encode(), "not base64"),
        (b'{"auths": {"r.example": {"username": "u", "password": "secret\\r\\nX: y"}}}', "more than one line"),
        (b" " * (1 << 20) + b"{}", "larger than"),
    ],
)
def test_a_damaged_document_is_named_and_nothing_of_it_is_shown(document: bytes, words: str) -> None:
    with pytest.raises(AuthenticationFailed, match=words) as refused:
        Logins.parse(document)
    assert "secret" not in refused.value.message.replace("Secret", "")


def test_a_secret_of_another_type_is_refused_with_the_way_to_make_one() -> None:
    with pytest.raises(AuthenticationFailed, match="kubectl create secret docker-registry"):
        from_secret({"username": b"u", "password": b"p"})


def test_a_login_is_never_printed() -> None:
    entry: dict[str, Any] = {
        "username": "u",
        "password": "secret",
        "identitytoken": "secret",
        "registrytoken": "secret",
    }
    login = Logins.parse(json.dumps({"auths": {"r.example": entry}}).encode()).find("r.example", None)
    assert "secret" not in repr(login)
