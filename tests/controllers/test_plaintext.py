"""What an app says to its Secrets in clear text."""

from datetime import UTC, datetime

import msgspec
import pytest

from trimtab.api.kustomize import Kustomization
from trimtab.base.clock import SystemClock
from trimtab.base.errors import Terminal
from trimtab.base.logs import redact
from trimtab.controllers import plaintext
from trimtab.controllers.app import App, Build
from trimtab.controllers.history import record
from trimtab.controllers.scribe import Scribe
from trimtab.manifests.refs import Origin, Ref
from trimtab.render.plaintext import Exposed

ONE = Exposed(Ref("", "Secret", "shop", "db"), Origin("app/db.yaml", 3), ("password", "user"))


def app(policy: str | None) -> Kustomization:
    annotations = {} if policy is None else {"trimtab.dev/plaintext-secrets": policy}
    body = {
        "metadata": {"name": "shop", "namespace": "team", "annotations": annotations},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "repo"}, "interval": "1h", "prune": True},
    }
    return msgspec.convert(body, Kustomization)


def build(*found: Exposed) -> Build:
    return Build("inputs", "digest", (), found)


@pytest.mark.parametrize("policy", [None, "warn"], ids=["unsaid", "warn"])
def test_they_are_told_of_and_applied_unless_something_else_is_said(policy):
    plaintext.check(app(policy), build(ONE))
    told = plaintext.warning(app(policy), build(ONE), "main@sha1:1f")
    assert told.startswith(
        "at main@sha1:1f: Secrets in clear text in the GitRepository: Secret/shop/db (app/db.yaml:3): password, user. "
    )
    assert told.endswith("by the annotation trimtab.dev/plaintext-secrets: allow")
    assert redact(told) == told, "names of entries are no values"


def test_who_means_it_hears_nothing():
    plaintext.check(app("allow"), build(ONE))
    assert plaintext.warning(app("allow"), build(ONE), "main@sha1:1f") == ""


def test_who_refuses_them_gets_an_error_that_names_each_and_where_it_was_written():
    with pytest.raises(Terminal) as refused:
        plaintext.check(app("refuse"), build(ONE))
    assert refused.value.reason == "ValidationFailed"
    assert "nothing is applied, as the annotation trimtab.dev/plaintext-secrets is refuse" in refused.value.message
    assert "Secret/shop/db (app/db.yaml:3): password, user" in refused.value.message


@pytest.mark.parametrize("policy", ["allow", "warn", "refuse"])
def test_an_app_without_any_hears_nothing(policy):
    plaintext.check(app(policy), build())
    assert plaintext.warning(app(policy), build(), "main@sha1:1f") == ""


def test_of_many_only_the_first_are_named_and_the_rest_is_counted():
    names = tuple(f"entry-{number}" for number in range(9))
    many = [ONE._replace(ref=ONE.ref._replace(name=f"s{number}"), entries=names) for number in range(30)]
    told = plaintext.warning(app("warn"), build(*many), "main@sha1:1f")
    assert "Secret/shop/s4 (app/db.yaml:3): entry-0, entry-1, entry-2, entry-3, entry-4 and 4 more; and 25 more" in told
    assert len(told) < 1_000


class Heard:
    """In the place of the recorder of events: keeps what is said."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str]] = []

    def record(self, _about, type_, reason, message, _annotations) -> None:
        self.messages.append((type_, reason, message))


def test_each_build_is_told_of_once_and_a_new_policy_counts_at_once():
    heard, known = Heard(), App.unread(app("warn"))
    scribe = Scribe(None, heard, SystemClock(), None, lambda _key: known, lambda *_: None)
    for _ in range(3):
        scribe.tell_plaintext(app("warn"), known, build(ONE), "main@sha1:1f")
    assert [(type_, reason) for type_, reason, _ in heard.messages] == [("Warning", "PlaintextSecret")]
    scribe.tell_plaintext(app("warn"), known, Build("inputs", "another", (), (ONE,)), "main@sha1:2f")
    assert len(heard.messages) == 2
    scribe.tell_plaintext(app("allow"), known, Build("inputs", "another", (), (ONE,)), "main@sha1:2f")
    assert len(heard.messages) == 2
    scribe.tell_plaintext(app("warn"), known, Build("inputs", "another", (), (ONE,)), "main@sha1:2f")
    assert len(heard.messages) == 3


def test_what_a_process_before_this_one_has_applied_it_has_told_of():
    heard, known = Heard(), App.unread(app("warn"))
    history = record((), "digest", "ReconciliationSucceeded", {"revision": "main@sha1:1f"}, datetime.now(UTC), 1.0)
    known.status = msgspec.structs.replace(known.status, history=history)
    scribe = Scribe(None, heard, SystemClock(), None, lambda _key: known, lambda *_: None)
    scribe.tell_plaintext(app("warn"), known, build(ONE), "main@sha1:1f")
    assert heard.messages == []
    scribe.tell_plaintext(app("warn"), known, Build("inputs", "another", (), (ONE,)), "main@sha1:2f")
    assert len(heard.messages) == 1
