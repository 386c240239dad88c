"""Where the values of a release come from, what is told of them, and when their absence is final."""

from typing import Any

import msgspec
import pytest

from trimtab.api.helmrelease import HelmRelease
from trimtab.api.names import Reason
from trimtab.base.errors import Terminal, Transient, Waiting
from trimtab.controllers.holders import Holder
from trimtab.controllers.valuing import Valuing, lasting
from trimtab.kube.client import Client
from trimtab.kube.errors import Forbidden
from trimtab.manifests.refs import Gvk, Key

CONFIG_MAP, SECRET = Gvk("", "v1", "ConfigMap"), Gvk("", "v1", "Secret")


def release(namespace: str = "ns", **spec: Any) -> HelmRelease:
    source = {"kind": "GitRepository", "name": "repo"}
    wish = {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}, **spec}
    return msgspec.convert({"metadata": {"name": "app", "namespace": namespace, "uid": "u"}, "spec": wish}, HelmRelease)


def reading(*refs: dict[str, Any], namespace: str = "ns", **spec: Any) -> HelmRelease:
    return release(namespace, valuesFrom=list(refs), **spec)


async def written(client: Client, home: str, gvk: Gvk, name: str, **data: str) -> str:
    """A ConfigMap or Secret with this data; its version."""
    key = "stringData" if gvk == SECRET else "data"
    body = {"metadata": {"name": name}, key: {entry.replace("_", "."): text for entry, text in data.items()}}
    answer = await client.create(await client.discovery.find(gvk), body, home)
    return str(answer["metadata"]["resourceVersion"])


def test_what_is_waited_for_is_waited_for_also_where_values_are_read_elsewhere() -> None:
    waiting = Waiting(Reason.ARTIFACT_FAILED, "the chart is being made", after=60.0)
    assert lasting(reading({"kind": "ConfigMap", "name": "v"}), waiting) is waiting


def test_what_values_of_others_may_be_to_blame_for_is_tried_again_and_all_else_is_final() -> None:
    terminal = Terminal(Reason.VALUES_ERROR, "no map")
    assert lasting(release(), terminal) is terminal
    again = lasting(reading({"kind": "ConfigMap", "name": "v"}), terminal)
    assert isinstance(again, Transient)
    assert (again.hopeless, again.reason, again.message) == (True, terminal.reason, terminal.message)


async def test_pieces_are_laid_over_each_other_in_their_order_and_the_object_is_on_top(
    client: Client, home: str
) -> None:
    await written(client, home, CONFIG_MAP, "one", values_yaml="a: 1\nb: 1\nc: 1\n")
    await written(client, home, SECRET, "two", values_yaml="b: 2\nc: 2\n", word="from-a-secret")
    hr = reading(
        {"kind": "ConfigMap", "name": "one"},
        {"kind": "Secret", "name": "two"},
        {"kind": "Secret", "name": "two", "valuesKey": "word", "targetPath": "d.e"},
        {"kind": "ConfigMap", "name": "none", "optional": True},
        {"kind": "ConfigMap", "name": "one", "valuesKey": "none", "optional": True},
        namespace=home,
        values={"c": 3},
    )
    found = await Valuing(client).values(hr)
    assert found.values.body == {"a": 1, "b": 2, "c": 3, "d": {"e": "from-a-secret"}}


async def test_only_texts_of_secrets_are_hidden_and_none_is_shown(client: Client, home: str) -> None:
    await written(client, home, CONFIG_MAP, "open", values_yaml="a: open-text\n")
    await written(client, home, SECRET, "shut", values_yaml="b: {c: [shut-text, 12345678, true, null]}\n", word="w")
    hr = reading(
        {"kind": "ConfigMap", "name": "open"},
        {"kind": "Secret", "name": "shut"},
        {"kind": "Secret", "name": "shut", "valuesKey": "word", "targetPath": "d"},
        namespace=home,
    )
    found = await Valuing(client).values(hr)
    assert found.secret == ("shut-text", "12345678", "w")
    assert "text" not in repr(found)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"kind": "Secret", "name": "none"}, "Secret {home}/none, which spec.valuesFrom names, does not exist"),
        ({"kind": "ConfigMap", "name": "v", "valuesKey": "none"}, "has no entry none: create it"),
    ],
    ids=["object", "entry"],
)
async def test_a_piece_that_is_missing_is_named_with_the_way_out(
    client: Client, home: str, ref: dict[str, Any], words: str
) -> None:
    await written(client, home, CONFIG_MAP, "v", values_yaml="a: 1\n")
    with pytest.raises(Transient) as caught:
        await Valuing(client).values(reading(ref, namespace=home))
    assert caught.value.reason == Reason.VALUES_ERROR
    assert words.format(home=home) in caught.value.message


async def test_what_cannot_be_read_is_told_in_the_words_of_the_server(
    client: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any, **__: Any) -> None:
        raise Forbidden(403, "Forbidden", "not you")

    await client.discovery.find(CONFIG_MAP)
    monkeypatch.setattr(client, "get", refused)
    with pytest.raises(Transient, match="cannot be read: not you"):
        await Valuing(client).values(reading({"kind": "ConfigMap", "name": "v"}, namespace=home))


async def test_a_version_that_was_read_is_no_news_and_another_one_is(client: Client, home: str) -> None:
    version = await written(client, home, CONFIG_MAP, "v", values_yaml="a: 1\n")
    valuing, holder = Valuing(client), Holder("ConfigMap", Key(home, "v"))
    hr = reading({"kind": "ConfigMap", "name": "v"}, namespace=home)
    assert valuing.stirred(holder, version) == []
    await valuing.values(hr)
    assert valuing.stirred(holder, version) == []
    assert valuing.stirred(holder, "another") == [hr.key]
    await valuing.values(release(home))
    assert valuing.stirred(holder, "another") == []


async def test_an_object_that_was_missing_is_news_once_it_is_there(client: Client, home: str) -> None:
    valuing, hr = Valuing(client), reading({"kind": "ConfigMap", "name": "v", "optional": True}, namespace=home)
    await valuing.values(hr)
    version = await written(client, home, CONFIG_MAP, "v", values_yaml="a: 1\n")
    assert valuing.stirred(Holder("ConfigMap", Key(home, "v")), version) == [hr.key]
    valuing.forget(hr.key)
    assert valuing.stirred(Holder("ConfigMap", Key(home, "v")), version) == []
