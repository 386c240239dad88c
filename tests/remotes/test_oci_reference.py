"""Names of repositories, tags and digests: one strict reading, and what is odd is refused with its reason."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.remotes.oci.reference import check_digest, check_tag, parse_repository

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "insecure", "origin", "path"),
    [
        ("oci://ghcr.io/org/app", False, "https://ghcr.io", "org/app"),
        ("oci://GHCR.io/org/app", False, "https://ghcr.io", "org/app"),
        ("oci://registry.example:5000/a", False, "https://registry.example:5000", "a"),
        ("oci://registry.example/a", True, "http://registry.example", "a"),
        ("oci://127.0.0.1:5000/a/b/c", True, "http://127.0.0.1:5000", "a/b/c"),
        ("oci://[::0001]:5000/a", False, "https://[::1]:5000", "a"),
        ("oci://docker.io/org/app", False, "https://index.docker.io", "org/app"),
        ("oci://docker.io/nginx", False, "https://index.docker.io", "library/nginx"),
        ("oci://h.example/a.b_c__d-e--f/9", False, "https://h.example", "a.b_c__d-e--f/9"),
    ],
)
def test_an_address_says_where_the_registry_is_and_which_repository_is_meant(
    text: str, insecure: bool, origin: str, path: str
) -> None:
    repository = parse_repository(text, insecure=insecure)
    assert (str(repository.origin).rstrip("/"), repository.path) == (origin, path)
    assert str(repository.at("manifests/latest")) == f"{origin}/v2/{path}/manifests/latest"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://ghcr.io/org/app", "expected oci://"),
        ("oci://ghcr.io", "expected oci://"),
        ("oci:///app", "expected oci://"),
        ("oci://user:s3cret@ghcr.io/app", "name a Secret"),
        ("oci://user:s3cret@a@ghcr.io/app:v1", "name a Secret"),
        ("oci://ghcr.io/app:v1", "spec.ref"),
        (f"oci://ghcr.io/app@sha256:{HEX}", "spec.ref"),
        ("oci://ghcr.io/App", "lower-case"),
        ("oci://ghcr.io/../v2/other", "lower-case"),
        ("oci://ghcr.io/a//b", "lower-case"),
        ("oci://ghcr.io/a/", "lower-case"),
        ("oci://ghcr.io/a?x=y", "lower-case"),
        ("oci://ghcr.io/a%2fb", "lower-case"),
        ("oci://ghcr.io/a\n", "lower-case"),
        ("oci://ghcr.io/" + "a" * 256, "lower-case"),
        ("oci://ghcr.io:0/a", "port"),
        ("oci://ghcr.io:65536/a", "port"),
        ("oci://ghcr.io:/a", "port"),
        ("oci://-oProxyCommand=x/a", "host"),
        ("oci://①②⑦.0.0.1/a", "host"),
        ("oci://a\\b/a", "host"),
        ("oci://[127.0.0.1]/a", "IPv6"),
        ("oci://[fe80::1%eth0]/a", "expected oci://"),
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(Terminal, match=words) as refused:
        parse_repository(text)
    assert refused.value.reason == "URLInvalid"
    assert "\n" not in refused.value.message
    assert "s3cret" not in refused.value.message


@pytest.mark.parametrize("tag", ["-x", ".x", "a/b", "a:b", "a b", "", "a\n", "é", "a" * 129])
def test_what_cannot_be_a_tag_never_reaches_an_address(tag: str) -> None:
    with pytest.raises(Terminal, match="is not a tag"):
        check_tag(tag)


@pytest.mark.parametrize(
    "digest", [f"sha512:{HEX * 2}", "sha256:../../x", f"sha256:{HEX[:-1]}", f"sha256:{HEX.upper()}", f"{HEX}", ""]
)
def test_only_sha256_in_full_is_a_digest(digest: str) -> None:
    assert check_digest(f"sha256:{HEX}") == f"sha256:{HEX}"
    with pytest.raises(Terminal, match="is not a digest"):
        check_digest(digest)
