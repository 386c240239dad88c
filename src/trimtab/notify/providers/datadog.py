"""The type `datadog`: events, by an API key."""

from typing import Final

from trimtab.notify.notice import Notice, Phase
from trimtab.notify.provider import Answer, Outcome, Request, Settings
from trimtab.notify.providers import answers
from trimtab.notify.providers.asking import below, post
from trimtab.notify.providers.escaping import defused
from trimtab.notify.providers.saying import bad, details, seconds
from trimtab.notify.text import cut, shortened

_ADDRESS: Final = "https://api.datadoghq.com"
_MOST_TITLE: Final = 100
_MOST_TEXT: Final = 4000
_MOST_TAGS: Final = 40
_MOST_TAG: Final = 200


def compose(notice: Notice, settings: Settings) -> Request:
    """One event. All of one state are joined by its aggregation key. `@` would send mail: it is broken up."""
    event, involved = notice.event, notice.event.involved_object
    tags = [
        f"flux_reporting_controller:{event.reporting_controller}",
        f"flux_kind:{involved.kind.lower()}",
        f"flux_name:{involved.name}",
        f"flux_namespace:{involved.namespace}",
        f"flux_reason:{event.reason}",
        *(f"{name}:{value}" for name, value in details(notice).items()),
    ]
    level = "error" if bad(notice) else "success" if notice.phase is Phase.CLOSED else "info"
    body = {
        "title": cut(notice.title, _MOST_TITLE),
        # What begins with %%% is read as Markdown.
        "text": shortened(defused(notice.text).replace("%%%", "%% %"), _MOST_TEXT),
        "alert_type": level,
        "priority": "normal",
        "source_type_name": "trimtab",
        "aggregation_key": notice.state or cut(notice.title, _MOST_TITLE),
        "date_happened": int(seconds(notice)),
        "tags": [cut(tag.replace(",", "_").replace("\n", " "), _MOST_TAG) for tag in tags[:_MOST_TAGS]],
    }
    headers = {"DD-API-KEY": settings.needed("token")}
    return post(notice, below(settings.address or _ADDRESS, "/api/v1/events"), body, headers)


def judge(answer: Answer) -> Outcome:
    """How long to wait is in `X-RateLimit-Reset`, in seconds from now."""
    outcome = answers.patient(answer, answers.seconds(answer.headers.get("x-ratelimit-reset")))
    errors = answers.fields(answer).get("errors")
    return answers.worded(outcome, errors[0] if isinstance(errors, list) and errors else "")
