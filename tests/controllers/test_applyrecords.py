"""The record of an app of `trimtab apply`, in Secrets of a real API server."""

import base64

import msgspec
import pytest

from trimtab.base.errors import Terminal, Transient
from trimtab.controllers.applyrecords import About, ApplyRecords, checked, head_of
from trimtab.controllers.reading import SECRET
from trimtab.manifests.refs import Key, Ref
from trimtab.targets.kubernetes.inventory import Entry

CLUSTER = "c1"


def entries(many, namespace="ns"):
    found = (Entry(Ref("", "ConfigMap", namespace, f"c{number:05}"), "v1", f"u{number}") for number in range(many))
    return {entry.ref: entry for entry in found}


async def secrets(client, home):
    return [one["metadata"]["name"] for one in (await client.list(await client.discovery.find(SECRET), home)).items]


async def test_a_long_list_is_kept_in_parts_and_comes_back_whole_and_the_old_parts_go(client, home):
    records, key = ApplyRecords(client, CLUSTER), Key(home, "shop")
    record = await records.read(key)
    record.inventory = entries(2500)
    await records.write(record)
    first = set(await secrets(client, home))
    assert len(first) > 1
    read = await records.read(key)
    assert (read.inventory, read.problem) == (record.inventory, "")
    read.inventory = entries(2400)
    await records.write(read)
    assert (await records.read(key)).inventory == read.inventory
    assert len(set(await secrets(client, home))) <= len(first)
    read.inventory = entries(3)
    await records.write(read)
    assert await secrets(client, home) == [head_of(key).name]
    await records.forget(read)
    assert await secrets(client, home) == []


async def test_nobody_writes_over_what_another_one_has_recorded(client, home):
    records, key = ApplyRecords(client, CLUSTER), Key(home, "shop")
    record = await records.read(key)
    record.inventory = entries(1)
    await records.write(record)
    one, other = await records.read(key), await records.read(key)
    one.inventory, other.inventory = entries(2), entries(3)
    await records.write(one)
    with pytest.raises(Transient, match="somebody else has changed the record"):
        await records.write(other)
    assert (await records.read(key)).inventory == entries(2)


async def test_a_record_that_was_cut_or_is_of_another_cluster_is_not_acted_on(client, home):
    records, key = ApplyRecords(client, CLUSTER), Key(home, "shop")
    record = await records.read(key)
    record.inventory, record.about = entries(3), About(source="s", revision="r")
    await records.write(record)
    assert (await records.read(key)).about == record.about
    with pytest.raises(Terminal, match="made in another cluster"):
        (await ApplyRecords(client, "c2").read(key)).check()
    resource, head = await client.discovery.find(SECRET), head_of(key)
    secret = await client.get(resource, head.name, home)
    document = msgspec.json.decode(base64.b64decode(secret["data"]["inventory"]))
    del document["entries"][0]
    cut = base64.b64encode(msgspec.json.encode(document)).decode()
    await client.merge_patch(resource, head.name, home, {"data": {"inventory": cut}})
    with pytest.raises(Terminal, match="checksum does not fit"):
        (await records.read(key)).check()
    [listed] = await records.all(home)
    assert listed.problem


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a" * 64, "a_b"])
def test_a_name_that_no_label_can_hold_is_refused(name):
    with pytest.raises(ValueError, match="no name for an app"):
        checked(name)
