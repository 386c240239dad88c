"""Lists and documents from outside: what is read of them, and what is refused before it can do harm."""

import time

import pytest

from trimtab.remotes.s3 import document
from trimtab.remotes.s3.document import BadDocument
from trimtab.remotes.s3.listing import Object, Page, etag, parse


def page(contents: str = "", more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>apps</Name>{more}{contents}</ListBucketResult>"
    ).encode()


def item(key: str, tag: str = "&quot;e&quot;", size: str = "1") -> str:
    return f"<Contents><Key>{key}</Key><ETag>{tag}</ETag><Size>{size}</Size><Owner><ID>x</ID></Owner></Contents>"


URL = "<EncodingType>url</EncodingType>"


def test_a_page_is_read() -> None:
    assert parse(page(item("a.yaml", size="12") + item("b/c", "W/&quot;x-2&quot;"))) == Page(
        (Object("a.yaml", "e", 12), Object("b/c", "x-2", 1)), ""
    )
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;k</NextContinuationToken>"
    assert parse(page(more=more)) == Page((), "t&k")


def test_keys_are_decoded_where_the_server_says_that_they_are_encoded() -> None:
    assert parse(page(item("a+b%2Bc%20%C3%BC"), URL)).objects[0].key == "a b+c ü"
    assert parse(page(item("a+b%2Bc"))).objects[0].key == "a+b%2Bc"
    with pytest.raises(BadDocument, match="not UTF-8"):
        parse(page(item("%FF"), URL))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not XML"),
        (b"{}", "not XML"),
        (b"<html></html>", "not ListBucketResult"),
        (page()[:-5], "not XML"),
        (page(item("")), "a key of 0"),
        (page(item("a" * 1025)), "more than 1024"),
        (page(item("%C3%BC" * 600), URL), "more than 1024"),
        (page(item("a", "")), "no ETag"),
        (page(item("a", "two words")), "no ETag"),
        (page(item("a", size="-1")), "no size"),
        (page(item("a", size="9" * 400)), "no size"),
        (page(item("a", size="²")), "no size"),
        (page(more="<IsTruncated>true</IsTruncated>"), "does not say where"),
        (b"<ListBucketResult>" + b"<a>" * 50, "inside one another"),
        (b"<ListBucketResult>" + b"<a/>" * 100_001, "elements"),
        (b'<?xml version="1.0" encoding="x-nonsense"?><a/>', "not ListBucketResult"),
        (b"\xff\xfe\x00", "not XML"),
    ],
)
def test_what_is_no_list_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(BadDocument, match=words):
        parse(body)


BOMB = (
    '<!DOCTYPE l [<!ENTITY a "'
    + "x" * 100
    + '">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
)


@pytest.mark.parametrize(
    "head",
    [
        f"{BOMB}]>",
        '<!DOCTYPE l SYSTEM "http://169.254.169.254/latest/meta-data">',
        '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE l [<!ENTITY % p SYSTEM "http://169.254.169.254/"> %p;]>',
        "<!DOCTYPE l>",
    ],
    ids=["bomb", "external-type", "external-entity", "parameter-entity", "empty"],
)
def test_entities_and_document_types_are_refused_before_anything_is_expanded(head: str) -> None:
    start = time.process_time()
    with pytest.raises(BadDocument, match="declares"):
        document.parse(f"{head}<ListBucketResult>&j;&x;</ListBucketResult>".encode())
    assert time.process_time() - start < 0.1


def test_an_entity_nobody_declared_is_no_text() -> None:
    with pytest.raises(BadDocument):
        document.parse(b"<a>&nothing;</a>")


@pytest.mark.parametrize(
    ("text", "found"),
    [('"a"', "a"), ("a", "a"), ('W/"a"', "a"), ('"a-2"', "a-2"), ("", ""), ('"a b"', ""), ('"a', "a"), ('"\n"', "")],
)
def test_an_etag_is_what_is_between_the_quotes(text: str, found: str) -> None:
    assert etag(text) == found
