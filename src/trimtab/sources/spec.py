"""What to take from which repository: a GitRepository's spec, read strictly."""

from dataclasses import dataclass

from trimtab.api.source import GitProvider, GitRepositorySpec
from trimtab.base.errors import Terminal
from trimtab.remotes.git.address import Address, parse_address
from trimtab.sources.targets import Semver, Target, target_of

_SERVED = ("", GitProvider.GENERIC, GitProvider.GITHUB)


@dataclass(frozen=True, slots=True)
class GitSpec:
    """What to take from which repository. `timeout_s` bounds one look and one fetch, each.

    `own` is False for an address that somebody else than the owner of the object wrote, and so never leads into a
    private network. `pinned` names the place where another repository names the commit, empty for none.
    """

    address: Address
    target: Target
    timeout_s: float = 60.0
    ignore: str | None = None
    directories: tuple[str, ...] = ()
    submodules: bool = False
    own: bool = True
    pinned: str = ""

    @property
    def is_range(self) -> bool:
        """Whether the newest of many versions is taken, not one that is named."""
        return isinstance(self.target, Semver)

    @classmethod
    def from_api(cls, spec: GitRepositorySpec) -> "GitSpec":
        """Read a GitRepository's spec. Raises Terminal for what is wrong, and for what is not supported yet.

        What is not supported is refused, never passed over. Signatures are not its business, see `trust`, and neither
        is what others lay into the artifact.
        """
        if spec.provider not in _SERVED:
            raise Terminal(
                "InvalidProviderConfiguration", f"not supported yet: spec.provider: {spec.provider}; remove it"
            )
        try:
            timeout_s = spec.timeout_s
        except ValueError as problem:
            raise Terminal("URLInvalid", f"spec.timeout: {problem}") from problem
        address = parse_address(spec.url)
        if spec.provider == GitProvider.GITHUB and address.scheme != "https":
            raise Terminal(
                "InvalidProviderConfiguration",
                f"{address}: spec.provider github signs in by https only; write https://{address.host}{address.path}",
            )
        if spec.proxy_secret_ref is not None and not address.over_http:
            raise Terminal(
                "URLInvalid",
                f"{address}: ssh does not go over a proxy; write https://, or remove spec.proxySecretRef",
            )
        return cls(
            address=address,
            target=target_of(spec.ref),
            timeout_s=timeout_s,
            ignore=spec.ignore,
            directories=tuple(_directory(name) for name in spec.sparse_checkout),
            submodules=spec.recurse_submodules,
        )


def _directory(name: str) -> str:
    parts = [part for part in name.removeprefix("./").split("/") if part]
    if not parts or name.startswith("/") or any(part in (".", "..") for part in parts):
        raise Terminal("URLInvalid", f"spec.sparseCheckout: {name!a} is not a directory inside the repository")
    return "/".join(parts)
