"""Real keys and real signatures: made by ssh-keygen, gpg and git, never by the code under test."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

needs_ssh = pytest.mark.skipif(
    not (shutil.which("ssh-keygen") and shutil.which("git")),
    reason="no ssh-keygen or git on this machine: apt-get install openssh-client git",
)
needs_gpg = pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpg-agent") and shutil.which("git")),
    reason="no gpg with its agent, or no git on this machine: apt-get install gnupg git",
)


def call(*argv: str, stdin: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None) -> bytes:
    done = subprocess.run(argv, input=stdin, capture_output=True, env=env, cwd=cwd)
    assert done.returncode == 0, f"{argv}: {done.stderr.decode()}"
    return done.stdout


@dataclass(frozen=True)
class SshPair:
    """A key pair on disk."""

    path: Path

    @classmethod
    def create(cls, path: Path, kind: str = "ed25519", bits: int = 0) -> "SshPair":
        size = ["-b", str(bits)] if bits else []
        call("ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", f"{path.name}@example.org", "-f", str(path))
        return cls(path)

    @property
    def public(self) -> bytes:
        return self.path.with_suffix(".pub").read_bytes()

    @property
    def fingerprint(self) -> str:
        return call("ssh-keygen", "-l", "-f", str(self.path)).split()[1].decode()

    def allowed(self, principals: str = "alice@example.org", options: str = "") -> bytes:
        """A line of allowed_signers."""
        return f"{principals} {options}{' ' if options else ''}".encode() + self.public

    def sign(self, payload: bytes, namespace: str = "git") -> bytes:
        return call("ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(self.path), "-", stdin=payload)

    @property
    def config(self) -> list[str]:
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.path}"]


@dataclass(frozen=True)
class Gpg:
    """A home of gpg with its own agent, which `stop` ends."""

    home: Path

    @classmethod
    def create(cls, home: Path) -> "Gpg":
        home.mkdir(mode=0o700)
        return cls(home)

    def run(self, *arguments: str, stdin: bytes = b"", at: datetime | None = None) -> bytes:
        clock = ["--faked-system-time", at.strftime("%Y%m%dT%H%M%S!")] if at else []
        options = ["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        return call("gpg", "--homedir", str(self.home), *options, *clock, *arguments, stdin=stdin)

    def key(self, user: str, algorithm: str, *, lasts: str = "never", at: datetime | None = None) -> "GpgKey":
        self.run("--quick-gen-key", user, algorithm, "sign", lasts, at=at)
        return GpgKey(self, user)

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "gpg-agent"], capture_output=True)


@dataclass(frozen=True)
class GpgKey:
    """A key in a home."""

    gpg: Gpg
    user: str

    @property
    def public(self) -> bytes:
        return self.gpg.run("--armor", "--export", self.user)

    @property
    def fingerprint(self) -> str:
        said = self.gpg.run("--with-colons", "--fingerprint", self.user).decode()
        return next(line.split(":")[9] for line in said.splitlines() if line.startswith("fpr"))

    def sign(self, payload: bytes, *, at: datetime | None = None) -> bytes:
        return self.gpg.run("--armor", "-u", self.user, "--detach-sign", stdin=payload, at=at)

    @property
    def config(self) -> list[str]:
        """For git, whose gpg has to find this home."""
        return ["-c", f"user.signingKey={self.user}", "-c", f"gpg.program={self._program()}"]

    def _program(self) -> Path:
        program = self.gpg.home / "gpg-here"
        program.write_text(f'#!/bin/sh\nexec gpg --homedir {self.gpg.home} --batch "$@"\n')
        program.chmod(0o700)
        return program


@dataclass
class Work:
    """A repository with a work tree, where commits are made like people make them."""

    path: Path
    name: str = "Alice"
    address: str = "alice@example.org"
    _count: int = field(default=0)

    @classmethod
    def create(cls, path: Path) -> "Work":
        path.mkdir(parents=True)
        work = cls(path)
        work.git("init", "-q", "-b", "main")
        return work

    def git(self, *arguments: str, stdin: bytes = b"", date: str = "") -> str:
        return self.raw(*arguments, stdin=stdin, date=date).decode().strip()

    def raw(self, *arguments: str, stdin: bytes = b"", date: str = "") -> bytes:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": self.name,
            "GIT_AUTHOR_EMAIL": self.address,
            "GIT_COMMITTER_NAME": self.name,
            "GIT_COMMITTER_EMAIL": self.address,
        } | ({"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date} if date else {})
        return call("git", *arguments, stdin=stdin, env=env, cwd=self.path)

    def commit(self, pair: SshPair | GpgKey | None = None, *, date: str = "", content: str = "") -> str:
        """A commit that changes a file, signed or not."""
        self._count += 1
        (self.path / "file").write_text(content or f"{self.path.name} {self._count}\n")
        self.git("add", "-A")
        self.git(*_config(pair), "commit", "-q", _sign(pair), "-m", f"change {self._count}\n\nbody", date=date)
        return self.head

    def merge(self, other: str, pair: SshPair | GpgKey | None = None) -> str:
        self.git(*_config(pair), "merge", "-q", "--no-ff", "-X", "ours", _sign(pair), "-m", "merge", other)
        return self.head

    def tag(self, name: str, pair: SshPair | GpgKey | None = None, commit: str = "HEAD") -> str:
        self.git(*_config(pair), "tag", "-s" if pair else "-a", "-m", "tagged", name, commit)
        return self.git("rev-parse", f"refs/tags/{name}")

    def object(self, name: str) -> bytes:
        """The content of a commit or a tag."""
        oid = self.git("rev-parse", name)
        return self.raw("cat-file", self.git("cat-file", "-t", oid), oid)

    def put(self, kind: str, content: bytes) -> str:
        """Write an object of whatever content."""
        return self.git("hash-object", "--literally", "-w", "-t", kind, "--stdin", stdin=content)

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")


def _config(pair: SshPair | GpgKey | None) -> Sequence[str]:
    return pair.config if pair else ["-c", "commit.gpgSign=false"]


def _sign(pair: SshPair | GpgKey | None) -> str:
    return "-S" if pair else "--no-gpg-sign"
