"""Addresses and names: what is admitted, and what every refusal says instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.base.errors import Terminal
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.names import check_commit, check_ref
from trimtab.remotes.reach import refusal


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://github.com/org/repo", "https://github.com/org/repo"),
        ("https://GitHub.com/org/repo.git/", "https://github.com/org/repo.git"),
        ("https://org@dev.azure.com/org/p/_git/r", "https://dev.azure.com/org/p/_git/r"),
        ("http://git.local:8080/x", "http://git.local:8080/x"),
        ("https://h:443/x", "https://h/x"),
        ("ssh://git@github.com/org/repo", "ssh://git@github.com/org/repo"),
        ("ssh://host:2222/~user/repo", "ssh://git@host:2222/~user/repo"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("https://h/a%20b/c", "https://h/a%20b/c"),
    ],
)
def test_admitted(text: str, written: str):
    assert parse_address(text).url == written
    assert parse_address(written) == parse_address(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("git@github.com:org/repo.git", "write ssh://git@github.com/org/repo.git"),
        ("ext::sh -c id", "write https://"),
        ("file:///etc", "file:// is not supported"),
        ("git://h/x", "git:// is not supported"),
        ("HTTPS://h/x", "lower case"),
        ("https:///evil.com/x", "host is missing"),
        ("https://a\\@b/x", "credentials do not belong"),
        ("https://user:secret@h/x", "spec.secretRef"),
        ("ssh://git@h:22x/y", "port"),
        ("https://h:0/y", "port"),
        ("https://h:65536/y", "port"),
        ("https://h/x%0ahost=evil", "path"),
        ("https://h/x%7f", "path"),
        ("https://h/x\n", "path"),
        ("https://h/x y", "path"),
        ("https://h/../x", "path"),
        ("https://h/%2e%2e/x", "path"),
        ("https://h/a//b", "path"),
        ("https://h/x?y", "path"),
        ("https://h", "path is missing"),
        ("ssh://-oProxyCommand=id/x", "host"),
        ("ssh://-oProxyCommand=id@h/x", "credentials"),
        ("https://h\u3002evil/x", "host"),
        ("https://b\u00fccher.de/x", "punycode"),
        ("https://[::1%25eth0]/x", "host"),
        ("--upload-pack=touch x", "write https://"),
        ("", "write https://"),
        ("https://h/" + "a" * 5000, "longer"),
    ],
)
def test_refused_with_the_way_out(text: str, says: str):
    with pytest.raises(Terminal) as caught:
        parse_address(text)
    assert caught.value.reason == "URLInvalid"
    assert says in caught.value.message


def test_a_password_in_the_address_is_not_repeated():
    with pytest.raises(Terminal) as caught:
        parse_address("https://user:hunter2@h/x")
    assert "hunter2" not in caught.value.message


@given(st.text(max_size=60) | st.text(alphabet="htps:/@.-%[]a1\\", max_size=40).map(lambda text: "https://" + text))
def test_every_text_is_an_address_or_refused(text: str):
    try:
        address = parse_address(text)
    except Terminal:
        return
    assert parse_address(address.url) == address
    assert not address.host.startswith("-")


@pytest.mark.parametrize(
    ("start", "target", "end"),
    [
        ("https://h/a", "https://h/a.git/info/refs?service=git-upload-pack", "https://h/a.git"),
        ("https://h/a", "/b.git/info/refs", "https://h/b.git"),
        ("http://h/a", "https://h/a/info/refs", "https://h/a"),
        ("http://h:8080/a", "http://h:8080/b/info/refs", "http://h:8080/b"),
    ],
)
def test_redirects_within_the_origin_are_followed(start: str, target: str, end: str):
    assert parse_address(start).redirected(target, "/info/refs").url == end


@pytest.mark.parametrize(
    "target",
    [
        "https://evil/a/info/refs",
        "https://h:8443/a/info/refs",
        "http://h/a/info/refs",
        "file:///etc/info/refs",
        "ssh://h/a/info/refs",
        "//evil/a/info/refs",
        "https://h@evil/a/info/refs",
        "https://h/login",
        "https://h/../info/refs",
        "",
        "http://[",
    ],
)
def test_redirects_elsewhere_are_refused(target: str):
    with pytest.raises(Terminal) as caught:
        parse_address("https://h/a").redirected(target, "/info/refs")
    assert caught.value.reason == "URLInvalid"


@pytest.mark.parametrize(
    "name", ["main", "feature/x", "v1.0.0", "a" * 40, "release-1.x", "c++", "ünïcode", "dependabot/npm/@x"]
)
def test_names_of_references_that_git_admits(name: str):
    assert check_ref(f"refs/heads/{name}").endswith(name)


REFUSED_NAMES = (
    *("--upload-pack=x", "-x", "@{-1}", "HEAD~1", "main:refs/heads/x", "+refs/*:refs/*", "^main", "refs/heads/../../x"),
    *("a" * 300, "main\n", "ma\u200bin", "a b", "", "@", "a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a."),
    *("a\\b", "a\x7f", "a?", "a[b", "\u202emain", "\udcff"),
)


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_of_references_that_are_refused(name: str):
    with pytest.raises(ValueError, match="name"):
        check_ref(name)


@pytest.mark.parametrize("text", ["0" * 40, "a" * 39, "A" * 40, "a" * 40 + "\n", "-" + "a" * 39, "main"])
def test_what_is_not_a_commit(text: str):
    with pytest.raises(ValueError, match="commit"):
        check_commit(text)


NEVER_CONTACTED = (
    *("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "192.0.0.192"),
    *("fd00:ec2::254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "::"),  # noqa: S104
)


@pytest.mark.parametrize("ip", NEVER_CONTACTED)
def test_addresses_that_are_never_contacted(ip: str):
    assert refusal(ip)


def test_private_addresses_are_contacted_unless_denied():
    for ip in ("10.0.0.1", "127.0.0.1", "::1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"):
        assert refusal(ip) is None
        assert refusal(ip, deny_private=True)
    assert refusal("140.82.121.3", deny_private=True) is None
