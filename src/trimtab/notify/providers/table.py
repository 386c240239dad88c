"""The providers there are, by `Provider.spec.type`, and the way out for those there are not."""

from collections.abc import Mapping
from typing import Final

from trimtab.notify.provider import Composed, Conversing, Provider, judge
from trimtab.notify.providers import (
    alertmanager,
    apprise,
    azuredevops,
    azureeventhub,
    bitbucket,
    bitbucketserver,
    comment,
    datadog,
    discord,
    generic,
    gitea,
    github,
    githubdispatch,
    gitlab,
    googlechat,
    googlepubsub,
    grafana,
    incidentio,
    lark,
    matrix,
    msteams,
    nats,
    opsgenie,
    otel,
    pagerduty,
    rocket,
    sentry,
    slack,
    smtp,
    telegram,
    webex,
    zoom,
    zulip,
)

TABLE: Final[Mapping[str, Provider]] = {
    "alertmanager": Composed(alertmanager.compose, judge),
    "apprise": Conversing(apprise.send),
    "azuredevops": Conversing(azuredevops.send),
    "azureeventhub": Composed(azureeventhub.compose, judge, azureeventhub.sign),
    "bitbucket": Conversing(bitbucket.send),
    "bitbucketserver": Conversing(bitbucketserver.send),
    "datadog": Composed(datadog.compose, datadog.judge),
    "discord": Composed(discord.compose, discord.judge),
    "generic": Composed(generic.compose, judge),
    "generic-hmac": Composed(generic.compose_signed, judge),
    "gitea": Conversing(gitea.send),
    "giteapullrequestcomment": Conversing(comment.sender(comment.GITEA)),
    "github": Conversing(github.send),
    "githubdispatch": Composed(githubdispatch.compose, githubdispatch.judge),
    "githubpullrequestcomment": Conversing(comment.sender(comment.GITHUB)),
    "gitlab": Conversing(gitlab.send),
    "gitlabmergerequestcomment": Conversing(comment.sender(comment.GITLAB)),
    "googlechat": Composed(googlechat.compose, judge),
    "googlepubsub": Composed(googlepubsub.compose, googlepubsub.judge, googlepubsub.sign),
    "grafana": Composed(grafana.compose, grafana.judge),
    "incident.io": Composed(incidentio.compose, incidentio.judge),
    "lark": Composed(lark.compose, lark.judge, lark.sign),
    "matrix": Composed(matrix.compose, matrix.judge),
    "msteams": Composed(msteams.compose, msteams.judge),
    "nats": Conversing(nats.send),
    "opsgenie": Composed(opsgenie.compose, opsgenie.judge),
    "otel": Composed(otel.compose, otel.judge),
    "pagerduty": Composed(pagerduty.compose, pagerduty.judge),
    "rocket": Composed(rocket.compose, rocket.judge),
    "sentry": Composed(sentry.compose, sentry.judge),
    "slack": Composed(slack.compose, slack.judge),
    "smtp": Conversing(smtp.send),
    "telegram": Composed(telegram.compose, telegram.judge),
    "webex": Composed(webex.compose, webex.judge),
    "zoom": Composed(zoom.compose, zoom.judge),
    "zulip": Composed(zulip.compose, zulip.judge),
}


def unserved(type_: str) -> str:
    """Why nothing is told to a Provider of a type that is not in the table, and what to do."""
    return (
        f"this version of Trimtab does not serve Providers of type {type_}: nothing is told; use the type "
        "generic-hmac, and a small service of yours that passes it on"
    )
