"""Signatures: AWS's own published examples, and AWS's own client beside ours."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from trimtab.remotes.s3.place import Place
from trimtab.remotes.s3.sigv4 import Keys, query, signed

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MIDNIGHT = datetime(2013, 5, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "headers", "names", "signature"),
    [
        (
            "https://examplebucket.s3.amazonaws.com/test.txt",
            {"Range": "bytes=0-9"},
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "https://examplebucket.s3.amazonaws.com/?lifecycle=",
            {},
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
            {},
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get-object", "get-lifecycle", "list-objects"],
)
def test_the_published_examples_are_signed_as_published(
    url: str, headers: dict[str, str], names: str, signature: str
) -> None:
    made = signed("GET", URL(url, encoded=True), headers, EXAMPLE, "us-east-1", MIDNIGHT)
    assert made["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@example("0", {"0": "0", "00": "0"}, "", 1)
@given(KEYS, st.dictionaries(KEYS, KEYS, max_size=4), st.sampled_from(["", "t0ken"]), st.integers(1, 65535))
def test_any_key_and_query_is_signed_as_the_client_of_aws_signs_it(
    key: str, parameters: dict[str, str], session: str, port: int
) -> None:
    url = Place("store.example", port, "apps", insecure=True).at(key, query(parameters))
    ours = signed("GET", url, {"If-Match": '"1"'}, Keys("a", "s", session), "eu-west-1", MIDNIGHT)

    request = AWSRequest("GET", str(url), headers={"If-Match": '"1"', "X-Amz-Date": "20130524T000000Z"})
    request.context["timestamp"] = "20130524T000000Z"
    auth: Any = S3SigV4Auth(Credentials("a", "s", session or None), "s3", "eu-west-1")
    request.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    if session:
        request.headers["X-Amz-Security-Token"] = session
    theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert ours["Authorization"].endswith(f"Signature={theirs}")


def test_keys_are_not_printed() -> None:
    assert "wJalr" not in repr(EXAMPLE)
    assert "AKIA" not in repr(EXAMPLE)
