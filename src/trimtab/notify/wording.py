"""The message of an Alert's own: a template, as it is known from messages of commits, over what is told.

It sees `.Event`, `.Alert`, `.Fields`, `.Summary`, `.Cluster`, `.Phase`, `.Count` and nothing else: no file, no cluster,
no network, bounded in steps and in what it makes.
"""

from collections.abc import Mapping
from typing import Any, Final

from trimtab.images.templates.errors import TemplateError
from trimtab.images.templates.execute import execute, parse
from trimtab.images.templates.values import Record
from trimtab.notify.event import MOST_MESSAGE, clean
from trimtab.notify.notice import Notice

MOST_TEMPLATE: Final = 64 << 10


class BadTemplate(Exception):
    """The template makes no sense; the raw message is told instead."""


def written(template: str, notice: Notice) -> str:
    """What `template` makes of a notice. Raises BadTemplate."""
    if len(template) > MOST_TEMPLATE:
        raise BadTemplate(f"the template has {len(template)} characters, and the limit is {MOST_TEMPLATE}")
    try:
        made = execute(parse(template), _data(notice))
    except TemplateError as problem:
        raise BadTemplate(str(problem)) from None
    except RecursionError:
        raise BadTemplate("the template is nested too deeply") from None
    text = clean(made, MOST_MESSAGE).strip("\n")
    if not text.strip():
        raise BadTemplate("the template makes an empty message")
    return text


def _data(notice: Notice) -> Record:
    event, involved = notice.event, notice.event.involved_object
    about = Record(
        "object",
        (
            ("Kind", involved.kind),
            ("Namespace", involved.namespace),
            ("Name", involved.name),
            ("APIVersion", involved.api_version),
        ),
        str(involved),
    )
    told = (
        ("Object", about),
        ("Severity", event.severity),
        ("Reason", event.reason),
        ("Message", event.message),
        ("Timestamp", event.timestamp),
        ("Controller", event.reporting_controller),
        ("Revision", notice.revision),
    )
    fields: Mapping[str, Any] = dict(notice.fields)
    return Record(
        "template",
        (
            ("Event", Record("event", told)),
            ("Alert", notice.alert),
            ("Fields", fields),
            ("Summary", notice.summary),
            ("Cluster", notice.cluster),
            ("Phase", notice.phase.value),
            ("Count", notice.count),
        ),
    )
