"""Client certificates for TLS contexts, without a key of anybody's on the disk."""

import os
import ssl
import tempfile


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have `context` present `certificate` with its `key`, both in PEM. Raises OSError or ValueError if unusable."""
    # OpenSSL wants a file. Where the system can, one that exists in memory only: keys do not touch the disk.
    pem = certificate.rstrip() + b"\n" + key.rstrip() + b"\n"
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("client"), "wb")
        path = f"/proc/self/fd/{file.fileno()}"
    else:
        named = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed below, mode 0600
        file, path = named, named.name  # type: ignore[assignment]
    with file:
        file.write(pem)
        file.flush()
        # Without a password an encrypted key would make OpenSSL ask on the terminal.
        context.load_cert_chain(path, password="")
