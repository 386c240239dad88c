"""The type `apprise`: the long tail of services, by the package of that name (the extra `apprise`).

The address is one of apprise's, such as `pover://user@token`. Its requests go over our wire, so that what holds for
every provider holds for these: addresses are checked, redirects are not followed, answers have an end.
"""

from typing import Final
from urllib.parse import parse_qsl, urlsplit

from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Misconfigured, Order, Outcome, Settings, Wire
from trimtab.notify.providers.apprise_services import MODULES
from trimtab.notify.providers.escaping import defused
from trimtab.notify.providers.saying import bad, details
from trimtab.notify.text import cut, shortened

MOST_TEXT: Final = 8_000
"""Characters of a message; services that take less cut it again."""
_MOST_TITLE: Final = 250
_LONGEST: Final = 4_096
REFUSED_OPTIONS: Final = {
    "verify": "certificates are always checked: name yours with spec.certSecretRef",
    "redirect": "redirects are not followed: name the final address",
    "template": "files are not read",
    "config": "configurations are not read",
    "attach": "nothing is attached",
}
"""Options that addresses of apprise may have, and not here."""


async def send(notice: Notice, settings: Settings, wire: Wire) -> Outcome:
    """One notification. Nothing tells the service that it has it already: without an answer it may come twice."""
    address = address_of(settings)
    rows = [f"{name}: {value}" for name, value in details(notice).items()]
    kind = "failure" if bad(notice) else "success" if notice.phase is Phase.CLOSED else "info"
    title, body = cut(notice.title, _MOST_TITLE), shortened("\n".join([notice.text, *rows]), MOST_TEXT)
    scheme = address.partition(":")[0].lower()
    return await wire.deliver(Order(scheme, MODULES[scheme], address, defused(title), defused(body), kind))


def address_of(settings: Settings) -> str:
    """The address in the Secret, if it is of a service that is served. Raises Misconfigured, which does not show it."""
    if settings.address and not settings.secret.get("address", b"").strip():
        raise Misconfigured(
            "an address of apprise is a secret: put it as `address` into the Secret of spec.secretRef, and take "
            "spec.address away"
        )
    address = settings.needed("address", "set `address` in the Secret of spec.secretRef, such as pover://user@token")
    try:
        parts = urlsplit(address)
        options = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100)}
    except ValueError:
        raise Misconfigured("the address in the Secret of spec.secretRef is none of apprise's") from None
    scheme = address.partition("://")[0].lower()
    if len(address) > _LONGEST or scheme != parts.scheme or not address.isprintable() or " " in address:
        raise Misconfigured("the address in the Secret of spec.secretRef is none of apprise's: one, without spaces")
    if scheme not in MODULES:
        raise Misconfigured(
            f"{cut(scheme, 40)!a}:// is not served: only services of apprise that are reached over HTTP are, and no "
            "files, programs, desktops, or anything else of this machine"
        )
    for option, why in REFUSED_OPTIONS.items():
        if option in options:
            raise Misconfigured(f"the option `{option}` of the address in the Secret of spec.secretRef: {why}")
    return address
