"""The file .gitmodules: where the submodules of a commit come from. Read by our own strict reader. Pure.

git reads it as configuration, with includes, escapes and commands to run in it. Nothing of that is understood here:
what can be read in two ways is refused, and only paths and addresses are taken.
"""

import re
from collections.abc import Mapping
from typing import Final

from trimtab.remotes.git.address import Address, parse_address
from trimtab.remotes.git.mirror import HostilePath, check_path

FILE: Final = ".gitmodules"
MAX_BYTES: Final = 64 << 10
MAX_MODULES: Final = 200

_SECTION = re.compile(r'\[submodule "(?P<name>[^"\\\[\]]{1,512})"\]')
_SETTING = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9-]*)\s*=\s*(?P<value>.*)")
_PLAIN = re.compile(r'"(?P<quoted>[^"\\]*)"|(?P<bare>[^"\\#;]*)')
_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9_.-]+)@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>[^/:][^:]*)")
_RELATIVE = re.compile(r"\.{1,2}/")


class BadModules(Exception):
    """The file is not one that can be read in one way only."""


def parse_modules(data: bytes) -> Mapping[str, str]:
    """The address of each submodule by its path, as both are written. Raises BadModules naming the line."""
    if len(data) > MAX_BYTES:
        raise BadModules(f"{len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise BadModules("it is not text in UTF-8") from None
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r").strip(" \t")
        if not line or line[0] in "#;":
            continue
        if not line.replace("\t", " ").isprintable():
            raise BadModules(f"line {number} has characters that are not printable")
        if line[0] == "[":
            current = sections[_name(number, line, sections)] = {}
            continue
        _set(number, line, current)
    return _by_path(sections)


def locate(parent: Address, url: str) -> Address:
    """Where the submodule `url` of the repository at `parent` is. Raises Terminal (URLInvalid)."""
    if _RELATIVE.match(url):
        return parse_address(_joined(parent, url))
    if "://" not in url and (scp := _SCP.fullmatch(url)):
        return parse_address(f"ssh://{scp['user'] or 'git'}@{scp['host']}/{scp['path']}")
    return parse_address(url)


def _name(number: int, line: str, sections: Mapping[str, object]) -> str:
    section = _SECTION.fullmatch(line)
    if section is None:
        raise BadModules(f'line {number} is not a section of the form [submodule "name"]')
    name = section["name"]
    # git makes a directory of this name; here nothing does, and still nobody honest writes it.
    if name.startswith(("-", "/")) or ".." in name.split("/"):
        raise BadModules(f"line {number}: {name[:80]!a} cannot be the name of a submodule")
    if name in sections:
        raise BadModules(f"line {number}: the submodule {name[:80]!a} is there twice")
    if len(sections) >= MAX_MODULES:
        raise BadModules(f"more than {MAX_MODULES} submodules")
    return name


def _set(number: int, line: str, section: dict[str, str] | None) -> None:
    setting = _SETTING.fullmatch(line)
    plain = _PLAIN.fullmatch(setting["value"]) if setting else None
    if section is None or setting is None or plain is None:
        raise BadModules(f"line {number} is not a plain `key = value` within a section")
    key = setting["key"].lower()
    if key not in ("path", "url"):
        return
    if key in section:
        raise BadModules(f"line {number}: {key} is there twice")
    section[key] = plain["quoted"] if plain["bare"] is None else plain["bare"].strip()


def _by_path(sections: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, section in sections.items():
        path, url = section.get("path", ""), section.get("url", "")
        try:
            checked = check_path(path.encode())
        except HostilePath as problem:
            raise BadModules(f"the path of the submodule {name[:80]!a}: {problem}") from None
        if checked is None or path.startswith("-"):
            raise BadModules(f"the submodule {name[:80]!a} has the path {path[:80]!a}")
        if path in found:
            raise BadModules(f"two submodules have the path {path[:80]!a}")
        if not url or url.startswith("-"):
            raise BadModules(f"the submodule {name[:80]!a} has the address {url[:80]!a}")
        found[path] = url
    return found


def _joined(parent: Address, url: str) -> str:
    """`url`, which begins with ./ or ../, seen from `parent`, which is taken for a directory, as git does."""
    parts, rest = parent.path.split("/")[1:], url
    while match := _RELATIVE.match(rest):
        if match[0] == "../":
            if not parts:
                break
            parts.pop()
        rest = rest[len(match[0]) :].lstrip("/")
    user = f"{parent.user}@" if parent.user else ""
    if _RELATIVE.match(rest) or not rest:
        # Above the root of the host; said by the one reading of addresses there is.
        rest = f"../{rest}"
    return f"{parent.scheme}://{user}{parent.authority}/{'/'.join([*parts, rest])}"
