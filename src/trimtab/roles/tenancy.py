"""The flags that keep tenants apart, and what they mean together."""

from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from trimtab.manifests.refs import Key

_DEFAULT_ACCOUNT = "default"


class Tenancy(NamedTuple):
    """Whom apps act as, and what they may refer to."""

    strict: bool
    cross_namespace_refs: str
    default_service_account: str
    applier: "Key | None"

    @classmethod
    def given(cls, strict: bool, refs: str | None, no_refs: bool, default_account: str, applier: str) -> "Tenancy":
        """What the flags say. Raises UsageError where they contradict each other."""
        if refs not in (None, "none") and (strict or no_refs):
            flag = "--multi-tenant" if strict else "--no-cross-namespace-refs"
            raise click.UsageError(f"{flag} allows no references across namespaces: leave --cross-namespace-refs out")
        if strict and applier:
            raise click.UsageError(
                "--multi-tenant lets an app that names no account act as one of its own namespace: leave --applier out"
            )
        none = strict or no_refs
        account = default_account or (_DEFAULT_ACCOUNT if strict else "")
        return cls(strict, "none" if none else refs or "platform", account, account_of(applier, "--applier"))


def account_of(text: str, flag: str) -> "Key | None":
    """The account that `flag` names."""
    from trimtab.manifests.refs import Key

    namespace, _, name = text.partition("/")
    if text and not (namespace and name):
        raise click.BadParameter(f"{text!r} is not NAMESPACE/NAME", param_hint=flag)
    return Key(namespace, name) if text else None
