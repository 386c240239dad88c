"""Which addresses may be contacted, however they are written or wrapped."""

from typing import Any

import pytest
from yarl import URL

from trimtab.remotes.reach import NotAllowed, Unresolved, addresses, host_of, refusal, written


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://CDN.example./x", "cdn.example."),
        ("https://my_bucket.storage.example/x", "my_bucket.storage.example"),
        ("https://xn--fsq.example/x", "xn--fsq.example"),
        ("https://[::0:1]:5/x", "::1"),
    ],
)
def test_the_host_of_an_address_that_somebody_sent_is_the_one_on_the_wire(url: str, host: str) -> None:
    assert host_of(URL(url)) == host


@pytest.mark.parametrize("url", ["https://evil%00.com/", "https://a%2eb/", "https://[fe80::1%25eth0]/", "/x"])
def test_a_host_that_is_encoded_or_scoped_is_no_host(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|name"):
        host_of(URL(url, encoded=True))


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::169.254.169.254",
        "2001:0:a9fe:a9fe::",
        "2001::5601:5601",
        "192.0.0.192",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:0:169.254.169.254",
        "0.0.0.0",  # noqa: S104
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_link_local_and_metadata_addresses_are_refused_to_everybody_in_whatever_wrapping(ip: str) -> None:
    assert refusal(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fc00::1",
        "fec0::1",
        "::ffff:0:10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:100.64.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "::10.0.0.1",
        "2001:0:a00:1::",
        "2002:a00:1::",
        "2002:7f00:1::",
    ],
)
def test_private_addresses_are_for_those_who_wrote_them_and_can_be_denied(ip: str) -> None:
    assert refusal(ip) is None
    assert refusal(ip, deny_private=True) == "a private address"


@pytest.mark.parametrize(
    "ip", ["9.9.9.9", "2606:4700::1111", "::ffff:9.9.9.9", "64:ff9b::909:909", "::ffff:0:9.9.9.9", "100.63.0.1"]
)
def test_public_addresses_are_allowed(ip: str) -> None:
    assert refusal(ip, deny_private=True) is None


TRICKS = {
    "127.1": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0177.0.0.1": "127.0.0.1",
    "0": "0.0.0.0",  # noqa: S104
    "2852039166": "169.254.169.254",
    "localhost": "127.0.0.1",
    "a.localhost.": "127.0.0.1",
}


@pytest.mark.parametrize(("host", "ip"), TRICKS.items())
async def test_what_is_no_literal_for_us_and_one_for_the_resolver_is_judged_as_what_it_is(host: str, ip: str) -> None:
    assert written(host) == ip
    with pytest.raises((NotAllowed, Unresolved)):
        await addresses(host, 80, deny_private=True)


@pytest.mark.parametrize("host", ["example.org", "1.2.3.4.example", "a" * 300, "127.0.0.1.nip.example", ""])
def test_a_name_is_not_taken_for_an_address(host: str) -> None:
    assert written(host) is None


def test_an_address_in_other_digits_is_read_as_the_client_reads_it_or_not_at_all() -> None:
    assert host_of(URL("https://①②⑦.0.0.1/")) == "127.0.0.1"
    with pytest.raises(ValueError, match="neither a name nor"):
        host_of(URL("https://①②⑦.0.0.1/", encoded=True))


async def test_one_bad_address_among_good_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any) -> tuple[str, ...]:
        return ("9.9.9.9", "169.254.169.254")

    monkeypatch.setattr("trimtab.remotes.reach.lookup", resolve)
    with pytest.raises(NotAllowed, match=r"cdn\.example is 169\.254\.169\.254, a link-local"):
        await addresses("cdn.example", 443)
