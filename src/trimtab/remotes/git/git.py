"""The git program, hardened: a closed environment, no configuration but ours, no hooks, no prompts, no other protocol.

Secrets reach it through files in memory that only we and our children can open (base/memory.py): never through
arguments, an environment, which every process of ours may read, or a disk.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from yarl import URL

from trimtab.base.errors import Transient
from trimtab.base.memory import hold
from trimtab.base.process import Completed, Limits, OutputTooLarge, ProcessTimeout, run
from trimtab.remotes.git.address import Address
from trimtab.remotes.git.credentials import ANONYMOUS, AuthenticationFailed, Credentials
from trimtab.remotes.git.refs import Remote

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.symlinks=false",
    "protocol.version=2",
    "protocol.file.allow=never",
    "submodule.recurse=false",
    "transfer.fsckObjects=true",
    # What old tools wrote into histories that are sound otherwise.
    "fetch.fsck.zeroPaddedFilemode=warn",
    "fetch.fsck.badTimezone=warn",
    "fetch.fsck.missingSpaceBeforeDate=warn",
    # One pack for each fetch: packs are few and can be counted, loose objects pile up.
    "fetch.unpackLimit=1",
    "http.followRedirects=false",
    # A connection that stalls is given up, also by a git whose parent was killed.
    "http.lowSpeedLimit=100",
    "http.lowSpeedTime=30",
    "transfer.bundleURI=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
)
_SSH = (
    "-F/dev/null",
    "-oNumberOfPasswordPrompts=1",
    "-oStrictHostKeyChecking=yes",
    "-oIgnoreUnknown=RequiredRSASize",  # known to OpenSSH 9.1 and newer
    "-oRequiredRSASize=2048",
    "-oGlobalKnownHostsFile=/dev/null",
    "-oUpdateHostKeys=no",
    "-oIdentitiesOnly=yes",
    "-oIdentityAgent=none",
    "-oPreferredAuthentications=publickey",
    "-oForwardAgent=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oProxyCommand=none",
    "-oControlPath=none",
    "-oConnectTimeout=10",
    "-oServerAliveInterval=15",
    "-oLogLevel=INFO",  # why nothing was negotiated is told at no level below
)
_PACK_BYTES = 512 << 20
_MEMORY_BYTES = 2 << 30
_SAID_CHARS = 1000
_LISTING_BYTES = 64 << 20


class GitFailed(Exception):
    """git ended with an error; `said` is its own words, without its markers."""

    def __init__(self, verb: str, said: str) -> None:
        super().__init__(f"git {verb}: {said}")
        self.said = said


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git on one bare repository."""

    environment: Mapping[str, str] = field(repr=False)
    settings: Sequence[str] = _CONFIG

    async def run(
        self,
        verb: str,
        arguments: Sequence[str] = (),
        *,
        repository: Path | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
        max_output: int = _LISTING_BYTES,
        pass_fds: Sequence[int] = (),
    ) -> bytes:
        """What `git verb` prints. Raises GitFailed, ProcessTimeout, OutputTooLarge."""
        done = await self.call(
            verb,
            arguments,
            repository=repository,
            stdin=stdin,
            timeout=timeout,
            max_output=max_output,
            pass_fds=pass_fds,
        )
        if done.code != 0:
            raise GitFailed(verb, _said(done.stderr) or f"ended with {done.code}")
        return done.stdout

    async def call(
        self,
        verb: str,
        arguments: Sequence[str] = (),
        *,
        repository: Path | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
        max_output: int = _LISTING_BYTES,
        pass_fds: Sequence[int] = (),
    ) -> Completed:
        """How `git verb` ended, for who reads more than its output. Raises as `run`; GitFailed if it cannot start."""
        argv = ["git", *(word for setting in self.settings for word in ("-c", setting))]
        if repository:
            argv.append(f"--git-dir={repository}")
        limits = Limits(memory_bytes=_MEMORY_BYTES, file_bytes=_PACK_BYTES)
        try:
            return await run(
                [*argv, verb, *arguments],
                env=self.environment,
                stdin=stdin,
                timeout=timeout,
                max_output=max_output,
                limits=limits,
                pass_fds=pass_fds,
            )
        except OSError as problem:
            raise GitFailed(verb, f"cannot be started: {problem}; install git") from problem


@contextlib.asynccontextmanager
async def hardened(
    private: Path, remote: Remote | None = None, credentials: Credentials = ANONYMOUS
) -> AsyncIterator[Git]:
    """A git that may speak to `remote` with `credentials`, or to nobody.

    Keys and passwords are in memory until this ends, or, where there are no such files, in a directory below `private`.
    Raises AuthenticationFailed.
    """
    private.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=private) as home, contextlib.ExitStack() as stack:
        place = _Place(Path(home), stack)
        environment = _environment(Path(home))
        if remote is not None:
            credentials.check(remote.address)
            environment["GIT_ALLOW_PROTOCOL"] = remote.address.scheme
            if remote.address.over_http:
                config = _written(_over_http(place, remote, credentials))
                environment["GIT_CONFIG_GLOBAL"] = str(place.secret("config", config))
            else:
                environment |= _over_ssh(place, credentials)
        yield Git(environment)


def wipe(private: Path) -> None:
    """Remove the key files of processes that were killed."""
    for left in private.glob("*-*"):
        pid = left.name.partition("-")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not Path("/proc", pid).exists()):
            shutil.rmtree(left, ignore_errors=True)


def failure(address: Address, problem: Exception, *, pinned: bool = False) -> Transient:
    """What it means for the one who wrote the address that git ended with `problem`.

    `pinned`: the commit is named by another repository, so that no branch can be named instead.
    """
    if isinstance(problem, ProcessTimeout):
        return _failed(address, f"{problem}; raise spec.timeout if the repository is large or far away")
    if isinstance(problem, OutputTooLarge):
        return _failed(address, f"the repository lists too much: {problem}")
    said = problem.said if isinstance(problem, GitFailed) else str(problem)
    if "407" in said and "proxy" in said.lower():
        return AuthenticationFailed(
            f"{address}: the proxy wants other credentials; check the Secret of spec.proxySecretRef. git said: {said}"
        )
    if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION" in said:
        return AuthenticationFailed(
            f"{address}: the host's key is not the one in known_hosts of the Secret; it is not contacted. "
            f"Compare the keys before you change the Secret. git said: {said}",
            hopeless=True,
        )
    if "Invalid key length" in said or "no matching host key type" in said:
        return AuthenticationFailed(
            f"{address}: the host's key is too weak to prove anything (RSA of less than 2048 bits, or SHA-1); the host "
            f"needs another, best ed25519. git said: {said}",
            hopeless=True,
        )
    if "publickey" in said or "Load key" in said:
        return AuthenticationFailed(
            f"{address}: signing in failed; check identity in the Secret of spec.secretRef: the host has to know its "
            f"public half, and a key with a passphrase needs it in the key password. git said: {said}"
        )
    if any(
        words in said
        for words in (
            "Authentication failed",
            "could not read Username",
            "Permission denied",
            "returned error: 403",
            "HTTP 403",
        )
    ):
        return AuthenticationFailed(
            f"{address}: signing in failed; check the Secret of spec.secretRef. git said: {said}"
        )
    if "not our ref" in said or "unadvertised object" in said:
        way_out = "have it pushed" if pinned else "name the branch it is on in spec.ref.branch"
        return _failed(
            address, f"the commit is not there, or the server hands out none by its id; {way_out}. git said: {said}"
        )
    if "File size limit" in said or "file size" in said.lower():
        return _failed(address, f"more than {_PACK_BYTES} bytes to fetch. git said: {said}")
    return _failed(address, said)


def _failed(address: Address, why: str) -> Transient:
    return Transient("GitOperationFailed", f"{address}: {why}")


def _environment(home: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "GIT_ALLOW_PROTOCOL": "none",
        # What is not here is missing. A git that does not know this one would ask the remote, past every check of where
        # it is and past any proxy; it is the line above that stops it.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH": "false",
    }


class _Place(NamedTuple):
    """Where files for one git are. What is in memory goes with the stack, the rest with the directory."""

    home: Path
    stack: contextlib.ExitStack

    def secret(self, name: str, data: bytes) -> Path:
        """Where git, ssh and all that they start can read `data`."""
        try:
            descriptor = hold(data)
        except OSError:
            return _private(self.home / name, data)
        self.stack.callback(os.close, descriptor)
        # By our own number: ssh closes what it inherits before it reads anything.
        return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _written(config: Mapping[str, str]) -> bytes:
    """`config` as a file of git's."""
    lines = []
    for key, value in config.items():
        section, _, rest = key.partition(".")
        subsection, dot, name = rest.rpartition(".")
        head = f"{section} {_quoted(subsection)}" if dot else section
        lines.append(f"[{head}]\n\t{name} = {_quoted(value)}\n")
    return "".join(lines).encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _over_http(place: _Place, remote: Remote, credentials: Credentials) -> dict[str, str]:
    address = remote.address
    config = {"http.userAgent": "trimtab"}
    if address.host not in remote.hosts:
        config["http.curloptResolve"] = _pinned(address.host, address.port, remote.hosts)
    if credentials.authorization:
        # Tied to the address: git sends it nowhere else.
        config[f"http.{address.url}.extraHeader"] = f"Authorization: {credentials.authorization}"
    if credentials.ca:
        config["http.sslCAInfo"] = str(_private(place.home / "ca.crt", credentials.ca))
    if credentials.certificate:
        config["http.sslCert"] = str(_private(place.home / "tls.crt", credentials.certificate))
        config["http.sslKey"] = str(place.secret("tls.key", credentials.key))
    if credentials.proxy is not None:
        config |= _over_proxy(credentials.proxy, tuple(proxy.host or "" for proxy in remote.proxies))
    return config


def _over_proxy(proxy: URL, hosts: tuple[str, ...]) -> dict[str, str]:
    # User and password are part of the address; this is a file, not the arguments.
    config = {"http.proxy": str(proxy).rstrip("/"), "http.proxyAuthMethod": "basic"}
    if proxy.host not in hosts:
        config["http.curloptResolve"] = _pinned(proxy.host or "", proxy.port or 80, hosts)
    return config


def _pinned(name: str, port: int, hosts: Sequence[str]) -> str:
    return f"{name}:{port}:{','.join(f'[{host}]' if ':' in host else host for host in hosts)}"


def _over_ssh(place: _Place, credentials: Credentials) -> dict[str, str]:
    home = place.home
    known_hosts = _private(home / "known_hosts", credentials.known_hosts)
    # ssh reads no key whose last line is not ended, or whose lines end as on Windows; editors leave both behind.
    identity = place.secret("identity", credentials.identity.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n")
    words = ["ssh", *_SSH, f"-oUserKnownHostsFile={known_hosts}", f"-oIdentityFile={identity}"]
    asking = {"SSH_ASKPASS_REQUIRE": "never"}
    if credentials.passphrase:
        passphrase = place.secret("passphrase", credentials.passphrase)
        script = f"#!/bin/sh\nexec cat {shlex.quote(str(passphrase))}\n"
        answer = _private(home / "askpass", script.encode(), mode=0o700)
        asking = {"SSH_ASKPASS_REQUIRE": "force", "SSH_ASKPASS": str(answer)}
    else:
        words.append("-oBatchMode=yes")
    # git can only be told a program, not its options; so the options are in a program of two lines.
    wrapper = _private(home / "ssh", f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'.encode(), mode=0o700)
    return {"GIT_SSH": str(wrapper), "GIT_SSH_VARIANT": "ssh", **asking}


def _private(path: Path, data: bytes, mode: int = 0o600) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path


def _said(stderr: bytes) -> str:
    lines = [
        line.removeprefix("fatal: ").removeprefix("error: ").removeprefix("remote: ").strip()
        for line in stderr.decode(errors="replace").splitlines()
        if not line.startswith("warning: ")
    ]
    text = "; ".join(line for line in lines if line)
    return "".join(char if char.isprintable() else "?" for char in text)[:_SAID_CHARS]
