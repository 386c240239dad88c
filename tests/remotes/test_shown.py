"""Addresses as they may be told."""

import pytest

from trimtab.remotes.shown import shown


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://git.example.com:8443/a/b.git", "'https://git.example.com:8443/a/b.git'"),
        ("https://bot:s3cret@git.example.com/a", "'https://***@git.example.com/a'"),
        ("https://s3cret@git.example.com", "'https://***@git.example.com'"),
        ("https://s3cret@more-s3cret@git.example.com/a", "'https://***@git.example.com/a'"),
        ("//bot:s3cret@host/a", "'//***@host/a'"),
        ("bot:s3cret@host:22", "'***@host:22'"),
        ("oci://host/app@sha256:12", "'oci://host/app@sha256:12'"),
        ("https://host/blob?X-Amz-Signature=s3cret", "'https://host/blob?***'"),
        ("https://host/blob#s3cret", "'https://host/blob?***'"),
        ("https://h\u00f6st/\u202e", "'https://h\\xf6st/\\u202e'"),
        (f"https://{'s3cret' * 100}@host/a", "'https://***@host/a'"),
        ("", "''"),
    ],
)
def test_an_address_is_told_without_what_signs_in(address: str, told: str) -> None:
    assert shown(address) == told


def test_a_long_address_is_cut() -> None:
    assert len(shown("https://host/" + "a" * 1000, 50)) == 52
