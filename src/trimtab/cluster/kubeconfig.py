"""A kubeconfig that needs no other file."""

from base64 import b64encode

from trimtab.cluster.pki import Pair


def kubeconfig(server: str, ca: bytes, user: str, credentials: Pair) -> bytes:
    """The text of a kubeconfig for `user`, with authority, certificate and key inline."""
    return f"""\
apiVersion: v1
kind: Config
current-context: trimtab
clusters:
- name: trimtab
  cluster:
    server: {server}
    certificate-authority-data: {b64encode(ca).decode()}
users:
- name: "{user}"
  user:
    client-certificate-data: {b64encode(credentials.certificate).decode()}
    client-key-data: {b64encode(credentials.key).decode()}
contexts:
- name: trimtab
  context:
    cluster: trimtab
    user: "{user}"
    namespace: default
""".encode()
