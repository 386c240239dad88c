"""The file .gitmodules: what honest ones say, and what hostile ones do."""

import pytest

from trimtab.base.errors import Terminal
from trimtab.remotes.git.address import parse_address
from trimtab.remotes.git.modules import MAX_BYTES, BadModules, locate, parse_modules

PARENT = parse_address("https://git.example.org:8443/platform/shop.git")


def module(path: str = "lib", url: str = "https://h/lib.git", name: str = "lib", more: str = "") -> bytes:
    return f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n{more}'.encode()


def test_paths_and_addresses_are_read_and_all_else_is_passed_over():
    text = (
        b"\xef\xbb\xbf# a comment\r\n; another\r\n\r\n"
        b'[submodule "vendor/lib"]\r\n\tpath = vendor/lib\r\n\turl=../lib.git\r\n\tbranch = main\r\n'
        b'\tupdate = !touch /tmp/owned\r\n\tignore = all\r\n[submodule "other one"]\n'
        b'  URL\t=\t"https://h/other.git"\n  Path = "a directory/other"\n'
    )
    assert parse_modules(text) == {"vendor/lib": "../lib.git", "a directory/other": "https://h/other.git"}
    assert parse_modules(b"") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (module(path="../x"), "not a plain path"),
        (module(path="/etc"), "not a plain path"),
        (module(path=".git/hooks"), "not a plain path"),
        (module(path="a/../b"), "not a plain path"),
        (module(path=""), "not a plain path"),
        (module(path="-x"), "the path '-x'"),
        (module(path="a/" * 100 + "b"), "deeper than"),
        (module(name="../../modules/evil"), "cannot be the name"),
        (module(name="a/../b"), "cannot be the name"),
        (module(name="-x"), "cannot be the name"),
        (module(name='a\\"b'), "not a section"),
        (module(name=""), "not a section"),
        (module(url="--upload-pack=touch x"), "the address '--upload"),
        (module(url=""), "the address ''"),
        (module() + module(), "is there twice"),
        (module() + module(name="b"), "two submodules have the path"),
        (module(more="\tpath = other\n"), "path is there twice"),
        (module(path='"lib'), "not a plain"),
        (module(path="lib\\"), "not a plain"),
        (module(path="lib # or not"), "not a plain"),
        (b"path = x\n", "within a section"),
        (b"[include]\n\tpath = /etc/passwd\n", "not a section"),
        (b'[include]\tpath = /etc/passwd\n[submodule "x"]\n', "not a section"),
        (b"[core]\n\tfsmonitor = touch x\n", "not a section"),
        (b"[submodule.x]\n", "not a section"),
        # CVE-2025-48384: a carriage return at the end of a path, which git kept or lost on its way
        (b'[submodule "x"]\n\tpath = "sub\r"\n\turl = https://h/x\n', "not printable"),
        (b'[submodule "x"]\n\tpath = sub\r\r\n\turl = https://h/x\n', "not printable"),
        (b'[submodule "x"]\n\tpath = su\0b\n', "not printable"),
        (b'[submodule "x"]\n\tpath = su\xe2\x80\xaeb\n', "not printable"),
        (b"\xff\xfe", "not text"),
        (b"#" * (MAX_BYTES + 1), "the limit is"),
        (b"".join(module(f"p{n}", name=f"n{n}") for n in range(201)), "more than 200"),
    ],
)
def test_what_can_be_read_in_two_ways_or_leads_astray_is_refused(text: bytes, says: str):
    with pytest.raises(BadModules, match=says):
        parse_modules(text)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://other.example.org/lib.git", "https://other.example.org/lib.git"),
        ("../lib.git", "https://git.example.org:8443/platform/lib.git"),
        ("./lib.git", "https://git.example.org:8443/platform/shop.git/lib.git"),
        ("../../team/lib", "https://git.example.org:8443/team/lib"),
        (".././../lib", "https://git.example.org:8443/lib"),
        ("git@forge.example.org:team/lib.git", "ssh://git@forge.example.org/team/lib.git"),
        ("ssh://git@forge.example.org:2222/team/lib.git", "ssh://git@forge.example.org:2222/team/lib.git"),
    ],
)
def test_addresses_seen_from_the_parent(url: str, found: str):
    assert locate(PARENT, url).url == found


def test_a_relative_address_keeps_the_user_of_its_parent():
    assert locate(parse_address("ssh://me@h:2222/a/b"), "../c").url == "ssh://me@h:2222/a/c"


@pytest.mark.parametrize(
    "url",
    [
        "../../../x",
        "../..",
        "../",
        "./",
        "../a/../../../x",
        "..",
        "/etc/x",
        "file:///etc",
        "ext::sh -c id",
        "git://h/x",
        "https://u:p@h/x",
        "https://h/x%0ahost=evil",
        "./%0ahost=evil",
        "https://h\\@evil/x",
        "-oProxyCommand=x",
        "ssh://-oProxyCommand=x/y",
        "-x@h:y",
        "h:-x/../y",
        "C:\\x",
        "",
    ],
)
def test_addresses_that_are_none_are_refused(url: str):
    with pytest.raises(Terminal) as caught:
        locate(PARENT, url)
    assert caught.value.reason == "URLInvalid"
