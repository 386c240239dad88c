"""The rule for realms: where a registry may send us for a token, and to whom credentials are shown."""

import pytest

from trimtab.remotes.oci.challenge import Challenge, challenges, realm_of
from trimtab.remotes.oci.reference import parse_repository
from trimtab.remotes.outbound import AuthenticationFailed

PUBLIC = parse_repository("oci://registry.example/app")


def bearer(realm: str) -> Challenge:
    return Challenge("bearer", {"realm": realm})


def test_challenges_are_read_with_quotes_escapes_and_several_in_one_header() -> None:
    header = 'Bearer realm="https://a.example/t",service="a, \\"b\\"", scope=x, Basic realm="y"'
    assert challenges([header, "basic"]) == [
        Challenge("bearer", {"realm": "https://a.example/t", "service": 'a, "b"', "scope": "x"}),
        Challenge("basic", {"realm": "y"}),
        Challenge("basic", {}),
    ]


@pytest.mark.parametrize("header", ["", "Negotiate abc", "Bearerx realm=y", "x" * 9000, "Bearer " + 'a="b",' * 2000])
def test_what_is_no_challenge_known_here_is_none(header: str) -> None:
    assert challenges([header]) == []


@pytest.mark.parametrize(
    ("url", "insecure", "realm"),
    [
        ("oci://registry.example/app", False, "https://registry.example/token"),
        ("oci://registry.example/app", False, "https://REGISTRY.example:8443/token"),
        ("oci://registry.example/app", True, "http://registry.example/token"),
        ("oci://registry.example/app", True, "https://registry.example/token"),
        ("oci://127.0.0.1:5000/app", True, "http://127.0.0.1:5001/token"),
        ("oci://10.0.0.1/app", False, "https://10.0.0.1/token"),
        ("oci://[::1]:5000/app", False, "https://[::1]/token"),
        ("oci://xn--fsq.example/app", False, "https://xn--fsq.example/token"),
    ],
)
def test_a_realm_on_the_registrys_own_host_is_gone_to_with_credentials_private_or_not(
    url: str, insecure: bool, realm: str
) -> None:
    found = realm_of(bearer(realm), parse_repository(url, insecure=insecure))
    assert (found.own, found.trusted) == (True, True)


def test_a_realm_elsewhere_is_gone_to_but_shown_nothing_unless_it_is_known_for_that_registry() -> None:
    assert realm_of(bearer("https://auth.elsewhere.example/token"), PUBLIC)[1:] == (False, False)
    hub = parse_repository("oci://docker.io/nginx")
    assert realm_of(bearer("https://auth.docker.io/token"), hub)[1:] == (False, True)
    assert realm_of(bearer("https://auth.docker.io/token"), PUBLIC)[1:] == (False, False)
    assert realm_of(bearer("https://auth.docker.io.evil.example/token"), hub)[1:] == (False, False)


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("", "not an http or https address"),
        ("/token", "not an http or https address"),
        ("file:///etc/passwd", "not an http or https address"),
        ("https:///token", "not an http or https address"),
        ("https://h.example:0/", "not an http or https address"),
        ("https://h.example:99999/", "not an http or https address"),
        ("https://evil%00.example/", "not an http or https address"),
        ("https://h.example/" + "a" * 2048, "not an http or https address"),
        ("http://registry.example/token", "over plain http"),
        ("http://elsewhere.example/token", "only https"),
        ("http://169.254.169.254/latest/", "only https"),
        ("https://169.254.169.254/latest/", "link-local"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[::ffff:169.254.169.254]/", "link-local|private"),
        ("https://[64:ff9b::a9fe:a9fe]/", "link-local"),
        ("https://192.0.0.192/", "metadata"),
        ("https://127.0.0.1/", "private"),
        ("https://127.1/", "private"),
        ("https://0x7f.1/", "private"),
        ("https://2130706433/", "private"),
        ("https://0177.0.0.1/", "private"),
        ("https://10.0.0.1/", "private"),
        ("https://100.64.0.1/", "private"),
        ("https://[::1]/", "private"),
        ("https://0/", "not the address of a host"),
        ("https://localhost/", "private"),
        ("https://a.localhost./", "private"),
        ("https://①②⑦.0.0.1/", "read it differently"),
        ("https://h。example/", "read it differently"),
        ("https://registry.example@evil.example/", "read it differently"),
        ("https://evil.example\\@registry.example/", "read it differently|not an http"),
    ],
)
def test_a_realm_that_leads_into_a_network_or_can_be_misread_is_refused_by_name(realm: str, words: str) -> None:
    with pytest.raises(AuthenticationFailed, match=words) as refused:
        realm_of(bearer(realm), PUBLIC)
    assert str(PUBLIC) in refused.value.message
    assert refused.value.message.isascii()
