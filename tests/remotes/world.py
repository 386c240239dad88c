"""Real remotes on loopback: bare repositories, https with a CA of its own, and an sshd."""

import datetime as dt
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.world import free_port

WHO = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": os.environ["PATH"],
}


@dataclass(frozen=True)
class Repository:
    """A bare repository that is written to without a work tree."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "Repository":
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True, env=WHO)
        return cls(path)

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", "--git-dir", str(self.path), *arguments], input=stdin, capture_output=True, env=WHO
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def blob(self, data: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=data)

    def tree(self, *lines: str) -> str:
        """A tree of `mode type oid<TAB>name` lines, with whatever names."""
        return self.git("mktree", "--missing", "-z", stdin="\0".join(lines).encode() + b"\0" if lines else b"")

    def commit(self, files: dict[str, bytes], *, branch: str = "main", replace: bool = False) -> str:
        """Write `files` on top of the branch and return the commit."""
        ref = f"refs/heads/{branch}"
        data = [f"commit {ref}\ncommitter A <a@example.org> {int(time.time())} +0000\ndata 1\nx\n".encode()]
        if self.has(ref):
            data.append(f"from {ref}^0\n".encode())
        if replace:
            data.append(b"deleteall\n")
        for path, content in files.items():
            data.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content))
        subprocess.run(
            ["git", "--git-dir", str(self.path), "fast-import", "--quiet", "--force"],
            input=b"".join(data),
            check=True,
            env=WHO,
        )
        return self.git("rev-parse", ref)

    def commit_tree(self, tree: str, *, branch: str = "main") -> str:
        commit = self.git("commit-tree", "-m", "x", tree)
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def has(self, ref: str) -> bool:
        code = subprocess.run(["git", "--git-dir", str(self.path), "show-ref", "-q", ref], env=WHO).returncode
        return code == 0


@dataclass(frozen=True)
class Authority:
    """A CA and a server certificate for 127.0.0.1 and localhost. With `demanding`, clients need a certificate too."""

    ca: bytes
    context: ssl.SSLContext
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, directory: Path, *, demanding: bool = False) -> "Authority":
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        ca = _certificate(ca_name, ca_name, ca_key.public_key(), ca_key, is_ca=True)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "git")])
        own = _certificate(name, ca_name, key.public_key(), ca_key, is_ca=False)
        pem = directory / "server.pem"
        pem.write_bytes(
            own.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        own_pem = ca.public_bytes(serialization.Encoding.PEM)
        if demanding:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=own_pem.decode())
        return cls(own_pem, context, ca_key)

    def serving(self, directory: Path, *, host: str = "127.0.0.1", expired: bool = False) -> ssl.SSLContext:
        """What a server has that shows a certificate for `host` alone, or one whose time is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        own = _certificate(subject, issuer, key.public_key(), self.key, is_ca=False, hosts=(host,), expired=expired)
        pem = directory / f"{host}{'-expired' if expired else ''}.pem"
        pem.write_bytes(
            own.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context

    def client(self, name: str = "bot") -> tuple[bytes, bytes]:
        """A certificate for a client, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test ca")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = _certificate(subject, issuer, key.public_key(), self.key, is_ca=False)
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
    hosts: Sequence[str] = ("localhost", "127.0.0.1"),
    expired: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC) - dt.timedelta(days=2 if expired else 0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if not is_ca:
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


@dataclass(frozen=True)
class Sshd:
    """An sshd for one user and one key, in the foreground."""

    port: int
    process: "subprocess.Popen[bytes]"
    identity: bytes
    locked_identity: bytes
    passphrase: bytes
    host_key: bytes

    @staticmethod
    def available() -> bool:
        return Path("/usr/sbin/sshd").exists() and shutil.which("ssh-keygen") is not None

    @property
    def known_hosts(self) -> bytes:
        return f"[127.0.0.1]:{self.port} ".encode() + self.host_key

    @classmethod
    def start(cls, directory: Path, host_kind: Sequence[str] = ("ed25519",), more: str = "") -> "Sshd":
        """`host_kind` are ssh-keygen's words for the host's key, `more` lines of configuration."""
        for name, passphrase in (("host", ""), ("identity", ""), ("locked", "opensesame")):
            kind = host_kind if name == "host" else ("ed25519",)
            keygen = ["ssh-keygen", "-q", "-t", *kind, "-N", passphrase, "-C", name, "-f", str(directory / name)]
            subprocess.run(keygen, check=True)
        authorized = directory / "authorized_keys"
        authorized.write_bytes((directory / "identity.pub").read_bytes() + (directory / "locked.pub").read_bytes())
        authorized.chmod(0o600)
        port = free_port()
        (directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {authorized}\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
            "PermitRootLogin yes\nPidFile none\nAcceptEnv GIT_PROTOCOL\n" + more
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(directory / "sshd_config")], stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        return cls(
            port=port,
            process=process,
            identity=(directory / "identity").read_bytes(),
            locked_identity=(directory / "locked").read_bytes(),
            passphrase=b"opensesame",
            host_key=(directory / "host.pub").read_bytes(),
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
