"""Variables of an app, read from real ConfigMaps and Secrets."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from trimtab.api.kustomize import Kustomization
from trimtab.base.errors import Terminal, Transient
from trimtab.base.tasks import Tasks
from trimtab.controllers.configs import Configs
from trimtab.controllers.hiding import NOTHING
from trimtab.controllers.holders import ABSENT, Holder
from trimtab.controllers.substituting import Substituting, lasting
from trimtab.diff.compare import Difference
from trimtab.manifests.refs import Gvk, Key, Origin, Ref
from trimtab.render.variables import Found, collected
from trimtab.targets.contract import Answer, Drift, Effect, Outcome


def app(namespace, *refs, name="shop", **substitute):
    body = {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": "repo"},
            "interval": "1h",
            "prune": True,
            "postBuild": {"substitute": substitute, "substituteFrom": list(refs)},
        },
    }
    return msgspec.convert(body, Kustomization)


def ref(kind, name, **more):
    return {"kind": kind, "name": name, **more}


async def put(client, home, kind, name, **content):
    resource = await client.discovery.find(Gvk("", "v1", kind))
    return await client.create(resource, {"metadata": {"name": name}, **content}, home)


async def test_sources_are_read_in_their_order_and_only_in_the_namespace_of_the_app(client, home):
    await put(client, home, "ConfigMap", "one", data={"a": "1", "b": "1"}, binaryData={"c": "MQ=="})
    await put(client, home, "Secret", "two", stringData={"b": "2\n"})
    substituting = Substituting(client)
    variables = await substituting.variables(app(home, ref("ConfigMap", "one"), ref("Secret", "two"), d="4"))
    assert variables.values == {"a": "1", "b": "2", "d": "4"}
    assert (variables.strict, variables.confidential) == (True, {"b"})
    assert not (await Substituting(client, strict=False).variables(app(home))).strict
    with pytest.raises(Transient, match=r"Secret default/two, which spec.postBuild.substituteFrom names, does not"):
        await substituting.variables(app("default", ref("Secret", "two")))


async def test_what_is_optional_may_be_missing_and_may_not_be_unreadable(client, home):
    substituting = Substituting(client)
    found = await substituting.variables(
        app(home, ref("ConfigMap", "x", optional=True), ref("Secret", "y", optional=True))
    )
    assert found.values == {}
    nobody = Substituting(client.acting_as("nobody"))
    with pytest.raises(Transient, match=f"ConfigMap {home}/x, which spec.postBuild.substituteFrom names, cannot be re"):
        await nobody.variables(app(home, ref("ConfigMap", "x", optional=True)))


async def test_a_version_is_news_to_those_who_read_another_one(client, home):
    made = await put(client, home, "ConfigMap", "vars", data={"a": "1"})
    version = made["metadata"]["resourceVersion"]
    holder, absent = Holder("ConfigMap", Key(home, "vars")), Holder("Secret", Key(home, "keys"))
    substituting = Substituting(client)
    assert substituting.stirred(holder, version) == []
    first = app(home, ref("ConfigMap", "vars"), ref("Secret", "keys", optional=True))
    await substituting.variables(first)
    await substituting.variables(app(home, ref("ConfigMap", "vars"), name="other"))
    assert substituting.stirred(holder, version) == []
    assert substituting.stirred(absent, ABSENT) == []
    assert substituting.stirred(absent, "1") == [first.key]
    assert substituting.stirred(holder, ABSENT) == [first.key, Key(home, "other")]
    assert substituting.stirred(Holder("Secret", holder.key), "1") == []
    await substituting.variables(app(home, ref("Secret", "keys", optional=True)))
    assert substituting.stirred(holder, "1") == [Key(home, "other")]
    substituting.forget(Key(home, "other"))
    substituting.forget(first.key)
    assert substituting.stirred(holder, "1") == substituting.stirred(absent, "1") == []


async def test_a_change_is_told_of_labelled_objects_alone_with_the_version_that_is_there(client, home):
    heard = asyncio.Queue()
    tasks = Tasks("test")
    try:
        await Configs(client, "example.org/watch=yes", lambda *news: heard.put_nowait(news)).start(tasks)
        await put(client, home, "Secret", "quiet", stringData={"a": "1"})
        resource = await client.discovery.find(Gvk("", "v1", "Secret"))
        labels = {"example.org/watch": "yes"}
        body = {"metadata": {"name": "keys", "labels": labels}, "stringData": {"a": "1"}}
        made = await client.create(resource, body, home)
        holder = Holder("Secret", Key(home, "keys"))
        assert await asyncio.wait_for(heard.get(), 60) == (holder, made["metadata"]["resourceVersion"])
        changed = await client.merge_patch(resource, "keys", home, {"stringData": {"a": "2"}})
        assert await asyncio.wait_for(heard.get(), 60) == (holder, changed["metadata"]["resourceVersion"])
        await client.merge_patch(resource, "keys", home, {"metadata": {"labels": {"example.org/watch": None}}})
        assert await asyncio.wait_for(heard.get(), 60) == (holder, ABSENT)
        assert heard.empty()
    finally:
        await tasks.close()


async def test_what_may_not_be_watched_stops_nobody(client):
    tasks = Tasks("test")
    try:
        nobody = client.acting_as("nobody")
        await asyncio.wait_for(Configs(nobody, "example.org/watch=yes", lambda *_: None).start(tasks), 60)
    finally:
        await tasks.close()


def test_a_failure_is_not_final_where_its_cause_may_change_unseen():
    failure = Terminal("BuildFailed", "words")
    told = lasting(app("ns", ref("ConfigMap", "vars")), failure)
    assert (type(told), told.reason, told.message) == (Transient, "BuildFailed", "words")
    assert lasting(app("ns", a="1"), failure) is failure


CANARY = 'hunter2 "canary" 5d1'
LONG = "abcdefghij" * 20


@pytest.fixture
def hiding():
    entries = {"a": CANARY, "b": f"'{CANARY}x'", "c": "short", "d": LONG, "n": "1234567"}
    return NOTHING.follow(
        collected(None, [Found("Secret s", entries, confidential=True), Found("ConfigMap c", {"e": "open-word"})])
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Invalid value: {CANARY}!", "Invalid value: ++++++++!"),
        (f"as it was read: {CANARY}x", "as it was read: ++++++++"),
        ('in JSON: "hunter2 \\"canary\\" 5d1"', 'in JSON: "++++++++"'),
        ("in base64: aHVudGVyMiAiY2FuYXJ5IiA1ZDE=", "in base64: ++++++++"),
        (f"cut: {LONG[:50]}… and {LONG}", "cut: ++++++++… and ++++++++"),
        ("a short open-word stays", "a short open-word stays"),
    ],
)
def test_values_of_secrets_are_hidden_in_every_form_they_come_in(hiding, text, told):
    assert hiding.text(text) == told
    assert CANARY not in repr(hiding)


def test_what_differed_is_told_without_them_before_it_is_cut(hiding):
    differences = (Difference("data.a", "changed", {"x": [LONG]}, 1234567), Difference("data.b", "added", None, True))
    drift = Drift(Ref("", "ConfigMap", "ns", "c"), differences, None, datetime.now(UTC), Answer.CORRECTED)
    outcome = hiding.outcome(Outcome(drift.ref, Effect.CORRECTED, str(drift), Origin("f", 1), drift=drift))
    assert outcome.drift.differences == (
        Difference("data.a", "changed", {"x": ["++++++++"]}, "++++++++"),
        differences[1],
    )
    assert "abcd" not in outcome.message
    failed = hiding.outcome(Outcome(drift.ref, Effect.FAILED, f"no {CANARY}"))
    assert failed.message == "no ++++++++"


def test_a_value_that_was_replaced_is_still_hidden_for_a_while(hiding):
    later = hiding.follow(collected(None, [Found("Secret s", {"a": "another-value"}, confidential=True)]))
    assert later.text(f"{CANARY} another-value") == "++++++++ ++++++++"
    assert later.follow(collected(None)).text(f"{CANARY} another-value") == f"{CANARY} ++++++++"
