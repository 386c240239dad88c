"""Where a bucket is: endpoints, names and regions, and what is refused by name."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.remotes.s3.place import parse_place


@pytest.mark.parametrize(
    ("endpoint", "name", "region", "insecure", "address", "signed_for"),
    [
        ("minio.store:9000", "apps", "", True, "http://minio.store:9000/apps", "us-east-1"),
        ("MINIO.store", "apps", "", False, "https://minio.store/apps", "us-east-1"),
        ("minio.store:443/", "apps", "here", False, "https://minio.store/apps", "here"),
        ("10.0.0.1:9000", "Old_Bucket.1", "", True, "http://10.0.0.1:9000/Old_Bucket.1", "us-east-1"),
        ("[::1]:9000", "apps", "", True, "http://[::1]:9000/apps", "us-east-1"),
        ("storage.googleapis.com", "apps", "auto", False, "https://storage.googleapis.com/apps", "auto"),
        ("s3.amazonaws.com", "apps", "", False, "https://apps.s3.amazonaws.com/", "us-east-1"),
        ("s3.amazonaws.com", "apps", "eu-west-1", False, "https://apps.s3.eu-west-1.amazonaws.com/", "eu-west-1"),
        ("s3.eu-west-1.amazonaws.com", "apps", "", False, "https://apps.s3.eu-west-1.amazonaws.com/", "eu-west-1"),
        ("s3-us-gov-west-1.amazonaws.com", "a-b", "", False, "https://a-b.s3-us-gov-west-1.amazonaws.com/", None),
        ("s3.cn-north-1.amazonaws.com.cn", "apps", "", False, "https://apps.s3.cn-north-1.amazonaws.com.cn/", None),
        # neither fits the certificate of the server
        ("s3.amazonaws.com", "my.apps", "", False, "https://s3.amazonaws.com/my.apps", "us-east-1"),
        ("s3.amazonaws.com", "My_Apps", "", False, "https://s3.amazonaws.com/My_Apps", "us-east-1"),
        # one that only looks like AWS
        ("s3.amazonaws.com.evil.example", "apps", "", False, "https://s3.amazonaws.com.evil.example/apps", "us-east-1"),
    ],
)
def test_the_address_of_a_bucket(
    endpoint: str, name: str, region: str, insecure: bool, address: str, signed_for: str | None
) -> None:
    place = parse_place(endpoint, name, region=region, insecure=insecure)
    assert str(place.at()) == address
    assert place.region == (signed_for or endpoint.split("amazonaws", maxsplit=1)[0].removeprefix("s3")[1:-1])


def test_a_key_is_encoded_once_and_its_slashes_stay() -> None:
    place = parse_place("minio.store", "apps")
    assert str(place.at("a b/ü+%2F?&#")) == "https://minio.store/apps/a%20b/%C3%BC%2B%252F%3F%26%23"
    assert str(parse_place("s3.amazonaws.com", "apps").at("a/b")) == "https://apps.s3.amazonaws.com/a/b"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("", "expected host"),
        ("https://minio.store", "write host"),
        ("minio.store/apps", "expected host"),
        ("minio.store:", "expected host"),
        ("minio.store:0", "the port"),
        ("minio.store:70000", "the port"),
        ("minio store", "expected host"),
        ("a\\b", "neither a name nor"),
        ("h%00.example", "neither a name nor"),
        ("①②⑦.0.0.1", "neither a name nor"),
        ("[::z]", "expected host"),
        ("[::1", "expected host"),
        ("[1:2]", "not an IPv6 address"),
        ("x" * 300, "neither a name nor"),
    ],
)
def test_what_is_no_endpoint_is_refused_by_name(endpoint: str, words: str) -> None:
    with pytest.raises(Terminal, match=rf"spec\.endpoint.*{words}") as refused:
        parse_place(endpoint, "apps")
    assert refused.value.reason == "URLInvalid"
    assert refused.value.message.isascii()


def test_credentials_in_an_endpoint_are_not_repeated() -> None:
    with pytest.raises(Terminal, match=r"use spec\.secretRef") as refused:
        parse_place("https://user:s3cret@minio.store", "apps")
    assert "s3cret" not in refused.value.message


@pytest.mark.parametrize("name", ["", "a", "..", "a..b", "a/b", "../x", "apps?x", "-apps", "apps-", "a" * 300, "ä" * 9])
def test_what_is_no_name_of_a_bucket_is_refused(name: str) -> None:
    with pytest.raises(Terminal, match=r"spec\.bucketName"):
        parse_place("minio.store", name)


@pytest.mark.parametrize("region", ["a/b", "eu west", "x" * 70, "\n"])
def test_what_is_no_name_of_a_region_is_refused(region: str) -> None:
    with pytest.raises(Terminal, match=r"spec\.region"):
        parse_place("minio.store", "apps", region=region)
