"""The providers there are, by `Provider.spec.type`."""

from collections.abc import Mapping
from typing import Final

from trimtab.notify.provider import Composed, Provider, judge
from trimtab.notify.providers import generic, slack

TABLE: Final[Mapping[str, Provider]] = {
    "generic": Composed(generic.compose, judge),
    "generic-hmac": Composed(generic.compose_signed, judge),
    "slack": Composed(slack.compose, slack.judge),
}
